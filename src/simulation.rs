//! Simulations: a part of the program under schedules that a seed decides, with its invariants checked at every step.
//!
//! Each prints the seed of a run that fails. `VESTIBULE_SIM_SEED` repeats that run alone and tells every step of it;
//! `VESTIBULE_SIM_STEPS` is the number of steps in all, for longer ones than those of CI.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

/// Steps that one run has about.
const STEPS_OF_A_RUN: u64 = 400;

/// One run of a simulation: what decides, and how far it has come.
#[derive(Debug)]
pub(crate) struct SimulationRun {
    simulation: &'static str,
    seed: u64,
    random: fastrand::Rng,
    /// Steps that are left.
    left: u64,
    steps: u64,
    /// Every step is told.
    is_told: bool,
    seen: BTreeMap<&'static str, u64>,
}

/// What has come of all runs of a simulation.
#[derive(Debug, Default)]
pub(crate) struct SimulationReport {
    runs: u64,
    steps: u64,
    /// How often each thing that is worth a count was seen.
    seen: BTreeMap<&'static str, u64>,
    /// One run was repeated.
    is_repeated: bool,
}

/// Runs `simulation`, one seed after the other, until about `steps` steps were taken.
pub(crate) fn simulate(simulation: &'static str, steps: u64, run: impl Fn(&mut SimulationRun)) -> SimulationReport {
    let told = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let (repeated, steps) = (told("VESTIBULE_SIM_SEED"), told("VESTIBULE_SIM_STEPS").unwrap_or(steps));
    let mut report = SimulationReport { is_repeated: repeated.is_some(), ..SimulationReport::default() };
    let mut seed = repeated.unwrap_or(1);
    loop {
        let mut one = SimulationRun::new(simulation, seed, repeated.is_some());
        run(&mut one);
        report.runs += 1;
        report.steps += one.steps;
        for (what, count) in std::mem::take(&mut one.seen) {
            *report.seen.entry(what).or_default() += count;
        }
        if repeated.is_some() || report.steps >= steps {
            println!("{simulation}: {report}");
            return report;
        }
        seed += 1;
    }
}

impl SimulationRun {
    fn new(simulation: &'static str, seed: u64, is_told: bool) -> Self {
        // Draws of the program itself come from the thread's.
        fastrand::seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let left = random.u64(STEPS_OF_A_RUN / 4..2 * STEPS_OF_A_RUN);
        Self { simulation, seed, random, left, steps: 0, is_told, seen: BTreeMap::new() }
    }

    /// Whether another step is to be taken.
    pub(crate) fn goes_on(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }

    /// Takes note of a step.
    pub(crate) fn step(&mut self, what: impl Display) {
        self.steps += 1;
        if self.is_told {
            println!("{} {:>6}: {what}", self.simulation, self.steps);
        }
    }

    /// Counts that `what` was seen.
    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// One of `0..below`; 0 if there is none.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        if below == 0 { 0 } else { self.random.usize(..below) }
    }

    /// True once in `often` times.
    pub(crate) fn once_in(&mut self, often: usize) -> bool {
        self.below(often) == 0
    }

    /// One of these, each as likely as its weight.
    pub(crate) fn pick<T: Copy>(&mut self, weighted: &[(usize, T)]) -> T {
        let mut at = self.below(weighted.iter().map(|(weight, _)| weight).sum());
        for (weight, one) in weighted {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *one,
            }
        }
        weighted[0].1
    }

    /// A length of any magnitude up to `most`: small ones as often as large ones.
    pub(crate) fn length(&mut self, most: usize) -> usize {
        let bits = self.below(usize::BITS as usize - most.leading_zeros() as usize + 1);
        self.below((1_usize << bits).min(most + 1))
    }

    /// A time of any magnitude from a millisecond up to `most`.
    pub(crate) fn time(&mut self, most: Duration) -> Duration {
        Duration::from_millis(1 + self.length(usize::try_from(most.as_millis()).unwrap()) as u64)
    }

    /// Draws of a part of the run that has its own, so that they do not depend on when it is asked.
    pub(crate) fn fork(&mut self) -> fastrand::Rng {
        self.random.fork()
    }
}

impl Drop for SimulationRun {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { simulation, seed, steps, .. } = self;
            eprintln!(
                "{simulation}: the run of seed {seed} has failed at step {steps}; VESTIBULE_SIM_SEED={seed} repeats it"
            );
        }
    }
}

impl SimulationReport {
    /// That each of these was seen, unless a run was repeated: what never happens is not tried.
    pub(crate) fn has_seen(&self, all: &[&'static str]) {
        let missing: Vec<_> = all.iter().filter(|what| !self.seen.contains_key(**what)).collect();
        assert!(self.is_repeated || missing.is_empty(), "never seen: {missing:?} in {self}");
    }
}

impl Display for SimulationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps in {} runs: {:?}", self.steps, self.runs, self.seen)
    }
}

/// A runtime of one thread, whose time stands still but for those who advance it and for when all wait.
pub(crate) fn with_paused_time<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(work)
}
