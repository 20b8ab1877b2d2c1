//! The frames of an HTTP/2 connection, counted as they pass (RFC 9113, 4.1): some cost us an answer and their sender nothing.

use std::time::Instant;

/// The bytes in front of a client's first frame (RFC 9113, 3.4).
const PREFACE: usize = 24;

/// The header of a frame, in bytes.
const HEADER: usize = 9;

/// Types of frames (RFC 9113, 6).
const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// Control frames that may come in a second, beside one for each DATA frame of either side.
const RATE: f64 = 100.0;

/// They may come all at once that may come in so many seconds.
const BURST_SECONDS: f64 = 10.0;

/// Where in a stream of frames.
#[derive(Debug)]
pub(crate) struct FrameScan {
    /// Bytes to come until the next header.
    left: usize,
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    filled: usize,
}

impl FrameScan {
    /// In front of what a client sends.
    pub(crate) fn of_client() -> Self {
        Self { left: PREFACE, header: [0; HEADER], filled: 0 }
    }

    /// In front of what a server sends.
    pub(crate) fn of_server() -> Self {
        Self { left: 0, header: [0; HEADER], filled: 0 }
    }

    /// Whether a frame may begin here.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.left == 0 && self.filled == 0
    }

    /// Follows `bytes`; the type of each frame that begins in them is given to `found`.
    pub(crate) fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER {
                let [a, b, c, kind, ..] = self.header;
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.filled = 0;
                found(kind);
            }
        }
    }
}

/// How many control frames a client may still send.
#[derive(Debug)]
pub(crate) struct ControlFrameBudget {
    left: f64,
    at: Instant,
}

impl ControlFrameBudget {
    /// All that may come at once, at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: RATE * BURST_SECONDS, at: now }
    }

    /// A frame of this `kind` came from the client at `now`. Whether there have been too many.
    pub(crate) fn take(&mut self, kind: u8, now: impl FnOnce() -> Instant) -> bool {
        match kind {
            DATA => self.earn(),
            PRIORITY | RST_STREAM | SETTINGS | PING | WINDOW_UPDATE => self.left -= 1.0,
            _ => {}
        }
        if self.left < 0.0 {
            let now = now();
            let earned = now.duration_since(self.at).as_secs_f64() * RATE;
            self.left = (self.left + earned).min(RATE * BURST_SECONDS);
            self.at = now;
        }
        self.left < 0.0
    }

    /// A frame of this `kind` was sent to the client.
    pub(crate) fn note_sent(&mut self, kind: u8) {
        if kind == DATA {
            self.earn();
        }
    }

    fn earn(&mut self) {
        self.left = (self.left + 1.0).min(RATE * BURST_SECONDS);
    }
}

/// GOAWAY that tells a client that it asks for too much, and from where on nothing of its was acted on: nowhere, for what is under way is cut
/// off (RFC 9113, 6.8 and 7: ENHANCE_YOUR_CALM).
pub(crate) const CALM_DOWN: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        [&size[1..], &[kind, 0, 0, 0, 0, 1], &vec![7; length]].concat()
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let bytes = [vec![0; PREFACE], frame(SETTINGS, 0), frame(DATA, 300), frame(PING, 8)].concat();
        for size in [1, 2, 9, 10, 24, 100, bytes.len()] {
            let (mut scan, mut kinds) = (FrameScan::of_client(), Vec::new());
            for piece in bytes.chunks(size) {
                scan.pass(piece, |kind| kinds.push(kind));
            }
            assert_eq!(kinds, [SETTINGS, DATA, PING], "in pieces of {size}");
            assert!(scan.is_between_frames());
            scan.pass(&[0], |_| ());
            assert!(!scan.is_between_frames());
        }
    }

    #[test]
    fn control_frames_are_rationed_and_each_data_frame_pays_for_one() {
        let began = Instant::now();
        let mut budget = ControlFrameBudget::new(began);
        let burst = (0..).take_while(|_| !budget.take(PING, || began)).count();
        assert_eq!(burst, 1000);
        assert!(!budget.take(PING, || began + Duration::from_secs(1)), "a second earns a hundred");
        let mut budget = ControlFrameBudget::new(began);
        assert!((0..100_000).all(|_| {
            budget.note_sent(DATA);
            !budget.take(WINDOW_UPDATE, || began)
        }));
        assert!((0..100_000).all(|_| !budget.take(DATA, || began) && !budget.take(WINDOW_UPDATE, || began)));
    }
}
