//! The CA: a root, and the intermediate that issues.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};
use std::{fmt, fs};

use super::certificate::CertificateRequest;
use super::key::{SigningKey, pem};
use super::{Credential, InstanceSpec, IssuerError, KeyKind, SubjectKey, certificate, folder};
use crate::pem::Pem;

const ROOT_NAME: &str = "instance-identity-root-ca";
const ISSUING_NAME: &str = "instance-identity-ca";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A root CA and the issuing CA below it.
pub struct CertificateAuthority {
    root_cert: String,
    root_key: String,
    issuing_cert: String,
    issuing_key: String,
    signer: SigningKey,
}

impl fmt::Debug for CertificateAuthority {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("issuing_cert", &self.issuing_cert).finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// A new CA, in memory only: the root is valid for ten years from `now`, the issuing CA for five.
    ///
    /// # Errors
    /// The cryptographic library failed, or `now` is out of range.
    pub fn generate(now: SystemTime) -> Result<Self, IssuerError> {
        let root_key = SubjectKey::generate(KeyKind::Rsa2048)?.to_pem()?;
        let issuing_key = SubjectKey::generate(KeyKind::Rsa2048)?.to_pem()?;
        let root = SigningKey::from_pem(&root_key)?;
        let signer = SigningKey::from_pem(&issuing_key)?;
        let ca = |name, key: &SigningKey, validity| {
            let request = CertificateRequest {
                subject: certificate::ca_name(name)?,
                issuer: certificate::ca_name(ROOT_NAME)?,
                not_before: now,
                validity,
                public_key: key.public(),
                extensions: certificate::ca_extensions(key.public(), root.public())?,
            };
            pem("CERTIFICATE", &certificate::sign(request, &root)?)
        };
        let root_cert = ca(ROOT_NAME, &root, 3650 * DAY)?;
        let issuing_cert = ca(ISSUING_NAME, &signer, 5 * 365 * DAY)?;
        Ok(Self { root_cert, root_key, issuing_cert, issuing_key, signer })
    }

    /// The CA that [`CertificateAuthority::create`] kept in the folder `dir`.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub fn open(dir: &Path) -> Result<Self, IssuerError> {
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(IssuerError::file(&path, "read"))
        };
        let cert = |name: &str| {
            let pem = read(name)?;
            match Pem::read(pem.as_bytes()) {
                Ok(read) if read.certificates().next().is_some() => Ok(pem),
                _ => Err(IssuerError::CertificateAuthority { path: dir.join(name), wanted: "a certificate in PEM" }),
            }
        };
        let issuing_key = read("issuing.key")?;
        let signer = SigningKey::from_pem(&issuing_key).map_err(|_| IssuerError::CertificateAuthority {
            path: dir.join("issuing.key"),
            wanted: "an RSA key in PEM (PKCS#1)",
        })?;
        Ok(Self {
            root_cert: cert("root.crt")?,
            root_key: read("root.key")?,
            issuing_cert: cert("issuing.crt")?,
            issuing_key,
            signer,
        })
    }

    /// A new CA, kept in the folder `dir`, which must not exist: `root.crt`, `root.key`, `issuing.crt`,
    /// `issuing.key`, for the owner alone. The folder appears whole or not at all.
    ///
    /// # Errors
    /// As [`CertificateAuthority::generate`], or a file cannot be written.
    pub fn create(dir: &Path, now: SystemTime) -> Result<Self, IssuerError> {
        let authority = Self::generate(now)?;
        let draft = dir.with_extension("tmp");
        // The folders above stay open to others: the pair lies there, and the app's user reads it.
        let above = draft.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(above).map_err(IssuerError::file(above, "created"))?;
        match fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(IssuerError::file(&draft, "removed")(error));
            }
            _ => {}
        }
        fs::DirBuilder::new().mode(0o700).create(&draft).map_err(IssuerError::file(&draft, "created"))?;
        for (name, text) in [
            ("root.crt", &authority.root_cert),
            ("root.key", &authority.root_key),
            ("issuing.crt", &authority.issuing_cert),
            ("issuing.key", &authority.issuing_key),
        ] {
            let path = draft.join(name);
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(IssuerError::file(&path, "written"))?;
        }
        fs::rename(&draft, dir).map_err(IssuerError::file(dir, "created"))?;
        Ok(authority)
    }

    /// The CA in the folder `dir`, or a new one if there is no such folder.
    ///
    /// # Errors
    /// As [`CertificateAuthority::open`] and [`CertificateAuthority::create`].
    pub fn open_or_create(dir: &Path, now: SystemTime) -> Result<Self, IssuerError> {
        if dir.exists() { Self::open(dir) } else { Self::create(dir, now) }
    }

    /// What a client trusts: the root and the issuing CA, in PEM.
    pub fn roots_pem(&self) -> String {
        format!("{}{}", self.root_cert, self.issuing_cert)
    }

    /// Writes [`CertificateAuthority::roots_pem`] into the file `path`, by rename.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_roots(&self, path: &Path) -> Result<(), IssuerError> {
        folder::replace(path, self.roots_pem().as_bytes())
    }

    /// A credential with a new key, valid from `now`, without backdating.
    ///
    /// # Errors
    /// The cryptographic library failed, or the dates are out of range.
    pub fn issue(&self, spec: &InstanceSpec, now: SystemTime) -> Result<Credential, IssuerError> {
        self.issue_with_key(spec, &SubjectKey::generate(spec.key)?, now)
    }

    /// A credential for this very key, whatever kind `spec` names: for those who rotate faster than RSA keys can be
    /// made.
    ///
    /// # Errors
    /// As [`CertificateAuthority::issue`].
    pub fn issue_with_key(
        &self,
        spec: &InstanceSpec,
        key: &SubjectKey,
        now: SystemTime,
    ) -> Result<Credential, IssuerError> {
        let request = CertificateRequest {
            subject: certificate::instance_name(spec)?,
            issuer: certificate::ca_name(ISSUING_NAME)?,
            not_before: now,
            validity: spec.validity,
            public_key: key.public(),
            extensions: certificate::leaf_extensions(spec, self.signer.public())?,
        };
        let leaf = certificate::sign(request, &self.signer)?;
        let cert_pem = format!("{}{}", pem("CERTIFICATE", &leaf)?, self.issuing_cert);
        Ok(Credential { cert_pem, key_pem: key.to_pem()?, leaf })
    }
}
