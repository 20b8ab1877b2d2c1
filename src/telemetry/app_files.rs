//! What is counted of files for the app and of hooks, and how each file stands.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use strum::{EnumCount, IntoStaticStr, VariantArray};

use crate::config::{AppFiles, CredentialForm};

/// What stands in a file for the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppFileForm {
    /// A token (JWT).
    Token,
    /// A part of the pair in service.
    Credential(CredentialForm),
}

/// How many forms there are.
const FORMS: usize = 1 + CredentialForm::VARIANTS.len();

/// What became of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum HookResult {
    /// The program ended with 0, or the signal was sent.
    Success,
    /// The program ended with something else.
    Failed,
    /// The program ran for too long, and was killed.
    Timeout,
    /// The program could not be started, or there is no app any more to be signalled.
    NotStarted,
}

/// The state of one file for the app: from which generation it was last written, and the last error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppFileState {
    /// The file.
    pub path: PathBuf,
    /// What stands in it.
    pub form: AppFileForm,
    /// The generation of the pair that it was last written from; `None`: it was not written yet.
    pub generation: Option<u64>,
    /// Why it was not written when that was last tried; `None`: it was.
    pub error: Option<String>,
}

/// Totals since the start, and the state of each file.
#[derive(Debug)]
pub struct AppFileCounters {
    has_files: bool,
    has_hook: bool,
    written: [AtomicU64; FORMS],
    failed: [AtomicU64; FORMS],
    hooks: [AtomicU64; HookResult::COUNT],
    states: Mutex<Vec<AppFileState>>,
}

impl AppFileForm {
    /// Each form that there is.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Token).chain(CredentialForm::VARIANTS.iter().copied().map(Self::Credential))
    }

    /// The word for it, in logs, metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Credential(form) => form.as_str(),
        }
    }

    /// Its place among all.
    fn index(self) -> usize {
        match self {
            Self::Token => 0,
            Self::Credential(form) => 1 + form as usize,
        }
    }
}

impl HookResult {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl AppFileCounters {
    /// Of the files of `config`, the credentials first, of which none was written yet.
    pub fn new(config: &AppFiles) -> Self {
        let state = |path: &PathBuf, form| AppFileState { path: path.clone(), form, generation: None, error: None };
        let credentials = config.credentials.iter().map(|file| state(&file.path, AppFileForm::Credential(file.form)));
        let tokens = config.tokens.iter().map(|file| state(&file.path, AppFileForm::Token));
        let states: Vec<_> = credentials.chain(tokens).collect();
        Self {
            has_files: !states.is_empty(),
            has_hook: config.on_rotation.is_some(),
            written: Default::default(),
            failed: Default::default(),
            hooks: Default::default(),
            states: Mutex::new(states),
        }
    }

    /// The file in this place was written from the pair of `generation`.
    pub(crate) fn count_written(&self, index: usize, generation: u64) {
        if let Some(state) = self.lock().get_mut(index) {
            state.generation = Some(generation);
            state.error = None;
            self.written[state.form.index()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The file in this place was not written. Whether another reason was known before, or none.
    pub(crate) fn count_not_written(&self, index: usize, error: &str) -> bool {
        let mut states = self.lock();
        let Some(state) = states.get_mut(index) else { return false };
        self.failed[state.form.index()].fetch_add(1, Ordering::Relaxed);
        let is_new = state.error.as_deref() != Some(error);
        state.error = Some(error.to_owned());
        is_new
    }

    /// A hook has ended so.
    pub(crate) fn count_hook(&self, result: HookResult) {
        self.hooks[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Times that files of this form were written, and times that they could not be.
    pub(crate) fn files(&self, form: AppFileForm) -> (u64, u64) {
        let read = |counters: &[AtomicU64; FORMS]| counters[form.index()].load(Ordering::Relaxed);
        (read(&self.written), read(&self.failed))
    }

    /// Hooks that ended so.
    pub(crate) fn hooks(&self, result: HookResult) -> u64 {
        self.hooks[result as usize].load(Ordering::Relaxed)
    }

    /// Whether any file is written.
    pub(crate) fn has_files(&self) -> bool {
        self.has_files
    }

    /// Whether anything follows a rotation.
    pub(crate) fn has_hook(&self) -> bool {
        self.has_hook
    }

    /// How each file stands, in the order in which they are written.
    pub fn states(&self) -> Vec<AppFileState> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<AppFileState>> {
        // Each field is written whole.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::{CredentialFile, TokenFile};

    #[test]
    fn each_cause_is_new_once_until_the_file_was_written() {
        let config = AppFiles {
            tokens: vec![TokenFile { audience: "a".into(), path: "/t".into() }],
            credentials: vec![CredentialFile { form: CredentialForm::Chain, path: "/c".into() }],
            ..AppFiles::default()
        };
        let counters = AppFileCounters::new(&config);
        assert!(counters.count_not_written(1, "full"));
        assert!(!counters.count_not_written(1, "full"));
        assert!(counters.count_not_written(1, "read-only"));
        counters.count_written(1, 3);
        assert!(counters.count_not_written(1, "full"));
        counters.count_written(0, 3);
        assert_eq!(
            (counters.files(AppFileForm::Token), counters.files(AppFileForm::Credential(CredentialForm::Chain))),
            ((1, 4), (1, 0))
        );
        let states = counters.states();
        assert_eq!((states[0].generation, states[0].error.as_deref()), (Some(3), None));
        // The old file stays, and it is known from when it is.
        assert_eq!((states[1].generation, states[1].error.as_deref()), (Some(3), Some("full")));
    }
}
