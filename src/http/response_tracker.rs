//! Whether an answer is under way, as far as HTTP/1.1 tells.
//!
//! While the instance goes, connections on which nothing has moved for a moment are ended, so that routers stop using them. But
//! an answer may pause for longer than that: events that come when they come, pages that wait for a database. So the head
//! of each answer is looked at, once, for where the answer ends; of the rest only the length counts. Nothing is changed or held
//! back, and what is not understood is left alone. Other protocols tell us nothing, but for HTTP/2 and what HTTP/1.1 is
//! upgraded to: there silence means nothing at all, and it is the app's to end the connection.

use memchr::memchr;

use super::answer_head::{ANSWER, AnswerHead};

/// How a client begins that speaks HTTP/2 (RFC 9113, 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0";

/// How a request begins whose answer has no body, whatever its head says (RFC 9112, 6.3).
const HEAD: &[u8] = b"HEAD ";

/// The end of a body in chunks without trailers (RFC 9112, 7.1).
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// What is known of the last request and its answer.
#[derive(Debug, Default)]
pub(crate) struct ResponseTracker {
    /// Bytes of the body that are to come, in [`ResponseStage::Body`]. A longer body counts as endless: this is paid for by each
    /// connection.
    left: u32,
    stage: ResponseStage,
    /// The client has had the last word.
    client_spoke: bool,
    /// The answer has no body.
    head_only: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ResponseStage {
    /// Nothing was said that we understand.
    #[default]
    Unknown,
    /// The last answer was whole.
    Complete,
    /// An answer that comes before the answer (RFC 9110, 15.2).
    Interim,
    /// A number of bytes are still to come.
    Body,
    /// The body ends with a chunk of no length.
    Chunks,
    /// Where it ends cannot be told.
    Endless,
}

impl ResponseTracker {
    /// Whether an answer has begun that is not whole, or may not be.
    pub(crate) fn is_under_way(&self) -> bool {
        !matches!(self.stage, ResponseStage::Unknown | ResponseStage::Complete)
    }

    /// Whether the last answer was whole, and nothing was asked since then.
    pub(crate) fn is_between_exchanges(&self) -> bool {
        self.stage == ResponseStage::Complete && !self.client_spoke
    }

    /// What follows is another protocol, behind an answer that has said so.
    pub(crate) fn on_switch(&mut self) {
        self.stage = ResponseStage::Endless;
    }

    /// These are the client's next bytes.
    pub(crate) fn on_request(&mut self, bytes: &[u8]) {
        if self.client_spoke {
            return;
        }
        self.client_spoke = true;
        self.head_only = bytes.starts_with(HEAD);
        if self.stage == ResponseStage::Unknown && bytes.starts_with(HTTP2) {
            self.stage = ResponseStage::Endless;
        }
    }

    /// These are the app's next bytes.
    pub(crate) fn on_response(&mut self, bytes: &[u8]) {
        let answers = std::mem::take(&mut self.client_spoke) && bytes.starts_with(ANSWER);
        match self.stage {
            // Whatever we took the last one for.
            _ if answers => self.answer(bytes),
            ResponseStage::Complete | ResponseStage::Interim => self.answer(bytes),
            ResponseStage::Body | ResponseStage::Chunks => self.body(bytes),
            ResponseStage::Unknown | ResponseStage::Endless => {}
        }
    }

    /// The head of an answer, and what follows it.
    fn answer(&mut self, bytes: &[u8]) {
        self.stage = ResponseStage::Endless;
        let Some((AnswerHead { length, status: Some(status), chunked }, end)) = head_of(bytes) else { return };
        (self.stage, self.left) = match (status, length) {
            (101, _) => return,
            (100..=199, _) => (ResponseStage::Interim, 0),
            (204 | 304, _) => (ResponseStage::Body, 0),
            _ if self.head_only => (ResponseStage::Body, 0),
            _ if chunked => (ResponseStage::Chunks, 0),
            (_, Some(length)) => (ResponseStage::Body, length),
            (_, None) => return,
        };
        match self.stage {
            ResponseStage::Interim if end < bytes.len() => self.answer(&bytes[end..]),
            ResponseStage::Interim => {}
            _ => self.body(&bytes[end..]),
        }
    }

    fn body(&mut self, bytes: &[u8]) {
        match self.stage {
            ResponseStage::Body => match bytes.split_at_checked(self.left as usize) {
                // Not more than what is left of it.
                None => self.left -= bytes.len() as u32,
                Some((_, [])) => self.stage = ResponseStage::Complete,
                // The next answer, to a client that does not wait for one before it asks again.
                Some((_, next)) => self.answer(next),
            },
            ResponseStage::Chunks if bytes.ends_with(LAST_CHUNK) || bytes == &LAST_CHUNK[2..] => {
                self.stage = ResponseStage::Complete
            }
            _ => {}
        }
    }
}

/// The head that `bytes` begin with, and where it ends; `None` if there is none, or not all of it.
fn head_of(bytes: &[u8]) -> Option<(AnswerHead, usize)> {
    let (mut head, mut end) = (AnswerHead::default(), 0);
    if !bytes.starts_with(ANSWER) {
        return None;
    }
    while let Some(at) = memchr(b'\n', &bytes[end..]) {
        let line = &bytes[end..end + at];
        end += at + 1;
        if head.read_line(line) {
            return Some((head, end));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ResponseTracker;

    /// What is known after a request, and then an answer that comes in these parts.
    fn after(request: &str, parts: &[&str]) -> ResponseTracker {
        let mut exchange = ResponseTracker::default();
        exchange.on_request(request.as_bytes());
        parts.iter().for_each(|part| exchange.on_response(part.as_bytes()));
        exchange
    }

    const GET: &str = "GET / HTTP/1.1\r\n\r\n";

    #[test]
    fn an_answer_is_under_way_until_its_last_byte() {
        let whole = [
            &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"][..],
            &["HTTP/1.1 200 OK\r\ncontent-length:  2 \r\n\r\n", "o", "k"],
            &["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
            &["HTTP/1.1 204 No Content\r\n\r\n"],
            &["HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\nok\r\n", "0\r\n\r\n"],
            &["HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
            &["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
            // Two answers to a client that has asked twice.
            &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"],
        ];
        for parts in whole {
            assert!(!after(GET, parts).is_under_way(), "{parts:?}");
            let (last, before) = parts.split_last().unwrap();
            let (last, _) = last.split_at(last.len() - 1);
            let cut: Vec<&str> = before.iter().copied().chain((!last.is_empty()).then_some(last)).collect();
            assert!(after(GET, &cut).is_under_way(), "{cut:?}");
        }
    }

    #[test]
    fn the_answer_to_head_has_no_body() {
        assert!(!after("HEAD / HTTP/1.1\r\n\r\n", &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]).is_under_way());
    }

    #[test]
    fn what_has_no_end_that_could_be_told_is_under_way_for_ever() {
        let endless = [
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nuntil it closes",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Le",
        ];
        for answer in endless {
            assert!(after(GET, &[answer]).is_under_way(), "{answer}");
            assert!(after(GET, &[answer, "more"]).is_under_way(), "{answer}");
        }
        assert!(after("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["\0\0\0\u{4}\0\0\0\0\0"]).is_under_way());
    }

    #[test]
    fn the_next_answer_is_understood_whatever_the_last_one_was_taken_for() {
        let mut exchange = after(GET, &["HTTP/1.1 200 OK\r\nContent-Le", "ngth: 2\r\n\r\nok"]);
        assert!(exchange.is_under_way());
        exchange.on_request(GET.as_bytes());
        exchange.on_response(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert!(!exchange.is_under_way());
    }

    #[test]
    fn of_other_protocols_nothing_is_known() {
        assert!(!after("EHLO client\r\n", &["250 OK\r\n"]).is_under_way());
        assert!(!after("", &["SSH-2.0-OpenSSH_9.2\r\n"]).is_under_way());
        assert!(!after(GET, &["HTTP/0.9 is not what this is"]).is_under_way());
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(parts in proptest::collection::vec((any::<bool>(), part()), 0..8)) {
            let mut exchange = ResponseTracker::default();
            for (from_app, part) in parts {
                if from_app { exchange.on_response(&part) } else { exchange.on_request(&part) }
            }
        }
    }

    /// Something near an answer, or anything.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        let piece =
            "(HTTP/1\\.[01] |[12]00|HEAD |content-length: ?[0-9]{1,12}|transfer-encoding: chunked|\r\n|0\r\n\r\n| |.)";
        prop_oneof![
            proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..64),
        ]
    }
}
