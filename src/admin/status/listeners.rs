//! The listeners: the app behind each, and who may come in.

use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::pairs::source;
use super::{HttpStatus, ListenerInfo, PATH, Rules, date};
use crate::config::ClientAuthConfig;
use crate::diagnostics::SafeText;
use crate::telemetry::ListenerRequests;
use crate::trust::{ClientAuth, ClientAuthenticator, CrlIssuer};

#[derive(Debug, Serialize)]
pub(in crate::admin) struct ListenerStatus {
    pub(in crate::admin) listener: SocketAddr,
    pub(in crate::admin) app: SafeText,
    /// How the app stands, in words.
    pub(in crate::admin) app_health: SafeText,
    pub(in crate::admin) app_ready: bool,
    /// Where its pair is found; none where TLS is off.
    pub(in crate::admin) pair: Option<SafeText>,
    /// What it serves with; none before the first.
    pub(in crate::admin) generation: Option<u64>,
    /// In force; none where no certificate is asked for, or nothing is served yet.
    pub(in crate::admin) policy: Option<PolicyStatus>,
    /// How requests are served; none where bytes are carried.
    pub(in crate::admin) http: Option<HttpStatus>,
}

#[derive(Debug, Serialize)]
pub(in crate::admin) struct PolicyStatus {
    pub(in crate::admin) mode: &'static str,
    /// A client without a certificate cannot complete the handshake.
    pub(in crate::admin) certificate_required: bool,
    pub(in crate::admin) allow: Rules,
    pub(in crate::admin) deny: Rules,
    /// Who may ask for what; none: requests are not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) routes: Option<Rules>,
    /// Where the rules come from.
    pub(in crate::admin) rules_from: Vec<SafeText>,
    /// Where the CAs come from, and how many there are.
    pub(in crate::admin) client_ca: Vec<SafeText>,
    pub(in crate::admin) client_cas: usize,
    /// The last second of the CA that is valid longest.
    pub(in crate::admin) client_ca_not_after: Option<String>,
    pub(in crate::admin) client_crls: Vec<CrlStatus>,
}

/// The CRLs of one issuer.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct CrlStatus {
    pub(in crate::admin) issuer: SafeText,
    /// By when there is to be another, if they say.
    pub(in crate::admin) next_update: Option<String>,
    /// That day has passed: what was revoked since is not in it.
    pub(in crate::admin) is_overdue: bool,
}

impl ListenerStatus {
    pub(super) fn of(listening: &ListenerInfo, requests: &[ListenerRequests], now: SystemTime) -> Self {
        let requests = requests.iter().find(|(listener, _)| *listener == listening.listener);
        let http = listening.http.as_ref().zip(requests);
        let snapshot = listening.snapshots.load();
        let authenticator = snapshot.as_ref().and_then(|snapshot| match &snapshot.client_auth {
            ClientAuth::None => None,
            ClientAuth::Certificate(authenticator) => Some(authenticator),
        });
        Self {
            listener: listening.listener,
            app: SafeText::up_to(PATH, listening.app.addr()),
            app_health: SafeText::up_to(PATH, listening.app.describe()),
            app_ready: listening.app.is_ready(),
            pair: listening.pair.as_ref().map(source),
            generation: snapshot.as_ref().map(|snapshot| snapshot.generation),
            policy: authenticator.map(|authenticator| PolicyStatus::of(authenticator, &listening.clients, now)),
            http: http.map(|(config, (_, counters))| HttpStatus::of(config, counters)),
        }
    }
}

impl PolicyStatus {
    fn of(authenticator: &ClientAuthenticator, clients: &ClientAuthConfig, now: SystemTime) -> Self {
        let path = |path: &Path| SafeText::up_to(PATH, path.display());
        let (rules_from, client_ca) = match clients {
            // Such a listener authenticates nobody.
            ClientAuthConfig::None => (Vec::new(), Vec::new()),
            ClientAuthConfig::Files(certified) => {
                let is_silent = certified.allow.is_empty()
                    && certified.deny.is_empty()
                    && certified.routes.as_ref().is_none_or(Vec::is_empty);
                let options = match (certified.any_implied, is_silent) {
                    (true, _) => Some(SafeText::of("no rule is given")),
                    (false, false) => Some(SafeText::of("options")),
                    (false, true) => None,
                };
                let file = certified.policy.as_deref().map(path);
                (options.into_iter().chain(file).collect(), certified.ca.iter().map(|ca| path(ca)).collect())
            }
            ClientAuthConfig::ValidationContext(context) => {
                let secret = &context.secret;
                let source = SafeText::up_to(PATH, format_args!("{} in {}", secret.name, secret.path.display()));
                (vec![source.clone()], vec![source])
            }
        };
        let policy = authenticator.policy();
        Self {
            mode: policy.mode.as_str(),
            certificate_required: authenticator.is_required(),
            allow: Rules::of(&policy.allow),
            deny: Rules::of(&policy.deny),
            routes: policy.has_routes().then(|| Rules::of_routes(&policy.routes)),
            rules_from,
            client_ca,
            client_cas: authenticator.anchors().cas().len(),
            client_ca_not_after: authenticator.anchors().not_after().map(date),
            client_crls: authenticator
                .anchors()
                .crl_issuers()
                .into_iter()
                .map(|crls| CrlStatus::of(crls, now))
                .collect(),
        }
    }
}

impl CrlStatus {
    fn of(crls: CrlIssuer<'_>, now: SystemTime) -> Self {
        let is_overdue = crls.next_update.is_some_and(|next_update| next_update < now);
        Self { issuer: SafeText::of(crls.issuer), next_update: crls.next_update.map(date), is_overdue }
    }
}
