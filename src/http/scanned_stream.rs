//! A connection whose requests are judged before their reader sees them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::head_scan::{HeadRefusal, RequestHead, RequestScan};

/// What stands in for a head that was refused: its reader asks what to answer, in its turn, and finds the refusal in [`Heads`].
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";

/// The most that is read of what follows a head that may switch, before it is answered.
const MAX_EARLY: usize = 16 * 1024;

/// What was judged of each request, in their order, for whoever answers them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heads(Arc<Mutex<JudgedRequests>>);

#[derive(Debug, Default)]
struct JudgedRequests {
    unanswered: VecDeque<Result<RequestHead, HeadRefusal>>,
    /// What follows the head that might have switched is another request.
    is_resumed: bool,
    /// The body that is under way does not follow its own rules.
    is_broken: bool,
    /// Requests that were handed on and are not answered yet.
    in_flight: usize,
    /// Waits for an answer, behind which it goes on.
    reader: Option<Waker>,
}

/// A request that is not answered yet: no other is handed on before this is dropped.
#[derive(Debug)]
pub(crate) struct RequestInFlight(Heads);

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let mut judged = self.0.judged();
        judged.in_flight -= 1;
        judged.wake();
    }
}

impl JudgedRequests {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Heads {
    fn judged(&self) -> MutexGuard<'_, JudgedRequests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, head: Result<RequestHead, HeadRefusal>) {
        let mut judged = self.judged();
        judged.in_flight += 1;
        judged.unanswered.push_back(head);
    }

    /// That of the next request, and what is held until it is answered. To be asked once for each; `None`: there was none, which the caller
    /// takes for a refusal.
    pub(crate) fn next(&self) -> Option<(Result<RequestHead, HeadRefusal>, RequestInFlight)> {
        let head = self.judged().unanswered.pop_front()?;
        Some((head, RequestInFlight(self.clone())))
    }

    /// Whether a request is not answered yet; who reads is woken once it is.
    fn is_busy(&self, cx: &Context<'_>) -> bool {
        let mut judged = self.judged();
        judged.reader = Some(cx.waker().clone());
        judged.in_flight > 0
    }

    /// The last head might have switched to another protocol, and does not: another request may follow.
    pub(crate) fn resume(&self) {
        let mut judged = self.judged();
        judged.is_resumed = true;
        judged.wake();
    }

    /// Whether the body that is under way does not follow its own rules.
    pub(crate) fn is_broken(&self) -> bool {
        self.judged().is_broken
    }

    /// Whether another request may follow; who reads is woken once it may.
    fn is_resumed(&self, cx: &Context<'_>) -> bool {
        let mut judged = self.judged();
        judged.reader = Some(cx.waker().clone());
        std::mem::take(&mut judged.is_resumed)
    }
}

/// `S`, read request by request.
#[derive(Debug)]
pub(crate) struct ScannedStream<S> {
    stream: S,
    scan: RequestScan,
    heads: Heads,
    /// Bytes that were read and not handed on. Empty but for heads that come in pieces, and what lies behind the last request.
    held: Vec<u8>,
    /// So many of them may be.
    cleared: usize,
    head_timeout: Duration,
    /// The end of the time for a head that has begun.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> ScannedStream<S> {
    /// `stream`, whose heads each have to be complete `head_timeout` after their first byte.
    pub(crate) fn new(stream: S, head_timeout: Duration) -> Self {
        Self {
            stream,
            scan: RequestScan::default(),
            heads: Heads::default(),
            held: Vec::new(),
            cleared: 0,
            head_timeout,
            timer: None,
        }
    }

    /// What is judged of its requests.
    pub(crate) fn heads(&self) -> Heads {
        self.heads.clone()
    }

    /// The connection, and what was read of it and not handed on.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.held)
    }

    /// Judges `bytes` that were not handed on yet; how many of them may be.
    fn pass(scan: &mut RequestScan, heads: &Heads, bytes: &[u8]) -> usize {
        // One at a time: hyper notices that an app has gone as long as it has nothing more to read.
        let may_begin = usize::from(heads.judged().in_flight == 0);
        let passed = scan.pass(bytes, may_begin, |head| heads.push(head));
        if passed.is_broken {
            heads.judged().is_broken = true;
        }
        passed.bytes
    }

    /// While what follows has to wait: an app that goes away is noticed, and what it sends early is kept, within bounds. One that has sent
    /// something and then ends its sending `may_wait` for what becomes of that.
    fn poll_early(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, may_wait: bool) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        while self.held.len() < MAX_EARLY {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            let read = &buf.filled()[before..];
            match read.is_empty() {
                true if may_wait && !self.held.is_empty() => return Poll::Pending,
                true => return Poll::Ready(Ok(())),
                false => self.held.extend_from_slice(read),
            }
            buf.set_filled(before);
        }
        Poll::Pending
    }

    /// Judges what is held, all of which was not handed on yet.
    fn pass_held(&mut self) {
        self.cleared = Self::pass(&mut self.scan, &self.heads, &self.held);
        self.stand_in_for_refused();
    }

    /// What lies in front of a head that was refused is handed on, and then what stands in for it.
    fn stand_in_for_refused(&mut self) {
        if matches!(self.scan, RequestScan::Refused) && !self.heads.is_broken() {
            self.held.truncate(self.cleared);
            self.held.extend_from_slice(STAND_IN);
            self.cleared = self.held.len();
        }
    }

    /// The reader gets an answer to give, in the order of the requests.
    fn stand_in(&mut self) {
        self.held = STAND_IN.to_vec();
        self.cleared = STAND_IN.len();
        self.timer = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ScannedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                let handed = this.cleared.min(buf.remaining());
                buf.put_slice(&this.held[..handed]);
                this.held.drain(..handed);
                this.cleared -= handed;
                return Poll::Ready(Ok(()));
            }
            match this.scan {
                RequestScan::Switching if this.heads.is_resumed(cx) => {
                    this.scan = RequestScan::default();
                    this.pass_held();
                    continue;
                }
                // Until the answer has been given: what follows may be another protocol.
                RequestScan::Switching => return this.poll_early(cx, buf, true),
                RequestScan::Refused if this.heads.is_broken() => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the chunks of a body are malformed",
                    )));
                }
                // It has got its answer, and there is nothing more to be said.
                RequestScan::Refused => return Poll::Pending,
                RequestScan::Head(_) if !this.held.is_empty() => {
                    if this.heads.is_busy(cx) {
                        return this.poll_early(cx, buf, false);
                    }
                    this.pass_held();
                    if this.cleared > 0 {
                        continue;
                    }
                }
                _ => {}
            }
            let before = buf.filled().len();
            if Pin::new(&mut this.stream).poll_read(cx, buf)?.is_pending() {
                if !this.scan.is_within_head(this.held.len()) {
                    return Poll::Pending;
                }
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(this.head_timeout)));
                ready!(timer.as_mut().poll(cx));
                this.heads.push(Err(HeadRefusal::HeadTimeout));
                this.scan.give_up();
                this.stand_in();
                continue;
            }
            let read = &buf.filled()[before..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let passed = Self::pass(&mut this.scan, &this.heads, read);
                this.held.extend_from_slice(&read[passed..]);
                buf.set_filled(before + passed);
                this.stand_in_for_refused();
            } else {
                // The reader's memory was borrowed for it.
                this.held.extend_from_slice(read);
                buf.set_filled(before);
                this.pass_held();
            }
            if !this.scan.is_within_head(this.held.len() - this.cleared) {
                this.timer = None;
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ScannedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What the reader of `pieces`, sent one by one, gets to see until the end, and what is judged.
    async fn read(pieces: &[&[u8]]) -> (String, Vec<Result<RequestHead, HeadRefusal>>) {
        let (mut sender, receiver) = tokio::io::duplex(8);
        let mut scanned = ScannedStream::new(receiver, Duration::from_millis(50));
        let heads = scanned.heads();
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let sending = tokio::spawn(async move {
            for piece in pieces {
                // One that is refused is not read on.
                if tokio::time::timeout(Duration::from_secs(1), sender.write_all(&piece)).await.is_err() {
                    break;
                }
            }
            sender
        });
        let (mut text, mut judged) = (Vec::new(), Vec::new());
        while !text.ends_with(STAND_IN) && !text.ends_with(b"END") {
            let mut space = [0; 100];
            let read = scanned.read(&mut space).await.unwrap();
            assert!(read > 0, "an end after {:?}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&space[..read]);
            // Each is answered at once.
            judged.extend(std::iter::from_fn(|| heads.next()).map(|(head, _)| head));
        }
        sending.abort();
        (String::from_utf8(text).unwrap(), judged)
    }

    #[tokio::test]
    async fn the_reader_sees_what_was_sent_and_a_stand_in_for_the_head_that_is_refused() {
        let (text, heads) = read(&[b"POST / HTTP/1.1\r\nContent-", b"Length: 3\r\n\r\nEND"]).await;
        assert_eq!(text, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nEND");
        assert_eq!(heads.len(), 1);
        let good = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        let (text, heads) = read(&[good.as_bytes(), b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", b"more"]).await;
        assert_eq!(text, format!("{good}{}", std::str::from_utf8(STAND_IN).unwrap()));
        assert_eq!(heads[1..], [Err(HeadRefusal::BareLf)]);
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_to_its_end_is_refused_in_time() {
        let (text, heads) = read(&[b"GET / HTTP/1.1\r\nA:"]).await;
        assert_eq!(text.as_bytes(), STAND_IN);
        assert_eq!(heads, [Err(HeadRefusal::HeadTimeout)]);
    }
}
