//! The memory of HTTP/2: every number that bounds what its clients, or an app that speaks it, may have us hold, beside each other.
//!
//! What a connection holds is the sum of these:
//!
//! | what | bytes at most | accounted for |
//! |---|---|---|
//! | itself, and streams that have come | [`CONNECTION`], [`MAX_STREAMS`] · [`WAITING_STREAM`] with it | as long as the connection is there: it decides how many are announced, and whether there may be one more ([`announce`]) |
//! | streams | [`MAX_STREAMS`] · [`STREAM_OVER_HTTP1`] or [`stream_over_h2c`] | from a request to the end of its stream (`StreamMemory`) |
//! | a head that is not whole | [`HEAD_GROWTH`] times what was read of it, [`LIST_GROWTH`] times [`max_header_list`] at most, and what was not read twice | as it comes, beyond [`FREE_HEAD`] ([`of_unfinished_head`]) |
//! | heads that nobody has judged | that of [`UNJUDGED`] bytes and what came in the same read | not: no more is read before they were |
//! | heads | [`MAX_STREAMS`] · [`HEAD_COPIES`] · `--http-max-head` | from a request to the end of its answer ([`of_request`]) |
//! | bodies that the app has not taken | [`MAX_STREAMS`] · [`client_stream_window`], and [`CLIENT_CONNECTION_WINDOW`] of all | as heads |
//! | DATA frames that the app has not taken | [`FRAME_SLOT`] for each, and [`READ_BUFFER`] beyond [`free_pins`] of each stream where other bytes came between them | as they come (`WaitingFrames`) |
//! | trailers that the app has not taken | [`HEAD_GROWTH`] times what came of them | as they come, beyond [`FREE_TRAILERS`] each (`WaitingFrames`) |
//! | heads of answers that the client has not taken | [`MAX_STREAMS`] · [`HEAD_COPIES`] · 64 KiB | as they are handed to h2, beyond [`FREE_HEAD`] each (`StreamBacklog`) |
//! | trailers of answers that the client has not taken | [`HEAD_COPIES`] times what came of them, and [`FIELD_MEMORY`] for each field; [`TRAILER_GROWTH`] times over h2c | as they come, beyond [`FREE_ANSWER_TRAILERS`] or [`FREE_H2C_TRAILERS`] each (`TrailerRoom`) |
//! | heads and trailers of answers that h2 has written and not sent | [`HEAD_COPIES`] times their length, one long one at a time, and short ones of 16 KiB | as they are written (`UnsentHeads`) |
//! | answers that the client has not taken | [`MAX_STREAMS`] · [`max_send_buffer`] | as they are read from the app (`ResponseBacklog`) |
//! | parts of answers that the client has not taken | [`MAX_STREAMS`] · [`max_answer_parts`] · [`PART_SLOT`] | with those |
//!
//! The first is of a budget of its own; all the rest is of the budget for backlogs: one stream of a connection is admitted however short that is, with its head and its body as long as
//! no more than half as much again is spent; further ones are not.

use std::sync::Arc;

use super::frames::UnfinishedHead;
use crate::budget::{BudgetExceeded, MemoryBudget, Reservation};

/// Streams of one client at once, and where memory is short for what they take before anybody has judged them.
pub(crate) const MAX_STREAMS: u32 = 100;
pub(crate) const MIN_STREAMS: u32 = 6;

/// What a stream takes from its head on, whether it is admitted or refused, in bytes. A client may begin all that it may have at once.
pub(crate) const WAITING_STREAM: usize = 6 * 1024;

/// One connection takes no more than one in so many of its share: the hundredth is to have some, too.
const FAIRNESS: usize = 4;

/// The part of the budget for streams that is kept free of connections which nobody uses: one in so many.
const SPARE_DIVISOR: usize = 4;

/// What a connection takes beyond what any has room for (`ConnectionCost`), in bytes: h2's buffers and tables, and the streams that everybody
/// may have.
const CONNECTION: usize = 32 * 1024;

/// How many streams the client of a new connection is told that it may have. The connection, and what these take, is of `places`.
///
/// # Errors
/// There is no room for one more.
pub(crate) fn announce(places: &mut Reservation) -> Result<u32, BudgetExceeded> {
    places.try_resize_for_first(CONNECTION)?;
    let share = places.budget().share() / FAIRNESS / WAITING_STREAM;
    let further = u32::try_from(share).unwrap_or(u32::MAX).min(MAX_STREAMS - MIN_STREAMS);
    places.set(CONNECTION + further as usize * WAITING_STREAM);
    Ok(MIN_STREAMS + further)
}

/// Whether there is room in `budget`, the one for streams, for one more connection.
pub(crate) fn has_place(budget: &Arc<MemoryBudget>) -> bool {
    budget.reservation().try_resize_for_first(CONNECTION).is_ok()
}

/// Whether there is so little left of `budget`, the one for streams, that connections which nobody uses are in the way of others.
pub(crate) fn is_short_of_places(budget: &MemoryBudget) -> bool {
    budget.limit().is_some_and(|limit| budget.held() > limit - limit / SPARE_DIVISOR)
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

/// That of one whose app speaks HTTP/2, and may send what it has leave for, where all connections together hold `limit`.
pub(crate) fn stream_over_h2c(limit: Option<usize>) -> StreamCost {
    StreamCost { always: 48 * 1024, unasked: app_stream_window(limit) as usize }
}

/// What one byte of a head may become: a field of the table is named by one, and takes 72 in a map that has twice the room it needs (RFC 7541, 6.1).
const HEAD_GROWTH: usize = 64;

/// What a list of fields takes of which the length counts 32 bytes for each beside its name and its value (RFC 9113, 6.5.2).
const LIST_GROWTH: usize = 3;

/// A head that is longer than it may be by less than this gets an answer of ours, and a longer one h2's own, in bytes.
const OWN_REFUSAL: usize = 64 * 1024;

/// The part of the budget for backlogs that the longest list may have: one in so many. What it takes is a share of it then.
const LIST_DIVISOR: usize = 32;

/// Bytes of a head, and of the trailers of one request, that count for nothing: those of most are no longer.
pub(crate) const FREE_HEAD: usize = 1024;
pub(crate) const FREE_TRAILERS: usize = 256;

/// What one byte of an app's trailers may become over HTTP/2: it has no table to name fields by ([`header_table_size`]), so the shortest has five.
const TRAILER_GROWTH: usize = 32;

/// Bytes of such trailers that count for nothing: gRPC's status with its message and details.
pub(super) const FREE_H2C_TRAILERS: usize = 1024;

/// What the trailers of an answer may take and count for nothing, in bytes, where the app speaks HTTP/1.1.
pub(super) const FREE_ANSWER_TRAILERS: usize = 4 * 1024;

/// What a field takes beside its name and its value, in bytes: its place in a map that has twice the room it needs, and in the table of that.
pub(crate) const FIELD_MEMORY: usize = 192;

/// Bytes that may come before a client has said that it knows our settings (RFC 9113, 6.5.3), and count for nothing: until then it may use a
/// table of the usual size.
pub(crate) const FREE_UNSETTLED: usize = 16 * 1024;

/// The most that may come before that: the window that every connection begins with is 64 KiB.
pub(crate) const MAX_UNSETTLED: usize = 192 * 1024;

/// What a small frame that waits may keep beside its slot, in bytes: it is a part of the buffer that it was read into.
pub(crate) const READ_BUFFER: usize = 8 * 1024;

/// Frames of one stream that may do so within what counts for its body, where all connections together hold `limit`.
pub(crate) fn free_pins(limit: Option<usize>) -> usize {
    client_stream_window(limit) as usize / READ_BUFFER
}

/// Bytes of heads that may have come and that nobody has judged, before no more is read.
pub(crate) const UNJUDGED: usize = 2 * 1024;

/// The longest list of fields that h2 reads, where a head may have `max_head` bytes (`--http-max-head`) and all connections together hold `limit`.
pub(crate) fn max_header_list(max_head: usize, limit: Option<usize>) -> u32 {
    let most = limit.map_or(usize::MAX, |limit| limit / LIST_DIVISOR);
    u32::try_from(max_head.saturating_add(OWN_REFUSAL).min(most)).unwrap_or(u32::MAX)
}

/// What `bytes` of a head may take once they were read, in bytes.
pub(crate) fn of_head(bytes: usize) -> usize {
    bytes.saturating_mul(HEAD_GROWTH)
}

/// What a head takes that is not whole, where its list is no longer than `list`, in bytes.
pub(crate) fn of_unfinished_head(head: UnfinishedHead, list: u32) -> usize {
    let UnfinishedHead { read, unread } = head;
    if read + unread <= FREE_HEAD && read == 0 {
        return 0;
    }
    (of_head(read) + 2 * unread).min(of_longest(list))
}

/// What `bytes` of an answer's trailers may take, where their list is no longer than `list`, in bytes.
pub(super) fn of_trailers(bytes: usize, list: u32) -> usize {
    bytes.saturating_mul(TRAILER_GROWTH).min(of_longest(list))
}

/// What a list of fields may take that is as long as it may be, in bytes.
fn of_longest(list: u32) -> usize {
    (list as usize).saturating_mul(LIST_GROWTH)
}

/// A head is held as it came and as it is written for the app.
pub(crate) const HEAD_COPIES: usize = 2;

/// What a client may send of one request before the app has taken it, in bytes. Small, because each frame of it takes some hundred bytes more, however
/// little is in it.
const CLIENT_STREAM_WINDOW: u32 = 64 * 1024;

/// The same where memory is short from the beginning: each connection is to have room for the body of one request, which counts before it comes.
const LEAST_CLIENT_STREAM_WINDOW: usize = 24 * 1024;

/// What a client may send of one request before the app has taken it, where all connections together hold `limit`, in bytes.
pub(crate) fn client_stream_window(limit: Option<usize>) -> u32 {
    let part = limit.map_or(usize::MAX, |limit| (limit / ANSWER_DIVISOR).max(LEAST_CLIENT_STREAM_WINDOW));
    u32::try_from(part).unwrap_or(u32::MAX).min(CLIENT_STREAM_WINDOW)
}

/// What a client may send of all its requests before the app has taken it, in bytes. It is large because h2 judges by it how many small frames
/// are abuse: what fills one stream's window with messages of eight bytes must not be.
pub(crate) const CLIENT_CONNECTION_WINDOW: u32 = 64 * CLIENT_STREAM_WINDOW;

/// What h2 has for a DATA frame beside its bytes, and keeps as long as the connection is there, in bytes.
pub(crate) const FRAME_SLOT: usize = 256;

/// What of one answer waits for the client to take it, in bytes.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// The same as [`CLIENT_STREAM_WINDOW`] and [`CLIENT_CONNECTION_WINDOW`] of an app that speaks HTTP/2, and of answers. Its connection carries one
/// of them at a time.
const APP_STREAM_WINDOW: u32 = 64 * 1024;
pub(crate) const APP_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// The part of the budget for backlogs that one answer may have where that is little: one in so many, and never less than a frame.
const ANSWER_DIVISOR: usize = 256;
const LEAST_OF_ANSWER: usize = 16 * 1024;

/// `most`, or less where all connections together hold little: `limit`.
fn of_answer(most: usize, limit: Option<usize>) -> usize {
    limit.map_or(most, |limit| (limit / ANSWER_DIVISOR).clamp(LEAST_OF_ANSWER, most))
}

/// What of one answer waits for the client to take it, where all connections together hold `limit`, in bytes.
pub(crate) fn max_send_buffer(limit: Option<usize>) -> usize {
    of_answer(MAX_SEND_BUFFER, limit)
}

/// What a part of an answer takes beside its bytes until the client has taken it, in bytes: what it is accounted for by, and a place in a table of
/// h2's that doubles when it is full.
pub(crate) const PART_SLOT: usize = 512;

/// How many parts of one answer wait for the client to take them, however few bytes are in each, where all connections together hold `limit`.
pub(crate) fn max_answer_parts(limit: Option<usize>) -> usize {
    max_send_buffer(limit) / PART_SLOT
}

/// What an app that speaks HTTP/2 may send of one answer before it is taken, where all connections together hold `limit`, in bytes.
pub(crate) fn app_stream_window(limit: Option<usize>) -> u32 {
    u32::try_from(of_answer(APP_STREAM_WINDOW as usize, limit)).unwrap_or(APP_STREAM_WINDOW)
}

/// What the table may have by which a client or an app compresses its heads, in bytes; `None`: as usual (4 KiB). h2 keeps some entries as parts of the
/// buffers that they were read into, of which a hundred are a megabyte: where memory is limited there is no table.
pub(crate) fn header_table_size(limit: Option<usize>) -> Option<u32> {
    limit.map(|_| 0)
}

/// What the head of a request takes, which has `head` bytes, and its body, which has `body`, in bytes; `None`: nobody knows how many. All
/// connections together hold `limit`.
pub(crate) fn of_request(head: usize, body: Option<u64>, limit: Option<usize>) -> usize {
    let most = client_stream_window(limit) as usize;
    HEAD_COPIES * head + body.and_then(|length| usize::try_from(length).ok()).unwrap_or(most).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budgets;

    #[test]
    fn streams_are_announced_as_long_as_there_is_room_for_them_and_then_a_few_and_then_nobody_comes_in() {
        let budget = Budgets::new(None, None).streams;
        assert_eq!(announce(&mut budget.reservation()), Ok(MAX_STREAMS));
        let budget = Budgets::new(None, Some(4 << 20)).streams;
        let mut connections = Vec::new();
        let mut numbers = Vec::new();
        loop {
            let mut places = budget.reservation();
            let Ok(streams) = announce(&mut places) else { break };
            connections.push(places);
            numbers.push(streams);
        }
        assert!(numbers.is_sorted_by(|one, next| one >= next) && numbers[0] > 20 && numbers[30] > 8, "{numbers:?}");
        assert_eq!(numbers.last(), Some(&MIN_STREAMS));
        assert!((100..140).contains(&numbers.len()), "{}", numbers.len());
        assert!(budget.held() <= 6 << 20 && is_short_of_places(&budget));
        // Whoever goes makes room for one more.
        connections.pop();
        assert_eq!(announce(&mut budget.reservation()), Ok(MIN_STREAMS));
        drop(connections);
        assert!(budget.held() == 0 && !is_short_of_places(&budget));
    }
}
