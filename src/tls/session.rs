//! An established TLS session: what is sealed and opened, and the little that the protocol still says by itself.
//!
//! After the handshake that is close_notify, alerts, and new keys. It is done here and not by rustls's connection, which keeps
//! buffers and the state of a handshake for ever, and copies what it seals twice. The keys, and those that follow them, are
//! rustls's.

mod kernel;

use std::mem;
use std::ops::ControlFlow;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, ContentType, ExtractedSecrets, SupportedCipherSuite};

use self::kernel::{Kernel, ServerMessages};
use crate::io::Outgoing;
use crate::tls::record::{KeyLimitReached, MAX_FRAGMENT, Opener, Record, Sealer};

/// How many alerts that end nothing a peer may send.
const WARNINGS: u8 = 4;

/// How many key updates in a row a peer may send while no data is sent by either side: each costs the making of keys.
const UPDATES_WITHOUT_DATA: u8 = 32;

/// The start of a message that announces new keys (RFC 8446, 4.6.3): its type, and its length of one byte.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

/// In TLS 1.2, a server's wish to begin anew (RFC 5246, 7.4.1.1).
const HELLO_REQUEST: [u8; 4] = [0; 4];

/// The type of a ClientHello, and its length with the type (RFC 5246, 7.4).
const CLIENT_HELLO: u8 = 1;
const HELLO_HEADER: u8 = 4;

/// More bytes than that are no ClientHello.
const LONGEST_HELLO: u32 = 0xffff;

/// In TLS 1.2, an alert that ends nothing (RFC 5246, 7.2).
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// The peer broke the protocol, or ended the session by an alert.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.meaning())]
pub struct Violation {
    /// The alert by which it has ended the session; `None`: it was told by one of ours.
    pub received: Option<AlertDescription>,
}

impl Violation {
    fn meaning(&self) -> String {
        match self.received {
            Some(alert) => format!("the peer ended the TLS session by the alert {alert:?}"),
            None => "the peer broke the TLS protocol".to_owned(),
        }
    }
}

/// What came of a run of sealed records.
#[derive(Debug, Clone, Copy)]
pub struct Decrypted {
    /// Bytes at the front of the input that are done with. The rest must be handed in again, with more behind it.
    pub used: usize,
    /// The sink asked to stop; whole records may be waiting in the rest.
    pub stopped: bool,
}

/// One TLS session, of either side. One pointer, as it lasts as long as the connection.
pub struct Session(Box<SessionState>);

struct SessionState {
    opener: Opener,
    /// `None` once close_notify or a fatal alert was sealed: nothing may follow it (RFC 8446, 6.1), an answer to a key update as
    /// little as data.
    sealer: Option<Sealer>,
    suite: SupportedCipherSuite,
    /// Makes the keys that follow. TLS 1.2 has none.
    kernel: Option<Box<Kernel>>,
    /// The peer is the server.
    is_client: bool,
    peer_closed: bool,
    /// The peer wants us to take new keys too, and has not been answered yet.
    owes_key_update: bool,
    /// How much has come of a message that is not whole: of one that announces new keys so many bytes of [`KEY_UPDATE`]; in TLS 1.2
    /// so many of the four in front of a ClientHello. Of a server's message: 1, should it not be whole.
    announced: u8,
    /// Bytes of a ClientHello that are still to come, behind those four.
    hello_left: u32,
    warnings: u8,
    updates_without_data: u8,
    asked_to_renegotiate: bool,
}

impl Session {
    /// Takes over from a handshake with a client that is complete.
    ///
    /// # Errors
    /// It is not complete, or the keys are of a kind that is not ours.
    pub(super) fn with_client(conn: UnbufferedServerConnection) -> Result<Self, rustls::Error> {
        let (secrets, kernel) = conn.dangerous_into_kernel_connection()?;
        Self::begin(secrets, kernel.negotiated_cipher_suite(), Kernel::Server(kernel))
    }

    /// Takes over from a handshake with a server that is complete.
    ///
    /// # Errors
    /// As [`Session::with_client`].
    pub(super) fn with_server(conn: UnbufferedClientConnection) -> Result<Self, rustls::Error> {
        let (secrets, kernel) = conn.dangerous_into_kernel_connection()?;
        Self::begin(secrets, kernel.negotiated_cipher_suite(), Kernel::with_server(kernel))
    }

    fn begin(secrets: ExtractedSecrets, suite: SupportedCipherSuite, kernel: Kernel) -> Result<Self, rustls::Error> {
        let ExtractedSecrets { tx, rx } = secrets;
        let is_client = kernel.is_of_a_client();
        Ok(Self(Box::new(SessionState {
            opener: Opener::new(suite, rx)?,
            sealer: Some(Sealer::new(suite, tx)?),
            suite,
            kernel: suite.tls13().is_some().then(|| Box::new(kernel)),
            is_client,
            peer_closed: false,
            owes_key_update: false,
            announced: 0,
            hello_left: 0,
            warnings: 0,
            updates_without_data: 0,
            asked_to_renegotiate: false,
        })))
    }

    /// Whether the peer has sent close_notify: it will send nothing more, and what it sent is whole.
    pub fn peer_closed(&self) -> bool {
        self.0.peer_closed
    }

    /// Bytes that the peer makes it hold: a message that is not whole.
    pub fn memory(&self) -> usize {
        self.0.kernel.as_ref().map_or(0, |kernel| kernel.memory())
    }

    /// Opens the sealed records at the front of `wire`, in place, handing the plaintext of each to `sink` until it breaks. Alerts
    /// for the peer are appended to `out`; a key update that is owed to it is for [`Session::write_key_update`].
    ///
    /// # Errors
    /// When the peer breaks the protocol; the alert that tells it so is in `out`.
    pub fn decrypt(
        &mut self,
        wire: &mut [u8],
        out: &mut Outgoing,
        mut sink: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Decrypted, Violation> {
        let state = &mut *self.0;
        let mut used = 0;
        while !state.peer_closed {
            match state.open_one(&mut wire[used..], out, &mut sink) {
                Ok(Some((length, flow))) => {
                    used += length;
                    if flow.is_break() {
                        return Ok(Decrypted { used, stopped: true });
                    }
                }
                Ok(None) => return Ok(Decrypted { used, stopped: false }),
                Err(why) => return Err(state.break_off(why, out)),
            }
        }
        // What follows close_notify is not part of the session (RFC 8446, 6.1).
        Ok(Decrypted { used: wire.len(), stopped: false })
    }

    /// Seals `plaintext` to `out`, in records of at most 16 KiB.
    ///
    /// # Errors
    /// [`KeyLimitReached`]: in TLS 1.2, after some hundred gigabytes.
    pub fn encrypt(&mut self, plaintext: &[u8], out: &mut Outgoing) -> Result<(), KeyLimitReached> {
        for fragment in plaintext.chunks(MAX_FRAGMENT) {
            if self.0.owes_key_update || self.0.sealer.as_ref().is_some_and(Sealer::is_worn_out) {
                self.0.take_new_keys(out)?;
            }
            self.0.sealer.as_mut().ok_or(KeyLimitReached)?.seal(ContentType::ApplicationData, fragment, out)?;
        }
        self.0.updates_without_data = 0;
        Ok(())
    }

    /// Whether the peer waits for a key update of ours. One answers all that it has wanted so far (RFC 8446, 4.6.3), so that a
    /// peer that does not read has us keep one at most.
    pub fn owes_key_update(&self) -> bool {
        self.0.owes_key_update
    }

    /// Appends the key update that is owed to `out`.
    ///
    /// # Errors
    /// [`KeyLimitReached`].
    pub fn write_key_update(&mut self, out: &mut Outgoing) -> Result<(), KeyLimitReached> {
        if self.0.owes_key_update { self.0.take_new_keys(out) } else { Ok(()) }
    }

    /// Appends close_notify to `out`: what was sent is whole, and nothing more is.
    ///
    /// # Errors
    /// [`KeyLimitReached`].
    pub fn close_notify(&mut self, out: &mut Outgoing) -> Result<(), KeyLimitReached> {
        self.0.alert(WARNING, AlertDescription::CloseNotify, out)?;
        self.0.drop_sealer();
        Ok(())
    }
}

/// Why a session is broken off.
enum Abort {
    /// We are to say so, by this alert.
    Local(AlertDescription),
    /// The peer has said so, by this alert; `None`: it is not to be told.
    Peer(Option<AlertDescription>),
}

impl From<AlertDescription> for Abort {
    fn from(alert: AlertDescription) -> Self {
        Self::Local(alert)
    }
}

impl SessionState {
    /// Opens the first record of `wire` and does what it says. Gives its length, and whether to go on; `None` if it is not whole.
    fn open_one(
        &mut self,
        wire: &mut [u8],
        out: &mut Outgoing,
        sink: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Option<(usize, ControlFlow<()>)>, Abort> {
        let Some((record, length)) = Record::first_in(wire, self.suite)? else { return Ok(None) };
        let opened = self.opener.open(record)?;
        let mut flow = ControlFlow::Continue(());
        match opened.typ {
            // A message in several records has nothing between them (RFC 8446, 5.1).
            ContentType::Handshake => self.on_handshake(opened.payload, out)?,
            _ if self.announced > 0 => return Err(AlertDescription::UnexpectedMessage.into()),
            ContentType::ApplicationData if opened.payload.is_empty() => {}
            ContentType::ApplicationData => {
                self.updates_without_data = 0;
                flow = sink(opened.payload);
            }
            ContentType::Alert => self.on_alert(opened.payload)?,
            _ => return Err(AlertDescription::UnexpectedMessage.into()),
        }
        Ok(Some((length, flow)))
    }

    fn on_alert(&mut self, payload: &[u8]) -> Result<(), Abort> {
        let &[level, description] = payload else {
            // Where it is nothing but padding, RFC 8446, 5.4, has a word of its own for it.
            let nothing = payload.is_empty() && self.suite.tls13().is_some();
            let alert = if nothing { AlertDescription::UnexpectedMessage } else { AlertDescription::DecodeError };
            return Err(alert.into());
        };
        let description = AlertDescription::from(description);
        let ends_nothing = match self.suite {
            // There the level says nothing, and all but two are errors (RFC 8446, 6).
            SupportedCipherSuite::Tls13(_) => description == AlertDescription::UserCanceled,
            SupportedCipherSuite::Tls12(_) => level == WARNING,
        };
        match description {
            AlertDescription::CloseNotify => self.peer_closed = true,
            _ if ends_nothing => count(&mut self.warnings, WARNINGS)?,
            _ => return Err(Abort::Peer(Some(description))),
        }
        Ok(())
    }

    /// After the handshake a client has one message to send: in TLS 1.3, that it takes new keys.
    fn on_handshake(&mut self, payload: &[u8], out: &mut Outgoing) -> Result<(), Abort> {
        match (self.is_client, self.kernel.is_some()) {
            (false, true) => {}
            (false, false) => return self.on_renegotiation(payload, out),
            (true, true) => return self.on_server_messages(payload),
            (true, false) => return self.on_hello_request(payload, out),
        }
        if payload.is_empty() {
            return Err(AlertDescription::UnexpectedMessage.into());
        }
        for (at, byte) in payload.iter().enumerate() {
            match KEY_UPDATE.get(usize::from(self.announced)) {
                Some(expected) if byte == expected => self.announced += 1,
                // Its last byte, which has to be the last of its record: the next one is sealed with the new keys.
                None if at + 1 == payload.len() => {
                    self.announced = 0;
                    return self.on_key_update(*byte);
                }
                // One that says that it is longer, or shorter.
                Some(_) if self.announced > 0 => return Err(AlertDescription::DecodeError.into()),
                _ => return Err(AlertDescription::UnexpectedMessage.into()),
            }
        }
        Ok(())
    }

    /// After the handshake a server has tickets to send, and says that it takes new keys.
    fn on_server_messages(&mut self, payload: &[u8]) -> Result<(), Abort> {
        let kernel = self.kernel.as_mut().ok_or(AlertDescription::UnexpectedMessage)?;
        match kernel.take_messages(payload)? {
            ServerMessages::Whole => self.announced = 0,
            ServerMessages::Part => self.announced = 1,
            ServerMessages::KeyUpdate(want) => {
                self.announced = 0;
                self.on_key_update(want)?;
            }
        }
        Ok(())
    }

    /// In TLS 1.2 a server may want to begin anew, which we never do. Once it may go on as before.
    fn on_hello_request(&mut self, payload: &[u8], out: &mut Outgoing) -> Result<(), Abort> {
        if payload != HELLO_REQUEST {
            return Err(AlertDescription::UnexpectedMessage.into());
        }
        self.decline_to_renegotiate(out)
    }

    /// In TLS 1.2 a client may want to begin anew, by another ClientHello, which we never do. Once it may go on as before (RFC 5746, 4.4
    /// and RFC 5246, 7.2.2). What its message says plays no part.
    fn on_renegotiation(&mut self, payload: &[u8], out: &mut Outgoing) -> Result<(), Abort> {
        let mut rest = payload.iter();
        while self.announced < HELLO_HEADER {
            let Some(byte) = rest.next() else { break };
            if self.announced == 0 && *byte != CLIENT_HELLO {
                return Err(AlertDescription::UnexpectedMessage.into());
            }
            self.hello_left = if self.announced == 0 { 0 } else { self.hello_left << 8 | u32::from(*byte) };
            self.announced += 1;
        }
        if self.announced == 0 || self.announced < HELLO_HEADER {
            // Nothing of a message is none.
            return if payload.is_empty() { Err(AlertDescription::UnexpectedMessage.into()) } else { Ok(()) };
        }
        // Another message behind it in the same flight would be one too many.
        self.hello_left = u32::try_from(rest.len())
            .ok()
            .and_then(|come| self.hello_left.checked_sub(come))
            .filter(|left| *left <= LONGEST_HELLO)
            .ok_or(AlertDescription::UnexpectedMessage)?;
        if self.hello_left > 0 {
            return Ok(());
        }
        self.announced = 0;
        self.decline_to_renegotiate(out)
    }

    fn decline_to_renegotiate(&mut self, out: &mut Outgoing) -> Result<(), Abort> {
        if mem::replace(&mut self.asked_to_renegotiate, true) {
            return Err(AlertDescription::UnexpectedMessage.into());
        }
        self.alert(WARNING, AlertDescription::NoRenegotiation, out).map_err(|_| Abort::Peer(None))
    }

    /// The peer takes new keys for what it sends, and may `want` us to do the same.
    fn on_key_update(&mut self, want: u8) -> Result<(), Abort> {
        count(&mut self.updates_without_data, UPDATES_WITHOUT_DATA)?;
        let kernel = self.kernel.as_mut().ok_or(AlertDescription::UnexpectedMessage)?;
        let secrets = kernel.next_rx().map_err(|_| AlertDescription::InternalError)?;
        self.opener = Opener::new(self.suite, secrets).map_err(|_| AlertDescription::InternalError)?;
        match want {
            0 => Ok(()),
            1 => {
                self.owes_key_update = self.sealer.is_some();
                Ok(())
            }
            _ => Err(AlertDescription::IllegalParameter.into()),
        }
    }

    /// Says that what follows is sealed with new keys, and takes them.
    fn take_new_keys(&mut self, out: &mut Outgoing) -> Result<(), KeyLimitReached> {
        let (Some(kernel), Some(sealer)) = (&mut self.kernel, &mut self.sealer) else { return Err(KeyLimitReached) };
        let [typ, length @ ..] = KEY_UPDATE;
        let [high, middle, low] = length;
        // The peer is not wanted to do the same.
        sealer.seal(ContentType::Handshake, &[typ, high, middle, low, 0], out)?;
        let secrets = kernel.next_tx().map_err(|_| KeyLimitReached)?;
        *sealer = Sealer::new(self.suite, secrets).map_err(|_| KeyLimitReached)?;
        self.owes_key_update = false;
        Ok(())
    }

    fn break_off(&mut self, why: Abort, out: &mut Outgoing) -> Violation {
        let received = match why {
            Abort::Local(description) => {
                // Without keys there is nothing to say it with.
                let _ = self.alert(FATAL, description, out);
                None
            }
            Abort::Peer(alert) => alert,
        };
        self.drop_sealer();
        Violation { received }
    }

    fn alert(&mut self, level: u8, description: AlertDescription, out: &mut Outgoing) -> Result<(), KeyLimitReached> {
        match &mut self.sealer {
            Some(sealer) => sealer.seal(ContentType::Alert, &[level, u8::from(description)], out),
            // We have said that nothing follows.
            None => Ok(()),
        }
    }

    fn drop_sealer(&mut self) {
        self.sealer = None;
        self.owes_key_update = false;
    }
}

/// Counts what is tolerated a number of times.
fn count(so_far: &mut u8, limit: u8) -> Result<(), AlertDescription> {
    if *so_far == limit {
        return Err(AlertDescription::UnexpectedMessage);
    }
    *so_far += 1;
    Ok(())
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("peer_closed", &self.0.peer_closed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
