//! The memory of HTTP/2: every number that bounds what its clients, or an app that speaks it, may have us hold, beside each other.
//!
//! What a connection holds is the sum of these:
//!
//! | what | bytes at most | accounted for |
//! |---|---|---|
//! | streams that have come | [`MAX_STREAMS`] · [`WAITING_STREAM`] | as long as the connection is there: it decides how many are announced ([`announced`]) |
//! | streams | [`MAX_STREAMS`] · [`STREAM_OVER_HTTP1`] or [`STREAM_OVER_H2C`] | from a request to the end of its stream (`StreamMemory`) |
//! | heads | [`MAX_STREAMS`] · [`HEAD_COPIES`] · `--http-max-head` | from a request to the end of its answer ([`of_request`]) |
//! | bodies that the app has not taken | [`MAX_STREAMS`] · [`CLIENT_STREAM_WINDOW`], and [`CLIENT_CONNECTION_WINDOW`] of all | as heads |
//! | DATA frames that the app has not taken | [`FRAME_SLOT`] for each | as they come (`WaitingFrames`) |
//! | answers that the client has not taken | [`MAX_STREAMS`] · [`MAX_SEND_BUFFER`] | as they are read from the app (`ResponseBacklog`) |
//!
//! The first is of a budget of its own; all the rest is of the budget for backlogs: one stream of a connection is admitted however short that is, with its head and its body as long as
//! no more than twice of it is spent; further ones are not.

/// Streams of one client at once, and where memory is short for what they take before anybody has judged them.
pub(crate) const MAX_STREAMS: u32 = 100;
pub(crate) const MIN_STREAMS: u32 = 6;

/// What a stream takes from its head on, whether it is admitted or refused, in bytes. A client may begin all that it may have at once.
pub(crate) const WAITING_STREAM: usize = 6 * 1024;

/// One connection takes no more than one in so many of its share: the hundredth is to have some, too.
const FAIRNESS: usize = 4;

/// How many streams a client is told that it may have, on a connection whose share of the budget for streams is `share` bytes, and what
/// they take of it. The first [`MIN_STREAMS`] are what a connection has room for anyway.
pub(crate) fn announced(share: usize) -> (u32, usize) {
    let further = u32::try_from(share / FAIRNESS / WAITING_STREAM).unwrap_or(u32::MAX).min(MAX_STREAMS - MIN_STREAMS);
    (MIN_STREAMS + further, further as usize * WAITING_STREAM)
}

/// What a stream takes beside its head and what is counted of its bodies, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamCost {
    /// As long as it is there: most of it is the connection to the app, whose buffers hyper makes as large as that.
    pub(crate) always: usize,
    /// More while its client leaves no room: what has come of the answer and nobody has asked for.
    pub(crate) unasked: usize,
}

/// That of one whose app speaks HTTP/1.1.
pub(crate) const STREAM_OVER_HTTP1: StreamCost = StreamCost { always: 24 * 1024, unasked: 8 * 1024 };

/// That of one whose app speaks HTTP/2, and may send what it has leave for.
pub(crate) const STREAM_OVER_H2C: StreamCost = StreamCost { always: 48 * 1024, unasked: APP_STREAM_WINDOW as usize };

/// A head is held as it came and as it is written for the app.
pub(crate) const HEAD_COPIES: usize = 2;

/// What a client may send of one request before the app has taken it, in bytes. Small, because each frame of it takes some hundred bytes more, however
/// little is in it.
pub(crate) const CLIENT_STREAM_WINDOW: u32 = 64 * 1024;

/// What a client may send of all its requests before the app has taken it, in bytes. It is large because h2 judges by it how many small frames
/// are abuse: what fills one stream's window with messages of eight bytes must not be.
pub(crate) const CLIENT_CONNECTION_WINDOW: u32 = 64 * CLIENT_STREAM_WINDOW;

/// What h2 has for a DATA frame beside its bytes, and keeps as long as the connection is there, in bytes.
pub(crate) const FRAME_SLOT: usize = 256;

/// What of one answer waits for the client to take it, in bytes.
pub(crate) const MAX_SEND_BUFFER: usize = 64 * 1024;

/// The same as [`CLIENT_STREAM_WINDOW`] and [`CLIENT_CONNECTION_WINDOW`] of an app that speaks HTTP/2, and of answers. Its connection carries one
/// of them at a time.
pub(crate) const APP_STREAM_WINDOW: u32 = 64 * 1024;
pub(crate) const APP_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// What the head of a request takes, which has `head` bytes, and its body, which has `body`, in bytes; `None`: nobody knows how many.
pub(crate) fn of_request(head: usize, body: Option<u64>) -> usize {
    let most = CLIENT_STREAM_WINDOW as usize;
    HEAD_COPIES * head + body.and_then(|length| usize::try_from(length).ok()).unwrap_or(most).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budgets;

    #[test]
    fn streams_are_announced_as_long_as_there_is_room_for_them_and_then_a_few() {
        assert_eq!(announced(usize::MAX), (MAX_STREAMS, (MAX_STREAMS - MIN_STREAMS) as usize * WAITING_STREAM));
        assert_eq!(announced(FAIRNESS * WAITING_STREAM - 1), (MIN_STREAMS, 0));
        let budget = Budgets::new(None, Some(4 << 20)).streams;
        let mut connections = Vec::new();
        let mut numbers = Vec::new();
        for _ in 0..1000 {
            let (streams, bytes) = announced(budget.share());
            let mut reservation = budget.reservation();
            reservation.set(bytes);
            connections.push(reservation);
            numbers.push(streams);
        }
        assert!(numbers.is_sorted_by(|one, next| one >= next) && numbers[0] > 20 && numbers[50] > 8, "{numbers:?}");
        assert_eq!(numbers[999], MIN_STREAMS);
        assert!(budget.held() <= 4 << 20);
        drop(connections);
        assert_eq!(budget.held(), 0);
    }
}
