//! The client's end of a connection: writes and is read at the same time, so that a flood of answers blocks nobody.

use std::io;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustls::ClientConnection;

use crate::support::TEST_TIMEOUT;
use crate::support::client::{Client, Ending};

/// A connection, in plaintext or inside TLS.
pub(super) struct Wire {
    tls: Option<Arc<Mutex<ClientConnection>>>,
    tcp: TcpStream,
    arriving: Receiver<Arrival>,
    /// What came and was not taken yet.
    pub(super) bytes: Vec<u8>,
    /// How the other side's sending ended.
    pub(super) ended: Option<Ending>,
}

enum Arrival {
    Bytes(Vec<u8>),
    End(Ending),
}

/// What waiting for more came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum More {
    Bytes,
    Ended,
    /// Nothing in time.
    Nothing,
}

impl Wire {
    /// Plaintext to this address.
    pub(super) fn plain(addr: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(addr)?;
        tcp.set_nodelay(true)?;
        tcp.set_write_timeout(Some(TEST_TIMEOUT))?;
        Self::new(None, tcp)
    }

    /// What goes on inside a session whose handshake is complete.
    pub(super) fn tls(client: Client) -> io::Result<Self> {
        client.tcp.set_read_timeout(None)?;
        Self::new(Some(Arc::new(Mutex::new(client.tls))), client.tcp)
    }

    fn new(tls: Option<Arc<Mutex<ClientConnection>>>, tcp: TcpStream) -> io::Result<Self> {
        let (arrived, arriving) = channel();
        let (reader, session) = (tcp.try_clone()?, tls.clone());
        std::thread::spawn(move || {
            let ending = match session {
                Some(session) => read_tls(reader, &session, &arrived),
                None => read_plain(reader, &arrived),
            };
            // Whoever is gone need not know.
            let _ = arrived.send(Arrival::End(ending));
        });
        Ok(Self { tls, tcp, arriving, bytes: Vec::new(), ended: None })
    }

    /// Sends all of it.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &self.tls else { return (&self.tcp).write_all(bytes) };
        for part in bytes.chunks(16 * 1024) {
            let mut records = Vec::new();
            {
                let mut tls = tls.lock().unwrap();
                tls.writer().write_all(part)?;
                while tls.wants_write() {
                    tls.write_tls(&mut records)?;
                }
            }
            (&self.tcp).write_all(&records)?;
        }
        Ok(())
    }

    /// Waits for more until `deadline`.
    pub(super) fn more(&mut self, deadline: Instant) -> More {
        if self.ended.is_some() {
            return More::Ended;
        }
        match self.arriving.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Arrival::Bytes(bytes)) => {
                self.bytes.extend(bytes);
                More::Bytes
            }
            Ok(Arrival::End(ending)) => {
                self.ended = Some(ending);
                More::Ended
            }
            Err(RecvTimeoutError::Timeout) => More::Nothing,
            Err(RecvTimeoutError::Disconnected) => panic!("the reader ended without a word"),
        }
    }

    /// Whether what came is all that was meant to come.
    pub(super) fn ended_cleanly(&self) -> bool {
        match self.ended {
            Some(Ending::CloseNotify) => true,
            Some(Ending::Fin) => self.tls.is_none(),
            Some(Ending::Reset) | None => false,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The reader's half is the same socket: it ends as well.
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}

fn read_plain(mut tcp: TcpStream, arrived: &Sender<Arrival>) -> Ending {
    let mut space = vec![0; 64 * 1024];
    loop {
        match tcp.read(&mut space) {
            Ok(0) => return Ending::Fin,
            Ok(n) if arrived.send(Arrival::Bytes(space[..n].to_vec())).is_ok() => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return Ending::Reset,
        }
    }
}

fn read_tls(mut tcp: TcpStream, session: &Mutex<ClientConnection>, arrived: &Sender<Arrival>) -> Ending {
    let mut space = vec![0; 64 * 1024];
    // What came with the handshake's last flight is in the session already.
    let mut received = 0;
    loop {
        let mut rest = &space[..received];
        loop {
            let mut tls = session.lock().unwrap();
            if !rest.is_empty() && tls.read_tls(&mut rest).is_err() {
                return Ending::Reset;
            }
            let Ok(state) = tls.process_new_packets() else { return Ending::Reset };
            let mut bytes = vec![0; state.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut bytes).unwrap();
            if !bytes.is_empty() && arrived.send(Arrival::Bytes(bytes)).is_err() {
                return Ending::Reset;
            }
            if state.peer_has_closed() {
                return Ending::CloseNotify;
            }
            if rest.is_empty() {
                break;
            }
        }
        received = match tcp.read(&mut space) {
            Ok(0) => return Ending::Fin,
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(_) => return Ending::Reset,
        };
    }
}
