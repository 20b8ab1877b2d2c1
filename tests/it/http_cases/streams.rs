//! HTTP/2 as a client sees it: frames, and what they say of each stream.

use std::collections::BTreeMap;

use super::cases::latin1;
use super::hpack::Decoder;
use super::message::{self, Answer, Fields};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// All that came on a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<u32, Stream>,
    /// The error codes of GOAWAY frames.
    pub(super) goaway: Vec<u32>,
    decoder: Decoder,
    /// A field section whose CONTINUATION is still to come: its stream, whether it ends it, and its bytes.
    section: Option<(u32, bool, Vec<u8>)>,
}

/// One stream.
#[derive(Debug, Default, Clone)]
pub(super) struct Stream {
    /// The statuses of interim answers.
    pub(super) interim: Vec<u16>,
    head: Option<(u16, Fields)>,
    body: Vec<u8>,
    trailers: Fields,
    /// END_STREAM came.
    pub(super) ended: bool,
    /// The error code of RST_STREAM.
    pub(super) reset: Option<u32>,
}

impl Stream {
    /// Whether nothing more can come.
    pub(super) fn is_closed(&self) -> bool {
        self.ended || self.reset.is_some()
    }

    /// The answer as far as it came.
    pub(super) fn answer(&self) -> Option<Answer> {
        let (status, fields) = self.head.clone()?;
        let (body, trailers) = (latin1(&self.body), self.trailers.clone());
        Some(Answer { status, fields, body, trailers, version: "HTTP/2".to_owned() })
    }
}

impl Streams {
    /// What is known of a stream.
    pub(super) fn stream(&self, id: u32) -> Stream {
        self.streams.get(&id).cloned().unwrap_or_default()
    }

    /// Takes the whole frames off the front of `bytes`.
    pub(super) fn take_in(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + 9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let Some(payload) = bytes.get(at + 9..at + 9 + length) else { break };
            self.frame(head[3], head[4], number(&head[5..9]) & 0x7fff_ffff, payload)?;
            at += 9 + length;
        }
        bytes.drain(..at);
        Ok(())
    }

    fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> Result<(), String> {
        if self.section.is_some() && kind != CONTINUATION {
            return Err(format!("a frame of kind {kind} within a field section"));
        }
        match kind {
            DATA => {
                let data = unpadded(flags, payload)?;
                let stream = self.open(id)?;
                if stream.head.is_none() {
                    return Err(format!("DATA before HEADERS on stream {id}"));
                }
                stream.body.extend_from_slice(data);
                stream.ended = flags & END_STREAM != 0;
            }
            HEADERS => {
                let mut block = unpadded(flags, payload)?;
                if flags & PRIORITY != 0 {
                    block = block.get(5..).ok_or("HEADERS without its priority")?;
                }
                self.section = Some((id, flags & END_STREAM != 0, block.to_vec()));
                self.section_ends(flags)?;
            }
            CONTINUATION => {
                match &mut self.section {
                    Some((of, _, block)) if *of == id => block.extend_from_slice(payload),
                    _ => return Err(format!("CONTINUATION of nothing on stream {id}")),
                }
                self.section_ends(flags)?;
            }
            RST_STREAM => {
                let code = payload.try_into().map(u32::from_be_bytes).map_err(|_| "RST_STREAM of a wrong length")?;
                let stream = self.streams.entry(id).or_default();
                stream.reset = stream.reset.or(Some(code));
            }
            PUSH_PROMISE => return Err("PUSH_PROMISE".to_owned()),
            GOAWAY => self.goaway.push(number(payload.get(4..8).ok_or("GOAWAY of a wrong length")?)),
            // SETTINGS, PING, WINDOW_UPDATE and what is unknown change nothing here.
            _ => {}
        }
        Ok(())
    }

    fn section_ends(&mut self, flags: u8) -> Result<(), String> {
        if flags & END_HEADERS == 0 {
            return Ok(());
        }
        let (id, ends, block) = self.section.take().unwrap();
        let mut fields = self.decoder.fields(&block)?;
        let statuses = message::values(&fields, ":status").len();
        let stream = self.open(id)?;
        if stream.head.is_some() {
            if !ends || fields.iter().any(|(name, _)| name.starts_with(':')) {
                return Err(format!("no trailers on stream {id}: {fields:?}"));
            }
            stream.trailers = fields;
        } else {
            if statuses != 1 || !fields[0].0.eq(":status") {
                return Err(format!("no answer on stream {id}: {fields:?}"));
            }
            let status = fields.remove(0).1;
            let status = status.parse().map_err(|_| format!("no status on stream {id}: {status:?}"))?;
            if (100..200).contains(&status) {
                stream.interim.push(status);
            } else {
                stream.head = Some((status, fields));
            }
        }
        stream.ended = ends;
        Ok(())
    }

    /// A stream on which something comes.
    fn open(&mut self, id: u32) -> Result<&mut Stream, String> {
        let stream = self.streams.entry(id).or_default();
        if stream.ended { Err(format!("something comes on stream {id}, which has ended")) } else { Ok(stream) }
    }
}

/// A client's bytes for GET on this stream; with the preface on the first.
pub(super) fn get(stream: u32, authority: &str, trailers: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if stream == 1 {
        bytes.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        bytes.extend(frame(4, 0, 0, &[]));
    }
    // GET, https and / by their numbers, and the authority as a literal.
    let mut block = vec![0x82, 0x87, 0x84, 0x01, u8::try_from(authority.len()).unwrap()];
    block.extend_from_slice(authority.as_bytes());
    if trailers {
        block.extend_from_slice(b"\x00\x02te\x08trailers");
    }
    bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &block));
    bytes
}

/// One frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], String> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or("no padding in a padded frame")?;
    let kept = rest.len().checked_sub(usize::from(*padding)).ok_or("more padding than frame")?;
    Ok(&rest[..kept])
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_in_frames_that_may_be_padded_and_cut_anywhere() {
        let bytes = [
            frame(HEADERS, END_HEADERS, 1, b"\x08\x03103"),
            frame(HEADERS, PADDED, 1, b"\x02\x88\0\0"),
            frame(CONTINUATION, END_HEADERS, 1, b"\x00\x01x\x01y"),
            frame(DATA, PADDED, 1, b"\x01ok\0"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x01t\x011"),
            frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11]),
        ]
        .concat();
        let (mut streams, mut buffer) = (Streams::default(), Vec::new());
        for byte in bytes {
            buffer.push(byte);
            streams.take_in(&mut buffer).unwrap();
        }
        let (stream, answer) = (streams.stream(1), streams.stream(1).answer().unwrap());
        assert_eq!((stream.interim, stream.ended, stream.reset), (vec![103], true, None));
        assert_eq!((answer.status, answer.body.as_str(), streams.goaway), (200, "ok", vec![11]));
        assert_eq!(
            (message::values(&answer.fields, "x"), message::values(&answer.trailers, "t")),
            (vec!["y"], vec!["1"])
        );
    }

    #[test]
    fn what_no_server_may_send_is_a_fault() {
        let head = || frame(HEADERS, END_HEADERS, 1, b"\x88");
        for bytes in [
            frame(DATA, 0, 1, b"ok"),
            frame(HEADERS, END_HEADERS, 1, b"\x00\x01x\x01y"),
            [frame(HEADERS, 0, 1, b"\x88"), frame(DATA, 0, 1, b"")].concat(),
            [head(), frame(DATA, END_STREAM, 1, b""), frame(DATA, 0, 1, b"")].concat(),
            [head(), head()].concat(),
            frame(CONTINUATION, END_HEADERS, 1, b""),
        ] {
            assert!(Streams::default().take_in(&mut bytes.clone()).is_err(), "{bytes:?}");
        }
    }
}
