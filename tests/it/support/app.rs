//! The app behind the sidecar, as a test wants it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use super::TEST_TIMEOUT;

/// An app on a free port that hands each connection to the test.
pub(crate) struct App {
    addr: SocketAddr,
    connections: mpsc::Receiver<TcpStream>,
}

impl App {
    /// Accepts; the test does the rest.
    pub(crate) fn start() -> Self {
        let (listener, addr) = listen();
        let (hand_over, connections) = mpsc::channel();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if hand_over.send(connection.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { addr, connections }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> TcpStream {
        let connection = self.connections.recv_timeout(TEST_TIMEOUT).expect("a connection to the app");
        connection.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        connection.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
        connection
    }

    /// How many connections have reached the app that the test has not accepted. Connects itself and counts those before
    /// it in the queue, so that none can still be on its way.
    pub(crate) fn unaccepted(&self) -> usize {
        let marker = TcpStream::connect(self.addr).unwrap();
        let marker = marker.local_addr().unwrap();
        (0..).find(|_| self.accept().peer_addr().is_ok_and(|peer| peer == marker)).unwrap()
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

/// An address on which nobody listens, and on which an app may. It lies outside of the range that the kernel takes ports
/// from by itself (ip(7), `ip_local_port_range`), and no two tests are given the same one.
pub(crate) fn nobody() -> SocketAddr {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let nth = std::process::id().wrapping_mul(37).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(nth % 20_000).unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}
