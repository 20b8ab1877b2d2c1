//! What the requests of one client connection have in common.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue};

use super::app::AppConnections;
use super::service::HttpService;
use crate::config::HttpConfig;
use crate::http::HeadRules;
use crate::identity::Client;
use crate::inbound::service::InboundService;
use crate::lifecycle::Phase;
use crate::policy::{Permit, Rule};
use crate::telemetry::{AccessLogEntry, RequestCounters, RequestReason};
use crate::xfcc;
use crate::xfcc::XfccForm;

/// What the requests of one client connection have in common.
#[derive(Debug)]
pub(super) struct HttpConnection {
    pub(super) service: Arc<InboundService>,
    pub(super) config: Arc<HttpConfig>,
    pub(super) head_rules: Arc<HeadRules>,
    pub(super) counters: Arc<RequestCounters>,
    /// Its number among all of the process.
    pub(super) number: u64,
    /// Where the client is.
    pub(super) client_addr: SocketAddr,
    /// Who it is.
    pub(super) client: Client,
    /// By which rule it came in.
    pub(super) rule: Option<Rule>,
    /// It may forward who has called it, and whence.
    pub(super) is_trusted: bool,
    /// Each request may have to be judged, and not only the connection.
    pub(super) judges_requests: bool,
    /// Whom the client has asked for in the handshake.
    pub(super) server_name: Option<String>,
    /// What the client dialled with.
    pub(super) scheme: &'static str,
    pub(super) apps: AppConnections,
    /// Why it is cut, once it is.
    pub(super) cut: Arc<OnceLock<RequestReason>>,
    identity: OnceLock<ClientFields>,
    activity: Activity,
}

/// Who the client is, as fields of requests.
#[derive(Debug, Default)]
struct ClientFields {
    identity: Vec<(HeaderName, HeaderValue)>,
    caller: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug)]
struct Activity {
    opened: Instant,
    in_flight: AtomicUsize,
    begun: AtomicU64,
    /// Microseconds after `opened` at which the last answer has ended.
    last_end: AtomicU64,
    /// Each next answer is the last one.
    is_draining: AtomicBool,
    /// Whether the end of an answer was said to be the end of the connection.
    has_said_close: AtomicBool,
    /// Its client may ask for nothing more.
    is_denied: AtomicBool,
    /// Its client had the time to hear that it ends.
    is_over: AtomicBool,
}

/// One request under way.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<HttpConnection>);

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl HttpConnection {
    /// A connection of `client`, which has a `permit`, and of which `entry` tells the rest.
    pub(super) fn new(
        permit: &Permit,
        service: Arc<InboundService>,
        http: &HttpService,
        client: Client,
        entry: &AccessLogEntry,
        apps: AppConnections,
    ) -> Arc<Self> {
        // Without TLS none may connect who may not say who calls.
        let is_platform_proxy = service.plaintext.is_some();
        let is_trusted = is_platform_proxy || http.config.trusts(&client);
        // Whoever came in to ask for health may ask for nothing else.
        let is_for_health = http.config.health_path.is_some() && client == Client::Anonymous;
        Arc::new(Self {
            service,
            config: Arc::clone(&http.config),
            head_rules: Arc::clone(&http.head_rules),
            counters: Arc::clone(&http.counters),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            client_addr: entry.client_addr(),
            client,
            rule: permit.rule().filter(|_| !is_platform_proxy).cloned(),
            is_trusted,
            judges_requests: is_trusted || is_for_health || http.may_have_routes || http.config.sni_host,
            server_name: entry.fields.server_name.clone(),
            scheme: if is_platform_proxy { "http" } else { "https" },
            apps,
            cut: Arc::default(),
            identity: OnceLock::new(),
            activity: Activity {
                opened: Instant::now(),
                in_flight: AtomicUsize::new(0),
                begun: AtomicU64::new(0),
                last_end: AtomicU64::new(0),
                is_draining: AtomicBool::new(false),
                has_said_close: AtomicBool::new(false),
                is_denied: AtomicBool::new(false),
                is_over: AtomicBool::new(false),
            },
        })
    }

    /// Whether its client is whoever may connect without TLS.
    pub(super) fn is_platform_proxy(&self) -> bool {
        self.service.plaintext.is_some()
    }

    /// Whether its client has shown no certificate, where others have to for some of what they ask for.
    pub(super) fn is_stranger(&self) -> bool {
        self.judges_requests && !self.is_trusted && self.client == Client::Anonymous
    }

    fn fields(&self) -> &ClientFields {
        self.identity.get_or_init(|| {
            let identity = match self.client.certificate() {
                Some(certificate) => {
                    let own = self.service.snapshots.load().and_then(|snapshot| snapshot.own.clone());
                    let is_cf = own.as_ref().is_some_and(|own| matches!(own.identity, Ok(Some(_))));
                    let uris = own.as_ref().map_or(&[][..], |own| &own.names.uris);
                    let usual = [if is_cf { XfccForm::Raw } else { XfccForm::Envoy }];
                    let asked = &self.config.xfcc_forms;
                    let forms = if asked.is_empty() { &usual[..] } else { asked };
                    xfcc::identity_fields(certificate, uris, forms, &self.config.xfcc_details).fields
                }
                None => Vec::new(),
            };
            ClientFields { identity, caller: self.fields_of_caller(&self.client) }
        })
    }

    /// Who the client is, as fields that others write too; empty without a certificate.
    pub(super) fn identity_fields(&self) -> &[(HeaderName, HeaderValue)] {
        &self.fields().identity
    }

    /// Who the client is, in fields of our own, if they are asked for.
    pub(super) fn caller_fields(&self) -> &[(HeaderName, HeaderValue)] {
        &self.fields().caller
    }

    /// Who `caller` is, in fields of our own, if they are asked for.
    pub(super) fn fields_of_caller(&self, caller: &Client) -> Vec<(HeaderName, HeaderValue)> {
        if self.config.caller_headers { xfcc::caller_fields(caller) } else { Vec::new() }
    }

    /// One more request is under way.
    pub(super) fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.activity.in_flight.fetch_add(1, Ordering::AcqRel);
        self.activity.begun.fetch_add(1, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    /// Whether no request is under way, and since when.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let last_end = Duration::from_micros(self.activity.last_end.load(Ordering::Acquire));
        (self.activity.in_flight.load(Ordering::Acquire) == 0).then(|| self.activity.opened + last_end)
    }

    /// Requests that have begun.
    pub(super) fn requests(&self) -> u64 {
        self.activity.begun.load(Ordering::Relaxed)
    }

    /// Each next answer is the last one on its connection, where HTTP/1.1 is spoken.
    pub(super) fn set_draining(&self) {
        self.activity.is_draining.store(true, Ordering::Release);
    }

    /// Whether that was said.
    pub(super) fn is_draining(&self) -> bool {
        // Whoever asks may be ahead of whoever notes it.
        self.activity.is_draining.load(Ordering::Acquire) || *self.service.phase.borrow() != Phase::Running
    }

    /// Its client is none any more that may come in: what is under way may end, and nothing more may begin.
    pub(super) fn set_denied(&self) {
        self.activity.is_denied.store(true, Ordering::Release);
    }

    /// Whether that was said.
    pub(super) fn is_denied(&self) -> bool {
        self.activity.is_denied.load(Ordering::Acquire)
    }

    /// Its client had the time to hear that it ends: what is under way may end, and nothing more may begin.
    pub(super) fn set_over(&self) {
        self.activity.is_over.store(true, Ordering::Release);
    }

    /// Whether that was said.
    pub(super) fn is_over(&self) -> bool {
        self.activity.is_over.load(Ordering::Acquire)
    }

    /// Whether the answer that begins now is the last one; to be asked once for each.
    pub(super) fn says_close(&self) -> bool {
        let is_worn_out = self.config.max_requests.is_some_and(|most| self.requests() >= most);
        let instance_goes = *self.service.phase.borrow() != Phase::Running;
        if instance_goes && !self.activity.has_said_close.swap(true, Ordering::AcqRel) {
            self.counters.count_drain_close();
        }
        self.is_draining() || is_worn_out
    }
}

impl RequestGuard {
    /// The connection that it came by.
    pub(super) fn connection(&self) -> &Arc<HttpConnection> {
        &self.0
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let activity = &self.0.activity;
        let now = u64::try_from(activity.opened.elapsed().as_micros()).unwrap_or(u64::MAX);
        activity.last_end.store(now, Ordering::Release);
        activity.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
