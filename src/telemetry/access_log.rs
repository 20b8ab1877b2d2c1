//! The one line that each connection leaves behind.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::AccessLogFilter;
use crate::identity::{Client, UnverifiedCertificate};
use crate::io::Transferred;
use crate::policy::{Denial, DenialReason, Permit};
use crate::telemetry::limiter::EntryKind;
use crate::telemetry::verdict::Verdict;
use crate::telemetry::{CloseReason, Counters};
use crate::tls::Negotiated;

/// The target of the events that are access log entries; it sets them apart from the rest of the log.
pub const ACCESS_LOG_TARGET: &str = "vestibule::access_log";

/// The fields of an access log entry and what they mean, in their order; for the manual.
pub const FIELDS: [(&str, &str); 31] = [
    ("conn", "the number of a connection that carries requests, which their entries have too (`--mode http`)"),
    ("client_addr", "the client's address"),
    ("proxy_addr", "the load balancer that has told us `client_addr` (`--accept-proxy-protocol`)"),
    ("close_reason", "why the connection closed (below)"),
    ("listener", "the listener's address"),
    ("server_name", "the name the client asked for (SNI); it decides nothing"),
    ("tls_version", "what the handshake agreed on, as rustls names it: `TLSv1_3`, `TLSv1_2`"),
    ("cipher_suite", "the cipher suite: `TLS13_AES_256_GCM_SHA384`"),
    ("group", "the key exchange group: `X25519MLKEM768`"),
    ("alpn", "the ALPN protocol: `h2`, `http/1.1`"),
    ("resumed", "whether an earlier session was resumed"),
    ("client_org", "the organization of the client's Cloud Foundry identity, if a client CA vouches for it"),
    ("client_space", "the same, its space"),
    ("client_app", "the same, its app"),
    ("client_instance", "the same, its instance"),
    ("client_subject", "the subject of another client certificate"),
    ("client_serial", "the client certificate's serial number"),
    (
        "unverified_subject",
        "the subject of a certificate that was denied and for which no client CA vouches; anybody can write it",
    ),
    ("unverified_issuer", "the same, who is said to have issued it"),
    ("unverified_serial", "the same, its serial number"),
    ("verdict", "`permit`, `denial` or `audit`; where a certificate was shown, or the client was denied"),
    ("rule", "the rule that decided"),
    ("denial_reason", "[why not](../clients.md#tls-alerts-on-denial); with `audit`, why not otherwise"),
    ("bytes_up", "plaintext bytes that the app was given; what `--proxy-protocol` adds does not count"),
    (
        "bytes_down",
        "plaintext bytes that the app has sent and the proxy has passed on; without what is known not to have reached the client",
    ),
    ("upstream_connect_ms", "milliseconds that the app took to accept, with the wait of `--hold-until-ready`"),
    ("handshake_ms", "milliseconds from our answer to the ClientHello to the end of the handshake"),
    ("duration_ms", "milliseconds from accept to the end"),
    ("generation", "which rotation's pair was shown, counted from 1 at the start"),
    ("detail", "more about a connection that did not get as far as the relay"),
    (
        "suppressed",
        "how many entries with the same reason were left out before this one, to keep a flood out of the log",
    ),
];

/// One connection's entry in the log and the counters.
///
/// Written exactly once: by [`AccessLogEntry::close`], or on drop when the task was cancelled or panicked under us.
#[derive(Debug)]
pub struct AccessLogEntry {
    counters: Arc<Counters>,
    access: AccessLogFilter,
    opened: Instant,
    client_addr: SocketAddr,
    /// The load balancer that has told us the client's address.
    proxy_addr: Option<SocketAddr>,
    listener: SocketAddr,
    /// What the connection has got to so far.
    pub fields: Box<EntryFields>,
    close_reason: Option<CloseReason>,
}

/// What is learned of a connection on its way.
#[derive(Debug, Default)]
pub struct EntryFields {
    /// Which the entries of its requests have too, if it carries any.
    pub number: Option<u64>,
    /// The name the client asked for.
    pub server_name: Option<String>,
    /// The rotation whose pair was shown.
    pub generation: Option<u64>,
    /// What the handshake agreed on.
    pub negotiated: Option<Negotiated>,
    /// Who called, as far as the trust anchors have vouched for it.
    pub client: Option<Client>,
    /// What a denied certificate says for which nobody has vouched.
    pub unverified: Option<Box<UnverifiedCertificate>>,
    /// What the policy said.
    pub verdict: Option<Result<Permit, Denial>>,
    /// How long the app took to accept.
    pub upstream_connect: Option<Duration>,
    /// From our answer to the ClientHello to the end of the handshake.
    pub handshake: Option<Duration>,
    /// Bytes carried.
    pub transferred: Transferred,
    /// More about the end.
    pub detail: Option<String>,
}

impl AccessLogEntry {
    /// Opens the entry of a connection from `peer` to `listener`.
    pub fn open(counters: Arc<Counters>, access: AccessLogFilter, peer: SocketAddr, listener: SocketAddr) -> Self {
        let opened = Instant::now();
        counters.count_opened(opened);
        Self {
            counters,
            access,
            opened,
            client_addr: peer,
            proxy_addr: None,
            listener,
            fields: Box::default(),
            close_reason: None,
        }
    }

    /// Where the client is.
    pub fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// How long the connection has been open.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Whoever is connected to us speaks for `peer`.
    pub fn set_proxied_client(&mut self, peer: SocketAddr) {
        self.proxy_addr = Some(std::mem::replace(&mut self.client_addr, peer));
    }

    /// Keeps the text of an error and of its causes.
    pub fn set_error(&mut self, error: &dyn Error) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.fields.detail = Some(text);
    }

    /// The app has accepted or refused, or was waited for, and it `took` so long.
    pub fn set_upstream_connect_time(&mut self, took: Duration) {
        self.counters.count_upstream_connect(took);
        self.fields.upstream_connect = Some(took);
    }

    /// The handshake was completed, and it `took` so long from the complete ClientHello on.
    pub fn set_negotiated(&mut self, negotiated: Negotiated, took: Duration) {
        self.counters.count_handshake(&negotiated, took);
        self.fields.handshake = Some(took);
        self.fields.negotiated = Some(negotiated);
    }

    /// A verdict on the client was come to.
    pub fn set_verdict(&mut self, verdict: Result<Permit, Denial>) {
        let client = self.fields.client.as_ref();
        self.counters.count_verdict(client, &verdict);
        let unverified = self.fields.unverified.as_deref();
        self.counters.denials.record(self.client_addr, self.listener, (client, unverified), &verdict);
        self.fields.verdict = Some(verdict);
    }

    /// From here on this is the reason, even should the connection be cut short before its entry is written.
    pub fn set_close_reason(&mut self, reason: CloseReason) {
        self.close_reason = Some(reason);
    }

    /// Writes the entry.
    pub fn close(mut self, reason: CloseReason) {
        self.set_close_reason(reason);
    }

    fn write(&self, reason: CloseReason) {
        let EntryFields {
            number,
            server_name,
            generation,
            negotiated,
            client,
            unverified,
            verdict,
            upstream_connect: dial,
            handshake,
            transferred: carried,
            detail,
        } = &*self.fields;
        let certificate = client.as_ref().and_then(Client::certificate);
        let caller = client.as_ref().and_then(Client::identity);
        // Everybody may come in where nobody is asked who they are.
        let decision =
            verdict.as_ref().filter(|_| certificate.is_some() || reason == CloseReason::Denied).map(Verdict::of);
        let (verdict, rule, denial) = decision.map_or((None, None, None), |(word, rule, why)| (Some(word), rule, why));
        let now = Instant::now();
        self.counters.count_closed(reason, negotiated.is_some(), *carried, now);
        let kind = match verdict {
            _ if reason.is_refusal() => Some(EntryKind::Refused(reason)),
            Some(Verdict::Audit) => Some(EntryKind::Audited),
            _ if reason.is_failed_attempt() => Some(EntryKind::Failed(reason)),
            _ => None,
        };
        let logged = match self.access {
            AccessLogFilter::Off => false,
            AccessLogFilter::Denied => kind.is_some(),
            AccessLogFilter::All => reason != CloseReason::Probe,
        };
        // Who asked for all gets all.
        let suppressed = match (self.access, kind) {
            (AccessLogFilter::Denied, Some(kind)) => match self.counters.limiter.admit(kind, now) {
                Some(left_out) => Some(left_out).filter(|left_out| *left_out > 0),
                None => return self.counters.count_suppressed(),
            },
            _ => None,
        };
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: ACCESS_LOG_TARGET,
                    conn = *number,
                    client_addr = %self.client_addr,
                    proxy_addr = self.proxy_addr.map(display),
                    close_reason = reason.as_str(),
                    listener = %self.listener,
                    server_name = server_name.as_deref(),
                    tls_version = negotiated.as_ref().and_then(Negotiated::version_name),
                    cipher_suite = negotiated.as_ref().and_then(Negotiated::suite_name),
                    group = negotiated.as_ref().and_then(Negotiated::group_name),
                    alpn = negotiated.as_ref().and_then(Negotiated::alpn_name),
                    resumed = negotiated.as_ref().map(|negotiated| negotiated.resumed),
                    client_org = caller.and_then(|caller| caller.organization).map(display),
                    client_space = caller.and_then(|caller| caller.space).map(display),
                    client_app = caller.and_then(|caller| caller.app).map(display),
                    client_instance = caller.and_then(|caller| caller.instance.as_ref()).map(display),
                    client_subject = certificate.filter(|_| caller.is_none()).map(|certificate| certificate.subject.as_str()),
                    client_serial = certificate.map(|certificate| certificate.serial.as_str()),
                    unverified_subject = unverified.as_ref().map(|certificate| certificate.subject.as_str()),
                    unverified_issuer = unverified.as_ref().map(|certificate| certificate.issuer.as_str()),
                    unverified_serial = unverified.as_ref().map(|certificate| certificate.serial.as_str()),
                    verdict = verdict.map(Verdict::as_str),
                    rule = rule.map(display),
                    denial_reason = denial.map(DenialReason::as_str),
                    bytes_up = carried.up,
                    bytes_down = carried.down,
                    upstream_connect_ms = dial.map(milliseconds),
                    handshake_ms = handshake.map(milliseconds),
                    duration_ms = milliseconds(now - self.opened),
                    generation,
                    detail,
                    suppressed,
                    "connection closed"
                )
            };
        }
        if logged {
            line!(info);
        } else {
            line!(debug);
        }
    }
}

impl Drop for AccessLogEntry {
    fn drop(&mut self) {
        let reason = match self.close_reason {
            Some(reason) => reason,
            None if std::thread::panicking() => CloseReason::Internal,
            // The runtime has dropped the task: the process ends.
            None => CloseReason::DrainTimeout,
        };
        self.write(reason);
    }
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(counters: &Arc<Counters>) -> AccessLogEntry {
        let somewhere = SocketAddr::from(([127, 0, 0, 1], 1));
        AccessLogEntry::open(Arc::clone(counters), AccessLogFilter::Off, somewhere, somewhere)
    }

    #[test]
    fn an_entry_is_counted_once_whether_it_is_closed_or_dropped() {
        let counters = Arc::new(Counters::default());
        entry(&counters).close(CloseReason::Completed);
        drop(entry(&counters));
        let mut decided = entry(&counters);
        decided.set_close_reason(CloseReason::PeerExpired);
        assert_eq!(counters.active(), 1);
        drop(decided);
        let reasons = [CloseReason::Completed, CloseReason::DrainTimeout, CloseReason::PeerExpired];
        assert_eq!(reasons.map(|reason| counters.count(reason)), [1, 1, 1]);
        assert_eq!((counters.connections(), counters.active()), (3, 0));
    }

    #[test]
    fn a_panic_is_a_fault_of_ours_in_the_entry_of_the_connection_that_it_ends() {
        let counters = Arc::new(Counters::default());
        let theirs = Arc::clone(&counters);
        let ended = std::thread::spawn(move || {
            let mut entry = entry(&theirs);
            entry.fields.transferred = Transferred { up: 7, down: 8 };
            panic!("in the middle of it");
        });
        assert!(ended.join().is_err());
        assert_eq!((counters.count(CloseReason::Internal), counters.bytes(), counters.active()), (1, (7, 8), 0));
    }
}
