//! The file of roles for as long as the process runs: read anew when it changes, and never worse than when it was last good.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Roles;
use crate::diagnostics::Diagnostics;
use crate::sys;

/// A file of roles, and what it said when it was last good.
#[derive(Debug)]
pub struct RolesFile {
    path: PathBuf,
    state: Mutex<RolesState>,
}

#[derive(Debug)]
struct RolesState {
    roles: Arc<Roles>,
    /// What they were read from.
    text: String,
    /// What was found last, where that was something else: a text that counts once it is found again, or nothing.
    pending: Option<String>,
    /// What is wrong with what was found last.
    fault: Option<String>,
}

/// What a look at the file has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolesUpdate {
    /// Nothing.
    Unchanged,
    /// Other roles count from now on.
    Replaced,
    /// It cannot be used, for a reason that was not told before. The last good roles count.
    Failed(String),
    /// It can be used again, and says what the last good roles say.
    Recovered,
}

/// Why there are no roles.
#[derive(Debug, thiserror::Error)]
pub enum RolesFileError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}; name a TOML file with roles")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// It has errors, one a line.
    #[error("{}", .0.lines())]
    Document(Diagnostics),
}

impl RolesFile {
    /// Reads `path`. It blocks.
    ///
    /// # Errors
    /// [`RolesFileError`]: there is no last good state to fall back on.
    pub fn load(path: &Path) -> Result<Self, RolesFileError> {
        let text = read(path)?;
        let roles = parse(path, &text)?;
        let state = RolesState { roles: Arc::new(roles), text, pending: None, fault: None };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// The roles that count.
    pub fn current(&self) -> Arc<Roles> {
        Arc::clone(&self.state().roles)
    }

    /// What is wrong with the file as it is now; `None`: the roles that count are what it says.
    pub fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// Looks at the file, which blocks; to be asked every second or so. A new text counts once it was found twice in a row: one that is
    /// being written may lack a `deny` that is still to come.
    pub fn reload(&self) -> RolesUpdate {
        let found = read(&self.path);
        let mut state = self.state();
        let text = match found {
            Ok(text) => text,
            Err(error) => return state.fail(error.to_string()),
        };
        if text == state.text {
            state.pending = None;
            return if state.fault.take().is_some() { RolesUpdate::Recovered } else { RolesUpdate::Unchanged };
        }
        if state.pending.as_ref() != Some(&text) {
            state.pending = Some(text);
            return RolesUpdate::Unchanged;
        }
        match parse(&self.path, &text) {
            Ok(roles) => {
                *state = RolesState { roles: Arc::new(roles), text, pending: None, fault: None };
                RolesUpdate::Replaced
            }
            Err(error) => state.fail(error.to_string()),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, RolesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RolesState {
    fn fail(&mut self, fault: String) -> RolesUpdate {
        if self.fault.as_ref() == Some(&fault) {
            return RolesUpdate::Unchanged;
        }
        self.fault = Some(fault.clone());
        RolesUpdate::Failed(fault)
    }
}

fn read(path: &Path) -> Result<String, RolesFileError> {
    sys::file::read_text(path).map_err(|source| RolesFileError::Read { path: path.to_owned(), source })
}

fn parse(path: &Path, text: &str) -> Result<Roles, RolesFileError> {
    Roles::parse(path, text).map_err(RolesFileError::Document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const FIRST: &str = "[[role]]\nname = 'a'\nallow = ['cf:any']\npolicies = ['p']\n";
    const SECOND: &str = "[[role]]\nname = 'b'\nallow = ['cf:any']\npolicies = ['p']\n";

    fn roles(text: &str) -> Roles {
        Roles::parse(Path::new("roles.toml"), text).unwrap()
    }

    #[test]
    fn a_changed_file_counts_once_it_was_found_twice_and_not_while_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roles.toml");
        fs::write(&path, FIRST).unwrap();
        let file = RolesFile::load(&path).unwrap();
        assert_eq!(file.reload(), RolesUpdate::Unchanged);
        // A text that ends in the middle, and is a whole one all the same.
        fs::write(&path, &SECOND[..SECOND.len() - 18]).unwrap();
        assert_eq!(file.reload(), RolesUpdate::Unchanged);
        fs::write(&path, SECOND).unwrap();
        assert_eq!(file.reload(), RolesUpdate::Unchanged);
        assert_eq!(*file.current(), roles(FIRST));
        assert_eq!(file.reload(), RolesUpdate::Replaced);
        assert_eq!(*file.current(), roles(SECOND));
        assert_eq!(file.reload(), RolesUpdate::Unchanged);
    }

    #[test]
    fn a_file_that_breaks_or_goes_keeps_the_last_good_roles_and_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roles.toml");
        assert!(matches!(RolesFile::load(&path), Err(RolesFileError::Read { .. })));
        fs::write(&path, "[[role]]\n").unwrap();
        assert!(matches!(RolesFile::load(&path), Err(RolesFileError::Document(_))));
        fs::write(&path, FIRST).unwrap();
        let file = RolesFile::load(&path).unwrap();
        fs::write(&path, "[[role]]\nname = 'a'\nallw = []\n").unwrap();
        assert_eq!(file.reload(), RolesUpdate::Unchanged);
        let RolesUpdate::Failed(fault) = file.reload() else { panic!("it was taken") };
        assert!(fault.ends_with("roles.toml:3: allw: no such key; the nearest is allow"), "{fault}");
        assert_eq!((file.reload(), file.fault()), (RolesUpdate::Unchanged, Some(fault)));
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.reload(), RolesUpdate::Failed(_)));
        assert_eq!(*file.current(), roles(FIRST));
        fs::write(&path, FIRST).unwrap();
        assert_eq!((file.reload(), file.fault()), (RolesUpdate::Recovered, None));
        assert_eq!(*file.current(), roles(FIRST));
    }
}
