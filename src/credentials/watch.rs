//! Folder events and a slow poll → "look again".
//!
//! The folders are watched, not the files: a file that is replaced by a rename leaves a watch on it with the inode that
//! was thrown away. Every step in which the kernel resolves a path is watched, so symlinks (Kubernetes' `..data`) and
//! folders that are swapped whole are followed as well.

use std::collections::HashMap;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::inotify;
use rustix::fs::inotify::CreateFlags;
use rustix::fs::inotify::ReadFlags;
use rustix::fs::inotify::WatchFlags;
use tokio::net::unix::pipe;
use tokio::time::MissedTickBehavior;

/// How often the files are looked at beside the events, in case one is lost or never sent (network file systems).
const POLL_BESIDE_EVENTS: Duration = Duration::from_secs(5);

/// How often they are looked at when there are no events: a cell can be out of inotify watches.
const POLL_ALONE: Duration = Duration::from_millis(250);

/// Symlinks followed before a path counts as a loop; the kernel's own bound (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Tells when one of some files may have changed.
pub(super) struct Watch {
    paths: Vec<PathBuf>,
    events: Option<Events>,
    poll: tokio::time::Interval,
    stamps: Vec<Option<Stamp>>,
}

/// What of a file's metadata changes when it is replaced or rewritten.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

struct Events {
    /// Read as a pipe is: it becomes readable, and a read takes events off. (`AsyncFd` would need unsafe code.)
    inotify: pipe::Receiver,
    /// By watch descriptor: the names in that folder that matter.
    names: HashMap<i32, Names>,
}

/// Which names in a folder matter.
#[derive(Default)]
struct Names {
    some: HashSet<OsString>,
    /// The folder itself is one of the paths: whatever is in it matters.
    all: bool,
}

impl Watch {
    /// A watch on `paths`, files or folders of files, which need not exist yet. Without inotify it polls, and says so once.
    ///
    /// Must be called within a tokio runtime.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let events = match Events::new() {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!(error = %error, "no file events from the kernel; looking at the credentials four times a second");
                None
            }
        };
        let mut poll = tokio::time::interval(if events.is_some() { POLL_BESIDE_EVENTS } else { POLL_ALONE });
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Self { stamps: Vec::new(), paths, events, poll };
        watch.arm();
        watch.stamps = watch.stamps_now();
        watch
    }

    /// Waits until a look is worth it. Cancel safe.
    pub(super) async fn changed(&mut self) {
        loop {
            let told = match &mut self.events {
                None => {
                    self.poll.tick().await;
                    false
                }
                Some(events) => tokio::select! {
                    told = events.told() => told,
                    _ = self.poll.tick() => false,
                },
            };
            // Armed before the look at the files: what changes in between makes an event of its own.
            self.arm();
            let stamps = self.stamps_now();
            let moved = stamps != self.stamps;
            self.stamps = stamps;
            if told || moved {
                return;
            }
        }
    }

    fn stamps_now(&self) -> Vec<Option<Stamp>> {
        let inside = |path: &PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let all = self.paths.iter().flat_map(|path| std::iter::once(path.clone()).chain(inside(path)));
        all.map(|path| Stamp::of(&path)).collect()
    }

    /// Watches the folders that the paths lead through now. Running out of watches leaves the poll.
    fn arm(&mut self) {
        let Some(events) = &mut self.events else { return };
        if let Err(error) = events.arm(&self.paths) {
            tracing::warn!(error = %error, "no more file events from the kernel; looking at the credentials four times a second");
            self.events = None;
            self.poll = tokio::time::interval(POLL_ALONE);
            self.poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Events {
    fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify: pipe::Receiver::from_owned_fd_unchecked(inotify)?, names: HashMap::new() })
    }

    /// # Errors
    /// When the kernel grants no more watches. A folder that does not exist is no error: its parent is watched.
    fn arm(&mut self, paths: &[PathBuf]) -> io::Result<()> {
        let mut wanted: HashMap<PathBuf, Names> = HashMap::new();
        for path in paths {
            let (steps, end) = resolve(path);
            for (folder, name) in steps {
                wanted.entry(folder).or_default().some.insert(name);
            }
            if end.is_dir() {
                wanted.entry(end).or_default().all = true;
            }
        }
        let before = std::mem::take(&mut self.names);
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        for (folder, names) in &wanted {
            // The same folder gives the same descriptor: adding it again is how a folder that was swapped is found.
            match inotify::add_watch(&self.inotify, folder, flags) {
                Ok(descriptor) => {
                    let known = self.names.entry(descriptor).or_default();
                    known.some.extend(names.some.iter().cloned());
                    known.all |= names.all;
                }
                Err(rustix::io::Errno::NOSPC | rustix::io::Errno::NOMEM) => {
                    return Err(rustix::io::Errno::NOSPC.into());
                }
                // Not there, or not ours to read: the steps before it are watched, and the poll remains.
                Err(_) => {}
            }
        }
        for stale in before.into_keys().filter(|descriptor| !self.names.contains_key(descriptor)) {
            // The kernel has removed it itself when the folder is gone.
            let _ = inotify::remove_watch(&self.inotify, stale);
        }
        Ok(())
    }

    /// Waits for events; whether one of them is about a name that matters.
    async fn told(&mut self) -> bool {
        if self.inotify.readable().await.is_err() {
            return true;
        }
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut space);
        let mut told = false;
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            told |= match (self.names.get(&event.wd()), name) {
                (Some(names), Some(name)) => names.all || names.some.contains(name),
                // Of a folder that no longer matters.
                (None, Some(_)) => false,
                // Without a name it is about the folder itself, or events were lost.
                (_, None) => !event.events().contains(ReadFlags::IGNORED),
            };
        }
        // This read finds nothing, which is how tokio learns to wait again; an event that has just come is told as well.
        told | self.inotify.try_read(&mut [0; 4096]).is_ok()
    }
}

/// The (folder, name) look-ups in which the kernel resolves `path`, symlinks included, as far as it exists; and where
/// they end.
fn resolve(path: &Path) -> (Vec<(PathBuf, OsString)>, PathBuf) {
    let mut steps = Vec::new();
    let mut links = 0;
    let mut at = PathBuf::from("/");
    // A relative path is meant from where we were started.
    let mut ahead = components(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    while let Some(name) = ahead.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        steps.push((at.clone(), name.clone()));
        let next = at.join(&name);
        match fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > MOST_LINKS {
                    break;
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                ahead.extend(components(&target));
            }
            Err(_) => at = next,
        }
    }
    (steps, at)
}

/// The names of a path, the last one first.
fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::symlink;

    #[test]
    fn the_steps_of_a_path_follow_symlinks_as_kubernetes_lays_them() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir(root.join("..v1")).unwrap();
        fs::write(root.join("..v1/tls.crt"), "x").unwrap();
        symlink("..v1", root.join("..data")).unwrap();
        symlink("..data/tls.crt", root.join("tls.crt")).unwrap();

        let (steps, end) = resolve(&root.join("tls.crt"));
        assert_eq!(end, root.join("..v1/tls.crt"));

        for name in ["tls.crt", "..data", "..v1"] {
            assert!(steps.contains(&(root.clone(), OsString::from(name))), "{name} in {steps:?}");
        }
        assert!(steps.contains(&(root.join("..v1"), OsString::from("tls.crt"))), "{steps:?}");
    }

    #[test]
    fn a_loop_of_symlinks_ends() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(resolve(&root.path().join("a")).0.len() <= 2 * MOST_LINKS);
    }
}
