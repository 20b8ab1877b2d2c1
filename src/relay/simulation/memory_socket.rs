//! A connection in memory that behaves as a socket does, at its worst.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::{ClientSocket, Socket};

/// What has arrived and was not read, at most, in bytes.
const RECEIVE_BUFFER: usize = 200 * 1024;

/// The relay's end of a connection, and by other methods that of whoever it is to.
#[derive(Clone)]
pub(super) struct MemorySocket(Rc<RefCell<Wire>>);

struct Wire {
    /// What has arrived for the relay.
    arrived: VecDeque<u8>,
    /// The peer has ended its sending.
    is_ended: bool,
    /// The peer has reset the connection.
    is_reset: bool,
    /// Which nobody was told so far.
    error: Option<io::ErrorKind>,
    /// What the relay has written and the peer has not read.
    sent: VecDeque<u8>,
    send_buffer: usize,
    /// The relay has ended its sending.
    has_ended: bool,
    /// The relay wants a reset.
    resets_on_close: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    random: fastrand::Rng,
}

impl Wire {
    /// tokio has whoever has done much come back later, at any moment.
    fn is_put_off(&mut self, cx: &Context<'_>) -> bool {
        let is_put_off = self.random.u8(..24) == 0;
        if is_put_off {
            cx.waker().wake_by_ref();
        }
        is_put_off
    }

    /// A part of `most` bytes: all of them, or fewer.
    fn part(&mut self, most: usize) -> usize {
        if self.random.bool() { most } else { self.random.usize(..most) + 1 }
    }

    fn wake(waker: &mut Option<Waker>) {
        waker.take().into_iter().for_each(Waker::wake);
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(error) = self.error.take() {
            return Err(error.into());
        }
        if self.is_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        assert!(!self.has_ended, "something is written behind the end");
        match self.send_buffer.saturating_sub(self.sent.len()).min(bytes.len()) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            most => {
                let taken = self.part(most);
                self.sent.extend(&bytes[..taken]);
                Ok(taken)
            }
        }
    }
}

/// What its peer does.
impl MemorySocket {
    pub(super) fn new(send_buffer: usize, random: fastrand::Rng) -> Self {
        Self(Rc::new(RefCell::new(Wire {
            arrived: VecDeque::new(),
            is_ended: false,
            is_reset: false,
            error: None,
            sent: VecDeque::new(),
            send_buffer,
            has_ended: false,
            resets_on_close: false,
            reader: None,
            writer: None,
            random,
        })))
    }

    /// So many more bytes may arrive.
    pub(super) fn room(&self) -> usize {
        RECEIVE_BUFFER.saturating_sub(self.0.borrow().arrived.len())
    }

    /// These arrive.
    pub(super) fn arrive(&self, bytes: impl IntoIterator<Item = u8>) {
        let mut wire = self.0.borrow_mut();
        wire.arrived.extend(bytes);
        Wire::wake(&mut wire.reader);
    }

    /// From now on so many bytes that the relay has written may wait for the peer.
    pub(super) fn widen(&self, send_buffer: usize) {
        let mut wire = self.0.borrow_mut();
        wire.send_buffer = wire.send_buffer.max(send_buffer);
        Wire::wake(&mut wire.writer);
    }

    /// The peer ends its sending.
    pub(super) fn end(&self) {
        let mut wire = self.0.borrow_mut();
        wire.is_ended = true;
        Wire::wake(&mut wire.reader);
    }

    /// The peer resets: what it has not read is lost, what has arrived is not.
    pub(super) fn reset(&self) {
        let mut wire = self.0.borrow_mut();
        wire.error = Some(if wire.is_ended { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ConnectionReset });
        wire.is_reset = true;
        wire.sent.clear();
        Wire::wake(&mut wire.reader);
        Wire::wake(&mut wire.writer);
    }

    /// The peer reads up to `most` bytes.
    pub(super) fn read(&self, most: usize) -> Vec<u8> {
        let mut wire = self.0.borrow_mut();
        let most = most.min(wire.sent.len());
        let read = wire.sent.drain(..most).collect();
        Wire::wake(&mut wire.writer);
        read
    }

    /// Whether the peer reads an end of file next.
    pub(super) fn is_at_end(&self) -> bool {
        let wire = self.0.borrow();
        wire.has_ended && wire.sent.is_empty()
    }

    /// Bytes that the relay has written and the peer has not read.
    pub(super) fn unread(&self) -> usize {
        self.0.borrow().sent.len()
    }

    /// Whether the relay wants the peer to see a reset.
    pub(super) fn resets_on_close(&self) -> bool {
        self.0.borrow().resets_on_close
    }
}

impl Socket for MemorySocket {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        if wire.is_put_off(cx) {
            return Poll::Pending;
        }
        // Now and then there turns out to be nothing.
        let is_ready = !wire.arrived.is_empty() || wire.error.is_some() || wire.is_ended || wire.is_reset;
        if is_ready || wire.random.u8(..32) == 0 {
            return Poll::Ready(Ok(()));
        }
        wire.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn end_sending(&self) -> io::Result<()> {
        let mut wire = self.0.borrow_mut();
        wire.has_ended = true;
        if wire.is_reset { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
    }

    fn reset_on_close(&self) {
        self.0.borrow_mut().resets_on_close = true;
    }

    fn is_reset(&self) -> bool {
        self.0.borrow_mut().error.take().is_some()
    }
}

impl ClientSocket for MemorySocket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().take(bytes)
    }

    fn send_before_more(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        }
    }

    fn unacknowledged(&self) -> u64 {
        self.unread() as u64
    }
}

impl AsyncRead for MemorySocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        if wire.is_put_off(cx) {
            return Poll::Pending;
        }
        let most = wire.arrived.len().min(buf.remaining());
        if most > 0 {
            let read = wire.part(most);
            let read: Vec<u8> = wire.arrived.drain(..read).collect();
            buf.put_slice(&read);
            return Poll::Ready(Ok(()));
        }
        assert!(buf.remaining() > 0, "a read of nothing");
        if let Some(error) = wire.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if wire.is_ended || wire.is_reset {
            return Poll::Ready(Ok(()));
        }
        wire.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for MemorySocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        if wire.is_put_off(cx) {
            return Poll::Pending;
        }
        match wire.take(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wire.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            taken => Poll::Ready(taken),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end_sending())
    }
}
