//! Two instances behind a router, stopped and started one after the other under load: no user may notice.
//!
//! The router is small, and treats what it meets as gorouter does: keep-alive pools, another instance for whatever
//! fails before the request is written, never a second try for a POST after that.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Connector, connector};
use crate::support::credentials::Credentials;
use crate::support::eventually;
use crate::support::sidecar::{Setup, Sidecar};

/// An HTTP/1.1 app with keep-alive that takes a moment to start, writes down what it begins, and on TERM finishes what it
/// is at.
const APP: &str = r#"
import os, signal, socket, sys, threading, time
time.sleep(0.3)
busy, lock = [0], threading.Lock()
begun = os.open(os.environ["BEGUN"], os.O_WRONLY | os.O_APPEND)
def term(*_):
    def end():
        while busy[0]: time.sleep(0.005)
        os._exit(0)
    threading.Thread(target=end).start()
signal.signal(signal.SIGTERM, term)
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader = connection.makefile("rb")
    while True:
        line = reader.readline()
        if not line: return connection.close()
        with lock: busy[0] += 1
        os.write(begun, line.split()[1] + b"\n")
        length = 0
        while (header := reader.readline().strip()):
            if header.lower().startswith(b"content-length:"): length = int(header.split(b":")[1])
        body = reader.read(length)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        with lock: busy[0] -= 1
def main():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=main, daemon=True).start()
while True: time.sleep(60)
"#;

const ANSWER: usize = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone".len();

/// Threads of the load, and how often each asks: 200 requests a second.
const USERS: usize = 8;
const EVERY: Duration = Duration::from_millis(40);

/// How long an instance that reset a connection is left alone.
const INELIGIBLE: Duration = Duration::from_secs(30);

/// Requests that an instance must have answered before the next stop.
const WARM: usize = 30;

/// One way to an instance, with its idle connections.
struct Endpoint {
    addr: SocketAddr,
    connector: Connector,
    idle: Mutex<Vec<Client>>,
    shunned: Mutex<Option<Instant>>,
    answered: AtomicUsize,
}

#[derive(Default)]
struct Router {
    endpoints: Mutex<Vec<Arc<Endpoint>>>,
    turn: AtomicUsize,
    retries: AtomicUsize,
}

/// What became of one attempt.
enum Attempt {
    Answered,
    /// Nothing was lost: the next instance may have it.
    Again(String),
    /// The user sees an error.
    Lost(String),
}

/// What a user saw fail.
#[derive(Debug)]
struct Lost {
    path: String,
    #[expect(dead_code, reason = "printed where the test fails")]
    why: String,
    #[expect(dead_code, reason = "printed where the test fails")]
    met: Vec<String>,
}

impl Router {
    fn register(&self, addr: SocketAddr, name: &str) -> Arc<Endpoint> {
        let endpoint = Arc::new(Endpoint {
            addr,
            connector: connector(name),
            idle: Mutex::default(),
            shunned: Mutex::default(),
            answered: AtomicUsize::new(0),
        });
        self.endpoints.lock().unwrap().push(Arc::clone(&endpoint));
        endpoint
    }

    fn prune(&self, gone: &Arc<Endpoint>) {
        self.endpoints.lock().unwrap().retain(|endpoint| !Arc::ptr_eq(endpoint, gone));
    }

    fn next(&self) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.lock().unwrap();
        let eligible = |endpoint: &&Arc<Endpoint>| {
            endpoint.shunned.lock().unwrap().is_none_or(|since| since.elapsed() > INELIGIBLE)
        };
        let mut fit: Vec<_> = endpoints.iter().filter(eligible).collect();
        if fit.is_empty() {
            fit = endpoints.iter().collect();
        }
        let turn = self.turn.fetch_add(1, Relaxed);
        (!fit.is_empty()).then(|| Arc::clone(fit[turn % fit.len()]))
    }

    /// One request of a user, in up to three attempts; an error is one that the user sees.
    fn request(&self, path: &str, post: bool) -> Result<(), Lost> {
        let mut met = Vec::new();
        let lost = |why: String, met: Vec<String>| Lost { path: path.to_owned(), why, met };
        for _ in 0..3 {
            let Some(endpoint) = self.next() else { return Err(lost("no instance is left".to_owned(), met)) };
            match self.attempt(&endpoint, path, post) {
                Attempt::Answered => {
                    endpoint.answered.fetch_add(1, Relaxed);
                    return Ok(());
                }
                Attempt::Again(why) => met.push(why),
                Attempt::Lost(why) => return Err(lost(why, met)),
            }
            self.retries.fetch_add(1, Relaxed);
        }
        Err(lost("three attempts".to_owned(), met))
    }

    fn attempt(&self, endpoint: &Arc<Endpoint>, path: &str, post: bool) -> Attempt {
        let mut client = match self.connection(endpoint) {
            Ok(client) => client,
            Err(why) => return Attempt::Again(why),
        };
        let request = if post {
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        } else {
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
        };
        if let Err(error) = client.send(request.as_bytes()) {
            return Attempt::Again(format!("writing: {error}"));
        }
        match client.receive(ANSWER) {
            Ok(answer) if answer.starts_with(b"HTTP/1.1 200") => {
                endpoint.idle.lock().unwrap().push(client);
                Attempt::Answered
            }
            Ok(answer) => Attempt::Lost(format!("{:?}", String::from_utf8_lossy(&answer))),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && !post => Attempt::Again("EOF".to_owned()),
            Err(error) => Attempt::Lost(format!("POST {post}: reading: {error}")),
        }
    }

    /// An idle connection that is still good, the last used first, or a new one.
    fn connection(&self, endpoint: &Arc<Endpoint>) -> Result<Client, String> {
        loop {
            let Some(mut client) = endpoint.idle.lock().unwrap().pop() else { break };
            if is_open(&mut client) {
                return Ok(client);
            }
        }
        let tcp = TcpStream::connect(endpoint.addr).map_err(|error| {
            self.prune(endpoint);
            format!("dial: {error}")
        })?;
        tcp.set_nodelay(true).unwrap();
        endpoint.connector.handshake(tcp).map_err(|error| {
            match error.kind() {
                ErrorKind::ConnectionReset => *endpoint.shunned.lock().unwrap() = Some(Instant::now()),
                // The name is not the instance's: the retirement pair.
                ErrorKind::InvalidData => self.prune(endpoint),
                _ => {}
            }
            format!("handshake: {error}")
        })
    }
}

/// Whether nothing has come from the other side but what keeps a connection open.
fn is_open(client: &mut Client) -> bool {
    client.tcp.set_nonblocking(true).unwrap();
    let open = loop {
        match client.tls.read_tls(&mut client.tcp) {
            Ok(0) => break false,
            Ok(_) => match client.tls.process_new_packets() {
                Ok(state) if !state.peer_has_closed() => {}
                _ => break false,
            },
            Err(error) => break error.kind() == ErrorKind::WouldBlock,
        }
    };
    client.tcp.set_nonblocking(false).unwrap();
    open
}

struct Instance {
    sidecar: Sidecar,
    credentials: Credentials,
    endpoint: Arc<Endpoint>,
}

impl Instance {
    fn start(router: &Router, begun: &Path) -> Self {
        let credentials = Credentials::new();
        let sidecar =
            Setup::command(&["run", "--hide-app-port", "--hold-until-ready", "8s", "--listen", "127.0.0.1:0"])
                .arg("--")
                .arg("python3")
                .arg("-c")
                .arg(APP)
                .credentials(&credentials)
                .env("BEGUN", begun.to_str().unwrap())
                .env("VESTIBULE_APP_READY", "tcp")
                .env("VESTIBULE_LOG_LEVEL", "info")
                .ready();
        let endpoint = router.register(sidecar.addr(), credentials.instance());
        Self { sidecar, credentials, endpoint }
    }

    fn warm(&self) {
        eventually("answers from the new instance", || (self.endpoint.answered.load(Relaxed) >= WARM).then_some(()));
    }

    /// Stops it, after the platform's sign if `retired`; gives the time from TERM to the end.
    fn stop(mut self, retired: bool) -> Duration {
        if retired {
            self.credentials.spec = self.credentials.spec.retired();
            self.credentials.rotate();
            self.sidecar.wait_for("retirement certificate received; closing idle connections");
            thread::sleep(Duration::from_millis(700)); // the platform's pause, shortened
        }
        let began = Instant::now();
        self.sidecar.signal("TERM");
        assert_eq!(self.sidecar.exited().code(), Some(0));
        began.elapsed()
    }
}

#[test]
fn stopping_and_starting_instances_under_load_loses_no_request() {
    let long = std::env::var("VESTIBULE_ROLLING_STOPS").ok();
    let stops = long.as_ref().map_or(4, |stops| stops.parse().unwrap());
    let router = Arc::new(Router::default());
    let begun = tempfile::NamedTempFile::new().unwrap();
    let mut instances = vec![Instance::start(&router, begun.path()), Instance::start(&router, begun.path())];
    let done = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..USERS)
        .map(|user| {
            let (router, done) = (Arc::clone(&router), Arc::clone(&done));
            thread::spawn(move || {
                let (mut asked, mut errors, mut next) = (0_usize, Vec::new(), Instant::now());
                while !done.load(Relaxed) {
                    asked += 1;
                    errors.extend(router.request(&format!("/{user}/{asked}"), (asked + user) % 2 == 0).err());
                    next += EVERY;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                (asked, errors)
            })
        })
        .collect();
    instances.iter().for_each(Instance::warm);

    let mut slowest = Duration::ZERO;
    for stop in 0..stops {
        let fresh = Instance::start(&router, begun.path());
        fresh.warm();
        instances.push(fresh);
        slowest = slowest.max(instances.remove(0).stop(stop % 2 == 1));
    }
    done.store(true, Relaxed);
    let (mut asked, mut errors) = (0, Vec::new());
    for user in users {
        let (more, seen) = user.join().unwrap();
        asked += more;
        errors.extend(seen);
    }
    let retries = router.retries.load(Relaxed);
    println!("{asked} requests, {retries} retries, {} errors, {stops} stops, the slowest {slowest:?}", errors.len());
    let begun = std::fs::read_to_string(begun.path()).unwrap();
    let begun: HashSet<_> = begun.lines().collect();
    let (cut, crossed): (Vec<_>, Vec<_>) = errors.iter().partition(|lost| begun.contains(lost.path.as_str()));
    assert!(cut.is_empty(), "the app had begun {} of {asked} requests that failed: {cut:#?}", cut.len());
    // Beside a hundred other tests a client is held up between its look at an idle connection and its write; what we close
    // in that moment never reaches the app, and no proxy that does not speak HTTP can know. The long form runs alone, and
    // loses none.
    let bearable = if long.is_some() { 0 } else { asked / 50 };
    assert!(crossed.len() <= bearable, "{} of {asked} requests failed: {crossed:#?}", crossed.len());
    assert!(begun.len() > asked / 2, "the app has written down {} of {asked} requests", begun.len());
    assert!(retries > 0, "no stop was ever noticed, so nothing was tested");
    // How long a stop takes on a busy machine is for the bench; one that hangs is found.
    assert!(slowest < Duration::from_secs(50), "{slowest:?}");
}
