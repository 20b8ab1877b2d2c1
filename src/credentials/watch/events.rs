//! File events from the kernel, brought by notify on a thread of its own: what has nothing to do with our files ends there.

use std::collections::HashMap;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use notify::EventKindMask;
use notify::INotifyWatcher;
use notify::RecursiveMode;
use notify::Watcher;
use tokio::sync::Notify;

use super::steps::resolve;

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
type Identity = (u64, u64);

/// Events about the folders that some paths lead through.
pub(super) struct Events {
    watcher: INotifyWatcher,
    folders: Arc<Mutex<Folders>>,
    watched: HashMap<PathBuf, Identity>,
}

impl Events {
    /// Whoever waits for `told` hears of events that matter. Of none as yet: see [`Events::arm`].
    ///
    /// # Errors
    /// The kernel grants no inotify instance.
    pub(super) fn new(told: Arc<Notify>) -> notify::Result<Self> {
        let folders = Arc::<Mutex<Folders>>::default();
        let of_interest = Arc::clone(&folders);
        let hear = move |event: notify::Result<notify::Event>| {
            if matters(&lock(&of_interest), &event) {
                told.notify_one();
            }
        };
        let watcher = INotifyWatcher::new(hear, notify::Config::default().with_event_kinds(EVENTS))?;
        Ok(Self { watcher, folders, watched: HashMap::new() })
    }

    /// Watches the folders that `paths` lead through now. One that does not exist is no error: its parent is watched.
    ///
    /// # Errors
    /// The kernel grants no more watches, or there is no thread for the events.
    pub(super) fn arm(&mut self, paths: &[PathBuf]) -> notify::Result<()> {
        let mut folders = Folders::new();
        for path in paths {
            let (steps, end) = resolve(path);
            for (folder, name) in steps {
                folders.entry(folder).or_default().some.insert(name);
            }
            if end.is_dir() {
                folders.entry(end).or_default().all = true;
            }
        }
        let wanted: Vec<(PathBuf, Identity)> =
            folders.keys().filter_map(|folder| Some((folder.clone(), identity(folder)?))).collect();
        // Before the watches, so that no event of theirs is taken for another's.
        *lock(&self.folders) = folders;
        let stale = self.watched.extract_if(|folder, was| !wanted.iter().any(|(path, is)| path == folder && is == was));
        for (folder, _) in stale.collect::<Vec<_>>() {
            // The kernel has removed it itself when the folder is gone.
            let _ = self.watcher.unwatch(&folder);
        }
        for (folder, is) in wanted {
            if self.watched.contains_key(&folder) {
                continue;
            }
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder, is);
                }
                Err(error) if is_of_the_folder(&error) => {}
                Err(error) => return Err(error),
            }
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

/// Whether it is about one folder, which is not there or not ours to read, and not about all that are to come: the steps before it are
/// watched, and the poll remains.
fn is_of_the_folder(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
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

fn identity(folder: &Path) -> Option<Identity> {
    let metadata = fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?;
    Some((metadata.dev(), metadata.ino()))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is put in whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
