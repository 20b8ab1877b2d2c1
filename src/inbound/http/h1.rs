//! A client's connection that speaks HTTP/1.1. While nothing is asked for, it holds neither hyper's state nor a connection to the app.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep};

use super::answer::{RequestContext, answer};
use super::client_stream::{ClientStream, reason_of_end};
use super::connection::HttpConnection;
use super::ready::ServeResult;
use super::slow_reader::PacedStream;
use super::upgrade::UpgradeSlot;
use super::watch::{ConnectionState, ConnectionWatch, end_of, reason_of_cut};
use crate::http::{HeadRejection, ScannedStream, UnsentBytes};
use crate::inbound::close::DRAIN_RESPONSE_TIMEOUT;
use crate::inbound::relay_session::DRAIN_IDLE_TIMEOUT;
use crate::relay::NoBacklogProgress;
use crate::sys::socket::has_input;
use crate::telemetry::{AccessLogEntry, CloseReason};

/// A connection that was silent for so long gives up what serves requests, and takes it anew for the next one.
const PARK_AFTER: Duration = Duration::from_millis(50);

/// A client that connects is about to ask for something: while the instance goes, it has so long to do it.
const DRAIN_FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The same for one that is in the middle of a head: no longer than it has for a handshake.
const DRAIN_HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Beside the longest head, what may have come with it, in bytes.
const BEHIND_HEAD: usize = 8 * 1024;

/// How a run of requests ended: the connection is silent and gives up what serves requests ([`PARK_AFTER`]), or it is done.
enum IdleOrClosed {
    Idle { stream: ClientStream, first: Vec<u8> },
    Closed(ServeResult),
}

/// Answers the requests that come on `stream` until either side is done, or `watch` ends it.
pub(super) fn serve<'a>(
    mut stream: ClientStream,
    connection: &'a Arc<HttpConnection>,
    watch: &'a mut ConnectionWatch,
    entry: &'a mut AccessLogEntry,
) -> impl Future<Output = ServeResult> + Send + 'a {
    let mut first = Vec::new();
    // An `async fn` would have room for the stream twice: as it was given, and as it is used.
    async move {
        loop {
            if first.is_empty()
                && let Some(reason) = wait(&mut stream, connection, watch, entry).await
            {
                return ServeResult::Over { stream, reason, is_cut: false };
            }
            // What serves requests is gone while there are none.
            match Box::pin(serve_until_idle(stream, first, connection, watch, entry)).await {
                IdleOrClosed::Idle { stream: rest, first: behind } => (stream, first) = (rest, behind),
                IdleOrClosed::Closed(served) => return served,
            }
        }
    }
}

/// Waits for the next request; why there will be none, if there will not.
pub(super) async fn wait(
    stream: &mut ClientStream,
    connection: &HttpConnection,
    watch: &mut ConnectionWatch,
    entry: &mut AccessLogEntry,
) -> Option<CloseReason> {
    let mut expiring = pin!(connection.apps.expire());
    let mut silence: Option<(Pin<Box<Sleep>>, CloseReason)> = None;
    loop {
        match watch.state(entry) {
            ConnectionState::Serving => {
                let limit = connection.service.timeouts.idle.filter(|_| silence.is_none());
                silence = silence.or(limit.map(|limit| (Box::pin(sleep(limit)), CloseReason::IdleTimeout)));
            }
            ConnectionState::Draining(reason) => {
                connection.set_draining();
                let is_new = connection.requests() == 0;
                let limit = if is_new { DRAIN_FIRST_REQUEST_TIMEOUT } else { DRAIN_IDLE_TIMEOUT };
                // The silence that counts lies behind the moment at which the client could know.
                if silence.as_ref().is_none_or(|(_, running)| *running != reason) {
                    silence = Some((Box::pin(sleep(limit)), reason));
                }
            }
            ConnectionState::Closing(CloseReason::Completed) => return Some(CloseReason::ClosedIdle),
            ConnectionState::Closing(reason) => return Some(reason),
            ConnectionState::Aborted => return Some(CloseReason::DrainTimeout),
        }
        let over = async {
            match &mut silence {
                Some((timer, reason)) => {
                    timer.as_mut().await;
                    *reason
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = poll_fn(|cx| stream.poll_readable(cx)) => {
                return stream.is_at_end().then(|| reason_of_end(stream, false, entry));
            }
            () = watch.changed() => {}
            reason = over => match reason {
                // A request that has come and was not noticed yet would be lost.
                CloseReason::ClosedIdle | CloseReason::MaxAge if has_input(stream.tcp()) => silence = None,
                reason => return Some(reason),
            },
            () = &mut expiring => {}
        }
    }
}

/// Answers requests until there is a silence. `first` has come of them already.
async fn serve_until_idle(
    stream: ClientStream,
    first: Vec<u8>,
    connection: &Arc<HttpConnection>,
    watch: &mut ConnectionWatch,
    entry: &mut AccessLogEntry,
) -> IdleOrClosed {
    let config = &connection.config;
    let backlogs = &connection.service.budgets.backlogs;
    let reservation = backlogs.reservation();
    let unsent = UnsentBytes::default();
    let begun = stream.waiting_since();
    let stream = PacedStream::new(stream, Arc::clone(backlogs), Arc::clone(&connection.cut), Some(unsent.clone()));
    let rules = Arc::clone(&connection.head_rules);
    let scanned = ScannedStream::new(stream, rules, config.head_timeout, reservation)
        .with_buffered(first)
        .with_begun(begun)
        .of_stranger(connection.is_stranger());
    let (heads, part) = (scanned.heads(), scanned.part().clone());
    let slot = Arc::new(UpgradeSlot::new(heads.clone()));
    let service = service_fn(|request| {
        let (connection, heads, slot) = (Arc::clone(connection), heads.clone(), Arc::clone(&slot));
        let pace = Some((part.clone(), unsent.clone()));
        Box::pin(async move {
            // Every request was judged; one that was not is not acted on.
            let (head, in_flight) = match heads.next() {
                Some((head, in_flight)) => (head, Some(in_flight)),
                None => (Err(HeadRejection::NotHttp), None),
            };
            let may_switch = head.is_ok_and(|head| head.switch.is_some());
            let arrival = RequestContext {
                head: Some(head),
                in_flight,
                upgrade: Some(&slot),
                stream_backlog: None,
                pace,
                waiting_frames: None,
            };
            let answer = answer(&connection, request, arrival).await;
            if may_switch && !slot.is_set() {
                heads.resume();
            }
            Ok::<_, Infallible>(answer)
        })
    });
    let mut serving = http1::Builder::new()
        // A client that has gone waits for nothing; one that has only ended its sending is taken for gone, as others do.
        .half_close(false)
        .max_headers(config.max_fields)
        .max_buf_size(config.max_head + BEHIND_HEAD)
        .serve_connection(TokioIo::new(scanned), service);
    let mut expiring = pin!(connection.apps.expire());
    let mut look = Box::pin(sleep(PARK_AFTER));
    let (mut ending, mut deadline, mut let_go) = (None, None::<Pin<Box<Sleep>>>, CloseReason::ClosedIdle);
    let mut drain_began = None;
    let done = loop {
        match watch.state(entry) {
            ConnectionState::Serving => {}
            ConnectionState::Draining(reason) => {
                let_go = reason;
                drain_began.get_or_insert_with(Instant::now);
                connection.set_draining();
            }
            ConnectionState::Closing(reason) if ending.is_none() || (reason.is_denial() && deadline.is_none()) => {
                ending = Some(reason);
                connection.set_draining();
                deadline = reason.is_denial().then(|| Box::pin(sleep(DRAIN_RESPONSE_TIMEOUT)));
                Pin::new(&mut serving).graceful_shutdown();
            }
            ConnectionState::Closing(_) => {}
            ConnectionState::Aborted => break None,
        }
        tokio::select! {
            biased;
            done = &mut serving => break Some(done),
            () = watch.changed() => {}
            () = end_of(&mut deadline) => break None,
            () = &mut look => {
                let now = Instant::now();
                if let (Some(drain), Some(head)) = (drain_began, heads.partial_since())
                    && now >= drain.max(head) + DRAIN_HEAD_TIMEOUT
                {
                    ending = Some(let_go);
                    break None;
                }
                let quiet_since = connection.idle_since().map(Instant::from_std).filter(|_| heads.is_at_rest());
                match quiet_since.map(|since| since + PARK_AFTER) {
                    Some(at) if at <= now && ending.is_none() => {
                        let (paced, first) = take_apart(serving);
                        let (stream, _) = paced.into_inner();
                        return IdleOrClosed::Idle { stream, first };
                    }
                    Some(at) if at > now => look.as_mut().reset(at),
                    _ => look.as_mut().reset(now + PARK_AFTER),
                }
            }
            () = &mut expiring => {}
        }
    };
    let is_busy = connection.idle_since().is_none();
    if done.is_none() {
        let _ = connection.cut.set(reason_of_cut(ending));
        // Nothing else cuts off what is under way before a drain is over.
        ending = ending.filter(|reason| !is_busy || reason.is_denial());
    }
    let (paced, first) = take_apart(serving);
    let (stream, is_evicted) = paced.into_inner();
    if is_evicted {
        entry.set_error(&NoBacklogProgress);
        return IdleOrClosed::Closed(ServeResult::evicted(&stream));
    }
    let pending = slot.take();
    let reason = match (ending, &done) {
        (Some(reason), _) => reason,
        (None, None) => CloseReason::DrainTimeout,
        (None, Some(_)) if stream.failure().is_none() && connection.is_draining() => let_go,
        (None, Some(_)) => reason_of_end(&stream, is_busy, entry),
    };
    if let (Some(Ok(())), Some(pending)) = (&done, pending)
        && let Some(app) = pending.app().await
    {
        return IdleOrClosed::Closed(ServeResult::Upgraded { stream, first, app: Box::new(app) });
    }
    // hyper has an error for answers that it could not bring to their end; whoever has given them has noted why, and is not busy any more.
    let is_cut = match &done {
        Some(Ok(())) => false,
        Some(Err(error)) => is_busy || error.is_user(),
        None => is_busy,
    };
    IdleOrClosed::Closed(ServeResult::Over { stream, reason, is_cut })
}

/// The connection below, and what was read of it that nobody has acted on.
fn take_apart<S>(serving: http1::Connection<TokioIo<ScannedStream<PacedStream>>, S>) -> (PacedStream, Vec<u8>)
where
    S: HttpService<Incoming, Error = Infallible>,
    S::ResBody: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let parts = serving.into_parts();
    let (stream, held) = parts.io.into_inner().into_parts();
    (stream, [&parts.read_buf[..], &held].concat())
}

#[cfg(test)]
mod tests {
    use super::serve;
    use crate::inbound::http::tests::size_of_version;

    #[test]
    fn a_connection_that_waits_for_a_request_has_no_room_for_one() {
        let serve = size_of_version(serve);
        assert!(serve <= 896, "the future of a connection has {serve} bytes");
    }
}
