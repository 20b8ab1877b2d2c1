//! Bytes of a message that count for somebody until they have been sent.

use hyper::body::{Buf, Bytes};

/// Bytes on their way. `C` counts them, and is dropped with them; nobody counts what we say ourselves, which is short.
#[derive(Debug)]
pub(crate) struct CountedBytes<C> {
    bytes: Bytes,
    _count: Option<C>,
}

impl<C> CountedBytes<C> {
    /// `bytes`, which `count` counts, if anybody does.
    pub(crate) fn new(bytes: Bytes, count: Option<C>) -> Self {
        Self { bytes, _count: count }
    }
}

impl<C> From<Bytes> for CountedBytes<C> {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes, None)
    }
}

impl<C> Buf for CountedBytes<C> {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
