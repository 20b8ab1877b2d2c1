//! Failures to load files: reported once per cause, and only if it lasts.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

/// Between the platform's two renames the files are no pair, and a file that is written in place is torn for a moment.
/// Only what lasts longer than this is worth a word.
const REPORT_AFTER: Duration = Duration::from_secs(2);

/// While something is wrong with the files they are looked at this often, whatever the events say.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The failure to load one source, from its first sight until it is good again.
#[derive(Debug, Default)]
pub(super) struct LoadFailure(Option<LoadFailureCause>);

#[derive(Debug)]
struct LoadFailureCause {
    text: String,
    since: Instant,
    reported: bool,
}

impl LoadFailure {
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The source is good; says so if it was said to be bad.
    pub(super) fn cleared(&mut self) {
        if self.0.take().is_some_and(|cause| cause.reported) {
            tracing::info!("credential reload recovered");
        }
    }

    /// Keeps track of a cause, and reports it once when it lasts; whether it has done so now. `have_good`: an earlier state is
    /// in service.
    pub(super) fn note(&mut self, error: &impl Display, have_good: bool) -> bool {
        let text = error.to_string();
        let known = match &mut self.0 {
            Some(known) if known.text == text => known,
            other => other.insert(LoadFailureCause { text, since: Instant::now(), reported: false }),
        };
        if known.reported || known.since.elapsed() < REPORT_AFTER {
            return false;
        }
        known.reported = true;
        if have_good {
            tracing::warn!(error = %known.text, "credential reload failed; keeping the last good generation");
        } else {
            tracing::warn!(error = %known.text, "waiting for usable credentials");
        }
        true
    }
}
