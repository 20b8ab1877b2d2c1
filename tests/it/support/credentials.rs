//! Credentials as the platform writes them, in a folder of the test's own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use vestibule::issuer::{CertificateAuthority, Credential, Folder, InstanceSpec, KeyKind, SubjectKey};

/// Making a CA takes a second of RSA; one serves all tests of the process.
static AUTHORITY: LazyLock<CertificateAuthority> =
    LazyLock::new(|| CertificateAuthority::generate(SystemTime::now()).unwrap());

/// Two keys to rotate between, made once.
static KEYS: LazyLock<[SubjectKey; 2]> =
    LazyLock::new(|| [SubjectKey::generate(KeyKind::P256).unwrap(), SubjectKey::generate(KeyKind::P256).unwrap()]);

/// A folder with `instance.crt` and `instance.key`.
pub(crate) struct Credentials {
    dir: TempDir,
    pub(crate) folder: Folder,
    pub(crate) spec: InstanceSpec,
    issued: usize,
}

impl Credentials {
    /// A folder with a fresh pair for a random instance.
    pub(crate) fn new() -> Self {
        let mut credentials = Self::empty();
        credentials.rotate();
        credentials
    }

    /// A folder without any file.
    pub(crate) fn empty() -> Self {
        let dir = TempDir::new().unwrap();
        let folder = Folder::instance(dir.path());
        Self { dir, folder, spec: InstanceSpec::generate().unwrap(), issued: 0 }
    }

    /// A pair that has not been written yet. Its key differs from the one before it.
    pub(crate) fn issue(&mut self) -> Credential {
        self.issued += 1;
        AUTHORITY.issue_with_key(&self.spec, &KEYS[self.issued % 2], SystemTime::now()).unwrap()
    }

    /// Replaces the pair as the platform does: the key is renamed first, then the certificate. Gives the new leaf.
    pub(crate) fn rotate(&mut self) -> CertificateDer<'static> {
        let credential = self.issue();
        self.folder.write(&credential).unwrap();
        leaf(credential.cert_pem.as_bytes())
    }

    /// The name that a router expects.
    pub(crate) fn instance(&self) -> &str {
        self.spec.instance.as_ref().unwrap().as_str()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.cert()
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.key()
    }
}

/// A pair for `spec` under the tests' CA.
pub(crate) fn issue(spec: &InstanceSpec) -> Credential {
    issue_at(spec, SystemTime::now())
}

/// The same, as if it were `now`.
pub(crate) fn issue_at(spec: &InstanceSpec, now: SystemTime) -> Credential {
    AUTHORITY.issue_with_key(spec, &KEYS[0], now).unwrap()
}

/// A pair for `spec` with a key of the kind that the platform makes.
pub(crate) fn issue_rsa(spec: &InstanceSpec) -> Credential {
    static KEY: LazyLock<SubjectKey> = LazyLock::new(|| SubjectKey::generate(KeyKind::Rsa2048).unwrap());
    AUTHORITY.issue_with_key(spec, &KEY, SystemTime::now()).unwrap()
}

/// The tests' CA, root and issuing, in PEM.
pub(crate) fn roots_pem() -> String {
    AUTHORITY.roots_pem()
}

/// What clients trust.
pub(crate) fn roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(AUTHORITY.roots_pem().as_bytes()) {
        roots.add(cert.unwrap()).unwrap();
    }
    Arc::new(roots)
}

/// The first certificate of a PEM text.
pub(crate) fn leaf(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}
