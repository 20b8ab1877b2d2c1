//! The table of the rolling stop, and what was lost.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Used;
use super::instance::Kind;
use crate::args::RollingArgs;
use crate::report::machine::Machine;
use crate::report::table;

/// What the users of one kind of instance got.
pub(super) struct Outcome {
    kind: Kind,
    stops: usize,
    took: Vec<Duration>,
    errors: Vec<(u16, String)>,
    /// How often another attempt was made.
    pub(super) retries: usize,
    /// The longest time from the end of the pause to the instance's end.
    pub(super) slowest_stop: Duration,
}

impl Outcome {
    /// Nothing yet.
    pub(super) fn new(kind: Kind, stops: usize) -> Self {
        Self { kind, stops, took: Vec::new(), errors: Vec::new(), retries: 0, slowest_stop: Duration::ZERO }
    }

    /// What one user got.
    pub(super) fn add(&mut self, used: Used) {
        self.took.extend(used.took);
        self.errors.extend(used.errors);
    }

    fn row(&self) -> Vec<String> {
        let millis = |time: Duration| time.as_millis().to_string();
        let mut took = self.took.clone();
        took.sort_unstable();
        let quantile = |of: usize| took.get((took.len() * of / 1000).min(took.len().saturating_sub(1))).copied();
        vec![
            self.kind.to_string(),
            self.stops.to_string(),
            took.len().to_string(),
            self.retries.to_string(),
            format!("**{}**", self.errors.len()),
            millis(quantile(990).unwrap_or_default()),
            millis(took.last().copied().unwrap_or_default()),
            millis(self.slowest_stop),
        ]
    }

    fn losses(&self) -> String {
        let mut counted = BTreeMap::<_, usize>::new();
        self.errors.iter().for_each(|error| *counted.entry(error).or_default() += 1);
        let lines = counted.iter().map(|((status, story), count)| format!("- {count} × {status}: {story}\n"));
        format!("\n{}:\n\n{}", self.kind, lines.collect::<String>())
    }
}

/// ROLLING.md.
pub(super) fn markdown(machine: &Machine, args: &RollingArgs, outcomes: &[Outcome]) -> String {
    let titles =
        ["", "stops", "requests", "retries", "errors that users saw", "99 % ms", "slowest ms", "slowest stop ms"];
    let mut rows = vec![titles.iter().map(|title| (*title).to_owned()).collect()];
    rows.extend(outcomes.iter().map(Outcome::row));
    let losses: String = outcomes.iter().filter(|it| !it.errors.is_empty()).map(Outcome::losses).collect();
    let losses = if losses.is_empty() { String::new() } else { format!("\n## What was lost\n{losses}") };
    format!(
        "# Stopping instances under load\n\n{machine}\n\nTwo instances behind a client that retries as gorouter does; {} requests a second, every other one a POST, with \
         keep-alive. In turn each instance is stopped and a new one started; {} ms pass between the retirement pair and TERM to the app. See [README.md](README.md).\n\n{}{losses}",
        args.rate,
        args.pause().as_millis(),
        table::markdown(&rows)
    )
}
