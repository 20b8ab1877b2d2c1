//! The secret that a request over TCP has to know: everybody on this machine can connect, and only those who may read the file know it.

use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use rustls::crypto::GetRandomFailed;
use tempfile::TempDir;

use crate::crypto;
use crate::sys::atomic_file;

/// Its file, for its owner alone.
const MODE: u32 = 0o400;

/// 32 random bytes in hexadecimal, new with each start.
#[derive(Clone)]
pub(super) struct EndpointSecret(String);

/// The secret, and the file in which the app finds it.
#[derive(Debug)]
pub struct EndpointSecretFile {
    pub(super) secret: EndpointSecret,
    path: PathBuf,
    /// A folder of ours, which goes with us.
    _folder: Option<TempDir>,
}

impl EndpointSecret {
    /// One that nobody can guess.
    ///
    /// # Errors
    /// There is no randomness.
    pub(super) fn random() -> Result<Self, GetRandomFailed> {
        crypto::random_hex::<32>().map(Self)
    }

    /// The text of its file.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether `authorization`, the value of the header, has it (RFC 6750, section 2.1). It takes as long for any other of its length.
    pub(super) fn is_shown(&self, authorization: &[u8]) -> bool {
        const SCHEME: usize = "bearer ".len();
        let Some((scheme, shown)) = authorization.split_at_checked(SCHEME) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ")
            && verify_slices_are_equal(shown.trim_ascii(), self.0.as_bytes()).is_ok()
    }
}

impl fmt::Debug for EndpointSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointSecret").finish_non_exhaustive()
    }
}

impl EndpointSecretFile {
    /// Makes a secret and writes it to `path`, in place of one that is there; `None`: to a folder of ours.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn write(path: Option<&Path>) -> Result<Self, String> {
        let secret = EndpointSecret::random().map_err(|_| "the system has no randomness".to_owned())?;
        let (path, folder) = match path {
            Some(path) => (path.to_owned(), None),
            None => {
                let mut builder = tempfile::Builder::new();
                let folder = builder.prefix("vestibule-identity-").permissions(Permissions::from_mode(0o700)).tempdir();
                let folder = folder.map_err(|error| {
                    format!("no folder can be made for it ({error}); name a file by --identity-token-file")
                })?;
                (folder.path().join("token"), Some(folder))
            }
        };
        atomic_file::replace(&path, secret.text().as_bytes(), MODE)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        Ok(Self { secret, path, _folder: folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_new_each_time_and_is_in_a_file_for_its_owner_alone() {
        let (one, other) = (EndpointSecretFile::write(None).unwrap(), EndpointSecretFile::write(None).unwrap());
        assert_ne!(one.secret.text(), other.secret.text());
        assert_eq!(one.secret.text().len(), 64);
        assert_eq!(std::fs::read_to_string(one.path()).unwrap(), one.secret.text());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = one.path().parent().unwrap().to_owned();
        assert_eq!((mode(one.path()), mode(&folder)), (0o400, 0o700));
        assert!(!format!("{one:?}").contains(one.secret.text()));
        drop(one);
        assert!(!folder.exists());
    }
}
