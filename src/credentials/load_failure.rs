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

/// So many files of folders have lines of their own, for each kind of files; the others are counted. A folder may hold thousands.
pub(super) const MAX_NAMED: usize = 8;

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
pub(super) struct LoadFailureTracker {
    causes: BTreeMap<(FileKind, Option<PathBuf>), LoadFailureCause>,
    unnamed: BTreeMap<FileKind, UnnamedFiles>,
}

#[derive(Debug)]
struct LoadFailureCause {
    failure: ReloadFailure,
    /// It has lines of its own; else it is one of [`UnnamedFiles`].
    is_named: bool,
    times: ReportTimes,
    /// The text that was reported last.
    said: String,
}

/// The files of folders, of one kind, that have no lines of their own.
#[derive(Debug)]
struct UnnamedFiles {
    count: usize,
    times: ReportTimes,
    /// The number that was reported last.
    said: usize,
}

/// When a failure is reported.
#[derive(Debug)]
struct ReportTimes {
    began: Instant,
    /// What is wrong has been the same since then.
    unchanged_since: Instant,
    reported: Option<Instant>,
}

impl LoadFailureTracker {
    /// Whether a kind as a whole cannot be loaded now: somebody may be at work on it.
    pub(super) fn is_failing(&self) -> bool {
        self.causes.values().any(|cause| cause.failure.file.is_none())
    }

    /// When the next report is due.
    pub(super) fn next_report(&self) -> Option<Instant> {
        self.causes.values().map(LoadFailureCause::due).chain(self.unnamed.values().map(UnnamedFiles::due)).min()
    }

    /// What was reported, and lasts.
    pub(super) fn reported(&self) -> impl Iterator<Item = &ReloadFailure> {
        self.causes.values().filter(|cause| cause.times.reported.is_some()).map(|cause| &cause.failure)
    }

    /// Takes note of everything that is wrong `now`: reports what lasts, and says what was said to be bad and is good. Gives how many
    /// causes were reported for the first time. `has_last_good`: an earlier state is in service.
    pub(super) fn note(&mut self, faults: Vec<LoadFault>, has_last_good: bool, now: Instant) -> usize {
        let mut before = std::mem::take(&mut self.causes);
        let faults = faults.into_iter().map(|LoadFault { kind, file, error }| ((kind, file), error));
        // Who has a name in the log keeps it, and what is new gets one as long as there are any left.
        let (known, new): (Vec<_>, Vec<_>) = faults.partition(|(key, _)| before.contains_key(key));
        let mut named = BTreeMap::<FileKind, usize>::new();
        for (key, error) in known.into_iter().chain(new) {
            let named = named.entry(key.0).or_default();
            let began = || LoadFailureCause::began(&key, key.1.is_none() || *named < MAX_NAMED, now);
            let mut cause = before.remove(&key).unwrap_or_else(began);
            *named += usize::from(cause.is_named && key.1.is_some());
            if cause.failure.error != error {
                (cause.failure.error, cause.times.unchanged_since) = (error, now);
            }
            cause.failure.has_last_good = has_last_good;
            self.causes.entry(key).or_insert(cause);
        }
        before.values().for_each(LoadFailureCause::log_recovered);
        let failures = self.causes.values_mut().map(|cause| usize::from(cause.report(now))).sum();
        self.report_unnamed(now);
        failures
    }

    /// Counts those files that have no lines of their own, and reports how many there are.
    fn report_unnamed(&mut self, now: Instant) {
        let mut counts = BTreeMap::<FileKind, usize>::new();
        for cause in self.causes.values().filter(|cause| !cause.is_named) {
            *counts.entry(cause.failure.kind).or_default() += 1;
        }
        self.unnamed.retain(|kind, files| {
            let is_there = counts.contains_key(kind);
            if !is_there {
                files.log_recovered(*kind);
            }
            is_there
        });
        for (kind, count) in counts {
            let files = self.unnamed.entry(kind).or_insert_with(|| UnnamedFiles::began(now));
            files.report(kind, count, now);
        }
    }
}

impl ReportTimes {
    fn began(now: Instant) -> Self {
        Self { began: now, unchanged_since: now, reported: None }
    }

    /// When the failure is to be reported: at first however it changes, and again if it becomes another that lasts. `is_said`: it is now what
    /// was reported last.
    fn due(&self, is_said: bool) -> Instant {
        let Some(reported) = self.reported else { return self.began + REPORT_AFTER };
        let again = reported + REPORT_AGAIN_AFTER;
        if is_said { again } else { again.min(self.unchanged_since + REPORT_AFTER) }
    }

    /// Takes note of a report; for how many seconds the failure has lasted, if it is not the first one.
    fn report(&mut self, now: Instant) -> Option<u64> {
        self.reported.replace(now).map(|_| now.duration_since(self.began).as_secs())
    }
}

impl LoadFailureCause {
    fn began((kind, file): &(FileKind, Option<PathBuf>), is_named: bool, now: Instant) -> Self {
        let (kind, file, error, since) = (*kind, file.clone(), String::new(), SystemTime::now());
        let failure = ReloadFailure { kind, file, error, since, has_last_good: false };
        Self { failure, is_named, times: ReportTimes::began(now), said: String::new() }
    }

    fn due(&self) -> Instant {
        self.times.due(self.said == self.failure.error)
    }

    /// Reports the failure if that is due; whether its text is another than the last time.
    fn report(&mut self, now: Instant) -> bool {
        if now < self.due() {
            return false;
        }
        let for_seconds = self.times.report(now);
        let is_new = self.said != self.failure.error;
        self.said.clone_from(&self.failure.error);
        let ReloadFailure { kind, file, error, has_last_good, .. } = &self.failure;
        match (file, has_last_good) {
            _ if !self.is_named => {}
            (Some(_), _) => {
                tracing::warn!(%error, for_seconds, "{kind} reload failed for a file of a folder; the others count");
            }
            (None, true) => {
                tracing::warn!(%error, for_seconds, "{kind} reload failed; keeping the last good generation");
            }
            (None, false) => tracing::warn!(%error, for_seconds, "waiting for usable {}", kind.awaited()),
        }
        is_new
    }

    fn log_recovered(&self) {
        if self.is_named && self.times.reported.is_some() {
            let file = self.failure.file.as_deref().map(|file| tracing::field::display(file.display()));
            tracing::info!(file, "{} reload recovered", self.failure.kind);
        }
    }
}

impl UnnamedFiles {
    fn began(now: Instant) -> Self {
        Self { count: 0, times: ReportTimes::began(now), said: 0 }
    }

    fn due(&self) -> Instant {
        self.times.due(self.said == self.count)
    }

    /// Reports that there are `count` of them now, if that is due.
    fn report(&mut self, kind: FileKind, count: usize, now: Instant) {
        if self.count != count {
            (self.count, self.times.unchanged_since) = (count, now);
        }
        if now < self.due() {
            return;
        }
        let for_seconds = self.times.report(now);
        self.said = count;
        tracing::warn!(
            more = count,
            for_seconds,
            help = "write them anew, or take them out; /status.json names up to 50 files",
            "{kind} reload failed for more files of folders; the others count"
        );
    }

    fn log_recovered(&self, kind: FileKind) {
        if self.times.reported.is_some() {
            tracing::info!(more = self.said, "{kind} reload recovered");
        }
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

    #[test]
    fn what_is_named_keeps_its_lines_and_of_the_others_the_number_has_an_age_of_its_own() {
        let (mut failure, begin) = (LoadFailureTracker::default(), Instant::now());
        let files = |numbers: std::ops::Range<usize>| -> Vec<LoadFault> {
            numbers.map(|at| fault(FileKind::ServerCa, Some(&format!("/cas/{at:02}.crt")), "torn")).collect()
        };
        let named = |failure: &LoadFailureTracker| -> Vec<usize> {
            let all = failure.causes.values().enumerate();
            all.filter(|(_, cause)| cause.is_named).map(|(at, _)| at).collect()
        };
        let unnamed = |failure: &LoadFailureTracker| {
            failure.unnamed.get(&FileKind::ServerCa).map(|files| (files.count, files.said))
        };
        // Later files come first by name, and take nobody's place.
        failure.note(files(10..18), true, begin);
        assert_eq!((named(&failure).len(), unnamed(&failure)), (MAX_NAMED, None));
        failure.note(files(0..30), true, begin + REPORT_AFTER / 2);
        assert_eq!((named(&failure), unnamed(&failure)), ((10..18).collect(), Some((22, 0))));
        assert_eq!(failure.note(files(0..30), true, begin + REPORT_AFTER), MAX_NAMED, "those that have lasted");
        assert_eq!(failure.reported().count(), MAX_NAMED);
        let now = begin + REPORT_AFTER * 2;
        assert_eq!(failure.note(files(0..30), true, now), 22, "each is counted as a failure");
        assert_eq!((failure.reported().count(), unnamed(&failure)), (30, Some((22, 22))));
        assert_eq!(failure.next_report(), Some(begin + REPORT_AFTER + REPORT_AGAIN_AFTER));
        // Another number that lasts is said; one that is gone in a moment is not.
        failure.note(files(0..29), true, now);
        failure.note(files(0..30), true, now + REPORT_AFTER);
        assert_eq!(unnamed(&failure), Some((22, 22)));
        let now = now + REPORT_AFTER;
        failure.note(files(0..20), true, now);
        assert_eq!((failure.next_report(), unnamed(&failure)), (Some(now + REPORT_AFTER), Some((12, 22))));
        let now = now + REPORT_AFTER;
        failure.note(files(0..20), true, now);
        assert_eq!(unnamed(&failure), Some((12, 12)));
        // What is left of the names is given to what is new.
        let rest = [files(14..16), files(40..50)].concat();
        failure.note(rest, true, now);
        assert_eq!((named(&failure), unnamed(&failure)), ((0..8).collect(), Some((4, 12))));
        failure.note(Vec::new(), true, now);
        assert!(unnamed(&failure).is_none() && failure.next_report().is_none());
    }
}
