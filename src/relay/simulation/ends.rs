//! The client and the app of a simulated connection: what they say, and what they check of what they hear.

use std::collections::VecDeque;

use rustls::{AlertDescription, ContentType};

use super::memory_socket::MemorySocket;
use crate::tls::test_peer::{Received, TestClient};

/// What one side sends: at each place the byte that belongs there, so that one that is lost, doubled or moved is noticed.
#[derive(Clone, Copy)]
pub(super) struct Script(u64);

impl Script {
    const CLIENT: Self = Self(0x9e37_79b9_7f4a_7c15);
    const APP: Self = Self(0xd1b5_4a32_d192_ed03);

    fn bytes(self, from: u64, length: usize) -> impl Iterator<Item = u8> {
        (from..from + length as u64).map(move |at| (at.wrapping_mul(self.0) >> 56) as u8)
    }
}

/// The app.
pub(super) struct AppEnd {
    pub(super) socket: MemorySocket,
    /// Bytes.
    pub(super) said: u64,
    pub(super) heard: u64,
    pub(super) has_ended: bool,
    pub(super) has_reset: bool,
}

impl AppEnd {
    pub(super) fn new(socket: MemorySocket) -> Self {
        Self { socket, said: 0, heard: 0, has_ended: false, has_reset: false }
    }

    pub(super) fn say(&mut self, length: usize) {
        if !self.has_ended && !self.has_reset {
            let length = length.min(self.socket.room());
            self.socket.arrive(Script::APP.bytes(self.said, length));
            self.said += length as u64;
        }
    }

    pub(super) fn hear(&mut self, most: usize) {
        let heard = self.socket.read(most);
        assert!(
            heard.iter().copied().eq(Script::CLIENT.bytes(self.heard, heard.len())),
            "the app hears something else"
        );
        self.heard += heard.len() as u64;
    }

    pub(super) fn end(&mut self) {
        if !self.has_reset {
            self.has_ended = true;
            self.socket.end();
        }
    }

    pub(super) fn reset(&mut self) {
        if !self.has_reset {
            self.has_reset = true;
            self.socket.reset();
        }
    }
}

/// The client, with TLS or without.
pub(super) struct ClientEnd {
    pub(super) socket: MemorySocket,
    tls: Option<TestClient>,
    /// What it has said and what has not arrived.
    pub(super) unsent: VecDeque<u8>,
    /// Bytes.
    pub(super) said: u64,
    pub(super) heard: u64,
    /// It has said that it is done: by close_notify, or without TLS by its end.
    pub(super) has_closed: bool,
    /// Its connection ends behind what is unsent.
    pub(super) has_ended: bool,
    pub(super) has_reset: bool,
    /// It has broken the protocol.
    pub(super) is_damaged: bool,
    /// It has been told that the app is done.
    pub(super) heard_close: bool,
    /// It has said something since its last key update.
    may_update: bool,
}

impl ClientEnd {
    pub(super) fn new(socket: MemorySocket, tls: Option<TestClient>) -> Self {
        Self {
            socket,
            tls,
            unsent: VecDeque::new(),
            said: 0,
            heard: 0,
            has_closed: false,
            has_ended: false,
            has_reset: false,
            is_damaged: false,
            heard_close: false,
            may_update: false,
        }
    }

    fn is_done(&self) -> bool {
        self.has_closed || self.has_ended || self.has_reset || self.is_damaged
    }

    pub(super) fn say(&mut self, length: usize) {
        if self.is_done() || self.unsent.len() > 256 * 1024 {
            return;
        }
        let bytes: Vec<u8> = Script::CLIENT.bytes(self.said, length).collect();
        self.said += length as u64;
        self.may_update |= length > 0;
        match &mut self.tls {
            None => self.unsent.extend(bytes),
            Some(tls) if bytes.is_empty() => self.unsent.extend(tls.seal(ContentType::ApplicationData, &[])),
            Some(tls) => {
                for fragment in bytes.chunks(16 * 1024) {
                    self.unsent.extend(tls.seal(ContentType::ApplicationData, fragment));
                }
            }
        }
    }

    pub(super) fn update_keys(&mut self, wanted: bool) {
        if !self.is_done()
            && std::mem::take(&mut self.may_update)
            && let Some(tls) = self.tls.as_mut().filter(|tls| tls.is_tls13())
        {
            self.unsent.extend(tls.update_keys(wanted));
        }
    }

    /// A record with a bit that is wrong.
    pub(super) fn damage(&mut self, bit: usize) {
        if self.is_done() {
            return;
        }
        let Some(tls) = &mut self.tls else { return };
        let mut record = tls.seal(ContentType::ApplicationData, b"damaged");
        let at = 5 + bit / 8 % (record.len() - 5);
        record[at] ^= 1 << (bit % 8);
        self.unsent.extend(record);
        self.is_damaged = true;
    }

    /// Up to `most` bytes of what was said arrive, and the end behind them.
    pub(super) fn deliver(&mut self, most: usize) {
        if self.has_reset {
            return;
        }
        let most = most.min(self.unsent.len()).min(self.socket.room());
        self.socket.arrive(self.unsent.drain(..most));
        if self.unsent.is_empty() && self.has_ended {
            self.socket.end();
        }
    }

    pub(super) fn hear(&mut self, most: usize) {
        let wire = self.socket.read(most);
        let Some(tls) = &mut self.tls else {
            self.take(&wire);
            return;
        };
        for received in tls.receive(&wire).unwrap_or_else(|alert| panic!("the client would say {alert:?}")) {
            assert!(!self.heard_close, "{received:?} behind close_notify");
            match received {
                Received::Data(bytes) => self.take(&bytes),
                Received::Alert(AlertDescription::CloseNotify) => self.heard_close = true,
                Received::Alert(alert) => assert!(self.is_damaged, "{alert:?}"),
                Received::KeyUpdate(wanted) => assert!(!wanted),
                Received::Ticket => {}
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        assert!(
            bytes.iter().copied().eq(Script::APP.bytes(self.heard, bytes.len())),
            "the client hears something else"
        );
        self.heard += bytes.len() as u64;
    }

    /// It says that it is done, and may go on to hear.
    pub(super) fn close(&mut self) {
        if self.is_done() {
            return;
        }
        self.has_closed = true;
        match &mut self.tls {
            Some(tls) => self.unsent.extend(tls.seal(ContentType::Alert, &[1, 0])),
            None => self.end(),
        }
    }

    /// Its connection ends, behind close_notify or without.
    pub(super) fn end(&mut self) {
        if !self.has_reset {
            self.has_closed |= self.tls.is_none();
            self.has_ended = true;
            self.deliver(0);
        }
    }

    pub(super) fn reset(&mut self) {
        if !self.has_reset {
            self.has_reset = true;
            self.unsent.clear();
            self.socket.reset();
        }
    }

    /// It has broken off without a word.
    pub(super) fn is_truncated(&self) -> bool {
        self.has_ended && !self.has_closed
    }
}
