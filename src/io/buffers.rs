//! The thread's scratch memory, lent to one connection at a time.
//!
//! A connection that is idle, or whose bytes all went through at once, owns no buffer; only what the other side would not
//! take yet moves into memory of its own. One set per thread is as fast as one per connection, at a fraction of the memory.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::io::Outgoing;

/// Bytes read at a time: nearly four full TLS records. Sealed they still fit into one segment of the loopback device (65,483
/// bytes): a second one, of what is too much, would wake the receiver a second time. That is a tenth of the cost of a download.
pub const READ: usize = 64 * 1024 - 512;

/// Bytes read at a time to find out whether there is something to read: whoever reads it is not there yet, and they are kept until then.
pub const FIRST_READ: usize = 4 * 1024;

/// The largest TLS record on the wire: header, 16 KiB, and the expansion TLS 1.2 allows (RFC 5246, 6.2.3).
pub const RECORD: usize = 5 + 16 * 1024 + 2048;

/// The scratch memory of one thread.
#[derive(Debug)]
pub struct Buffers {
    /// What is read goes here: a read behind what is left of an earlier record.
    pub input: Box<[u8]>,
    /// What is to be written is put here.
    pub output: Outgoing,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers {
        input: vec![0; RECORD + READ].into_boxed_slice(),
        output: Outgoing::with_capacity(READ + 1024),
    });
}

/// Lends the thread's buffers for the length of `work`, which cannot await: they never cross a suspension.
pub fn with<T>(work: impl FnOnce(&mut Buffers) -> T) -> T {
    BUFFERS.with_borrow_mut(work)
}

/// What `bytes` grow by when they do not suffice: few steps, and little that is not used.
const STEP: usize = 1024;

/// Waits for bytes from `stream` and appends up to `most` of them to `bytes`; gives their number, 0 at the end of the stream.
///
/// # Errors
/// The socket failed.
pub async fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    // tokio knows after a read that does not fill the space that there is nothing more, and does not ask the kernel again.
    poll_fn(|cx| {
        with(|buffers| {
            let most = most.min(buffers.input.len());
            let mut space = ReadBuf::new(&mut buffers.input[..most]);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut space))?;
            let needed = bytes.len() + space.filled().len();
            if needed > bytes.capacity() {
                // What waits for its rest is held for as long as the client likes: not twice of it.
                bytes.reserve_exact(needed.next_multiple_of(STEP) - bytes.len());
            }
            bytes.extend_from_slice(space.filled());
            Poll::Ready(Ok(space.filled().len()))
        })
    })
    .await
}
