//! Failures to load files: reported once per kind and then every hour, and only if they last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::FileKind;

/// Between the platform's two renames the files are no pair, and a file that is written in place is torn for a moment.
/// Only what lasts longer than this is worth a word.
const REPORT_AFTER: Duration = Duration::from_secs(2);

/// What lasts is said again, so that it is in the part of the log that is still there.
pub(super) const REPORT_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// While something is wrong with the files they are looked at this often, whatever the events say.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What cannot be used of a source, as it is found now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoadFault {
    pub(super) kind: FileKind,
    /// The file of a folder, where the others of the folder are good; `None`: nothing new of this kind counts.
    pub(super) file: Option<PathBuf>,
    /// What is wrong, and the remedy; of a file of a folder also what becomes of it.
    pub(super) error: String,
}

/// Files that cannot be loaded now, for so long that it was reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadFailure {
    /// What they are for.
    pub kind: FileKind,
    /// The file of a folder that alone cannot be used; `None`: nothing new of this kind counts.
    pub file: Option<PathBuf>,
    /// What is wrong with them, and the remedy.
    pub error: String,
    /// Since when.
    pub since: SystemTime,
    /// An earlier state is in service.
    pub has_last_good: bool,
}

/// The failures to load one source, each kind and each file of a folder by itself, from first sight until it is good again. What is
/// wrong may change in the meantime: the failure is the same.
#[derive(Debug, Default)]
pub(super) struct LoadFailureTracker(BTreeMap<(FileKind, Option<PathBuf>), LoadFailureCause>);

#[derive(Debug)]
struct LoadFailureCause {
    failure: ReloadFailure,
    began: Instant,
    /// What is wrong has had the same text since then.
    unchanged_since: Instant,
    reported: Option<Instant>,
    /// The text that was reported last.
    said: String,
}

impl LoadFailureTracker {
    /// Whether a kind as a whole cannot be loaded now: somebody may be at work on it.
    pub(super) fn is_failing(&self) -> bool {
        self.0.values().any(|cause| cause.failure.file.is_none())
    }

    /// When the next report is due.
    pub(super) fn next_report(&self) -> Option<Instant> {
        self.0.values().map(LoadFailureCause::due).min()
    }

    /// What was reported, and lasts.
    pub(super) fn reported(&self) -> impl Iterator<Item = &ReloadFailure> {
        self.0.values().filter(|cause| cause.reported.is_some()).map(|cause| &cause.failure)
    }

    /// Takes note of everything that is wrong `now`: reports what lasts, and says what was said to be bad and is good. Gives how many
    /// causes were reported for the first time. `has_last_good`: an earlier state is in service.
    pub(super) fn note(&mut self, faults: Vec<LoadFault>, has_last_good: bool, now: Instant) -> usize {
        let mut before = std::mem::take(&mut self.0);
        for LoadFault { kind, file, error } in faults {
            let key = (kind, file);
            let began = || LoadFailureCause::began(&key, now);
            let mut cause = before.remove(&key).unwrap_or_else(began);
            if cause.failure.error != error {
                (cause.failure.error, cause.unchanged_since) = (error, now);
            }
            cause.failure.has_last_good = has_last_good;
            self.0.entry(key).or_insert(cause);
        }
        before.values().filter(|cause| cause.reported.is_some()).for_each(LoadFailureCause::log_recovered);
        self.0.values_mut().map(|cause| usize::from(cause.report(now))).sum()
    }
}

impl LoadFailureCause {
    fn began((kind, file): &(FileKind, Option<PathBuf>), now: Instant) -> Self {
        let (kind, file, error, since) = (*kind, file.clone(), String::new(), SystemTime::now());
        let failure = ReloadFailure { kind, file, error, since, has_last_good: false };
        Self { failure, began: now, unchanged_since: now, reported: None, said: String::new() }
    }

    /// When the failure is to be reported: at first however its text changes, and again if there is another text that lasts.
    fn due(&self) -> Instant {
        let Some(reported) = self.reported else { return self.began + REPORT_AFTER };
        let again = reported + REPORT_AGAIN_AFTER;
        if self.said == self.failure.error { again } else { again.min(self.unchanged_since + REPORT_AFTER) }
    }

    /// Reports the failure if that is due; whether its text is another than the last time.
    fn report(&mut self, now: Instant) -> bool {
        if now < self.due() {
            return false;
        }
        let is_first = self.reported.replace(now).is_none();
        let is_new = self.said != self.failure.error;
        self.said.clone_from(&self.failure.error);
        let ReloadFailure { kind, file, error, has_last_good, .. } = &self.failure;
        let for_seconds = (!is_first).then(|| now.duration_since(self.began).as_secs());
        if file.is_some() {
            tracing::warn!(%error, for_seconds, "{kind} reload failed for a file of a folder; the others count");
        } else if *has_last_good {
            tracing::warn!(%error, for_seconds, "{kind} reload failed; keeping the last good generation");
        } else {
            tracing::warn!(%error, for_seconds, "waiting for usable {}", kind.awaited());
        }
        is_new
    }

    fn log_recovered(&self) {
        let file = self.failure.file.as_deref().map(|file| tracing::field::display(file.display()));
        tracing::info!(file, "{} reload recovered", self.failure.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FileKind, file: Option<&str>, error: &str) -> LoadFault {
        LoadFault { kind, file: file.map(PathBuf::from), error: error.to_owned() }
    }

    #[test]
    fn what_lasts_is_reported_once_and_again_every_hour() {
        let (mut failure, begin) = (LoadFailureTracker::default(), Instant::now());
        let note =
            |failure: &mut LoadFailureTracker, now| failure.note(vec![fault(FileKind::Policy, None, "no")], true, now);
        assert_eq!(note(&mut failure, begin), 0);
        assert_eq!(failure.reported().next(), None, "it may be gone in a moment");
        assert_eq!(failure.next_report(), Some(begin + REPORT_AFTER));
        assert_eq!(note(&mut failure, begin + REPORT_AFTER), 1);
        let since = failure.reported().next().unwrap().since;
        let again = begin + REPORT_AFTER + REPORT_AGAIN_AFTER;
        for now in [begin + REPORT_AGAIN_AFTER, again] {
            assert_eq!(note(&mut failure, now), 0, "it is the same failure, and counted once");
        }
        assert_eq!(failure.next_report(), Some(again + REPORT_AGAIN_AFTER), "but was said again");
        assert_eq!(failure.reported().next().unwrap().since, since);
        assert_eq!(failure.note(Vec::new(), true, again), 0);
        assert!(!failure.is_failing() && failure.next_report().is_none());
    }

    #[test]
    fn a_failure_whose_text_changes_is_the_same_failure_with_the_new_text() {
        let (mut failure, begin) = (LoadFailureTracker::default(), Instant::now());
        for tenth in 0..=20 {
            let torn = fault(FileKind::ClientCa, None, &format!("torn at {tenth}"));
            let reported = failure.note(vec![torn], true, begin + Duration::from_millis(100) * tenth);
            assert_eq!(reported, usize::from(tenth == 20), "{tenth}");
        }
        let first = failure.reported().next().unwrap().clone();
        assert_eq!(first.error, "torn at 20");
        let gone = |failure: &mut LoadFailureTracker, now| {
            failure.note(vec![fault(FileKind::ClientCa, None, "no such file")], true, now)
        };
        assert_eq!(gone(&mut failure, begin + Duration::from_secs(3)), 0);
        assert_eq!(gone(&mut failure, begin + Duration::from_secs(5)), 1, "another cause that lasts is said");
        assert_eq!(gone(&mut failure, begin + Duration::from_secs(9)), 0);
        let later = failure.reported().next().unwrap();
        assert_eq!((later.since, later.error.as_str()), (first.since, "no such file"));
    }

    #[test]
    fn each_kind_and_each_file_of_a_folder_has_an_age_and_an_end_of_its_own() {
        let (mut failure, begin) = (LoadFailureTracker::default(), Instant::now());
        let policy = fault(FileKind::Policy, None, "an error");
        let file = fault(FileKind::ClientCa, Some("/cas/a.crt"), "torn");
        failure.note(vec![file.clone()], true, begin);
        assert!(!failure.is_failing(), "one file of a folder is not worth a look ten times a second");
        let later = begin + REPORT_AFTER / 2;
        failure.note(vec![policy.clone(), file.clone()], true, later);
        assert!(failure.is_failing());
        let reported = |failure: &LoadFailureTracker| {
            failure.reported().map(|failure| (failure.kind, failure.file.clone())).collect::<Vec<_>>()
        };
        assert_eq!(failure.note(vec![policy.clone(), file.clone()], true, begin + REPORT_AFTER), 1);
        assert_eq!(reported(&failure), [(FileKind::ClientCa, file.file.clone())]);
        assert_eq!(failure.note(vec![policy.clone(), file], true, later + REPORT_AFTER), 1);
        assert_eq!(reported(&failure).len(), 2);
        failure.note(vec![policy], true, later + REPORT_AFTER);
        assert_eq!(reported(&failure), [(FileKind::Policy, None)]);
    }
}
