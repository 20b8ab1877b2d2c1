//! The files that say who may come in: CAs, CRLs, the policy file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::FileKind;
use super::load;
use super::load::LoadError;
use super::source::{Previous, ReloadSource};
use super::trust_files::{TrustFileKind, TrustFiles};
use super::watch::Replacement;
use crate::config::envoy::sds;
use crate::config::envoy::sds::ValidationContext;
use crate::config::{ClientAuthFiles, SecretFile};
use crate::diagnostics::Diagnostics;
use crate::identity::Role;
use crate::policy::{AltName, Policy, PolicyFile, PolicyMode, Rule};
use crate::trust::{ClientPolicy, Text, TrustAnchors, TrustAnchorsError};

/// How long files have to stand still that say less than before (CAs, or what CRLs name) and may not have been written to
/// their end: a slow writer pauses between two whole blocks, and every connection of the second CA would be ended.
const SETTLE_TRUST_REMOVED: Duration = Duration::from_secs(3);

/// The same for a file that may have been renamed as well as deleted and written anew.
const SETTLE_TRUST_REMOVED_ANEW: Duration = Duration::from_secs(1);

/// The same for rules, which are to be gone within about a second.
const SETTLE_RULES_REMOVED: Duration = Duration::from_millis(700);

/// The files as they were read, to tell whether anything has changed.
#[derive(Debug, Clone)]
pub struct ClientPolicyFiles {
    cas: TrustFiles,
    crls: TrustFiles,
    /// The file of rules, if there is one.
    policy: TrustFiles,
    /// The names that a document lists.
    names: Vec<AltName>,
}

impl PartialEq for ClientPolicyFiles {
    fn eq(&self, other: &Self) -> bool {
        self.files().zip(other.files()).all(|(ours, theirs)| ours.is_same(theirs)) && self.names == other.names
    }
}

/// Why the files admit nobody new: what was admitted before stays.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read.
    #[error("{1}")]
    Load(FileKind, #[source] LoadError),
    /// A folder cannot be read.
    #[error("{}: the folder cannot be read: {cause}", path.display())]
    Folder {
        /// What should be in it.
        kind: FileKind,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// CAs or CRLs cannot be used.
    #[error("{1}")]
    TrustAnchors(FileKind, #[source] TrustAnchorsError),
    /// The policy file is no text.
    #[error("{}: not UTF-8 text; write the file anew", .0.display())]
    NotText(PathBuf),
    /// The policy file has mistakes: one a line.
    #[error("{}", .0.lines())]
    Policy(Diagnostics),
}

impl TrustError {
    pub(super) fn of_anchors(error: TrustAnchorsError) -> Self {
        let kind = if error.is_about_crls() { FileKind::ClientCrl } else { FileKind::ClientCa };
        Self::TrustAnchors(kind, error)
    }

    /// What the files are for that cannot be used.
    pub fn kind(&self) -> FileKind {
        match self {
            Self::Load(kind, _) | Self::Folder { kind, .. } | Self::TrustAnchors(kind, _) => *kind,
            Self::NotText(_) | Self::Policy(_) => FileKind::Policy,
        }
    }
}

impl ClientPolicyFiles {
    /// Reads everything that `certified` names. Of a folder every regular file is read whose name does not begin with a
    /// dot, in the order of their names; one that cannot be used counts as it was in `before`, or else is left out if it
    /// should hold CAs.
    ///
    /// # Errors
    /// Something cannot be read. An empty file of CAs or CRLs counts as one that is being written; an empty policy file is
    /// a policy that lists nothing.
    pub fn read(certified: &ClientAuthFiles, before: Option<&Self>) -> Result<Self, TrustError> {
        let policy = match &certified.policy {
            Some(path) => TrustFiles::one(path, |path| load::read_or_empty(path, PolicyFile::LARGEST))
                .map_err(|error| TrustError::Load(FileKind::Policy, error))?,
            None => TrustFiles::default(),
        };
        let cas = TrustFiles::read(&certified.ca, TrustFileKind::Cas(Role::Client), before.map(|before| &before.cas))?;
        let crls = TrustFiles::read(&certified.crl, TrustFileKind::Crls, before.map(|before| &before.crls))?;
        Ok(Self { cas, crls, policy, names: Vec::new() })
    }

    /// Reads the validation context that is `secret`.
    ///
    /// # Errors
    /// The document cannot be read.
    fn read_context(secret: &SecretFile) -> Result<Self, TrustError> {
        let mut names = Vec::new();
        let cas = TrustFiles::one(&secret.path, |_| {
            let context: ValidationContext = load::read_secret(secret, sds::validation_context)?;
            names = context.names;
            Ok::<_, LoadError>(context.trusted_ca.into_bytes())
        })
        .map_err(|error| TrustError::Load(FileKind::ClientCa, error))?;
        Ok(Self { cas, crls: TrustFiles::default(), policy: TrustFiles::default(), names })
    }

    fn files(&self) -> impl Iterator<Item = &TrustFiles> {
        [&self.cas, &self.crls, &self.policy].into_iter()
    }

    /// How long what they say has to stand still, if it is `after` and they said `before` until now.
    fn settle_time(&self, after: &ClientPolicy, before: &Previous<'_, ClientPolicySource>) -> Duration {
        let pairs = || self.files().zip(before.raw.files());
        if pairs().any(|(now, before)| now.has_new_faults(before)) {
            return SETTLE_TRUST_REMOVED;
        }
        let replacement = pairs().map(|(now, before)| now.replacement(before)).max().unwrap_or(Replacement::Whole);
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
        } else if self.policy.texts.is_empty() {
            // The names in Envoy's document.
            settle_time
        } else {
            settle_time.min(SETTLE_RULES_REMOVED)
        }
    }

    /// What a validation context says: any one of its names suffices, none listed means any certificate under its trust anchors,
    /// and without trust anchors nobody is trusted.
    fn client_policy_of_context(&self) -> Result<ClientPolicy, TrustError> {
        let (anchors, notes) = match self.cas.texts.iter().all(|text| text.bytes.trim_ascii().is_empty()) {
            true => (TrustAnchors::none(Role::Client), Vec::new()),
            false => {
                TrustAnchors::parse(&self.cas.texts, &self.crls.texts, Role::Client).map_err(TrustError::of_anchors)?
            }
        };
        let allow = match self.names.as_slice() {
            [] => vec![Rule::Trusted],
            names => names.iter().cloned().map(Rule::AltName).collect(),
        };
        let policy = Policy { mode: PolicyMode::Enforce, allow, deny: Vec::new() };
        Ok(ClientPolicy { anchors, policy, notes, unusable_files: 0 })
    }

    /// What they say, together with the rules that `certified` has itself.
    ///
    /// # Errors
    /// Something in the files is wrong; then nothing of them counts.
    pub fn client_policy(&self, certified: &ClientAuthFiles) -> Result<ClientPolicy, TrustError> {
        let left_out: Vec<String> = self.cas.notes().chain(self.crls.notes()).collect();
        if self.cas.texts.is_empty() {
            // Folders, and nothing in them.
            let error = TrustAnchorsError::empty(Role::Client, certified.ca.iter(), &left_out);
            return Err(TrustError::of_anchors(error));
        }
        let parsed = TrustAnchors::parse(&self.cas.texts, &self.crls.texts, Role::Client);
        let (anchors, mut notes) = parsed.map_err(|error| TrustError::of_anchors(error.with_left_out(&left_out)))?;
        notes.extend(left_out);
        if anchors.crls().is_empty() && !certified.crl.is_empty() {
            let error = TrustAnchorsError::no_crls(certified.crl.iter(), &notes);
            return Err(TrustError::of_anchors(error));
        }
        let unusable_files = self.cas.unusable() + self.crls.unusable();
        let file = match self.policy.texts.first() {
            Some(text) => PolicyFile::parse(&text.path, utf8(text)?).map_err(TrustError::Policy)?,
            None => PolicyFile::default(),
        };
        let policy = Policy {
            mode: certified.mode.or(file.mode).unwrap_or_default(),
            allow: certified.allow.iter().cloned().chain(file.allow).collect(),
            deny: certified.deny.iter().cloned().chain(file.deny).collect(),
        };
        Ok(ClientPolicy { anchors, policy, notes, unusable_files })
    }
}

/// Where client CAs and rules are found that are served together.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ClientPolicySource {
    /// In files of CAs, CRLs and rules.
    Files(ClientAuthFiles),
    /// In a document of secrets.
    Secret(SecretFile),
}

impl ClientPolicySource {
    /// What its files are for.
    pub(super) fn kinds(&self) -> Vec<FileKind> {
        match self {
            Self::Secret(_) => vec![FileKind::ClientCa],
            Self::Files(files) => {
                let crl = (!files.crl.is_empty()).then_some(FileKind::ClientCrl);
                let policy = files.policy.is_some().then_some(FileKind::Policy);
                std::iter::once(FileKind::ClientCa).chain(crl).chain(policy).collect()
            }
        }
    }
}

impl ReloadSource for ClientPolicySource {
    type Raw = ClientPolicyFiles;
    type Parsed = Arc<ClientPolicy>;
    type Error = TrustError;

    fn kind_of(&self, error: &TrustError) -> FileKind {
        error.kind()
    }

    fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Files(certified) => {
                certified.ca.iter().chain(&certified.crl).chain(&certified.policy).cloned().collect()
            }
            Self::Secret(secret) => vec![secret.path.clone()],
        }
    }

    /// An empty policy is a policy, and a document that is cut off between two names still reads as one.
    fn may_be_torn(&self) -> bool {
        true
    }

    fn read(&self, before: Option<&ClientPolicyFiles>) -> Result<ClientPolicyFiles, TrustError> {
        match self {
            Self::Files(certified) => ClientPolicyFiles::read(certified, before),
            Self::Secret(secret) => ClientPolicyFiles::read_context(secret),
        }
    }

    fn parse(&self, texts: &ClientPolicyFiles) -> Result<Arc<ClientPolicy>, TrustError> {
        match self {
            Self::Files(certified) => texts.client_policy(certified).map(Arc::new),
            Self::Secret(_) => texts.client_policy_of_context().map(Arc::new),
        }
    }

    fn settle_time(
        &self,
        texts: &ClientPolicyFiles,
        meaning: &Arc<ClientPolicy>,
        before: &Previous<'_, Self>,
    ) -> Duration {
        texts.settle_time(meaning, before)
    }

    fn log_loaded(&self, client_policy: &Arc<ClientPolicy>, before: Option<&Arc<ClientPolicy>>, generation: u64) {
        log_policy(client_policy, before.map(|before| before.policy.mode), generation);
        let all = |client_policy: &'_ Arc<ClientPolicy>| -> Vec<String> {
            client_policy.notes.iter().chain(client_policy.anchors.crl_notes()).cloned().collect()
        };
        let known = before.map(all).unwrap_or_default();
        for note in all(client_policy).iter().filter(|note| !known.contains(note)) {
            tracing::warn!("{note}");
        }
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
fn lacks_some_of(after: &Policy, before: &Policy) -> bool {
    let all = |before: &[Rule], after: &[Rule]| before.iter().all(|rule| after.contains(rule));
    !all(&before.allow, &after.allow) || !all(&before.deny, &after.deny) || before.mode != after.mode
}

fn utf8(text: &Text) -> Result<&str, TrustError> {
    str::from_utf8(&text.bytes).map_err(|_| TrustError::NotText(text.path.clone()))
}

#[cfg(test)]
mod tests;
