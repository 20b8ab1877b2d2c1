//! What there is to say about this process: gathered once for each answer, and shown as it stands by `/status.json` and, for
//! people, by the page at `/`.

mod app_files;
mod listeners;
mod outbounds;
mod pairs;
mod requests;
mod rules;
mod sandbox;
mod secrets;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde::Serialize;
use tokio::sync::watch;

use crate::config::{ClientAuthConfig, HttpConfig, PairSource};
use crate::credentials::{ReloadFailure, RotationStats, ServedCertificate, SnapshotReceiver};
use crate::diagnostics::{LONGEST_LINE, SafeText, date};
use crate::identity::Identity;
use crate::lifecycle::{Health, Phase, Readiness};
use crate::outbound::OutboundOverview;
use crate::sandbox::SandboxReport;
use crate::telemetry::{AppFileCounters, BUCKET, Bucket, Counters, Denied, DeniedClient, log_level};

pub(super) use app_files::AppFileStatus;
pub(super) use listeners::{ListenerStatus, PolicyStatus};
pub(super) use outbounds::{EndpointFailureStatus, ForwardProxyStatus, OutboundFailures, OutboundStatus};
pub(super) use pairs::PairStatus;
pub(super) use requests::HttpStatus;
pub(super) use rules::Rules;
pub(super) use sandbox::SandboxStatus;
pub(super) use secrets::SecretsStatus;
pub(super) use tokens::TokenStatus;

/// For paths and details of our own configuration, in characters.
const PATH: usize = 200;

/// Failures that are shown: each file of a folder may be one.
pub(super) const MAX_FAILING: usize = 50;

/// Where the answers about the whole process come from, beside its readiness.
#[derive(Debug)]
pub struct StatusSources {
    /// What is counted.
    pub counters: Arc<Counters>,
    /// What has become of new files.
    pub rotation_stats: Arc<RotationStats>,
    /// The pairs that are shown.
    pub served: watch::Receiver<Vec<ServedCertificate>>,
    /// Where the process stands.
    pub phase: watch::Receiver<Phase>,
    /// The listeners, in the order of the configuration.
    pub listeners: Vec<ListenerInfo>,
    /// All that listens for the app.
    pub outbound: OutboundOverview,
    /// How the files for the app stand, if there are any.
    pub app_files: Option<Arc<AppFileCounters>>,
    /// What the process has given up.
    pub sandbox: Arc<SandboxReport>,
    /// When it began to serve.
    pub started: SystemTime,
}

/// One listener, as it was set up.
#[derive(Debug, Clone)]
pub struct ListenerInfo {
    /// Its address.
    pub listener: SocketAddr,
    /// The way to the app behind it.
    pub app: Arc<Health>,
    /// Where the pair is found that it shows; `None`: TLS is off.
    pub pair: Option<PairSource>,
    /// Which clients may come in.
    pub clients: ClientAuthConfig,
    /// What its handshakes are served with.
    pub snapshots: SnapshotReceiver,
    /// How it speaks HTTP; `None`: bytes are carried.
    pub http: Option<Arc<HttpConfig>>,
}

/// Everything that is shown. Whatever others have written in it is [`SafeText`].
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) tls: &'static str,
    pub(super) crypto: &'static str,
    pub(super) fips: bool,
    pub(super) now: String,
    pub(super) started: String,
    pub(super) uptime_seconds: u64,
    pub(super) sandbox: SandboxStatus,
    pub(super) phase: &'static str,
    pub(super) log_level: &'static str,
    pub(super) ready: bool,
    pub(super) checks: Vec<CheckResult>,
    pub(super) pairs: Vec<PairStatus>,
    pub(super) rotations: Rotated,
    pub(super) listeners: Vec<ListenerStatus>,
    pub(super) outbounds: Vec<OutboundStatus>,
    pub(super) forward_proxy: Option<ForwardProxyStatus>,
    pub(super) files: Vec<AppFileStatus>,
    pub(super) tokens: Option<TokenStatus>,
    pub(super) secrets: Option<SecretsStatus>,
    pub(super) connections: ConnectionCounts,
    pub(super) clients: Vec<ClientApp>,
    pub(super) denials: Vec<RecentDenial>,
}

/// A part of the readiness.
#[derive(Debug, Serialize)]
pub(super) struct CheckResult {
    pub(super) check: &'static str,
    pub(super) ready: bool,
    pub(super) detail: SafeText,
}

#[derive(Debug, Serialize)]
pub(super) struct Rotated {
    pub(super) generation: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    /// What cannot be loaded now.
    pub(super) failing: Vec<FailingReload>,
    /// How many more there are.
    pub(super) failing_more: usize,
}

/// Files that cannot be loaded now.
#[derive(Debug, Serialize)]
pub(super) struct FailingReload {
    /// `certificate`, `client_ca`, `client_crl`, `token_ca`, `token_crl`, `server_ca` or `policy`.
    pub(super) source: &'static str,
    /// The file of a folder that alone cannot be used; none: nothing new of this source counts.
    pub(super) file: Option<SafeText>,
    /// An earlier state of all of the source is in service, and stays.
    pub(super) keeps_last_good: bool,
    pub(super) error: SafeText,
    pub(super) since: String,
    pub(super) since_seconds: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ConnectionCounts {
    pub(super) active: u64,
    pub(super) opened: u64,
    pub(super) denied: u64,
    /// Plaintext bytes of connections that have ended.
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    /// How long each bucket of `history` is.
    pub(super) bucket_seconds: u64,
    /// The oldest first; the last one is not over yet.
    pub(super) history: Vec<Bucket>,
}

/// Calls of one app.
#[derive(Debug, Serialize)]
pub(super) struct ClientApp {
    /// A GUID; `none`: certificates without an app; `other`: all apps that have no row of their own.
    pub(super) app: String,
    pub(super) admitted: u64,
    pub(super) denied: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct RecentDenial {
    pub(super) at: String,
    pub(super) client_addr: SocketAddr,
    pub(super) listener: SocketAddr,
    pub(super) verdict: &'static str,
    pub(super) denial_reason: &'static str,
    pub(super) rule: Option<SafeText>,
    #[serde(flatten)]
    pub(super) who: IdentityStatus,
}

/// An identity, as far as there is one.
#[derive(Debug, Default, Serialize)]
pub(super) struct IdentityStatus {
    pub(super) org: Option<String>,
    pub(super) space: Option<String>,
    pub(super) app: Option<String>,
    pub(super) instance: Option<SafeText>,
    /// Of a certificate that has no such identity.
    pub(super) subject: Option<SafeText>,
    /// Of a certificate for which no client CA vouches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unverified_subject: Option<SafeText>,
    /// The same, who is said to have issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unverified_issuer: Option<SafeText>,
}

impl Status {
    /// The current status, gathered from readiness and the other sources.
    pub(super) fn of(readiness: &Readiness, overview: &StatusSources) -> Self {
        let (now, instant) = (SystemTime::now(), Instant::now());
        let checks = readiness.checks(now);
        let counters = &overview.counters;
        let (bytes_up, bytes_down) = counters.bytes();
        let level = log_level();
        let failures = overview.rotation_stats.files().failures;
        let requests = counters.requests();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            tls: "rustls",
            crypto: "aws-lc-rs",
            fips: crate::crypto::provider().fips(),
            now: date(now),
            started: date(overview.started),
            uptime_seconds: now.duration_since(overview.started).unwrap_or_default().as_secs(),
            sandbox: SandboxStatus::of(&overview.sandbox),
            phase: overview.phase.borrow().as_str(),
            log_level: level.as_str(),
            ready: checks.iter().all(|check| check.ready),
            checks: checks
                .iter()
                .map(|check| CheckResult {
                    check: check.check.as_str(),
                    ready: check.ready,
                    detail: SafeText::up_to(PATH, &check.detail),
                })
                .collect(),
            pairs: overview.served.borrow().iter().map(|shown| PairStatus::of(shown, now)).collect(),
            rotations: Rotated {
                generation: overview.rotation_stats.generation(),
                succeeded: overview.rotation_stats.successes(),
                failed: overview.rotation_stats.failures(),
                failing: failures.iter().take(MAX_FAILING).map(|failure| FailingReload::of(failure, now)).collect(),
                failing_more: failures.len().saturating_sub(MAX_FAILING),
            },
            listeners: overview.listeners.iter().map(|listener| ListenerStatus::of(listener, &requests, now)).collect(),
            outbounds: overview.outbound.listeners.iter().map(OutboundStatus::of).collect(),
            forward_proxy: overview.outbound.forward_proxy.as_ref().map(ForwardProxyStatus::of),
            files: AppFileStatus::all(overview.app_files.as_deref()),
            tokens: counters.tokens.as_deref().map(TokenStatus::of),
            secrets: SecretsStatus::of(&counters.secrets),
            connections: ConnectionCounts {
                active: counters.active(),
                opened: counters.connections(),
                denied: counters.all_denials(),
                bytes_up,
                bytes_down,
                bucket_seconds: BUCKET.as_secs(),
                history: counters.history(instant),
            },
            clients: clients(counters),
            denials: counters.last_denials().iter().map(RecentDenial::of).collect(),
        }
    }
}

/// Those who come most often first, and what the others have in common last.
fn clients(counters: &Counters) -> Vec<ClientApp> {
    let (mut rows, others) = counters.client_connections();
    rows.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.admitted + calls.denied));
    let known =
        rows.into_iter().map(|(app, calls)| (app.map_or_else(|| "none".to_owned(), |app| app.to_string()), calls));
    let others = (others.admitted + others.denied > 0).then(|| ("other".to_owned(), others));
    let row = |(app, calls): (String, crate::telemetry::ClientConnections)| ClientApp {
        app,
        admitted: calls.admitted,
        denied: calls.denied,
    };
    known.chain(others).map(row).collect()
}

impl FailingReload {
    fn of(failure: &ReloadFailure, now: SystemTime) -> Self {
        Self {
            source: failure.kind.as_str(),
            file: failure.file.as_deref().map(|file| SafeText::up_to(PATH, file.display())),
            keeps_last_good: failure.file.is_none() && failure.has_last_good,
            error: SafeText::up_to(LONGEST_LINE, &failure.error),
            since: date(failure.since),
            since_seconds: now.duration_since(failure.since).unwrap_or_default().as_secs(),
        }
    }
}

impl RecentDenial {
    fn of(denied: &Denied) -> Self {
        let who = match &denied.client {
            DeniedClient::Unknown => IdentityStatus::default(),
            DeniedClient::Known(identity) => IdentityStatus::of(identity),
            DeniedClient::Unverified { subject, issuer } => IdentityStatus {
                unverified_subject: Some(subject.clone()),
                unverified_issuer: Some(issuer.clone()),
                ..IdentityStatus::default()
            },
            DeniedClient::Subject(subject) => {
                IdentityStatus { subject: Some(subject.clone()), ..IdentityStatus::default() }
            }
        };
        Self {
            at: date(denied.at),
            client_addr: denied.peer,
            listener: denied.listener,
            verdict: denied.verdict,
            denial_reason: denied.reason.as_str(),
            rule: denied.rule.clone(),
            who,
        }
    }
}

impl IdentityStatus {
    fn of(identity: &Identity) -> Self {
        Self {
            org: identity.organization.map(|guid| guid.to_string()),
            space: identity.space.map(|guid| guid.to_string()),
            app: identity.app.map(|guid| guid.to_string()),
            instance: identity.instance.as_ref().map(SafeText::of),
            ..Self::default()
        }
    }

    /// What there is of it, each with its name.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("app", self.app.as_deref()),
            ("space", self.space.as_deref()),
            ("org", self.org.as_deref()),
            ("instance", self.instance.as_ref().map(SafeText::as_str)),
            ("subject", self.subject.as_ref().map(SafeText::as_str)),
            ("unverified subject", self.unverified_subject.as_ref().map(SafeText::as_str)),
            ("unverified issuer", self.unverified_issuer.as_ref().map(SafeText::as_str)),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
    }
}
