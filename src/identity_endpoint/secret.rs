//! The secret that a request over TCP has to know: everybody on this machine can connect, and only those who may read the file know it.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, fs, io};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use rustls::crypto::GetRandomFailed;
use tempfile::TempDir;

use crate::credentials::run_blocking;
use crate::crypto;
use crate::sys::atomic_file;

/// Its file, for its owner alone.
const MODE: u32 = 0o400;

/// Its folder, where that is one of ours.
const FOLDER_MODE: u32 = 0o700;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// 32 random bytes in hexadecimal, new with each start.
#[derive(Clone)]
pub(super) struct EndpointSecret(String);

/// The secret, and the file in which the app finds it.
#[derive(Debug)]
pub struct EndpointSecretFile {
    pub(super) secret: EndpointSecret,
    path: PathBuf,
    /// A folder of ours, which goes with us.
    folder: Option<TempDir>,
    /// Whether the file is to be there; not any more once we go.
    is_wanted: Arc<Mutex<bool>>,
}

/// Puts the secret back that somebody has removed from its file: the app could ask for nothing any more.
#[derive(Debug)]
pub struct EndpointSecretWatcher {
    secret: EndpointSecret,
    path: PathBuf,
    /// A folder of ours, which may be gone too.
    folder: Option<PathBuf>,
    is_wanted: Arc<Mutex<bool>>,
    /// What was found wrong last, and told.
    reported: Option<SecretFileState>,
}

/// What became of the secret in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SecretFileState {
    /// It was not there, and is there again.
    Restored,
    /// The file has another secret: somebody else means the same file.
    Foreign,
    /// It is not there, and cannot be written.
    Lost(String),
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
                let permissions = Permissions::from_mode(FOLDER_MODE);
                let folder = builder.prefix("vestibule-identity-").permissions(permissions).tempdir();
                let folder = folder.map_err(|error| {
                    format!("no folder can be made for it ({error}); name a file by --identity-token-file")
                })?;
                (folder.path().join("token"), Some(folder))
            }
        };
        atomic_file::replace(&path, secret.text().as_bytes(), MODE)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        Ok(Self { secret, path, folder, is_wanted: Arc::new(Mutex::new(true)) })
    }

    /// What looks after the file, for as long as `self` is there.
    pub fn watcher(&self) -> EndpointSecretWatcher {
        EndpointSecretWatcher {
            secret: self.secret.clone(),
            path: self.path.clone(),
            folder: self.folder.as_ref().map(|folder| folder.path().to_owned()),
            is_wanted: Arc::clone(&self.is_wanted),
            reported: None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for EndpointSecretFile {
    fn drop(&mut self) {
        // Whoever is about to write it is waited for: the folder goes next.
        *self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

impl EndpointSecretWatcher {
    /// Looks at the file every now and then, for ever.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let looked = run_blocking(move || {
                let loss = self.look();
                (self, loss)
            });
            // A panic is told by its hook; what looks after the file is gone then, and nothing else.
            let Ok((watcher, loss)) = looked.await else { return std::future::pending().await };
            self = watcher;
            self.tell(loss);
        }
    }

    /// Whether the secret is in its file, and if it was not, what became of that.
    fn look(&self) -> Option<SecretFileState> {
        let is_wanted = self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_wanted {
            return None;
        }
        let found = match fs::metadata(&self.path) {
            Ok(file) if file.is_file() && file.len() == self.secret.text().len() as u64 => fs::read(&self.path),
            // Reading a pipe could take for ever.
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        match found {
            Ok(found) if found == self.secret.text().as_bytes() => return None,
            Ok(found) if is_a_secret(&found) => return Some(SecretFileState::Foreign),
            // Others may have emptied it, or put something else there.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Some(SecretFileState::Lost(error.to_string())),
        }
        let restored = self.remake_folder().map_err(|error| error.to_string()).and_then(|()| {
            let written = atomic_file::replace(&self.path, self.secret.text().as_bytes(), MODE);
            written.map_err(|error| error.to_string())
        });
        Some(restored.map_or_else(SecretFileState::Lost, |()| SecretFileState::Restored))
    }

    /// Where the folder was one of ours, and is gone: somebody cleans up behind us. What has its name by now is nothing of ours.
    fn remake_folder(&self) -> io::Result<()> {
        match &self.folder {
            Some(folder) if !folder.exists() => DirBuilder::new().mode(FOLDER_MODE).create(folder),
            _ => Ok(()),
        }
    }

    /// Says in the log what was found, once for each time that it begins.
    fn tell(&mut self, loss: Option<SecretFileState>) {
        let path = self.path.display();
        match &loss {
            Some(SecretFileState::Restored) => {
                tracing::warn!(%path, "the secret of the identity endpoint was gone from its file, and is there again");
            }
            Some(SecretFileState::Foreign) if loss != self.reported => tracing::error!(
                %path,
                "the file of the identity endpoint's secret has another one; give each program an --identity-token-file of its own"
            ),
            Some(SecretFileState::Lost(error)) if loss != self.reported => {
                tracing::error!(%path, error, "the secret of the identity endpoint is not in its file, and cannot be written");
            }
            _ => {}
        }
        self.reported = loss;
    }
}

/// Whether `text`, which is as long as our own, is a secret as we make them.
fn is_a_secret(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit)
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

    #[test]
    fn a_secret_that_is_gone_from_its_file_comes_back_and_one_of_somebody_else_is_left() {
        let file = EndpointSecretFile::write(None).unwrap();
        let watcher = file.watcher();
        let kept = || fs::read_to_string(file.path()).is_ok_and(|text| text == file.secret.text());
        assert_eq!(watcher.look(), None);
        fs::remove_file(file.path()).unwrap();
        assert_eq!((watcher.look(), kept()), (Some(SecretFileState::Restored), true));
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, MODE);
        fs::set_permissions(file.path(), Permissions::from_mode(0o600)).unwrap();
        fs::write(file.path(), "").unwrap();
        assert_eq!((watcher.look(), kept()), (Some(SecretFileState::Restored), true));
        let folder = file.path().parent().unwrap().to_owned();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((watcher.look(), kept()), (Some(SecretFileState::Restored), true));
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, FOLDER_MODE);

        let other = "0".repeat(64);
        fs::remove_file(file.path()).unwrap();
        fs::write(file.path(), &other).unwrap();
        assert_eq!(watcher.look(), Some(SecretFileState::Foreign));
        assert_eq!(fs::read_to_string(file.path()).unwrap(), other);

        // Somebody has put something in the place of the folder.
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "").unwrap();
        assert!(matches!(watcher.look(), Some(SecretFileState::Lost(_))));
        fs::remove_file(&folder).unwrap();
        drop(file);
        assert_eq!(watcher.look(), None);
        assert!(!folder.exists());
    }
}
