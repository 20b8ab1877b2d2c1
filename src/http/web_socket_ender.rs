//! Ends a WebSocket connection in the app's place, while the instance goes.
//!
//! A WebSocket connection is cut off at the end of the drain, wherever it stands, and its client takes that for a fault. The protocol has a word
//! for it (RFC 6455, 7.4.1): Close with 1001, going away. It may stand wherever a frame of the app may begin. The client answers it, the app
//! takes that answer for the client's wish, and closes. What the app sends behind our word is dropped: nothing may follow a Close.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Close, of two bytes: 1001.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// The kind of a frame that says that nothing follows (RFC 6455, 5.2).
const CLOSE: u8 = 8;

/// How long both sides may take to let go once the client was told.
const LETTING_GO: Duration = Duration::from_secs(5);

/// Follows the frames of an app, and has their client let go.
#[derive(Debug, Default)]
pub(crate) struct WebSocketEnder {
    header: FrameHeader,
    /// Bytes until the next header.
    left: u64,
    state: WebSocketState,
}

/// What has come of a frame's header.
#[derive(Debug, Default, Clone, Copy)]
struct FrameHeader {
    bytes: [u8; 14],
    filled: usize,
}

#[derive(Debug, Default)]
enum WebSocketState {
    /// Both sides talk.
    #[default]
    Open,
    /// The client is to be told as soon as a frame may begin.
    Ending,
    /// It was told.
    Told(Pin<Box<Sleep>>),
    /// The app has said itself that nothing follows.
    ClosedByApp,
}

impl WebSocketEnder {
    /// Has the client told that we go away. Again and again is once.
    pub(crate) fn end(&mut self) {
        if matches!(self.state, WebSocketState::Open) {
            self.state = WebSocketState::Ending;
        }
    }

    /// The word that is due now.
    pub(crate) fn due(&mut self) -> Option<&'static [u8]> {
        (matches!(self.state, WebSocketState::Ending) && self.is_between_frames()).then(|| self.tell())
    }

    /// The app has sent `bytes`; what goes to the client in their place, if that is something else.
    pub(crate) fn on_frames(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.is_empty() {
            return None;
        }
        let mut passed = 0;
        loop {
            match self.state {
                WebSocketState::Told(_) => return Some(Vec::new()),
                WebSocketState::ClosedByApp => return None,
                WebSocketState::Ending if self.is_between_frames() => {
                    return Some([&bytes[..passed], self.tell()].concat());
                }
                WebSocketState::Open | WebSocketState::Ending if passed == bytes.len() => return None,
                WebSocketState::Open | WebSocketState::Ending => passed += self.follow(&bytes[passed..]),
            }
        }
    }

    /// Ready once both sides have had their time to let go.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            WebSocketState::Told(timer) => timer.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }

    fn tell(&mut self) -> &'static [u8] {
        self.state = WebSocketState::Told(Box::pin(sleep(LETTING_GO)));
        &GOING_AWAY
    }

    fn is_between_frames(&self) -> bool {
        self.left == 0 && self.header.filled == 0
    }

    /// Follows `bytes` to the end of a header or of a frame at most; how many they were. There is one at least.
    fn follow(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= skipped as u64;
            return skipped;
        }
        let FrameHeader { bytes: header, filled } = &mut self.header;
        header[*filled] = bytes[0];
        *filled += 1;
        if let Some(length) = self.header.length() {
            if self.header.bytes[0] & 0x0f == CLOSE {
                self.state = WebSocketState::ClosedByApp;
            }
            self.header.filled = 0;
            self.left = length;
        }
        1
    }
}

impl FrameHeader {
    /// How many bytes follow it, once it is whole.
    fn length(&self) -> Option<u64> {
        let header = &self.bytes[..self.filled];
        let (short, mask) = (header.get(1)? & 0x7f, if header[1] & 0x80 == 0 { 0 } else { 4 });
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if header.len() < 2 + extended + mask {
            return None;
        }
        Some(match extended {
            0 => short.into(),
            _ => header[2..2 + extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of a server.
    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | kind];
        match length {
            0..126 => frame.push(length as u8),
            126..0x1_0000 => frame.extend([126, (length >> 8) as u8, length as u8]),
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        // Bytes that look like a Close.
        frame.resize(frame.len() + length, 0x88);
        frame
    }

    /// What the client gets of `bytes` in pieces of `size`, where the end begins before the byte at `end`.
    fn passed(bytes: &[u8], size: usize, end: usize) -> Vec<u8> {
        let (mut ender, mut got, mut at) = (WebSocketEnder::default(), Vec::new(), 0);
        for piece in bytes.chunks(size) {
            if at >= end {
                ender.end();
                got.extend(ender.due().unwrap_or_default());
            }
            got.extend(ender.on_frames(piece).unwrap_or(piece.to_vec()));
            at += piece.len();
        }
        got
    }

    #[tokio::test]
    async fn the_client_is_told_where_the_next_frame_would_begin_and_hears_nothing_more() {
        for length in [0, 1, 125, 126, 300, 0xffff, 0x1_0000, 0x1_2345] {
            let (one, other) = (frame(2, length), frame(1, 5));
            let bytes = [&one[..], &other, &other].concat();
            let ends = [one.len(), one.len() + other.len(), bytes.len()];
            for size in [1, 7, 64, bytes.len()] {
                let got = passed(&bytes, size, 0);
                assert!(got == GOING_AWAY, "{length} bytes in pieces of {size}, before anything was said");
                let got = passed(&bytes, size, 1);
                let expected = match ends.iter().find(|end| **end >= size) {
                    Some(end) if size < bytes.len() => [&bytes[..*end], &GOING_AWAY].concat(),
                    // All has come by then.
                    _ => bytes.clone(),
                };
                assert!(got == expected, "{length} bytes in pieces of {size}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_said_that_the_app_has_said_already() {
        let bytes = [frame(2, 10), frame(CLOSE, 2)].concat();
        for size in [1, 5, bytes.len()] {
            assert_eq!(passed(&bytes, size, usize::MAX), bytes);
            // It is within its last frame.
            assert_eq!(passed(&bytes, size, bytes.len() - 1), bytes);
        }
        let mut ender = WebSocketEnder::default();
        assert_eq!(ender.on_frames(&bytes), None);
        ender.end();
        assert_eq!(ender.due(), None);
    }

    #[tokio::test]
    async fn both_sides_have_a_time_to_let_go_and_no_more() {
        let mut ender = WebSocketEnder::default();
        ender.end();
        assert!(std::future::poll_fn(|cx| Poll::Ready(ender.poll_over(cx).is_pending())).await, "nobody was told");
        assert_eq!(ender.due(), Some(&GOING_AWAY[..]));
        let told = tokio::time::Instant::now();
        std::future::poll_fn(|cx| ender.poll_over(cx)).await;
        assert!(told.elapsed() >= LETTING_GO);
    }

    #[tokio::test]
    async fn masked_frames_are_followed_too() {
        let masked = [&[0x82, 0x83, 1, 2, 3, 4][..], &[0x88; 3]].concat();
        let mut ender = WebSocketEnder::default();
        assert_eq!(ender.on_frames(&masked[..7]), None);
        ender.end();
        assert_eq!(ender.due(), None);
        assert_eq!(ender.on_frames(&masked[7..]), Some([&masked[7..], &GOING_AWAY].concat()));
        assert_eq!(ender.on_frames(b"more"), Some(Vec::new()));
        assert_eq!(ender.on_frames(b""), None, "the end of the app's sending is one");
    }
}
