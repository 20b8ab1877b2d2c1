//! The app's side: requests read one by one, each judged before it is acted on, and answered in their order.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::backlog::BacklogStream;
use super::body::{ExchangeResponse, own_response};
use super::body_backlog::BodyBacklog;
use super::failure::of_rejection;
use super::request_check::{reject_request, request_rejection};
use crate::budget::MemoryBudget;
use crate::http::{
    HeadRejection, HeadRules, MAX_HEAD, RequestHead, RequestHeads, RequestInFlight, RequestSource, ScannedStream,
};
use crate::io::{AppStream, Socket};
use crate::lifecycle::Phase;
use crate::outbound::dialler::Dialler;
use crate::outbound::session::OutboundSession;
use crate::telemetry::{CutReason, OutboundCloseReason, OutboundLogEntry};

/// A head has to be complete so long after its first byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that was silent for so long, or for less than twice of it, gives up what serves requests, and takes it anew for the next one.
const PARK_AFTER: Duration = Duration::from_millis(50);

/// An app that was answered before its request was whole is given so long to read that.
const LINGER: Duration = Duration::from_secs(1);

/// Answers requests.
pub(in crate::outbound) trait RequestHandler: Send + Sync + 'static {
    /// The response to `request`, whose head was judged, and whose entry is open. What the connection becomes behind it is told to `switch`.
    fn handle(
        &self,
        head: RequestHead,
        request: Request<Incoming>,
        entry: OutboundLogEntry,
        switch: &ProtocolSwitch,
    ) -> impl Future<Output = ExchangeResponse> + Send;

    /// The entry of a request that begins with `method`, as far as that is known.
    fn entry(&self, method: Option<&Method>) -> OutboundLogEntry;

    /// Whether whoever is behind a socket file is served.
    fn serves(&self, _: &UnixStream) -> bool {
        true
    }
}

/// The beginning of another protocol, once the last response was sent: of the app, and of the bytes that it has sent already. `None`:
/// it does not come to that, and the app was told.
pub(in crate::outbound) type Tunnel = Box<dyn FnOnce(AppStream, Vec<u8>) -> TunnelOpening + Send>;

/// A tunnel that is being opened, and who dialled for it.
pub(in crate::outbound) type TunnelOpening = Pin<Box<dyn Future<Output = Option<TunnelParts>> + Send>>;

/// What a connection becomes behind the response that is under way.
pub(in crate::outbound) struct ProtocolSwitch {
    tunnel: Mutex<Option<Tunnel>>,
    in_flight: Mutex<Option<RequestInFlight>>,
    heads: RequestHeads,
    /// Why the connection was cut, should it be.
    cut: CutReason,
    /// What is on its way to the app.
    backlog: BodyBacklog,
    /// Requests so far.
    asked: AtomicU64,
}

/// A connection that carries on behind requests, and who dialled for it.
pub(in crate::outbound) type TunnelParts = (OutboundSession, Arc<Dialler>);

/// How a run of requests ended: the connection is silent and gives up what serves requests ([`PARK_AFTER`]), what has come of the next one, if
/// anything has, beside it; or it is done.
enum RequestSpell {
    Silent(AppStream, Vec<u8>),
    Ended(Option<TunnelParts>),
}

impl ProtocolSwitch {
    /// It becomes `tunnel`.
    pub(in crate::outbound) fn to(&self, tunnel: Tunnel) {
        *self.tunnel() = Some(tunnel);
    }

    /// What is on its way to the app.
    pub(super) fn backlog(&self) -> &BodyBacklog {
        &self.backlog
    }

    /// Whether the body of the request does not follow its own rules.
    pub(super) fn is_broken(&self) -> bool {
        self.heads.is_broken()
    }

    /// What is to be held until the response is whole; to be taken once.
    pub(super) fn in_flight(&self) -> MutexGuard<'_, Option<RequestInFlight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tunnel(&self) -> MutexGuard<'_, Option<Tunnel>> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestSource for AppStream {
    fn has_peer_closed(&self) -> bool {
        Self::has_peer_closed(self)
    }
}

/// Has `handler` answer the requests of `app`, until either side is done, or `phase` ends it. What the connection has become then, if it
/// is to be carried on. What is kept of heads and bodies is held to `budget`.
///
/// While nothing is asked, the connection holds nothing of hyper's.
pub(in crate::outbound) async fn serve_requests<H: RequestHandler>(
    mut app: AppStream,
    handler: Arc<H>,
    budget: &Arc<MemoryBudget>,
    mut phase: watch::Receiver<Phase>,
) -> Option<TunnelParts> {
    let mut first = Vec::new();
    loop {
        if first.is_empty() && !is_asked(&app, &mut phase).await {
            Box::pin(linger(app)).await;
            return None;
        }
        match Box::pin(serve_spell(app, first, &handler, budget, &mut phase)).await {
            RequestSpell::Silent(rest, behind) => (app, first) = (rest, behind),
            RequestSpell::Ended(became) => return became,
        }
    }
}

/// Waits until there is something to be read of `app`; `false`: the process ends before that.
async fn is_asked(app: &AppStream, phase: &mut watch::Receiver<Phase>) -> bool {
    loop {
        if *phase.borrow_and_update() >= Phase::Draining {
            return false;
        }
        tokio::select! {
            biased;
            // A failure shows when it is read.
            _ = poll_fn(|cx| app.poll_read_ready(cx)) => return true,
            Ok(()) = phase.changed() => {}
        }
    }
}

/// Answers requests until there is a silence. `first` has come of them already.
async fn serve_spell<H: RequestHandler>(
    app: AppStream,
    first: Vec<u8>,
    handler: &Arc<H>,
    budget: &Arc<MemoryBudget>,
    phase: &mut watch::Receiver<Phase>,
) -> RequestSpell {
    let backlog = BodyBacklog::new(budget);
    let app = BacklogStream::new(app, &backlog);
    let stream = ScannedStream::new(app, HeadRules::usual_forward_proxy(), HEAD_TIMEOUT, budget.reservation())
        .with_buffered(first);
    let heads = stream.heads();
    let cut = CutReason::none_yet();
    let switch = Arc::new(ProtocolSwitch {
        tunnel: Mutex::default(),
        in_flight: Mutex::default(),
        heads: heads.clone(),
        cut: cut.clone(),
        backlog,
        asked: AtomicU64::new(0),
    });
    let service = service_fn(|request| {
        let (handler, heads, switch) = (Arc::clone(handler), heads.clone(), Arc::clone(&switch));
        switch.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let response = match heads.next() {
                Some((Ok(head), in_flight)) => {
                    *switch.in_flight() = Some(in_flight);
                    let mut entry = handler.entry(Some(request.method()));
                    if let Some(request) = &mut entry.fields.request {
                        request.cut = switch.cut.clone();
                    }
                    let response = match request_rejection(&request) {
                        Some(answer) => reject_request(answer, entry),
                        None => handler.handle(head, request, entry, &switch).await,
                    };
                    if head.switch.is_some() && switch.tunnel().is_none() {
                        heads.resume();
                    }
                    // Unless the response is still on its way.
                    drop(switch.in_flight().take());
                    response
                }
                Some((Err(refusal), _in_flight)) => refused(refusal, handler.entry(None)),
                // Every request was judged; one that was not is not acted on.
                None => refused(HeadRejection::NotHttp, handler.entry(None)),
            };
            Ok::<_, Infallible>(response)
        })
    });
    let mut connection = http1::Builder::new()
        // An app that has gone waits for nothing; one that has only ended its sending is taken for gone, as others do.
        .half_close(false)
        .auto_date_header(false)
        // Room for the head that is the longest, and for what came with it; as much is kept of a response that the app does not read.
        .max_buf_size(MAX_HEAD + 8 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut look = Box::pin(sleep(PARK_AFTER));
    let mut asked = 0;
    let done = loop {
        match *phase.borrow_and_update() {
            Phase::Running | Phase::Retiring => {}
            Phase::Draining | Phase::Delivering => Pin::new(&mut connection).graceful_shutdown(),
            Phase::Closing => break None,
        }
        tokio::select! {
            biased;
            done = &mut connection => break Some(done),
            Ok(()) = phase.changed() => {}
            () = &mut look => {
                let before = std::mem::replace(&mut asked, switch.asked.load(Ordering::Relaxed));
                if before == asked && heads.is_at_rest() {
                    let parts = connection.into_parts();
                    let (app, held) = parts.io.into_inner().into_parts();
                    return RequestSpell::Silent(app.into_inner(), [&parts.read_buf[..], &held].concat());
                }
                look.as_mut().reset(Instant::now() + PARK_AFTER);
            }
        }
    };
    if let Some(why) = switch.backlog.evicted() {
        cut.set(OutboundCloseReason::Overloaded, Some(why.to_owned()));
    }
    if done.is_none() {
        cut.set(OutboundCloseReason::DrainTimeout, None);
    }
    let parts = connection.into_parts();
    let (app, held) = parts.io.into_inner().into_parts();
    let app = app.into_inner();
    let tunnel = switch.tunnel().take();
    match (done, tunnel) {
        (Some(Ok(())), Some(tunnel)) => {
            // From here on all else has a reason of its own.
            cut.set(OutboundCloseReason::DrainTimeout, None);
            return RequestSpell::Ended(tunnel(app, [&parts.read_buf[..], &held].concat()).await);
        }
        (Some(Ok(())), None) => linger(app).await,
        // It was told so.
        (Some(Err(error)), _) if error.is_parse() => linger(app).await,
        // What it got of a response is not whole.
        (Some(Err(_)) | None, _) => app.reset(),
    }
    RequestSpell::Ended(None)
}

/// The answer to a head that is refused.
fn refused(why: HeadRejection, mut entry: OutboundLogEntry) -> ExchangeResponse {
    let answer = of_rejection(why);
    if why != HeadRejection::Overloaded {
        return reject_request(answer, entry);
    }
    entry.fields.detail = Some(format!("{}: {}", answer.reason, answer.text));
    own_response(answer, OutboundCloseReason::Overloaded, entry)
}

/// Ends our sending, then reads and drops until the app closes, so that unread bytes do not turn our end of file into a reset.
pub(in crate::outbound) async fn linger(mut app: AppStream) {
    if app.end_sending().is_ok() {
        let drop_all = async {
            // Not in the future, which is there as long as the connection.
            let mut space = vec![0; 4096];
            while let Ok(1..) = app.read(&mut space).await {}
        };
        // An app that does not close in time has had its chance.
        let _ = timeout(LINGER, drop_all).await;
    }
}
