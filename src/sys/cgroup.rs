//! What the control groups leave to this process and the app together (cgroups(7), versions 1 and 2).

use std::fs;
use std::path::{Path, PathBuf};

/// What version 1 of the control groups writes for "no limit" is close to the largest number there is.
const NO_LIMIT: u64 = 1 << 60;

/// A file below `/`, if there is one.
type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// The smallest memory limit of the control groups that we are in, in bytes; `None` where there is none, or none can be seen.
pub(crate) fn memory_limit() -> Option<u64> {
    lowest_memory_limit(&groups()?, &read)
}

/// The smallest CPU quota of the control groups that we are in, in whole CPUs and at least one; `None` where there is none, or
/// none can be seen.
pub(crate) fn cpu_quota() -> Option<usize> {
    lowest_cpu_quota(&groups()?, &read)
}

fn groups() -> Option<String> {
    fs::read_to_string("/proc/self/cgroup").ok()
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(Path::new("/").join(path)).ok()
}

/// The smallest memory limit in bytes of `groups`, which is the text of `/proc/self/cgroup`.
pub(crate) fn lowest_memory_limit(groups: &str, read: Read<'_>) -> Option<u64> {
    let limits = places(groups, "memory").filter_map(|place| {
        let text = match place {
            Cgroup::First(folder) => read(&folder.join("memory.limit_in_bytes")),
            Cgroup::Second(folder) => read(&folder.join("memory.max")),
        }?;
        // "max" is no number.
        text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
    });
    limits.min()
}

/// The smallest CPU quota of `groups`, in whole CPUs and at least one.
fn lowest_cpu_quota(groups: &str, read: Read<'_>) -> Option<usize> {
    let quotas = places(groups, "cpu").filter_map(|place| {
        let text = match place {
            Cgroup::First(folder) => {
                format!("{} {}", read(&folder.join("cpu.cfs_quota_us"))?, read(&folder.join("cpu.cfs_period_us"))?)
            }
            Cgroup::Second(folder) => read(&folder.join("cpu.max"))?,
        };
        let mut words = text.split_whitespace().map(str::parse::<usize>);
        // Neither "max" is such a number, nor the -1 that means the same.
        let (quota, period) = (words.next()?.ok()?, words.next()?.ok()?);
        quota.checked_div(period).map(|cpus| cpus.max(1))
    });
    quotas.min()
}

/// Where a control group is described.
enum Cgroup {
    /// By version 1.
    First(PathBuf),
    /// By version 2.
    Second(PathBuf),
}

/// The folders that describe our groups for `controller`, from each up to its root.
///
/// A container often sees its own group as the root of the tree, while `groups` names it as the host sees it: so what does
/// not exist is passed over by those who read, and the root is among them.
fn places(groups: &str, controller: &str) -> impl Iterator<Item = Cgroup> {
    groups.lines().flat_map(move |line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next().unwrap_or_default(), fields.next());
        let trees: &[&str] = match (group, controllers) {
            (None, _) => &[],
            (_, "") => &["", "unified"],
            _ if controllers == controller => &[controller],
            _ if controllers.split(',').any(|one| one == controller) => &[controllers, controller],
            _ => &[],
        };
        let first = !controllers.is_empty();
        let group = Path::new(group.unwrap_or_default().trim_start_matches('/'));
        let places = trees.iter().flat_map(move |tree| {
            group.ancestors().map(move |above| {
                let folder = Path::new("sys/fs/cgroup").join(tree).join(above);
                if first { Cgroup::First(folder) } else { Cgroup::Second(folder) }
            })
        });
        places.collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(groups: &str, files: &[(&str, &str)]) -> Option<usize> {
        lowest_cpu_quota(groups, &|path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_cpu_quota_is_the_smallest_on_the_way_up_in_whole_cpus() {
        let groups = "0::/pods/one/app\n";
        let files = [
            ("sys/fs/cgroup/pods/one/app/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pods/one/cpu.max", "250000 100000\n"),
            ("sys/fs/cgroup/pods/cpu.max", "800000 100000\n"),
        ];
        assert_eq!(quota(groups, &files), Some(2));
        // Less than one is one, and the container sees its own group as the root.
        assert_eq!(quota(groups, &[("sys/fs/cgroup/cpu.max", "20000 100000\n")]), Some(1));
    }

    #[test]
    fn the_first_version_has_quota_and_period_in_files_of_their_own() {
        let groups = "5:cpu,cpuacct:/garden/x\n4:memory:/garden/x\n0::/\n";
        for tree in ["cpu", "cpu,cpuacct"] {
            let (quota_file, period_file) = (
                format!("sys/fs/cgroup/{tree}/garden/x/cpu.cfs_quota_us"),
                format!("sys/fs/cgroup/{tree}/garden/x/cpu.cfs_period_us"),
            );
            let files = |quota| [(&*quota_file, quota), (&*period_file, "50000\n")];
            assert_eq!(quota(groups, &files("150000\n")), Some(3));
            assert_eq!(quota(groups, &files("-1\n")), None);
        }
    }

    #[test]
    fn where_no_quota_is_told_there_is_none() {
        assert_eq!(quota("0::/\n", &[("sys/fs/cgroup/cpu.max", "max 100000\n")]), None);
        assert_eq!(quota("0::/\n", &[("sys/fs/cgroup/cpu.max", "100000 0\n")]), None);
        assert_eq!(quota("0::/\n", &[("sys/fs/cgroup/cpu.max", "")]), None);
        assert_eq!(quota("garbage", &[]), None);
    }
}
