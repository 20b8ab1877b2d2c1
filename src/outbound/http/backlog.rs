//! What bodies hold here because whoever they are for does not take them: held to the memory budget of all relays.
//!
//! Of a body no more is taken than the other side does take, by smaller parts while memory is short; what lies behind, in hyper's memory and
//! in the session of TLS, counts as well once the other side takes nothing. A connection that has been stuck for some seconds while memory is
//! short makes room for others, as those of a relay do.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::body_backlog::{ALWAYS, BacklogCell, BodyBacklog};
use super::received_bytes::ReceivedBytes;
use crate::http::{RequestSource, poll_read_part};
use crate::io::{AppStream, Transferred};
use crate::outbound::stream::EndpointStream;
use crate::relay::{BacklogWatch, NoBacklogProgress, delivered_to};

/// The connection to one side.
pub(in crate::outbound) trait Side {
    /// Its socket, if it tells what the other end has taken.
    fn tcp(&self) -> Option<&TcpStream>;

    /// Bytes that were written and that the socket would not take: it keeps them.
    fn unsent(&self) -> usize;

    /// Bytes that have come and that nobody has read: it keeps them.
    fn unread(&self) -> usize;
}

impl Side for AppStream {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Unix(_) => None,
        }
    }

    fn unsent(&self) -> usize {
        0
    }

    fn unread(&self) -> usize {
        0
    }
}

impl Side for EndpointStream {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self.tcp())
    }

    fn unsent(&self) -> usize {
        self.unsent()
    }

    fn unread(&self) -> usize {
        self.unread()
    }
}

/// The connection to the side to which the bytes of a [`BodyBacklog`] go.
#[derive(Debug)]
pub(in crate::outbound) struct BacklogStream<S> {
    stream: S,
    /// `None`: nothing is counted.
    watched: Option<Box<WatchedBacklog>>,
}

#[derive(Debug)]
struct WatchedBacklog {
    backlog: Arc<BacklogCell>,
    written: u64,
    /// Looks after it, while something is held.
    watch: Option<BacklogWatch>,
    received: ReceivedBytes,
}

impl<S> BacklogStream<S> {
    /// `stream`, to which the bytes of `backlog` go.
    pub(in crate::outbound) fn new(stream: S, backlog: &BodyBacklog) -> Self {
        let watched = |cell: &Arc<BacklogCell>| WatchedBacklog {
            backlog: Arc::clone(cell),
            written: 0,
            watch: None,
            received: ReceivedBytes::new(&cell.budget),
        };
        Self { stream, watched: backlog.0.as_ref().map(watched).map(Box::new) }
    }

    /// The connection as it was.
    pub(in crate::outbound) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: Side> BacklogStream<S> {
    /// What has come of writing to it.
    fn note_written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Some(watched) = &mut self.watched else { return written };
        match written {
            Poll::Ready(Ok(bytes)) => {
                watched.written += bytes as u64;
                let unsent = self.stream.unsent();
                if unsent > 0 {
                    watched.backlog.state().sealed = unsent;
                }
                written
            }
            Poll::Pending => self.poll_stuck(cx).map(Err),
            Poll::Ready(Err(_)) => written,
        }
    }

    /// What has come of flushing it.
    fn note_flushed(&mut self, cx: &mut Context<'_>, flushed: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        let Some(watched) = &mut self.watched else { return flushed };
        match flushed {
            Poll::Ready(Ok(())) => {
                let mut state = watched.backlog.state();
                if state.sealed > 0 {
                    state.sealed = 0;
                    state.relieve();
                }
                flushed
            }
            Poll::Pending => self.poll_stuck(cx).map(Err),
            Poll::Ready(Err(_)) => flushed,
        }
    }

    /// The socket does not take more for now: what is held counts, and whoever has held it for too long while memory is short has to go.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(WatchedBacklog { backlog, written, watch, .. }) = self.watched.as_deref_mut() else {
            return Poll::Pending;
        };
        let mut state = backlog.state();
        state.account();
        let holds = state.reservation.bytes() > ALWAYS;
        drop(state);
        let delivered = || match self.stream.tcp() {
            Some(tcp) => delivered_to(tcp, *written, true),
            None => *written,
        };
        let watch = watch.get_or_insert_with(|| BacklogWatch::new(Transferred { up: 0, down: delivered() }));
        while watch.poll_check(cx).is_ready() {
            if watch.is_stuck(Transferred { up: 0, down: delivered() }, false, holds)
                && backlog.budget.is_under_pressure()
            {
                return Poll::Ready(backlog.evict(NoBacklogProgress));
            }
        }
        Poll::Pending
    }
}

impl<S: RequestSource> RequestSource for BacklogStream<S> {
    fn has_peer_closed(&self) -> bool {
        self.stream.has_peer_closed()
    }
}

impl<S: AsyncRead + Side + Unpin> AsyncRead for BacklogStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let budget = this.watched.as_ref().map(|watched| &*watched.backlog.budget);
        let came = poll_read_part(Pin::new(&mut this.stream), cx, buf, budget);
        match this.watched.as_deref_mut() {
            Some(WatchedBacklog { backlog, received, .. }) => {
                received.note_read(cx, backlog, came, buf.filled().len() - before, || this.stream.unread())
            }
            None => came,
        }
    }
}

impl<S: AsyncWrite + Side + Unpin> AsyncWrite for BacklogStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note_written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.note_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.note_flushed(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::budget::{Budgets, MemoryBudget};
    use crate::http::body_part;

    /// A side that is read from, and who writes to it.
    pub(in crate::outbound::http) fn side(
        budget: &Arc<MemoryBudget>,
    ) -> (BacklogStream<AppStream>, BodyBacklog, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let backlog = BodyBacklog::new(budget);
        (BacklogStream::new(AppStream::Unix(ours), &backlog), backlog, theirs)
    }

    #[tokio::test]
    async fn a_read_never_fills_the_memory_that_hyper_would_make_twice_as_large() {
        let (mut stream, _, mut other) = side(&Budgets::new(None, None).backlogs);
        other.write_all(&[7; 64 * 1024]).await.unwrap();
        let mut space = [0; 64 * 1024];
        assert_eq!(stream.read(&mut space).await.unwrap(), body_part(None));
    }
}
