//! A session as a stream of plaintext, for protocols that read and write it themselves. Bytes that are only carried take the relay
//! instead, which copies them once less.

use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Decrypted, Established, Session};
use crate::io::buffers::{self, Buffers, READ, RECORD};
use crate::io::{Outgoing, WriteBuffer};
use crate::policy::Permit;
use crate::sys::socket;

/// A client's session on its connection.
///
/// Reading ends with the client's close_notify, and with [`io::ErrorKind::UnexpectedEof`] if the connection ends without it: what was
/// read is then not known to be whole. A client that breaks the protocol is [`io::ErrorKind::InvalidData`], after the alert that says
/// so. Shutting down sends close_notify and ends the sending; reading goes on.
///
/// Idle, it holds no buffer: what is kept is part of a record, plaintext that nobody has taken yet (16 KiB at most), and ciphertext
/// that the socket would not take.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    session: Session,
    /// Ciphertext that is not opened: part of a record, or what waits behind `plaintext`.
    held: UnreadBytes,
    /// `held` may contain whole records.
    more_held: bool,
    /// Plaintext that the reader has not had.
    plaintext: UnreadBytes,
    unsent: WriteBuffer,
    /// The client has broken the protocol, or its connection has ended without close_notify.
    broken: Option<io::ErrorKind>,
    /// close_notify was sealed.
    is_shut: bool,
}

/// Bytes that are used up from the front.
#[derive(Debug, Default)]
struct UnreadBytes {
    bytes: Vec<u8>,
    /// So many are used up. Invariant: less than there are, or there are none.
    used: usize,
}

impl UnreadBytes {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    fn rest_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used..]
    }

    /// Uses up the next `count` bytes; the memory goes with the last of them.
    fn advance(&mut self, count: usize) {
        self.used += count;
        if self.used >= self.bytes.len() {
            *self = Self::default();
        }
    }

    fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.used);
        self.bytes
    }
}

/// What a [`Stream`] is made of.
#[derive(Debug)]
pub(crate) struct StreamParts {
    pub(crate) tcp: TcpStream,
    pub(crate) session: Session,
    /// Plaintext that nobody has read yet.
    pub(crate) plaintext: Vec<u8>,
    /// Ciphertext that is not opened.
    pub(crate) held: Vec<u8>,
    /// Ciphertext that the socket would not take yet.
    pub(crate) unsent: WriteBuffer,
}

impl Stream {
    /// The established session on `tcp`. No permit, no bytes.
    pub fn new(_: &Permit, tcp: TcpStream, established: Established) -> Self {
        Self {
            tcp,
            more_held: !established.pending_ciphertext.is_empty(),
            held: UnreadBytes::new(established.pending_ciphertext),
            session: established.session,
            plaintext: UnreadBytes::default(),
            unsent: WriteBuffer::default(),
            broken: None,
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
        let Self { tcp, session, held, plaintext, unsent, .. } = self;
        StreamParts { tcp, session, plaintext: plaintext.into_rest(), held: held.into_rest(), unsent }
    }

    /// Ready once something can be read without waiting: plaintext, which is kept, or the end. Cancel safe.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut nowhere = ReadBuf::new(&mut []);
        while self.plaintext.is_empty() && !self.session.client_closed() && self.broken.is_none() {
            if self.more_held {
                buffers::with(|buffers| self.open_held(&mut buffers.output, &mut nowhere));
            } else if buffers::with(|buffers| self.poll_open_more(cx, buffers, &mut nowhere)).is_pending() {
                // What the client is owed does not wait for the next write. A failure shows when something is read or written.
                let _ = self.poll_deliver(cx);
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Bytes that were written to it and that the socket did not take, sealed.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.memory()
    }

    /// How the connection has failed, if it has: as [`Stream`] says of reading.
    pub(crate) fn failure(&self) -> Option<io::ErrorKind> {
        self.broken
    }

    /// Whether the client has ended the connection, or its sending, and nothing is left to be read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.plaintext.is_empty() && !self.more_held && (self.session.client_closed() || self.broken.is_some())
    }

    /// Bytes that are held beside the session's own.
    pub fn memory(&self) -> usize {
        self.held.bytes.capacity() + self.plaintext.bytes.capacity() + self.unsent.memory()
    }

    /// Opens records at the front of `wire` into `into`, until that is full; gives the bytes done with.
    fn open(&mut self, wire: &mut [u8], output: &mut Outgoing, into: &mut ReadBuf<'_>) -> usize {
        output.clear();
        let plaintext = &mut self.plaintext;
        let decrypted = self.session.decrypt(wire, output, |payload| {
            let (now, later) = payload.split_at(payload.len().min(into.remaining()));
            into.put_slice(now);
            plaintext.bytes.extend_from_slice(later);
            if into.remaining() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.unsent.push(output.bytes());
        match decrypted {
            Ok(Decrypted { used, stopped }) => {
                self.more_held = stopped;
                used
            }
            Err(_) => {
                self.broken = Some(io::ErrorKind::InvalidData);
                self.more_held = false;
                wire.len()
            }
        }
    }

    /// Opens what is held into `into`, as far as there is room.
    fn open_held(&mut self, output: &mut Outgoing, into: &mut ReadBuf<'_>) {
        let mut held = std::mem::take(&mut self.held);
        let used = self.open(held.rest_mut(), output, into);
        held.advance(used);
        self.held = held;
    }

    /// Reads ciphertext once and opens it into `into`.
    fn poll_open_more(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers, into: &mut ReadBuf<'_>) -> Poll<()> {
        let Buffers { input, output } = buffers;
        let kept = self.held.rest().len();
        let end = (RECORD + READ).min(input.len());
        let Some(space) = input.get_mut(kept..end).filter(|space| !space.is_empty()) else {
            // No record is that long.
            self.broken = Some(io::ErrorKind::InvalidData);
            return Poll::Ready(());
        };
        let mut space = ReadBuf::new(space);
        let read = match ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut space)) {
            Ok(()) => space.filled().len(),
            Err(error) => {
                self.broken = Some(error.kind());
                return Poll::Ready(());
            }
        };
        if read == 0 {
            self.broken = Some(io::ErrorKind::UnexpectedEof);
            return Poll::Ready(());
        }
        input[..kept].copy_from_slice(self.held.rest());
        let wire = &mut input[..kept + read];
        let used = self.open(wire, output, into);
        self.held = UnreadBytes::new(wire[used..].to_vec());
        Poll::Ready(())
    }

    /// Sends what is left to be sent, and the key update that the client waits for, as far as the socket takes it.
    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.unsent.poll_deliver(Pin::new(&mut self.tcp), cx, &mut 0))?;
            if self.is_shut || !self.session.owes_key_update() {
                return Poll::Ready(Ok(()));
            }
            buffers::with(|buffers| {
                buffers.output.clear();
                self.session.write_key_update(&mut buffers.output).map_err(io::Error::other)?;
                self.unsent.push(buffers.output.bytes());
                Ok::<_, io::Error>(())
            })?;
        }
    }

    fn error(kind: io::ErrorKind) -> io::Error {
        let what = match kind {
            io::ErrorKind::UnexpectedEof => "the client has closed without close_notify",
            io::ErrorKind::InvalidData => "the client has broken the TLS protocol",
            kind => return kind.into(),
        };
        io::Error::new(kind, what)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        loop {
            let waiting = this.plaintext.rest();
            if !waiting.is_empty() {
                let now = waiting.len().min(into.remaining());
                into.put_slice(&waiting[..now]);
                this.plaintext.advance(now);
            } else if this.more_held {
                buffers::with(|buffers| this.open_held(&mut buffers.output, into));
            } else if into.filled().len() == before && !this.session.client_closed() && this.broken.is_none() {
                match buffers::with(|buffers| this.poll_open_more(cx, buffers, into)) {
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        // What the client is owed does not wait for the next write. A failure shows when something is read or written.
                        let _ = this.poll_deliver(cx);
                        return Poll::Pending;
                    }
                }
            } else {
                // An alert that the client does not read has no reader.
                let _ = this.poll_deliver(cx);
                let nothing = into.filled().len() == before;
                return match this.broken {
                    Some(kind) if nothing => Poll::Ready(Err(Self::error(kind))),
                    _ => Poll::Ready(Ok(())),
                };
            }
            if into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Stream {
    /// Takes bytes once all of those before have been taken by the socket.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_shut || this.broken == Some(io::ErrorKind::InvalidData) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(this.poll_deliver(cx))?;
        let now = &bytes[..bytes.len().min(READ)];
        if now.is_empty() {
            return Poll::Ready(Ok(0));
        }
        buffers::with(|buffers| {
            buffers.output.clear();
            this.session.encrypt(now, &mut buffers.output).map_err(io::Error::other)?;
            match this.unsent.poll_write_through(buffers.output.bytes(), Pin::new(&mut this.tcp), cx, &mut 0) {
                // What the socket did not take is kept, and goes first.
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(now.len())),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_deliver(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            ready!(this.poll_deliver(cx))?;
            buffers::with(|buffers| {
                buffers.output.clear();
                this.session.close_notify(&mut buffers.output).map_err(io::Error::other)?;
                this.unsent.push(buffers.output.bytes());
                Ok::<_, io::Error>(())
            })?;
            this.is_shut = true;
        }
        ready!(this.poll_deliver(cx))?;
        Poll::Ready(socket::end_sending(&this.tcp))
    }
}

#[cfg(test)]
mod tests;
