//! The frames of an HTTP/2 connection, counted as they pass (RFC 9113, 4.1): some cost us an answer and their sender nothing.

use std::time::Instant;

/// The bytes in front of a client's first frame (RFC 9113, 3.4).
const PREFACE: usize = 24;

/// The header of a frame, in bytes.
const HEADER: usize = 9;

/// Types of frames (RFC 9113, 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
/// No client may send one, and h2 reads it as it reads a head before it says so.
const PUSH_PROMISE: u8 = 5;
const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// The flag of SETTINGS that are an answer (RFC 9113, 6.5).
const ACK: u8 = 1;

/// The flag of one that has bytes which say nothing (of DATA and HEADERS).
const PADDED: u8 = 8;

/// It says nothing of which stream a frame is (RFC 9113, 4.1).
const RESERVED_BIT: u32 = 1 << 31;

/// The flag of the last frame of a message (of DATA and HEADERS).
const END_STREAM: u8 = 1;

/// The flag of the last frame of a head.
const END_HEADERS: u8 = 4;

/// Control frames that may come in a second, beside one for each DATA frame of either side.
const RATE: f64 = 100.0;

/// What of an answer pays for a WINDOW_UPDATE beside these, in bytes. Clients send one for the stream and one for the connection with each part
/// that they read, which are 4 KiB for some, whatever the DATA frames were: those may be as long as the client allows.
const BYTES_PER_WINDOW_UPDATE: usize = 512;

/// Every DATA frame that we send pays for so many, however short: one of its stream and one of the connection.
const WINDOW_UPDATES_PER_DATA: usize = 2;

/// The most that answers have paid for in advance: clients may have taken 32 MiB before they say so.
const MAX_WINDOW_UPDATES: usize = 64 * 1024;

/// They may come all at once that may come in so many seconds.
const BURST_SECONDS: f64 = 10.0;

/// Where in a stream of frames.
#[derive(Debug)]
pub(crate) struct FrameScan {
    at: FramePosition,
    /// Bytes to come until the next header.
    left: usize,
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    filled: usize,
    /// Bytes of the frame behind its header.
    length: usize,
    /// Those of the frames in front of it, of the same head.
    before: usize,
    /// The last stream that was begun.
    stream: u32,
}

/// A frame of which the header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameStart {
    pub(crate) kind: u8,
    /// Bytes behind the header.
    pub(crate) length: usize,
    /// Its stream had begun before: of HEADERS, that they are trailers.
    pub(crate) continues: bool,
    /// Nothing follows it on its stream, but for the rest of a head.
    pub(crate) ends_stream: bool,
    /// Some of its bytes say nothing.
    pub(crate) is_padded: bool,
    /// It says that what we have set is known.
    pub(crate) is_settings_ack: bool,
}

impl FrameStart {
    /// Whether a head begins with it.
    pub(crate) fn begins_head(self) -> bool {
        matches!(self.kind, HEADERS | PUSH_PROMISE)
    }

    /// Whether it carries a part of a head.
    pub(crate) fn is_of_head(self) -> bool {
        matches!(self.kind, HEADERS | PUSH_PROMISE | CONTINUATION)
    }
}

/// What has come of a head that is not whole, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnfinishedHead {
    /// Of frames that are whole, and were read for what they say.
    pub(crate) read: usize,
    /// Of one that is not.
    pub(crate) unread: usize,
}

/// What the bytes belong to that came last.
#[derive(Debug, Clone, Copy)]
enum FramePosition {
    /// What a client says first.
    Preface,
    /// A part of a head, with which that ends or not.
    Head {
        ends: bool,
    },
    Other,
}

impl FrameScan {
    /// In front of what a client sends.
    pub(crate) fn of_client() -> Self {
        Self { at: FramePosition::Preface, left: PREFACE, ..Self::of_server() }
    }

    /// In front of what a server sends.
    pub(crate) fn of_server() -> Self {
        Self { at: FramePosition::Other, left: 0, header: [0; HEADER], filled: 0, length: 0, before: 0, stream: 0 }
    }

    /// Bytes to come of the frame that is under way.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Whether a frame may begin here.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.left == 0 && self.filled == 0
    }

    /// Whether something has begun that is waited for: the preface, or a head.
    pub(crate) fn is_within_head(&self) -> bool {
        match self.at {
            FramePosition::Preface => (1..PREFACE).contains(&self.left),
            FramePosition::Head { .. } => self.unfinished_head().is_some(),
            FramePosition::Other => false,
        }
    }

    /// The head that has begun and not ended, if one has.
    pub(crate) fn unfinished_head(&self) -> Option<UnfinishedHead> {
        match self.at {
            FramePosition::Head { .. } if self.left > 0 => {
                Some(UnfinishedHead { read: self.before, unread: self.length - self.left })
            }
            FramePosition::Head { ends: false } => Some(UnfinishedHead { read: self.before + self.length, unread: 0 }),
            _ => None,
        }
    }

    /// Follows `bytes`; each frame whose header ends in them is given to `found`.
    pub(crate) fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(FrameStart)) {
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
                found(self.begin_frame());
            }
        }
    }

    /// The frame whose header has come whole.
    fn begin_frame(&mut self) -> FrameStart {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.before = if kind == CONTINUATION { self.before + self.length } else { 0 };
        self.length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (self.left, self.filled) = (self.length, 0);
        let stream = u32::from_be_bytes(stream) & !RESERVED_BIT;
        let frame = FrameStart {
            kind,
            length: self.length,
            continues: stream <= self.stream,
            ends_stream: matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0,
            is_padded: flags & PADDED != 0,
            is_settings_ack: kind == SETTINGS && flags & ACK != 0,
        };
        if kind == HEADERS {
            self.stream = self.stream.max(stream);
        }
        self.at = match frame.is_of_head() {
            true => FramePosition::Head { ends: flags & END_HEADERS != 0 },
            false => FramePosition::Other,
        };
        frame
    }
}

/// A client has sent more of what costs it nothing than it may.
#[derive(Debug, thiserror::Error)]
#[error("more of PING, SETTINGS, PRIORITY, RST_STREAM, WINDOW_UPDATE and such has come than any client has a use for")]
pub(crate) struct TooManyControlFrames;

/// How many control frames a client may still send.
#[derive(Debug)]
pub(crate) struct ControlFrameBudget {
    left: f64,
    at: Instant,
    /// Those that answers have paid for, which count for nothing else.
    window_updates: usize,
}

impl ControlFrameBudget {
    /// All that may come at once, at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: RATE * BURST_SECONDS, at: now, window_updates: 0 }
    }

    /// A frame of this `kind` came from the client at `now`. Whether there have been too many.
    pub(crate) fn take(&mut self, kind: u8, now: impl FnOnce() -> Instant) -> bool {
        match kind {
            DATA => self.earn(),
            WINDOW_UPDATE if self.window_updates > 0 => self.window_updates -= 1,
            // Those of requests are rationed by how many may be under way.
            HEADERS | CONTINUATION => {}
            // What nobody knows is passed over, and costs as much.
            _ => self.left -= 1.0,
        }
        if self.left < 0.0 {
            let now = now();
            let earned = now.duration_since(self.at).as_secs_f64() * RATE;
            self.left = (self.left + earned).min(RATE * BURST_SECONDS);
            self.at = now;
        }
        self.left < 0.0
    }

    /// A frame of this `kind` was sent to the client, of so many bytes.
    pub(crate) fn note_sent(&mut self, kind: u8, length: usize) {
        if kind == DATA {
            self.earn();
            let paid_for = WINDOW_UPDATES_PER_DATA + length / BYTES_PER_WINDOW_UPDATE;
            self.window_updates = (self.window_updates + paid_for).min(MAX_WINDOW_UPDATES);
        }
    }

    fn earn(&mut self) {
        self.left = (self.left + 1.0).min(RATE * BURST_SECONDS);
    }
}

/// GOAWAY that tells a client that it asks for too much, and from where on nothing of its was acted on: nowhere, for what is under way is cut
/// off (RFC 9113, 6.8 and 7: ENHANCE_YOUR_CALM).
pub(crate) const CALM_DOWN: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11];

/// What a client hears for which there is no room at all: SETTINGS, as from every server, and GOAWAY that says the same, and that none of its
/// requests was acted on.
pub(crate) const NO_ROOM: [u8; 26] = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PRIORITY: u8 = 2;
    const RST_STREAM: u8 = 3;
    const PING: u8 = 6;
    const PRIORITY_UPDATE: u8 = 16;

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
                scan.pass(piece, |frame| kinds.push((frame.kind, frame.length)));
            }
            assert_eq!(kinds, [(SETTINGS, 0), (DATA, 300), (PING, 8)], "in pieces of {size}");
            assert!(scan.is_between_frames());
            scan.pass(&[0], |_| ());
            assert!(!scan.is_between_frames());
        }
    }

    #[test]
    fn a_preface_and_a_head_that_have_begun_are_waited_for_until_their_end() {
        let mut scan = FrameScan::of_client();
        let mut pass = |bytes: &[u8]| {
            scan.pass(bytes, |_| ());
            scan.is_within_head()
        };
        assert!(!pass(b""), "nothing has come");
        assert!(pass(b"P") && pass(&[0; PREFACE - 2]) && !pass(b"\n"));
        assert!(!pass(&frame(SETTINGS, 6)));
        // Its flags say that it does not end.
        assert!(pass(&frame(HEADERS, 5)) && pass(&frame(CONTINUATION, 5)));
        let mut last = frame(CONTINUATION, 5);
        last[4] = END_HEADERS;
        assert!(pass(&last[..9]) && pass(&last[9..13]) && !pass(&last[13..]));
        assert!(!pass(&frame(DATA, 300)[..100]), "a body has another limit");
    }

    #[test]
    fn what_has_come_of_a_head_is_known_until_its_last_frame_is_whole() {
        let mut scan = FrameScan::of_server();
        let mut pass = |bytes: &[u8]| {
            scan.pass(bytes, |_| ());
            scan.unfinished_head().map(|head| (head.read, head.unread))
        };
        for kind in [HEADERS, PUSH_PROMISE] {
            assert_eq!(pass(&frame(DATA, 9)), None);
            let first = frame(kind, 300);
            assert_eq!(pass(&first[..109]), Some((0, 100)));
            assert_eq!(pass(&first[109..]), Some((300, 0)));
            assert_eq!(pass(&frame(CONTINUATION, 50)), Some((350, 0)));
            let mut last = frame(CONTINUATION, 20);
            last[4] = END_HEADERS;
            assert_eq!(pass(&last[..5]), Some((350, 0)));
            assert_eq!(pass(&last[5..28]), Some((350, 19)));
            assert_eq!(pass(&last[28..]), None);
        }
    }

    #[test]
    fn trailers_are_told_from_the_heads_of_requests_by_their_stream() {
        let (mut scan, mut found) = (FrameScan::of_client(), Vec::new());
        scan.pass(&[0; PREFACE], |_| ());
        for (kind, stream) in [(HEADERS, 1), (DATA, 1), (HEADERS, 3), (HEADERS, 1), (PUSH_PROMISE, 9), (HEADERS, 5)] {
            let mut bytes = frame(kind, 3);
            bytes[5..9].copy_from_slice(&(stream | RESERVED_BIT).to_be_bytes());
            scan.pass(&bytes, |frame| found.push(frame.continues));
        }
        assert_eq!(found, [false, true, false, true, false, false]);
    }

    #[test]
    fn control_frames_are_rationed_and_each_data_frame_pays_for_one() {
        let began = Instant::now();
        for kind in [PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, PRIORITY_UPDATE, 0xff] {
            let mut budget = ControlFrameBudget::new(began);
            assert_eq!((0..).take_while(|_| !budget.take(kind, || began)).count(), 1000, "{kind}");
        }
        let mut budget = ControlFrameBudget::new(began);
        let burst = (0..).take_while(|_| !budget.take(PING, || began)).count();
        assert_eq!(burst, 1000);
        assert!(!budget.take(PING, || began + Duration::from_secs(1)), "a second earns a hundred");
        let mut budget = ControlFrameBudget::new(began);
        assert!((0..100_000).all(|_| {
            budget.note_sent(DATA, 1);
            !budget.take(PING, || began)
        }));
        assert!((0..100_000).all(|_| !budget.take(DATA, || began) && !budget.take(WINDOW_UPDATE, || began)));
    }
    #[test]
    fn answers_pay_for_what_clients_say_of_their_windows_and_for_nothing_else() {
        let began = Instant::now();
        let mut budget = ControlFrameBudget::new(began);
        // 100 MiB, of which four are under way at a time, and two frames for each 4 KiB of them.
        for _ in 0..25 {
            (0..4).for_each(|_| budget.note_sent(DATA, 1 << 20));
            assert!((0..2048).all(|_| !budget.take(WINDOW_UPDATE, || began)));
        }
        // Two for each DATA frame, however short.
        let mut budget = ControlFrameBudget::new(began);
        (0..10_000).for_each(|_| budget.note_sent(DATA, 1));
        assert!((0..20_000).all(|_| !budget.take(WINDOW_UPDATE, || began)));
        for kind in [PING, WINDOW_UPDATE] {
            let mut budget = ControlFrameBudget::new(began);
            budget.note_sent(DATA, 1 << 30);
            let burst = (0..).take_while(|_| !budget.take(kind, || began)).count();
            assert_eq!(burst, if kind == PING { 1000 } else { 1000 + MAX_WINDOW_UPDATES });
        }
    }
}
