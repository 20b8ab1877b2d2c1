//! The files that say who may come in: CAs, CRLs, the policy file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::load;
use super::load::LoadError;
use super::load_failure::LoadFault;
use super::source::{Previous, ReloadSource, SETTLE};
use super::trust_files::{TrustFileKind, TrustFiles};
use super::watch::Replacement;
use super::{FileKind, TrustError};
use crate::config::envoy::sds;
use crate::config::envoy::sds::ValidationContext;
use crate::config::{ClientAuthSettings, SdsSecretRef};
use crate::identity::Role;
use crate::policy::route_file::where_requests_are_read;
use crate::policy::{AltName, Policy, PolicyFile, PolicyMode, Route, Routes, Rule};
use crate::trust::{AnchorLabels, ClientPolicy, Text, TrustAnchors, TrustAnchorsError};

/// How long files have to stand still that say less than before (CAs, or what CRLs name) and may not have been written to
/// their end: a slow writer pauses between two whole blocks, and every connection of the second CA would be ended.
const SETTLE_TRUST_REMOVED: Duration = Duration::from_secs(3);

/// The same for a file that may have been renamed as well as deleted and written anew.
const SETTLE_TRUST_REMOVED_ANEW: Duration = Duration::from_secs(1);

/// The same for rules, which are to be gone within about a second.
const SETTLE_RULES_REMOVED: Duration = Duration::from_millis(700);

/// The files of a client policy as they were read, to tell whether anything has changed.
#[derive(Debug, Clone)]
pub struct ClientPolicyFiles {
    cas: TrustFiles,
    crls: TrustFiles,
    /// The file of rules, if there is one.
    policy: TrustFiles,
    /// The names that a document lists.
    names: Vec<AltName>,
    /// Kinds of files that cannot be used as they are now, and are in here as they were when they were last good.
    faults: Vec<LoadFault>,
}

impl PartialEq for ClientPolicyFiles {
    fn eq(&self, other: &Self) -> bool {
        self.files().zip(other.files()).all(|(ours, theirs)| ours.is_same(theirs)) && self.names == other.names
    }
}

/// The kinds of files as they are read, one after the other: each is judged by itself, and one that cannot be used does not keep the
/// others from being looked at.
#[derive(Default)]
struct TrustErrorList {
    errors: Vec<TrustError>,
}

impl TrustErrorList {
    /// What was `read`; if it cannot be used, what was there `before`.
    fn take(&mut self, read: Result<TrustFiles, TrustError>, before: Option<&TrustFiles>) -> TrustFiles {
        read.unwrap_or_else(|error| {
            self.errors.push(error);
            before.cloned().unwrap_or_default()
        })
    }

    /// What there is to report of what counts as it was, if there was something `before`.
    ///
    /// # Errors
    /// There was nothing, and something cannot be used.
    fn faults(mut self, before: Option<&ClientPolicyFiles>) -> Result<Vec<LoadFault>, TrustError> {
        match (self.errors.len(), before) {
            (0, _) | (_, Some(_)) => Ok(self.errors.iter().map(TrustError::fault).collect()),
            (1, None) => Err(self.errors.remove(0)),
            (_, None) => Err(TrustError::Several(self.errors)),
        }
    }
}

impl ClientPolicyFiles {
    /// Reads everything that `certified` names, and judges it. Of a folder every regular file is read whose name does not begin
    /// with a dot, in the order of their names; one that cannot be used counts as it was in `before`, or else is left out if it
    /// should hold CAs. Client CAs, CRLs and rules that cannot be used count as they were in `before`, each by itself.
    ///
    /// # Errors
    /// There is nothing before, and something cannot be used. An empty file of CAs or CRLs counts as one that is being written; an
    /// empty policy file is a policy that lists nothing.
    pub fn read(certified: &ClientAuthSettings, before: Option<&Self>) -> Result<Self, TrustError> {
        let (cas, crls, policy) =
            (before.map(|before| &before.cas), before.map(|before| &before.crls), before.map(|before| &before.policy));
        let mut kinds = TrustErrorList::default();
        let files = Self {
            cas: kinds.take(read_cas(certified, cas), cas),
            crls: kinds.take(read_crls(certified, crls), crls),
            policy: kinds.take(read_policy(certified), policy),
            names: Vec::new(),
            faults: Vec::new(),
        };
        Ok(Self { faults: kinds.faults(before)?, ..files })
    }

    /// Reads the validation context that is `secret`.
    ///
    /// # Errors
    /// The document cannot be read.
    fn read_context(secret: &SdsSecretRef) -> Result<Self, TrustError> {
        let mut names = Vec::new();
        let cas = TrustFiles::single(&secret.path, |_| {
            let context: ValidationContext = load::read_secret(secret, sds::validation_context)?;
            names = context.names;
            Ok::<_, LoadError>(context.trusted_ca.into_bytes())
        })
        .map_err(|error| TrustError::Load(FileKind::ClientCa, error))?;
        Ok(Self { cas, crls: TrustFiles::default(), policy: TrustFiles::default(), names, faults: Vec::new() })
    }

    fn files(&self) -> impl Iterator<Item = &TrustFiles> {
        [&self.cas, &self.crls, &self.policy].into_iter()
    }

    /// How long what they say has to stand still, if it is `after` and they said `before` until now.
    fn settle_time(&self, after: &ClientPolicy, before: &Previous<'_, ClientPolicySource>) -> Duration {
        let pairs = self.files().zip(before.raw.files());
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
        let policy = Policy { mode: PolicyMode::Enforce, allow, deny: Vec::new(), routes: Routes::default() };
        Ok(ClientPolicy { anchors, policy, callers: None, notes })
    }

    /// What they say, together with the rules that `certified` has itself, and a note on everything that was left out.
    ///
    /// # Errors
    /// Something in the files is wrong; then nothing of them counts.
    pub fn client_policy(&self, certified: &ClientAuthSettings) -> Result<ClientPolicy, TrustError> {
        let mut client_policy = self.parse(certified)?;
        client_policy.notes.extend(self.cas.notes().chain(self.crls.notes()));
        Ok(client_policy)
    }

    /// The same, without the files that were left out: they are reported as failures.
    fn parse(&self, certified: &ClientAuthSettings) -> Result<ClientPolicy, TrustError> {
        let (anchors, notes) =
            match certified.ca.is_empty() && self.cas.texts.iter().all(|text| text.bytes.is_empty()) {
                // Nobody is named who could vouch.
                true => (TrustAnchors::none(Role::Client), Vec::new()),
                false => TrustAnchors::parse(&self.cas.texts, &self.crls.texts, Role::Client)
                    .map_err(TrustError::of_anchors)?,
            };
        let (file, routes) = match self.policy.texts.first() {
            Some(text) => parse_policy(text, certified)?,
            None => (PolicyFile::default(), Vec::new()),
        };
        let mut policy = Policy {
            mode: certified.mode.or(file.mode).unwrap_or_default(),
            allow: certified.allow.iter().cloned().chain(file.allow).collect(),
            deny: certified.deny.iter().cloned().chain(file.deny).collect(),
            routes: Routes::new(certified.routes.iter().flatten().cloned().chain(routes).collect()),
        };
        // To come in for what it forwards makes nobody a caller, and to ask for health one for nothing else.
        let is_wider = !certified.forward_from.is_empty() || certified.health.is_some();
        let callers = is_wider.then(|| policy.clone());
        policy.allow.extend(certified.forward_from.iter().cloned());
        policy.routes = policy.routes.with_health(certified.health.clone());
        Ok(ClientPolicy { anchors, policy, callers, notes })
    }
}

/// The client CAs that `certified` names.
fn read_cas(certified: &ClientAuthSettings, before: Option<&TrustFiles>) -> Result<TrustFiles, TrustError> {
    if certified.ca.is_empty() {
        return certified.issuer_of.as_deref().map_or_else(|| Ok(TrustFiles::default()), TrustFiles::issuers);
    }
    let files = TrustFiles::read(&certified.ca, TrustFileKind::Cas(Role::Client), before)?;
    if before.is_some_and(|before| files.is_same(before)) {
        return Ok(files);
    }
    let left_out: Vec<String> = files.notes().collect();
    if files.texts.is_empty() {
        // Folders, and nothing in them.
        return Err(TrustError::of_anchors(TrustAnchorsError::empty(Role::Client, certified.ca.iter(), &left_out)));
    }
    match TrustAnchors::parse(&files.texts, &[], Role::Client) {
        Ok(_) => Ok(files),
        Err(error) => Err(TrustError::of_anchors(error.with_left_out(&left_out))),
    }
}

/// The CRLs that `certified` names.
fn read_crls(certified: &ClientAuthSettings, before: Option<&TrustFiles>) -> Result<TrustFiles, TrustError> {
    let files = TrustFiles::read(&certified.crl, TrustFileKind::Crls, before)?;
    if before.is_some_and(|before| files.is_same(before)) {
        return Ok(files);
    }
    // Those of folders have been judged.
    for text in files.texts.iter().filter(|text| text.named) {
        TrustAnchors::lacks_crls(text).map_err(TrustError::of_anchors)?;
    }
    if files.texts.is_empty() && !certified.crl.is_empty() {
        let notes: Vec<String> = files.notes().collect();
        return Err(TrustError::of_anchors(TrustAnchorsError::no_crls(certified.crl.iter(), &notes)));
    }
    Ok(files)
}

/// The file of rules that `certified` names, if it does.
fn read_policy(certified: &ClientAuthSettings) -> Result<TrustFiles, TrustError> {
    let Some(path) = &certified.policy else { return Ok(TrustFiles::default()) };
    let files = TrustFiles::single(path, |path| load::read_or_empty(path, PolicyFile::LARGEST))
        .map_err(|error| TrustError::Load(FileKind::Policy, error))?;
    files.texts.iter().try_for_each(|text| parse_policy(text, certified).map(drop))?;
    Ok(files)
}

/// What `text` says, and its routes, which only those listeners may have of `certified` that read requests.
fn parse_policy(text: &Text, certified: &ClientAuthSettings) -> Result<(PolicyFile, Vec<Route>), TrustError> {
    let mut file = PolicyFile::parse(&text.path, utf8(text)?).map_err(TrustError::Policy)?;
    let routes = where_requests_are_read(std::mem::take(&mut file.routes), certified.routes.is_some());
    Ok((file, routes.map_err(|diagnostic| TrustError::Policy(diagnostic.into()))?))
}

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

    /// An empty policy is a policy, and a document that is cut off between two names still reads as one.
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
        texts.settle_time(meaning, before)
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
fn lacks_some_of(after: &Policy, before: &Policy) -> bool {
    let all = |before: &[Rule], after: &[Rule]| before.iter().all(|rule| after.contains(rule));
    !all(&before.allow, &after.allow)
        || !all(&before.deny, &after.deny)
        || before.mode != after.mode
        // Whatever is another about routes may take something away: one that is added may be closer than one that was there.
        || before.routes != after.routes
}

fn utf8(text: &Text) -> Result<&str, TrustError> {
    str::from_utf8(&text.bytes).map_err(|_| TrustError::NotText(text.path.clone()))
}

#[cfg(test)]
mod tests;
