//! Where client CAs and rules are found, and when what is new of them counts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::client_policy::ClientPolicyFiles;
use super::doubtful_content::log_doubtful_content;
use super::load_failure::LoadFault;
use super::source::{Previous, ReloadSource, SETTLE};
use super::watch::Replacement;
use super::{FileKind, TrustError};
use crate::config::{ClientAuthSettings, SdsSecretRef};
use crate::policy::{Policy, PolicyMode, Rule};
use crate::trust::{AnchorLabels, ClientPolicy};

/// How long files have to stand still that say less than before (CAs, or what CRLs name) and may not have been written to
/// their end: a slow writer pauses between two whole blocks, and every connection of the second CA would be ended.
const SETTLE_TRUST_REMOVED: Duration = Duration::from_secs(3);

/// The same for a file that may have been renamed as well as deleted and written anew.
const SETTLE_TRUST_REMOVED_ANEW: Duration = Duration::from_secs(1);

/// The same for rules, which are to be gone within about a second.
const SETTLE_RULES_REMOVED: Duration = Duration::from_millis(700);

/// Where client CAs and rules are found that are served together.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ClientPolicySource {
    /// In files of CAs, CRLs and rules.
    Files(ClientAuthSettings),
    /// In a document of secrets.
    Secret(SdsSecretRef),
    /// In files of CAs and CRLs: who vouches for those who sign tokens.
    Tokens(ClientAuthSettings),
}

impl ClientPolicySource {
    /// What its files are for.
    pub(super) fn kinds(&self) -> Vec<FileKind> {
        match self {
            Self::Secret(_) => vec![FileKind::ClientCa],
            Self::Files(files) | Self::Tokens(files) => {
                let crl = (!files.crl.is_empty()).then_some(self.kind(FileKind::ClientCrl));
                let policy = files.policy.is_some().then_some(FileKind::Policy);
                std::iter::once(self.ca_kind()).chain(crl).chain(policy).collect()
            }
        }
    }

    /// What its CAs are.
    pub(super) fn ca_kind(&self) -> FileKind {
        self.kind(FileKind::ClientCa)
    }

    /// What files are for that would be of this `kind` if they were about clients.
    fn kind(&self, kind: FileKind) -> FileKind {
        match (self, kind) {
            (Self::Tokens(_), FileKind::ClientCa) => FileKind::TokenCa,
            (Self::Tokens(_), FileKind::ClientCrl) => FileKind::TokenCrl,
            _ => kind,
        }
    }

    fn faults(&self, faults: impl Iterator<Item = LoadFault>) -> Vec<LoadFault> {
        faults.map(|fault| LoadFault { kind: self.kind(fault.kind), ..fault }).collect()
    }
}

impl ReloadSource for ClientPolicySource {
    type Raw = ClientPolicyFiles;
    type Parsed = Arc<ClientPolicy>;
    type Error = TrustError;

    fn faults_of(&self, error: &TrustError) -> Vec<LoadFault> {
        self.faults(error.each().iter().map(TrustError::fault))
    }

    fn faults_in(&self, files: &ClientPolicyFiles) -> Vec<LoadFault> {
        let of_folders = files.cas.faults(FileKind::ClientCa).chain(files.crls.faults(FileKind::ClientCrl));
        self.faults(of_folders.chain(files.faults.iter().cloned()))
    }

    fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Files(certified) | Self::Tokens(certified) => {
                let cas = certified.ca.iter().chain(&certified.issuer_of);
                cas.chain(&certified.crl).chain(&certified.policy).cloned().collect()
            }
            Self::Secret(secret) => vec![secret.path.clone()],
        }
    }

    /// A policy that is cut off between two lines is a policy, and a document that is cut off between two names still reads as one.
    fn settle_interval(&self) -> Option<Duration> {
        Some(SETTLE)
    }

    fn read(&self, before: Option<&ClientPolicyFiles>) -> Result<ClientPolicyFiles, TrustError> {
        match self {
            Self::Files(certified) => ClientPolicyFiles::read(certified, before),
            Self::Tokens(certified) => {
                ClientPolicyFiles::read(certified, before).map_err(|error| error.said_of(AnchorLabels::TOKENS))
            }
            Self::Secret(secret) => ClientPolicyFiles::read_context(secret),
        }
    }

    fn parse(&self, texts: &ClientPolicyFiles) -> Result<Arc<ClientPolicy>, TrustError> {
        match self {
            Self::Files(certified) | Self::Tokens(certified) => texts.parse(certified).map(Arc::new),
            Self::Secret(_) => texts.client_policy_of_context().map(Arc::new),
        }
    }

    fn settle_time(
        &self,
        texts: &ClientPolicyFiles,
        meaning: &Arc<ClientPolicy>,
        before: &Previous<'_, Self>,
    ) -> Duration {
        settle_time_of(texts, meaning, before)
    }

    fn log_loaded(&self, client_policy: &Arc<ClientPolicy>, before: Option<&Arc<ClientPolicy>>, generation: u64) {
        match self {
            Self::Tokens(_) => {
                let loaded = if before.is_none() { "loaded" } else { "reloaded" };
                let (cas, crls) = (client_policy.anchors.cas().len(), client_policy.anchors.crls().len());
                tracing::info!(generation, cas, crls, "token CAs {loaded}");
            }
            Self::Files(_) | Self::Secret(_) => {
                log_policy(client_policy, before.map(|before| before.policy.mode), generation);
            }
        }
        let all = |client_policy: &'_ Arc<ClientPolicy>| -> Vec<String> {
            client_policy.notes.iter().chain(client_policy.anchors.crl_notes()).cloned().collect()
        };
        let known = before.map(all).unwrap_or_default();
        log_doubtful_content("client CAs, CRLs or rules", all(client_policy).iter(), &known);
    }
}

/// How long what `files` say has to stand still, if it is `after` and they said `before` until now.
fn settle_time_of(
    files: &ClientPolicyFiles,
    after: &ClientPolicy,
    before: &Previous<'_, ClientPolicySource>,
) -> Duration {
    let pairs = files.files().zip(before.raw.files());
    let replacement = pairs.map(|(now, before)| now.replacement(before)).max().unwrap_or(Replacement::Whole);
    let settle_time = match replacement {
        _ if before.was_failing => SETTLE_TRUST_REMOVED,
        Replacement::InPlace => SETTLE_TRUST_REMOVED,
        Replacement::PerhapsAnew => SETTLE_TRUST_REMOVED_ANEW,
        Replacement::Whole => Duration::ZERO,
    };
    if after.anchors.lack_some_of(&before.parsed.anchors) {
        settle_time
    } else if !lacks_some_of(&after.policy, &before.parsed.policy) {
        Duration::ZERO
    } else if files.policy.texts.is_empty() {
        // The names in Envoy's document.
        settle_time
    } else {
        settle_time.min(SETTLE_RULES_REMOVED)
    }
}

/// Says what is in force from this generation on, and that audit mode enforces nothing: at the start and at each switch.
fn log_policy(ClientPolicy { anchors, policy, .. }: &ClientPolicy, before: Option<PolicyMode>, generation: u64) {
    let loaded = if before.is_none() { "loaded" } else { "reloaded" };
    tracing::info!(
        generation,
        mode = policy.mode.as_str(),
        allow = policy.allow.len(),
        deny = policy.deny.len(),
        routes = policy.has_routes().then_some(policy.routes.iter().len()),
        client_cas = anchors.cas().len(),
        client_crls = anchors.crls().len(),
        "client CAs and rules {loaded}"
    );
    if policy.mode == PolicyMode::Audit && before != Some(PolicyMode::Audit) {
        tracing::warn!(
            "audit mode: no rule is enforced, whoever has a certificate of a client CA comes in; read the access log's entries with the verdict audit, then set --policy-mode enforce"
        );
    }
}

/// Whether a rule that was there `before` is gone, or the mode is another.
pub(super) fn lacks_some_of(after: &Policy, before: &Policy) -> bool {
    let all = |before: &[Rule], after: &[Rule]| before.iter().all(|rule| after.contains(rule));
    !all(&before.allow, &after.allow)
        || !all(&before.deny, &after.deny)
        || before.mode != after.mode
        // Whatever is another about routes may take something away: one that is added may be closer than one that was there.
        || before.routes != after.routes
}
