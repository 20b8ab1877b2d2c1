//! A connection without TLS that can be waited for without being read.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::buffers;
use super::buffers::FIRST_READ;
use crate::sys::socket;

/// A client's connection without TLS.
///
/// Idle, it holds no buffer: what is kept are bytes that came while somebody waited for them and that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct PlainStream {
    tcp: TcpStream,
    /// Bytes of which the reader has had the first `taken`.
    held: Vec<u8>,
    taken: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// The client has ended its sending.
    is_ended: bool,
    /// The connection has failed while it was read.
    failure: Option<io::ErrorKind>,
    /// The socket has refused bytes of a client that had not ended its sending: most often, that client has reset the connection.
    unwritable: Option<io::ErrorKind>,
}

impl PlainStream {
    /// The connection `tcp`, of which nothing was read.
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self { tcp, held: Vec::new(), taken: 0, since: None, is_ended: false, failure: None, unwritable: None }
    }

    /// The connection below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The connection below, and what was read of it that nobody has taken.
    pub(crate) fn into_parts(mut self) -> (TcpStream, Vec<u8>) {
        self.held.drain(..self.taken);
        (self.tcp, self.held)
    }

    /// Ready once something can be read without waiting: bytes, which are kept, or the end. Cancel safe.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_drained() && !self.is_read_closed() { self.poll_hold_more(cx) } else { Poll::Ready(()) }
    }

    /// Bytes of what has come and was not read.
    pub(crate) fn unread(&self) -> usize {
        self.held.capacity()
    }

    /// Since when there are bytes that came while somebody waited for them, if there are any.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.since.filter(|_| !self.is_drained())
    }

    /// How the connection has failed, if it has, in reading or else in writing.
    pub(crate) fn failure(&self) -> Option<io::ErrorKind> {
        self.failure.or(self.unwritable)
    }

    /// Whether the client has ended the connection, or its sending, and nothing is left to be read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_drained() && self.is_read_closed()
    }

    /// Whether what the client sends begins with `prefix`, once that is known. Nothing is taken. Cancel safe.
    pub(crate) async fn starts_with(&mut self, prefix: &[u8]) -> bool {
        poll_fn(|cx| {
            loop {
                let here = &self.held[self.taken..];
                let known = &here[..here.len().min(prefix.len())];
                if known != &prefix[..known.len()] || known.len() == prefix.len() || self.is_read_closed() {
                    return Poll::Ready(known == prefix);
                }
                ready!(self.poll_hold_more(cx));
            }
        })
        .await
    }

    fn is_drained(&self) -> bool {
        self.taken == self.held.len()
    }

    fn is_read_closed(&self) -> bool {
        self.is_ended || self.failure.is_some()
    }

    /// Reads once, and keeps what comes.
    fn poll_hold_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        buffers::with(|buffers| {
            let mut space = ReadBuf::new(&mut buffers.input[..FIRST_READ]);
            ready!(self.poll_socket(cx, &mut space));
            if self.is_drained() {
                self.since = Some(Instant::now());
            }
            self.held.extend_from_slice(space.filled());
            Poll::Ready(())
        })
    }

    /// Reads once into `into`, and notes the end.
    fn poll_socket(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<()> {
        let before = into.filled().len();
        match ready!(Pin::new(&mut self.tcp).poll_read(cx, into)) {
            Ok(()) => self.is_ended = into.filled().len() == before,
            Err(error) => self.failure = Some(error.kind()),
        }
        Poll::Ready(())
    }

    /// A reset is found by whoever reads or writes first; a client that has ended its sending before may leave as it likes.
    fn note_written(&mut self, written: io::Result<usize>) -> io::Result<usize> {
        if let Err(error) = &written
            && !self.is_ended
        {
            self.unwritable = Some(error.kind());
        }
        written
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.is_drained() {
            let waiting = &this.held[this.taken..];
            let now = waiting.len().min(into.remaining());
            into.put_slice(&waiting[..now]);
            this.taken += now;
            if this.is_drained() {
                (this.held, this.taken) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        if !this.is_read_closed() {
            ready!(this.poll_socket(cx, into));
        }
        Poll::Ready(this.failure.map_or(Ok(()), |kind| Err(kind.into())))
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.tcp).poll_write(cx, bytes));
        Poll::Ready(this.note_written(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.tcp).poll_write_vectored(cx, parts));
        Poll::Ready(this.note_written(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush.
        Poll::Ready(Ok(()))
    }

    /// Ends the sending; reading goes on.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket::end_sending(&self.tcp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (PlainStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (PlainStream::new(accepted.unwrap().0), client.unwrap())
    }

    #[tokio::test]
    async fn what_came_while_somebody_waited_is_read_first() {
        let (mut stream, mut client) = pair().await;
        client.write_all(b"hello").await.unwrap();
        poll_fn(|cx| stream.poll_readable(cx)).await;
        assert!(!stream.is_at_end());
        let mut two = [0; 2];
        stream.read_exact(&mut two).await.unwrap();
        client.write_all(b" there").await.unwrap();
        drop(client);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!((&two[..], &rest[..]), (&b"he"[..], &b"llo there"[..]));
        poll_fn(|cx| stream.poll_readable(cx)).await;
        assert!(stream.is_at_end() && stream.failure().is_none());
    }

    #[tokio::test]
    async fn it_is_known_since_when_something_waits_that_nobody_has_taken() {
        let (mut stream, mut client) = pair().await;
        assert_eq!(stream.waiting_since(), None);
        client.write_all(b"he").await.unwrap();
        poll_fn(|cx| stream.poll_readable(cx)).await;
        let first = stream.waiting_since();
        assert!(first.is_some_and(|since| since <= Instant::now()));
        client.write_all(b"llo").await.unwrap();
        assert!(stream.starts_with(b"hello").await);
        assert_eq!(stream.waiting_since(), first, "what came behind it changes nothing");
        stream.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!(stream.waiting_since(), None);
    }

    #[tokio::test]
    async fn a_beginning_in_pieces_is_waited_for_as_long_as_it_may_be_the_one() {
        let (mut stream, mut client) = pair().await;
        let (begins, ()) = tokio::join!(stream.starts_with(b"PRI * "), async {
            for piece in [&b"PR"[..], b"I *", b" HTTP"] {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        assert!(begins);
        let mut all = [0; 10];
        stream.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"PRI * HTTP");
        client.write_all(b"PROPFIND").await.unwrap();
        assert!(!stream.starts_with(b"PRI * ").await);
        let (mut stream, mut client) = pair().await;
        client.write_all(b"PRI").await.unwrap();
        drop(client);
        assert!(!stream.starts_with(b"PRI * ").await, "it has ended before");
    }
}
