//! How Diego puts a credential into a container: both files under another name, then two renames, the key's first.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Credential, IssuerError};

/// Where a pair is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    dir: PathBuf,
    stem: String,
}

impl Folder {
    /// `instance.crt` and `instance.key` in `dir`.
    pub fn instance(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), stem: "instance".to_owned() }
    }

    /// `client.crt` and `client.key` in `dir`.
    pub fn client(dir: impl Into<PathBuf>) -> Self {
        Self::named(dir, "client")
    }

    /// The certificate and key files `NAME.crt` and `NAME.key` in `dir`, which need not exist.
    pub fn named(dir: impl Into<PathBuf>, name: &str) -> Self {
        Self { dir: dir.into(), stem: name.to_owned() }
    }

    /// What the names of both files begin with.
    pub fn name(&self) -> &str {
        &self.stem
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The certificate chain's file.
    pub fn cert(&self) -> PathBuf {
        self.dir.join(format!("{}.crt", self.stem))
    }

    /// The key's file.
    pub fn key(&self) -> PathBuf {
        self.dir.join(format!("{}.key", self.stem))
    }

    /// Writes a credential as Diego does. The folder is made if it is missing.
    ///
    /// # Errors
    /// A file cannot be written or renamed.
    pub fn write(&self, credential: &Credential) -> Result<(), IssuerError> {
        self.stage(credential)?.rename_key()?.rename_cert()
    }

    /// Writes both files under their temporary names, and renames nothing yet.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn stage(&self, credential: &Credential) -> Result<Staged<'_>, IssuerError> {
        self.create()?;
        write(&draft(&self.key()), credential.key_pem.as_bytes())?;
        write(&draft(&self.cert()), credential.cert_pem.as_bytes())?;
        Ok(Staged(self))
    }

    /// Rewrites both files in place, as a careless writer does: a reader can see them half written.
    pub(super) fn overwrite(&self, credential: &Credential) -> Result<(), IssuerError> {
        self.create()?;
        write(&self.key(), credential.key_pem.as_bytes())?;
        write(&self.cert(), credential.cert_pem.as_bytes())
    }

    fn create(&self) -> Result<(), IssuerError> {
        fs::create_dir_all(&self.dir).map_err(IssuerError::file(&self.dir, "created"))
    }
}

/// Both files lie there under their temporary names.
#[derive(Debug)]
#[must_use = "nothing has been renamed"]
pub struct Staged<'a>(&'a Folder);

/// The key is the new one and the certificate the old one: for this moment the pair does not match.
#[derive(Debug)]
#[must_use = "the certificate has not been renamed"]
pub struct KeyRenamed<'a>(&'a Folder);

impl<'a> Staged<'a> {
    /// The first rename.
    ///
    /// # Errors
    /// The rename failed.
    pub fn rename_key(self) -> Result<KeyRenamed<'a>, IssuerError> {
        rename(&self.0.key())?;
        Ok(KeyRenamed(self.0))
    }
}

impl KeyRenamed<'_> {
    /// The second rename, which completes the rotation.
    ///
    /// # Errors
    /// The rename failed.
    pub fn rename_cert(self) -> Result<(), IssuerError> {
        rename(&self.0.cert())
    }
}

/// Writes a file in place, readable by everybody: Diego's are 0644, the key's too, since the app's user differs.
fn write(path: &Path, contents: &[u8]) -> Result<(), IssuerError> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| file.write_all(contents))
        .map_err(IssuerError::file(path, "written"))
}

/// Writes a file under another name and renames it, so that nobody sees it half written.
pub(super) fn replace(path: &Path, contents: &[u8]) -> Result<(), IssuerError> {
    write(&draft(path), contents)?;
    rename(path)
}

fn rename(path: &Path) -> Result<(), IssuerError> {
    fs::rename(draft(path), path).map_err(IssuerError::file(path, "replaced"))
}

/// `instance.crt.tmp` for `instance.crt`.
fn draft(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".tmp");
    name.into()
}
