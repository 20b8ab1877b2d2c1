//! What the clients of a flood say in HTTP/1.1 (RFC 9112), one request behind the other.

use super::app::LARGE;

/// As many requests, which the app does not answer.
pub(super) fn unanswered(count: usize) -> Vec<u8> {
    get("/").repeat(count)
}

/// A request of `length` bytes, which the app does not answer.
pub(super) fn large_head(length: usize) -> Vec<u8> {
    let (begin, end) = ("GET / HTTP/1.1\r\nHost: a\r\nX-Long: ", "\r\n\r\n");
    format!("{begin}{}{end}", "v".repeat(length - begin.len() - end.len())).into_bytes()
}

/// As many requests for what is large.
pub(super) fn large_answers(count: usize) -> Vec<u8> {
    get(LARGE).repeat(count)
}

/// A request with a body of `length` bytes.
pub(super) fn upload(length: usize) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &vec![b'u'; length]].concat()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}
