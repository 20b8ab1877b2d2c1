//! The accept loop: slots, and a back-off that neither dies nor spins.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

use crate::lifecycle::{DrainGuard, Phase};

/// Connections over the limit that are still told so at their ClientHello; those beyond are reset at once.
const MAX_REJECTED_AT_ONCE: usize = 64;

/// Errors in a row that may be the clients'. A kernel or a sandbox that gives nothing else has a trouble of its own.
const CLIENTS_ERRORS: u32 = 16;

/// Connections that are taken from a listener when it closes: as many as the kernel keeps (`net.core.somaxconn`), and no more, however fast others
/// come.
const MAX_QUEUED: usize = 4096;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Room for connections, shared by all listeners.
#[derive(Debug, Clone)]
pub struct Slots {
    room: Arc<Room>,
    rejected: Arc<Semaphore>,
}

#[derive(Debug)]
struct Room {
    served: Arc<Semaphore>,
    /// The part of it that some of the listeners may take.
    part: Option<Semaphore>,
}

impl Slots {
    /// Room for `connections` at once.
    pub fn new(connections: usize) -> Self {
        Self {
            room: Arc::new(Room {
                served: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
                part: None,
            }),
            rejected: Arc::new(Semaphore::new(MAX_REJECTED_AT_ONCE)),
        }
    }

    /// The same room, of which those who have this take no more than `connections`.
    pub fn up_to(&self, connections: usize) -> Self {
        let part = Some(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        let room = Room { served: Arc::clone(&self.room.served), part };
        Self { room: Arc::new(room), rejected: Arc::clone(&self.rejected) }
    }

    /// Room for one connection, if there is some.
    fn take(&self) -> Option<CapacityPermit> {
        let part = self.room.part.as_ref().map(Semaphore::try_acquire).transpose().ok()?;
        self.room.served.try_acquire().ok()?.forget();
        if let Some(part) = part {
            part.forget();
        }
        Some(CapacityPermit(Arc::clone(&self.room)))
    }

    /// Takes room away, so that `connections` are left, until what is given is dropped. To be called before any has come.
    pub(super) fn hold_back(&self, connections: usize) -> Option<OwnedSemaphorePermit> {
        let excess = self.room.served.available_permits().saturating_sub(connections);
        let excess = u32::try_from(excess).unwrap_or(u32::MAX);
        Arc::clone(&self.room.served).try_acquire_many_owned(excess).ok()
    }
}

/// A listening socket of either kind.
pub trait ListenSocket: Send + Sync + 'static {
    /// A connection that came in.
    type Stream: Send + 'static;
    /// Who has connected, as far as the kernel says.
    type Peer: Send + 'static;

    /// Waits for a connection. Cancel safe.
    fn accept_one(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;

    /// The next connection that the kernel has queued, as the kernel says: what waits for one hears of it a moment later. To be called within a
    /// runtime.
    ///
    /// # Errors
    /// Of the kind `WouldBlock`: there is none.
    fn accept_queued(&self) -> io::Result<(Self::Stream, Self::Peer)>;
}

const ACCEPTED: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

impl ListenSocket for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn accept_one(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.accept().await?;
        Ok((stream, canonical(peer)))
    }

    fn accept_queued(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, peer) = acceptfrom_with(self, ACCEPTED)?;
        let stream = TcpStream::from_std(socket.into())?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok((stream, canonical(peer.ok_or(io::ErrorKind::ConnectionAborted)?)))
    }
}

/// A listener for IPv6 and IPv4 sees IPv4 clients as ::ffff:a.b.c.d; people and allowlists do not.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

impl ListenSocket for UnixListener {
    type Stream = UnixStream;
    type Peer = ();

    async fn accept_one(&self) -> io::Result<(UnixStream, ())> {
        Ok((self.accept().await?.0, ()))
    }

    fn accept_queued(&self) -> io::Result<(UnixStream, ())> {
        Ok((UnixStream::from_std(acceptfrom_with(self, ACCEPTED)?.0.into())?, ()))
    }
}

/// A listening socket from which nothing is taken while there is no room: further connections wait in the kernel's accept queue.
#[derive(Debug)]
pub struct LimitedListener<L> {
    /// Where connections come in.
    pub socket: L,
    /// Room for them, which may be shared.
    pub capacity: Arc<Semaphore>,
}

impl<L: ListenSocket> ListenSocket for LimitedListener<L> {
    type Stream = (L::Stream, OwnedSemaphorePermit);
    type Peer = L::Peer;

    async fn accept_one(&self) -> io::Result<(Self::Stream, L::Peer)> {
        // Never an error: it is not closed.
        let permit = Arc::clone(&self.capacity).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = self.socket.accept_one().await?;
        Ok(((stream, permit), peer))
    }

    fn accept_queued(&self) -> io::Result<(Self::Stream, L::Peer)> {
        let permit = Arc::clone(&self.capacity).try_acquire_owned().map_err(|_| io::ErrorKind::WouldBlock)?;
        let (stream, peer) = self.socket.accept_queued()?;
        Ok(((stream, permit), peer))
    }
}

/// What is done with the connections of one listener.
pub trait Service<L: ListenSocket>: Send + Sync + 'static {
    /// Serves one connection from its beginning to its end.
    fn serve(self: Arc<Self>, stream: L::Stream, peer: L::Peer, slot: Slot) -> impl Future<Output = ()> + Send;

    /// Gets rid of a connection that is not even to be heard, at once.
    fn reject(&self, stream: L::Stream, peer: L::Peer);
}

/// The room that one connection takes: one place, given back when this is dropped.
#[derive(Debug)]
pub struct CapacityPermit(Arc<Room>);

impl Drop for CapacityPermit {
    fn drop(&mut self) {
        self.0.served.add_permits(1);
        if let Some(part) = &self.0.part {
            part.add_permits(1);
        }
    }
}

/// The place of one connection among those that are served at once.
#[derive(Debug)]
pub struct Slot {
    /// `None`: the limit was reached, and the client is to be told so.
    pub capacity_permit: Option<CapacityPermit>,
    /// Keeps the process until the connection is done.
    pub guard: DrainGuard,
}

/// One listening socket, and what all that comes in there has in common.
#[derive(Debug)]
pub struct Acceptor<L, S> {
    /// Where connections come in.
    pub socket: L,
    /// Its address, for the log.
    pub addr: Arc<str>,
    /// What becomes of them.
    pub service: Arc<S>,
    /// Room for them.
    pub slots: Slots,
    /// Keeps the process until they are done.
    pub guard: DrainGuard,
}

impl<L: ListenSocket, S: Service<L>> Acceptor<L, S> {
    /// Accepts until `phase` is [`Phase::Draining`], then serves what the kernel had queued, and closes the listener.
    pub async fn run(self, mut phase: watch::Receiver<Phase>) {
        let mut failures = Failures::default();
        let mut pause = Duration::ZERO;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase >= Phase::Draining) => break,
                accepted = after(pause, self.socket.accept_one()) => accepted,
            };
            pause = match accepted {
                Ok((stream, peer)) => {
                    failures = Failures::default();
                    self.begin(stream, peer);
                    Duration::ZERO
                }
                Err(error) => failures.pause_for(&error, &self.addr),
            };
        }
        // To these clients the kernel has already answered: they are connected, and closing the listener would reset them.
        for _ in 0..MAX_QUEUED {
            match self.socket.accept_queued() {
                Ok((stream, peer)) => self.begin(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if failures.pause_for(&error, &self.addr).is_zero() => {}
                Err(_) => break,
            }
        }
    }

    fn begin(&self, stream: L::Stream, peer: L::Peer) {
        let admitted = self.slots.take();
        let (service, guard) = (Arc::clone(&self.service), self.guard.clone());
        if admitted.is_some() {
            tokio::spawn(service.serve(stream, peer, Slot { capacity_permit: admitted, guard }));
        } else if let Ok(permit) = Arc::clone(&self.slots.rejected).try_acquire_owned() {
            tokio::spawn(async move {
                service.serve(stream, peer, Slot { capacity_permit: None, guard }).await;
                drop(permit);
            });
        } else {
            self.service.reject(stream, peer);
        }
    }
}

/// `work`, once the pause is over.
async fn after<T>(pause: Duration, work: impl Future<Output = T>) -> T {
    if !pause.is_zero() {
        sleep(pause).await;
    }
    work.await
}

/// Errors of accept(2) since the last connection.
#[derive(Debug, Default)]
struct Failures {
    client_errors: u32,
    pause: Duration,
}

impl Failures {
    /// How long to wait before the next try; logs the first time that there is something to wait for.
    fn pause_for(&mut self, error: &io::Error, listener: &str) -> Duration {
        if is_the_clients(error) && self.client_errors < CLIENTS_ERRORS {
            self.client_errors += 1;
            return Duration::ZERO;
        }
        if self.pause.is_zero() {
            let help = if is_the_clients(error) {
                "the kernel, or what filters its calls, fails accept(2): look for a seccomp profile"
            } else {
                "raise the descriptor limit (ulimit -n) or lower --max-connections"
            };
            tracing::warn!(%error, listener, help, "cannot accept connections for now");
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.pause
    }
}

/// Whether accept(2) reports a connection that went wrong before we took it, not a trouble of ours.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::INTR
                | Errno::AGAIN
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::CONNRESET
        )
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::timeout;

    use super::*;
    use crate::lifecycle::DrainGuards;

    const SOMEWHERE: &str = "127.0.0.1:1";

    fn pauses(errno: Errno, failures: &mut Failures) -> Vec<Duration> {
        (0..32).map(|_| failures.pause_for(&errno.into(), SOMEWHERE)).collect()
    }

    #[test]
    fn those_who_may_take_a_part_of_the_room_leave_the_rest_to_others() {
        let all = Slots::new(3);
        let some = all.up_to(2);
        let taken: Vec<_> = (0..2).map(|_| some.take().unwrap()).collect();
        assert!(some.take().is_none());
        let rest = all.take().unwrap();
        assert!(all.take().is_none());
        drop(taken);
        let more = [all.take().unwrap(), all.take().unwrap()];
        assert!(some.take().is_none(), "others have it all");
        drop((rest, more));
        assert!(some.take().is_some());
    }

    /// Counts those whom it serves.
    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Service<TcpListener> for Counted {
        async fn serve(self: Arc<Self>, _: TcpStream, _: SocketAddr, _: Slot) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn reject(&self, _: TcpStream, _: SocketAddr) {}
    }

    #[tokio::test]
    async fn whoever_has_connected_before_the_listener_closes_is_served() {
        // Fewer than this listener has queued.
        const CLIENTS: usize = 100;
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let (service, guards) = (Arc::<Counted>::default(), DrainGuards::default());
        let (phase, seen) = watch::channel(Phase::Running);
        let acceptor = Acceptor {
            socket,
            addr: addr.to_string().into(),
            service: Arc::clone(&service),
            slots: Slots::new(2 * CLIENTS),
            guard: guards.guard(),
        };
        let accepting = tokio::spawn(acceptor.run(seen));
        // It waits, and nobody tells it of these before it is told to end.
        tokio::task::yield_now().await;
        let clients: Vec<_> = (0..CLIENTS).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
        phase.send_replace(Phase::Draining);
        accepting.await.unwrap();
        tokio::task::yield_now().await;
        let refused = std::net::TcpStream::connect(addr).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused));
        let _ = timeout(Duration::from_secs(30), guards.close().gone()).await;
        assert_eq!(service.0.load(Ordering::Relaxed), CLIENTS);
        drop(clients);
    }

    #[test]
    fn an_error_of_a_client_costs_no_pause_and_one_that_never_ends_does() {
        for errno in [Errno::CONNABORTED, Errno::PROTO, Errno::PERM, Errno::NETDOWN, Errno::INTR] {
            let pauses = pauses(errno, &mut Failures::default());
            let (first, rest) = pauses.split_at(CLIENTS_ERRORS as usize);
            assert!(first.iter().all(Duration::is_zero), "{errno}: {pauses:?}");
            assert_eq!((rest[0], rest[1], rest[15]), (FIRST_PAUSE, 2 * FIRST_PAUSE, LONGEST_PAUSE), "{errno}");
        }
    }

    #[test]
    fn a_trouble_of_ours_costs_a_pause_at_once() {
        let pauses = pauses(Errno::MFILE, &mut Failures::default());
        assert_eq!((pauses[0], pauses[1], pauses[31]), (FIRST_PAUSE, 2 * FIRST_PAUSE, LONGEST_PAUSE));
    }
}
