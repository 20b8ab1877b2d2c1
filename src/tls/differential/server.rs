//! The two servers that are compared.

use super::*;

/// A server's side of a conversation.
pub(super) trait Server {
    /// Whether it says that the app has said everything.
    const CLOSES: bool;

    fn new(config: &Arc<ServerConfig>) -> Self;

    /// Takes what arrives. Gives what there is to say to it.
    fn arrive(&mut self, wire: &[u8], chance: &mut Xorshift64) -> Vec<u8>;

    /// The app says something.
    fn answer(&mut self, bytes: &[u8]) -> Vec<u8>;

    /// The app has said everything.
    fn close(&mut self) -> Vec<u8>;

    fn end(&self) -> End;

    fn upload(self) -> Vec<u8>;
}

pub(super) struct OurServer {
    driver: Option<HandshakeDriver<rustls::server::UnbufferedServerConnection>>,
    session: Option<Session>,
    /// What has arrived and is not done with.
    held: Vec<u8>,
    upload: Vec<u8>,
    refused: bool,
}

impl Server for OurServer {
    const CLOSES: bool = true;

    fn new(config: &Arc<ServerConfig>) -> Self {
        let driver = Some(HandshakeDriver::with_client(Arc::clone(config), None).unwrap());
        Self { driver, session: None, held: Vec::new(), upload: Vec::new(), refused: false }
    }

    fn arrive(&mut self, wire: &[u8], chance: &mut Xorshift64) -> Vec<u8> {
        self.held.extend_from_slice(wire);
        let mut out = Outgoing::default();
        if let Some(mut driver) = self.driver.take() {
            let used = driver.drive(&mut self.held, &mut out).unwrap();
            self.held.drain(..used);
            if driver.is_under_way() {
                self.driver = Some(driver);
                return out.bytes().to_vec();
            }
            self.session = Some(driver.finish().unwrap().1);
        }
        let Some(session) = &mut self.session else { return out.bytes().to_vec() };
        while !self.refused {
            let upload = &mut self.upload;
            let decrypted = session.decrypt(&mut self.held, &mut out, |payload| {
                upload.extend_from_slice(payload);
                // As when the app takes no more for now.
                if chance.below(4) == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match decrypted {
                Ok(decrypted) => {
                    self.held.drain(..decrypted.used);
                    if !decrypted.paused {
                        break;
                    }
                }
                Err(_) => self.refused = true,
            }
        }
        // Later where the client is slow to read.
        if chance.below(2) == 0 {
            session.write_key_update(&mut out).unwrap();
        }
        out.bytes().to_vec()
    }

    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Outgoing::default();
        self.session.as_mut().unwrap().encrypt(bytes, &mut out).unwrap();
        out.bytes().to_vec()
    }

    fn close(&mut self) -> Vec<u8> {
        let mut out = Outgoing::default();
        self.session.as_mut().unwrap().close_notify(&mut out).unwrap();
        out.bytes().to_vec()
    }

    fn end(&self) -> End {
        match &self.session {
            _ if self.refused => End::Refused,
            Some(session) if session.peer_closed() => End::Closed,
            _ => End::Open,
        }
    }

    fn upload(self) -> Vec<u8> {
        self.upload
    }
}

/// rustls's own.
pub(super) struct RustlsServer {
    conn: ServerConnection,
    upload: Vec<u8>,
    end: End,
}

impl RustlsServer {
    fn said(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut said).unwrap();
        }
        said
    }
}

impl Server for RustlsServer {
    /// rustls asserts, where assertions are compiled in, that it has not sent close_notify when it refuses something.
    const CLOSES: bool = false;

    fn new(config: &Arc<ServerConfig>) -> Self {
        let mut conn = ServerConnection::new(Arc::clone(config)).unwrap();
        conn.set_buffer_limit(None);
        Self { conn, upload: Vec::new(), end: End::Open }
    }

    fn arrive(&mut self, mut wire: &[u8], _: &mut Xorshift64) -> Vec<u8> {
        while !wire.is_empty() && self.end == End::Open {
            if self.conn.read_tls(&mut wire).unwrap() == 0 {
                break;
            }
            match self.conn.process_new_packets() {
                Ok(state) => {
                    let start = self.upload.len();
                    self.upload.resize(start + state.plaintext_bytes_to_read(), 0);
                    self.conn.reader().read_exact(&mut self.upload[start..]).unwrap();
                    if state.peer_has_closed() {
                        self.end = End::Closed;
                    }
                }
                Err(_) => {
                    // What came before it in the same read is as good as before.
                    let mut rest = Vec::new();
                    let _ = self.conn.reader().read_to_end(&mut rest);
                    self.upload.extend(rest);
                    self.end = End::Refused;
                }
            }
        }
        self.said()
    }

    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.conn.writer().write_all(bytes).unwrap();
        self.said()
    }

    fn close(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn end(&self) -> End {
        self.end
    }

    fn upload(self) -> Vec<u8> {
        self.upload
    }
}
