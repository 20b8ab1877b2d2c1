//! A control group that limits memory (cgroups(7), versions 1 and 2).

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, process, thread};

use anyhow::{Context, Result, bail};

/// The names of a version's files.
struct Version {
    limit: &'static str,
    usage: &'static str,
    most: &'static str,
}

const FIRST: Version =
    Version { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", most: "memory.max_usage_in_bytes" };
const SECOND: Version = Version { limit: "memory.max", usage: "memory.current", most: "memory.peak" };

/// A control group of our own. Dropped, it is removed, as soon as nobody is in it.
pub(super) struct Group {
    path: PathBuf,
    version: Version,
}

impl Group {
    /// A group named `name` with a limit of so many bytes, in the root of the tree.
    ///
    /// # Errors
    /// There is no controller of memory, or we may not make groups.
    pub(super) fn create(name: &str, limit: u64) -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let (tree, version) = if root.join("memory").join(FIRST.limit).exists() {
            (root.join("memory"), FIRST)
        } else if fs::read_to_string(root.join("cgroup.subtree_control")).is_ok_and(|text| text.contains("memory")) {
            (root.to_owned(), SECOND)
        } else {
            bail!("there is no control group in which memory can be limited; run this as root, outside of a container");
        };
        let path = tree.join(format!("vestibule-flood-{}-{name}", process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}; run this as root", path.display()))?;
        let group = Self { path, version };
        let file = group.path.join(group.version.limit);
        fs::write(&file, limit.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(group)
    }

    /// The file that a process writes its id to in order to be in the group.
    pub(super) fn members(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Bytes that are used now.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(super) fn usage(&self) -> Result<u64> {
        self.number(self.version.usage)
    }

    /// Bytes that were used at most.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(super) fn most(&self) -> Result<u64> {
        self.number(self.version.most)
    }

    fn number(&self, file: &str) -> Result<u64> {
        let path = self.path.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.trim().parse().with_context(|| format!("{} holds no number", path.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that was killed is in it for another moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} is left", self.path.display());
    }
}
