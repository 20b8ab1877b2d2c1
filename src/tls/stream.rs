//! A session as a stream of plaintext, for protocols that read and write it themselves. Bytes that are only carried to and from clients take
//! the relay instead, which copies them once less; those to and from servers are handed on record by record.

mod failure;
mod unread_bytes;

use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use self::failure::StreamFailure;
use self::unread_bytes::UnreadBytes;
use super::{Decrypted, Established, EstablishedWithServer, Session, Violation, record_length};
use crate::io::buffers::{self, Buffers, FIRST_READ, READ, RECORD};
use crate::io::{Outgoing, WriteBuffer};
use crate::policy::Permit;
use crate::sys::socket;
use crate::trust::AuthenticatedServer;

/// What a record and the beginning of the next have around what they carry.
const OVERHEAD: usize = 1024;

/// Whoever has room for less than a record is given no more of the next ones than that.
const WHOLE_RECORD: usize = 16 * 1024 - 1;

/// Whoever has room for so much reads mostly whole records.
const SEVERAL_RECORDS: usize = 2 * RECORD;

/// Less than that, left over from the last record, is not worth a read of its own.
const SCRAPS: usize = 1024;

/// A session on its connection.
///
/// Reading ends with the peer's close_notify, and with [`io::ErrorKind::UnexpectedEof`] if the connection ends without it: what was
/// read is then not known to be whole. A peer that breaks the protocol is [`io::ErrorKind::InvalidData`], by its [`Violation`], after the
/// alert that says so. Shutting down sends close_notify and ends the sending; reading goes on.
///
/// Idle, it holds no buffer: what is kept is part of a record, plaintext that nobody has taken yet (16 KiB at most), and ciphertext
/// that the socket would not take.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    session: Session,
    /// Ciphertext that is not opened: part of a record, or what waits behind `plaintext`.
    pending_ciphertext: UnreadBytes,
    /// `pending_ciphertext` may contain whole records.
    more_pending: bool,
    /// Plaintext that the reader has not had.
    plaintext: UnreadBytes,
    unsent: WriteBuffer,
    broken: Option<StreamFailure>,
    /// The socket has refused bytes of a peer that had not ended its sending: most often, that peer has reset the connection.
    unwritable: Option<io::ErrorKind>,
    /// close_notify was sealed.
    is_shut: bool,
}

/// What a [`Stream`] is made of.
#[derive(Debug)]
pub(crate) struct StreamParts {
    pub(crate) tcp: TcpStream,
    pub(crate) session: Session,
    /// Plaintext that nobody has read yet.
    pub(crate) plaintext: Vec<u8>,
    /// Ciphertext that is not opened.
    pub(crate) pending_ciphertext: Vec<u8>,
    /// Ciphertext that the socket would not take yet.
    pub(crate) unsent: WriteBuffer,
}

impl Stream {
    /// The established session on `tcp`. No permit, no bytes.
    pub fn new(_: &Permit, tcp: TcpStream, established: Established) -> Self {
        Self::begin(tcp, established.session, established.pending_ciphertext)
    }

    /// The established session with the server on `tcp`, which was asked who it is.
    pub fn with_server(_: &AuthenticatedServer, tcp: TcpStream, established: EstablishedWithServer) -> Self {
        Self::begin(tcp, established.session, established.pending_ciphertext)
    }

    fn begin(tcp: TcpStream, session: Session, pending_ciphertext: Vec<u8>) -> Self {
        Self {
            tcp,
            more_pending: !pending_ciphertext.is_empty(),
            pending_ciphertext: UnreadBytes::new(pending_ciphertext),
            session,
            plaintext: UnreadBytes::default(),
            unsent: WriteBuffer::default(),
            broken: None,
            unwritable: None,
            is_shut: false,
        }
    }

    /// The connection below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The connection below; the session is given up.
    pub fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    /// What it is made of, for whoever carries its bytes from here on.
    pub(crate) fn into_parts(self) -> StreamParts {
        let Self { tcp, session, pending_ciphertext, plaintext, unsent, .. } = self;
        StreamParts {
            tcp,
            session,
            plaintext: plaintext.into_rest(),
            pending_ciphertext: pending_ciphertext.into_rest(),
            unsent,
        }
    }

    /// Ready once something can be read without waiting: plaintext, which is kept, or the end. Cancel safe.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut nowhere = ReadBuf::new(&mut []);
        while self.plaintext.is_empty() && !self.session.peer_closed() && self.broken.is_none() {
            if self.more_pending {
                buffers::with(|buffers| self.open_pending(&mut buffers.output, &mut nowhere));
                continue;
            }
            let limit = FIRST_READ.max(record_length(self.pending_ciphertext.rest()).unwrap_or_default());
            if buffers::with(|buffers| self.poll_open_more(cx, buffers, &mut nowhere, limit)).is_pending() {
                // What the peer is owed does not wait for the next write. A failure shows when something is read or written.
                let _ = self.poll_deliver_by_thread(cx);
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Bytes that were written to it and that the socket did not take, sealed.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.memory()
    }

    /// How the connection has failed, if it has: as [`Stream`] says of reading, or else how writing has.
    pub(crate) fn failure(&self) -> Option<io::ErrorKind> {
        self.broken.map(StreamFailure::kind).or(self.unwritable)
    }

    /// How the peer has broken the session, if that is how the connection has failed.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.broken.and_then(StreamFailure::violation)
    }

    /// Whether the peer has ended the connection, or its sending, and nothing is left to be read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.plaintext.is_empty() && !self.more_pending && (self.session.peer_closed() || self.broken.is_some())
    }

    /// Bytes that are held beside the session's keys.
    pub fn memory(&self) -> usize {
        self.unread() + self.unsent.memory()
    }

    /// Bytes of what has come and was not read: plaintext, and records and messages of TLS that are not whole.
    pub(crate) fn unread(&self) -> usize {
        self.pending_ciphertext.memory() + self.plaintext.memory() + self.session.memory()
    }

    /// As [`AsyncRead::poll_read`], of a peer that is not to make us hold more than the rest of a record: no more is read than `into` has room
    /// for.
    pub(crate) fn poll_read_bounded(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let limit = into.remaining() + OVERHEAD;
        self.poll_read_by(cx, into, limit)
    }

    /// Hands what comes next to `sink`, record by record, until that breaks: what was read already, or what comes by reading once, at most
    /// `limit` bytes where no record is longer. `false`: the peer has closed, and everything was handed over. By the thread's buffers, which
    /// the caller has been lent.
    ///
    /// # Errors
    /// As reading; everything that came before was handed over.
    pub(crate) fn poll_records(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        limit: usize,
        mut sink: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Poll<io::Result<bool>> {
        if !self.plaintext.is_empty() {
            let _ = sink(std::mem::take(&mut self.plaintext).rest());
            return Poll::Ready(Ok(true));
        }
        if self.more_pending {
            let mut pending_ciphertext = std::mem::take(&mut self.pending_ciphertext);
            let used = self.open(pending_ciphertext.rest_mut(), &mut buffers.output, sink);
            pending_ciphertext.advance(used);
            self.pending_ciphertext = pending_ciphertext;
            return Poll::Ready(Ok(true));
        }
        if let Some(failure) = self.broken {
            // An alert that the peer does not read has no reader.
            let _ = self.poll_deliver(cx, &mut buffers.output);
            return Poll::Ready(Err(failure.error()));
        }
        if self.session.peer_closed() {
            return Poll::Ready(Ok(false));
        }
        let limit = limit.max(record_length(self.pending_ciphertext.rest()).unwrap_or_default());
        if self.poll_read_and_open(cx, buffers, limit, sink).is_pending() {
            // What the peer is owed does not wait for the next write. A failure shows when something is read or written.
            let _ = self.poll_deliver(cx, &mut buffers.output);
            return Poll::Pending;
        }
        Poll::Ready(Ok(true))
    }

    /// As [`AsyncWrite::poll_write`], by `output`, which the caller has been lent.
    pub(crate) fn poll_write_by(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        output: &mut Outgoing,
    ) -> Poll<io::Result<usize>> {
        if self.is_shut || matches!(self.broken, Some(StreamFailure::Violation(_))) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_deliver(cx, output))?;
        let now = &bytes[..bytes.len().min(READ)];
        if now.is_empty() {
            return Poll::Ready(Ok(0));
        }
        output.clear();
        self.session.encrypt(now, output).map_err(io::Error::other)?;
        match self.unsent.poll_write_through(output.bytes(), Pin::new(&mut self.tcp), cx, &mut 0) {
            // What the socket did not take is kept, and goes first.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(now.len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.note_unwritable(error))),
        }
    }

    /// Writes `parts` one behind the other, as far as they go into one write.
    pub(crate) fn poll_write_gathered(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        buffers::with(|Buffers { input, output }| {
            if let [part] = parts {
                return self.poll_write_by(cx, part, output);
            }
            let mut length = 0;
            for part in parts {
                let now = &part[..part.len().min(READ - length)];
                input[length..length + now.len()].copy_from_slice(now);
                length += now.len();
            }
            self.poll_write_by(cx, &input[..length], output)
        })
    }

    /// As [`AsyncWrite::poll_shutdown`], by `output`, which the caller has been lent.
    pub(crate) fn poll_shutdown_by(&mut self, cx: &mut Context<'_>, output: &mut Outgoing) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(self.poll_deliver(cx, output))?;
            output.clear();
            self.session.close_notify(output).map_err(io::Error::other)?;
            self.is_shut = true;
            // Our FIN follows, and goes with it in one packet.
            let sent =
                socket::send_before_more(&self.tcp, output.bytes()).map_err(|error| self.note_unwritable(error))?;
            self.unsent.push(&output.bytes()[sent..]);
        }
        ready!(self.poll_deliver(cx, output))?;
        Poll::Ready(socket::end_sending(&self.tcp))
    }

    /// Sends what is left to be sent, and the key update that the peer waits for, as far as the socket takes it. By `output`, which the caller
    /// has been lent.
    pub(crate) fn poll_deliver(&mut self, cx: &mut Context<'_>, output: &mut Outgoing) -> Poll<io::Result<()>> {
        loop {
            if let Err(error) = ready!(self.unsent.poll_deliver(Pin::new(&mut self.tcp), cx, &mut 0)) {
                return Poll::Ready(Err(self.note_unwritable(error)));
            }
            if self.is_shut || !self.session.owes_key_update() {
                return Poll::Ready(Ok(()));
            }
            output.clear();
            self.session.write_key_update(output).map_err(io::Error::other)?;
            self.unsent.push(output.bytes());
        }
    }

    /// A reset is found by whoever reads or writes first; a peer that has said goodbye before may leave as it likes.
    fn note_unwritable(&mut self, error: io::Error) -> io::Error {
        if !self.session.peer_closed() {
            self.unwritable = Some(error.kind());
        }
        error
    }

    fn poll_deliver_by_thread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        buffers::with(|buffers| self.poll_deliver(cx, &mut buffers.output))
    }

    /// Opens records at the front of `wire`, until `sink` breaks; gives the bytes done with.
    fn open(&mut self, wire: &mut [u8], output: &mut Outgoing, sink: impl FnMut(&[u8]) -> ControlFlow<()>) -> usize {
        output.clear();
        let decrypted = self.session.decrypt(wire, output, sink);
        self.unsent.push(output.bytes());
        match decrypted {
            Ok(Decrypted { used, paused }) => {
                self.more_pending = paused;
                used
            }
            Err(violation) => {
                self.broken = Some(StreamFailure::Violation(violation));
                self.more_pending = false;
                wire.len()
            }
        }
    }

    /// Reads ciphertext once, so that there are at most `limit` bytes of it, and opens it for `sink`.
    fn poll_read_and_open(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        limit: usize,
        sink: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Poll<()> {
        let Buffers { input, output } = buffers;
        let kept = self.pending_ciphertext.rest().len();
        let end = limit.min(input.len());
        let Some(space) = input.get_mut(kept..end).filter(|space| !space.is_empty()) else {
            // No record is that long.
            self.broken = Some(StreamFailure::Violation(Violation::TooLong));
            return Poll::Ready(());
        };
        let mut space = ReadBuf::new(space);
        let read = match ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut space)) {
            Ok(()) => space.filled().len(),
            Err(error) => {
                self.broken = Some(StreamFailure::Socket(error.kind()));
                return Poll::Ready(());
            }
        };
        if read == 0 {
            self.broken = Some(StreamFailure::Truncated);
            return Poll::Ready(());
        }
        input[..kept].copy_from_slice(self.pending_ciphertext.rest());
        let wire = &mut input[..kept + read];
        let used = self.open(wire, output, sink);
        self.pending_ciphertext = UnreadBytes::new(wire[used..].to_vec());
        Poll::Ready(())
    }

    /// Opens what is held into `into`, as far as there is room.
    fn open_pending(&mut self, output: &mut Outgoing, into: &mut ReadBuf<'_>) {
        let mut pending_ciphertext = std::mem::take(&mut self.pending_ciphertext);
        let mut plaintext = std::mem::take(&mut self.plaintext);
        let used = self.open(pending_ciphertext.rest_mut(), output, |payload| fill(into, &mut plaintext, payload));
        self.plaintext = plaintext;
        pending_ciphertext.advance(used);
        self.pending_ciphertext = pending_ciphertext;
    }

    /// Reads ciphertext once, so that there are at most `limit` bytes of it, and opens it into `into`, as far as there is room there.
    fn poll_open_more(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        into: &mut ReadBuf<'_>,
        limit: usize,
    ) -> Poll<()> {
        let mut plaintext = std::mem::take(&mut self.plaintext);
        let sink = |payload: &[u8]| fill(into, &mut plaintext, payload);
        let polled = self.poll_read_and_open(cx, buffers, limit, sink);
        self.plaintext = plaintext;
        polled
    }
}

/// Puts `payload` into `into`, and what has no room there behind `plaintext`.
fn fill(into: &mut ReadBuf<'_>, plaintext: &mut UnreadBytes, payload: &[u8]) -> ControlFlow<()> {
    let (now, later) = payload.split_at(payload.len().min(into.remaining()));
    into.put_slice(now);
    plaintext.push(later);
    if into.remaining() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

impl Stream {
    /// Reads into `into` what has come already, or else what comes by reading ciphertext once, so that there are at most `limit` bytes of it
    /// where no record is longer.
    fn poll_read_by(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>, limit: usize) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let mut may_read = false;
        loop {
            let got = into.filled().len() - before;
            let waiting = self.plaintext.rest();
            if !waiting.is_empty() {
                let now = waiting.len().min(into.remaining());
                into.put_slice(&waiting[..now]);
                self.plaintext.advance(now);
                // Behind a few bytes that were left over there is mostly more.
                may_read = now < SCRAPS;
            } else if self.more_pending {
                buffers::with(|buffers| self.open_pending(&mut buffers.output, into));
            } else if (got == 0 || may_read && got < SCRAPS) && !self.session.peer_closed() && self.broken.is_none() {
                may_read = false;
                let limit = limit.max(record_length(self.pending_ciphertext.rest()).unwrap_or_default());
                if buffers::with(|buffers| self.poll_open_more(cx, buffers, into, limit)).is_pending() {
                    // What the peer is owed does not wait for the next write. A failure shows when something is read or written.
                    let _ = self.poll_deliver_by_thread(cx);
                    return if got == 0 { Poll::Pending } else { Poll::Ready(Ok(())) };
                }
            } else {
                // An alert that the peer does not read has no reader.
                let _ = self.poll_deliver_by_thread(cx);
                return match self.broken {
                    Some(failure) if got == 0 => Poll::Ready(Err(failure.error())),
                    _ => Poll::Ready(Ok(())),
                };
            }
            if into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // What the reader has no room for would have to be kept: no more of that than a record, and nearly nothing where whole records come anyway.
        let some_records = WHOLE_RECORD..SEVERAL_RECORDS;
        let beyond = if some_records.contains(&into.remaining()) { RECORD } else { OVERHEAD };
        let limit = beyond + into.remaining().min(READ + OVERHEAD);
        self.get_mut().poll_read_by(cx, into, limit)
    }
}

impl AsyncWrite for Stream {
    /// Takes bytes once all of those before have been taken by the socket.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        buffers::with(|buffers| self.get_mut().poll_write_by(cx, bytes, &mut buffers.output))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_deliver_by_thread(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        buffers::with(|buffers| self.get_mut().poll_shutdown_by(cx, &mut buffers.output))
    }
}

#[cfg(test)]
mod tests;
