//! What this process uses, as the kernel counts it (proc(5)).

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// What `/proc/self/stat` says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// Bytes of memory that are resident.
    pub(crate) resident: u64,
    /// Seconds from the machine's start to the process's.
    since_boot: f64,
}

/// Seconds of processor time, user and system, of all threads. Nanoseconds count, which `/proc` does not tell.
pub(crate) fn cpu() -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
    tv_sec as f64 + tv_nsec as f64 / 1e9
}

/// What the process uses now; `None` without a `/proc`.
pub(crate) fn usage() -> Option<Usage> {
    parse(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn parse(stat: &str) -> Option<Usage> {
    // The second field is the program's name in brackets, and may hold anything; the third is the first one here.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
    let (start, pages) = (field(22)?, field(24)?);
    Some(Usage { resident: pages * page_size() as u64, since_boot: seconds(start) })
}

/// When the process started, in seconds since 1970. Never changes, and costs more than the rest: to be asked once.
pub(crate) fn started() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
    Some(boot + usage()?.since_boot)
}

/// Whether this process has `capability` (capabilities(7)) in effect; `None` without a `/proc`.
pub(crate) fn has_capability(capability: u32) -> Option<bool> {
    capability_in(&fs::read_to_string("/proc/self/status").ok()?, capability)
}

/// The same out of `/proc/self/status`: bit n of the effective ones for capability n.
pub(crate) fn capability_in(status: &str, capability: u32) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    Some(u64::from_str_radix(mask.trim(), 16).ok()? >> capability & 1 == 1)
}

/// Descriptors that are open.
pub(crate) fn open_descriptors() -> Option<u64> {
    // Since Linux 6.2 the folder's size is their number, which saves making thousands of names.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        // The one that reads the folder does not count.
        0 => Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1)),
        number => Some(number),
    }
}

/// How many descriptors may be open; `None` means any number.
pub(crate) fn most_descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::SystemTime;

    #[test]
    fn a_name_with_brackets_and_blanks_is_skipped() {
        let stat = format!("7 (a) b (c) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 1000 9999 {} 0", 3);
        let usage = parse(&stat).unwrap();
        let ticks = clock_ticks_per_second() as f64;
        assert_eq!(usage.resident, 3 * page_size() as u64);
        assert_eq!(usage.since_boot, 1000.0 / ticks);
        assert_eq!(parse("7 (short) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_capability_is_the_bit_of_its_number() {
        assert_eq!(capability_in("Name:\tx\nCapEff:\t0000000000000400\n", 10), Some(true));
        assert_eq!(capability_in("CapEff:\t00000000fffffbff\n", 10), Some(false));
        assert_eq!(capability_in("", 10), None);
        assert!(has_capability(10).is_some());
    }

    #[test]
    fn what_the_kernel_says_of_this_process_is_sensible() {
        assert!(usage().unwrap().resident > 1 << 20);
        assert!(cpu() > 0.0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let started = started().unwrap();
        assert!(started < now + 2.0 && started > now - 86_400.0, "{started} and now {now}");
        let before = open_descriptors().unwrap();
        let _more: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(open_descriptors().unwrap() >= 100.max(before.saturating_sub(50)));
        assert!(most_descriptors().is_none_or(|most| most >= 100));
    }
}
