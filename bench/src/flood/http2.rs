//! What the clients of a flood say in HTTP/2 (RFC 9113), frame by frame: no library would say it so.

use super::app::LARGE;

/// The octets that a client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113, 6).
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Flags of frames.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The largest payload that everybody takes (RFC 9113, 4.2).
const MAX_PAYLOAD: usize = 16 * 1024;

/// The largest window there is, and the one that a connection has at first (RFC 9113, 6.9).
const MAX_WINDOW: u32 = (1 << 31) - 1;
const FIRST_WINDOW: u32 = 65_535;

/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW: u16 = 4;

/// `:method GET`, `:scheme https`, `:path /` and `:authority a`, in HPACK (RFC 7541).
const GET: &[u8] = b"\x82\x87\x84\x41\x01a";

/// A head that says `fields` fields in a byte each, and does not end.
pub(super) fn open_head(fields: usize) -> Vec<u8> {
    [preface(&[]), frame(HEADERS, 0, 1, &repeated(fields))].concat()
}

/// As many whole heads of so many fields, in a byte each.
pub(super) fn heads(count: u32, fields: usize) -> Vec<u8> {
    requests(count, &repeated(fields))
}

/// A whole head of at least `length` bytes, as much as it says.
pub(super) fn large_head(length: usize) -> Vec<u8> {
    let mut block = GET.to_vec();
    while block.len() < length {
        // A name and a value of 1,000 bytes, which are kept in no table.
        block.extend([0, 1, b'a', 0x7f, 0xe9, 0x06]);
        block.extend([b'b'; 1000]);
    }
    let parts: Vec<_> = block.chunks(MAX_PAYLOAD).collect();
    let frames = parts.iter().enumerate().flat_map(|(nth, part)| {
        let (kind, begins) = if nth == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        frame(kind, if nth + 1 == parts.len() { begins | END_HEADERS } else { begins }, 1, part)
    });
    [preface(&[]), frames.collect()].concat()
}

/// As many requests, which the app does not answer.
pub(super) fn unanswered(count: u32) -> Vec<u8> {
    requests(count, GET)
}

/// As many requests for what is large, and windows of any size for it.
pub(super) fn large_answers(count: u32) -> Vec<u8> {
    let path = [&[0x04, LARGE.len() as u8], LARGE.as_bytes()].concat();
    let block = [b"\x82\x87".as_slice(), &path, b"\x41\x01a"].concat();
    let setting = [INITIAL_WINDOW.to_be_bytes().as_slice(), &MAX_WINDOW.to_be_bytes()].concat();
    let window = frame(WINDOW_UPDATE, 0, 0, &(MAX_WINDOW - FIRST_WINDOW).to_be_bytes());
    [preface(&setting), window, streams(count, &block)].concat()
}

/// A request's fields and one more, which the table keeps and one byte says again: `fields` times.
fn repeated(fields: usize) -> Vec<u8> {
    [GET, b"\x40\x01a\x01b", &vec![0xbe; fields]].concat()
}

fn requests(count: u32, block: &[u8]) -> Vec<u8> {
    [preface(&[]), streams(count, block)].concat()
}

/// `block` as the whole request of each of the first `count` streams.
fn streams(count: u32, block: &[u8]) -> Vec<u8> {
    (0..count).flat_map(|nth| frame(HEADERS, END_HEADERS | END_STREAM, 2 * nth + 1, block)).collect()
}

fn preface(settings: &[u8]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [[high, middle, low, kind, flags].as_slice(), &stream.to_be_bytes(), payload].concat()
}
