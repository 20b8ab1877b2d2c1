//! The files for the app: where each is, and how it stands.

use serde::Serialize;

use super::PATH;
use crate::diagnostics::{LONGEST_LINE, SafeText};
use crate::telemetry::{AppFileCounters, AppFileState};

/// A file for the app. Of what stands in it nothing is said.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct AppFileStatus {
    pub(in crate::admin) path: SafeText,
    /// `token`, `pkcs8`, `pem`, `chain` or `ca`.
    pub(in crate::admin) form: &'static str,
    /// The generation that it was last written from; none: it was not written yet.
    pub(in crate::admin) generation: Option<u64>,
    /// Why it was not written when that was last tried; none: it was.
    pub(in crate::admin) error: Option<SafeText>,
}

impl AppFileStatus {
    /// Of all that are counted there.
    pub(super) fn all(counters: Option<&AppFileCounters>) -> Vec<Self> {
        counters.map(AppFileCounters::states).unwrap_or_default().iter().map(Self::of).collect()
    }

    fn of(state: &AppFileState) -> Self {
        Self {
            path: SafeText::up_to(PATH, state.path.display()),
            form: state.form.as_str(),
            generation: state.generation,
            error: state.error.as_ref().map(|error| SafeText::up_to(LONGEST_LINE, error)),
        }
    }
}
