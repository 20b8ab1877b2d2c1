//! The one line that each connection leaves behind.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::config::AccessLog;
use crate::connection::Reason;
use crate::identity::Client;
use crate::policy;
use crate::policy::Denial;
use crate::policy::Permit;
use crate::relay::Carried;
use crate::telemetry::Counters;
use crate::telemetry::verdict::Verdict;
use crate::tls::Negotiated;

/// The target of the events that are records; it sets them apart from the rest of the log.
pub const RECORD_TARGET: &str = "vestibule::record";

/// The fields of a record and what they mean, in their order; for the manual.
pub const FIELDS: [(&str, &str); 27] = [
    ("peer", "the client's address"),
    ("via", "the load balancer that has told us `peer` (`--accept-proxy-protocol`)"),
    ("reason", "why the connection ended (below)"),
    ("listener", "the listener's address"),
    ("server_name", "the name the client asked for (SNI); it decides nothing"),
    ("tls_version", "what the handshake agreed on, as rustls names it: `TLSv1_3`, `TLSv1_2`"),
    ("suite", "the cipher suite: `TLS13_AES_256_GCM_SHA384`"),
    ("group", "the key exchange group: `X25519MLKEM768`"),
    ("alpn", "the ALPN protocol: `h2`, `http/1.1`"),
    ("resumed", "whether an earlier session was resumed"),
    ("caller_org", "the organization of the client's Cloud Foundry identity, if a client CA vouches for it"),
    ("caller_space", "the same, its space"),
    ("caller_app", "the same, its app"),
    ("caller_instance", "the same, its instance"),
    ("caller_subject", "the subject of another client certificate"),
    ("serial", "the client certificate's serial number"),
    ("verdict", "`permit`, `denial` or `audit`; where a certificate was shown, or the client was denied"),
    ("rule", "the rule that decided"),
    ("denial", "[why not](../clients.md#what-the-denied-see); with `audit`, why not otherwise"),
    ("bytes_up", "plaintext bytes that the app was given; what `--proxy-protocol` adds does not count"),
    (
        "bytes_down",
        "plaintext bytes that the app has sent and the proxy has passed on; without what is known not to have reached the client",
    ),
    ("dial_ms", "milliseconds that the app took to accept, with the wait of `--hold-until-ready`"),
    ("handshake_ms", "milliseconds from accept to the end of the handshake"),
    ("duration_ms", "milliseconds from accept to the end"),
    ("generation", "which rotation's pair was shown, counted from 1 at the start"),
    ("detail", "more about a connection that did not get as far as the relay"),
    (
        "suppressed",
        "how many records with the same reason were left out before this one, to keep a flood out of the log",
    ),
];

/// One connection's entry in the log and the counters.
///
/// Written exactly once: by [`Record::close`], or on drop when the task was cancelled or panicked under us.
#[derive(Debug)]
pub struct Record {
    counters: Arc<Counters>,
    access: AccessLog,
    opened: Instant,
    peer: SocketAddr,
    /// The load balancer that has told us the peer.
    via: Option<SocketAddr>,
    listener: SocketAddr,
    /// What the connection has got to so far.
    pub facts: Box<Facts>,
    reason: Option<Reason>,
}

/// What is learned of a connection on its way.
#[derive(Debug, Default)]
pub struct Facts {
    /// The name the client asked for.
    pub server_name: Option<String>,
    /// The rotation whose pair was shown.
    pub generation: Option<u64>,
    /// What the handshake agreed on.
    pub negotiated: Option<Negotiated>,
    /// Who called, as far as the roots have vouched for it.
    pub client: Option<Client>,
    /// What the policy said.
    pub verdict: Option<Result<Permit, Denial>>,
    /// How long the app took to accept.
    pub dial: Option<Duration>,
    /// From accept to the end of the handshake.
    pub handshake: Option<Duration>,
    /// Bytes carried.
    pub carried: Carried,
    /// More about the end.
    pub detail: Option<String>,
}

impl Record {
    /// Opens the record of a connection from `peer` to `listener`.
    pub fn open(counters: Arc<Counters>, access: AccessLog, peer: SocketAddr, listener: SocketAddr) -> Self {
        let opened = Instant::now();
        counters.opened(opened);
        Self { counters, access, opened, peer, via: None, listener, facts: Box::default(), reason: None }
    }

    /// How long the connection has been open.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Whoever is connected to us speaks for `peer`.
    pub fn on_behalf_of(&mut self, peer: SocketAddr) {
        self.via = Some(std::mem::replace(&mut self.peer, peer));
    }

    /// Keeps the text of an error and of its causes.
    pub fn explain(&mut self, error: &dyn Error) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.facts.detail = Some(text);
    }

    /// The app has accepted or refused, or was waited for, and it `took` so long.
    pub fn dialled(&mut self, took: Duration) {
        self.counters.dialled(took);
        self.facts.dial = Some(took);
    }

    /// The handshake was completed.
    pub fn agreed(&mut self, negotiated: Negotiated) {
        let took = self.age();
        self.counters.agreed(&negotiated, took);
        self.facts.handshake = Some(took);
        self.facts.negotiated = Some(negotiated);
    }

    /// A verdict on the client was come to.
    pub fn judged(&mut self, verdict: Result<Permit, Denial>) {
        let client = self.facts.client.as_ref();
        self.counters.judged(client, &verdict);
        self.counters.denials.judged(self.peer, self.listener, client, &verdict);
        self.facts.verdict = Some(verdict);
    }

    /// From here on this is the reason, even should the connection be cut short before its record is written.
    pub fn decided(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }

    /// Writes the record.
    pub fn close(mut self, reason: Reason) {
        self.decided(reason);
    }

    fn write(&self, reason: Reason) {
        let Facts { server_name, generation, negotiated, client, verdict, dial, handshake, carried, detail } =
            &*self.facts;
        let holder = client.as_ref().and_then(Client::holder);
        let caller = client.as_ref().and_then(Client::identity);
        // Everybody may come in where nobody is asked who they are.
        let judged = verdict.as_ref().filter(|_| holder.is_some() || reason == Reason::Denied).map(Verdict::of);
        let (verdict, rule, denial) = judged.map_or((None, None, None), |(word, rule, why)| (Some(word), rule, why));
        let now = Instant::now();
        self.counters.ended(reason, negotiated.is_some(), *carried, now);
        let logged = match self.access {
            AccessLog::Off => false,
            AccessLog::Denied => reason.is_refusal(),
            AccessLog::All => reason != Reason::Probe,
        };
        // Who asked for all gets all.
        let suppressed = match self.access {
            AccessLog::Denied if logged => match self.counters.limiter.admit(reason, now) {
                Some(left_out) => Some(left_out).filter(|left_out| *left_out > 0),
                None => return self.counters.suppressed(),
            },
            _ => None,
        };
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: RECORD_TARGET,
                    peer = %self.peer,
                    via = self.via.map(display),
                    reason = reason.as_str(),
                    listener = %self.listener,
                    server_name = server_name.as_deref(),
                    tls_version = negotiated.as_ref().and_then(Negotiated::version_name),
                    suite = negotiated.as_ref().and_then(Negotiated::suite_name),
                    group = negotiated.as_ref().and_then(Negotiated::group_name),
                    alpn = negotiated.as_ref().and_then(Negotiated::alpn_name),
                    resumed = negotiated.as_ref().map(|negotiated| negotiated.resumed),
                    caller_org = caller.and_then(|caller| caller.organization).map(display),
                    caller_space = caller.and_then(|caller| caller.space).map(display),
                    caller_app = caller.and_then(|caller| caller.app).map(display),
                    caller_instance = caller.and_then(|caller| caller.instance.as_ref()).map(display),
                    caller_subject = holder.filter(|_| caller.is_none()).map(|holder| holder.subject.as_str()),
                    serial = holder.map(|holder| holder.serial.as_str()),
                    verdict = verdict.map(Verdict::as_str),
                    rule = rule.map(display),
                    denial = denial.map(policy::Reason::as_str),
                    bytes_up = carried.up,
                    bytes_down = carried.down,
                    dial_ms = dial.map(milliseconds),
                    handshake_ms = handshake.map(milliseconds),
                    duration_ms = milliseconds(now - self.opened),
                    generation,
                    detail,
                    suppressed,
                    "connection ended"
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

impl Drop for Record {
    fn drop(&mut self) {
        let reason = match self.reason {
            Some(reason) => reason,
            None if std::thread::panicking() => Reason::Internal,
            // The runtime has dropped the task: the process ends.
            None => Reason::DrainTimeout,
        };
        self.write(reason);
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(counters: &Arc<Counters>) -> Record {
        let somewhere = SocketAddr::from(([127, 0, 0, 1], 1));
        Record::open(Arc::clone(counters), AccessLog::Off, somewhere, somewhere)
    }

    #[test]
    fn a_record_is_counted_once_whether_it_is_closed_or_dropped() {
        let counters = Arc::new(Counters::default());
        record(&counters).close(Reason::Completed);
        drop(record(&counters));
        let mut decided = record(&counters);
        decided.decided(Reason::PeerExpired);
        assert_eq!(counters.active(), 1);
        drop(decided);
        let reasons = [Reason::Completed, Reason::DrainTimeout, Reason::PeerExpired];
        assert_eq!(reasons.map(|reason| counters.count(reason)), [1, 1, 1]);
        assert_eq!((counters.connections(), counters.active()), (3, 0));
    }

    #[test]
    fn a_panic_is_a_fault_of_ours_on_the_record_of_the_connection_that_it_ends() {
        let counters = Arc::new(Counters::default());
        let theirs = Arc::clone(&counters);
        let ended = std::thread::spawn(move || {
            let mut record = record(&theirs);
            record.facts.carried = Carried { up: 7, down: 8 };
            panic!("in the middle of it");
        });
        assert!(ended.join().is_err());
        assert_eq!((counters.count(Reason::Internal), counters.bytes(), counters.active()), (1, (7, 8), 0));
    }
}
