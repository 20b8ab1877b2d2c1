//! Requests of the app to servers in this process that fail in every way, with time that stands still while anybody works.
//!
//! What is checked: only servers in the set are dialled; what is not idempotent is sent once at most, and what is, twice; each request is
//! answered by the response to it, or by one of our own; and in the end every place, lease, byte and guard is free again.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::budget::Budgets;
use crate::config::AccessLogFilter;
use crate::io::AppStream;
use crate::lifecycle::{DrainGuards, Phase};
use crate::outbound::http::serve_requests;
use crate::outbound::{Dialler, HttpClient, HttpShared, OutboundRequests};
use crate::telemetry::OutboundLogEntry;

/// How a server is disposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// It answers.
    Well,
    /// It answers with 503.
    Unavailable,
    /// It does something else for each request.
    Erratic,
    /// It ends each connection before it has read anything.
    Closing,
    /// It does not listen.
    Down,
}

/// What there is to know of all servers.
#[derive(Default)]
struct RequestRecord {
    /// How often each request was read by a server: any of them may have acted on it.
    executed: HashMap<usize, usize>,
    /// Connections to servers that were never in the set.
    strays: usize,
    random: fastrand::Rng,
}

struct SimulatedServer {
    addr: SocketAddr,
    mood: watch::Sender<Mood>,
}

type SharedServers = Arc<Mutex<RequestRecord>>;

/// Reads a head, and gives its first line and the length of the body; `None` at the end.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, usize)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some((head.lines().next().unwrap().to_owned(), length.map_or(0, |length| length.parse().unwrap())))
}

/// Serves one connection.
async fn converse(mut stream: TcpStream, mood: watch::Receiver<Mood>, record: SharedServers) {
    loop {
        if *mood.borrow() == Mood::Closing {
            return;
        }
        let Some((line, length)) = read_head(&mut stream).await else { return };
        let id = line.split(['/', ' ']).find_map(|word| word.parse::<usize>().ok()).unwrap();
        let (whim, body) = {
            let mut record = record.lock().unwrap();
            *record.executed.entry(id).or_default() += 1;
            (record.random.usize(..8), record.random.usize(..4) * record.random.usize(..30_000))
        };
        if stream.read_exact(&mut vec![0; length]).await.is_err() {
            return;
        }
        let mood = *mood.borrow();
        let response = |status: &str, close: &str| {
            let head = format!("HTTP/1.1 {status}\r\nX-Id: {id}\r\nContent-Length: {body}\r\n{close}\r\n");
            [head.into_bytes(), vec![b'x'; body]].concat()
        };
        let (said, ends) = match (mood, whim) {
            (Mood::Unavailable, _) => (response("503 Service Unavailable", ""), false),
            (Mood::Erratic, 0) => (Vec::new(), true),
            (Mood::Erratic, 1) => {
                let _ = stream.set_zero_linger();
                (Vec::new(), true)
            }
            (Mood::Erratic, 2) => (b"HTTP/1.1 200 OK\r\nX-I".to_vec(), true),
            (Mood::Erratic, 3) => {
                let whole = response("200 OK", "");
                let half = whole.len() / 2;
                (whole[..half].to_vec(), true)
            }
            (Mood::Erratic, 4) => (response("200 OK", "Connection: close\r\n"), true),
            // It is closed in the moment in which the next request may come.
            (Mood::Erratic, 5) => (response("200 OK", ""), true),
            (Mood::Erratic, 6) => (b"nonsense\r\n\r\n".to_vec(), true),
            _ => (response("200 OK", ""), false),
        };
        if stream.write_all(&said).await.is_err() || ends {
            return;
        }
    }
}

/// A server at `addr`, for as long as its mood is there.
async fn serve(addr: SocketAddr, mut mood: watch::Receiver<Mood>, record: SharedServers, is_decoy: bool) {
    let mut connections = JoinSet::new();
    loop {
        if *mood.borrow_and_update() == Mood::Down {
            connections.abort_all();
            if mood.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Ok(listener) = TcpListener::bind(addr).await else { return };
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    record.lock().unwrap().strays += usize::from(is_decoy);
                    connections.spawn(converse(stream, mood.clone(), Arc::clone(&record)));
                }
                changed = mood.changed() => match changed {
                    Err(_) => return,
                    Ok(()) if *mood.borrow() == Mood::Down => break,
                    Ok(()) => {}
                }
            }
        }
    }
}

/// What the app has sent.
#[derive(Clone, Copy)]
struct Sent {
    id: usize,
    is_idempotent: bool,
    /// It has had a whole response of the server's.
    is_answered: bool,
}

/// Sends these requests over one connection, and gives what has become of each.
async fn ask(mut stream: UnixStream, first: usize, count: usize, record: SharedServers) -> Vec<Sent> {
    let mut sent = Vec::new();
    for id in first..first + count {
        let (is_idempotent, length, leaves) = {
            let mut record = record.lock().unwrap();
            let random = &mut record.random;
            (random.bool(), random.usize(..20_000) * random.usize(..2), random.usize(..40) == 0)
        };
        let head = match is_idempotent {
            true => format!("GET /{id} HTTP/1.1\r\nHost: app\r\n\r\n").into_bytes(),
            false => {
                let head = format!("POST /{id} HTTP/1.1\r\nHost: app\r\nContent-Length: {length}\r\n\r\n");
                [head.into_bytes(), vec![b'y'; length]].concat()
            }
        };
        sent.push(Sent { id, is_idempotent, is_answered: false });
        if stream.write_all(&head).await.is_err() || leaves {
            break;
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return sent,
            }
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let field = |name: &str| {
            let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.map(ToOwned::to_owned)
        };
        let length = field("content-length").map_or(0, |length| length.parse().unwrap());
        if stream.read_exact(&mut vec![0; length]).await.is_err() {
            break;
        }
        match field("x-id") {
            Some(answered) => {
                assert_eq!(answered, id.to_string(), "the response to another request");
                sent.last_mut().unwrap().is_answered = true;
            }
            None => assert!(field("x-vestibule-reason").is_some(), "nobody's response: {head}"),
        }
        if field("connection").is_some_and(|value| value == "close") {
            break;
        }
    }
    sent
}

async fn servers(run: &mut SimulationRun, record: &SharedServers, tasks: &mut JoinSet<()>) -> Vec<SimulatedServer> {
    let count = 2 + run.below(4);
    let port = free_port(count).await;
    let all = (1..=count).map(|last| {
        let addr = at(last, port);
        let mood = watch::Sender::new(Mood::Well);
        tasks.spawn(serve(addr, mood.subscribe(), Arc::clone(record), last == count));
        SimulatedServer { addr, mood }
    });
    all.collect()
}

fn at(last: usize, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 77, 0, last as u8]), port)
}

/// A port that is free at `count` addresses.
async fn free_port(count: usize) -> u16 {
    loop {
        let first = TcpListener::bind(at(1, 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut are_free = true;
        for last in 2..=count {
            are_free &= TcpListener::bind(at(last, port)).await.is_ok();
        }
        if are_free {
            return port;
        }
    }
}

async fn scene(run: &mut SimulationRun) {
    let record = SharedServers::default();
    record.lock().unwrap().random = run.fork();
    let mut tasks = JoinSet::new();
    let mut all = servers(run, &record, &mut tasks).await;
    // Nobody ever resolves to this one.
    let decoy = all.pop().unwrap();
    let outbound = outbound(&["svc.test"], decoy.addr.port(), run);
    let settings = outbound.settings.clone();
    let counters = Arc::new(OutboundCounters::new("simulation"));
    let endpoints = Arc::new(Endpoints::new(&outbound, Arc::default(), Arc::clone(&counters)));
    let limit = run.pick(&[(1, None), (1, Some(256 << 10)), (1, Some(16 << 20))]);
    let budget = Budgets::new(None, limit).backlogs;
    let dialler = Arc::new(Dialler::new(
        settings.clone(),
        None,
        Arc::clone(&endpoints),
        Arc::clone(&counters),
        Arc::clone(&budget),
    ));
    let (phase, guards) = (watch::Sender::new(Phase::Running), DrainGuards::default());
    let exchanges = 1 + run.below(8);
    let shared = HttpShared::new(1 + run.below(4), exchanges, phase.subscribe(), guards.guard());
    let client = Arc::new(HttpClient::new(Arc::clone(&dialler), shared.clone()));
    let handler = Arc::new(OutboundRequests::new(Arc::clone(&client), "app".into(), AccessLogFilter::Off));
    let (mut found, mut seen, mut asking, mut sent, mut next) =
        (Vec::new(), Vec::<Arc<Endpoint>>::new(), JoinSet::new(), Vec::new(), 1);
    let resolve = |run: &mut SimulationRun, found: &mut Vec<_>, seen: &mut Vec<Arc<Endpoint>>| {
        let pool: Vec<_> = all.iter().map(|server| server.addr.ip()).collect();
        let resolution = match run.once_in(2) {
            true => Resolution::Addresses(pool, Duration::from_secs(60)),
            false => answer(&pool, run),
        };
        let _ = endpoints.resolved("svc.test", resolution, found);
        seen.extend(endpoints.current().iter().cloned());
    };
    resolve(run, &mut found, &mut seen);
    while run.goes_on() {
        match run.below(8) {
            0 => resolve(run, &mut found, &mut seen),
            1 => {
                let moods = [
                    Mood::Well,
                    Mood::Well,
                    Mood::Erratic,
                    Mood::Erratic,
                    Mood::Unavailable,
                    Mood::Closing,
                    Mood::Down,
                ];
                let mood = moods[run.below(moods.len())];
                run.step(format_args!("a server is {mood:?}"));
                all[run.below(all.len())].mood.send_replace(mood);
            }
            2 => sleep(run.time(Duration::from_secs(10))).await,
            3 if asking.len() > 4 => {
                run.step("the app waits");
                for one in std::mem::take(&mut asking).join_all().await {
                    sent.extend(one);
                }
            }
            _ => {
                let count = 1 + run.below(4);
                let (app, ours) = UnixStream::pair().unwrap();
                let (handler, budget, phase) = (Arc::clone(&handler), Arc::clone(&budget), phase.subscribe());
                let guard = guards.guard();
                tasks.spawn(async move {
                    assert!(serve_requests(AppStream::Unix(ours), handler, &budget, phase).await.is_none());
                    drop(guard);
                });
                asking.spawn(ask(app, next, count, Arc::clone(&record)));
                for id in next..next + count {
                    run.step(format_args!("request {id}"));
                }
                next += count;
                if run.once_in(3) {
                    sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }
    for one in timeout(Duration::from_secs(600), asking.join_all()).await.expect("the app waits for ever") {
        sent.extend(one);
    }
    judge(&sent, &record.lock().unwrap(), run);
    // Whoever still speaks with an app that has left is done.
    sleep(Duration::from_secs(120)).await;
    assert!(seen.iter().all(|one| one.in_flight() == 0), "something is in flight for ever");
    let places: Vec<_> = (0..settings.max_connections).map(|_| client.begin_request()).collect();
    assert!(places.iter().all(Result::is_ok), "a place of a request is lost");
    drop(places);
    assert_eq!(shared.exchanges().available_permits(), exchanges, "the memory of a request is lost");
    resolve_all(&endpoints, &all, &mut found);
    let mut entries: Vec<OutboundLogEntry> = (0..settings.max_pending)
        .map(|_| OutboundLogEntry::open(Arc::clone(&counters), AccessLogFilter::Off, "app".into(), "svc".into()))
        .collect();
    let mut attempts = Vec::new();
    for entry in &mut entries {
        attempts.push(dialler.attempts(&[], entry).await);
    }
    assert!(attempts.iter().all(Result::is_ok), "a place of a connection that waits is lost");
    drop(attempts);
    drop(entries);
    // Some end with connections that wait, and some without.
    if run.once_in(2) {
        for server in &all {
            server.mood.send_replace(Mood::Down);
        }
        eventually("a connection that was closed waits for a request", || counters.idle() == 0).await;
    }
    assert_eq!(budget.held(), 0, "memory is lost");
    assert_eq!(client.retries(), 0, "a second attempt is counted for ever");
    phase.send_replace(Phase::Draining);
    shared.end();
    drop((handler, client, shared));
    let mut open = guards.close();
    timeout(Duration::from_secs(60), open.gone()).await.expect("a guard is held for ever");
    eventually("something is counted for ever", || (counters.idle(), counters.active()) == (0, 0)).await;
    for server in all.iter().chain([&decoy]) {
        server.mood.send_replace(Mood::Down);
    }
    assert_eq!(record.lock().unwrap().strays, 0);
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn resolve_all(endpoints: &Endpoints, all: &[SimulatedServer], found: &mut Vec<(String, Vec<IpAddr>)>) {
    let pool = all.iter().map(|server| server.addr.ip()).collect();
    endpoints.resolved("svc.test", Resolution::Addresses(pool, Duration::from_secs(60)), found).unwrap();
}

fn judge(sent: &[Sent], record: &RequestRecord, run: &mut SimulationRun) {
    for Sent { id, is_idempotent, is_answered } in sent {
        let executed = record.executed.get(id).copied().unwrap_or_default();
        assert!(executed <= if *is_idempotent { 2 } else { 1 }, "request {id} was sent {executed} times");
        assert!(!is_answered || executed > 0, "request {id} is answered by nobody");
        run.saw(match (is_answered, executed) {
            (true, 2) => "answered the second time",
            (true, _) => "answered",
            (false, 0) => "not sent",
            (false, _) => "lost",
        });
    }
}

#[test]
fn under_every_schedule_no_request_is_acted_on_twice_that_must_not_be_and_nothing_is_left_behind() {
    let report = simulate("requests", 20_000, |run| with_paused_time(scene(run)));
    report.has_seen(&["answered", "answered the second time", "not sent", "lost"]);
}
