//! A drain under schedules of connections that end, last and hang, of stop requests, and of time.
//!
//! What is checked: phases go forward only; nobody is told to close before the time is over, all are gone, or somebody asks again; the last
//! guard ends it, and so does the time; the kernel refuses whoever comes later.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::open::Sidecar;
use super::outbound::OwnAddresses;
use super::platform_pair::PlatformPair;
use super::running::Running;
use super::shared::Shared;
use super::{inbound, outbound};
use crate::config::Config;
use crate::config::resolve::resolve;
use crate::config::sources::{Environment, Sources};
use crate::exit::{Exit, Fault};
use crate::lifecycle::{ControlRequest, DrainGuard, Phase, Readiness, Tasks};
use crate::listener::DescriptorLimit;
use crate::simulation::{SimulationRun, simulate, with_paused_time};
use crate::supervisor::Signals;

/// What is left for the last entries once all is told to close.
const FLUSHED: Duration = Duration::from_millis(250);

/// Timers are exact to a millisecond.
const TICK: Duration = Duration::from_millis(2);

fn config(delay: Duration, timeout: Duration) -> Config {
    let milliseconds = |time: Duration| format!("{}ms", time.as_millis());
    let flags = [
        ("listen", "127.0.0.1:0".to_owned()),
        ("app", "127.0.0.1:9".to_owned()),
        ("cert", "/nowhere/instance.crt".to_owned()),
        ("key", "/nowhere/instance.key".to_owned()),
        ("app-ready", "off".to_owned()),
        ("admin", "off".to_owned()),
        ("drain-delay", milliseconds(delay)),
        ("drain-timeout", milliseconds(timeout)),
    ];
    let flags = flags.map(|(name, value)| (name, OsString::from(value)));
    let read_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let environment = Environment::default();
    let sources =
        Sources { flags: &flags, environment: &environment, read_file: &read_file, starts_app: false, cpus: 1 };
    resolve(&sources).unwrap_or_else(|diagnostics| panic!("{}", Fault::from(diagnostics).message()))
}

/// A proxy that serves, without files to look at; and where stop requests come from.
fn running(config: Config) -> (Running, Tasks, mpsc::Sender<ControlRequest>) {
    let mut tasks = Tasks::default();
    let Sidecar { config, listeners, outbounds, mut rotator, reload, sandbox, .. } = Sidecar::open(config).unwrap();
    let (sender, requests) = mpsc::channel(8);
    let shared = Shared::new(&config, DescriptorLimit::AsGiven);
    let own = OwnAddresses { inbound: Vec::new(), admin: Vec::new() };
    let inbound = inbound::start(listeners, &config, &shared, &mut rotator, &mut tasks);
    let outbound = outbound::start(outbounds, &config, &shared, &mut rotator, &mut tasks, own);
    let readiness = Arc::new(Readiness::new(inbound.listeners.len(), Vec::new(), Vec::new()));
    let running = Running {
        served: rotator.served(),
        platform_pair: PlatformPair::watch(&config, &mut tasks),
        config,
        signals: Signals::only_requests(requests),
        app: None,
        inbound,
        outbound,
        app_files: None,
        rotator: Arc::new(rotator),
        reload,
        shared,
        readiness,
        logged: Vec::new(),
        own_retires: false,
        platform_retires: false,
        secrets_folder: None,
        vault: None,
        lease_events: None,
        sandbox,
        hook_launcher: None,
    };
    (running, tasks, sender)
}

/// How a connection comes to its end.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// By itself, so long after the drain began.
    After(Duration),
    /// So long after the listeners were closed, as one that is idle.
    OnceDraining(Duration),
    /// So long after it was told to close.
    OnceClosing(Duration),
    /// Never.
    Never,
}

async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

async fn connection(
    guard: DrainGuard,
    mut phase: watch::Receiver<Phase>,
    ending: Ending,
    gone: Arc<Mutex<Vec<Instant>>>,
) {
    match ending {
        Ending::After(time) => sleep(time).await,
        Ending::OnceDraining(time) => {
            reached(&mut phase, Phase::Draining).await;
            sleep(time).await;
        }
        Ending::OnceClosing(time) => {
            reached(&mut phase, Phase::Closing).await;
            sleep(time).await;
        }
        Ending::Never => std::future::pending().await,
    }
    gone.lock().unwrap().push(Instant::now());
    drop(guard);
}

async fn scene(run: &mut SimulationRun) {
    let limit = Duration::from_secs(1 + run.below(20) as u64);
    let delay = if run.once_in(2) { Duration::ZERO } else { run.time(limit / 2).min(limit / 2) };
    let (mut running, _tasks, stops) = running(config(delay, limit));
    running.accept().unwrap();
    let addr = running.inbound.listeners[0].listener;
    let gone = Arc::new(Mutex::new(Vec::new()));
    let mut connections = JoinSet::new();
    let (count, mut hang) = (run.below(12), 0);
    let kinds = [(1 + run.below(8), 0), (run.below(8), 1), (run.below(2), 2), (run.below(2), 3)];
    for _ in 0..count {
        let time = run.time(2 * limit);
        let ending = match run.pick(&kinds) {
            0 => Ending::After(time),
            1 => Ending::OnceDraining(time / 4),
            2 => Ending::OnceClosing(run.time(FLUSHED / 2).min(FLUSHED / 2)),
            _ => Ending::Never,
        };
        hang += usize::from(matches!(ending, Ending::Never));
        run.step(format_args!("a connection that ends {ending:?}"));
        let phase = running.shared.phase.subscribe();
        connections.spawn(connection(running.shared.guards.guard(), phase, ending, Arc::clone(&gone)));
    }
    // What is seen of the phases, and when.
    let phases = Arc::new(Mutex::new(vec![(Phase::Running, Instant::now())]));
    let watching = tokio::spawn({
        let (mut phase, phases) = (running.shared.phase.subscribe(), Arc::clone(&phases));
        async move {
            while phase.changed().await.is_ok() {
                phases.lock().unwrap().push((*phase.borrow_and_update(), Instant::now()));
            }
        }
    });
    let mut asked = Vec::new();
    for _ in 0..run.pick(&[(3, 0), (2, 1), (1, 2)]) {
        let after = run.time(limit);
        run.step(format_args!("asked to stop again after {after:?}"));
        asked.push(after);
        let stops = stops.clone();
        tokio::spawn(async move {
            sleep(after).await;
            let _ = stops.send(ControlRequest::Stop).await;
        });
    }
    asked.sort();
    let began = Instant::now();
    run.step(format_args!("a drain of {delay:?} and {limit:?}"));
    let longest = delay.max(limit) + 2 * FLUSHED;
    let exit = timeout(longest, running.drain()).await.expect("the drain goes on for ever");
    let took = began.elapsed();
    assert_eq!(exit, Exit::Success);
    assert!(took <= delay.max(limit) + FLUSHED + TICK, "it took {took:?}");
    assert_eq!(std::net::TcpStream::connect(addr).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);

    // Nobody who wants to know a phase misses the last one.
    tokio::task::yield_now().await;
    watching.abort();
    let phases = phases.lock().unwrap().clone();
    assert!(phases.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{phases:?}");
    let at = |wanted: Phase| phases.iter().find(|(phase, _)| *phase == wanted).map(|(_, at)| *at - began);
    let (draining, closing) = (at(Phase::Draining).unwrap(), at(Phase::Closing).unwrap());
    // The first request that comes during the delay ends that, and the next one the rest.
    let during_delay = asked.first().copied().filter(|asked| *asked < delay);
    let expected = during_delay.unwrap_or(delay);
    assert!(draining + TICK >= expected && draining <= expected + TICK, "the listeners are closed after {draining:?}");
    let next = asked.get(usize::from(during_delay.is_some())).copied();
    // Who asks in the very moment in which the delay ends may be heard before or after.
    let is_clear = asked.iter().all(|asked| asked.abs_diff(delay) > TICK);
    let all_gone = gone.lock().unwrap().iter().filter(|at| **at <= began + closing).count() == count;
    let is_at_limit = closing + TICK >= limit;
    let is_asked = next.is_some_and(|next| closing + TICK >= next) || !is_clear;
    assert!(all_gone || is_at_limit || is_asked, "told to close after {closing:?}");
    assert!(closing <= limit.max(draining) + TICK, "told to close after {closing:?}");
    if let Some(next) = next.filter(|_| is_clear) {
        assert!(
            closing <= next.max(draining) + TICK,
            "asked again after {next:?}, and told to close after {closing:?}"
        );
    }
    if all_gone {
        run.saw("all gone by themselves");
        let last = gone.lock().unwrap().iter().max().map_or(Duration::ZERO, |at| *at - began);
        assert!(took <= last.max(draining) + TICK, "the last is gone after {last:?}, and we after {took:?}");
    } else {
        run.saw(if is_at_limit { "the time was over" } else { "asked again" });
        assert!(hang == 0 || took + TICK >= closing + FLUSHED, "the last entries have no time to be written");
    }
    run.saw(if hang > 0 { "some hang" } else { "none hangs" });
}

#[test]
fn under_every_schedule_a_drain_goes_through_its_steps_in_order_and_ends_in_time() {
    let report = simulate("drain", 5_000, |run| with_paused_time(scene(run)));
    report.has_seen(&["all gone by themselves", "the time was over", "asked again", "some hang", "none hangs"]);
}
