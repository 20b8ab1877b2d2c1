//! What the fuzz targets of HTTP hold, beside [`super::differential`]: requests one by one, and what passes from the app to its clients.

use std::sync::LazyLock;
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};

use super::answer_scan::AnswerScan;
use super::head_rules::HeadRules;
use super::head_scan::{RequestHead, RequestScan};
use super::stream_memory::{FIELD_MEMORY, HEAD_COPIES};
use super::{ControlFrameBudget, FrameScan, HeadRejection, KeepAliveEnder, ResponseTracker, WebSocketEnder};

/// A request as it stands in a stream of them.
pub(crate) struct AdmittedRequest {
    /// Its method.
    pub(crate) method: String,
    /// What it asks for.
    pub(crate) target: String,
    /// What is known of it.
    pub(crate) head: RequestHead,
}

/// The requests in `bytes`, and why what follows them is refused, as long as no other protocol follows.
///
/// # Panics
/// Where a head is admitted that hyper's parser does not read.
pub(crate) fn requests(rules: &HeadRules, bytes: &[u8]) -> (Vec<AdmittedRequest>, Option<HeadRejection>) {
    let (mut scan, mut at, mut requests) = (RequestScan::default(), 0, Vec::new());
    loop {
        let (start, mut found) = (at, None);
        let most = usize::from(matches!(scan, RequestScan::Head(_)));
        let passed = scan.pass(rules, &bytes[at..], most, |judged| found = Some(judged));
        assert!(passed.bytes <= bytes.len() - at);
        at += passed.bytes;
        match found {
            Some(Ok(head)) => requests.push(request(&bytes[start..], head)),
            Some(Err(refusal)) => return (requests, Some(refusal)),
            None => {}
        }
        if passed.bytes == 0 || passed.is_broken {
            return (requests, None);
        }
    }
}

fn request(bytes: &[u8], head: RequestHead) -> AdmittedRequest {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut read = httparse::Request::new(&mut fields);
    assert!(read.parse(bytes).is_ok_and(|read| read.is_complete()), "what was judged is no head");
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    AdmittedRequest { method: text(read.method), target: text(read.path), head }
}

/// Has what an app sends pass to its client while the instance goes, in pieces of the size that the first byte says; the second one is the length
/// of the client's request, which comes before it.
///
/// # Panics
/// Where a byte of the app's is lost, and where the client is told to let go at a wrong place.
pub fn response(input: &[u8]) {
    let [piece, length, rest @ ..] = input else { return };
    let (request, answer) = rest.split_at(rest.len().min(usize::from(*length)));
    let piece = if *piece == 0 { usize::MAX } else { usize::from(*piece) };
    keep_alive(request, answer, piece);
    web_socket(answer, piece, usize::from(*length));
    tracked(request, answer, piece);
    trailers(answer, piece);
}

/// What is found of trailers is the same however the answer is cut, and no more than what came may take.
fn trailers(answer: &[u8], piece: usize) {
    let (mut whole, mut cut) = (AnswerScan::of_answer(), AnswerScan::of_answer());
    let found = whole.pass(answer);
    let found_in_pieces: usize = answer.chunks(piece).map(|part| cut.pass(part)).sum();
    assert_eq!(found, found_in_pieces);
    assert!(found <= answer.len() * (HEAD_COPIES + FIELD_MEMORY));
}

const CLOSE_LINE: &[u8] = b"connection: close\r\n";
const CLOSE: &[u8] = b"close";
const KEEP_ALIVE: &[u8] = b"keep-alive";

/// The client gets all that the app sends, and one line or word more that ends the connection.
fn keep_alive(request: &[u8], answer: &[u8], piece: usize) {
    let (mut ender, mut got) = (KeepAliveEnder::default(), Vec::new());
    for (at, part) in request.chunks(piece).enumerate() {
        ender.on_request(part, at == 0);
    }
    for part in answer.chunks(piece).chain([&b""[..]]) {
        got.extend(ender.on_response(part).unwrap_or_else(|| part.to_vec()));
    }
    if !ender.has_sent_close() {
        assert!(got == answer, "something was changed and nobody was told");
        return;
    }
    // Where the two part, or before that, where the app's own bytes begin as the line does.
    let same = got.iter().zip(answer).take_while(|(got, sent)| got == sent).count();
    let starts = (0..=same).rev();
    let is_line = |at: &usize| got[*at..].strip_prefix(CLOSE_LINE) == Some(&answer[*at..]);
    let is_word = |at: &usize| {
        let sent = answer[*at..].split_at_checked(KEEP_ALIVE.len());
        sent.is_some_and(|(word, behind)| {
            word.eq_ignore_ascii_case(KEEP_ALIVE) && got[*at..].strip_prefix(CLOSE) == Some(behind)
        })
    };
    assert!(starts.clone().any(|at| is_line(&at) || is_word(&at)), "the app's bytes do not arrive as they were sent");
    let (before, after) = (connection_fields(answer), connection_fields(&got));
    if let (Some(before), Some(after)) = (before, after) {
        assert!(before.len() <= 1 && after.len() == 1, "{before:?} became {after:?}");
        assert!(after.iter().all(|value| value.eq_ignore_ascii_case(CLOSE)), "{after:?}");
    }
}

/// The values of Connection in the first answer that is no interim one (RFC 9110, 15.2), as another reader finds them.
fn connection_fields(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut response = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = response.parse(bytes) else { return None };
        if !response.code.is_some_and(|code| (100..200).contains(&code)) {
            let connection = response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
            return Some(connection.map(|field| field.value.to_vec()).collect());
        }
        bytes = &bytes[length..];
    }
}

/// A Close of two bytes: 1001 (RFC 6455, 5.5.1 and 7.4.1).
const GOING_AWAY: &[u8] = &[0x88, 0x02, 0x03, 0xe9];

/// The client gets whole frames and then the word that ends the connection, or all that was sent.
fn web_socket(sent: &[u8], piece: usize, end_at: usize) {
    static RUNTIME: LazyLock<Option<Runtime>> =
        LazyLock::new(|| Builder::new_current_thread().enable_time().build().ok());
    let _timers = RUNTIME.as_ref().map(Runtime::enter);
    let (mut ender, mut got, mut told, mut at) = (WebSocketEnder::default(), Vec::new(), false, 0);
    for part in sent.chunks(piece) {
        if at >= end_at {
            ender.end();
            let word = ender.due();
            told |= word.is_some();
            got.extend(word.unwrap_or_default());
        }
        let passed = ender.on_frames(part);
        told |= passed.is_some();
        got.extend(passed.unwrap_or_else(|| part.to_vec()));
        at += part.len();
    }
    if !told {
        assert_eq!(got, sent);
        return;
    }
    let frames = got.strip_suffix(GOING_AWAY).unwrap_or_default();
    assert!(!got.is_empty() && sent.starts_with(frames), "what the client got is not what was sent");
    let mut rest = frames;
    while !rest.is_empty() {
        let (kind, length) = frame(rest).unwrap_or_default();
        assert!(kind != 8, "the app has closed the connection itself");
        assert!((1..=rest.len()).contains(&length), "the last frame is not whole");
        rest = &rest[length..];
    }
}

/// Kind and length of the frame of WebSocket in front of `bytes`, with its header (RFC 6455, 5.2).
fn frame(bytes: &[u8]) -> Option<(u8, usize)> {
    let (first, second) = (bytes.first()?, bytes.get(1)?);
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (header, length) = match second & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    Some((first & 0x0f, usize::try_from(length).ok()?.checked_add(header + mask)?))
}

/// An answer is under way or whole, and never both.
fn tracked(request: &[u8], answer: &[u8], piece: usize) {
    let mut tracker = ResponseTracker::default();
    for part in request.chunks(piece) {
        tracker.on_request(part);
    }
    for part in answer.chunks(piece) {
        tracker.on_response(part);
        assert!(!(tracker.is_under_way() && tracker.is_between_exchanges()));
    }
}

/// Has the frames of an HTTP/2 client counted, in pieces of the size that the first byte says.
///
/// # Panics
/// Where they are others than a reader finds that has all of the bytes at once, where more of a head is said to have come than has, and where
/// control frames are not rationed.
pub fn frames(input: &[u8]) {
    let Some((piece, bytes)) = input.split_first() else { return };
    let (mut scan, mut found) = (FrameScan::of_server(), Vec::new());
    for part in bytes.chunks(usize::from(*piece).max(1)) {
        scan.pass(part, |frame| found.push((frame.kind, frame.length)));
    }
    let (mut wanted, mut rest) = (Vec::new(), bytes);
    while let Some(([a, b, c, kind, ..], behind)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        wanted.push((*kind, length));
        rest = behind.get(length..).unwrap_or_default();
        if length > behind.len() {
            assert!(!scan.is_between_frames());
        }
    }
    assert_eq!(found, wanted);
    let mut at_once = FrameScan::of_server();
    at_once.pass(bytes, |_| ());
    let head = scan.unfinished_head();
    assert_eq!(head, at_once.unfinished_head());
    assert!(head.is_none_or(|head| head.read + head.unread <= bytes.len()), "more than has come");
    let now = Instant::now();
    let mut budget = ControlFrameBudget::new(now);
    let data = found.iter().filter(|(kind, _)| *kind == 0).count();
    let others = found.iter().filter(|(kind, _)| !matches!(kind, 0 | 1 | 9)).count();
    let is_exceeded = found.iter().any(|(kind, _)| budget.take(*kind, || now));
    assert!(others <= 1000 + data || is_exceeded, "{others} control frames and {data} frames of data");
    assert!(others > 1000 || !is_exceeded);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{frames, response};

    proptest! {
        #[test]
        fn what_the_fuzz_targets_hold_holds_for_random_bytes_too(
            piece in any::<u8>(),
            request in "(GET|HEAD) / HTTP/1\\.[01]\r\nHost: a\r\n(Content-Length: [02]\r\n)?\r\n(ok)?",
            lines in "HTTP/1\\.1 [1-5]0[0-4] ?(OK)?\r\n((Connection|connection|A): ?(keep-alive|Keep-Alive|close|b)\r?\n){0,3}\r?\n.{0,9}",
            bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(0x82), Just(0x88), Just(126), Just(127), any::<u8>()], 0..200),
        ) {
            let length = u8::try_from(request.len()).unwrap();
            response(&[&[piece, length], request.as_bytes(), lines.as_bytes()].concat());
            response(&[&[piece, 0][..], &bytes].concat());
            frames(&[&[piece][..], &bytes].concat());
        }
    }
}
