//! The files that say who may come in: CAs, CRLs, the policy file.

use super::load;
use super::load::LoadError;
use super::load_failure::LoadFault;
use super::trust_files::{CrlJudge, TrustFileKind, TrustFiles};
use super::{FileKind, TrustError};
use crate::config::envoy::sds;
use crate::config::envoy::sds::ValidationContext;
use crate::config::{ClientAuthSettings, SdsSecretRef};
use crate::identity::Role;
use crate::policy::route_file::where_requests_are_read;
use crate::policy::{AltName, Policy, PolicyFile, PolicyMode, Route, Routes, Rule};
use crate::trust::{ClientPolicy, Text, TrustAnchors, TrustAnchorsError};

/// The files of a client policy as they were read, to tell whether anything has changed.
#[derive(Debug, Clone)]
pub struct ClientPolicyFiles {
    pub(super) cas: TrustFiles,
    pub(super) crls: TrustFiles,
    /// The file of rules, if there is one.
    pub(super) policy: TrustFiles,
    /// The names that a document lists.
    names: Vec<AltName>,
    /// Kinds of files that cannot be used as they are now, and are in here as they were when they were last good.
    pub(super) faults: Vec<LoadFault>,
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
    /// There is nothing before, and something cannot be used. An empty file counts as one that is being written.
    pub fn read(certified: &ClientAuthSettings, before: Option<&Self>) -> Result<Self, TrustError> {
        let (cas, crls, policy) =
            (before.map(|before| &before.cas), before.map(|before| &before.crls), before.map(|before| &before.policy));
        let mut kinds = TrustErrorList::default();
        let cas = kinds.take(read_cas(certified, cas), cas);
        let files = Self {
            crls: kinds.take(read_crls(certified, &CrlJudge::new(&cas.texts), crls), crls),
            cas,
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
    pub(super) fn read_context(secret: &SdsSecretRef) -> Result<Self, TrustError> {
        let mut names = Vec::new();
        let cas = TrustFiles::single(&secret.path, |_| {
            let context: ValidationContext = load::read_secret(secret, sds::validation_context)?;
            names = context.names;
            Ok::<_, LoadError>(context.trusted_ca.into_bytes())
        })
        .map_err(|error| TrustError::Load(FileKind::ClientCa, error))?;
        Ok(Self { cas, crls: TrustFiles::default(), policy: TrustFiles::default(), names, faults: Vec::new() })
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &TrustFiles> {
        [&self.cas, &self.crls, &self.policy].into_iter()
    }

    /// What a validation context says: any one of its names suffices, none listed means any certificate under its trust anchors,
    /// and without trust anchors nobody is trusted.
    pub(super) fn client_policy_of_context(&self) -> Result<ClientPolicy, TrustError> {
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
    pub(super) fn parse(&self, certified: &ClientAuthSettings) -> Result<ClientPolicy, TrustError> {
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
fn read_crls(
    certified: &ClientAuthSettings,
    judge: &CrlJudge<'_>,
    before: Option<&TrustFiles>,
) -> Result<TrustFiles, TrustError> {
    let files = TrustFiles::read(&certified.crl, TrustFileKind::Crls(judge), before)?;
    if before.is_some_and(|before| files.is_same(before)) {
        return Ok(files);
    }
    // Those of folders have been judged, and what was good stays good when CAs go.
    let is_known = |text: &&Text| before.is_some_and(|before| before.texts.contains(text));
    for text in files.texts.iter().filter(|text| text.named && !is_known(text)) {
        judge.check(text).map_err(TrustError::of_anchors)?;
    }
    if files.texts.is_empty() && !certified.crl.is_empty() {
        let notes: Vec<String> = files.notes().collect();
        return Err(TrustError::of_anchors(TrustAnchorsError::missing_crls_error(certified.crl.iter(), &notes)));
    }
    Ok(files)
}

/// The file of rules that `certified` names, if it does.
fn read_policy(certified: &ClientAuthSettings) -> Result<TrustFiles, TrustError> {
    let Some(path) = &certified.policy else { return Ok(TrustFiles::default()) };
    let files = TrustFiles::single(path, |path| load::read(path, PolicyFile::LARGEST))
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

fn utf8(text: &Text) -> Result<&str, TrustError> {
    str::from_utf8(&text.bytes).map_err(|_| TrustError::NotText(text.path.clone()))
}

#[cfg(test)]
mod tests;
