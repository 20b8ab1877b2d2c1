//! A client of HTTP/1.1, by hand.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

use super::fields;
use crate::support::client::{Client, Connector, Ending};

/// A connection, and what came on it that nobody has asked for yet.
pub(super) struct Talk {
    pub(super) client: Client,
    bytes: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// The trailers, as they stand there.
    pub(super) trailers: String,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    /// The values of a field.
    pub(super) fn fields(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// That it is one of ours, for this reason.
    #[track_caller]
    pub(super) fn is_ours(&self, status: u16, reason: &str) {
        assert_eq!((self.status(), self.fields("vestibule-reason")), (status, vec![reason]), "{}", self.head);
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!((&problem["status"], &problem["reason"]), (&status.into(), &reason.into()), "{problem}");
    }

    /// That it is the last one on its connection, or not.
    pub(super) fn says_close(&self) -> bool {
        self.fields("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Talk {
    pub(super) fn by(connector: &Connector, addr: SocketAddr) -> Self {
        Self::of(connector.connect(addr).unwrap())
    }

    pub(super) fn of(client: Client) -> Self {
        Self { client, bytes: Vec::new() }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.client.send(bytes.as_ref()).unwrap();
    }

    /// Sends `request`, and gives its answer.
    #[track_caller]
    pub(super) fn ask(&mut self, request: &str) -> Answer {
        self.send(request);
        match request.starts_with("HEAD ") {
            true => self.answer_to_head(),
            false => self.answer(),
        }
    }

    /// More of what comes; how it ended, if nothing more does.
    fn fill(&mut self) -> Option<Ending> {
        let mut space = vec![0; 64 * 1024];
        match rustls::Stream::new(&mut self.client.tls, &mut self.client.tcp).read(&mut space) {
            Ok(0) => Some(Ending::CloseNotify),
            Ok(n) => {
                self.bytes.extend_from_slice(&space[..n]);
                None
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Some(Ending::Fin),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(Ending::Reset),
            Err(error) => panic!("after {:?}: {error}", String::from_utf8_lossy(&self.bytes)),
        }
    }

    #[track_caller]
    fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|window| window == end) {
                return self.bytes.drain(..at + end.len()).collect();
            }
            if let Some(ending) = self.fill() {
                panic!("{ending:?} within {:?}", String::from_utf8_lossy(&self.bytes));
            }
        }
    }

    /// A head, with its empty line.
    #[track_caller]
    pub(super) fn head(&mut self) -> String {
        String::from_utf8(self.until(b"\r\n\r\n")).unwrap()
    }

    /// The next `n` bytes.
    #[track_caller]
    pub(super) fn take(&mut self, n: usize) -> Vec<u8> {
        while self.bytes.len() < n {
            if let Some(ending) = self.fill() {
                panic!("{ending:?} after {} bytes of {n}", self.bytes.len());
            }
        }
        self.bytes.drain(..n).collect()
    }

    /// All that comes until the other side's sending ends, and how it does.
    pub(super) fn rest(&mut self) -> (Vec<u8>, Ending) {
        let ending = loop {
            if let Some(ending) = self.fill() {
                break ending;
            }
        };
        (std::mem::take(&mut self.bytes), ending)
    }

    #[track_caller]
    pub(super) fn answer_to_head(&mut self) -> Answer {
        Answer { head: self.head(), body: Vec::new(), trailers: String::new() }
    }

    /// An answer, with the body that its head promises.
    #[track_caller]
    pub(super) fn answer(&mut self) -> Answer {
        let head = self.head();
        let (mut body, mut trailers) = (Vec::new(), String::new());
        let length = fields(&head, "content-length").first().map(|length| length.parse::<usize>().unwrap());
        match (&head[9..12], length) {
            ("204" | "304", _) => {}
            (status, _) if status.starts_with('1') => {}
            (_, Some(length)) => body = self.take(length),
            _ if fields(&head, "transfer-encoding") == ["chunked"] => (body, trailers) = self.chunks(),
            _ => body = self.rest().0,
        }
        Answer { head, body, trailers }
    }

    #[track_caller]
    fn chunks(&mut self) -> (Vec<u8>, String) {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n")).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            body.extend(self.take(size));
            assert_eq!(self.take(2), b"\r\n");
        }
        let mut trailers = String::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n")).unwrap();
            if line == "\r\n" {
                return (body, trailers);
            }
            trailers.push_str(&line);
        }
    }
}
