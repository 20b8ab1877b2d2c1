//! An established TLS session: what is sealed and opened, and the little that the protocol still says by itself.
//!
//! After the handshake that is close_notify, alerts, and new keys. It is done here and not by rustls's connection, which keeps
//! buffers and the state of a handshake for ever, and copies what it seals twice. The keys, and those that follow them, are
//! rustls's.

mod kernel;
mod messages;

use std::ops::ControlFlow;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, ContentType, ExtractedSecrets, SupportedCipherSuite};

use self::kernel::Kernel;
use crate::io::Outgoing;
use crate::tls::record::{KeyLimitReached, MAX_FRAGMENT, Opener, Record, Sealer};
use crate::tls::violation::Violation;

/// How many alerts that end nothing a peer may send.
const WARNINGS: u8 = 4;

/// In TLS 1.2, an alert that ends nothing (RFC 5246, 7.2).
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// What came of a run of sealed records.
#[derive(Debug, Clone, Copy)]
pub struct Decrypted {
    /// Bytes at the front of the input that are done with. The rest must be handed in again, with more behind it.
    pub used: usize,
    /// The sink asked to stop; whole records may be waiting in the rest.
    pub paused: bool,
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
    /// Bytes that have come of the head of a handshake message whose rest is still to come: of a KeyUpdate (TLS 1.3), of a ClientHello or a
    /// HelloRequest (TLS 1.2). Of another message of a server in TLS 1.3: 1.
    partial_message_bytes: u8,
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
            partial_message_bytes: 0,
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
                        return Ok(Decrypted { used, paused: true });
                    }
                }
                Ok(None) => return Ok(Decrypted { used, paused: false }),
                Err(why) => return Err(state.break_off(why, out)),
            }
        }
        // What follows close_notify is not part of the session (RFC 8446, 6.1).
        Ok(Decrypted { used: wire.len(), paused: false })
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
    /// There is nothing to say, or nothing to say it with.
    Silent(Violation),
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
            _ if self.partial_message_bytes > 0 => return Err(AlertDescription::UnexpectedMessage.into()),
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
            _ => return Err(Abort::Silent(Violation::Received(description))),
        }
        Ok(())
    }

    fn break_off(&mut self, why: Abort, out: &mut Outgoing) -> Violation {
        let violation = match why {
            Abort::Local(description) => {
                // Without keys there is nothing to say it with.
                let _ = self.alert(FATAL, description, out);
                Violation::Sent(description)
            }
            Abort::Silent(violation) => violation,
        };
        self.drop_sealer();
        violation
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
