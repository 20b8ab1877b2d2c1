//! Memory, as `/proc/PID/smaps_rollup` has it.

use std::fs;
use std::ops::Sub;

use anyhow::{Context, Result};

/// Memory of a process and its children, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident: anonymous memory and the pages of the program and its libraries.
    pub(crate) resident: f64,
    /// Anonymous memory alone: heap and stacks.
    pub(crate) anonymous: f64,
    /// Resident, with each page divided by the processes that have it.
    pub(crate) proportional: f64,
}

impl Sub for Memory {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            resident: self.resident - before.resident,
            anonymous: self.anonymous - before.anonymous,
            proportional: self.proportional - before.proportional,
        }
    }
}

/// Memory of these processes: of the largest all that is resident, and of each other one only what it holds for itself, so that pages
/// that a parent shares with its worker count once.
///
/// # Errors
/// One of them has ended, or is another user's.
pub(crate) fn of_tree(pids: &[i32]) -> Result<Memory> {
    let mut all = pids.iter().map(|pid| Rollup::read(*pid)).collect::<Result<Vec<_>>>()?;
    all.sort_by(|a, b| b.resident.total_cmp(&a.resident));
    let mut sum = Memory::default();
    for (at, one) in all.iter().enumerate() {
        let (resident, anonymous) =
            if at == 0 { (one.resident, one.anonymous) } else { (one.private, one.private_dirty) };
        sum.resident += resident;
        sum.anonymous += anonymous;
        sum.proportional += one.proportional;
    }
    Ok(sum)
}

/// The lines of `smaps_rollup` that matter here, in KiB.
struct Rollup {
    resident: f64,
    anonymous: f64,
    proportional: f64,
    private: f64,
    private_dirty: f64,
}

impl Rollup {
    fn read(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = |name: &str| -> f64 {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.strip_suffix("kB"));
            value.and_then(|kib| kib.trim().parse().ok()).unwrap_or(0.0)
        };
        let private_dirty = line("Private_Dirty");
        Ok(Self {
            resident: line("Rss"),
            anonymous: line("Anonymous"),
            proportional: line("Pss"),
            private: line("Private_Clean") + private_dirty,
            private_dirty,
        })
    }
}
