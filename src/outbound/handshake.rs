//! The handshake with one endpoint: which name is asked for, and who has answered.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::AttemptError;
use super::local_error::LocalError;
use crate::budget::{AwaitedRoom, MemoryBudget, Reservation};
use crate::config::{ExpectedName, Host, OutboundSettings};
use crate::credentials::OutboundSnapshot;
use crate::listener::KEEPALIVE;
use crate::tls::{Negotiated, ServerHandshakeError, Stream, client_handshake};
use crate::trust::AuthenticatedServer;

/// Bytes of what a server says in a handshake for which every connection has room: more than most say.
const FREE_BYTES: usize = 4 * 1024;

/// What a byte of it may become: rustls makes an entry of 70 bytes of a certificate of one byte, which has 6 with what is around it, and reads all of them
/// before anybody can tell that they are none.
const BYTES_BECOME: usize = 12;

/// A server that has shown who it is, and by what it was judged.
#[derive(Debug, Clone)]
pub(super) struct VerifiedServer {
    pub(super) server: AuthenticatedServer,
    pub(super) name: ServerName<'static>,
    pub(super) snapshot: Arc<OutboundSnapshot>,
    /// What its chain takes as long as the connection lasts, where it is longer than most.
    pub(super) _chain: Option<Arc<Reservation>>,
}

/// A session with an endpoint, and who that is.
#[derive(Debug)]
pub(super) struct VerifiedSession {
    pub(super) stream: Stream,
    pub(super) server: AuthenticatedServer,
    pub(super) negotiated: Negotiated,
    /// What the server's chain takes, where it is longer than most.
    pub(super) chain: Option<Arc<Reservation>>,
}

/// A handshake that has come to nothing.
#[derive(Debug)]
pub(super) struct FailedHandshake {
    /// Why.
    pub(super) error: AttemptError,
    /// Who has answered, where it is whom we want, and has refused us (TLS 1.2).
    pub(super) server: Option<Box<AuthenticatedServer>>,
}

impl From<AttemptError> for FailedHandshake {
    fn from(error: AttemptError) -> Self {
        Self { error, server: None }
    }
}

impl From<FailedHandshake> for AttemptError {
    fn from(failed: FailedHandshake) -> Self {
        failed.error
    }
}

/// The handshake with the endpoint on `tcp`, and who it is. What the server says that is long waits for room of the `budget`, where there is one: whoever
/// answers has not shown yet who it is.
pub(super) async fn handshake(
    limit: Duration,
    snapshot: &OutboundSnapshot,
    name: &ServerName<'static>,
    mut tcp: TcpStream,
    budget: Option<&Arc<MemoryBudget>>,
) -> Result<VerifiedSession, FailedHandshake> {
    // A server that vanishes without a word is noticed after two minutes. When it cannot be set, it is not.
    let _ = SockRef::from(&tcp).set_tcp_keepalive(&KEEPALIVE);
    let mut room = budget.map(AwaitedRoom::of);
    let mut has_waited = false;
    let may_hold = |received, cx: &mut Context<'_>| {
        let held = room.as_mut().map_or(Poll::Ready(Ok(())), |room| poll_hold(room, received, cx));
        has_waited |= held.is_pending();
        held
    };
    let shaking = client_handshake(&mut tcp, Arc::clone(&snapshot.client_config), name.clone(), may_hold);
    let shaken = timeout(limit, shaking).await;
    let timed_out = |_| match has_waited {
        // The server had less than all of the time.
        true => AttemptError::Local(LocalError::NoRoom, io::ErrorKind::TimedOut.into()),
        false => AttemptError::HandshakeTimeout(limit),
    };
    let established = shaken.map_err(timed_out)?.map_err(|failed| {
        let ServerHandshakeError { error, chain } = failed;
        let error = AttemptError::of_handshake(error, snapshot.authenticator.own());
        let server = snapshot.authenticator.authorize(&chain, name, SystemTime::now()).ok();
        FailedHandshake { error, server: server.map(Box::new) }
    })?;
    // A session that was resumed was verified when it began: it is judged anew, by what is in force now.
    let judged = snapshot.authenticator.authorize(&established.chain, name, SystemTime::now());
    let server = judged.map_err(|denial| AttemptError::Denied(Box::new(denial)))?;
    let negotiated = established.negotiated.clone();
    // It is kept, to ask again whether the server may stay.
    let chain_bytes = established.chain.iter().map(|certificate| certificate.len()).sum();
    let chain = room.filter(|_| chain_bytes > FREE_BYTES).map(|room| Arc::new(room.into_reservation(chain_bytes)));
    Ok(VerifiedSession { stream: Stream::with_server(&server, tcp, established), server, negotiated, chain })
}

/// Ready once there is room for what so many bytes of a server become.
fn poll_hold(room: &mut AwaitedRoom, received: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    match received.saturating_sub(FREE_BYTES) {
        0 => Poll::Ready(Ok(())),
        more => room.poll_reserve(cx, BYTES_BECOME * more, "out of memory"),
    }
}

/// The name that is asked for, and mostly verified, where `host` is dialled.
pub fn server_name(settings: &OutboundSettings, host: &Host) -> ServerName<'static> {
    name_of(match &settings.server_name {
        ExpectedName::Given(name) => name,
        ExpectedName::Target | ExpectedName::Unchecked => host,
    })
}

/// `host`, as TLS calls it.
pub(super) fn name_of(host: &Host) -> ServerName<'static> {
    match host {
        Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
        Host::Name(name) => {
            let name = name.trim_end_matches('.').to_owned();
            // Invariant: the configuration takes names only that are.
            ServerName::try_from(name).unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::Instant;

    use super::*;
    use crate::budget::Budgets;

    #[tokio::test(start_paused = true)]
    async fn what_servers_say_in_handshakes_counts_for_what_it_may_become_and_waits_where_there_is_no_room() {
        const KIB: usize = 1024;
        let budget = Budgets::new(None, Some(400 * KIB as u64)).backlogs;
        let mut rooms: Vec<_> = (0..4).map(|_| AwaitedRoom::of(&budget)).collect();
        for room in &mut rooms {
            poll_fn(|cx| poll_hold(room, FREE_BYTES, cx)).await.unwrap();
        }
        assert_eq!(budget.held(), 0, "most say no more");
        let began = Instant::now();
        for room in &mut rooms[..3] {
            poll_fn(|cx| poll_hold(room, FREE_BYTES + 20 * KIB, cx)).await.unwrap();
        }
        assert_eq!((budget.held(), began.elapsed()), (3 * BYTES_BECOME * 20 * KIB, Duration::ZERO));
        let error = poll_fn(|cx| poll_hold(&mut rooms[3], FREE_BYTES + 20 * KIB, cx)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(began.elapsed() > Duration::from_secs(3), "handshakes are mostly over by then");
        drop(rooms);
        assert_eq!(budget.held(), 0);
    }
}
