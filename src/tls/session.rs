//! An established TLS session, driven by hand.
//!
//! rustls's unbuffered API decrypts in the caller's buffer and encrypts into the caller's buffer, so a session that is
//! idle holds no buffer at all. (rustls's buffered connection keeps 4 KiB for its next read.)

use std::ops::ControlFlow;
use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::NamedGroup;
use rustls::ProtocolVersion;
use rustls::ServerConfig;
use rustls::server::ServerConnectionData;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;
use rustls::unbuffered::EncodeError;
use rustls::unbuffered::EncryptError;
use rustls::unbuffered::UnbufferedStatus;
use rustls::unbuffered::WriteTraffic;

/// Bytes for the wire, in the order in which they must be sent. Keeps its memory when it is cleared.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Invariant: `len <= space.len()`; what lies behind `len` is scratch.
    space: Vec<u8>,
    len: usize,
}

impl Outgoing {
    /// Room for `capacity` bytes before it has to grow.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { space: vec![0; capacity], len: 0 }
    }

    /// What is to be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.space[..self.len]
    }

    /// Forgets the bytes, keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends what `write` puts into the free space; when that is too small, grows by what it asks for and calls again.
    fn put(&mut self, mut write: impl FnMut(&mut [u8]) -> Result<usize, Full>) -> Result<(), rustls::Error> {
        loop {
            match write(&mut self.space[self.len..]) {
                Ok(written) => {
                    self.len += written;
                    return Ok(());
                }
                Err(Full::Needs(required)) => self.space.resize(self.len + required, 0),
                Err(Full::Never(why)) => return Err(rustls::Error::General(why.to_owned())),
            }
        }
    }
}

enum Full {
    Needs(usize),
    Never(&'static str),
}

impl From<EncodeError> for Full {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(size) => Self::Needs(size.required_size),
            EncodeError::AlreadyEncoded => Self::Never("a record was encoded twice"),
        }
    }
}

impl From<EncryptError> for Full {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self::Needs(size.required_size),
            EncryptError::EncryptExhausted => Self::Never("the traffic keys are exhausted"),
        }
    }
}

/// What came of a run of records.
#[derive(Debug, Clone, Copy)]
pub struct Decrypted {
    /// Bytes at the front of the input that are done with. The rest must be handed in again, with more behind it.
    pub used: usize,
    /// The sink asked to stop; more records may be waiting in the rest.
    pub stopped: bool,
}

/// What the two sides agreed on.
#[derive(Debug, Clone)]
pub struct Negotiated {
    /// TLS 1.2 or 1.3.
    pub version: Option<ProtocolVersion>,
    /// The cipher suite's IANA name, as rustls writes it.
    pub suite: Option<rustls::CipherSuite>,
    /// The key exchange group; `None` on TLS 1.2 resumption.
    pub group: Option<NamedGroup>,
    /// The ALPN protocol, if one was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// Resumed from a ticket.
    pub resumed: bool,
}

impl Negotiated {
    /// `TLSv1_3`, as rustls names it.
    pub fn version_name(&self) -> Option<&'static str> {
        self.version.and_then(|version| version.as_str())
    }

    /// The cipher suite's name (IANA's, but for rustls's prefix `TLS13_`).
    pub fn suite_name(&self) -> Option<&'static str> {
        self.suite.and_then(|suite| suite.as_str())
    }

    /// The group's name.
    pub fn group_name(&self) -> Option<&'static str> {
        self.group.and_then(|group| group.as_str())
    }

    /// The ALPN protocol: one of the configured ones, so text.
    pub fn alpn_name(&self) -> Option<&str> {
        self.alpn.as_deref().and_then(|name| std::str::from_utf8(name).ok())
    }
}

/// One client's TLS session, server side.
pub struct Session {
    conn: Box<UnbufferedServerConnection>,
    client_closed: bool,
}

impl Session {
    /// A session that expects the ClientHello as its first input.
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self { conn: Box::new(UnbufferedServerConnection::new(config)?), client_closed: false })
    }

    /// Whether the client has sent close_notify: it will send nothing more, and what it sent is whole.
    pub fn client_closed(&self) -> bool {
        self.client_closed
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.conn.is_handshaking()
    }

    /// What the handshake agreed on.
    pub fn negotiated(&self) -> Negotiated {
        Negotiated {
            version: self.conn.protocol_version(),
            suite: self.conn.negotiated_cipher_suite().map(|suite| suite.suite()),
            group: self.conn.negotiated_key_exchange_group().map(|group| group.name()),
            alpn: self.conn.alpn_protocol().map(<[u8]>::to_vec),
            resumed: self.conn.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Decrypts the records at the front of `wire`, in place, handing each one's plaintext to `sink` until it breaks.
    /// What the protocol itself wants to answer (alerts, key updates) is appended to `out`.
    ///
    /// # Errors
    /// When the client breaks the protocol; the alert that tells it so is in `out`.
    pub fn decrypt(
        &mut self,
        wire: &mut [u8],
        out: &mut Outgoing,
        sink: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Decrypted, rustls::Error> {
        let (used, rest) = self.drive(wire, out, sink, |_, _| Ok(()))?;
        Ok(Decrypted { used, stopped: rest.is_none() })
    }

    /// Encrypts `plaintext` to `out`, in records of at most 16 KiB.
    ///
    /// `held` is what [`Session::decrypt`] has left: rustls must see it again. Records in it that are complete by now are
    /// decrypted on the way and handed to `sink`; the number of bytes done with is returned.
    ///
    /// # Errors
    /// When the client broke the protocol, or the keys are exhausted.
    pub fn encrypt(
        &mut self,
        held: &mut [u8],
        plaintext: &[u8],
        out: &mut Outgoing,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<usize, rustls::Error> {
        self.write(held, out, &mut sink, |traffic, space| Ok(traffic.encrypt(plaintext, space)?))
    }

    /// Appends close_notify to `out`: what was sent is whole. `held` and `sink` as in [`Session::encrypt`].
    ///
    /// # Errors
    /// As [`Session::encrypt`].
    pub fn close(
        &mut self,
        held: &mut [u8],
        out: &mut Outgoing,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<usize, rustls::Error> {
        self.write(held, out, &mut sink, |traffic, space| Ok(traffic.queue_close_notify(space)?))
    }

    fn write(
        &mut self,
        held: &mut [u8],
        out: &mut Outgoing,
        sink: &mut impl FnMut(&[u8]),
        mut put: impl FnMut(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, Full>,
    ) -> Result<usize, rustls::Error> {
        let keep_all = |payload: &[u8]| {
            sink(payload);
            ControlFlow::Continue(())
        };
        let (used, _) = self.drive(held, out, keep_all, |traffic, out| match traffic {
            Some(mut traffic) => out.put(|space| put(&mut traffic, space)),
            None => Ok(()),
        })?;
        Ok(used)
    }

    /// Lets rustls work until it rests: it wants more input, or has nothing to say. Then calls `rest`, with the right to
    /// encrypt if there is one. `None` instead of its answer when the sink broke off before that.
    pub(super) fn drive<T>(
        &mut self,
        wire: &mut [u8],
        out: &mut Outgoing,
        mut sink: impl FnMut(&[u8]) -> ControlFlow<()>,
        rest: impl FnOnce(Option<WriteTraffic<'_, ServerConnectionData>>, &mut Outgoing) -> Result<T, rustls::Error>,
    ) -> Result<(usize, Option<T>), rustls::Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.conn.process_tls_records(&mut wire[used..]);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    let mut flow = ControlFlow::Continue(());
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        flow = sink(record.payload);
                    }
                    if flow.is_break() {
                        return Ok((used + discard, None));
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut record)) => out.put(|space| Ok(record.encode(space)?))?,
                // `out` is the caller's to send, in order: for rustls that is as good as sent.
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                Ok(ConnectionState::PeerClosed) => self.client_closed = true,
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    return Ok((used + discard, Some(rest(Some(traffic), out)?)));
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                    return Ok((used + discard, Some(rest(None, out)?)));
                }
                Ok(_) => return Err(rustls::Error::General("0-RTT data, which is not offered".to_owned())),
                Err(error) => {
                    used += discard;
                    self.take_alert(&mut wire[used..], out)?;
                    return Err(error);
                }
            }
            used += discard;
        }
    }

    /// After an error rustls still holds the alert that explains it to the client. No more than that may be asked of it:
    /// it would look at the offending record once more, and assert that it has sent its alert already.
    fn take_alert(&mut self, wire: &mut [u8], out: &mut Outgoing) -> Result<(), rustls::Error> {
        while self.conn.wants_write() {
            let Ok(ConnectionState::EncodeTlsData(mut record)) = self.conn.process_tls_records(wire).state else {
                return Ok(());
            };
            out.put(|space| Ok(record.encode(space)?))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("client_closed", &self.client_closed).finish_non_exhaustive()
    }
}
