//! The accept loop: slots, and a back-off that neither dies nor spins.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::connection::Service;
use crate::connection::Slot;
use crate::connection::serve;
use crate::lifecycle::Guard;
use crate::lifecycle::Phase;

/// Connections over the limit that are still told so at their ClientHello; those beyond are reset at once.
const TURNED_AWAY_AT_ONCE: usize = 64;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Room for connections, shared by all listeners.
#[derive(Debug, Clone)]
pub struct Slots {
    served: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
}

impl Slots {
    /// Room for `connections` at once.
    pub fn new(connections: usize) -> Self {
        Self {
            served: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE)),
        }
    }
}

/// Accepts until the phase is [`Phase::Draining`], then serves what the kernel had queued, and closes the listener.
pub async fn accept(listener: TcpListener, service: Arc<Service>, slots: Slots, guard: Guard) {
    let mut phase = service.phase.clone();
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, peer)) => {
                pause = FIRST_PAUSE;
                begin(client, peer, &service, &slots, &guard);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!(error = %error, listener = %service.listener,
                        "cannot accept connections for now; raise the descriptor limit (ulimit -n) or lower --max-connections");
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    // To these clients the kernel has already answered: they are connected, and closing the listener would reset them.
    while let Some(Ok((client, peer))) = accept_now(&listener).await {
        begin(client, peer, &service, &slots, &guard);
    }
}

/// The next connection that is queued, without waiting for one.
async fn accept_now(listener: &TcpListener) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    tokio::select! {
        biased;
        accepted = listener.accept() => Some(accepted),
        () = std::future::ready(()) => None,
    }
}

fn begin(client: TcpStream, peer: SocketAddr, service: &Arc<Service>, slots: &Slots, guard: &Guard) {
    // A listener for IPv6 and IPv4 sees IPv4 clients as ::ffff:a.b.c.d; people and allowlists do not.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let admitted = Arc::clone(&slots.served).try_acquire_owned().ok();
    let service = Arc::clone(service);
    let guard = guard.clone();
    if admitted.is_some() {
        tokio::spawn(serve(client, peer, service, Slot { admitted, guard }));
    } else if let Ok(turn) = Arc::clone(&slots.turned_away).try_acquire_owned() {
        tokio::spawn(async move {
            serve(client, peer, service, Slot { admitted: None, guard }).await;
            drop(turn);
        });
    } else {
        // When the option cannot be set the socket is closed all the same.
        let _ = client.set_zero_linger();
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
