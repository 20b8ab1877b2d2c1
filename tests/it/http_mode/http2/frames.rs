//! A client of HTTP/2 by single frames.

use super::super::talk::Talk;
use crate::support::client::{Client, Ending};

const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// What may be on its way before anybody says more, in bytes (RFC 9113, 6.9.2).
const INITIAL_WINDOW: u32 = 65_535;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A frame.
#[derive(Debug, Clone)]
struct RawFrame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// The bytes of a frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of a GET for `/` with a field that goes into the table and then so many times from there (RFC 7541, 6.1 and 6.2.1).
fn repeated(times: usize) -> Vec<u8> {
    [&[0x82, 0x87, 0x84, 0x41, 1, b'a', 0x40, 1, b'a', 1, b'b'][..], &vec![0xbe; times]].concat()
}

/// A connection, and the frames that came and were not asked for.
pub(in crate::http_mode) struct Frames {
    talk: Talk,
    waiting: Vec<RawFrame>,
}

impl Frames {
    /// Says that HTTP/2 is spoken from here on.
    pub(in crate::http_mode) fn begin(client: Client) -> Self {
        let mut frames = Self { talk: Talk::of(client), waiting: Vec::new() };
        frames.talk.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.send(SETTINGS, 0, 0, &[]);
        frames
    }

    /// The same, with so much room for each answer.
    pub(in crate::http_mode) fn begin_with_window(client: Client, window: u32) -> Self {
        let mut frames = Self { talk: Talk::of(client), waiting: Vec::new() };
        frames.talk.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, 6.5.2).
        frames.send(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
        frames
    }

    /// Whom the program sees.
    pub(super) fn client_addr(&self) -> String {
        self.talk.client.tcp.local_addr().unwrap().to_string()
    }

    /// Resets the connection below.
    pub(in crate::http_mode) fn reset_connection(self) {
        self.talk.client.reset();
    }

    /// Says close_notify and closes the connection below, whatever has come on it.
    pub(super) fn close_connection(mut self) {
        self.talk.client.close_notify();
        self.reset_connection();
    }

    /// More room for the answer of a stream.
    pub(in crate::http_mode) fn give_room(&mut self, stream: u32, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    /// Why a stream was reset, once it is.
    pub(in crate::http_mode) fn reset(&mut self, stream: u32) -> u32 {
        loop {
            let frame = self.read();
            if frame.kind == RST_STREAM && frame.stream == stream {
                return u32::from_be_bytes(frame.payload.try_into().unwrap());
            }
            self.waiting.push(frame);
        }
    }

    /// Waits for the answer to a PING of ours, whatever comes before it.
    pub(in crate::http_mode) fn skip_to_pong(&mut self) {
        while !matches!(self.read(), RawFrame { kind: PING, flags, .. } if flags & ACK != 0) {}
    }

    /// The same, where so much of each answer may be on its way, in frames of such a length.
    pub(in crate::http_mode) fn begin_with(client: Client, window: u32, max_frame: u32) -> Self {
        let mut frames = Self { talk: Talk::of(client), waiting: Vec::new() };
        frames.talk.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let setting = |name: u16, value: u32| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        frames.send(SETTINGS, 0, 0, &[setting(4, window), setting(5, max_frame)].concat());
        frames.send(WINDOW_UPDATE, 0, 0, &(window - INITIAL_WINDOW).to_be_bytes());
        frames
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.talk.send(frame(kind, flags, stream, payload));
    }

    /// Asks for `/`.
    pub(in crate::http_mode) fn ask(&mut self, stream: u32) {
        // :method GET, :scheme https, :path /, :authority a (RFC 7541, appendix A).
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &[0x82, 0x87, 0x84, 0x41, 1, b'a']);
    }

    /// Asks for `path`.
    pub(in crate::http_mode) fn ask_for(&mut self, stream: u32, path: &str) {
        let path = [&[0x04, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
        let head = [&[0x82, 0x87][..], &path, &[0x41, 1, b'a']].concat();
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &head);
    }

    /// Asks for `/` with one more field, whose name may be any bytes.
    pub(super) fn ask_with(&mut self, stream: u32, name: &[u8], value: &[u8]) {
        let text = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
        // A literal with a new name, without indexing (RFC 7541, 6.2.2).
        let field = [&[0x00][..], &text(name), &text(value)].concat();
        let head = [&[0x82, 0x87, 0x84, 0x41, 1, b'a'][..], &field].concat();
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &head);
    }

    /// Begins to send a body of ten bytes to `/` by `method`, of which five come.
    pub(super) fn begin_ten(&mut self, stream: u32, method: &str) {
        let method = [&[0x02, u8::try_from(method.len()).unwrap()], method.as_bytes()].concat();
        let head = [&method[..], &[0x87, 0x84, 0x41, 1, b'a', 0x0f, 0x0d, 2, b'1', b'0']].concat();
        self.send(HEADERS, END_HEADERS, stream, &head);
        self.send(DATA, 0, stream, b"hello");
    }

    /// Sends the other five.
    pub(super) fn end_ten(&mut self, stream: u32) {
        self.send(DATA, END_STREAM, stream, b"hello");
    }

    /// The next frames of a stream: the body of its answer, and with which error it is let go behind that.
    pub(super) fn answer_and_reset(&mut self, stream: u32) -> (Vec<u8>, u32) {
        let mut body = Vec::new();
        loop {
            let frame = self.read();
            match frame.kind {
                _ if frame.stream != stream => {}
                DATA => body.extend(frame.payload),
                RST_STREAM => return (body, u32::from_be_bytes(frame.payload[..].try_into().unwrap())),
                _ => {}
            }
        }
    }

    /// Says that the settings of the other side are known, once they have come.
    pub(super) fn acknowledge(&mut self) {
        self.next(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0);
        self.send(SETTINGS, ACK, 0, &[]);
    }

    /// How much of all bodies may be on its way at first, and how much of one.
    fn windows(&mut self) -> [usize; 2] {
        let settings = self.next(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).payload;
        // SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, 6.5.2).
        let window = settings.chunks(6).find(|setting| setting[..2] == [0, 4]).unwrap()[2..].try_into().unwrap();
        // From here on it is so; of the connection's it is said after that.
        self.send(SETTINGS, ACK, 0, &[]);
        let more = self.next(|frame| frame.stream == 0 && frame.kind == WINDOW_UPDATE).payload;
        let more = u32::from_be_bytes(more.try_into().unwrap());
        [INITIAL_WINDOW + more, u32::from_be_bytes(window)].map(|window| usize::try_from(window).unwrap())
    }

    /// How many streams there may be at once, as we are told.
    pub(super) fn announced_streams(&mut self) -> u32 {
        let settings = self.next(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).payload;
        // SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 6.5.2).
        let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).unwrap();
        u32::from_be_bytes(streams[2..].try_into().unwrap())
    }

    /// Asks for `path` as often at once as we may. The last stream of these.
    pub(in crate::http_mode) fn ask_for_all(&mut self, path: &str) -> u32 {
        let streams = self.announced_streams();
        (0..streams).for_each(|n| self.ask_for(2 * n + 1, path));
        2 * streams - 1
    }

    /// Asks for `/` though the connection may be over, and reads what comes until it is.
    pub(super) fn ask_to_the_end(mut self, stream: u32) -> Vec<u8> {
        let head = [0x82, 0x87, 0x84, 0x41, 1, b'a'];
        // Whoever is gone has heard nothing of it.
        let _ = self.talk.client.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &head));
        self.talk.rest().0
    }

    /// Begins to send a body of any length to `/`.
    pub(in crate::http_mode) fn begin_post(&mut self, stream: u32) {
        self.send(HEADERS, END_HEADERS, stream, &[0x83, 0x87, 0x84, 0x41, 1, b'a']);
    }

    /// Sends `length` bytes of it, with leave.
    pub(super) fn upload(&mut self, stream: u32, length: usize) {
        const FRAME: usize = 16 * 1024;
        let mut windows = self.windows();
        for _ in 0..length.div_ceil(FRAME) {
            while windows.iter().any(|window| *window < FRAME) {
                let update = self.next(|frame| frame.kind == WINDOW_UPDATE);
                let room = u32::from_be_bytes(update.payload[..].try_into().unwrap());
                windows[usize::from(update.stream == stream)] += usize::try_from(room).unwrap();
            }
            self.send(DATA, 0, stream, &[7; FRAME]);
            windows.iter_mut().for_each(|window| *window -= FRAME);
        }
    }

    /// Ends a body by trailers: a `:path`, which belongs in heads alone, and `x-sum: 1`.
    pub(super) fn end_with_path(&mut self, stream: u32) {
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, b"\x04\x02/b\x00\x05x-sum\x011");
    }

    /// Asks for `/` with the same field so many times, which is one byte each after the first.
    pub(super) fn ask_with_fields(&mut self, stream: u32, times: usize) {
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &repeated(times));
    }

    /// Begins the same head, and does not end it. `kind` is that of the frame.
    pub(super) fn begin_fields(&mut self, kind: u8, stream: u32, times: usize) {
        // Whoever is turned away meanwhile has been told.
        let _ = self.talk.client.send(&frame(kind, 0, stream, &repeated(times)));
    }

    /// Asks for `/` by a head of so many kilobytes, in frames of 16 KiB between which there is a moment.
    pub(super) fn ask_in_parts(&mut self, stream: u32, kilobytes: u8) {
        let mut head = vec![0x82, 0x87, 0x84, 0x41, 1, b'a'];
        for nth in 0..kilobytes {
            // A literal of 900 bytes that goes into no table.
            head.extend([&[0x00, 2, b'x', b'a' + nth % 26, 0x7f, 0x85, 0x06][..], &[b'v'; 900]].concat());
        }
        let mut parts = head.chunks(16 * 1024).peekable();
        let mut kind = HEADERS;
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            let flags = if kind == HEADERS { END_STREAM } else { 0 } | if is_last { END_HEADERS } else { 0 };
            self.send(kind, flags, stream, part);
            kind = CONTINUATION;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Asks for `/` by a head of ten kilobytes, whether anybody reads it or not.
    pub(super) fn ask_in_a_long_head(&mut self, stream: u32) {
        let field = [&b"\x00\x01a\x7f\x91\x4d"[..], &[b'v'; 10_000]].concat();
        let head = [&[0x82, 0x87, 0x84, 0x41, 1, b'a'][..], &field].concat();
        let _ = self.talk.client.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &head));
    }

    /// Ends a body by trailers that are the same field so many times.
    pub(super) fn end_with_fields(&mut self, stream: u32, times: usize) {
        let fields = [&b"\x40\x01a\x01b"[..], &vec![0xbe; times]].concat();
        let _ = self.talk.client.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields));
    }

    /// The head of an answer, in the bytes that came.
    pub(super) fn answer_head(&mut self, stream: u32) -> Vec<u8> {
        self.next(|frame| frame.stream == stream && frame.kind == HEADERS).payload
    }

    /// Whether there is room for this connection, as far as a PING is answered.
    pub(super) fn is_let_in(&mut self) -> bool {
        self.ping(1);
        loop {
            match self.read() {
                RawFrame { kind: PING, flags, .. } if flags & ACK != 0 => return true,
                frame if frame.kind == GOAWAY => {
                    self.waiting.push(frame);
                    return false;
                }
                _ => {}
            }
        }
    }

    /// Begins a head that is continued by another frame.
    pub(in crate::http_mode) fn begin_head(&mut self, stream: u32) {
        self.send(HEADERS, END_STREAM, stream, &[0x82, 0x87]);
    }

    /// Begins to send a body to `/`, of as many bytes as there is leave to send, in frames of `length` bytes. How many these are.
    pub(super) fn fill(&mut self, stream: u32, length: usize) -> usize {
        let [_, bytes] = self.windows();
        self.send(HEADERS, END_HEADERS, stream, &[0x83, 0x87, 0x84, 0x41, 1, b'a']);
        self.send_parts(stream, length, bytes);
        bytes
    }

    /// Waits until `bytes` more of the body may be sent.
    pub(super) fn wait_for_leave(&mut self, stream: u32, bytes: usize) {
        let mut leave = 0;
        while leave < bytes {
            let update = self.next(|frame| frame.stream == stream && frame.kind == WINDOW_UPDATE).payload;
            leave += usize::try_from(u32::from_be_bytes(update.try_into().unwrap())).unwrap();
        }
    }

    /// Sends `bytes` more of a body, in frames of `length` bytes.
    pub(super) fn send_parts(&mut self, stream: u32, length: usize, bytes: usize) {
        self.talk.send(frame(DATA, 0, stream, &vec![7; length]).repeat(bytes / length));
    }

    /// Begins to send a body of five bytes to `/`, all of which come, but not the word that nothing follows.
    pub(in crate::http_mode) fn post_hello(&mut self, stream: u32) {
        // The same with :method POST, and content-length.
        let head = [0x83, 0x87, 0x84, 0x41, 1, b'a', 0x0f, 0x0d, 1, b'5'];
        self.send(HEADERS, END_HEADERS, stream, &head);
        self.send(DATA, 0, stream, b"hello");
    }

    /// That word.
    pub(in crate::http_mode) fn end(&mut self, stream: u32) {
        self.send(DATA, END_STREAM, stream, b"");
    }

    /// So many questions whether the other side is there.
    pub(in crate::http_mode) fn ping(&mut self, times: usize) {
        let one = [0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        // Whoever is turned away in the middle of it has been told.
        let _ = self.talk.client.send(&one.repeat(times));
    }

    fn read(&mut self) -> RawFrame {
        let head = self.talk.take(9);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        RawFrame { kind: head[3], flags: head[4], stream, payload: self.talk.take(length) }
    }

    /// The next frame that is looked for; others wait.
    fn next(&mut self, wanted: impl Fn(&RawFrame) -> bool) -> RawFrame {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(at);
        }
        loop {
            let frame = self.read();
            assert!(frame.kind != RST_STREAM, "{frame:?}");
            if wanted(&frame) {
                return frame;
            }
            self.waiting.push(frame);
        }
    }

    /// The body of an answer.
    pub(in crate::http_mode) fn answer(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.next(|frame| frame.stream == stream && matches!(frame.kind, DATA | HEADERS));
            if frame.kind == DATA {
                body.extend(frame.payload);
            }
            if frame.flags & END_STREAM != 0 {
                return body;
            }
        }
    }

    /// The next part of the body of an answer.
    pub(in crate::http_mode) fn part(&mut self, stream: u32) -> Vec<u8> {
        self.next(|frame| frame.stream == stream && frame.kind == DATA).payload
    }

    /// Takes the body of an answer, and tells of each `part` of it that was read, for the stream and for the connection. How long it was.
    pub(super) fn take_and_tell(&mut self, stream: u32, part: usize) -> usize {
        let (mut length, mut untold) = (0, 0);
        loop {
            let frame = self.next(|frame| frame.stream == stream && frame.kind == DATA || frame.kind == GOAWAY);
            assert_eq!(frame.kind, DATA, "turned away behind {length} bytes");
            length += frame.payload.len();
            if frame.flags & END_STREAM != 0 {
                return length;
            }
            untold += frame.payload.len();
            let told = u32::try_from(part).unwrap().to_be_bytes();
            while untold >= part {
                untold -= part;
                self.send(WINDOW_UPDATE, 0, stream, &told);
                self.send(WINDOW_UPDATE, 0, 0, &told);
            }
        }
    }

    /// The next GOAWAY: the last stream that is served, and why.
    pub(in crate::http_mode) fn goaway(&mut self) -> (u32, u32) {
        let frame = self.next(|frame| frame.kind == GOAWAY);
        let number = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
        (number(0), number(4))
    }

    /// Answers the PING that has come, or comes next.
    pub(super) fn answer_pings(&mut self) {
        let ping = self.next(|frame| frame.kind == PING && frame.flags & ACK == 0);
        self.send(PING, ACK, 0, &ping.payload);
    }

    /// Answers a PING that nobody has sent.
    pub(super) fn answer_no_ping(&mut self) {
        self.send(PING, ACK, 0, &[7; 8]);
    }

    /// Waits for the answer to a PING of ours.
    pub(super) fn pinged(&mut self) {
        self.next(|frame| frame.kind == PING && frame.flags & ACK != 0);
    }

    /// Whether the connection ends as one that is whole.
    pub(super) fn ends_cleanly(&mut self) -> bool {
        self.talk.rest().1 == Ending::CloseNotify
    }
}
