//! Says `Connection: close` in the app's place, while the instance goes.
//!
//! A client that never pauses is never idle, so its connection lasts until the app ends, and may take a request with it. HTTP/1.1 has a
//! word for that (RFC 9112, 9.6): an answer that says `Connection: close` is the last one, and its client asks elsewhere next time. So
//! the head of an answer is changed where it is certain what is an answer: the request before it was followed from its first byte to its
//! last, and nothing came behind it. All else is left alone: other protocols, HTTP/2, what is upgraded, answers that come early, heads
//! that say of the connection what we do not understand.
//!
//! An app whose outbound connection is to be let go is told in the same way, in the server's place.
//!
//! Nothing of this is there before.

use memchr::memchr;

use super::head_rules::{HeadRules, MAX_HEAD};
use super::head_scan::RequestScan;

/// How an answer begins (RFC 9112, 4).
const ANSWER: &[u8] = b"HTTP/1.";

const CLOSE: &[u8] = b"connection: close\r\n";

/// Has the client of one connection let go of it behind an answer.
#[derive(Debug, Default)]
pub(crate) struct KeepAliveEnder {
    request: LastRequest,
    /// Part of the request's head.
    request_head: Vec<u8>,
    /// Part of the answer's head, which is held back until it is whole.
    answer_head: Vec<u8>,
    close_sent: bool,
}

/// What is known of the client's last request.
#[derive(Debug, Default)]
enum LastRequest {
    /// Nothing, or it is none of our business.
    #[default]
    Unknown,
    /// It has begun.
    UnderWay(RequestScan),
    /// It is complete, nothing has come behind it, and it is not answered.
    Complete,
}

/// The beginning of an answer, as far as it is known.
enum ResponseHead {
    /// Its end has not come.
    Partial,
    /// An answer that comes before the answer, of so many bytes (RFC 9110, 15.2).
    Interim(usize),
    /// It says nothing of the connection: the line that does goes in at this place.
    Silent { at: usize },
    /// The value of Connection stands here, and is `keep-alive`.
    KeepsAlive { from: usize, to: usize },
    /// It is left alone.
    Other,
}

impl KeepAliveEnder {
    /// These are the client's next bytes. `is_first`: no request waits for an answer, and none is being answered.
    pub(crate) fn on_request(&mut self, bytes: &[u8], is_first: bool) {
        if is_first {
            self.request = LastRequest::UnderWay(RequestScan::default());
            self.request_head = Vec::new();
        }
        let LastRequest::UnderWay(scan) = &mut self.request else {
            // The client does not wait for the answer before it asks again.
            self.request = LastRequest::Unknown;
            return;
        };
        let mut whole = std::mem::take(&mut self.request_head);
        let bytes = match &mut whole {
            head if head.is_empty() => bytes,
            head => {
                head.extend_from_slice(bytes);
                head
            }
        };
        let mut is_refused = false;
        // One head: what lies behind the request is no part of it.
        let may_begin = usize::from(matches!(scan, RequestScan::Head(_)));
        let passed =
            scan.pass(&HeadRules::forward_proxy(MAX_HEAD), bytes, may_begin, |head| is_refused = head.is_err());
        let is_left = passed.bytes < bytes.len();
        match scan {
            _ if is_refused || passed.is_broken => self.request = LastRequest::Unknown,
            RequestScan::Head(_) if passed.bytes > 0 && !is_left => self.request = LastRequest::Complete,
            // The head is not whole.
            RequestScan::Head(_) if passed.bytes == 0 => self.request_head = bytes.to_vec(),
            _ if is_left => self.request = LastRequest::Unknown,
            _ => {}
        }
    }

    fn forget_request(&mut self) {
        self.request = LastRequest::Unknown;
        self.request_head = Vec::new();
    }

    /// These are the app's next bytes; none: it has ended. What the client gets in their place, unless it gets them as they are.
    pub(crate) fn on_response(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self.request {
            LastRequest::Complete => {}
            // An answer that comes before the request is whole is the app's own business.
            LastRequest::UnderWay(_) if !is_interim(bytes) => {
                self.forget_request();
                return None;
            }
            LastRequest::UnderWay(_) | LastRequest::Unknown => return None,
        }
        let mut head = std::mem::take(&mut self.answer_head);
        if bytes.is_empty() {
            // It is not an answer, but it is all that there is.
            self.forget_request();
            return Some(head).filter(|head| !head.is_empty());
        }
        head.extend_from_slice(bytes);
        let mut start = 0;
        loop {
            match ResponseHead::of(&head[start..]) {
                ResponseHead::Partial if head.len() - start <= MAX_HEAD => {
                    self.answer_head = head.split_off(start);
                    return Some(head);
                }
                ResponseHead::Interim(length) => start += length,
                ResponseHead::Silent { at } => {
                    head.splice(start + at..start + at, CLOSE.iter().copied());
                    self.close_sent = true;
                    break;
                }
                ResponseHead::KeepsAlive { from, to } => {
                    head.splice(start + from..start + to, *b"close");
                    self.close_sent = true;
                    break;
                }
                ResponseHead::Partial | ResponseHead::Other => break,
            }
        }
        self.forget_request();
        Some(head)
    }

    /// Whether the client was told that this answer is the last one.
    pub(crate) fn has_sent_close(&self) -> bool {
        self.close_sent
    }

    /// Bytes that are held.
    pub(crate) fn memory(&self) -> usize {
        self.request_head.capacity() + self.answer_head.capacity()
    }
}

impl ResponseHead {
    /// What stands at the beginning of `bytes`.
    fn of(bytes: &[u8]) -> Self {
        if !bytes.starts_with(&ANSWER[..bytes.len().min(ANSWER.len())]) {
            return Self::Other;
        }
        let Some(status) = bytes.get(8..13) else { return Self::Partial };
        let (mut line, mut found) = (0, Vec::new());
        let end = loop {
            let Some(length) = memchr(b'\n', &bytes[line..]) else { return Self::Partial };
            let content = bytes[line..line + length].trim_ascii_end();
            if content.is_empty() {
                break line;
            }
            if let Some((name, value)) = content.split_at_checked(b"connection:".len())
                && name.eq_ignore_ascii_case(b"connection:")
            {
                let from = line + name.len() + (value.len() - value.trim_ascii_start().len());
                found.push((from, line + content.len()));
            }
            line += length + 1;
        };
        match (status, &found[..]) {
            (b" 101 ", _) => Self::Other,
            _ if end > MAX_HEAD => Self::Other,
            ([b' ', b'1', _, _, b' '], _) => Self::Interim(end + end_of_line(&bytes[end..])),
            ([b' ', b'2'..=b'9', _, _, b' ' | b'\r' | b'\n'], []) => Self::Silent { at: end },
            ([b' ', b'2'..=b'9', _, _, b' ' | b'\r' | b'\n'], &[(from, to)])
                if bytes[from..to].eq_ignore_ascii_case(b"keep-alive") =>
            {
                Self::KeepsAlive { from, to }
            }
            _ => Self::Other,
        }
    }
}

/// Whether `bytes` are answers that come before the answer, each whole, and nothing else.
fn is_interim(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let ResponseHead::Interim(length) = ResponseHead::of(bytes) else { return false };
        bytes = &bytes[length..];
    }
    true
}

/// The length of the empty line at the beginning of `bytes`.
fn end_of_line(bytes: &[u8]) -> usize {
    memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::KeepAliveEnder;

    /// What the client gets of an answer that comes in these parts, to a request that comes in those, and whether it was told to let go.
    fn answered(request: &[&str], answer: &[&str]) -> (String, bool) {
        let mut ender = KeepAliveEnder::default();
        for (at, part) in request.iter().enumerate() {
            ender.on_request(part.as_bytes(), at == 0);
        }
        let mut got = Vec::new();
        for part in answer.iter().map(|part| part.as_bytes()).chain([&b""[..]]) {
            got.extend(ender.on_response(part).unwrap_or_else(|| part.to_vec()));
        }
        assert_eq!(ender.memory(), 0);
        (String::from_utf8(got).unwrap(), ender.has_sent_close())
    }

    const GET: &[&str] = &["GET / HTTP/1.1\r\nHost: a\r\n\r\n"];

    #[test]
    fn an_answer_to_a_whole_request_says_that_it_is_the_last_one() {
        let requests: [&[&str]; 5] = [
            GET,
            &["GET / HT", "TP/1.1\r\nHost: a\r", "\n\r\n"],
            &["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n", "o", "k"],
            &["POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "0\r\n\r\n"],
            &["HEAD / HTTP/1.0\r\n\r\n"],
        ];
        for request in requests {
            let (got, close_sent) = answered(request, &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "ok"]);
            assert_eq!(got, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: close\r\n\r\nok", "{request:?}");
            assert!(close_sent);
        }
        let (got, _) = answered(GET, &["HTTP/1.1 404\r\nConnection:  Keep-Alive \r\nA: b\r\n\r\n"]);
        assert_eq!(got, "HTTP/1.1 404\r\nConnection:  close \r\nA: b\r\n\r\n");
        let (got, _) = answered(GET, &["HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n", "\r\n"]);
        assert_eq!(got, "HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
    }

    #[test]
    fn what_is_not_known_to_be_an_answer_is_left_alone() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let cases: [(&[&str], &[&str]); 12] = [
            (&["GET / HTTP/1.1\r\nHost: a\r\n"], &[ok]),
            (&["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\no"], &[ok]),
            (&["GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"], &[ok, ok]),
            (&["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"], &[ok, ok]),
            (&["GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"], &[ok]),
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], &["\0\0\0\x04\0\0\0\0\0"]),
            (&["POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], &[ok]),
            (GET, &["HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"]),
            (GET, &["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"]),
            (GET, &["HTTP/1.1 200 OK\r\nConnection: keep-alive, x\r\n\r\n"]),
            (GET, &["HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: keep-alive\r\n\r\n"]),
            (GET, &["220 smtp.example ESMTP\r\n\r\n"]),
        ];
        for (request, answer) in cases {
            assert_eq!(answered(request, answer), (answer.concat(), false), "{request:?} {answer:?}");
        }
    }

    #[test]
    fn an_app_that_asks_for_the_body_first_answers_all_the_same() {
        let mut ender = KeepAliveEnder::default();
        ender.on_request(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", true);
        assert_eq!(ender.on_response(b"HTTP/1.1 100 Continue\r\n\r\n"), None);
        ender.on_request(b"ok", false);
        let got = ender.on_response(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert_eq!(got, b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    }

    #[test]
    fn a_head_without_an_end_is_given_on() {
        let head = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(70_000));
        let parts: Vec<&str> = head.as_bytes().chunks(9_000).map(|part| std::str::from_utf8(part).unwrap()).collect();
        assert_eq!(answered(GET, &parts), (head.clone(), false));
        assert_eq!(answered(GET, &["HTTP/1.1 200 OK\r\nA: "]), ("HTTP/1.1 200 OK\r\nA: ".to_owned(), false));
    }

    proptest! {
        /// Whatever the pieces, the client gets every byte of the app's, and at most one line more.
        #[test]
        fn nothing_of_the_apps_bytes_is_lost(
            lines in proptest::collection::vec("(connection: keep-alive|content-length: 3|x: y|HTTP/1\\.1 [1-5]00 OK|[a-z]{0,9})", 0..6),
            cuts in proptest::collection::vec(0usize..200, 0..5),
        ) {
            let answer = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\nrest", lines.join("\r\n"));
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(answer.len())).chain([0, answer.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|cut| &answer[cut[0]..cut[1]]).filter(|part| !part.is_empty()).collect();
            let (got, close_sent) = answered(GET, &parts);
            let back = match close_sent {
                false => got,
                true if got.contains("connection: close\r\n") && got.len() > answer.len() => got.replacen("connection: close\r\n", "", 1),
                true => got.replacen("connection: close", "connection: keep-alive", 1),
            };
            prop_assert_eq!(back, answer);
        }
    }
}
