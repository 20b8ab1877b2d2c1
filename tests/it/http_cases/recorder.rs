//! The app of the cases: reads strictly, records everything, and answers as it is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::message::{self, Request};
use super::within;
use crate::support::client::Ending;
use crate::support::eventually;

/// The Host of the request that follows a case, to see whether its connection can still be used.
pub(super) const AFTERWARDS: &str = "afterwards.test";

/// The body of the answer to it.
pub(super) const AFTER: &str = "after";

/// How long the connections to the app may outlive that of their client.
const LAST: Duration = Duration::from_secs(5);

/// What the app answers.
#[derive(Debug, Clone)]
pub(super) enum Script {
    /// 200 and `ok`.
    Ok,
    /// These bytes to the first request of a case, and then, if it `closes`, the end of the connection 150 ms later.
    Bytes { bytes: Vec<u8>, closes: bool },
}

/// A connection to the app.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    peer: SocketAddr,
    /// All that was read.
    pub(super) bytes: Vec<u8>,
    /// The whole requests among it.
    pub(super) requests: Vec<Request>,
    /// What no server would have to understand.
    pub(super) fault: Option<String>,
    /// How the proxy ended it, or that the app did.
    ended: Option<End>,
    /// How many bytes the whole requests took.
    read: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Theirs(Ending),
    Ours,
}

/// The app.
pub(super) struct Recorder {
    addr: SocketAddr,
    connections: Connections,
    script: Arc<Mutex<Script>>,
}

type Connections = Arc<Mutex<Vec<Arc<Mutex<Recorded>>>>>;

impl Recorded {
    fn from(peer: SocketAddr) -> Self {
        Self { peer, bytes: Vec::new(), requests: Vec::new(), fault: None, ended: None, read: 0 }
    }

    /// A connection on which this came.
    pub(super) fn of(text: &str) -> Self {
        let mut record = Self::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        record.bytes = text.as_bytes().to_vec();
        while record.next_request().is_some() {}
        record
    }

    /// Whether it ended in the middle of a request.
    pub(super) fn is_cut(&self) -> bool {
        self.read < self.bytes.len()
    }
}

impl Recorder {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder = Self {
            addr: listener.local_addr().unwrap(),
            connections: Connections::default(),
            script: Arc::new(Mutex::new(Script::Ok)),
        };
        let (connections, script) = (Arc::clone(&recorder.connections), Arc::clone(&recorder.script));
        std::thread::spawn(move || {
            loop {
                // Asked later, it is not known any more of one that was reset.
                let (stream, peer) = listener.accept().unwrap();
                let record = Arc::new(Mutex::new(Recorded::from(peer)));
                connections.lock().unwrap().push(Arc::clone(&record));
                let script = Arc::clone(&script);
                std::thread::spawn(move || serve(stream, &record, &script));
            }
        });
        recorder
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What is answered from now on.
    pub(super) fn answer(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// What was recorded since the last time, once all of it is over; the client has closed its connection. The second is
    /// what was not over in time.
    pub(super) fn take(&self) -> (Vec<Recorded>, Option<String>) {
        // The queue keeps its order: whoever was before the marker in it has been accepted with it.
        let marker = TcpStream::connect(self.addr).unwrap();
        let addr = marker.local_addr().unwrap();
        let is_there = || {
            let connections = self.connections.lock().unwrap();
            connections.iter().any(|record| record.lock().unwrap().peer == addr).then_some(())
        };
        eventually("the marker", is_there);
        drop(marker);
        let connections = std::mem::take(&mut *self.connections.lock().unwrap());
        let lasting = || connections.iter().filter(|record| record.lock().unwrap().ended.is_none()).count();
        let late = within(LAST, || (lasting() == 0).then_some(())).is_none();
        let late = late.then(|| format!("{} connections to the app outlast the client's by {LAST:?}", lasting()));
        let records = connections.iter().map(|record| record.lock().unwrap().clone());
        let records = records.filter(|record| record.peer != addr).collect();
        (records, late)
    }
}

fn serve(mut stream: TcpStream, record: &Mutex<Recorded>, script: &Mutex<Script>) {
    let end = conversation(&mut stream, record, script);
    record.lock().unwrap().ended = Some(end);
}

fn conversation(stream: &mut TcpStream, record: &Mutex<Recorded>, script: &Mutex<Script>) -> End {
    let mut space = vec![0; 64 * 1024];
    let mut closes_at = None::<Instant>;
    loop {
        let patience = closes_at.map(|at| at.saturating_duration_since(Instant::now()));
        if patience.is_some_and(|patience| patience.is_zero()) {
            return End::Ours;
        }
        stream.set_read_timeout(patience).unwrap();
        let read = match stream.read(&mut space) {
            Ok(0) => return End::Theirs(Ending::Fin),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return End::Theirs(Ending::Reset),
        };
        record.lock().unwrap().bytes.extend_from_slice(&space[..read]);
        loop {
            let Some(request) = record.lock().unwrap().next_request() else { break };
            let script = script.lock().unwrap().clone();
            let answer = match script {
                _ if message::values(&request.fields, "host") == [AFTERWARDS] => ok(AFTER),
                Script::Ok => ok("ok"),
                Script::Bytes { bytes, closes } => {
                    closes_at = closes.then(|| Instant::now() + Duration::from_millis(150));
                    bytes
                }
            };
            if stream.write_all(&answer).is_err() {
                return End::Theirs(Ending::Reset);
            }
        }
        if record.lock().unwrap().fault.is_some() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return End::Ours;
        }
    }
}

impl Recorded {
    fn next_request(&mut self) -> Option<Request> {
        match message::request(&self.bytes[self.read..]) {
            Ok(Some((request, length))) => {
                self.read += length;
                self.requests.push(request.clone());
                Some(request)
            }
            Ok(None) => None,
            Err(fault) => {
                self.fault = Some(fault);
                None
            }
        }
    }
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
