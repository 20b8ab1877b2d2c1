//! File events from the kernel, brought by notify on a thread of its own: what has nothing to do with our files ends there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, mem, thread};

use notify::{EventKindMask, INotifyWatcher, PathOp, Watcher};
use tokio::sync::Notify;

use crate::sys::path_steps::{PathStep, resolve};

/// The events that tell of a file that was replaced, rewritten, removed, or made readable. None is asked for that a reader causes,
/// nor one for each write: the end of the writing counts.
const EVENTS: EventKindMask = EventKindMask::CREATE
    .union(EventKindMask::REMOVE)
    .union(EventKindMask::MODIFY_META)
    .union(EventKindMask::MODIFY_NAME)
    .union(EventKindMask::ACCESS_CLOSE);

/// Which names in which folders matter.
type Folders = HashMap<PathBuf, Names>;

/// Which names in a folder matter.
#[derive(Default)]
struct Names {
    some: HashSet<OsString>,
    /// The folder itself is one of the paths: whatever is in it matters.
    all: bool,
}

/// Which folder it is that stands at a path: device and inode.
type Inode = (u64, u64);

/// Events come one upon the other where each is so soon behind the one before.
const RAPID: Duration = Duration::from_millis(20);

/// How long the thread then rests, so that the kernel has many of them ready at once.
const REST: Duration = Duration::from_millis(5);

/// Events so soon behind a rest were ready when it ended.
const SAME_BATCH: Duration = Duration::from_millis(1);

/// Lets the events of somebody who writes hundreds of files a second wake the thread some two hundred times, not for each: to be woken costs
/// more than to see that an event is not about us. One that is has to wait for [`REST`] at most.
#[derive(Default)]
struct WakeLimiter {
    last: Option<Instant>,
    rested: Option<Instant>,
}

impl WakeLimiter {
    /// To be asked `now`, of each event that does not matter.
    fn is_rest_due(&mut self, now: Instant) -> bool {
        let is_within = |since: Option<Instant>, limit| since.is_some_and(|since| now.duration_since(since) < limit);
        let due = is_within(self.last, RAPID) && !is_within(self.rested, SAME_BATCH);
        self.last = Some(now);
        due
    }

    fn rest(&mut self) {
        thread::sleep(REST);
        self.rested = Some(Instant::now());
    }
}

/// Events about the folders that some paths lead through.
pub(super) struct Events {
    watcher: INotifyWatcher,
    folders: Arc<Mutex<Folders>>,
    watched: HashMap<PathBuf, Inode>,
}

impl Events {
    /// Whoever waits for `changed` hears of events that matter. Of none as yet: see [`Events::arm`].
    ///
    /// # Errors
    /// The kernel grants no inotify instance, or no thread.
    pub(super) fn new(changed: Arc<Notify>) -> notify::Result<Self> {
        let folders = Arc::<Mutex<Folders>>::default();
        let of_interest = Arc::clone(&folders);
        let mut pace = WakeLimiter::default();
        let hear = move |event: notify::Result<notify::Event>| {
            if matters(&lock(&of_interest), &event) {
                changed.notify_one();
            } else if pace.is_rest_due(Instant::now()) {
                pace.rest();
            }
        };
        let watcher = INotifyWatcher::new(hear, notify::Config::default().with_event_kinds(EVENTS))?;
        // What hears lives as long as the thread does, of which notify does not say that it was never started.
        if Arc::strong_count(&folders) == 1 {
            mem::forget(watcher);
            return Err(notify::Error::generic("the kernel starts no thread for them"));
        }
        Ok(Self { watcher, folders, watched: HashMap::new() })
    }

    /// Watches the folders that `paths` lead through now. One that does not exist is no error: its parent is watched.
    ///
    /// Each is asked for every time. notify knows which of them it watches still, and we cannot: a folder that is removed and
    /// made again often has the inode that it had.
    ///
    /// # Errors
    /// The kernel grants no more watches, or the thread has ended.
    pub(super) fn arm(&mut self, paths: &[PathBuf]) -> notify::Result<()> {
        let (folders, wanted) = folders_of(paths);
        // Before the watches, so that no event of theirs is taken for another's.
        *lock(&self.folders) = folders;
        let before = mem::replace(&mut self.watched, wanted);
        let stale = before.iter().filter(|(path, was)| self.watched.get(*path) != Some(*was));
        let stale = stale.map(|(path, _)| PathOp::unwatch(path));
        let mut steps: Vec<_> = stale.chain(self.watched.keys().map(PathOp::watch_non_recursive)).collect();
        while let Err(failed) = self.watcher.update_paths(mem::take(&mut steps)) {
            if failed.origin.is_none() || !is_of_the_folder(&failed.source) {
                return Err(failed.source);
            }
            steps = failed.remaining;
        }
        Ok(())
    }

    /// Ends the thread, if there is one: notify takes it for a fault if there is none.
    pub(super) fn end(self) {
        match self.watcher.watched_paths() {
            Ok(_) => drop(self.watcher),
            Err(_) => mem::forget(self.watcher),
        }
    }
}

/// Which names matter in the folders that `paths` lead through now and that exist, and which folders these are.
///
/// A folder that is found at two paths (a bind mount) stands under the first of them, with the names of both: the kernel has one
/// watch for it, and notify one path.
fn folders_of(paths: &[PathBuf]) -> (Folders, HashMap<PathBuf, Inode>) {
    let mut by_path: BTreeMap<PathBuf, Names> = BTreeMap::new();
    for path in paths {
        let (steps, end) = resolve(path);
        for PathStep { folder, name, .. } in steps {
            by_path.entry(folder).or_default().some.insert(name);
        }
        if end.is_dir() {
            by_path.entry(end).or_default().all = true;
        }
    }
    let by_identity = by_identity(by_path, identity);
    let watched = by_identity.iter().map(|(identity, (path, _))| (path.clone(), *identity)).collect();
    (by_identity.into_values().collect(), watched)
}

/// Those that exist, each under the first of its paths.
fn by_identity(
    by_path: BTreeMap<PathBuf, Names>,
    identity: impl Fn(&Path) -> Option<Inode>,
) -> HashMap<Inode, (PathBuf, Names)> {
    let mut all: HashMap<Inode, (PathBuf, Names)> = HashMap::new();
    for (path, names) in by_path {
        let Some(identity) = identity(&path) else { continue };
        let (_, known) = all.entry(identity).or_insert_with(|| (path, Names::default()));
        known.some.extend(names.some);
        known.all |= names.all;
    }
    all
}

/// Whether it is about one folder, which is not there or not ours to read, and not about all that are to come: the steps before it are
/// watched, and the poll remains.
fn is_of_the_folder(error: &notify::Error) -> bool {
    match &error.kind {
        // The kernel has taken the watch off a folder that is gone.
        notify::ErrorKind::PathNotFound | notify::ErrorKind::WatchNotFound => true,
        notify::ErrorKind::Io(error) => {
            matches!(
                rustix::io::Errno::from_io_error(error),
                Some(
                    rustix::io::Errno::ACCESS
                        | rustix::io::Errno::NOENT
                        | rustix::io::Errno::NOTDIR
                        | rustix::io::Errno::LOOP
                )
            )
        }
        _ => false,
    }
}

fn matters(folders: &Folders, event: &notify::Result<notify::Event>) -> bool {
    let Ok(event) = event else { return true };
    let of_interest = |path: &PathBuf| {
        let within = path.parent().zip(path.file_name()).and_then(|(folder, name)| Some((folders.get(folder)?, name)));
        // Without a name it is about the folder itself.
        folders.contains_key(path) || within.is_some_and(|(names, name)| names.all || names.some.contains(name))
    };
    event.need_rescan() || event.paths.iter().any(of_interest)
}

fn identity(folder: &Path) -> Option<Inode> {
    let metadata = fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
    Some((metadata.dev(), metadata.ino()))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is put in whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    use notify::event::Flag;
    use notify::{Event, EventKind};

    fn names(some: &[&str]) -> Names {
        Names { some: some.iter().map(OsString::from).collect(), all: false }
    }

    #[test]
    fn the_thread_rests_once_for_each_batch_of_events_and_never_for_a_lone_one() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut pace = WakeLimiter::default();
        assert!(!pace.is_rest_due(start), "it was alone");
        assert!(pace.is_rest_due(start + ms(1)));
        pace.rested = Some(start + ms(6));
        assert!(!pace.is_rest_due(start + ms(6)), "it was ready when the rest ended");
        assert!(pace.is_rest_due(start + ms(8)), "the next batch");
        assert!(!pace.is_rest_due(start + ms(100)), "it was alone");
    }

    #[test]
    fn a_folder_that_is_found_at_two_paths_is_watched_once_with_the_names_of_both() {
        let paths = [("/mnt/a", names(&["crt"])), ("/mnt/b", names(&["key"])), ("/other", names(&["ca"]))];
        let by_path = paths.map(|(path, names)| (PathBuf::from(path), names)).into();
        let bound = |path: &Path| Some((1, u64::from(path.starts_with("/mnt"))));
        let mut found: Vec<_> = by_identity(by_path, bound).into_values().collect();
        found.sort_by_key(|(path, _)| path.clone());
        let [(first, both), (second, one)] = &found[..] else { panic!("{} folders", found.len()) };
        assert_eq!((first.as_path(), &both.some), (Path::new("/mnt/a"), &names(&["crt", "key"]).some));
        assert_eq!((second.as_path(), &one.some), (Path::new("/other"), &names(&["ca"]).some));
    }

    #[test]
    fn events_matter_that_are_about_our_names_or_the_folder_itself_or_that_were_lost() {
        let of_all = Names { all: true, ..Names::default() };
        let folders = Folders::from([("/a".into(), names(&["crt"])), ("/cas".into(), of_all)]);
        let about = |path: &str| matters(&folders, &Ok(Event::new(EventKind::Any).add_path(path.into())));
        for path in ["/a/crt", "/a", "/cas", "/cas/some.crt", "/cas/..data"] {
            assert!(about(path), "{path}");
        }
        for path in ["/a/other", "/a/crt/below", "/b/crt", "/"] {
            assert!(!about(path), "{path}");
        }
        let renamed = Event::new(EventKind::Any).add_path("/a/other".into()).add_path("/a/crt".into());
        assert!(matters(&folders, &Ok(renamed)));
        assert!(matters(&folders, &Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
        assert!(matters(&folders, &Err(notify::Error::generic("unreadable"))));
    }
}
