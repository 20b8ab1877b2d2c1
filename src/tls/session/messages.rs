//! The handshake messages of an established session: new keys, tickets, and in TLS 1.2 the wish to begin anew.

use std::mem;

use rustls::{AlertDescription, ContentType};

use super::kernel::ServerMessages;
use super::{Abort, SessionState, WARNING, count};
use crate::io::Outgoing;
use crate::tls::record::{KeyLimitReached, Opener, Sealer};

/// How many key updates in a row a peer may send while no data is sent by either side: each costs the making of keys.
pub(super) const UPDATES_WITHOUT_DATA: u8 = 32;

/// The start of a message that announces new keys (RFC 8446, 4.6.3): its type, and its length of one byte.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

/// In TLS 1.2, a server's wish to begin anew (RFC 5246, 7.4.1.1).
const HELLO_REQUEST: [u8; 4] = [0; 4];

/// The type of a ClientHello, and its length with the type (RFC 5246, 7.4).
const CLIENT_HELLO: u8 = 1;
const HELLO_HEADER: u8 = 4;

/// More bytes than that are no ClientHello.
const LONGEST_HELLO: u32 = 0xffff;

impl SessionState {
    /// After the handshake a client has one message to send: in TLS 1.3, that it takes new keys.
    pub(super) fn on_handshake(&mut self, payload: &[u8], out: &mut Outgoing) -> Result<(), Abort> {
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
            match KEY_UPDATE.get(usize::from(self.partial_message_bytes)) {
                Some(expected) if byte == expected => self.partial_message_bytes += 1,
                // Its last byte, which has to be the last of its record: the next one is sealed with the new keys.
                None if at + 1 == payload.len() => {
                    self.partial_message_bytes = 0;
                    return self.on_key_update(*byte);
                }
                // One that says that it is longer, or shorter.
                Some(_) if self.partial_message_bytes > 0 => return Err(AlertDescription::DecodeError.into()),
                _ => return Err(AlertDescription::UnexpectedMessage.into()),
            }
        }
        Ok(())
    }

    /// After the handshake a server has tickets to send, and says that it takes new keys.
    fn on_server_messages(&mut self, payload: &[u8]) -> Result<(), Abort> {
        let kernel = self.kernel.as_mut().ok_or(AlertDescription::UnexpectedMessage)?;
        match kernel.take_messages(payload)? {
            ServerMessages::Whole => self.partial_message_bytes = 0,
            ServerMessages::Part => self.partial_message_bytes = 1,
            ServerMessages::KeyUpdate(want) => {
                self.partial_message_bytes = 0;
                self.on_key_update(want)?;
            }
        }
        Ok(())
    }

    /// In TLS 1.2 a server may want to begin anew, which we never do. Once it may go on as before.
    fn on_hello_request(&mut self, payload: &[u8], out: &mut Outgoing) -> Result<(), Abort> {
        if payload.is_empty() {
            return Err(AlertDescription::UnexpectedMessage.into());
        }
        for byte in payload {
            if HELLO_REQUEST.get(usize::from(self.partial_message_bytes)) != Some(byte) {
                return Err(AlertDescription::UnexpectedMessage.into());
            }
            self.partial_message_bytes += 1;
            if usize::from(self.partial_message_bytes) == HELLO_REQUEST.len() {
                self.partial_message_bytes = 0;
                self.decline_to_renegotiate(out)?;
            }
        }
        Ok(())
    }

    /// In TLS 1.2 a client may want to begin anew, by another ClientHello, which we never do. Once it may go on as before (RFC 5746, 4.4
    /// and RFC 5246, 7.2.2). What its message says plays no part.
    fn on_renegotiation(&mut self, payload: &[u8], out: &mut Outgoing) -> Result<(), Abort> {
        let mut rest = payload.iter();
        while self.partial_message_bytes < HELLO_HEADER {
            let Some(byte) = rest.next() else { break };
            if self.partial_message_bytes == 0 && *byte != CLIENT_HELLO {
                return Err(AlertDescription::UnexpectedMessage.into());
            }
            self.hello_left = if self.partial_message_bytes == 0 { 0 } else { self.hello_left << 8 | u32::from(*byte) };
            self.partial_message_bytes += 1;
        }
        if self.partial_message_bytes == 0 || self.partial_message_bytes < HELLO_HEADER {
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
        self.partial_message_bytes = 0;
        self.decline_to_renegotiate(out)
    }

    fn decline_to_renegotiate(&mut self, out: &mut Outgoing) -> Result<(), Abort> {
        if mem::replace(&mut self.asked_to_renegotiate, true) {
            return Err(AlertDescription::UnexpectedMessage.into());
        }
        self.alert(WARNING, AlertDescription::NoRenegotiation, out).map_err(|error| Abort::Silent(error.into()))
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
    pub(super) fn take_new_keys(&mut self, out: &mut Outgoing) -> Result<(), KeyLimitReached> {
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
}
