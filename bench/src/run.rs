//! The story of a run: build, find peers, take samples in interleaved rounds, report.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::args::{CallgrindArgs, RunArgs};
use crate::measures::{Measure, sign};
use crate::peers::{Found, Peer, TWO_THREADS, VESTIBULE};
use crate::product::Linked;
use crate::report::machine::Machine;
use crate::report::results::Results;
use crate::report::{Form, Report};
use crate::stage::{Bench, Sizes};
use crate::{measures, peers, product, report};

const FULL: Sizes = Sizes { time: Duration::from_secs(2), bulk: 256 << 20, starts: 9, many: 9_000 };
const QUICK: Sizes = Sizes { time: Duration::from_millis(400), bulk: 64 << 20, starts: 3, many: 0 };

/// Looks for all peers, with the binary of vestibule and other builds of it by name.
type FindPeers = fn(&Path, &[(String, PathBuf)]) -> Result<Found>;

/// What a run is about: what is measured, of whom, and how it is shown.
pub(crate) struct Subject {
    measures: &'static [&'static Measure],
    peers: FindPeers,
    form: &'static Form,
    /// The plot, where there is one.
    plot: Option<&'static str>,
}

/// From the world to the app.
pub(crate) const INBOUND: Subject =
    Subject { measures: measures::ALL, peers: peers::find, form: &report::INBOUND, plot: Some("RESULTS.svg") };

/// From the app to the world.
pub(crate) const OUTBOUND: Subject =
    Subject { measures: measures::outbound::ALL, peers: peers::outbound::find, form: &report::OUTBOUND, plot: None };

/// From the world to the app, request by request.
pub(crate) const HTTP: Subject =
    Subject { measures: measures::http::ALL, peers: peers::http::find, form: &report::HTTP, plot: None };

/// Measures, prints, and writes the results unless only a part was asked for.
///
/// # Errors
/// The build fails, a name is unknown, or nothing can be measured at all. What one peer fails at is reported with the results.
pub(crate) fn run(args: &RunArgs, subject: &Subject) -> Result<()> {
    let binary = product::binary(&args.product, Linked::Static)?;
    let sizes = if args.quick { QUICK } else { FULL };
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 5 });
    let measures = chosen_measures(subject.measures, &args.only, sizes)?;
    let Found { peers, missing } = (subject.peers)(&binary, &args.also)?;
    for (name, mend) in &missing {
        eprintln!("{name} is skipped: it is not installed ({mend})");
    }
    let peers = chosen_peers(peers, args)?;
    // Before this thread is kept on one CPU, or it would see no other.
    let machine = Machine::look(product::root());
    let bench = Bench::new(&binary, sizes, !args.no_pin)?;

    let start = Instant::now();
    let mut results = Results::new(peers.iter().map(|peer| peer.name().to_owned()));
    for round in 1..=rounds {
        results.begin_round();
        for measure in &measures {
            eprintln!("{:4} s, round {round} of {rounds}: {}", start.elapsed().as_secs(), measure.name);
            sample(&bench, measure, &peers, &mut results);
        }
    }

    let report = Report {
        form: subject.form,
        machine,
        places: bench.places.to_string(),
        versions: peers.iter().map(|peer| (peer.name().to_owned(), peer.version())).collect(),
        missing: missing.iter().map(|(name, _)| *name).collect(),
        how: format!(
            "{} form, rounds: {rounds}, {} minutes",
            if args.quick { "quick" } else { "full" },
            (start.elapsed().as_secs() + 30) / 60
        ),
        measures,
        results,
    };
    println!("{}", report.markdown());
    let whole = args.only.is_empty() && args.peers.is_none();
    if let Some(dir) = args.out.as_deref().or_else(|| whole.then_some(Path::new(product::HERE))) {
        write(dir, subject.form.file, &report.markdown())?;
        if let Some(plot) = subject.plot {
            write(dir, plot, &report.svg())?;
        }
    }
    Ok(())
}

/// One sample of each peer; failures are results too.
fn sample(bench: &Bench, measure: &Measure, peers: &[Box<dyn Peer>], results: &mut Results) {
    for peer in peers.iter().filter(|peer| (measure.of)(peer.as_ref())) {
        match (measure.sample)(bench, peer.as_ref()) {
            Ok(values) => measure
                .figures
                .iter()
                .zip(values)
                .for_each(|(figure, value)| results.add(peer.name(), figure.id, value)),
            Err(error) => {
                let failure = format!("{} of {}: {error:#}", measure.name, peer.name());
                eprintln!("  {failure}");
                results.fail(failure);
            }
        }
    }
    for (_, figure, rsa) in sign::FIGURES.iter().filter(|(name, ..)| *name == measure.name) {
        match sign::cost(bench, *rsa) {
            Ok(value) => results.add(sign::ROW, figure, value),
            Err(error) => results.fail(format!("signature alone: {error:#}")),
        }
    }
}

/// Counts instructions.
///
/// # Errors
/// As [`run`], and when valgrind is not installed.
pub(crate) fn callgrind(args: &CallgrindArgs) -> Result<()> {
    let binary = product::binary(&args.product, Linked::Dynamic)?;
    let Found { peers, .. } = peers::find(&binary, &[])?;
    let bench = Bench::new(&binary, QUICK, true)?;
    let vestibule = peers.iter().find(|peer| peer.is_vestibule()).context("vestibule is not among the peers")?;
    measures::callgrind::count(&bench, vestibule.as_ref())
}

/// Names what there is.
///
/// # Errors
/// We do not know our own path.
pub(crate) fn list() -> Result<()> {
    for (title, all) in [
        ("measures", measures::ALL),
        ("measures of outbound", measures::outbound::ALL),
        ("measures of http", measures::http::ALL),
    ] {
        println!("{title}:");
        for measure in all {
            let figures: Vec<_> = measure.figures.iter().map(|figure| figure.title).collect();
            println!("  {:19} {}: {}", measure.name, measure.family, figures.join("; "));
        }
    }
    let Found { peers, missing } = peers::find(Path::new(VESTIBULE), &[])?;
    println!("peers:");
    println!("  {TWO_THREADS:18} vestibule with two threads");
    for peer in peers.iter().filter(|peer| !peer.is_vestibule()) {
        println!("  {:18} {}", peer.name(), peer.version());
    }
    for (name, mend) in missing {
        println!("  {name:18} not installed ({mend})");
    }
    Ok(())
}

fn chosen_measures(all: &[&'static Measure], only: &[String], sizes: Sizes) -> Result<Vec<&'static Measure>> {
    for name in only {
        let known = all.iter().any(|measure| measure.name.starts_with(name.as_str()));
        ensure!(known, "there is no measure {name:?}; `bench list` names them");
    }
    let named = |measure: &Measure| only.iter().any(|name| measure.name.starts_with(name.as_str()));
    // The larger measure of memory is not for daily work.
    let fits = |measure: &Measure| sizes.many > 0 || measure.name != "many";
    let chosen = all.iter().copied();
    Ok(chosen.filter(|measure| fits(measure) && (only.is_empty() || named(measure))).collect())
}

fn chosen_peers(peers: Vec<Box<dyn Peer>>, args: &RunArgs) -> Result<Vec<Box<dyn Peer>>> {
    for name in args.peers.iter().flatten() {
        ensure!(peers.iter().any(|peer| peer.name() == name), "there is no peer {name:?}; `bench list` names them");
    }
    let wanted = |peer: &dyn Peer| match (&args.peers, peer.name()) {
        (Some(names), name) if names.iter().any(|wanted| wanted == name) => true,
        // Not for daily work, nor for a comparison of builds.
        (Some(_), TWO_THREADS) => false,
        (None, TWO_THREADS) => !args.quick,
        (None, _) => peer.carries() || !args.quick,
        (Some(_), _) => peer.is_vestibule(),
    };
    Ok(peers.into_iter().filter(|peer| wanted(peer.as_ref())).collect())
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path: PathBuf = dir.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
