//! The two sessions that are compared, each of which may be the server's or the client's.

use super::*;

/// One side of a conversation.
pub(super) trait SessionSubject {
    /// Whether it says that the app has said everything.
    const CLOSES: bool;

    /// Takes what arrives. Gives what there is to say to it; a client has something to say to nothing.
    fn arrive(&mut self, wire: &[u8], chance: &mut Xorshift64) -> Vec<u8>;

    /// The app says something.
    fn answer(&mut self, bytes: &[u8]) -> Vec<u8>;

    /// The app has said everything.
    fn close(&mut self) -> Vec<u8>;

    fn end(&self) -> SessionEnd;

    /// What the app has got.
    fn into_received(self) -> Vec<u8>;
}

/// Ours, behind a handshake as `C` makes it.
pub(super) struct OurSession<C> {
    driver: Option<HandshakeDriver<C>>,
    session: Option<Session>,
    /// What has arrived and is not done with.
    held: Vec<u8>,
    received: Vec<u8>,
    refused: bool,
}

impl OurSession<UnbufferedServerConnection> {
    pub(super) fn server(config: &Arc<ServerConfig>) -> Self {
        Self::begin(HandshakeDriver::with_client(Arc::clone(config), None).unwrap())
    }
}

impl OurSession<UnbufferedClientConnection> {
    pub(super) fn client(config: &Arc<ClientConfig>) -> Self {
        Self::begin(HandshakeDriver::with_server(Arc::clone(config), SERVER_NAME.clone()).unwrap())
    }
}

impl<C> OurSession<C> {
    fn begin(driver: HandshakeDriver<C>) -> Self {
        Self { driver: Some(driver), session: None, held: Vec::new(), received: Vec::new(), refused: false }
    }
}

impl<C: HandshakeSide> SessionSubject for OurSession<C> {
    const CLOSES: bool = true;

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
            let received = &mut self.received;
            let decrypted = session.decrypt(&mut self.held, &mut out, |payload| {
                received.extend_from_slice(payload);
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
        // Later where the peer is slow to read.
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

    fn end(&self) -> SessionEnd {
        match &self.session {
            _ if self.refused => SessionEnd::Refused,
            Some(session) if session.peer_closed() => SessionEnd::Closed,
            _ => SessionEnd::Open,
        }
    }

    fn into_received(self) -> Vec<u8> {
        self.received
    }
}

/// rustls's own.
pub(super) struct RustlsSession {
    conn: Connection,
    received: Vec<u8>,
    end: SessionEnd,
}

impl RustlsSession {
    pub(super) fn server(config: &Arc<ServerConfig>) -> Self {
        Self::begin(ServerConnection::new(Arc::clone(config)).unwrap().into())
    }

    pub(super) fn client(config: &Arc<ClientConfig>) -> Self {
        Self::begin(ClientConnection::new(Arc::clone(config), SERVER_NAME.clone()).unwrap().into())
    }

    fn begin(mut conn: Connection) -> Self {
        conn.set_buffer_limit(None);
        Self { conn, received: Vec::new(), end: SessionEnd::Open }
    }

    fn said(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut said).unwrap();
        }
        said
    }
}

impl SessionSubject for RustlsSession {
    /// rustls asserts, where assertions are compiled in, that it has not sent close_notify when it refuses something.
    const CLOSES: bool = false;

    fn arrive(&mut self, mut wire: &[u8], _: &mut Xorshift64) -> Vec<u8> {
        while !wire.is_empty() && self.end == SessionEnd::Open {
            if self.conn.read_tls(&mut wire).unwrap() == 0 {
                break;
            }
            match self.conn.process_new_packets() {
                Ok(state) => {
                    let start = self.received.len();
                    self.received.resize(start + state.plaintext_bytes_to_read(), 0);
                    self.conn.reader().read_exact(&mut self.received[start..]).unwrap();
                    if state.peer_has_closed() {
                        self.end = SessionEnd::Closed;
                    }
                }
                Err(_) => {
                    // What came before it in the same read is as good as before.
                    let mut rest = Vec::new();
                    let _ = self.conn.reader().read_to_end(&mut rest);
                    self.received.extend(rest);
                    self.end = SessionEnd::Refused;
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

    fn end(&self) -> SessionEnd {
        self.end
    }

    fn into_received(self) -> Vec<u8> {
        self.received
    }
}
