//! The bearer token (RFC 6750) that a request over TCP shows, a secret of 32 random bytes and no JWT: everybody on this machine can connect, and only those who may read the file know it.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use rustls::crypto::GetRandomFailed;
use tempfile::TempDir;

use crate::credentials::run_blocking;
use crate::crypto;
use crate::sys;
use crate::sys::atomic_file;
use crate::sys::removal::remove_folder;

/// Its file, for its owner alone.
const MODE: u32 = 0o400;

/// Its folder, where that is one of ours.
const FOLDER_MODE: u32 = 0o700;

/// How often the file is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// 32 random bytes in hexadecimal, new with each start.
#[derive(Clone)]
pub(super) struct BearerToken(String);

/// The bearer token, and the file in which the app finds it.
#[derive(Debug)]
pub struct BearerTokenFile {
    pub(super) bearer_token: BearerToken,
    path: PathBuf,
    /// A folder of ours, which goes with us; the file is all that we put there.
    folder: Option<PathBuf>,
    /// Whether the file is to be there; not any more once we go.
    is_wanted: Arc<Mutex<bool>>,
}

/// Puts the bearer token back that somebody has removed from its file: the app could ask for nothing any more.
#[derive(Debug)]
pub struct BearerTokenWatcher {
    bearer_token: BearerToken,
    path: PathBuf,
    /// A folder of ours, which may be gone too.
    folder: Option<PathBuf>,
    is_wanted: Arc<Mutex<bool>>,
    /// What was found wrong last, and told.
    reported: Option<BearerTokenFileState>,
}

/// The state of the file of the bearer token, where that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum BearerTokenFileState {
    /// It was not there, and is there again.
    Restored,
    /// The file has another one: somebody else means the same file.
    Foreign,
    /// It is not there, and cannot be written.
    Lost(String),
}

impl BearerToken {
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

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken").finish_non_exhaustive()
    }
}

impl BearerTokenFile {
    /// Makes a bearer token and writes it to `path`, in place of one that is there; `None`: to a folder of ours.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn write(path: Option<&Path>) -> Result<Self, String> {
        let bearer_token = BearerToken::random().map_err(|_| "the system has no randomness".to_owned())?;
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
        atomic_file::replace(&path, bearer_token.text().as_bytes(), MODE)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        // Its own end would go as deep as somebody else has made it by then.
        let folder = folder.map(TempDir::keep);
        Ok(Self { bearer_token, path, folder, is_wanted: Arc::new(Mutex::new(true)) })
    }

    /// What looks after the file, for as long as `self` is there.
    pub fn watcher(&self) -> BearerTokenWatcher {
        BearerTokenWatcher {
            bearer_token: self.bearer_token.clone(),
            path: self.path.clone(),
            folder: self.folder.clone(),
            is_wanted: Arc::clone(&self.is_wanted),
            reported: None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BearerTokenFile {
    fn drop(&mut self) {
        // Whoever is about to write it is waited for: the folder goes next.
        *self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner) = false;
        if let Some(folder) = &self.folder
            && let Err(error) = remove_folder(folder, 0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove the folder of the identity endpoint's bearer token");
        }
    }
}

impl BearerTokenWatcher {
    /// Looks at the file every now and then, for ever.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let looked = run_blocking(move || {
                let loss = self.restore_if_missing();
                (self, loss)
            });
            // A panic is told by its hook; what looks after the file is gone then, and nothing else.
            let Ok((watcher, loss)) = looked.await else { return std::future::pending().await };
            self = watcher;
            self.tell(loss);
        }
    }

    /// Whether the bearer token is in its file, and if it was not, what became of that.
    fn restore_if_missing(&self) -> Option<BearerTokenFileState> {
        let is_wanted = self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_wanted {
            return None;
        }
        let text = self.bearer_token.text();
        let found = sys::file::open_regular(&self.path).and_then(|file| match file {
            Some(file) => sys::file::read_up_to(file, text.len() as u64),
            None => Ok(None),
        });
        match found {
            Ok(Some(found)) if found == text.as_bytes() => return None,
            Ok(Some(found)) if found.len() == text.len() && is_bearer_token(&found) => {
                return Some(BearerTokenFileState::Foreign);
            }
            // Others may have emptied it, or put something else there.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Some(BearerTokenFileState::Lost(error.to_string())),
        }
        let restored = self.remake_folder().map_err(|error| error.to_string()).and_then(|()| {
            let written = atomic_file::replace(&self.path, self.bearer_token.text().as_bytes(), MODE);
            written.map_err(|error| error.to_string())
        });
        Some(restored.map_or_else(BearerTokenFileState::Lost, |()| BearerTokenFileState::Restored))
    }

    /// Where the folder was one of ours, and is gone: somebody cleans up behind us. What has its name by now is nothing of ours.
    fn remake_folder(&self) -> io::Result<()> {
        match &self.folder {
            Some(folder) if !folder.exists() => DirBuilder::new().mode(FOLDER_MODE).create(folder),
            _ => Ok(()),
        }
    }

    /// Says in the log what was found, once for each time that it begins.
    fn tell(&mut self, loss: Option<BearerTokenFileState>) {
        let path = self.path.display();
        match &loss {
            Some(BearerTokenFileState::Restored) => {
                tracing::warn!(%path, "the bearer token of the identity endpoint was gone from its file, and is there again");
            }
            Some(BearerTokenFileState::Foreign) if loss != self.reported => tracing::error!(
                %path,
                "the file of the identity endpoint's bearer token has another one; give each program an --identity-token-file of its own"
            ),
            Some(BearerTokenFileState::Lost(error)) if loss != self.reported => {
                tracing::error!(%path, error, "the bearer token of the identity endpoint is not in its file, and cannot be written");
            }
            _ => {}
        }
        self.reported = loss;
    }
}

/// Whether `text`, which is as long as our own, is a secret as we make them.
fn is_bearer_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    #[test]
    fn the_secret_is_new_each_time_and_is_in_a_file_for_its_owner_alone() {
        let (one, other) = (BearerTokenFile::write(None).unwrap(), BearerTokenFile::write(None).unwrap());
        assert_ne!(one.bearer_token.text(), other.bearer_token.text());
        assert_eq!(one.bearer_token.text().len(), 64);
        assert_eq!(std::fs::read_to_string(one.path()).unwrap(), one.bearer_token.text());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = one.path().parent().unwrap().to_owned();
        assert_eq!((mode(one.path()), mode(&folder)), (0o400, 0o700));
        assert!(!format!("{one:?}").contains(one.bearer_token.text()));
        drop(one);
        assert!(!folder.exists());
    }

    #[test]
    fn a_secret_that_is_gone_from_its_file_comes_back_and_one_of_somebody_else_is_left() {
        let file = BearerTokenFile::write(None).unwrap();
        let watcher = file.watcher();
        let kept = || fs::read_to_string(file.path()).is_ok_and(|text| text == file.bearer_token.text());
        assert_eq!(watcher.restore_if_missing(), None);
        fs::remove_file(file.path()).unwrap();
        assert_eq!((watcher.restore_if_missing(), kept()), (Some(BearerTokenFileState::Restored), true));
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, MODE);
        fs::set_permissions(file.path(), Permissions::from_mode(0o600)).unwrap();
        fs::write(file.path(), "").unwrap();
        assert_eq!((watcher.restore_if_missing(), kept()), (Some(BearerTokenFileState::Restored), true));
        let folder = file.path().parent().unwrap().to_owned();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((watcher.restore_if_missing(), kept()), (Some(BearerTokenFileState::Restored), true));
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, FOLDER_MODE);

        let other = "0".repeat(64);
        fs::remove_file(file.path()).unwrap();
        fs::write(file.path(), &other).unwrap();
        assert_eq!(watcher.restore_if_missing(), Some(BearerTokenFileState::Foreign));
        assert_eq!(fs::read_to_string(file.path()).unwrap(), other);

        // Somebody has put something in the place of the folder.
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "").unwrap();
        assert!(matches!(watcher.restore_if_missing(), Some(BearerTokenFileState::Lost(_))));
        fs::remove_file(&folder).unwrap();
        drop(file);
        assert_eq!(watcher.restore_if_missing(), None);
        assert!(!folder.exists());

        let file = BearerTokenFile::write(None).unwrap();
        let folder = file.path().parent().unwrap().to_owned();
        fs::create_dir_all(folder.join("of/somebody/else")).unwrap();
        drop(file);
        assert!(!folder.join("token").exists() && folder.join("of/somebody/else").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
