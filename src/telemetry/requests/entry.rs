//! The one line that each request of a client leaves behind.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::{MethodLabel, RequestCounters, RequestReason};
use hyper::header::HeaderValue;
use hyper::{Method, Uri};

use crate::config::AccessLogFilter;
use crate::identity::Client;
use crate::io::Transferred;
use crate::policy::Rule;
use crate::telemetry::ACCESS_LOG_TARGET;
use crate::telemetry::access_log::milliseconds;
use crate::telemetry::addr_text::AddrText;

/// The fields of the entry of a request and what they mean, in their order; for the manual.
pub const REQUEST_FIELDS: [(&str, &str); 43] = [
    ("conn", "the number of the client's connection, which its own entry has too"),
    ("client_addr", "the client's address"),
    ("listener", "the listener's address"),
    ("method", "the request's method; not there where the head was refused before it was read"),
    ("path", "what it asks for, without the query; not there in the same case"),
    ("host", "whom it is for"),
    ("http_version", "what the client speaks: `1.0`, `1.1`, `2`"),
    ("app_protocol", "what the app speaks: `http1`, `h2c`"),
    ("status", "the status of the answer"),
    ("reason", "why it did not get the app's whole answer (below)"),
    ("id", "the `id` of an answer of our own"),
    ("rule", "the rule that decided; `anonymous` for a client without a certificate also where no rule is given"),
    ("route", "the path of the route that decided"),
    ("path_folded", "the path as rules see it, where it is written in another way"),
    ("fragment", "whether there was a fragment behind the path, which was cut"),
    ("would_deny", "in audit mode, why it would have been refused otherwise"),
    ("bytes_in", "bytes of the request's body that were passed on"),
    ("bytes_out", "bytes of the answer's body that were passed on"),
    ("to_app_ms", "milliseconds until there was a connection to the app"),
    ("first_byte_ms", "milliseconds until the head of the answer"),
    ("total_ms", "milliseconds until the end of the answer"),
    ("reused", "whether the connection to the app had carried requests before"),
    ("retried", "whether the request was sent to the app a second time"),
    ("upgraded", "the protocol that the connection has become"),
    ("grpc_status", "the status of a gRPC call"),
    ("trace_id", "the trace that the request is part of (`traceparent`)"),
    ("client", "`platform_proxy` without TLS (`--tls off`): whoever may connect, and says who calls"),
    ("client_org", "the organization of the client's Cloud Foundry identity"),
    ("client_space", "the same, its space"),
    ("client_app", "the same, its app"),
    ("client_instance", "the same, its instance"),
    ("client_subject", "the subject of another client certificate"),
    ("client_serial", "the client certificate's serial number"),
    (
        "caller_org",
        "who has called by way of a client that may forward that (`--xfcc-forward-from`, `--tls off`): its organization",
    ),
    ("caller_space", "the same, its space"),
    ("caller_app", "the same, its app"),
    ("caller_instance", "the same, its instance"),
    ("caller_subject", "the subject of another caller's certificate"),
    ("caller_form", "how it was forwarded: `raw`, `envoy`"),
    ("caller_verified", "whether a client CA vouches for it, or the client's word alone"),
    ("anonymous_caller", "whether nobody was forwarded"),
    ("detail", "more about what failed"),
    ("suppressed", "how many entries with the same reason were left out before this one"),
];

/// One request's entry in the log and the counters.
///
/// Written exactly once: by [`RequestLogEntry::close`], or on drop when nobody waits for the answer any more.
#[derive(Debug)]
pub struct RequestLogEntry {
    counters: Arc<RequestCounters>,
    access: AccessLogFilter,
    opened: Instant,
    /// What the request has got to so far.
    pub fields: Box<RequestEntryFields>,
    end: Option<Option<RequestReason>>,
}

/// The fields of the access log entry of a request in HTTP mode, filled in as the request goes its way.
#[derive(Debug)]
pub struct RequestEntryFields {
    /// The number of its connection.
    pub conn: u64,
    /// Where the client is.
    pub client_addr: SocketAddr,
    /// Where it came in.
    pub listener: SocketAddr,
    /// Who has called.
    pub client: Client,
    /// Without TLS it is whoever may connect.
    pub is_platform_proxy: bool,
    /// Its head was refused before anybody has read it: method and target stand in for what there is.
    pub is_unread: bool,
    /// Its method.
    pub method: Method,
    /// Its target, of which the query is never written.
    pub target: Uri,
    /// Whom it is for.
    pub host: Option<HeaderValue>,
    /// What the client speaks.
    pub http_version: &'static str,
    /// What the app speaks.
    pub app_protocol: &'static str,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The number of an answer of our own.
    pub id: Option<String>,
    /// By which rule it may.
    pub rule: Option<Rule>,
    /// By which route.
    pub route: Option<String>,
    /// The path as rules see it, if it is another.
    pub path_folded: Option<String>,
    /// There was a fragment.
    pub fragment: bool,
    /// Why it would have been refused, in audit mode.
    pub would_deny: Option<RequestReason>,
    /// Bytes of bodies that were passed on: up to the app, down to the client.
    pub transferred: Transferred,
    /// How long it took to have a connection to the app.
    pub to_app: Option<Duration>,
    /// How long it took to have the head of the answer.
    pub first_byte: Option<Duration>,
    /// The connection to the app had carried requests before.
    pub reused: bool,
    /// It was sent a second time.
    pub retried: bool,
    /// What the connection has become.
    pub upgraded: Option<String>,
    /// The status of a gRPC call.
    pub grpc_status: Option<String>,
    /// The trace that it is part of.
    pub trace_id: Option<String>,
    /// Who has called by way of the client.
    pub caller: Option<Client>,
    /// How that was forwarded.
    pub caller_form: Option<&'static str>,
    /// Whether a client CA vouches for it.
    pub caller_verified: Option<bool>,
    /// More about what failed.
    pub detail: Option<String>,
    /// Why the connection was cut, once it was.
    pub cut: Arc<OnceLock<RequestReason>>,
}

impl RequestLogEntry {
    /// Opens the entry of a request of which `fields` is known.
    pub fn open(counters: Arc<RequestCounters>, access: AccessLogFilter, fields: RequestEntryFields) -> Self {
        counters.count_opened();
        Self { counters, access, opened: Instant::now(), fields: Box::new(fields), end: None }
    }

    /// How long it has been under way.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// What counts it.
    pub fn counters(&self) -> &Arc<RequestCounters> {
        &self.counters
    }

    /// Writes the entry. `None`: the client has got the app's whole answer.
    pub fn close(mut self, reason: Option<RequestReason>) {
        self.end = Some(reason);
    }

    /// It will have been closed for this `reason`, unless it is closed for another.
    pub fn set_reason(&mut self, reason: RequestReason) {
        self.end = Some(Some(reason));
    }

    fn write(&self, reason: Option<RequestReason>) {
        let fields = &*self.fields;
        let took = self.age();
        let method = Some(fields.method.as_str()).filter(|_| !fields.is_unread);
        self.counters.count_ended(method.map_or(MethodLabel::Other, MethodLabel::of), fields.status, reason, took);
        let logged = match self.access {
            AccessLogFilter::Off => false,
            AccessLogFilter::Denied => fields.would_deny.is_some() || reason.is_some_and(RequestReason::is_refusal),
            AccessLogFilter::All => true,
        };
        let kind = reason.or(fields.would_deny);
        let suppressed = match (self.access, kind) {
            (AccessLogFilter::Denied, Some(kind)) if logged => {
                match self.counters.limiter.admit(kind as usize, Instant::now()) {
                    Some(left_out) => Some(left_out).filter(|left_out| *left_out > 0),
                    None => return,
                }
            }
            _ => None,
        };
        let certificate = fields.client.certificate();
        let identity = fields.client.identity();
        let caller = fields.caller.as_ref();
        let called_by = caller.and_then(Client::identity);
        let caller_subject = caller.and_then(Client::certificate).filter(|_| called_by.is_none());
        let (client_addr, listener) = (AddrText::of(fields.client_addr), AddrText::of(fields.listener));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: ACCESS_LOG_TARGET,
                    message = "request completed",
                    conn = fields.conn,
                    client_addr = client_addr.as_str(),
                    listener = listener.as_str(),
                    method,
                    path = method.map(|_| fields.target.path()),
                    host = fields.host.as_ref().and_then(|host| host.to_str().ok()),
                    http_version = fields.http_version,
                    app_protocol = fields.app_protocol,
                    status = fields.status,
                    reason = reason.map(RequestReason::as_str),
                    id = fields.id.as_deref(),
                    rule = fields.rule.as_ref().map(tracing::field::display),
                    route = fields.route.as_deref(),
                    path_folded = fields.path_folded.as_deref(),
                    fragment = fields.fragment.then_some(true),
                    would_deny = fields.would_deny.map(RequestReason::as_str),
                    bytes_in = fields.transferred.up,
                    bytes_out = fields.transferred.down,
                    to_app_ms = fields.to_app.map(milliseconds),
                    first_byte_ms = fields.first_byte.map(milliseconds),
                    total_ms = milliseconds(took),
                    reused = fields.reused.then_some(true),
                    retried = fields.retried.then_some(true),
                    upgraded = fields.upgraded.as_deref(),
                    grpc_status = fields.grpc_status.as_deref(),
                    trace_id = fields.trace_id.as_deref(),
                    client = fields.is_platform_proxy.then_some("platform_proxy"),
                    client_org = identity.and_then(|identity| identity.organization).map(tracing::field::display),
                    client_space = identity.and_then(|identity| identity.space).map(tracing::field::display),
                    client_app = identity.and_then(|identity| identity.app).map(tracing::field::display),
                    client_instance = identity.and_then(|identity| identity.instance.as_ref()).map(tracing::field::display),
                    client_subject = certificate.filter(|_| identity.is_none()).map(|certificate| certificate.subject.as_str()),
                    client_serial = certificate.map(|certificate| certificate.serial.as_str()),
                    caller_org = called_by.and_then(|identity| identity.organization).map(tracing::field::display),
                    caller_space = called_by.and_then(|identity| identity.space).map(tracing::field::display),
                    caller_app = called_by.and_then(|identity| identity.app).map(tracing::field::display),
                    caller_instance = called_by.and_then(|identity| identity.instance.as_ref()).map(tracing::field::display),
                    caller_subject = caller_subject.map(|certificate| certificate.subject.as_str()),
                    caller_form = fields.caller_form,
                    caller_verified = fields.caller_verified,
                    anonymous_caller = caller.is_some_and(|caller| caller.certificate().is_none()).then_some(true),
                    detail = fields.detail.as_deref(),
                    suppressed,
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

impl Drop for RequestLogEntry {
    fn drop(&mut self) {
        let reason = match self.end {
            Some(reason) => reason,
            None if std::thread::panicking() => Some(RequestReason::Internal),
            // Where we have not ended it, nobody waits for the answer any more.
            None => Some(self.fields.cut.get().copied().unwrap_or(RequestReason::ClientClosed)),
        };
        self.write(reason);
    }
}
