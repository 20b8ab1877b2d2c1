//! Reading a part at a time, whatever there is room for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// The most that is read at once where what is read is handed on as one part, in bytes: as much as a TLS record has. hyper makes its buffer
/// larger as long as reads fill it, and several parts wait where they are not taken.
pub(crate) const MAX_PART: usize = 16 * 1024;

/// Reads from `stream` into `buf`, and no more than `most` bytes.
pub(crate) fn poll_read_part<S: AsyncRead>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    most: usize,
) -> Poll<io::Result<()>> {
    if buf.remaining() <= most {
        return stream.poll_read(cx, buf);
    }
    let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
    let read = stream.poll_read(cx, &mut part);
    let filled = part.filled().len();
    buf.advance(filled);
    read
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_part_is_read_at_a_time_and_nothing_is_lost() {
        let all: Vec<u8> = (0..3 * MAX_PART + 5).map(|n| (n % 251) as u8).collect();
        let (mut stream, mut got, mut parts) = (&all[..], Vec::new(), Vec::new());
        loop {
            let mut space = vec![0; 2 * MAX_PART];
            let mut buf = ReadBuf::new(&mut space);
            let read =
                poll_read_part(Pin::new(&mut stream), &mut Context::from_waker(Waker::noop()), &mut buf, MAX_PART);
            assert!(matches!(read, Poll::Ready(Ok(()))));
            if buf.filled().is_empty() {
                break;
            }
            parts.push(buf.filled().len());
            got.extend_from_slice(buf.filled());
        }
        assert_eq!(parts, [MAX_PART, MAX_PART, MAX_PART, 5]);
        assert!(got == all);
    }
}
