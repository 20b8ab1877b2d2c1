//! One connection: accept → ClientHello → dial → handshake → authorize → relay → record.

mod ended;
mod farewell;
mod linger;
mod reason;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio::time::sleep_until;
use tokio::time::timeout;

pub use ended::Ended;
use linger::Undelivered;
pub use reason::Reason;

use crate::announce;
use crate::announce::Announcement;
use crate::announce::Ends;
use crate::announce::Header;
use crate::announce::Shown;
use crate::budget::Budgets;
use crate::config::AccessLog;
use crate::config::Dial;
use crate::config::Network;
use crate::config::ProxyProtocol;
use crate::config::Timeouts;
use crate::credentials::Admitting;
use crate::credentials::Current;
use crate::credentials::Serving;
use crate::identity::Client;
use crate::lifecycle::Guard;
use crate::lifecycle::Phase;
use crate::policy;
use crate::policy::Denial;
use crate::policy::Permit;
use crate::relay::AppStream;
use crate::relay::End;
use crate::relay::Relay;
use crate::relay::Stuck;
use crate::telemetry::Counters;
use crate::telemetry::Record;
use crate::tls;
use crate::tls::Answer;
use crate::tls::Established;
use crate::tls::HandshakeError;
use crate::tls::Turns;
use crate::tls::Witness;
use crate::upstream::DialError;
use crate::upstream::Upstream;

/// While the instance goes, a connection that has been idle for this long is closed: long enough for the pause between
/// two parts of one answer, short enough for routers to let go of it before the app hears that it must stop.
const IDLE_WHILE_GOING: Duration = Duration::from_millis(50);

/// How long a client waits for the first pair at least, where clients are not held for longer anyway.
const FIRST_PAIR: Duration = Duration::from_secs(1);

/// What a connection costs until its handshake is done, beside the client's bytes and beside what an idle one costs.
const HANDSHAKE: usize = 6 * 1024;

const TOO_MANY_CONNECTIONS: Ended = Ended::Overloaded { what: "connections", option: "--max-connections" };

/// What the connections of one listener share.
#[derive(Debug)]
pub struct Service {
    /// Where they came in.
    pub listener: SocketAddr,
    /// What they are served with.
    pub current: Current,
    /// Where they go.
    pub app: Arc<Upstream>,
    /// When the app is dialled.
    pub dial: Dial,
    /// What the app is told of each client in front of its bytes.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Who in front of us tells of each client in front of its bytes, and must.
    pub accept_proxy_protocol: Vec<Network>,
    /// How long each stage may take.
    pub timeouts: Timeouts,
    /// One permit for each handshake that may be under way.
    pub handshakes: Arc<Semaphore>,
    /// Bytes that clients may have us hold.
    pub budgets: Arc<Budgets>,
    /// Whose turn it is to sign.
    pub turns: Arc<Turns>,
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

/// A client that may reach the app, and the ways to both.
struct Admitted {
    established: Established,
    app: AppStream,
    permit: Permit,
    standing: Option<Standing>,
    /// What the app is told in front of the client's bytes.
    announcement: Vec<u8>,
}

/// What a connection holds while bytes are carried, for as long as it may be idle. All else is in boxes that are gone by
/// then, or not made yet.
struct Carrying {
    relay: Relay,
    standing: Option<Standing>,
    record: Record,
}

/// On what ground a client with a certificate was let in, so that it can be asked again whether it may stay.
struct Standing {
    client: Client,
    serving: Arc<Serving>,
}

/// A relay whose bytes get on the record however it ends: the task may be cancelled in the middle of it, or panic.
struct Accounted<'a> {
    relay: &'a mut Relay,
    record: &'a mut Record,
}

impl Drop for Accounted<'_> {
    fn drop(&mut self) {
        self.record.facts.carried = self.relay.carried();
    }
}

/// The life of one connection, in the order it happens.
pub async fn serve(client: TcpStream, peer: SocketAddr, service: Arc<Service>, slot: Slot) {
    // The beginning and the end have boxes of their own: an idle connection has room for neither.
    let Some(mut carrying) = Box::pin(begin(client, peer, &service, &slot)).await else { return };
    let reason = carry(&mut carrying, &service).await;
    Box::pin(end(carrying, reason, &service)).await;
}

/// Resets a client at once that is not even to be heard.
pub fn turn_away(client: TcpStream, peer: SocketAddr, service: &Service) {
    let mut record = Record::open(Arc::clone(&service.counters), service.access, peer, service.listener);
    // When the option cannot be set the socket is closed all the same.
    let _ = client.set_zero_linger();
    record.explain(&TOO_MANY_CONNECTIONS);
    record.close(TOO_MANY_CONNECTIONS.reason());
}

/// Everything before the relay; `None` if it does not come to that, once the client has been told.
async fn begin(mut client: TcpStream, peer: SocketAddr, service: &Service, slot: &Slot) -> Option<Carrying> {
    let mut record = Record::open(Arc::clone(&service.counters), service.access, peer, service.listener);
    match establish(&mut client, peer, service, slot, &mut record).await {
        Ok(Admitted { established, app, permit, standing, announcement }) => {
            let relay = Relay::new(&permit, client, established, app, announcement, &service.budgets.backlogs);
            record.judged(Ok(permit));
            Some(Carrying { relay, standing, record })
        }
        Err(ended) => {
            record.explain(&ended);
            if let Some(denial) = ended.denial() {
                record.judged(Err(denial.clone()));
            }
            record.close(ended.reason());
            farewell::refuse(client, ended).await;
            None
        }
    }
}

/// Everything after the relay. The record is written when the client has what it was sent, or will not take it.
async fn end(carrying: Carrying, reason: Reason, service: &Service) {
    let Carrying { mut relay, mut record, .. } = carrying;
    record.decided(reason);
    let accounted = Accounted { relay: &mut relay, record: &mut record };
    let whole = farewell::last_answer(accounted.relay, reason).await;
    drop(accounted);
    let reason = match farewell::part(relay, reason, whole, service.phase.clone()).await {
        None => reason,
        Some(Undelivered { bytes, reason: why }) => {
            let down = &mut record.facts.carried.down;
            *down = down.saturating_sub(bytes);
            if reason == Reason::Completed { why } else { reason }
        }
    };
    record.close(reason);
}

/// accept → ClientHello → dial → handshake → authorize
async fn establish(
    stream: &mut TcpStream,
    peer: SocketAddr,
    service: &Service,
    slot: &Slot,
    record: &mut Record,
) -> Result<Admitted, Ended> {
    let limit = service.timeouts.handshake;
    let stages = async {
        let mut held = service.budgets.handshakes.reservation();
        held.reserve(HANDSHAKE)?;
        let (ends, wire) = match service.accept_proxy_protocol.iter().any(|network| network.contains(peer.ip())) {
            true => {
                held.reserve(HANDSHAKE + Header::LONGEST)?;
                announce::receive(stream).await.map(|(header, rest)| (header.ends, rest))?
            }
            false => (None, Vec::new()),
        };
        if let Some(Ends { source, .. }) = ends {
            record.on_behalf_of(source);
        }
        let hello = tls::read_hello(stream, wire, |bytes| held.reserve(HANDSHAKE + bytes)).await?;
        record.facts.server_name = hello.server_name().map(str::to_owned);
        if slot.admitted.is_none() {
            return Err(TOO_MANY_CONNECTIONS);
        }
        let Ok(_turn) = service.handshakes.try_acquire() else {
            return Err(Ended::Overloaded { what: "handshakes", option: "--max-handshakes" });
        };
        // One generation, for the handshake and all that follows.
        let serving = serving(service).await.ok_or(Ended::NoCredential)?;
        record.facts.generation = Some(serving.generation);
        // Dialled before anything of ours is sent: an app that does not accept becomes a reset in answer to the
        // ClientHello, which every router takes as "try another instance", whatever the method. Where clients have to be
        // authorized first, this is so only while the app is known not to accept.
        let early = match service.dial {
            Dial::AfterAuthorization if service.app.is_ready() => None,
            _ => Some(dial(service, record).await?),
        };
        let Answer { config, witness } =
            serving.offer.answer(&hello).map_err(|error| Ended::Handshake(HandshakeError::Refused(error)))?;
        let app_stands = || !early.as_ref().is_some_and(AppStream::is_reset);
        let may_hold = |bytes| held.reserve(HANDSHAKE + bytes);
        let handshake = tls::handshake(stream, hello, config, &service.turns, may_hold, app_stands);
        let (negotiated, established) = match handshake.await {
            Ok(done) => done,
            Err(HandshakeError::Forestalled) => return Err(DialError::Reset.into()),
            Err(HandshakeError::Refused(cause)) => return Err(refusal(cause, witness.as_deref(), record)),
            Err(error) => return Err(error.into()),
        };
        record.agreed(negotiated);
        let verdict = match witness.as_deref().and_then(Witness::verdict) {
            Some(verdict) => verdict.clone(),
            // Nothing was shown in this handshake. A session that resumes is asked anew, like any other.
            None => serving.admitting.judge(established.resumed_chain.as_deref(), SystemTime::now()),
        };
        let (client, permit) = match verdict {
            Ok(admitted) => admitted,
            Err(denial) => return Err(Ended::DeniedLate(denial, Box::new(established))),
        };
        record.facts.client = Some(client.clone());
        let app = match early {
            Some(app) => app,
            None => dial(service, record).await.map_err(Ended::AppLate)?,
        };
        let announcement = match service.proxy_protocol {
            None => Vec::new(),
            Some(version) => {
                // Should the kernel not know it any more, the app is told that nobody knows.
                let here = stream.local_addr().ok().map(|destination| Ends { source: peer, destination });
                announcement(version, ends.or(here), record, &client)
            }
        };
        let standing = matches!(serving.admitting, Admitting::Certified(_)).then_some(Standing { client, serving });
        Ok(Admitted { established, app, permit, standing, announcement })
    };
    timeout(limit, stages).await.unwrap_or(Err(Ended::HandshakeTimeout(limit)))
}

/// What clients are served with now. The listeners open before the first pair, roots and rules have been loaded, which takes
/// some milliseconds: a client that comes meanwhile waits, as a reset would have a router shun us for half a minute.
async fn serving(service: &Service) -> Option<Arc<Serving>> {
    let mut current = service.current.clone();
    let limit = service.app.hold().map_or(FIRST_PAIR, |hold| hold.max(FIRST_PAIR));
    let serving = timeout(limit, current.wait_for(Option::is_some)).await.ok()?.ok()?;
    serving.clone()
}

/// What the app is told of `client`.
fn announcement(version: ProxyProtocol, ends: Option<Ends>, record: &Record, client: &Client) -> Vec<u8> {
    let negotiated = record.facts.negotiated.as_ref();
    let shown = client.holder().map(|holder| Shown {
        common_name: holder.common_name.as_deref(),
        subject: &holder.subject,
        earlier: negotiated.is_some_and(|negotiated| negotiated.resumed),
    });
    let announcement = Announcement {
        ends,
        alpn: negotiated.and_then(|negotiated| negotiated.alpn.as_deref()),
        server_name: record.facts.server_name.as_deref(),
        tls_version: negotiated.and_then(|negotiated| negotiated.version).and_then(announce::version_name),
        cipher: negotiated.and_then(|negotiated| negotiated.suite).and_then(announce::cipher_name),
        certificate: shown,
    };
    match version {
        ProxyProtocol::V1 => announcement.v1(),
        ProxyProtocol::V2 => announcement.v2(),
    }
}

async fn dial(service: &Service, record: &mut Record) -> Result<AppStream, DialError> {
    let began = Instant::now();
    let dialled = service.app.dial().await;
    record.dialled(began.elapsed());
    dialled
}

/// Whether a handshake that we ended was ended over the client's certificate.
fn refusal(cause: rustls::Error, witness: Option<&Witness>, record: &mut Record) -> Ended {
    record.facts.client = witness.and_then(Witness::denied).cloned();
    let verdict = witness.and_then(Witness::verdict).and_then(|verdict| verdict.as_ref().err().cloned());
    match verdict.or_else(|| policy::Reason::of_handshake(&cause).map(Denial::from)) {
        Some(denial) if witness.is_some() => Ended::Denied(denial),
        _ => Ended::Handshake(HandshakeError::Refused(cause)),
    }
}

/// relay, until one side, a limit, the policy or the process ends it
async fn carry(carrying: &mut Carrying, service: &Service) -> Reason {
    let Carrying { relay, standing, record } = carrying;
    let accounted = Accounted { relay, record };
    if let Some(limit) = service.timeouts.idle {
        accounted.relay.end_when_silent(limit);
    }
    let mut deadline = Deadline::first_of(standing.as_ref(), service.timeouts.max_age);
    let (mut phase, mut current) = (service.phase.clone(), service.current.clone());
    let mut going = false;
    loop {
        if let Some(Standing { client, serving }) = standing
            && let Some(now_serving) = current.borrow_and_update().clone()
            && now_serving.generation != serving.generation
        {
            match now_serving.admitting.judge_again(client, &serving.admitting, SystemTime::now()) {
                Ok(_) => *serving = now_serving,
                Err(denial) => {
                    let reason = match denial.reason() {
                        policy::Reason::Expired => Reason::PeerExpired,
                        _ => Reason::PolicyChanged,
                    };
                    accounted.record.judged(Err(denial));
                    return reason;
                }
            }
        }
        let here = *phase.borrow_and_update();
        match here {
            Phase::Running => {}
            Phase::Retiring | Phase::Draining => {
                going = true;
                accounted.relay.end_when_idle(IDLE_WHILE_GOING);
            }
            Phase::Delivering => accounted.relay.end_after_answer(),
            Phase::Closing => return Reason::DrainTimeout,
        }
        tokio::select! {
            // No dice are thrown for who is asked first: this is on the path of every byte.
            biased;
            end = &mut *accounted.relay => return match end {
                End::Quiet if going => Reason::ClosedIdle,
                End::Stuck => {
                    accounted.record.explain(&Stuck);
                    Reason::Overloaded
                }
                end => end.into(),
            },
            Ok(()) = phase.changed() => {}
            Ok(()) = current.changed(), if standing.is_some() => {}
            over = &mut deadline => return over,
        }
    }
}

/// When a connection is over, whatever it does. Never where no end is set, and then it costs no timer.
struct Deadline(Option<(Pin<Box<Sleep>>, Reason)>);

impl Deadline {
    /// The end of the validity of the client's certificate, or of the longest life, whichever is first.
    fn first_of(standing: Option<&Standing>, max_age: Option<Duration>) -> Self {
        let holder = standing.and_then(|standing| standing.client.holder());
        let expiry = holder.map(|holder| (until(holder.not_after), Reason::PeerExpired));
        let too_old = max_age.map(|limit| (tokio::time::Instant::now() + limit, Reason::MaxAge));
        let first = expiry.into_iter().chain(too_old).min_by_key(|(at, _)| *at);
        Self(first.map(|(at, reason)| (Box::pin(sleep_until(at)), reason)))
    }
}

impl Future for Deadline {
    type Output = Reason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reason> {
        match &mut self.0 {
            Some((timer, reason)) => timer.as_mut().poll(cx).map(|()| *reason),
            None => Poll::Pending,
        }
    }
}

/// When the wall clock will show `time`.
fn until(time: SystemTime) -> tokio::time::Instant {
    tokio::time::Instant::now() + time.duration_since(SystemTime::now()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Arc;
    use super::Future;
    use super::Relay;
    use super::Service;
    use super::Slot;
    use super::SocketAddr;
    use super::TcpStream;
    use super::serve;

    fn size_of_future<F: Future>(_: fn(TcpStream, SocketAddr, Arc<Service>, Slot) -> F) -> usize {
        size_of::<F>()
    }

    /// The allocator has no class between 1,024 and 1,280 bytes, and tokio puts about 100 of its own around a future.
    #[test]
    fn an_idle_connection_keeps_its_state_within_one_kibibyte_and_its_relay_within_a_quarter_of_it() {
        assert!(size_of_future(serve) <= 912, "a connection's future has {} bytes", size_of_future(serve));
        assert!(size_of::<Relay>() <= 256, "a relay has {} bytes", size_of::<Relay>());
    }
}
