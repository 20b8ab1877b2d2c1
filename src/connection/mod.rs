//! One connection: accept → ClientHello → dial → handshake → relay → record.

mod ended;
mod farewell;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio::time::timeout;

pub use ended::Ended;
pub use ended::Reason;

use crate::config::AccessLog;
use crate::config::AppAddr;
use crate::config::Timeouts;
use crate::credentials::Current;
use crate::lifecycle::Guard;
use crate::lifecycle::Phase;
use crate::relay::AppStream;
use crate::relay::End;
use crate::relay::Relay;
use crate::telemetry::Counters;
use crate::telemetry::Record;
use crate::tls;
use crate::tls::Established;
use crate::upstream;

/// While the instance goes, a connection that has been idle for this long is closed: long enough for the pause between
/// two parts of one answer, short enough for routers to let go of it before the app hears that it must stop.
const IDLE_WHILE_GOING: Duration = Duration::from_millis(50);

/// What the connections of one listener share.
#[derive(Debug)]
pub struct Service {
    /// Where they came in.
    pub listener: SocketAddr,
    /// What they are served with.
    pub current: Current,
    /// Where they go.
    pub app: AppAddr,
    /// How long each stage may take.
    pub timeouts: Timeouts,
    /// One permit for each handshake that may be under way.
    pub handshakes: Arc<Semaphore>,
    /// Where the process stands.
    pub phase: watch::Receiver<Phase>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Which connections leave a line.
    pub access: AccessLog,
}

/// The place of one connection among those that are admitted at once.
#[derive(Debug)]
pub struct Slot {
    /// `None`: the limit was reached, and the client is to be told so.
    pub admitted: Option<OwnedSemaphorePermit>,
    /// Keeps the process until the connection is done.
    pub guard: Guard,
}

/// The life of one connection, in the order it happens.
pub async fn serve(client: TcpStream, peer: SocketAddr, service: Arc<Service>, slot: Slot) {
    let mut record = Record::open(Arc::clone(&service.counters), service.access, peer, service.listener);
    // In a box of its own, so that the memory of the handshake is free while the relay runs.
    let established = Box::pin(establish(&client, &service, &slot, &mut record)).await;
    match established {
        Ok((established, app)) => {
            let mut relay = Relay::new(client, established, app);
            let reason = carry(&mut relay, &service).await;
            record.facts.carried = relay.carried();
            // Before the farewell, which may be cut short when the process ends.
            record.close(reason);
            farewell::part(relay, reason).await;
        }
        Err(ended) => {
            record.explain(&ended);
            record.close(ended.reason());
            farewell::refuse(client, ended).await;
        }
    }
}

/// accept → ClientHello → dial → handshake
async fn establish(
    client: &TcpStream,
    service: &Service,
    slot: &Slot,
    record: &mut Record,
) -> Result<(Established, AppStream), Ended> {
    let limit = service.timeouts.handshake;
    let stages = async {
        let hello = tls::read_hello(client).await?;
        record.facts.server_name = hello.server_name().map(str::to_owned);
        if slot.admitted.is_none() {
            return Err(Ended::Overloaded { what: "connections", option: "--max-connections" });
        }
        let Ok(_turn) = service.handshakes.try_acquire() else {
            return Err(Ended::Overloaded { what: "handshakes", option: "--max-handshakes" });
        };
        // One generation, for the handshake and all that follows.
        let serving = service.current.get().ok_or(Ended::NoCredential)?;
        record.facts.generation = Some(serving.generation);
        // Dialled before anything of ours is sent: an app that does not accept becomes a reset in answer to the
        // ClientHello, which every router takes as "try another instance", whatever the method.
        let dialled = Instant::now();
        let app = upstream::dial(&service.app, service.timeouts.connect).await?;
        record.facts.dial = Some(dialled.elapsed());
        let config = serving.offer.answer(&hello);
        let established = tls::handshake(client, hello, config).await?;
        Ok((established, app))
    };
    let (established, app) = timeout(limit, stages).await.unwrap_or(Err(Ended::HandshakeTimeout(limit)))?;
    record.facts.handshake = Some(record.age());
    record.facts.negotiated = Some(established.session.negotiated());
    Ok((established, app))
}

/// relay, until one side, a limit or the process ends it
async fn carry(relay: &mut Relay, service: &Service) -> Reason {
    if let Some(limit) = service.timeouts.idle {
        relay.end_when_silent(limit);
    }
    let too_old = service.timeouts.max_age.map(|limit| tokio::time::Instant::now() + limit);
    let mut phase = service.phase.clone();
    let mut going = false;
    loop {
        let here = *phase.borrow_and_update();
        match here {
            Phase::Running => {}
            Phase::Retiring | Phase::Draining => {
                going = true;
                relay.end_when_idle(IDLE_WHILE_GOING);
            }
            Phase::Closing => return Reason::DrainTimeout,
        }
        tokio::select! {
            end = &mut *relay => return match end {
                End::Quiet if going => Reason::ClosedIdle,
                end => end.into(),
            },
            Ok(()) = phase.changed() => {}
            () = sleep_until(too_old.unwrap_or_else(tokio::time::Instant::now)), if too_old.is_some() => {
                return Reason::MaxAge;
            }
        }
    }
}
