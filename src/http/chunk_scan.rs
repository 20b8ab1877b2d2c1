//! Where a body of chunks ends (RFC 9112, 7.1).

/// The most bytes of trailers.
pub(super) const MAX_TRAILERS: usize = 8 * 1024;

/// The most bytes behind the size of a chunk of a request: nobody has a use for them.
pub(super) const MAX_EXTENSION: usize = 1024;

/// What may stand in the line with the size of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct SizeRules {
    /// Digits of the size, of which sixteen are all that a length can have; `None`: zeros in front of them are nothing.
    max_digits: Option<u8>,
    /// Bytes behind it.
    max_extension: usize,
    /// Those may be control characters.
    allows_controls: bool,
}

impl SizeRules {
    /// For requests: whatever is odd is refused.
    pub(super) const STRICT: Self = Self { max_digits: Some(16), max_extension: MAX_EXTENSION, allows_controls: false };

    /// For answers: whatever hyper reads is followed, and what it does not read breaks off there.
    pub(super) const LENIENT: Self = Self { max_digits: None, max_extension: usize::MAX, allows_controls: true };
}

/// Where in a body of chunks. A carriage return is followed by a line feed, and none comes without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkScan {
    /// In the line with the size, of which this is the value so far; `digits` were read, and then `extension` bytes.
    Size { size: u64, digits: u8, extension: usize },
    /// Behind the carriage return of the line with the size.
    SizeEnd(u64),
    /// In the data, of which so many bytes are to come.
    Data(u64),
    /// Behind the data; whether behind its carriage return.
    DataEnd { is_behind_cr: bool },
    /// In the trailers: bytes so far, and whether the line has any.
    Trailers { bytes: usize, is_empty_line: bool },
    /// Behind the carriage return of a line of the trailers.
    TrailerEnd { bytes: usize, is_empty_line: bool },
}

/// The beginning of one.
pub(super) const CHUNK: ChunkScan = ChunkScan::Size { size: 0, digits: 0, extension: 0 };

/// What follows a step.
pub(super) enum ChunkStep {
    /// The body goes on.
    Stay(ChunkScan),
    /// It is whole.
    Over,
    /// It does not follow its own rules.
    Broken,
}

impl ChunkScan {
    /// Takes some of `bytes`, of which there is at least one (RFC 9112, 7.1).
    pub(super) fn step(self, bytes: &[u8], rules: SizeRules) -> (usize, ChunkStep) {
        use ChunkStep::{Broken, Over, Stay};
        let first = bytes[0];
        match self {
            Self::Size { size, digits, extension: 0 } if first.is_ascii_hexdigit() => {
                let digit = char::from(first).to_digit(16).unwrap_or_default();
                let size = size.checked_mul(16).filter(|_| rules.max_digits.is_none_or(|most| digits < most));
                match size {
                    Some(size) => {
                        let digits = digits.saturating_add(1);
                        (1, Stay(Self::Size { size: size | u64::from(digit), digits, extension: 0 }))
                    }
                    None => (1, Broken),
                }
            }
            Self::Size { digits: 0, .. } => (1, Broken),
            Self::Size { size, digits, extension } => match first {
                b'\r' => (1, Stay(Self::SizeEnd(size))),
                b'\n' => (1, Broken),
                0..=8 | 0x0b..=0x1f | 0x7f if !rules.allows_controls => (1, Broken),
                _ if extension >= rules.max_extension => (1, Broken),
                _ => (1, Stay(Self::Size { size, digits, extension: extension + 1 })),
            },
            Self::SizeEnd(0) if first == b'\n' => (1, Stay(Self::Trailers { bytes: 0, is_empty_line: true })),
            Self::SizeEnd(size) if first == b'\n' => (1, Stay(Self::Data(size))),
            Self::Data(left) => {
                let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - taken as u64;
                (taken, Stay(if left == 0 { Self::DataEnd { is_behind_cr: false } } else { Self::Data(left) }))
            }
            Self::DataEnd { is_behind_cr: false } if first == b'\r' => (1, Stay(Self::DataEnd { is_behind_cr: true })),
            Self::DataEnd { is_behind_cr: true } if first == b'\n' => (1, Stay(CHUNK)),
            Self::Trailers { bytes, is_empty_line } => match first {
                b'\r' => (1, Stay(Self::TrailerEnd { bytes, is_empty_line })),
                b'\n' => (1, Broken),
                _ if bytes >= MAX_TRAILERS => (1, Broken),
                _ => (1, Stay(Self::Trailers { bytes: bytes + 1, is_empty_line: false })),
            },
            Self::TrailerEnd { is_empty_line: true, .. } if first == b'\n' => (1, Over),
            Self::TrailerEnd { bytes, .. } if first == b'\n' => {
                (1, Stay(Self::Trailers { bytes: bytes + 2, is_empty_line: true }))
            }
            Self::SizeEnd(_) | Self::DataEnd { .. } | Self::TrailerEnd { .. } => (1, Broken),
        }
    }
}
