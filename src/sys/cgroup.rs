//! The memory that the control groups leave to this process and the app together (cgroups(7), versions 1 and 2).

use std::fs;
use std::path::Path;

/// What version 1 of the control groups writes for "no limit" is close to the largest number there is.
const NO_LIMIT: u64 = 1 << 60;

/// The smallest limit of the control groups that we are in, in bytes; `None` where there is none, or none can be seen.
pub(crate) fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    lowest_limit(&groups, &|path| fs::read_to_string(Path::new("/").join(path)).ok())
}

/// The smallest memory limit in `groups`, which is the text of `/proc/self/cgroup`, on the way from our group to the top.
///
/// A container often sees its own group as the root of the tree, while the text names the group as the host sees it: so
/// what does not exist is passed over, and the root is asked too.
pub(crate) fn lowest_limit(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (trees, file): (&[&str], _) = if controllers.is_empty() {
            (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (&["sys/fs/cgroup/memory"], "memory.limit_in_bytes")
        } else {
            continue;
        };
        for tree in trees {
            for above in Path::new(group.trim_start_matches('/')).ancestors() {
                // "max" is no number.
                let limit = read(&Path::new(tree).join(above).join(file)).and_then(|text| text.trim().parse().ok());
                limits.extend(limit.filter(|limit: &u64| *limit < NO_LIMIT));
            }
        }
    }
    limits.into_iter().min()
}
