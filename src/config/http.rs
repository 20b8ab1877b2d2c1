//! How a listener speaks HTTP.

mod reading;

use std::sync::Arc;
use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};

use crate::http::{HeadRules, HttpRole, Upgrades};
use crate::identity::Client;
use crate::policy::{PathHandling, RoutePath, Rule};
use crate::xfcc::{XfccDetail, XfccForm};

/// How a listener speaks HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// What the app speaks.
    pub app_protocol: AppProtocol,
    /// What becomes of the identity that clients forward, and of their own.
    pub xfcc: XfccMode,
    /// How the client's identity is written; empty: as our own identity suggests, raw where that is Cloud Foundry's, and Envoy's form elsewhere.
    pub xfcc_forms: Vec<XfccForm>,
    /// What of it Envoy's form has.
    pub xfcc_details: Vec<XfccDetail>,
    /// Clients that may forward who has called them.
    pub forward_from: Vec<Rule>,
    /// What those clients do with what others forward to them, as the operator says.
    pub router_xfcc: RouterXfcc,
    /// Who calls where such a client forwards nobody.
    pub xfcc_absent: XfccAbsent,
    /// Whether an identity without a certificate that can be verified counts.
    pub xfcc_verify: XfccVerify,
    /// Host has to be a name of ours, or the one that was asked for in the handshake.
    pub sni_host: bool,
    /// What becomes of paths that apps may read differently than routes do.
    pub paths: PathHandling,
    /// Where callers without identity may ask for health.
    pub health_path: Option<RoutePath>,
    /// The app is told who calls in fields of our own.
    pub caller_headers: bool,
    /// What becomes of X-Forwarded-For.
    pub forwarded_for: ForwardedFor,
    /// Forwarded (RFC 7239) is written.
    pub forwarded: bool,
    /// What we call ourselves in Via; `None`: we are not in it.
    pub via: Option<String>,
    /// Which other protocols a connection may become.
    pub upgrades: Upgrades,
    /// What becomes of them while the instance goes.
    pub upgrade_drain: UpgradeDrain,
    /// The longest head, in bytes.
    pub max_head: usize,
    /// The most fields of a head.
    pub max_fields: usize,
    /// The longest target, in bytes.
    pub max_target: usize,
    /// The longest body, in bytes; `None`: without end.
    pub max_body: Option<u64>,
    /// How long a head may take from its first byte on.
    pub head_timeout: Duration,
    /// How long a body may be silent; `None`: for ever.
    pub body_timeout: Option<Duration>,
    /// How long a client may leave no room for an answer over HTTP/2; `None`: for ever.
    pub window_timeout: Option<Duration>,
    /// How long the app may take to begin its answer; `None`: for ever.
    pub app_timeout: Option<Duration>,
    /// How long a connection to the app waits for the next request.
    pub app_idle_timeout: Duration,
    /// Requests on one connection; `None`: without end.
    pub max_requests: Option<u64>,
}

/// What the app speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum AppProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, which it is known to speak.
    H2c,
}

/// What becomes of the identity that clients forward in X-Forwarded-Client-Cert, and of their own. The words are Envoy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum XfccMode {
    /// None is passed on.
    Sanitize,
    /// The client's own is, if it has a certificate, and no other.
    SanitizeSet,
    /// The client's own is added to what a client with a certificate forwards.
    AppendForward,
    /// What a client with a certificate forwards is passed on.
    ForwardOnly,
    /// What anybody forwards is passed on.
    AlwaysForwardOnly,
}

/// What a router in front of us does with the X-Forwarded-Client-Cert that clients send it; the words are gorouter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum RouterXfcc {
    /// Nobody has said. It may pass what anybody sends, as gorouter does by itself (`always_forward`).
    Unknown,
    /// It writes the identity of its own client, or removes the field.
    SanitizeSet,
    /// It passes what clients send that have a certificate, and removes the field of others.
    Forward,
}

/// The caller of a request without `X-Forwarded-Client-Cert`, from a client that may forward one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum XfccAbsent {
    /// Somebody without a certificate.
    Anonymous,
    /// The client itself.
    Client,
}

/// Whether a forwarded identity has to be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum XfccVerify {
    /// Where it is a certificate; else the word of the client that forwards it counts.
    Optional,
    /// It has to be a certificate for which a client CA vouches.
    Require,
}

/// What becomes of connections that speak another protocol, while the instance goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum UpgradeDrain {
    /// They stay until the drain is over.
    Leave,
    /// Clients that speak WebSocket are told that we go away; others stay.
    Close,
}

/// What becomes of X-Forwarded-For.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ForwardedFor {
    /// The client's address stands behind what it has sent.
    Append,
    /// The client's address stands there alone.
    Set,
    /// It stays as it is.
    Pass,
}

impl HttpConfig {
    /// What heads of requests may be.
    pub(crate) fn head_rules(&self) -> Arc<HeadRules> {
        Arc::new(HeadRules {
            max_head: self.max_head,
            max_fields: self.max_fields,
            max_target: self.max_target,
            role: HttpRole::Server,
            upgrades: self.upgrades.clone(),
        })
    }

    /// What nobody can rely on of whom clients forward that may, each as a sentence for the start. `is_audited`: no rule is enforced.
    pub(crate) fn forwarding_doubts(&self, is_audited: bool) -> Vec<&'static str> {
        // Otherwise the start is refused, or rules admit whoever wants to be nobody.
        let is_unsaid = is_audited && self.router_xfcc == RouterXfcc::Unknown;
        let is_wide = self.forward_from.iter().any(|rule| matches!(rule, Rule::Any | Rule::CloudFoundry));
        let doubts = [
            (
                is_unsaid,
                "callers are judged by what the router forwards, which may be what anybody writes for all that is known; see what it does, and say so by --router-xfcc",
            ),
            (
                self.xfcc_absent == XfccAbsent::Client,
                "where the router forwards nobody it is judged itself (--xfcc-absent client), which is anybody's choice who leaves the field out",
            ),
            (
                is_wide,
                "whoever has a certificate may say that anybody calls; name the router by --xfcc-forward-from, such as dns:gorouter.service.cf.internal",
            ),
        ];
        doubts.into_iter().filter(|(applies, _)| *applies).map(|(_, doubt)| doubt).collect()
    }

    /// Whom `--xfcc` lets tell the app who calls, as a sentence, and what helps; `None`: nobody but those that forward_from names.
    pub(crate) fn xfcc_doubt(&self) -> Option<(String, &'static str)> {
        let mode: &str = self.xfcc.into();
        let what = match self.xfcc {
            XfccMode::AlwaysForwardOnly => format!("--xfcc {mode} lets anybody tell the app who calls"),
            XfccMode::AppendForward | XfccMode::ForwardOnly => {
                format!("--xfcc {mode} lets whoever has a certificate tell the app that others call")
            }
            XfccMode::Sanitize | XfccMode::SanitizeSet => return None,
        };
        Some((what, "leave --xfcc out, and name the proxies in front of us by --xfcc-forward-from"))
    }

    /// Whether `client` may forward who has called it.
    pub(crate) fn trusts(&self, client: &Client) -> bool {
        self.forward_from.iter().any(|rule| rule.matches(client, None))
    }
}
