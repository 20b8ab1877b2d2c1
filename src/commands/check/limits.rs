//! Judges what the machine gives us, against what the configuration asks for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::finding::{Findings, Subject};
use crate::commands::text;
use crate::config::{Drain, PairFiles};
use crate::listener::{ConnectionCost, connections_in_memory, connections_within, max_connections};

const MIB: u64 = 1024 * 1024;

/// Fewer than this are soon too few: routers pool, and health checks come beside them.
const FEW_CONNECTIONS: u64 = 256;

/// What Cloud Foundry leaves between TERM and KILL.
const PLATFORM_KILL_AFTER: Duration = Duration::from_secs(10);

/// How long gorouter keeps an idle connection to an instance.
const ROUTER_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// What came of asking the kernel for file events.
#[derive(Debug)]
pub(super) struct Inotify {
    /// An instance, and a watch on the certificate's folder.
    pub(super) tried: io::Result<()>,
    /// `fs.inotify.max_user_instances`
    pub(super) max_user_instances: Option<u64>,
    /// `fs.inotify.max_user_watches`
    pub(super) max_user_watches: Option<u64>,
}

/// A file that is mounted by itself keeps the inode that was mounted: a replacement by rename is never seen in here.
pub(super) fn check_mount(files: &PairFiles, mount_points: &[PathBuf], found: &mut Findings) {
    for file in [&files.cert, &files.key] {
        let real = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        if mount_points.contains(&real) {
            found.warning(
                Subject::Mount,
                format!("{} is mounted as a single file: a replacement by rename never arrives here", file.display()),
                "mount its folder instead (in Kubernetes: no subPath)",
            );
        }
    }
}

/// Judges whether rotations are seen at once. Without events the files are looked at four times a second.
pub(super) fn check_inotify(inotify: &Inotify, found: &mut Findings) {
    let Err(error) = &inotify.tried else {
        return found.ok(Subject::Inotify, "file events are available: a rotation is seen at once");
    };
    let slower = "rotations are looked for four times a second instead";
    let most = |limit: Option<u64>| limit.map_or_else(|| "its limit".to_owned(), |limit| format!("{limit}"));
    let (what, help) = match rustix::io::Errno::from_io_error(error) {
        // inotify_init(2)
        Some(rustix::io::Errno::MFILE) => (
            format!("this user's {} inotify instances are all in use; {slower}", most(inotify.max_user_instances)),
            "raise fs.inotify.max_user_instances on the host".to_owned(),
        ),
        // inotify_add_watch(2)
        Some(rustix::io::Errno::NOSPC) => (
            format!("this user's {} inotify watches are all in use; {slower}", most(inotify.max_user_watches)),
            "raise fs.inotify.max_user_watches on the host".to_owned(),
        ),
        Some(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => (
            format!("the kernel or its sandbox has no inotify; {slower}"),
            "allow inotify_init1 and inotify_add_watch in the sandbox, if that is too slow".to_owned(),
        ),
        _ => (
            format!("the folder of the certificate cannot be watched: {error}"),
            "make the folder readable for this user".to_owned(),
        ),
    };
    found.warning(Subject::Inotify, what, help);
}

/// Judges `--max-connections` (`None`: as many as fit) by the hard limit of descriptors (`None`: no limit).
pub(super) fn check_descriptors(connections: Option<usize>, limit: Option<u64>, found: &mut Findings) {
    let Some(limit) = limit else {
        return found.ok(Subject::Descriptors, "the number of open descriptors is not limited");
    };
    let room = connections_within(limit);
    let wanted = connections.map(|connections| u64::try_from(connections).unwrap_or(u64::MAX));
    match wanted {
        Some(wanted) if wanted > room => found.problem(
            Subject::Descriptors,
            format!("--max-connections {wanted}: the limit of {limit} descriptors has room for {room}"),
            "raise the hard limit (ulimit -Hn), or lower --max-connections",
        ),
        None if room < FEW_CONNECTIONS => found.warning(
            Subject::Descriptors,
            format!("the limit of {limit} descriptors has room for {room} connections only"),
            "raise the hard limit (ulimit -Hn)",
        ),
        None => found.ok(Subject::Descriptors, format!("the limit of {limit} has room for {room} connections")),
        Some(wanted) => {
            let what =
                format!("the limit of {limit} has room for {room} connections, and --max-connections is {wanted}");
            found.ok(Subject::Descriptors, what);
        }
    }
}

/// Judges the connections of this `cost` that are admitted by the container's memory, in bytes; both limits as in
/// [`check_descriptors`].
pub(super) fn check_memory(
    connections: Option<usize>,
    cost: ConnectionCost,
    descriptors: Option<u64>,
    memory: Option<u64>,
    found: &mut Findings,
) {
    let Some(memory) = memory else {
        return found.ok(Subject::Memory, "the control group sets no limit");
    };
    let (admitted, who) = match connections {
        Some(connections) => {
            let admitted = u64::try_from(connections).unwrap_or(u64::MAX);
            (admitted, format!("--max-connections {admitted}"))
        }
        None => {
            let fitting = max_connections(descriptors, Some(memory), cost);
            (fitting, format!("{fitting} connections, as many as fit,"))
        }
    };
    let needed = admitted.saturating_mul(cost.bytes());
    let said = format!("{who} may take {} of the container's {}", mebibytes(needed), mebibytes(memory));
    // The proxy admits some however little there is; what is asked for may be fewer.
    let most = connections_in_memory(memory, cost).min((memory / 2 / cost.bytes()).max(1));
    let help = format!("set --max-connections to {most} or less, or raise the memory");
    if needed > memory && connections.is_some() {
        found.problem(Subject::Memory, said, help);
    } else if needed > memory / 2 {
        found.warning(Subject::Memory, said, help);
    } else {
        found.ok(Subject::Memory, said);
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(MIB))
}

/// Judges `--threads` by the CPUs that the quota is worth.
pub(super) fn check_threads(threads: usize, cpus: usize, found: &mut Findings) {
    let count = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let said = format!("{} on {}", count(threads, "worker thread"), count(cpus, "CPU"));
    if threads > cpus {
        let what = format!("{said}: they take turns, and the app waits with them");
        found.warning(Subject::Threads, what, format!("set --threads to {cpus} or less"));
    } else {
        found.ok(Subject::Threads, said);
    }
}

/// Judges how soon we close connections that routers keep for their next request.
pub(super) fn check_idle(idle: Option<Duration>, meets_routers: bool, found: &mut Findings) {
    if let Some(idle) = idle.filter(|idle| meets_routers && *idle <= ROUTER_IDLE_TIMEOUT) {
        let what = format!(
            "--idle-timeout {} ends connections that routers keep for {}: a request that crosses the end is lost",
            text::duration(idle),
            text::duration(ROUTER_IDLE_TIMEOUT)
        );
        found.warning(Subject::Timeouts, what, "raise it, or leave it off");
    }
}

/// Judges how long a stop may take where the platform kills what is left.
pub(super) fn check_drain(drain: &Drain, on_cloud_foundry: bool, found: &mut Findings) {
    // The delay is a part of it.
    if on_cloud_foundry && drain.timeout >= PLATFORM_KILL_AFTER {
        let what = format!(
            "--drain-timeout is {}; Cloud Foundry kills {} after TERM unless its operator says otherwise",
            text::duration(drain.timeout),
            text::duration(PLATFORM_KILL_AFTER)
        );
        found.warning(Subject::Drain, what, "lower it, so that connections can end by themselves");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use rustix::io::Errno;

    fn judged(check: impl FnOnce(&mut Findings)) -> String {
        let mut found = Findings::default();
        check(&mut found);
        found.to_text()
    }

    #[test]
    fn a_file_that_is_mounted_by_itself_will_never_rotate() {
        let files = PairFiles { cert: "/c/tls.crt".into(), key: "/c/tls.key".into() };
        let said = judged(|found| check_mount(&files, &["/".into(), "/c/tls.key".into()], found));
        assert_eq!(
            said,
            "warning  mount         /c/tls.key is mounted as a single file: a replacement by rename never arrives here; \
             mount its folder instead (in Kubernetes: no subPath)\n"
        );
        assert_eq!(judged(|found| check_mount(&files, &["/".into(), "/c".into()], found)), "");
    }

    #[test]
    fn without_file_events_the_cause_is_named() {
        for (errno, expected) in [
            (
                Errno::MFILE,
                "warning  inotify       this user's 128 inotify instances are all in use; rotations are looked for four times a second instead; \
                 raise fs.inotify.max_user_instances on the host\n",
            ),
            (
                Errno::NOSPC,
                "warning  inotify       this user's 8192 inotify watches are all in use; rotations are looked for four times a second instead; \
                 raise fs.inotify.max_user_watches on the host\n",
            ),
            (
                Errno::NOSYS,
                "warning  inotify       the kernel or its sandbox has no inotify; rotations are looked for four times a second instead; \
                 allow inotify_init1 and inotify_add_watch in the sandbox, if that is too slow\n",
            ),
            (
                Errno::ACCESS,
                "warning  inotify       the folder of the certificate cannot be watched: Permission denied (os error 13); \
                 make the folder readable for this user\n",
            ),
        ] {
            let inotify =
                Inotify { tried: Err(errno.into()), max_user_instances: Some(128), max_user_watches: Some(8192) };
            assert_eq!(judged(|found| check_inotify(&inotify, found)), expected);
        }
    }

    #[test]
    fn descriptors_must_have_room_for_the_connections() {
        for (connections, limit, expected) in [
            (
                Some(1000),
                Some(1024),
                "problem  descriptors   --max-connections 1000: the limit of 1024 descriptors has room for 480; \
                 raise the hard limit (ulimit -Hn), or lower --max-connections\n",
            ),
            (
                None,
                Some(256),
                "warning  descriptors   the limit of 256 descriptors has room for 96 connections only; \
                 raise the hard limit (ulimit -Hn)\n",
            ),
            (None, Some(2048), "ok       descriptors   the limit of 2048 has room for 992 connections\n"),
            (
                Some(480),
                Some(1024),
                "ok       descriptors   the limit of 1024 has room for 480 connections, and --max-connections is 480\n",
            ),
            (Some(480), None, "ok       descriptors   the number of open descriptors is not limited\n"),
        ] {
            assert_eq!(judged(|found| check_descriptors(connections, limit, found)), expected);
        }
    }

    #[test]
    fn the_containers_memory_must_hold_the_connections_and_the_app() {
        for (connections, descriptors, memory, expected) in [
            (
                Some(50_000),
                None,
                Some(512 * MIB),
                "problem  memory        --max-connections 50000 may take 1758 MiB of the container's 512 MiB; \
                 set --max-connections to 5461 or less, or raise the memory\n",
            ),
            (
                Some(10_000),
                None,
                Some(512 * MIB),
                "warning  memory        --max-connections 10000 may take 352 MiB of the container's 512 MiB; \
                 set --max-connections to 5461 or less, or raise the memory\n",
            ),
            (
                None,
                Some(1 << 20),
                Some(512 * MIB),
                "ok       memory        5461 connections, as many as fit, may take 192 MiB of the container's 512 MiB\n",
            ),
            (
                Some(1000),
                None,
                Some(512 * MIB),
                "ok       memory        --max-connections 1000 may take 36 MiB of the container's 512 MiB\n",
            ),
            (Some(1000), None, None, "ok       memory        the control group sets no limit\n"),
        ] {
            assert_eq!(
                judged(|found| check_memory(connections, ConnectionCost::Relay, descriptors, memory, found)),
                expected
            );
        }
    }

    #[test]
    fn more_threads_than_the_quota_are_a_warning() {
        assert_eq!(
            judged(|found| check_threads(8, 2, found)),
            "warning  threads       8 worker threads on 2 CPUs: they take turns, and the app waits with them; set --threads to 2 or less\n"
        );
        assert_eq!(judged(|found| check_threads(1, 1, found)), "ok       threads       1 worker thread on 1 CPU\n");
    }

    #[test]
    fn a_drain_that_the_platform_cuts_short_is_a_warning_there_and_nowhere_else() {
        let drain = Drain { delay: Duration::from_secs(5), timeout: Duration::from_secs(13), http: true };
        assert_eq!(
            judged(|found| check_drain(&drain, true, found)),
            "warning  drain         --drain-timeout is 13s; Cloud Foundry kills 10s after TERM unless its operator says otherwise; \
             lower it, so that connections can end by themselves\n"
        );
        assert_eq!(judged(|found| check_drain(&drain, false, found)), "");
        let sound = Drain { timeout: Duration::from_secs(8), ..drain };
        assert_eq!(judged(|found| check_drain(&sound, true, found)), "", "the delay is a part of the timeout");
    }

    #[test]
    fn connections_that_routers_still_count_on_are_not_ended() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            judged(|found| check_idle(seconds(30), true, found)),
            "warning  timeouts      --idle-timeout 30s ends connections that routers keep for 1m 30s: a request that crosses the end is lost; \
             raise it, or leave it off\n"
        );
        for (idle, on_cloud_foundry) in [(seconds(30), false), (seconds(120), true), (None, true)] {
            assert_eq!(judged(|found| check_idle(idle, on_cloud_foundry, found)), "");
        }
    }
}
