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
pub enum ClientPolicyError {
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

impl ClientPolicyError {
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
    pub fn read(certified: &ClientAuthFiles, before: Option<&Self>) -> Result<Self, ClientPolicyError> {
        let policy = match &certified.policy {
            Some(path) => TrustFiles::one(path, |path| load::read_or_empty(path, PolicyFile::LARGEST))
                .map_err(|error| ClientPolicyError::Load(FileKind::Policy, error))?,
            None => TrustFiles::default(),
        };
        let cas = TrustFiles::read(&certified.ca, TrustFileKind::Cas, before.map(|before| &before.cas))?;
        let crls = TrustFiles::read(&certified.crl, TrustFileKind::Crls, before.map(|before| &before.crls))?;
        Ok(Self { cas, crls, policy, names: Vec::new() })
    }

    /// Reads the validation context that is `secret`.
    ///
    /// # Errors
    /// The document cannot be read.
    fn read_context(secret: &SecretFile) -> Result<Self, ClientPolicyError> {
        let mut names = Vec::new();
        let cas = TrustFiles::one(&secret.path, |_| {
            let context: ValidationContext = load::read_secret(secret, sds::validation_context)?;
            names = context.names;
            Ok::<_, LoadError>(context.trusted_ca.into_bytes())
        })
        .map_err(|error| ClientPolicyError::Load(FileKind::ClientCa, error))?;
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
    fn client_policy_of_context(&self) -> Result<ClientPolicy, ClientPolicyError> {
        let (anchors, notes) = match self.cas.texts.iter().all(|text| text.bytes.trim_ascii().is_empty()) {
            true => (TrustAnchors::none(), Vec::new()),
            false => TrustAnchors::parse(&self.cas.texts, &self.crls.texts).map_err(ClientPolicyError::of_anchors)?,
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
    pub fn client_policy(&self, certified: &ClientAuthFiles) -> Result<ClientPolicy, ClientPolicyError> {
        let left_out: Vec<String> = self.cas.notes().chain(self.crls.notes()).collect();
        if self.cas.texts.is_empty() {
            // Folders, and nothing in them.
            let error = TrustAnchorsError::empty(certified.ca.iter(), &left_out);
            return Err(ClientPolicyError::of_anchors(error));
        }
        let parsed = TrustAnchors::parse(&self.cas.texts, &self.crls.texts);
        let (anchors, mut notes) =
            parsed.map_err(|error| ClientPolicyError::of_anchors(error.with_left_out(&left_out)))?;
        notes.extend(left_out);
        if anchors.crls().is_empty() && !certified.crl.is_empty() {
            let error = TrustAnchorsError::no_crls(certified.crl.iter(), &notes);
            return Err(ClientPolicyError::of_anchors(error));
        }
        let unusable_files = self.cas.unusable() + self.crls.unusable();
        let file = match self.policy.texts.first() {
            Some(text) => PolicyFile::parse(&text.path, utf8(text)?).map_err(ClientPolicyError::Policy)?,
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
    type Error = ClientPolicyError;

    fn kind_of(&self, error: &ClientPolicyError) -> FileKind {
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

    fn read(&self, before: Option<&ClientPolicyFiles>) -> Result<ClientPolicyFiles, ClientPolicyError> {
        match self {
            Self::Files(certified) => ClientPolicyFiles::read(certified, before),
            Self::Secret(secret) => ClientPolicyFiles::read_context(secret),
        }
    }

    fn parse(&self, texts: &ClientPolicyFiles) -> Result<Arc<ClientPolicy>, ClientPolicyError> {
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

fn utf8(text: &Text) -> Result<&str, ClientPolicyError> {
    str::from_utf8(&text.bytes).map_err(|_| ClientPolicyError::NotText(text.path.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::{Authority, InstanceSpec, Key, KeyKind};
    use crate::policy::DenialReason;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use std::fs;
    use std::sync::LazyLock;
    use std::time::SystemTime;
    use tempfile::TempDir;

    static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::generate(SystemTime::now()).unwrap());
    static KEY: LazyLock<Key> = LazyLock::new(|| Key::generate(KeyKind::P256).unwrap());

    fn issue(spec: &InstanceSpec) -> Vec<CertificateDer<'static>> {
        let pem = AUTHORITY.issue_with_key(spec, &KEY, SystemTime::now()).unwrap().cert_pem;
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
    }

    /// A folder with the CA in it, and what reads it.
    fn folder() -> (TempDir, ClientAuthFiles) {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("ca.crt"), AUTHORITY.roots_pem()).unwrap();
        let certified = ClientAuthFiles {
            required: true,
            ca: vec![dir.path().to_owned()],
            crl: vec![],
            allow: vec![],
            deny: vec![],
            any_implied: false,
            policy: None,
            mode: None,
        };
        (dir, certified)
    }

    fn load(certified: &ClientAuthFiles) -> Result<ClientPolicy, ClientPolicyError> {
        ClientPolicyFiles::read(certified, None)?.client_policy(certified)
    }

    #[test]
    fn green_comes_in_and_blue_does_not() {
        let (_dir, mut certified) = folder();
        let (green, blue) = (InstanceSpec::generate().unwrap(), InstanceSpec::generate().unwrap());
        certified.allow = vec![Rule::App(green.app)];
        let client_policy = load(&certified).unwrap();
        let (client, permit) = client_policy.authorize(&issue(&green), None, SystemTime::now()).unwrap();
        assert_eq!(client.identity().unwrap().app, Some(green.app));
        assert_eq!(permit.rule(), Some(&Rule::App(green.app)));
        let denial = client_policy.authorize(&issue(&blue), None, SystemTime::now()).unwrap_err();
        assert_eq!((denial.reason(), denial.rule()), (DenialReason::NotAllowed, None));
        let later = SystemTime::now() + 2 * blue.validity;
        assert_eq!(client_policy.authorize(&issue(&green), None, later).unwrap_err().reason(), DenialReason::Expired);
        assert_eq!(client_policy.authorize(&[], None, later).unwrap_err().reason(), DenialReason::NoCertificate);
        // Audit admits whom the trust anchors vouch for, and nobody else.
        let audit =
            ClientPolicy { policy: Policy { mode: PolicyMode::Audit, ..client_policy.policy }, ..client_policy };
        let (_, permit) = audit.authorize(&issue(&blue), None, SystemTime::now()).unwrap();
        assert_eq!(permit.audited_denial().unwrap().reason(), DenialReason::NotAllowed);
        let stranger = Authority::generate(SystemTime::now()).unwrap();
        let pem = stranger.issue_with_key(&green, &KEY, SystemTime::now()).unwrap().cert_pem;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(audit.authorize(&chain, None, SystemTime::now()).unwrap_err().reason(), DenialReason::Untrusted);
    }

    #[test]
    fn a_folders_other_files_are_left_out_with_a_note() {
        let (dir, certified) = folder();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("readme.txt"), "the CAs of the platform").unwrap();
        fs::write(at(".hidden"), "").unwrap();
        fs::create_dir(at("more")).unwrap();
        std::os::unix::fs::symlink(at("ca.crt"), at("link.crt")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("dangling.crt")).unwrap();
        let said = |file: &str, what: &str| format!("{}: {what}", at(file).display());
        let readme = said("readme.txt", "no certificate in PEM in it, left out");
        let dangling = said("dangling.crt", "no such file; left out");
        let client_policy = load(&certified).unwrap();
        assert_eq!(client_policy.notes, [readme.clone(), dangling.clone()]);
        assert_eq!(client_policy.unusable_files, 2);
        fs::write(at("new.crt"), "").unwrap();
        let client_policy = load(&certified).unwrap();
        assert_eq!(client_policy.notes, [readme, dangling, said("new.crt", "the file is empty; left out")]);
        assert_eq!((client_policy.anchors.cas().len(), client_policy.unusable_files), (2, 3));
        fs::remove_file(at("ca.crt")).unwrap();
        let error = load(&certified).unwrap_err();
        assert!(error.to_string().contains("without one nobody could come in"), "{error}");
    }

    #[test]
    fn the_policy_file_adds_to_the_rules_that_were_given() {
        let (dir, mut certified) = folder();
        let path = dir.path().join(".policy.toml");
        let policy = |text: &str, certified: &ClientAuthFiles| {
            fs::write(&path, text).unwrap();
            load(certified).map(|client_policy| client_policy.policy)
        };
        certified.policy = Some(path.clone());
        let nobody = Policy { mode: PolicyMode::Enforce, allow: vec![], deny: vec![] };
        assert_eq!(policy("", &certified).unwrap(), nobody);
        certified.allow = vec![Rule::CloudFoundry];
        let both = policy("mode = 'audit'\nallow = ['cn:x']\ndeny = ['any']", &certified).unwrap();
        let allow = vec![Rule::CloudFoundry, "cn:x".parse().unwrap()];
        assert_eq!(both, Policy { mode: PolicyMode::Audit, allow, deny: vec![Rule::Any] });
        certified.mode = Some(PolicyMode::Enforce);
        assert_eq!(policy("mode = 'audit'", &certified).unwrap().mode, PolicyMode::Enforce);
        let error = policy("allow = ['x']\nmod = 'audit'", &certified).unwrap_err().to_string();
        let lines: Vec<_> = error.lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
        assert_eq!(lines, [format!("{}:1", path.display()), format!("{}:2", path.display())]);
        fs::write(&path, b"# \xff").unwrap();
        assert!(load(&certified).unwrap_err().to_string().contains("not UTF-8 text"));
        fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
        assert!(load(&certified).unwrap_err().to_string().contains("larger than 1 MiB"));
    }

    #[test]
    fn a_file_of_a_folder_that_is_no_longer_good_counts_as_it_was_and_one_that_never_was_is_left_out() {
        let (dir, certified) = folder();
        let other = Authority::generate(SystemTime::now()).unwrap().roots_pem();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("other.crt"), &other).unwrap();
        let before = ClientPolicyFiles::read(&certified, None).unwrap();
        assert_eq!(before.client_policy(&certified).unwrap().anchors.cas().len(), 4);
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in [&other[..other.len() / 3], "", garbage] {
            fs::write(at("other.crt"), bad).unwrap();
            let texts = ClientPolicyFiles::read(&certified, Some(&before)).unwrap();
            let ClientPolicy { anchors, notes, unusable_files, .. } = texts.client_policy(&certified).unwrap();
            assert_eq!((anchors.cas().len(), unusable_files, notes.len()), (4, 1, 1));
            assert!(notes[0].contains("other.crt") && notes[0].ends_with("it counts as it was when it was last good"));
            // As it was, after the next look as well.
            assert!(ClientPolicyFiles::read(&certified, Some(&texts)).unwrap() == texts);
            let anew = ClientPolicyFiles::read(&certified, None).unwrap().client_policy(&certified).unwrap();
            assert_eq!((anew.anchors.cas().len(), anew.unusable_files), (2, 1));
        }
        fs::remove_file(at("other.crt")).unwrap();
        let gone = ClientPolicyFiles::read(&certified, Some(&before)).unwrap().client_policy(&certified).unwrap();
        assert_eq!((gone.anchors.cas().len(), gone.unusable_files), (2, 0));
    }

    #[test]
    fn a_place_of_crls_in_which_there_is_none_revokes_nobody_and_is_refused() {
        let (dir, mut certified) = folder();
        let crls = dir.path().join("crls");
        fs::create_dir(&crls).unwrap();
        certified.crl = vec![crls.clone()];
        for name in ["README", ".hidden.crl", "below/list.crl"] {
            fs::create_dir_all(crls.join(name).parent().unwrap()).unwrap();
            fs::write(crls.join(name), "nothing").unwrap();
            let error = load(&certified).unwrap_err();
            assert!(error.to_string().contains("nothing would be revoked"), "{name}: {error}");
        }
    }

    #[test]
    fn a_crl_of_a_folder_has_to_be_good_or_to_have_been() {
        let (dir, mut certified) = folder();
        let crls = dir.path().join("crls");
        fs::create_dir(&crls).unwrap();
        certified.crl = vec![crls.clone()];
        let before = ClientPolicyFiles::read(&certified, None).unwrap();
        fs::write(crls.join("a.crl"), "-----BEGIN X509 CRL-----\nAAAA").unwrap();
        for known in [None, Some(&before)] {
            let error = ClientPolicyFiles::read(&certified, known).unwrap_err();
            assert!(error.to_string().contains("a.crl: torn or not PEM"), "{error}");
        }
    }

    #[test]
    fn what_was_read_tells_whether_anything_has_changed() {
        let (dir, certified) = folder();
        let before = ClientPolicyFiles::read(&certified, None).unwrap();
        assert_eq!(ClientPolicyFiles::read(&certified, None).unwrap(), before);
        fs::write(dir.path().join("note"), "x").unwrap();
        assert_ne!(ClientPolicyFiles::read(&certified, None).unwrap(), before);
    }
}
