//! Two instances behind a client that retries as gorouter does, stopped and started in turn: what do its users see?

mod instance;
mod report;
mod router;
pub(crate) mod web;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::args::RollingArgs;
use crate::product::Linked;
use crate::report::machine::Machine;
use crate::{peers, product};
use instance::{Identity, Instance, Kind, Platform};
use report::Outcome;
use router::Router;

/// Users, each of whom waits for an answer before the next request.
const USERS: u32 = 8;

/// How often all routes are registered again.
const SYNC: Duration = Duration::from_secs(20);

/// How long the two first instances, and each new one, may take until they have answered: longer than a new one that
/// refused its first client is left alone.
const START: Duration = Duration::from_secs(60);

/// Requests that a new instance must have answered before the next stop.
const WARM: usize = 20;

/// Runs all three, prints the table and writes ROLLING.md.
///
/// # Errors
/// Something cannot be started; lost requests are no error.
pub(crate) fn run(args: &RollingArgs) -> Result<()> {
    let machine = Machine::look(product::root());
    let binary = product::binary(&args.product, Linked::Static)?;
    let envoy = peers::envoy_program();
    let work = tempfile::Builder::new().prefix("vestibule-rolling-").tempdir().context("cannot make a folder")?;
    eprintln!("issuing {} pairs ...", 2 * (args.stops + 2));
    let identities = (0..args.stops + 2)
        .map(|at| Identity::issue(&binary, &work.path().join("ca"), at))
        .collect::<Result<Vec<_>>>()?;
    let mut outcomes = Vec::new();
    for kind in Kind::ALL {
        let Some(platform) = Platform::new(kind, &binary, envoy.as_deref(), work.path(), args.pause())? else {
            eprintln!("{kind}: Envoy is not installed ({})", peers::ENVOY_MEND);
            continue;
        };
        if args.wants(kind.id()) {
            outcomes.push(roll(&platform, &identities, args)?);
        }
    }
    let text = report::markdown(&machine, args, &outcomes);
    println!("{text}");
    if args.only.is_empty() {
        let path = Path::new(product::HERE).join("ROLLING.md");
        std::fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// One proxy's turn.
fn roll(platform: &Platform<'_>, identities: &[Identity], args: &RollingArgs) -> Result<Outcome> {
    let kind = platform.kind;
    let router = Arc::new(Router::new(platform.router_config()?));
    let mut fresh = identities.iter();
    let mut start = |port| {
        let identity = fresh.next().context("there is a pair for each instance")?;
        Instance::start(platform, identity, port, &router)
    };
    let mut instances = [start(None)?, start(None)?];
    // The load begins when both serve; whoever comes later has to start under it.
    let end = Instant::now() + START;
    while let Err((_, story)) = instances.iter().try_for_each(|it| router.ask(&it.endpoint)) {
        ensure!(Instant::now() < end, "{kind}: an instance does not serve: {story}");
        thread::sleep(Duration::from_millis(50));
    }
    let done = Arc::new(AtomicBool::new(false));
    let every = Duration::from_secs(1) * USERS / args.rate;
    let users: Vec<_> = (0..USERS)
        .map(|user| {
            let (router, done) = (Arc::clone(&router), Arc::clone(&done));
            thread::spawn(move || use_it(&router, &done, user, every))
        })
        .collect();

    let result: Result<Duration> = (|| {
        let (began, mut synced, mut slowest) = (Instant::now(), Instant::now(), Duration::ZERO);
        instances.iter().try_for_each(|it| warm(it, &router, &mut synced))?;
        for stop in 0..args.stops {
            let old = &mut instances[stop % 2];
            let stopping = Instant::now();
            let gone = old.stop(platform)?;
            slowest = slowest.max(stopping.elapsed().saturating_sub(platform.pause));
            // Every other instance is the first to come to the port of the one before it, while the old route is still there.
            *old = start((stop % 4 < 2).then_some(gone.addr))?;
            router.unregister(&gone);
            warm(old, &router, &mut synced)?;
            if (stop + 1) % 10 == 0 {
                eprintln!("{kind}: {} stops, {} s", stop + 1, began.elapsed().as_secs());
            }
        }
        Ok(slowest)
    })();
    done.store(true, Relaxed);
    let mut outcome = Outcome::new(kind, args.stops);
    for user in users {
        outcome.add(user.join().map_err(|_| anyhow::anyhow!("a user of {kind} panicked"))?);
    }
    outcome.retries = router.retries();
    outcome.slowest_stop = result.with_context(|| format!("{kind}"))?;
    Ok(outcome)
}

/// What one user asked for and got.
#[derive(Default)]
struct Used {
    /// How long each answer took.
    took: Vec<Duration>,
    /// Status and story of those that were errors.
    errors: Vec<(u16, String)>,
}

fn use_it(router: &Router, done: &AtomicBool, user: u32, every: Duration) -> Used {
    let mut used = Used::default();
    // Users do not come all at once.
    let mut next = Instant::now() + every * user / USERS;
    while !done.load(Relaxed) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let began = Instant::now();
        let method = if (used.took.len() + user as usize).is_multiple_of(2) {
            crate::wire::gorouter::Method::Post
        } else {
            crate::wire::gorouter::Method::Get
        };
        if let Err(error) = router.request(method) {
            used.errors.push(error);
        }
        used.took.push(began.elapsed());
        // One that took long is not made up for.
        next = (next + every).max(Instant::now());
    }
    used
}

/// Waits until an instance has answered some requests, while the platform registers its routes again from time to time.
fn warm(instance: &Instance, router: &Router, synced: &mut Instant) -> Result<()> {
    let (end, endpoint) = (Instant::now() + START, &instance.endpoint);
    while endpoint.answered() < WARM {
        let answered = endpoint.answered();
        ensure!(
            Instant::now() < end,
            "an instance answered {answered} requests, not {WARM}, in {} s; {}",
            START.as_secs(),
            endpoint.failed()
        );
        if synced.elapsed() > SYNC {
            *synced = Instant::now();
            router.sync();
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
