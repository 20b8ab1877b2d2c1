//! File events and a slow poll → "look again".
//!
//! The folders are watched, not the files: a file that is replaced by a rename leaves a watch on it with the inode that
//! was thrown away. Every step in which the kernel resolves a path is watched, so symlinks (Kubernetes' `..data`) and
//! folders that are swapped whole are followed as well.
//!
//! Nothing of this happens on a thread that relays, but for the waiting: notify brings the events on a thread of its own, which
//! passes over those about other names, and what looks at files does so beside.

mod events;

use std::fs;
use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep_until, timeout};

use super::blocking::run_blocking;
use events::Events;

/// How often the files are looked at beside the events, in case one is lost or never sent (network file systems).
const POLL_BESIDE_EVENTS: Duration = Duration::from_secs(5);

/// How often they are looked at when there are no events, or when these come late: a cell can be out of inotify watches, and whoever may write in
/// any folder on the way to a file can make more events than are read.
const POLL_ALONE: Duration = Duration::from_millis(250);

/// How long a look may take. notify sees to the watches when it has read all events that there are, and files have to be looked at before.
const LATE: Duration = Duration::from_millis(100);

/// Between two looks that follow one another at once; each next one waits twice as long. The platform's two renames are seen
/// without delay, and files that change all the time are not looked at all the time.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// Between two looks at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Without a load for so long, the next one does not wait.
const QUIET_PERIOD: Duration = Duration::from_millis(40);

/// What is seen of the files.
type Stamps = Vec<Option<Stamp>>;

/// A look that is under way on a thread of its own: what it sees, and whether there are events. `None` if it panics.
type Look = Pin<Box<dyn Future<Output = Option<(Stamps, bool)>> + Send>>;

/// Tells when one of some files may have changed.
pub(super) struct FileWatch {
    paths: Arc<[PathBuf]>,
    state: Arc<Mutex<WatchState>>,
    changed: Arc<Notify>,
    poll: Interval,
    has_events: bool,
    /// A look that takes longer than it may.
    late: Option<Look>,
    /// It was said that there is one.
    is_late_told: bool,
    stamps: Stamps,
    /// Why the files have to be looked at, until they have been: a wait that is cancelled in between loses nothing.
    due: Option<WakeCause>,
    last: Option<Instant>,
    pause: Duration,
}

/// Why the files have to be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WakeCause {
    /// An event about one of the names that matter.
    Event,
    /// The poll.
    Time,
}

/// The paths and file events of a watch, which threads beside those of the relay work with.
struct WatchState {
    paths: Arc<[PathBuf]>,
    changed: Arc<Notify>,
    /// `None` where there are none to be had.
    events: Option<Events>,
}

/// What of a file's metadata changes when it is replaced or rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    by_symlink: bool,
}

/// How a file has come into the place of another, from the surest to the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Replacement {
    /// By a rename, or not at all: it is whole.
    Whole,
    /// It may have been renamed, right after it was written; or the old one was deleted, and this one is being written.
    PerhapsAnew,
    /// The very file is written to.
    InPlace,
}

impl FileWatch {
    /// A watch on `paths`, files or folders of files, which need not exist yet. Without file events it polls, and says so once.
    pub(super) async fn new(paths: Vec<PathBuf>) -> Self {
        let (paths, changed) = (Arc::<[PathBuf]>::from(paths), Arc::<Notify>::default());
        let state = WatchState { paths: Arc::clone(&paths), changed: Arc::clone(&changed), events: None };
        let mut watch = Self {
            paths,
            state: Arc::new(Mutex::new(state)),
            changed,
            poll: interval(POLL_ALONE),
            has_events: false,
            late: None,
            is_late_told: false,
            stamps: Vec::new(),
            due: None,
            last: None,
            pause: Duration::ZERO,
        };
        let first = watch.begin(WatchState::start).await;
        watch.stamps = watch.note(first).unwrap_or_default();
        watch
    }

    /// Waits until a load is worth it. Cancel safe.
    pub(super) async fn changed(&mut self) {
        loop {
            let cause = match self.due {
                Some(cause) => cause,
                None => tokio::select! {
                    () = self.changed.notified(), if self.has_events => WakeCause::Event,
                    _ = self.poll.tick() => WakeCause::Time,
                    // What it has seen is older than what there is to see now.
                    seen = ended(&mut self.late) => {
                        self.late = None;
                        let _ = self.note(seen);
                        WakeCause::Time
                    }
                },
            };
            self.due = Some(cause);
            if let Some(last) = self.last {
                let is_calm = last.elapsed() > QUIET_PERIOD;
                self.pause = if is_calm { Duration::ZERO } else { (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE) };
                sleep_until(last + self.pause).await;
            }
            let stamps = self.look().await;
            self.due = None;
            self.last = Some(Instant::now());
            // Without stamps, something panicked. A load costs little, and one too few may cost a rotation.
            let moved = stamps.as_ref() != Some(&self.stamps);
            self.stamps = stamps.unwrap_or_default();
            if moved || cause == WakeCause::Event {
                return;
            }
        }
    }

    /// Looks at the folders, and then at the files: what changes in between makes an event of its own. Where that is late, at the files alone.
    async fn look(&mut self) -> Option<Stamps> {
        if self.late.is_none() {
            let look = self.begin(WatchState::rearm_and_stat);
            if let Ok(seen) = timeout(LATE, self.late.insert(look)).await {
                self.late = None;
                return self.note(seen);
            }
            self.set_poll();
            if !std::mem::replace(&mut self.is_late_told, true) {
                tracing::warn!(
                    "file events come late, since somebody writes all the time in a folder on the way to credential files; polling these every 250 ms"
                );
            }
        }
        let paths = Arc::clone(&self.paths);
        run_blocking(move || stamps_of(&paths)).await.ok()
    }

    /// Begins `work` on a thread that does not relay, if there is one to be had.
    fn begin(&self, work: fn(&mut WatchState) -> Stamps) -> Look {
        let state = Arc::clone(&self.state);
        Box::pin(async move {
            let worked = run_blocking(move || {
                // Whatever panicked has left nothing that the next look would not put right.
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                (work(&mut state), state.events.is_some())
            });
            worked.await.ok()
        })
    }

    /// Takes note of whether there are events.
    fn note(&mut self, seen: Option<(Stamps, bool)>) -> Option<Stamps> {
        let (stamps, has_events) = seen?;
        self.has_events = has_events;
        self.set_poll();
        Some(stamps)
    }

    fn set_poll(&mut self) {
        let period = if self.has_events && self.late.is_none() { POLL_BESIDE_EVENTS } else { POLL_ALONE };
        if period != self.poll.period() {
            self.poll = interval(period);
        }
    }
}

/// What a look has seen, once it has; never where there is none. Cancel safe.
async fn ended(look: &mut Option<Look>) -> Option<(Stamps, bool)> {
    match look {
        Some(look) => look.await,
        None => std::future::pending().await,
    }
}

fn interval(period: Duration) -> Interval {
    // The first look has been.
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl WatchState {
    fn start(&mut self) -> Stamps {
        match Events::new(Arc::clone(&self.changed)) {
            Ok(events) => self.events = Some(events),
            Err(error) => without_events(&error),
        }
        self.rearm_and_stat()
    }

    /// Watches the folders that the paths lead through now; the stamps of the files.
    fn rearm_and_stat(&mut self) -> Stamps {
        if let Some(mut events) = self.events.take() {
            match events.arm(&self.paths) {
                Ok(()) => self.events = Some(events),
                Err(error) => {
                    without_events(&error);
                    events.end();
                    // Whoever waited for this look may have gone, and would wait for events for some seconds more.
                    self.changed.notify_one();
                }
            }
        }
        stamps_of(&self.paths)
    }
}

/// Those of the files, and of what is in folders.
fn stamps_of(paths: &[PathBuf]) -> Stamps {
    let inside = |path: &PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = paths.iter().flat_map(|path| std::iter::once(path.clone()).chain(inside(path)));
    all.map(|path| Stamp::of(&path)).collect()
}

fn without_events(error: &notify::Error) {
    tracing::warn!(%error, "inotify unavailable; polling credential files every 250 ms");
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            by_symlink: path.is_symlink(),
        })
    }

    /// How what is there now has come into the place of what was there `before`.
    pub(super) fn replacement_of(&self, before: &Self) -> Replacement {
        let is_another = (self.device, self.inode) != (before.device, before.inode);
        match is_another {
            _ if self == before => Replacement::Whole,
            // A rename changes the file's status after its last write, and what leads through a symlink is put right elsewhere first.
            true if self.changed > self.modified || self.by_symlink => Replacement::Whole,
            true => Replacement::PerhapsAnew,
            false => Replacement::InPlace,
        }
    }
}
