//! Files that together mean one thing: looked at as one, and kept as they were when they were last good.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::load_failure::{LoadFailureTracker, LoadFault, ReloadFailure};

/// How long files that could be torn must stand still before they count.
pub(super) const SETTLE: Duration = Duration::from_millis(50);

/// Files that change all the time are taken as they are after this many looks.
const MAX_SETTLES: usize = 10;

/// Files that together mean one thing.
pub(super) trait ReloadSource: Clone + PartialEq + Send + Sync + 'static {
    /// What stands in them, to tell whether anything has changed.
    type Raw: PartialEq + Send + Sync + 'static;
    /// What they mean.
    type Parsed: Clone + Send + 'static;
    /// Why they mean nothing.
    type Error: Display + Send + 'static;

    /// What cannot be loaded for this reason: each kind of files by itself.
    fn faults_of(&self, error: &Self::Error) -> Vec<LoadFault>;

    /// What cannot be used of what was found, and was left out of `raw` or is in it as it was when it was last good.
    fn faults_in(&self, _raw: &Self::Raw) -> Vec<LoadFault> {
        Vec::new()
    }

    /// What is watched: files and folders.
    fn paths(&self) -> Vec<PathBuf>;

    /// How long what was read has to stand still before it counts, where a text that is still being written may read as a whole one.
    fn settle_interval(&self) -> Option<Duration>;

    /// Reads the files. `before` is what stood in them when they were last good.
    fn read(&self, before: Option<&Self::Raw>) -> Result<Self::Raw, Self::Error>;

    /// What `raw` means.
    fn parse(&self, raw: &Self::Raw) -> Result<Self::Parsed, Self::Error>;

    /// For how long `raw` has to stay as it is before what it means counts. What takes something away and may not
    /// have been written to its end is looked at for longer.
    fn settle_time(&self, _texts: &Self::Raw, _meaning: &Self::Parsed, _before: &Previous<'_, Self>) -> Duration {
        Duration::ZERO
    }

    /// Says what is taken into service, and what is odd about it and was not in the one `before`.
    fn log_loaded(&self, _loaded: &Self::Parsed, _before: Option<&Self::Parsed>, _generation: u64) {}
}

/// What a source was when it was last good.
pub(super) struct Previous<'a, S: ReloadSource> {
    pub(super) raw: &'a S::Raw,
    pub(super) parsed: &'a S::Parsed,
    /// Some of it was bad when it was last looked at: somebody is at work on it.
    pub(super) was_failing: bool,
}

/// A source, and what it meant when it was last good.
pub(super) struct LastGood<S: ReloadSource> {
    pub(super) source: S,
    loaded: Option<Loaded<S>>,
    /// What is to become good if it stays as it is.
    pending: Option<Pending<S>>,
    failure: LoadFailureTracker,
}

/// What a source meant when it was last good.
struct Loaded<S: ReloadSource> {
    raw: Arc<S::Raw>,
    parsed: S::Parsed,
    /// The generation in which it came.
    since: u64,
}

/// A load that takes something away: it is applied after it has stood still, as more may be on its way.
struct Pending<S: ReloadSource> {
    raw: Arc<S::Raw>,
    parsed: S::Parsed,
    until: Instant,
    was_failing: bool,
}

/// What a load has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Update {
    /// There is something new, and good.
    pub(super) is_new: bool,
    /// How many failures have lasted for some time, and have been reported now.
    pub(super) failures: usize,
}

/// What was found in the files.
pub(super) struct SourceLoad<S: ReloadSource> {
    result: LoadResult<S>,
    /// What of it cannot be used.
    faults: Vec<LoadFault>,
}

/// The result of a load.
pub(super) enum LoadResult<S: ReloadSource> {
    /// What was good before. The files may be others.
    Same(S::Raw),
    /// The same content as the one that is pending already.
    Pending,
    /// Something else, and how long it has to stay.
    Different(S::Raw, S::Parsed, Duration),
}

impl<S: ReloadSource> LastGood<S> {
    pub(super) fn new(source: S) -> Self {
        Self { source, loaded: None, pending: None, failure: LoadFailureTracker::default() }
    }

    /// What it meant when it was last good, and since which generation; `None` if it never was.
    pub(super) fn parsed(&self) -> Option<(&S::Parsed, u64)> {
        self.loaded.as_ref().map(|good| (&good.parsed, good.since))
    }

    /// Whether it has to be looked at again soon, whatever the events say: it is bad now, or waits.
    pub(super) fn is_unsettled(&self) -> bool {
        self.failure.is_failing() || self.pending.is_some()
    }

    /// When something that is wrong is to be reported, if it still is.
    pub(super) fn next_report(&self) -> Option<Instant> {
        self.failure.next_report()
    }

    /// What cannot be loaded now, as far as it was reported.
    pub(super) fn failures(&self) -> impl Iterator<Item = &ReloadFailure> {
        self.failure.reported()
    }

    /// Loads the files, which blocks.
    pub(super) fn load(&self) -> impl FnOnce() -> Result<SourceLoad<S>, S::Error> + Send + use<S> {
        let source = self.source.clone();
        let known = self.loaded.as_ref().map(|good| (Arc::clone(&good.raw), good.parsed.clone()));
        let pending = self.pending.as_ref().map(|pending| Arc::clone(&pending.raw));
        let was_failing = self.pending.as_ref().map_or(self.failure.is_failing(), |pending| pending.was_failing);
        move || {
            let Some((known, parsed)) = known else {
                let raw = source.read(None)?;
                let faults = source.faults_in(&raw);
                let parsed = source.parse(&raw)?;
                return Ok(SourceLoad { result: LoadResult::Different(raw, parsed, Duration::ZERO), faults });
            };
            let raw = settled(&source, &known)?;
            let faults = source.faults_in(&raw);
            let result = if raw == *known {
                LoadResult::Same(raw)
            } else if pending.is_some_and(|pending| *pending == raw) {
                LoadResult::Pending
            } else {
                let before = Previous { raw: &*known, parsed: &parsed, was_failing };
                let parsed = source.parse(&raw)?;
                let settle_time = source.settle_time(&raw, &parsed, &before);
                LoadResult::Different(raw, parsed, settle_time)
            };
            Ok(SourceLoad { result, faults })
        }
    }

    /// Applies the result of a load, as of the generation `since`. What was good stays until something better is found.
    pub(super) fn apply(&mut self, found: Result<SourceLoad<S>, S::Error>, since: u64) -> Update {
        let was_failing = self.failure.is_failing();
        let (result, faults) = match found {
            Err(error) => (None, self.source.faults_of(&error)),
            Ok(SourceLoad { result, faults }) => (Some(result), faults),
        };
        let failures = self.failure.note(faults, self.loaded.is_some(), Instant::now());
        let is_new = self.take(result, was_failing, since);
        Update { is_new, failures }
    }

    /// Takes what was found into service; whether it is new. `None`: nothing can be used.
    fn take(&mut self, found: Option<LoadResult<S>>, was_failing: bool, since: u64) -> bool {
        let before = self.pending.take();
        let Some(found) = found else { return false };
        let (raw, parsed) = match (found, before) {
            (LoadResult::Same(raw), _) => {
                if let Some(good) = &mut self.loaded {
                    good.raw = Arc::new(raw);
                }
                return false;
            }
            (LoadResult::Pending, Some(pending)) if pending.until <= Instant::now() => (pending.raw, pending.parsed),
            (LoadResult::Pending, pending) => {
                self.pending = pending;
                return false;
            }
            (LoadResult::Different(raw, parsed, settle_time), _) if settle_time.is_zero() => (Arc::new(raw), parsed),
            (LoadResult::Different(raw, parsed, settle_time), before) => {
                let was_failing = was_failing || before.is_some_and(|before| before.was_failing);
                let (raw, until) = (Arc::new(raw), Instant::now() + settle_time);
                self.pending = Some(Pending { raw, parsed, until, was_failing });
                return false;
            }
        };
        self.source.log_loaded(&parsed, self.loaded.as_ref().map(|good| &good.parsed), since);
        self.loaded = Some(Loaded { raw, parsed, since });
        true
    }
}

/// What the files hold, once they stand still or hold what is `known`.
///
/// A pair that is half-written does not match, and so is not taken. A policy file that is written in place may have its first lines
/// alone for a moment, and they may admit nobody: taken then they would end every connection.
fn settled<S: ReloadSource>(source: &S, known: &S::Raw) -> Result<S::Raw, S::Error> {
    let mut raw = source.read(Some(known))?;
    let Some(interval) = source.settle_interval() else { return Ok(raw) };
    for _ in 0..MAX_SETTLES {
        if raw == *known {
            break;
        }
        std::thread::sleep(interval);
        let again = source.read(Some(known))?;
        let stands_still = again == raw;
        // The later look counts though it says the same: it tells how the file came to be as it is now.
        raw = again;
        if stands_still {
            break;
        }
    }
    Ok(raw)
}

#[cfg(test)]
mod simulation;
