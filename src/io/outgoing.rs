//! Bytes for the wire.

use rustls::unbuffered::EncodeError;

/// Bytes for the wire, in the order in which they must be sent. Keeps its memory when it is cleared.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Invariant: `len <= space.len()`; what lies behind `len` is scratch.
    space: Vec<u8>,
    len: usize,
}

impl Outgoing {
    /// Room for `capacity` bytes before it has to grow.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { space: vec![0; capacity], len: 0 }
    }

    /// What is to be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.space[..self.len]
    }

    /// Forgets the bytes, keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends `len` bytes for the caller to fill; what they hold is scratch.
    pub(crate) fn extend(&mut self, len: usize) -> &mut [u8] {
        let (start, end) = (self.len, self.len + len);
        if end > self.space.len() {
            self.space.resize(end, 0);
        }
        self.len = end;
        &mut self.space[start..end]
    }

    /// Forgets all but the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends what `encode` puts into the free space; when that is too small, grows by what it asks for and calls again.
    pub(crate) fn encode(
        &mut self,
        mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    ) -> Result<(), rustls::Error> {
        loop {
            match encode(&mut self.space[self.len..]) {
                Ok(written) => {
                    self.len += written;
                    return Ok(());
                }
                Err(EncodeError::InsufficientSize(size)) => self.space.resize(self.len + size.required_size, 0),
                Err(error @ EncodeError::AlreadyEncoded) => return Err(rustls::Error::General(error.to_string())),
            }
        }
    }
}
