//! An app that speaks HTTP/1.1 by a script, and remembers what it was asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// One request, as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The head, with its last empty line.
    pub(crate) head: String,
    /// The body, as it was on the wire.
    pub(crate) body: Vec<u8>,
    /// On which connection, counted from 0.
    pub(crate) connection: usize,
}

/// What is sent back.
pub(crate) enum Reply {
    /// This, and the next request may come.
    Send(Vec<u8>),
    /// This, and then the end.
    SendAndClose(Vec<u8>),
    /// The connection is handed over to this.
    HandOver(fn(TcpStream)),
}

impl Reply {
    /// A whole response with this body.
    pub(crate) fn ok(body: &str) -> Self {
        Self::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    }
}

/// The app.
pub(crate) struct HttpApp {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl HttpApp {
    /// One that answers by `script`.
    pub(crate) fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Self { addr: listener.local_addr().unwrap(), asked: Arc::default() };
        let (asked, script, connections) = (Arc::clone(&app.asked), Arc::new(script), AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, script) = (Arc::clone(&asked), Arc::clone(&script));
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || serve(&stream.unwrap(), connection, &asked, &*script));
            }
        });
        app
    }

    /// One that hands over each connection behind the first head, whether a body follows or not.
    pub(crate) fn handing_over(to: fn(TcpStream)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Self { addr: listener.local_addr().unwrap(), asked: Arc::default() };
        let asked = Arc::clone(&app.asked);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (mut stream, asked) = (stream.unwrap(), Arc::clone(&asked));
                std::thread::spawn(move || {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        if !matches!(stream.read(&mut byte), Ok(1)) {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    asked.lock().unwrap().push(Asked { head, body: Vec::new(), connection });
                    to(stream);
                });
            }
        });
        app
    }

    /// One that answers each request with this body.
    pub(crate) fn saying(body: &'static str) -> Self {
        Self::start(move |_| Reply::ok(body))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: &TcpStream, connection: usize, all: &Mutex<Vec<Asked>>, script: &dyn Fn(&Asked) -> Reply) {
    let mut bytes = Vec::new();
    while let Some(mut asked) = read_request(stream, &mut bytes) {
        asked.connection = connection;
        all.lock().unwrap().push(asked.clone());
        match script(&asked) {
            Reply::Send(text) if stream.write_all(&text).is_ok() => {}
            Reply::Send(_) => return,
            Reply::SendAndClose(text) => {
                let _ = stream.write_all(&text);
                return;
            }
            Reply::HandOver(take) => return take(stream.try_clone().unwrap()),
        }
    }
}

/// The next request; `None` at the end.
fn read_request(mut stream: &TcpStream, bytes: &mut Vec<u8>) -> Option<Asked> {
    let mut more = |bytes: &mut Vec<u8>| {
        let mut space = [0; 4096];
        let read = stream.read(&mut space).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&space[..read]);
        Some(())
    };
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let end = loop {
        match find(bytes, b"\r\n\r\n") {
            Some(at) => break at + 4,
            None => more(bytes)?,
        }
    };
    let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let length = match (field("content-length"), field("transfer-encoding")) {
        (Some(length), _) => {
            let length = length.parse().unwrap();
            while bytes.len() < length {
                more(bytes)?;
            }
            length
        }
        // What follows would come on another connection.
        (None, Some(_)) => loop {
            if find(bytes, b"0\r\n").is_some() && bytes.ends_with(b"\r\n\r\n") {
                break bytes.len();
            }
            more(bytes)?;
        },
        (None, None) => 0,
    };
    let body = bytes.drain(..length).collect();
    Some(Asked { head, body, connection: 0 })
}
