//! The network by which DNS servers are asked: what they say is bounded, and counts for what it becomes.
//!
//! A zone belongs to anybody, and its owner writes what is answered: the resolver reads whatever comes, and keeps several copies of it.

use std::future::Future;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::truncation::truncate;
use crate::budget::{AwaitedRoom, MemoryBudget};
use crate::outbound::endpoint::lock;

/// What the records of all answers to one lookup may become, read once, in bytes: a thousand addresses of each family fit, with long names. Less where
/// there is no memory for that.
const MOST: usize = 1024 * 1024;

/// How often what was read is there at once, in the resolver's hands.
const COPIES: usize = 3;

/// What one lookup may take of the budget: one part in so many, so that it leaves something for others.
const PARTS_OF_BUDGET: usize = 2;

/// Bytes for which every lookup has room: the addresses of most names need no more, and do not wait behind those who are told much.
const FREE_BYTES: usize = 8 * 1024;

/// What a message is in, when it comes by TCP: in ours and in the resolver's.
const BUFFERS: usize = 3;

/// The bytes that say how long a message is (RFC 1035, 4.2.2).
const LENGTH: usize = 2;

/// A network, for one lookup.
#[derive(Clone)]
pub(super) struct CountedNetwork<P> {
    inner: P,
    memory: Arc<LookupMemory>,
}

/// What is held of what was answered to one lookup, until the last of the resolver is gone.
#[derive(Debug)]
pub(super) struct LookupMemory {
    /// Where it is counted; `None`: nowhere.
    budget: Option<Arc<MemoryBudget>>,
    /// What records may still become.
    left: AtomicUsize,
    /// What is left of [`FREE_BYTES`].
    free: AtomicUsize,
    /// An answer has waited for room.
    has_waited: AtomicBool,
    /// What sockets held that are closed: what came by them may be there still.
    closed: Mutex<Vec<AwaitedRoom>>,
}

/// What came by one socket.
struct SocketMemory {
    lookup: Arc<LookupMemory>,
    room: Option<AwaitedRoom>,
    bytes: usize,
}

/// A socket of UDP.
pub(super) struct CountedUdp<S> {
    inner: S,
    server: SocketAddr,
    state: Mutex<UdpState>,
}

struct UdpState {
    memory: SocketMemory,
    /// A datagram for which there is no room yet, and what it takes.
    waiting: Option<(Vec<u8>, usize)>,
}

/// A connection of TCP.
pub(super) struct CountedTcp {
    inner: TcpStream,
    memory: SocketMemory,
    /// A message with its length, as far as it was read.
    message: Vec<u8>,
    stage: TcpStage,
}

/// What is done with a message.
enum TcpStage {
    /// It is read, or its length.
    Read,
    /// All of it is there, and waits for room for what it becomes.
    Hold { size: usize },
    /// It is handed on: so much of it was.
    Give { given: usize },
}

impl<P> CountedNetwork<P> {
    /// The network `inner`; what is answered counts in `budget`, where there is one.
    pub(super) fn new(inner: P, budget: Option<&Arc<MemoryBudget>>) -> Self {
        let limit = budget.and_then(|budget| budget.limit());
        let most = limit.map_or(MOST, |limit| MOST.min(limit / PARTS_OF_BUDGET / COPIES));
        let memory = LookupMemory {
            budget: budget.cloned(),
            left: AtomicUsize::new(most),
            free: AtomicUsize::new(FREE_BYTES),
            has_waited: AtomicBool::new(false),
            closed: Mutex::default(),
        };
        Self { inner, memory: Arc::new(memory) }
    }

    pub(super) fn memory(&self) -> &Arc<LookupMemory> {
        &self.memory
    }
}

impl LookupMemory {
    /// Whether an answer has waited for memory.
    pub(super) fn has_waited(&self) -> bool {
        self.has_waited.load(Ordering::Relaxed)
    }

    fn socket(self: &Arc<Self>) -> SocketMemory {
        SocketMemory { lookup: Arc::clone(self), room: self.budget.as_ref().map(AwaitedRoom::of), bytes: 0 }
    }

    /// Leaves of `message` what the lookup may still have. Gives its length, and what it takes.
    ///
    /// # Errors
    /// That is not even one answer: the lookup has failed, and nobody has said that there is none.
    fn admit(&self, message: &mut [u8]) -> io::Result<(usize, usize)> {
        let truncated = truncate(message, self.left.load(Ordering::Relaxed));
        if truncated.lacks_answers {
            return Err(io::Error::other("the DNS server says more than is read"));
        }
        // Both families may be answered at once: then a little more is let through.
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(truncated.size)));
        Ok((truncated.length, COPIES * truncated.size))
    }
}

impl SocketMemory {
    /// Ready once so many `more` bytes are counted.
    fn poll_hold(&mut self, more: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(room) = &mut self.room else { return Poll::Ready(Ok(())) };
        let free = self.lookup.free.load(Ordering::Relaxed).min(more);
        let bytes = self.bytes + more - free;
        let held = room.poll_reserve(cx, bytes, "memory is short, and the DNS server says much");
        match &held {
            Poll::Ready(Ok(())) => {
                self.bytes = bytes;
                // As above: both families may take it.
                let take = |left: usize| Some(left.saturating_sub(free));
                let _ = self.lookup.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            }
            Poll::Ready(Err(_)) | Poll::Pending => self.lookup.has_waited.store(true, Ordering::Relaxed),
        }
        held
    }
}

impl Drop for SocketMemory {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            lock(&self.lookup.closed).push(room);
        }
    }
}

impl<P: RuntimeProvider<Tcp = AsyncIoTokioAsStd<TcpStream>>> RuntimeProvider for CountedNetwork<P> {
    type Handle = P::Handle;
    type Timer = P::Timer;
    type Udp = CountedUdp<P::Udp>;
    type Tcp = AsyncIoTokioAsStd<CountedTcp>;

    fn create_handle(&self) -> Self::Handle {
        self.inner.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        let (connecting, memory) = (self.inner.connect_tcp(server, local, timeout), self.memory.socket());
        Box::pin(async move {
            let AsyncIoTokioAsStd(inner) = connecting.await?;
            Ok(AsyncIoTokioAsStd(CountedTcp { inner, memory, message: Vec::new(), stage: TcpStage::Read }))
        })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        let (binding, memory) = (self.inner.bind_udp(local, server), self.memory.socket());
        Box::pin(async move {
            let state = Mutex::new(UdpState { memory, waiting: None });
            Ok(CountedUdp { inner: binding.await?, server, state })
        })
    }
}

impl<S: DnsUdpSocket> DnsUdpSocket for CountedUdp<S> {
    type Time = S::Time;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut state = lock(&self.state);
        let UdpState { memory, waiting } = &mut *state;
        if waiting.is_none() {
            let (length, from) = ready!(self.inner.poll_recv_from(cx, buf))?;
            // What others send is not read any further.
            if from.ip().to_canonical() != self.server.ip().to_canonical() || from.port() != self.server.port() {
                return Poll::Ready(Ok((length, from)));
            }
            let (length, size) = memory.lookup.admit(&mut buf[..length])?;
            if memory.poll_hold(size, cx)?.is_ready() {
                return Poll::Ready(Ok((length, from)));
            }
            *waiting = Some((buf[..length].to_vec(), size));
            return Poll::Pending;
        }
        let size = waiting.as_ref().map_or(0, |(_, size)| *size);
        ready!(memory.poll_hold(size, cx))?;
        let (datagram, _) = waiting.take().unwrap_or_default();
        let length = datagram.len().min(buf.len());
        buf[..length].copy_from_slice(&datagram[..length]);
        Poll::Ready(Ok((length, self.server)))
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buf: &[u8], target: SocketAddr) -> Poll<io::Result<usize>> {
        self.inner.poll_send_to(cx, buf, target)
    }
}

impl CountedTcp {
    /// Reads what is missing of the message and its length. Gives whether all of it is there; `false`: the connection has ended.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let wanted = match self.message.first_chunk::<LENGTH>() {
                Some(length) => LENGTH + usize::from(u16::from_be_bytes(*length)),
                None => LENGTH,
            };
            let missing = wanted - self.message.len();
            if missing == 0 && wanted > LENGTH {
                return Poll::Ready(Ok(true));
            }
            if missing == 0 {
                // A message of no length says nothing.
                self.message.clear();
                continue;
            }
            if self.message.len() == LENGTH && self.message.capacity() < wanted {
                ready!(self.memory.poll_hold(BUFFERS * missing, cx))?;
                self.message.reserve_exact(missing);
            }
            let mut part = [0; 2048];
            let mut part = ReadBuf::new(&mut part[..missing.min(2048)]);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                return match self.message.is_empty() {
                    true => Poll::Ready(Ok(false)),
                    false => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                };
            }
            self.message.extend_from_slice(part.filled());
        }
    }
}

impl AsyncRead for CountedTcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            self.stage = match self.stage {
                TcpStage::Read => {
                    if !ready!(self.poll_message(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                    let this = &mut *self;
                    let (length, size) = this.memory.lookup.admit(&mut this.message[LENGTH..])?;
                    this.message.truncate(LENGTH + length);
                    // Invariant: it came with a length of two bytes, and is no longer than it was.
                    this.message[..LENGTH].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
                    TcpStage::Hold { size }
                }
                TcpStage::Hold { size } => {
                    ready!(self.memory.poll_hold(size, cx))?;
                    TcpStage::Give { given: 0 }
                }
                TcpStage::Give { given } if given == self.message.len() => {
                    drop(mem::take(&mut self.message));
                    TcpStage::Read
                }
                TcpStage::Give { given } => {
                    let more = buf.remaining().min(self.message.len() - given);
                    buf.put_slice(&self.message[given..given + more]);
                    self.stage = TcpStage::Give { given: given + more };
                    return Poll::Ready(Ok(()));
                }
            };
        }
    }
}

impl AsyncWrite for CountedTcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
