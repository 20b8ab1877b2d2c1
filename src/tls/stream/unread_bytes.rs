//! What has been read and not been used.

/// Bytes that are used up from the front.
#[derive(Debug, Default)]
pub(super) struct UnreadBytes {
    bytes: Vec<u8>,
    /// So many are used up. Invariant: less than there are, or there are none.
    used: usize,
}

impl UnreadBytes {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    pub(super) fn rest_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used..]
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes of memory that it holds.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Uses up the next `count` bytes; the memory goes with the last of them.
    pub(super) fn advance(&mut self, count: usize) {
        self.used += count;
        if self.used >= self.bytes.len() {
            *self = Self::default();
        }
    }

    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.used);
        self.bytes
    }
}
