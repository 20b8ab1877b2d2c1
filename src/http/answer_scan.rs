//! Where the trailers of an app's answer begin, over HTTP/1.1 (RFC 9112, 7.1.2), and what they take once they are read.
//!
//! hyper reads them before anybody asks for them, and they wait with it for a client that takes nothing: so what they take is known first. What is
//! not understood is left to hyper, and has no trailers.

use memchr::memchr;

use super::answer_head::AnswerHead;
use super::chunk_scan::{CHUNK, ChunkScan, ChunkStep, SizeRules};
use super::stream_memory::{FIELD_MEMORY, HEAD_COPIES};

/// What is looked at of a line, in bytes: none that says where an answer ends is longer.
const MAX_LINE: usize = 256;

/// Where in an answer.
#[derive(Debug, Default)]
pub(super) enum AnswerScan {
    /// In none, or in one that has no trailers.
    #[default]
    Other,
    /// In its head, of which the last line has come so far.
    Head { head: AnswerHead, line: Vec<u8> },
    /// In a body of chunks.
    Chunks(ChunkScan),
    /// Behind them, in a line that may be empty, which is the last one then.
    Trailers { is_empty: bool, is_behind_cr: bool },
}

impl AnswerScan {
    /// In front of an answer.
    pub(super) fn of_answer() -> Self {
        Self::Head { head: AnswerHead::default(), line: Vec::new() }
    }

    /// Follows `bytes`; what the trailers among them may take, in bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> usize {
        let mut taken = 0;
        while !bytes.is_empty() {
            match self {
                Self::Other => return taken,
                Self::Head { head, line } => {
                    let Some(at) = memchr(b'\n', bytes) else {
                        keep(line, bytes);
                        return taken;
                    };
                    let (end, rest) = bytes.split_at(at + 1);
                    bytes = rest;
                    let is_last = match line.is_empty() {
                        true => head.read_line(&end[..end.len().min(MAX_LINE)]),
                        false => {
                            keep(line, end);
                            let is_last = head.read_line(line);
                            line.clear();
                            is_last
                        }
                    };
                    if is_last {
                        *self = Self::behind(*head);
                    }
                }
                Self::Chunks(scan) => {
                    let (passed, step) = scan.step(bytes, SizeRules::LENIENT);
                    bytes = &bytes[passed..];
                    *self = match step {
                        ChunkStep::Stay(ChunkScan::Trailers { .. }) => {
                            Self::Trailers { is_empty: true, is_behind_cr: false }
                        }
                        ChunkStep::Stay(next) => Self::Chunks(next),
                        ChunkStep::Over | ChunkStep::Broken => Self::Other,
                    };
                }
                Self::Trailers { is_empty, is_behind_cr } => {
                    let is_last = *is_empty && *is_behind_cr && bytes[0] == b'\n';
                    taken += HEAD_COPIES;
                    if bytes[0] == b'\n' {
                        taken += FIELD_MEMORY;
                    }
                    // To hyper a line feed alone is a part of the line.
                    *is_empty = match bytes[0] {
                        b'\r' => *is_empty,
                        b'\n' => *is_behind_cr,
                        _ => false,
                    };
                    *is_behind_cr = bytes[0] == b'\r';
                    bytes = &bytes[1..];
                    if is_last {
                        *self = Self::Other;
                    }
                }
            }
        }
        taken
    }

    /// What follows `head`.
    fn behind(head: AnswerHead) -> Self {
        match head.status {
            Some(101) => Self::Other,
            // An answer that comes before the answer (RFC 9110, 15.2).
            Some(100..=199) => Self::of_answer(),
            _ if head.chunked => Self::Chunks(CHUNK),
            _ => Self::Other,
        }
    }
}

/// Keeps what may matter of `part` of a line.
fn keep(line: &mut Vec<u8>, part: &[u8]) {
    let most = MAX_LINE - line.len().min(MAX_LINE);
    line.extend_from_slice(&part[..part.len().min(most)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n";

    /// What is found in an answer that comes in pieces of `size`.
    fn found(answer: &str, size: usize) -> usize {
        let mut scan = AnswerScan::of_answer();
        answer.as_bytes().chunks(size).map(|piece| scan.pass(piece)).sum()
    }

    fn takes(text: &str) -> usize {
        text.len() * HEAD_COPIES + text.matches('\n').count() * FIELD_MEMORY
    }

    #[test]
    fn trailers_are_found_behind_the_last_chunk_however_they_are_cut() {
        for trailers in ["\r\n", "grpc-status: 0\r\n\r\n", "a:\r\nb: 2\r\nc: 3\nd: 4\r\n\r\n"] {
            for body in ["", "5\r\n0\r\n\r\n\r\n", "a;x=1\r\n0123456789\r\n1\r\n\n\r\n"] {
                for before in ["", "\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"] {
                    let answer = [before, CHUNKED, body, "0\r\n", trailers].concat();
                    for size in [1, 2, 3, 7, 50, answer.len()] {
                        assert_eq!(found(&answer, size), takes(trailers), "{answer:?} in pieces of {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_size_of_a_chunk_that_hyper_reads_hides_the_trailers_behind_it() {
        let trailers = "a: 1\r\n\r\n";
        for size in [
            "0".repeat(40) + "5",
            "5;".to_owned() + &"x".repeat(9000),
            "5;\u{1}\u{0}\u{7f}".to_owned(),
            "5 \t;a".to_owned(),
        ] {
            let answer = [CHUNKED, &size, "\r\n01234\r\n0\r\n", trailers].concat();
            for piece in [1, 7, answer.len()] {
                assert_eq!(found(&answer, piece), takes(trailers), "{} in pieces of {piece}", &size[..3]);
            }
        }
        let beyond = [CHUNKED, "1", &"0".repeat(16), "\r\n01234\r\n0\r\n", trailers].concat();
        assert_eq!(found(&beyond, 7), 0, "no length has so many digits");
    }

    #[test]
    fn a_line_that_is_long_and_comes_in_pieces_hides_nothing_and_is_not_kept() {
        let long = "x".repeat(10_000);
        let answer =
            format!("HTTP/1.1 200 {long}\r\nX-Long: {long}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: 1\r\n\r\n");
        for size in [1, 100, 4096] {
            assert_eq!(found(&answer, size), takes("a: 1\r\n\r\n"));
        }
        let mut scan = AnswerScan::of_answer();
        scan.pass(&answer.as_bytes()[..9000]);
        assert!(matches!(scan, AnswerScan::Head { line, .. } if line.len() <= MAX_LINE));
    }

    #[test]
    fn what_follows_the_end_of_an_answer_is_none_of_its_trailers() {
        let junk = format!("{CHUNKED}0\r\na: 1\r\n\r\n").repeat(100);
        for trailers in ["\r\n", "a: 1\r\n\r\n", "a: 1\nb: 2\r\nc: 3\r\n\r\n"] {
            let answer = [CHUNKED, "0\r\n", trailers, &junk].concat();
            for size in [1, 7, answer.len()] {
                assert_eq!(found(&answer, size), takes(trailers), "{trailers:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn nothing_else_is_taken_for_trailers() {
        let body = "0\r\na: 1\r\n\r\n";
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nTransfer-Encoding: chunked\r\n\r\n",
            "+OK POP3\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(found(&[head, body].concat(), 4096), 0, "{head:?}");
        }
        for broken in ["x\r\n", "5\r\n12345!0\r\n", "0\n"] {
            assert_eq!(found(&[CHUNKED, broken, body].concat(), 4096), 0, "{broken:?}");
        }
        assert_eq!(AnswerScan::default().pass(body.as_bytes()), 0);
    }
}
