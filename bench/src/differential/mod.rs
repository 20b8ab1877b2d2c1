//! Envoy and Vestibule side by side with the files that Diego writes: the same clients, the same app, and what each of them saw.

mod app;
mod ask;
mod cases;
mod expected;
mod ground;
mod report;
mod world;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::args::DifferentialArgs;
use crate::product::Linked;
use crate::report::machine::Machine;
use crate::{peers, product};
use report::Verdict;
use world::{Side, World};

/// What was seen of one of the two, in the order of the cases.
#[derive(Debug, Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn note(&mut self, case: impl Into<String>, what: impl Into<String>) {
        self.0.push((case.into(), what.into()));
    }
}

/// Something to try with both.
struct Case {
    /// How all its lines begin.
    name: &'static str,
    /// Tries it, and notes what was seen.
    run: fn(&World, Side, &mut Seen) -> Result<()>,
}

/// Runs all cases with both, prints the table and writes DIFFERENTIAL.md.
///
/// # Errors
/// Envoy is not installed, or there are differences that nobody expects.
pub(crate) fn run(args: &DifferentialArgs) -> Result<()> {
    let machine = Machine::look(product::root());
    let vestibule = product::binary(&args.product, Linked::Static)?;
    let envoy = peers::envoy_program().with_context(|| format!("Envoy is not installed ({})", peers::ENVOY_MEND))?;
    let world = World::make(vestibule, envoy)?;
    let mut rows = Vec::new();
    for case in cases::ALL.iter().filter(|case| args.wants(case.name)) {
        eprintln!("{}", case.name);
        let [envoy, vestibule] = Side::BOTH.map(|side| {
            let mut seen = Seen::default();
            if let Err(error) = (case.run)(&world, side, &mut seen) {
                seen.note("the case itself", format!("failed: {error:#}"));
            }
            seen
        });
        rows.extend(report::rows(case.name, envoy, vestibule));
    }
    let text = report::markdown(&machine, &peers::envoy_version(), &rows);
    println!("{text}");
    if args.only.is_empty() {
        let path = Path::new(product::HERE).join("DIFFERENTIAL.md");
        std::fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let unexpected = rows.iter().filter(|row| matches!(row.verdict, Verdict::Differs)).count();
    ensure!(unexpected == 0, "{unexpected} differences that nobody expects");
    Ok(())
}
