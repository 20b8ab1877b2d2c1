//! The app behind the sidecar, as a test wants it.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use super::PATIENCE;

/// An app on a free port that hands each connection to the test.
pub(crate) struct App {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    connections: mpsc::Receiver<TcpStream>,
}

impl App {
    /// Accepts; the test does the rest.
    pub(crate) fn start() -> Self {
        let (listener, addr) = listen();
        let (hand_over, connections) = mpsc::channel();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                if hand_over.send(connection.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { addr, accepted, connections }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> TcpStream {
        let connection = self.connections.recv_timeout(PATIENCE).expect("a connection to the app");
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection.set_write_timeout(Some(PATIENCE)).unwrap();
        connection
    }

    /// Connections that have reached the app.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// An app that sends back what it gets, on every connection, until the client ends its sending.
pub(crate) fn echo() -> SocketAddr {
    let (listener, addr) = listen();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            std::thread::spawn(move || {
                let mut space = vec![0; 64 * 1024];
                while let Ok(n) = connection.read(&mut space) {
                    if n == 0 || connection.write_all(&space[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

/// An address on which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    listen().1
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}
