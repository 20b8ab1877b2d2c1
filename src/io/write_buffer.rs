//! Bytes that a socket would not take yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Bytes on their way, in order. Holds no memory while it is empty.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    bytes: Box<[u8]>,
    /// Invariant: `sent <= bytes.len()`, and both are 0 when everything was sent.
    sent: usize,
}

impl From<Vec<u8>> for WriteBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into_boxed_slice(), sent: 0 }
    }
}

impl WriteBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Memory that is held, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that are kept.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Puts `bytes` behind what is kept.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        // Behind something that is kept already there is little to come: an alert, or what is said of new keys.
        let kept = &self.bytes[self.sent..];
        *self = Self::from(if kept.is_empty() { bytes.to_vec() } else { [kept, bytes].concat() });
    }

    /// Writes what is kept, until the socket takes no more; adds what it took to `count`. Ready once nothing is left.
    pub(crate) fn poll_deliver(
        &mut self,
        mut to: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
        count: &mut u64,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let written = ready!(to.as_mut().poll_write(cx, &self.bytes[self.sent..]))?;
            self.sent += written;
            *count += written as u64;
        }
        if !self.bytes.is_empty() {
            *self = Self::default();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes `bytes` behind what is kept, without a copy of what the socket takes at once; keeps the rest.
    pub(crate) fn poll_write_through(
        &mut self,
        bytes: &[u8],
        mut to: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
        count: &mut u64,
    ) -> Poll<io::Result<()>> {
        if !self.is_empty() {
            self.push(bytes);
            return self.poll_deliver(to, cx, count);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match to.as_mut().poll_write(cx, rest)? {
                Poll::Ready(written) => {
                    rest = &rest[written..];
                    *count += written as u64;
                }
                Poll::Pending => {
                    self.push(rest);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
