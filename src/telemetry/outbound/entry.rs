//! The one line that each outbound connection, or each request, leaves behind.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::{OutboundCloseReason, OutboundCounters, RequestMode};
use crate::config::AccessLogFilter;
use crate::identity::PeerCertificate;
use crate::io::{BytesSince, Transferred};
use crate::policy::Rule;
use crate::telemetry::ACCESS_LOG_TARGET;
use crate::telemetry::access_log::milliseconds;
use crate::tls::Negotiated;

/// The fields of an outbound access log entry and what they mean, in their order; for the manual.
pub const OUTBOUND_FIELDS: [(&str, &str); 34] = [
    ("direction", "`outbound`"),
    ("close_reason", "why the connection closed (below)"),
    ("listener", "where the app dialled us"),
    ("to", "whom we dial for it, as configured or as the request names it"),
    (
        "mode",
        "of a request: `http` at an outbound listener; at the forward proxy `absolute` (the URL was in its first line), `tunnel_wrapped` (CONNECT, and plaintext was sent on by mutual TLS), `tunnel_tls` (CONNECT, and TLS of the app's own), `tunnel_raw` (not listed, without our certificate), `tunnel` (CONNECT, and nothing came of it), `refused`",
    ),
    ("method", "the request's method"),
    ("host", "whom the request is for, with the port where its URL or `Host` names one; never its path or query"),
    ("status", "the status of the response"),
    ("endpoint_addr", "the address that has answered, or was tried last"),
    ("via_proxy", "that this is the address of the proxy of `--outbound-proxy`, by which the server is reached"),
    ("attempts", "how many addresses were tried"),
    ("reused", "whether the connection had carried requests before"),
    ("retried", "whether the request was sent a second time, on another connection"),
    (
        "server_name",
        "the name that was asked for (SNI) and verified; where an address is dialled, that address, which is neither",
    ),
    ("tls_version", "what the handshake agreed on, as rustls names it: `TLSv1_3`, `TLSv1_2`"),
    ("cipher_suite", "the cipher suite: `TLS13_AES_256_GCM_SHA384`"),
    ("group", "the key exchange group: `X25519MLKEM768`"),
    ("resumed", "whether an earlier session was resumed"),
    ("server_org", "the organization of the server's Cloud Foundry identity, if a CA vouches for it"),
    ("server_space", "the same, its space"),
    ("server_app", "the same, its app"),
    ("server_instance", "the same, its instance"),
    ("server_subject", "the subject of another server certificate"),
    ("server_serial", "the server certificate's serial number"),
    (
        "rule",
        "the rule by which it may answer: of `--outbound-expect`, of the key `expect` of its table, or of `--forward-proxy-to PATTERN=RULE`",
    ),
    ("bytes_up", "plaintext bytes from the app to the server"),
    ("bytes_down", "plaintext bytes from the server to the app"),
    ("resolve_ms", "milliseconds that the connection waited for a first lookup"),
    ("connect_ms", "milliseconds that the endpoint took to accept"),
    ("handshake_ms", "milliseconds of the handshake"),
    ("duration_ms", "milliseconds from accept to the end"),
    ("generation", "which rotation's pair was shown, counted from 1 at the start"),
    ("detail", "more about what failed"),
    ("suppressed", "how many entries with the same reason were left out before this one"),
];

/// One outbound connection's entry in the log and the counters.
///
/// Written exactly once: by [`OutboundLogEntry::close`], or on drop when the task was cancelled or panicked under us.
#[derive(Debug)]
pub struct OutboundLogEntry {
    counters: Arc<OutboundCounters>,
    access: AccessLogFilter,
    opened: Instant,
    listener: Arc<str>,
    to: Arc<str>,
    /// What the connection has got to so far.
    pub fields: Box<OutboundEntryFields>,
    close_reason: Option<OutboundCloseReason>,
}

/// What is learned of an outbound connection on its way.
#[derive(Debug, Default)]
pub struct OutboundEntryFields {
    /// The address that has answered, or was tried last.
    pub endpoint: Option<SocketAddr>,
    /// It is that of the HTTP proxy on the way.
    pub is_proxied: bool,
    /// How many addresses were tried.
    pub attempts: u32,
    /// The name that was asked for.
    pub server_name: Option<String>,
    /// What the handshake agreed on.
    pub negotiated: Option<Negotiated>,
    /// Who has answered, as far as a CA vouches for it.
    pub server: Option<Arc<PeerCertificate>>,
    /// By which rule it may.
    pub rule: Option<Rule>,
    /// The rotation whose pair was shown.
    pub generation: Option<u64>,
    /// Plaintext bytes carried: up to the server, down to the app.
    pub transferred: Transferred,
    /// What counts them, where somebody else does.
    pub(crate) bytes_since: Option<BytesSince>,
    /// How long the first lookup was waited for.
    pub resolve: Option<Duration>,
    /// How long the endpoint took to accept.
    pub connect: Option<Duration>,
    /// How long the handshake took.
    pub handshake: Option<Duration>,
    /// More about what failed.
    pub detail: Option<String>,
    /// What is known of it as a request, if it is one.
    pub request: Option<RequestFields>,
}

/// The fields of an outbound request's access log entry, filled in as the request goes its way.
#[derive(Debug, Default)]
pub struct RequestFields {
    /// How it was asked for.
    pub mode: RequestMode,
    /// Its method.
    pub method: Option<String>,
    /// Whom it is for.
    pub host: Option<String>,
    /// The status of its response.
    pub status: Option<u16>,
    /// The connection had carried requests before.
    pub reused: bool,
    /// It was sent a second time.
    pub retried: bool,
    /// Why its connection was cut, should it be.
    pub cut: CutReason,
}

/// Why we have cut the app's connection, once we have: what the requests on it end for.
#[derive(Debug, Clone, Default)]
pub struct CutReason(Option<Arc<OnceLock<CutCause>>>);

/// The reason, and what more there is to say of it.
type CutCause = (OutboundCloseReason, Option<String>);

impl CutReason {
    /// That of a connection which goes on.
    pub fn none_yet() -> Self {
        Self(Some(Arc::default()))
    }

    /// From here on this is the reason for whatever ends without one, and there may be more to say of it.
    pub fn set(&self, reason: OutboundCloseReason, detail: Option<String>) {
        if let Some(cut) = &self.0 {
            let _ = cut.set((reason, detail));
        }
    }

    fn get(&self) -> Option<CutCause> {
        self.0.as_ref()?.get().cloned()
    }
}

impl OutboundLogEntry {
    /// Opens the entry of a connection that came in at `listener` for `to`.
    pub fn open(counters: Arc<OutboundCounters>, access: AccessLogFilter, listener: Arc<str>, to: Arc<str>) -> Self {
        counters.count_opened();
        Self { counters, access, opened: Instant::now(), listener, to, fields: Box::default(), close_reason: None }
    }

    /// Opens the entry of a request that came in at `listener` for `to`.
    pub fn open_request(
        counters: Arc<OutboundCounters>,
        access: AccessLogFilter,
        listener: Arc<str>,
        to: Arc<str>,
        request: RequestFields,
    ) -> Self {
        let fields = Box::new(OutboundEntryFields { request: Some(request), ..OutboundEntryFields::default() });
        Self { counters, access, opened: Instant::now(), listener, to, fields, close_reason: None }
    }

    /// It is known by now for whom it is.
    pub fn set_to(&mut self, to: Arc<str>) {
        self.to = to;
    }

    /// Whom it is for, and the address that has answered or was tried last, for people.
    pub fn server(&self) -> String {
        let by = if self.fields.is_proxied { "by way of" } else { "at" };
        match self.fields.endpoint.map(|addr| addr.to_string()).filter(|addr| **addr != *self.to) {
            Some(addr) => format!("{} {by} {addr}", self.to),
            None => self.to.to_string(),
        }
    }

    /// How long the connection has been open.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// From here on this is the reason, even should the connection be cut short before its entry is written.
    pub fn set_close_reason(&mut self, reason: OutboundCloseReason) {
        self.close_reason = Some(reason);
    }

    /// Writes the entry.
    pub fn close(mut self, reason: OutboundCloseReason) {
        self.set_close_reason(reason);
    }

    fn write(&self, reason: OutboundCloseReason) {
        let OutboundEntryFields {
            endpoint,
            is_proxied,
            attempts,
            server_name,
            negotiated,
            server,
            rule,
            generation,
            transferred,
            bytes_since,
            resolve,
            connect,
            handshake,
            detail,
            request,
        } = &*self.fields;
        let transferred = bytes_since.as_ref().map_or(*transferred, BytesSince::bytes);
        let now = Instant::now();
        match request {
            Some(request) => self.counters.count_request(reason, request.mode, request.status, transferred),
            None => self.counters.count_closed(reason, transferred),
        }
        let logged = match self.access {
            AccessLogFilter::Off => false,
            AccessLogFilter::Denied => reason.is_failure(),
            AccessLogFilter::All => true,
        };
        let suppressed = match self.access {
            AccessLogFilter::Denied if logged => match self.counters.limiter.admit(reason as usize, now) {
                Some(left_out) => Some(left_out).filter(|left_out| *left_out > 0),
                None => return,
            },
            _ => None,
        };
        let identity = server.as_ref().and_then(|server| server.identity.as_ref().ok()?.as_ref());
        let what = if request.is_some() { "request completed" } else { "connection closed" };
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: ACCESS_LOG_TARGET,
                    direction = "outbound",
                    close_reason = reason.as_str(),
                    listener = %self.listener,
                    to = %self.to,
                    mode = request.as_ref().map(|request| <&str>::from(request.mode)),
                    method = request.as_ref().and_then(|request| request.method.as_deref()),
                    host = request.as_ref().and_then(|request| request.host.as_deref()),
                    status = request.as_ref().and_then(|request| request.status),
                    endpoint_addr = endpoint.map(display),
                    via_proxy = is_proxied.then_some(true),
                    attempts,
                    reused = request.as_ref().map(|request| request.reused),
                    retried = request.as_ref().map(|request| request.retried),
                    server_name = server_name.as_deref(),
                    tls_version = negotiated.as_ref().and_then(Negotiated::version_name),
                    cipher_suite = negotiated.as_ref().and_then(Negotiated::suite_name),
                    group = negotiated.as_ref().and_then(Negotiated::group_name),
                    resumed = negotiated.as_ref().map(|negotiated| negotiated.resumed),
                    server_org = identity.and_then(|identity| identity.organization).map(display),
                    server_space = identity.and_then(|identity| identity.space).map(display),
                    server_app = identity.and_then(|identity| identity.app).map(display),
                    server_instance = identity.and_then(|identity| identity.instance.as_ref()).map(display),
                    server_subject = server.as_ref().filter(|_| identity.is_none()).map(|server| server.subject.as_str()),
                    server_serial = server.as_ref().map(|server| server.serial.as_str()),
                    rule = rule.as_ref().map(display),
                    bytes_up = transferred.up,
                    bytes_down = transferred.down,
                    resolve_ms = resolve.map(milliseconds),
                    connect_ms = connect.map(milliseconds),
                    handshake_ms = handshake.map(milliseconds),
                    duration_ms = milliseconds(now - self.opened),
                    generation,
                    detail,
                    suppressed,
                    "{what}"
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

impl Drop for OutboundLogEntry {
    fn drop(&mut self) {
        let reason = match (self.close_reason, &self.fields.request) {
            (Some(reason), _) => reason,
            (None, _) if std::thread::panicking() => OutboundCloseReason::Internal,
            // Where we have not ended it, nobody waits for the answer any more.
            (None, Some(request)) => {
                let (reason, detail) = request.cut.get().unwrap_or((OutboundCloseReason::AppReset, None));
                self.fields.detail = self.fields.detail.take().or(detail);
                reason
            }
            // The runtime has dropped the task: the process ends.
            (None, None) => OutboundCloseReason::DrainTimeout,
        };
        self.write(reason);
    }
}
