//! A connection whose requests are judged before their reader sees them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::body_part::{FIRST_PART, PartSize};
use super::head_rejection::HeadRejection;
use super::head_rules::HeadRules;
use super::head_scan::{RequestScan, UpgradeRequest};
use super::heads::RequestHeads;
use crate::budget::{BudgetExceeded, Reservation};
use crate::io::PeriodicCheck;

/// What stands in for a head that was refused: its reader asks what to answer, in its turn, and finds the refusal in [`RequestHeads`].
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";

/// The same for one that begins as HEAD does: its answer has no body.
const STAND_IN_FOR_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";

/// The most that is read of what follows a head that may switch, before it is answered.
const MAX_EARLY: usize = 4 * 1024;

/// Bytes of a head for which every connection has room: those that come in one read.
const FREE_REQUEST_HEAD: usize = FIRST_PART;

/// A longer one is held as it came and as it is written for the app, in buffers that double and stay as long as somebody reads requests.
const REQUEST_HEAD_COPIES: usize = 4;

/// A socket that requests come by.
pub(crate) trait RequestSource {
    /// Whether its peer sends nothing more, whatever it has sent before.
    fn has_peer_closed(&self) -> bool;

    /// Bytes that it holds of what has come and was not read.
    fn unread(&self) -> usize {
        0
    }
}

/// `S`, read request by request.
///
/// An app that has gone is noticed as the end of what it sends. Where that is not read, since there is more in front of it than is kept,
/// or since whoever reads does not read on, the socket is asked once a second.
#[derive(Debug)]
pub(crate) struct ScannedStream<S> {
    stream: S,
    rules: Arc<HeadRules>,
    scan: RequestScan,
    heads: RequestHeads,
    /// Bytes that were read and not handed on. Empty but for heads that come in pieces, and what lies behind the last request.
    held: Vec<u8>,
    /// What they take of the memory, and the longest head that was handed on.
    reservation: Reservation,
    /// What that takes, in bytes.
    head_room: usize,
    /// Nobody knows its peer.
    is_stranger: bool,
    /// What is read at a time.
    part: PartSize,
    /// So many of them may be.
    cleared: usize,
    head_timeout: Duration,
    /// The end of the time for a head that has begun.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whoever reads waits for more from the socket, and is told of its end.
    is_awaited: bool,
    /// Looks at a socket that is not waited for.
    look: PeriodicCheck,
    /// What was told of it last.
    notified: NotifiedState,
}

/// What [`RequestHeads`] were told of the stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct NotifiedState {
    is_partial: bool,
    is_blocked: bool,
}

impl<S> ScannedStream<S> {
    /// `stream`, whose heads are judged by `rules`, and each have to be complete `head_timeout` after their first byte. What is kept of it is
    /// held to the budget of `reservation`.
    pub(crate) fn new(stream: S, rules: Arc<HeadRules>, head_timeout: Duration, reservation: Reservation) -> Self {
        Self {
            stream,
            rules,
            scan: RequestScan::default(),
            heads: RequestHeads::default(),
            held: Vec::new(),
            part: PartSize::of(reservation.budget()),
            reservation,
            head_room: 0,
            is_stranger: false,
            cleared: 0,
            head_timeout,
            timer: None,
            is_awaited: false,
            look: PeriodicCheck::default(),
            notified: NotifiedState::default(),
        }
    }

    /// The same, where `bytes` of it have been read already.
    pub(crate) fn with_buffered(mut self, bytes: Vec<u8>) -> Self {
        self.reservation.set(bytes.capacity());
        self.held = bytes;
        self
    }

    /// The same, where nobody knows its peer, if `is_stranger`.
    pub(crate) fn of_stranger(mut self, is_stranger: bool) -> Self {
        self.is_stranger = is_stranger;
        self
    }

    /// The same, where what it begins with has been there since `begun`.
    pub(crate) fn with_begun(mut self, begun: Option<Instant>) -> Self {
        self.timer = begun.map(|begun| Box::pin(sleep_until(begun + self.head_timeout)));
        self
    }

    /// What is read of it at a time.
    pub(crate) fn part(&self) -> &PartSize {
        &self.part
    }

    /// What is judged of its requests.
    pub(crate) fn heads(&self) -> RequestHeads {
        self.heads.clone()
    }

    /// The connection, and what was read of it and not handed on.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.held)
    }

    /// Judges `bytes` that were not handed on yet; how many of them may be.
    fn pass(scan: &mut RequestScan, rules: &HeadRules, heads: &RequestHeads, bytes: &[u8]) -> usize {
        // One at a time: hyper notices that an app has gone as long as it has nothing more to read.
        let may_begin = usize::from(!heads.is_busy());
        let passed = scan.pass(rules, bytes, may_begin, |head| heads.push(head));
        if passed.is_broken {
            heads.note_broken();
        }
        passed.bytes
    }

    fn notify_partial(&mut self) {
        let is_partial = !self.held.is_empty();
        if is_partial != self.notified.is_partial {
            self.notified.is_partial = is_partial;
            self.heads.note_partial(is_partial);
        }
    }

    fn notify_blocked<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() != self.notified.is_blocked {
            self.notified.is_blocked = written.is_pending();
            self.heads.note_blocked(written.is_pending());
        }
        written
    }

    /// Keeps `read` for later.
    fn hold(&mut self, read: &[u8]) {
        if !read.is_empty() {
            // Whoever sends it may have us keep it as long as a head may take: not twice of it.
            self.held.reserve_exact(read.len());
            self.held.extend_from_slice(read);
        }
    }

    /// Hands on what may be.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let handed = self.cleared.min(buf.remaining());
        buf.put_slice(&self.held[..handed]);
        self.held.drain(..handed);
        self.cleared -= handed;
        // The head of which this is the end is complete; the next one has a time of its own.
        self.timer = None;
        if self.held.is_empty() {
            // A connection that waits keeps nothing of it.
            self.held = Vec::new();
        }
    }

    /// Accounts for what is held, here and below.
    fn account(&mut self)
    where
        S: RequestSource,
    {
        self.reservation.set(self.head_room + self.held.capacity() + self.stream.unread());
    }

    /// Sees to the room for a head of which `more` bytes have come behind those that are held; what it takes once it was handed on.
    ///
    /// # Errors
    /// There is none.
    fn reserve_head(&mut self, more: usize) -> Result<usize, BudgetExceeded> {
        let read = self.held.len() + more;
        let room = self.head_room.max(REQUEST_HEAD_COPIES * read.saturating_sub(FREE_REQUEST_HEAD));
        match self.is_stranger {
            _ if room == 0 => self.reservation.try_resize_for_first(read)?,
            // Long ones are there until their answers were sent, whose heads may wait for room: some is left beyond.
            true => self.reservation.try_resize_for_stranger(room + read)?,
            false => self.reservation.try_resize_in_turn(room + read)?,
        }
        Ok(room)
    }

    /// While what follows has to wait: an app that goes away is noticed, and what it sends early is kept, within bounds. One that has sent
    /// something behind CONNECT and then ends its sending waits for what becomes of that, which is not long: for a server that accepts.
    fn poll_early(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let may_wait = matches!(self.scan, RequestScan::Switching(UpgradeRequest::Connect));
        while self.held.len() < MAX_EARLY && !self.reservation.budget().is_under_pressure() {
            let before = buf.filled().len();
            ready!(self.poll_socket(cx, buf))?;
            let read = &buf.filled()[before..];
            match read.is_empty() {
                true if may_wait && !self.held.is_empty() => break,
                true => return Poll::Ready(Ok(())),
                false => {}
            }
            self.hold(read);
            buf.set_filled(before);
        }
        self.is_awaited = may_wait;
        Poll::Pending
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let read = self.part.poll_read(Pin::new(&mut self.stream), cx, buf, self.reservation.budget());
        self.is_awaited = read.is_pending();
        read
    }

    /// Whether the app has gone, where that is not noticed by reading.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool
    where
        S: RequestSource,
    {
        if std::mem::take(&mut self.is_awaited) || !self.heads.is_in_flight() {
            self.look.rest();
            return false;
        }
        self.look.poll(cx, || self.stream.has_peer_closed())
    }

    /// Judges what is held, all of which was not handed on yet.
    fn pass_held(&mut self) {
        self.cleared = Self::pass(&mut self.scan, &self.rules, &self.heads, &self.held);
        self.stand_in_for_refused();
    }

    /// What lies in front of a head that was refused is handed on, and then what stands in for it.
    fn stand_in_for_refused(&mut self) {
        if matches!(self.scan, RequestScan::Refused) && !self.heads.is_broken() {
            let stand_in = stand_in_for(&self.held[self.cleared..]);
            self.held.truncate(self.cleared);
            self.held.extend_from_slice(stand_in);
            self.cleared = self.held.len();
        }
    }

    /// The head that is under way is refused, and its reader gets an answer to give, in the order of the requests.
    fn give_up(&mut self, why: HeadRejection) {
        self.heads.push(Err(why));
        self.scan.give_up();
        self.held = stand_in_for(&self.held[self.cleared..]).to_vec();
        self.cleared = self.held.len();
    }
}

/// What stands in for a head that begins so.
fn stand_in_for(head: &[u8]) -> &'static [u8] {
    // Empty lines in front of a request are nothing (RFC 9112, 2.2).
    if head.trim_ascii_start().starts_with(b"HEAD ") { STAND_IN_FOR_HEAD } else { STAND_IN }
}

impl<S: AsyncRead + RequestSource + Unpin> AsyncRead for ScannedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = this.poll_requests(cx, buf);
        this.account();
        this.notify_partial();
        read
    }
}

impl<S: AsyncRead + Unpin> ScannedStream<S> {
    fn poll_requests(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self;
        loop {
            if this.cleared > 0 {
                this.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            match this.scan {
                RequestScan::Switching(_) if this.heads.is_resumed(cx) => {
                    this.scan = RequestScan::default();
                    this.pass_held();
                    continue;
                }
                // Until the answer has been given: what follows may be another protocol.
                RequestScan::Switching(_) => return this.poll_early(cx, buf),
                RequestScan::Refused if this.heads.is_broken() => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the chunks of a body are malformed",
                    )));
                }
                // It has got its answer, and there is nothing more to be said.
                RequestScan::Refused => return Poll::Pending,
                RequestScan::Head(_) if !this.held.is_empty() => {
                    if this.heads.poll_busy(cx) {
                        return this.poll_early(cx, buf);
                    }
                    this.pass_held();
                    if this.cleared > 0 {
                        continue;
                    }
                }
                _ => {}
            }
            let before = buf.filled().len();
            if this.poll_socket(cx, buf)?.is_pending() {
                if !this.scan.is_within_head(this.held.len()) {
                    return Poll::Pending;
                }
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(this.head_timeout)));
                ready!(timer.as_mut().poll(cx));
                this.give_up(HeadRejection::HeadTimeout);
                continue;
            }
            let read = &buf.filled()[before..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let passed = Self::pass(&mut this.scan, &this.rules, &this.heads, read);
                this.hold(&read[passed..]);
                if passed > 0 {
                    this.timer = None;
                }
                buf.set_filled(before + passed);
                this.stand_in_for_refused();
            } else {
                // The reader's memory was borrowed for it.
                match this.reserve_head(read.len()) {
                    Err(BudgetExceeded) => this.give_up(HeadRejection::Overloaded),
                    Ok(room) => {
                        this.hold(read);
                        this.pass_held();
                        if this.cleared > 0 && !matches!(this.scan, RequestScan::Refused) {
                            this.head_room = room;
                        }
                    }
                }
                buf.set_filled(before);
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + RequestSource + Unpin> AsyncWrite for ScannedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.notify_blocked(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.notify_blocked(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Whoever reads flushes behind each look at what there is to be read: that is when we know what it waits for.
        if this.poll_gone(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.notify_blocked(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
