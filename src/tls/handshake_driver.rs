//! The handshake as rustls conducts it, driven by hand.
//!
//! rustls's unbuffered API reads from the caller's buffer and writes into the caller's buffer, so that nothing is copied to
//! be held. What it has negotiated becomes a [`Session`], and rustls's own state of the connection is gone.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{AlertDescription, ClientConfig, CommonState, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig};

use crate::io::Outgoing;
use crate::tls::hello_reader::fatal_alert;
use crate::tls::server_name::MaskedServerNames;
use crate::tls::{Session, record_length};

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
    /// What the handshake of `connection`, which is complete, has agreed on.
    fn of(connection: &CommonState) -> Self {
        Self {
            version: connection.protocol_version(),
            suite: connection.negotiated_cipher_suite().map(|suite| suite.suite()),
            group: connection.negotiated_key_exchange_group().map(|group| group.name()),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

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

/// A side of a handshake, as rustls conducts it.
pub(super) trait HandshakeSide {
    /// rustls's own, of this side.
    type Data;

    /// What both sides have in common.
    fn common(&self) -> &CommonState;

    /// Whether what this side sends may be sealed by now, with keys that nobody but rustls has.
    fn is_sealed(&self) -> bool;

    /// Lets rustls work on `records`.
    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// The session that the handshake, which is complete, leads to.
    fn into_session(self) -> Result<Session, rustls::Error>;
}

impl HandshakeSide for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn common(&self) -> &CommonState {
        self
    }

    /// In TLS 1.2 a server's first sealed record is its Finished, behind which nothing is missing; where it resumes, it goes first.
    fn is_sealed(&self) -> bool {
        self.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            || self.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }

    fn into_session(self) -> Result<Session, rustls::Error> {
        Session::with_client(self)
    }
}

impl HandshakeSide for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn common(&self) -> &CommonState {
        self
    }

    /// Before the ServerHello nothing is.
    fn is_sealed(&self) -> bool {
        self.protocol_version().is_some()
    }

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }

    fn into_session(self) -> Result<Session, rustls::Error> {
        Session::with_server(self)
    }
}

/// One handshake, of the side `C`.
pub(super) struct HandshakeDriver<C> {
    conn: Box<C>,
    peer_closed: bool,
    /// Bytes at the front of the wire that rustls has been given and wants to see again: whole records, which hold the beginning
    /// of a message.
    given: usize,
    /// The server name, where rustls would not take it from a client.
    hidden_name: Option<MaskedServerNames>,
}

impl HandshakeDriver<UnbufferedServerConnection> {
    /// A handshake with a client, which expects the ClientHello as its first input.
    pub(super) fn with_client(
        config: Arc<ServerConfig>,
        hidden_name: Option<MaskedServerNames>,
    ) -> Result<Self, rustls::Error> {
        let conn = Box::new(UnbufferedServerConnection::new(config)?);
        Ok(Self { conn, peer_closed: false, given: 0, hidden_name })
    }
}

impl HandshakeDriver<UnbufferedClientConnection> {
    /// A handshake with the server `name`, which has the ClientHello to send before there is any input.
    pub(super) fn with_server(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, rustls::Error> {
        let conn = Box::new(UnbufferedClientConnection::new(config, name)?);
        Ok(Self { conn, peer_closed: false, given: 0, hidden_name: None })
    }
}

impl<C: HandshakeSide> HandshakeDriver<C> {
    /// Whether both Finished have not been exchanged yet.
    pub(super) fn is_under_way(&self) -> bool {
        self.conn.common().is_handshaking()
    }

    /// Whether the peer has sent close_notify.
    pub(super) fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Lets rustls work on `wire`, which begins where the bytes done with ended, until it wants more of it; gives the bytes done
    /// with. What it wants to be sent is appended to `out`.
    ///
    /// rustls is given one record after the other and none behind the peer's Finished: it would read on, answer what stands
    /// there and move its keys, and the session that takes over from it would know nothing of that.
    ///
    /// # Errors
    /// When the handshake cannot go on; the alert that tells the peer so is in `out`.
    pub(super) fn drive(&mut self, wire: &mut [u8], out: &mut Outgoing) -> Result<usize, rustls::Error> {
        let (mut used, mut given) = (0, self.given);
        loop {
            if self.expects_hidden_name()
                && self.hidden_name.as_mut().is_some_and(|name| name.hide(&mut wire[given..]).is_err())
            {
                self.given = given - used;
                return Ok(used);
            }
            let (length, whole) = first_record(&wire[given..]);
            used += self.process(&mut wire[used..given + length], out)?;
            if whole {
                given += length;
            }
            if !whole || given == wire.len() || !self.is_under_way() || self.peer_closed {
                self.given = given - used;
                return Ok(used);
            }
        }
    }

    /// Whether a second ClientHello is to come, with the name that was hidden in the first one.
    fn expects_hidden_name(&self) -> bool {
        self.hidden_name.as_ref().is_some_and(MaskedServerNames::is_first_alone)
            && self.conn.common().handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest)
    }

    /// Lets rustls work on these records, of which the last may not be whole; gives the bytes done with.
    fn process(&mut self, records: &mut [u8], out: &mut Outgoing) -> Result<usize, rustls::Error> {
        let _hashing = self.hidden_name.as_ref().map(MaskedServerNames::in_force);
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.conn.process(&mut records[used..]);
            used += discard;
            match state {
                Ok(ConnectionState::EncodeTlsData(mut record)) => out.encode(|space| record.encode(space))?,
                // `out` is the caller's to send, in order: for rustls that is as good as sent.
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                    return Ok(used);
                }
                Ok(_) => return Err(rustls::Error::General("data before Finished, which is not offered".to_owned())),
                Err(error) => {
                    let before = out.bytes().len();
                    self.take_alert(&mut records[used..], out)?;
                    if out.bytes().len() == before {
                        self.write_missing_alert(&error, out);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// After an error rustls still holds the alert that explains it to the peer. No more than that may be asked of it:
    /// it would look at the offending record once more, and assert that it has sent its alert already.
    fn take_alert(&mut self, wire: &mut [u8], out: &mut Outgoing) -> Result<(), rustls::Error> {
        while self.conn.common().wants_write() {
            let Ok(ConnectionState::EncodeTlsData(mut record)) = self.conn.process(wire).state else {
                return Ok(());
            };
            out.encode(|space| record.encode(space))?;
        }
        Ok(())
    }

    /// rustls has no alert for some errors, such as too many warnings, or a record of another kind between the parts of a message.
    /// As long as nothing is sealed it can be written in its place.
    fn write_missing_alert(&self, error: &rustls::Error, out: &mut Outgoing) {
        let description = match error {
            // An alert is not answered.
            rustls::Error::AlertReceived(_) => return,
            rustls::Error::PeerMisbehaved(_) => AlertDescription::UnexpectedMessage,
            _ => AlertDescription::HandshakeFailure,
        };
        if !self.conn.is_sealed() {
            let alert = fatal_alert(description);
            out.extend(alert.len()).copy_from_slice(&alert);
        }
    }

    /// The certificates that the peer has shown in the session that is resumed, leaf first.
    pub(super) fn resumed_chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        let resumed = self.conn.common().handshake_kind() == Some(HandshakeKind::Resumed);
        self.peer_chain().filter(|_| resumed).map(<[_]>::to_vec)
    }

    /// The certificates that the peer has shown, leaf first, be it in the session that is resumed.
    pub(super) fn peer_chain(&self) -> Option<&[CertificateDer<'static>]> {
        self.conn.common().peer_certificates()
    }

    /// Bytes of the peer's chain, which what makes the session's next keys keeps.
    pub(super) fn chain_bytes(&self) -> usize {
        self.peer_chain().into_iter().flatten().map(|certificate| certificate.len()).sum()
    }

    /// What was agreed on, and the session that it leads to.
    ///
    /// # Errors
    /// The handshake is still under way, or rustls does not give the keys away.
    pub(super) fn finish(self) -> Result<(Negotiated, Session), rustls::Error> {
        let Self { conn, .. } = self;
        Ok((Negotiated::of(conn.common()), conn.into_session()?))
    }
}

/// The length of the first record in `wire`, and whether it is whole there; all of `wire` if it is not.
fn first_record(wire: &[u8]) -> (usize, bool) {
    match record_length(wire) {
        Some(length) if length <= wire.len() => (length, true),
        _ => (wire.len(), false),
    }
}
