//! Failures to load files: reported once per cause and then every hour, and only if they last.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::FileKind;

/// Between the platform's two renames the files are no pair, and a file that is written in place is torn for a moment.
/// Only what lasts longer than this is worth a word.
const REPORT_AFTER: Duration = Duration::from_secs(2);

/// What lasts is said again, so that it is in the part of the log that is still there.
const REPORT_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// While something is wrong with the files they are looked at this often, whatever the events say.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Files that cannot be loaded now, for so long that it was reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadFailure {
    /// What they are for.
    pub kind: FileKind,
    /// What is wrong with them, and the remedy.
    pub error: String,
    /// Since when.
    pub since: SystemTime,
    /// An earlier state is in service.
    pub has_last_good: bool,
}

/// The failure to load one source, from its first sight until it is good again.
#[derive(Debug, Default)]
pub(super) struct LoadFailureTracker(Option<LoadFailureCause>);

#[derive(Debug)]
struct LoadFailureCause {
    failure: ReloadFailure,
    began: Instant,
    reported: Option<Instant>,
}

impl LoadFailureTracker {
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// What was reported, and lasts.
    pub(super) fn reported(&self) -> Option<&ReloadFailure> {
        self.0.as_ref().filter(|cause| cause.reported.is_some()).map(|cause| &cause.failure)
    }

    /// The source is good; says so if it was said to be bad.
    pub(super) fn cleared(&mut self) {
        if let Some(LoadFailureCause { failure, reported: Some(_), .. }) = self.0.take() {
            tracing::info!("{} reload recovered", failure.kind);
        }
    }

    /// Keeps track of a cause, and reports it when it lasts; whether it has done so now for the first time. `has_last_good`:
    /// an earlier state is in service.
    pub(super) fn note(&mut self, kind: FileKind, error: &impl Display, has_last_good: bool, now: Instant) -> bool {
        let error = error.to_string();
        let known = match &mut self.0 {
            Some(known) if known.failure.error == error => known,
            other => other.insert(LoadFailureCause {
                failure: ReloadFailure { kind, error, since: SystemTime::now(), has_last_good },
                began: now,
                reported: None,
            }),
        };
        let is_due = match known.reported {
            None => now.duration_since(known.began) >= REPORT_AFTER,
            Some(reported) => now.duration_since(reported) >= REPORT_AGAIN_AFTER,
        };
        if !is_due {
            return false;
        }
        let is_first = known.reported.replace(now).is_none();
        let (error, for_seconds) =
            (&known.failure.error, (!is_first).then(|| now.duration_since(known.began).as_secs()));
        if has_last_good {
            tracing::warn!(%error, for_seconds, "{kind} reload failed; keeping the last good generation");
        } else {
            tracing::warn!(%error, for_seconds, "waiting for usable {}", if kind == FileKind::Certificate { "credentials" } else { "client CAs and rules" });
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_reported_once_and_again_every_hour() {
        let (mut failure, begin) = (LoadFailureTracker::default(), Instant::now());
        let note = |failure: &mut LoadFailureTracker, now| failure.note(FileKind::Policy, &"no", true, now);
        assert!(!note(&mut failure, begin));
        assert_eq!(failure.reported(), None, "it may be gone in a moment");
        assert!(note(&mut failure, begin + REPORT_AFTER));
        let since = failure.reported().unwrap().since;
        let again = begin + REPORT_AFTER + REPORT_AGAIN_AFTER;
        for now in [begin + REPORT_AGAIN_AFTER, again] {
            assert!(!note(&mut failure, now), "it is the same failure, and counted once");
        }
        assert_eq!(failure.0.as_ref().unwrap().reported, Some(again), "but was said again");
        assert_eq!(failure.reported().unwrap().since, since);
        failure.cleared();
        assert!(failure.is_none());
    }
}
