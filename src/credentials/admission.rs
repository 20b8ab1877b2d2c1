//! The files that say who may come in: CAs, CRLs, the policy file.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::Roots;
use super::RootsError;
use super::Text;
use super::load;
use super::load::LoadError;
use super::source::Source;
use crate::config::Certified;
use crate::config::SecretFile;
use crate::config::envoy::sds;
use crate::config::envoy::sds::ValidationContext;
use crate::config::mistake::Mistakes;
use crate::identity::Client;
use crate::identity::Identity;
use crate::policy::AltName;
use crate::policy::Denial;
use crate::policy::Mode;
use crate::policy::Permit;
use crate::policy::Policy;
use crate::policy::PolicyFile;
use crate::policy::Rule;

/// The largest CRL that is read, in bytes: some hundred thousand certificates.
const LARGEST_CRL: u64 = 16 * load::MIB;

/// More entries than that, and a folder is not one of CAs.
const MOST_ENTRIES: usize = 4096;

/// Whom a listener admits: under which roots, by which rules. They are loaded together and change together.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Who vouches for clients.
    pub roots: Roots,
    /// Who of them may come in.
    pub policy: Policy,
    /// What was left out of the files, for the log.
    pub notes: Vec<String>,
}

/// The files as they were read, to tell whether anything has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionTexts {
    cas: Vec<Text>,
    crls: Vec<Text>,
    policy: Option<Text>,
    /// The names that a document lists.
    names: Vec<AltName>,
}

/// Why the files admit nobody new: what was admitted before stays.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// A file cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A folder cannot be read.
    #[error("{}: the folder cannot be read: {cause}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// CAs or CRLs cannot be used.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The policy file is no text.
    #[error("{}: not UTF-8 text; write the file anew", .0.display())]
    NotText(PathBuf),
    /// The policy file has mistakes: one a line.
    #[error("{}", .0.lines())]
    Policy(Mistakes),
}

impl AdmissionTexts {
    /// Reads everything that `certified` names. Of a folder every regular file is read whose name does not begin with a
    /// dot, in the order of their names.
    ///
    /// # Errors
    /// Something cannot be read. An empty file of CAs or CRLs counts as one that is being written; an empty policy file is
    /// a policy that lists nothing.
    pub fn read(certified: &Certified) -> Result<Self, AdmissionError> {
        let policy = match &certified.policy {
            Some(path) => {
                let bytes = load::read_or_empty(path, PolicyFile::LARGEST)?;
                Some(Text { path: path.clone(), bytes, named: true })
            }
            None => None,
        };
        let (cas, crls) = (gather(&certified.ca, load::LARGEST)?, gather(&certified.crl, LARGEST_CRL)?);
        Ok(Self { cas, crls, policy, names: Vec::new() })
    }

    /// Reads the validation context that is `secret`.
    ///
    /// # Errors
    /// The document cannot be read.
    fn read_context(secret: &SecretFile) -> Result<Self, AdmissionError> {
        let ValidationContext { trusted_ca, names } = load::read_secret(secret, sds::validation_context)?;
        let ca = Text { path: secret.path.clone(), bytes: trusted_ca.into_bytes(), named: true };
        Ok(Self { cas: vec![ca], crls: Vec::new(), policy: None, names })
    }

    /// What a validation context says: any one of its names suffices, none listed means any certificate under its roots,
    /// and without roots nobody is trusted.
    fn admission_of_context(&self) -> Result<Admission, AdmissionError> {
        let (roots, notes) = match self.cas.iter().all(|text| text.bytes.trim_ascii().is_empty()) {
            true => (Roots::none(), Vec::new()),
            false => Roots::parse(&self.cas, &self.crls)?,
        };
        let allow = match self.names.as_slice() {
            [] => vec![Rule::Trusted],
            names => names.iter().cloned().map(Rule::AltName).collect(),
        };
        Ok(Admission { roots, policy: Policy { mode: Mode::Enforce, allow, deny: Vec::new() }, notes })
    }

    /// What they say, together with the rules that `certified` has itself.
    ///
    /// # Errors
    /// Something in the files is wrong; then nothing of them counts.
    pub fn admission(&self, certified: &Certified) -> Result<Admission, AdmissionError> {
        if self.cas.is_empty() {
            // Folders, and nothing in them.
            return Err(RootsError::empty(certified.ca.iter()).into());
        }
        let (roots, notes) = Roots::parse(&self.cas, &self.crls)?;
        let file = match &self.policy {
            Some(text) => PolicyFile::parse(&text.path, utf8(text)?).map_err(AdmissionError::Policy)?,
            None => PolicyFile::default(),
        };
        let policy = Policy {
            mode: certified.mode.or(file.mode).unwrap_or_default(),
            allow: certified.allow.iter().cloned().chain(file.allow).collect(),
            deny: certified.deny.iter().cloned().chain(file.deny).collect(),
        };
        Ok(Admission { roots, policy, notes })
    }
}

impl Admission {
    /// Whether whoever shows `chain` (leaf first) at the time `now` may come in. It is what the handshake asks, and is
    /// asked again of resumed sessions and of living connections. `own` is our own identity.
    ///
    /// # Errors
    /// [`Denial`]: the roots do not vouch for it, or the policy does not admit it.
    pub fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        own: Option<&Identity>,
        now: SystemTime,
    ) -> Result<(Client, Permit), Denial> {
        let client = self.roots.vouch(chain, now)?;
        let permit = self.policy.judge(&client, own)?;
        Ok((client, permit))
    }
}

/// Where roots and rules are found that are served together.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AdmissionSource {
    /// In files of CAs, CRLs and rules.
    Files(Certified),
    /// In a document of secrets.
    Secret(SecretFile),
}

impl Source for AdmissionSource {
    type Texts = AdmissionTexts;
    type Meaning = Arc<Admission>;
    type Error = AdmissionError;

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

    fn read(&self) -> Result<AdmissionTexts, AdmissionError> {
        match self {
            Self::Files(certified) => AdmissionTexts::read(certified),
            Self::Secret(secret) => AdmissionTexts::read_context(secret),
        }
    }

    fn understand(&self, texts: &AdmissionTexts) -> Result<Arc<Admission>, AdmissionError> {
        match self {
            Self::Files(certified) => texts.admission(certified).map(Arc::new),
            Self::Secret(_) => texts.admission_of_context().map(Arc::new),
        }
    }

    fn remark(&self, admission: &Arc<Admission>) {
        for note in &admission.notes {
            tracing::warn!("{note}");
        }
    }
}

fn utf8(text: &Text) -> Result<&str, AdmissionError> {
    str::from_utf8(&text.bytes).map_err(|_| AdmissionError::NotText(text.path.clone()))
}

/// The texts of files, and of the files in folders.
fn gather(paths: &[PathBuf], largest: u64) -> Result<Vec<Text>, AdmissionError> {
    let mut texts = Vec::new();
    for path in paths {
        if !path.is_dir() {
            let bytes = load::read(path, largest)?;
            texts.push(Text { path: path.clone(), bytes, named: true });
            continue;
        }
        for path in entries(path)? {
            let bytes = load::read(&path, largest)?;
            texts.push(Text { path, bytes, named: false });
        }
    }
    Ok(texts)
}

/// The regular files in a folder, symlinks to such files included, in the order of their names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, AdmissionError> {
    let failed = |cause: String| AdmissionError::Folder { path: folder.to_owned(), cause };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| failed(error.to_string()))? {
        let path = entry.map_err(|error| failed(error.to_string()))?.path();
        let hidden = path.file_name().map(OsStr::as_bytes).is_none_or(|name| name.starts_with(b"."));
        // A link to nowhere is left for the next look, like a file that has gone in the meantime.
        if !hidden && path.is_file() {
            paths.push(path);
        }
        if paths.len() > MOST_ENTRIES {
            return Err(failed(format!("more than {MOST_ENTRIES} files")));
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::Authority;
    use crate::issuer::InstanceSpec;
    use crate::issuer::Key;
    use crate::issuer::KeyKind;
    use crate::policy::Reason;
    use rustls::pki_types::pem::PemObject;
    use std::sync::LazyLock;
    use tempfile::TempDir;

    static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::generate(SystemTime::now()).unwrap());
    static KEY: LazyLock<Key> = LazyLock::new(|| Key::generate(KeyKind::P256).unwrap());

    fn issue(spec: &InstanceSpec) -> Vec<CertificateDer<'static>> {
        let pem = AUTHORITY.issue_with_key(spec, &KEY, SystemTime::now()).unwrap().cert_pem;
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
    }

    /// A folder with the CA in it, and what reads it.
    fn folder() -> (TempDir, Certified) {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("ca.crt"), AUTHORITY.roots_pem()).unwrap();
        let certified = Certified {
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

    fn load(certified: &Certified) -> Result<Admission, AdmissionError> {
        AdmissionTexts::read(certified)?.admission(certified)
    }

    #[test]
    fn green_comes_in_and_blue_does_not() {
        let (_dir, mut certified) = folder();
        let (green, blue) = (InstanceSpec::generate().unwrap(), InstanceSpec::generate().unwrap());
        certified.allow = vec![Rule::App(green.app)];
        let admission = load(&certified).unwrap();
        let (client, permit) = admission.judge(&issue(&green), None, SystemTime::now()).unwrap();
        assert_eq!(client.identity().unwrap().app, Some(green.app));
        assert_eq!(permit.rule(), Some(&Rule::App(green.app)));
        let denial = admission.judge(&issue(&blue), None, SystemTime::now()).unwrap_err();
        assert_eq!((denial.reason(), denial.rule()), (Reason::NotAllowed, None));
        let later = SystemTime::now() + 2 * blue.validity;
        assert_eq!(admission.judge(&issue(&green), None, later).unwrap_err().reason(), Reason::Expired);
        assert_eq!(admission.judge(&[], None, later).unwrap_err().reason(), Reason::NoCertificate);
        // Audit admits whom the roots vouch for, and nobody else.
        let audit = Admission { policy: Policy { mode: Mode::Audit, ..admission.policy }, ..admission };
        let (_, permit) = audit.judge(&issue(&blue), None, SystemTime::now()).unwrap();
        assert_eq!(permit.overruled().unwrap().reason(), Reason::NotAllowed);
        let stranger = Authority::generate(SystemTime::now()).unwrap();
        let pem = stranger.issue_with_key(&green, &KEY, SystemTime::now()).unwrap().cert_pem;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(audit.judge(&chain, None, SystemTime::now()).unwrap_err().reason(), Reason::Untrusted);
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
        let notes = load(&certified).unwrap().notes;
        assert_eq!(notes, [format!("{}: no certificate in PEM in it, left out", at("readme.txt").display())]);
        fs::write(at("new.crt"), "").unwrap();
        assert!(matches!(load(&certified), Err(AdmissionError::Load(LoadError::Empty { .. }))), "it is being written");
        fs::remove_file(at("new.crt")).unwrap();
        fs::remove_file(at("ca.crt")).unwrap();
        let error = load(&certified).unwrap_err();
        assert!(error.to_string().contains("without one nobody could come in"), "{error}");
    }

    #[test]
    fn the_policy_file_adds_to_the_rules_that_were_given() {
        let (dir, mut certified) = folder();
        let path = dir.path().join(".policy.toml");
        let policy = |text: &str, certified: &Certified| {
            fs::write(&path, text).unwrap();
            load(certified).map(|admission| admission.policy)
        };
        certified.policy = Some(path.clone());
        let nobody = Policy { mode: Mode::Enforce, allow: vec![], deny: vec![] };
        assert_eq!(policy("", &certified).unwrap(), nobody);
        certified.allow = vec![Rule::CloudFoundry];
        let both = policy("mode = 'audit'\nallow = ['cn:x']\ndeny = ['any']", &certified).unwrap();
        let allow = vec![Rule::CloudFoundry, "cn:x".parse().unwrap()];
        assert_eq!(both, Policy { mode: Mode::Audit, allow, deny: vec![Rule::Any] });
        certified.mode = Some(Mode::Enforce);
        assert_eq!(policy("mode = 'audit'", &certified).unwrap().mode, Mode::Enforce);
        let error = policy("allow = ['x']\nmod = 'audit'", &certified).unwrap_err().to_string();
        let lines: Vec<_> = error.lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
        assert_eq!(lines, [format!("{}:1", path.display()), format!("{}:2", path.display())]);
        fs::write(&path, b"# \xff").unwrap();
        assert!(load(&certified).unwrap_err().to_string().contains("not UTF-8 text"));
        fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
        assert!(load(&certified).unwrap_err().to_string().contains("larger than 1 MiB"));
    }

    #[test]
    fn what_was_read_tells_whether_anything_has_changed() {
        let (dir, certified) = folder();
        let before = AdmissionTexts::read(&certified).unwrap();
        assert_eq!(AdmissionTexts::read(&certified).unwrap(), before);
        fs::write(dir.path().join("note"), "x").unwrap();
        assert_ne!(AdmissionTexts::read(&certified).unwrap(), before);
    }
}
