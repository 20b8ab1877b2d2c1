//! What a run ran on.

use std::path::Path;
use std::process::Command;
use std::{fmt, fs, thread};

/// The machine, the day and the state of the code.
pub(crate) struct Machine {
    cpu: String,
    cpus: usize,
    kernel: String,
    date: String,
    commit: String,
    /// Whether the CPU has AVX512-IFMA, with which aws-lc signs about twice as fast.
    pub(crate) has_ifma: bool,
}

impl Machine {
    /// Asks the kernel, `date` and `git`; `root` is the folder of the product.
    pub(crate) fn look(root: &Path) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = |name: &str| info.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(": "));
        let flags = line("flags").map(|(_, flags)| flags).unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        Self {
            cpu: line("model name").map_or("unknown CPU", |(_, model)| model).trim().to_owned(),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            kernel,
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
            commit: said(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root)),
            has_ifma: flags.split(' ').any(|flag| flag == "avx512ifma"),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cpus, kernel, date, commit, has_ifma } = self;
        let ifma = if *has_ifma { "with" } else { "without" };
        write!(f, "{date}, commit {commit}; {cpu} ({ifma} AVX512-IFMA), CPUs that may be used: {cpus}, Linux {kernel}")
    }
}

fn said(command: &mut Command) -> String {
    let out = command.output().ok().filter(|out| out.status.success());
    out.map_or_else(|| "unknown".to_owned(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
