//! A client's connection that speaks HTTP/2.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, sleep_until, timeout};

use super::answer::{RequestContext, answer};
use super::body::ClientResponse;
use super::client_stream::{ClientStream, reason_of_end};
use super::connection::HttpConnection;
use super::guarded_stream::SharedStream;
use super::idle_limit::{IdleEnd, IdleLimit, MadeRoom};
use super::ready::ServeResult;
use super::refuse::refuse_unjudged;
use super::response_backlog::{Admission, ResponseBacklog, ResponseStallCheck, StreamExecutor};
use super::slow_reader::PacedStream;
use super::validate::is_head_too_large;
use super::watch::{ConnectionState, ConnectionWatch, end_of, reason_of_cut};
use crate::config::AppProtocol;
use crate::http::stream_memory::{
    CLIENT_CONNECTION_WINDOW, STREAM_OVER_HTTP1, announce, client_stream_window, header_table_size, max_header_list,
    max_send_buffer, stream_over_h2c,
};
use crate::http::{CALM_DOWN, FrameSlots, HeadMemory, NO_ROOM, WaitingFrames, io_cause};
use crate::inbound::close::DRAIN_RESPONSE_TIMEOUT;
use crate::relay::NoBacklogProgress;
use crate::telemetry::{AccessLogEntry, CloseReason, GoawayReason, RequestReason};

/// Streams that a client may reset before anything became of them.
const MAX_PENDING_RESETS: usize = 20;

/// How long a client that is told to calm down is given to hear it.
const GOAWAY_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a client may take to hear that its connection ends. What it asks for until then is answered: it cannot know which of its requests come
/// too late unless it answers.
const GOAWAY_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a client waits for which there is no room.
const TURNED_AWAY_AFTER: Duration = Duration::from_secs(1);

/// There is no memory for one more connection that speaks HTTP/2.
#[derive(Debug, thiserror::Error)]
#[error(
    "the memory for connections that speak HTTP/2 is spent; raise the container's memory limit (or --memory-limit), or add instances"
)]
struct NoPlaces;

/// An answer on its way.
type Answering = Pin<Box<dyn Future<Output = Result<ClientResponse, Infallible>> + Send>>;

/// Answers the requests that come on `stream` until either side is done, or `watch` ends it.
pub(super) fn serve<'a>(
    stream: ClientStream,
    connection: &'a Arc<HttpConnection>,
    watch: &'a mut ConnectionWatch,
    entry: &'a mut AccessLogEntry,
) -> impl Future<Output = ServeResult> + Send + 'a {
    let backlogs = &connection.service.budgets.backlogs;
    let backlog = Arc::new(ResponseBacklog::new(backlogs));
    let stream = PacedStream::new(stream, Arc::clone(backlogs), Arc::clone(&connection.cut), None);
    let waiting = WaitingFrames::default();
    let slots = FrameSlots::new(waiting.clone(), backlogs.reservation());
    let max_list = max_header_list(connection.config.max_head, backlogs.limit());
    let heads = HeadMemory::new(backlogs.reservation(), max_list);
    let shared = SharedStream::new(stream, Arc::clone(&backlog), slots, heads, connection.config.head_timeout);
    let mut places = connection.service.budgets.streams.reservation();
    let max_streams = announce(&mut places);
    // An `async fn` would go on having room for the stream as it was given.
    async move {
        let Ok(max_streams) = max_streams else { return turn_away(shared, connection, entry).await };
        let limits = (max_streams, max_list);
        let served = serve_requests(shared.clone(), waiting, &backlog, limits, connection, watch, entry);
        let (reason, is_cut) = served.await;
        drop(places);
        finish(shared, reason, is_cut, connection).await
    }
}

/// Ends a connection for which there is no room, before anything was read of it.
async fn turn_away(mut shared: SharedStream, connection: &HttpConnection, entry: &mut AccessLogEntry) -> ServeResult {
    connection.counters.count_goaway(GoawayReason::Memory);
    entry.set_error(&NoPlaces);
    // Some clients come again as soon as they hear it.
    sleep(TURNED_AWAY_AFTER).await;
    // Whoever does not read it learns it from the end of the connection.
    let _ = timeout(GOAWAY_TIMEOUT, shared.write_all(&NO_ROOM)).await;
    let reason = CloseReason::Overloaded;
    shared.into_inner().map_or(ServeResult::Gone { reason }, |stream| ServeResult::Over {
        stream,
        reason,
        is_cut: false,
    })
}

/// Lets go of a connection that is over.
async fn finish(
    mut shared: SharedStream,
    reason: CloseReason,
    is_cut: bool,
    connection: &HttpConnection,
) -> ServeResult {
    let goaway = shared.violation().and_then(|violation| violation.goaway());
    if let Some(goaway) = goaway {
        connection.counters.count_goaway(goaway);
        if shared.is_between_frames() {
            // Whoever does not read it has been told.
            let _ = timeout(GOAWAY_TIMEOUT, async {
                shared.write_all(&CALM_DOWN).await?;
                shared.shutdown().await
            })
            .await;
        }
    }
    // Tasks of streams that are being cancelled hold nothing of it.
    match shared.into_inner() {
        Some(stream) if reason == CloseReason::Overloaded => ServeResult::evicted(&stream),
        Some(stream) => ServeResult::Over { stream, reason, is_cut },
        None => ServeResult::Gone { reason },
    }
}

async fn serve_requests(
    shared: SharedStream,
    waiting: WaitingFrames,
    backlog: &Arc<ResponseBacklog>,
    (max_streams, max_list): (u32, u32),
    connection: &Arc<HttpConnection>,
    watch: &mut ConnectionWatch,
    entry: &mut AccessLogEntry,
) -> (CloseReason, bool) {
    let config = &connection.config;
    let limit = connection.service.budgets.backlogs.limit();
    let cost = match config.app_protocol {
        AppProtocol::Http1 => STREAM_OVER_HTTP1,
        AppProtocol::H2c => stream_over_h2c(limit),
    };
    let executor = StreamExecutor::new(config.window_timeout, cost);
    let streams = executor.clone();
    let service = service_fn(|request| -> Answering {
        let (connection, stream_backlog) = (Arc::clone(connection), streams.begin(backlog));
        let refused = match stream_backlog.admission() {
            _ if connection.is_denied() => Some(RequestReason::Denied),
            _ if connection.is_over() => Some(RequestReason::Draining),
            _ if is_head_too_large(request.headers(), &connection.config) => Some(RequestReason::HeadTooLarge),
            Admission::Refused => Some(RequestReason::Overloaded),
            Admission::Only | Admission::Further => None,
        };
        if let Some(reason) = refused {
            // At once: what judges and forwards a request takes more than its answer, and so does what it says.
            let response = refuse_unjudged(&connection, &request.into_parts().0, reason);
            return Box::pin(async move {
                stream_backlog.wait_for_turn(response.headers()).await;
                stream_backlog.begin();
                Ok(response)
            });
        }
        let begun = Arc::clone(&stream_backlog);
        // What was never taken of earlier requests is gone with them.
        if connection.idle_since().is_some() {
            waiting.clear();
        }
        let waiting_frames = Some(waiting.clone());
        // In a box of its own: it is handed on by value before it runs.
        Box::pin(async move {
            let arrival = RequestContext {
                head: None,
                in_flight: None,
                upgrade: None,
                stream_backlog: Some(stream_backlog),
                pace: None,
                waiting_frames,
            };
            let response = answer(&connection, request, arrival).await;
            begun.wait_for_turn(response.headers()).await;
            begun.begin();
            Ok::<_, Infallible>(response)
        })
    });
    let mut serving = pin!(
        http2::Builder::new(executor)
            .max_concurrent_streams(max_streams)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .initial_stream_window_size(client_stream_window(limit))
            .initial_connection_window_size(CLIENT_CONNECTION_WINDOW)
            .max_header_list_size(max_list)
            .max_send_buf_size(max_send_buffer(limit))
            .header_table_size(header_table_size(limit))
            .serve_connection(TokioIo::new(shared.clone()), service)
    );
    let mut expiring = pin!(connection.apps.expire());
    let idle = IdleLimit::new(connection.service.timeouts.idle, &connection.service.budgets.streams);
    let mut look = idle.next_look(Instant::now()).map(|at| Box::pin(sleep_until(at.into())));
    let (mut ending, mut deadline, mut is_shutting_down) = (None, None, false);
    let mut untaken: Option<ResponseStallCheck> = None;
    let done = loop {
        match watch.state(entry) {
            ConnectionState::Serving => {}
            ConnectionState::Draining(reason) if !is_shutting_down => {
                is_shutting_down = true;
                connection.set_draining();
                deadline = Some(Box::pin(sleep(GOAWAY_ANSWER_TIMEOUT)));
                if reason == CloseReason::ClosedIdle {
                    connection.counters.count_drain_close();
                } else {
                    ending = Some(reason);
                }
                serving.as_mut().graceful_shutdown();
            }
            ConnectionState::Closing(reason) if ending.is_none() || (reason.is_denial() && !connection.is_denied()) => {
                (ending, is_shutting_down) = (Some(reason), true);
                deadline.get_or_insert_with(|| Box::pin(sleep(DRAIN_RESPONSE_TIMEOUT)));
                if reason.is_denial() {
                    // Until the client has heard that the connection ends, it goes on asking.
                    connection.set_denied();
                }
                serving.as_mut().graceful_shutdown();
            }
            ConnectionState::Draining(_) | ConnectionState::Closing(_) => {}
            ConnectionState::Aborted => break None,
        }
        tokio::select! {
            biased;
            done = &mut serving => break Some(done),
            () = watch.changed() => {}
            () = end_of(&mut deadline) => {
                let may_stay = !connection.is_denied() && idle_since(connection, backlog, &shared).is_none();
                match &mut deadline {
                    // What its client has asked for before it was told, or in that moment, is answered.
                    Some(deadline) if may_stay => {
                        // hyper takes requests until its PING behind GOAWAY is answered, and some clients never do.
                        connection.set_over();
                        deadline.as_mut().reset(tokio::time::Instant::now() + DRAIN_RESPONSE_TIMEOUT);
                    }
                    _ => {
                        ending.get_or_insert(CloseReason::ClosedIdle);
                        break None;
                    }
                }
            }
            () = backlog.grew.notified(), if untaken.is_none() => {
                untaken = Some(ResponseStallCheck::new(shared.delivered()));
            }
            () = poll_fn(|cx| untaken.as_mut().map_or(Poll::Pending, |untaken| untaken.poll_check(cx))) => {
                let is_stuck = untaken.as_mut().is_some_and(|untaken| untaken.is_stuck(shared.delivered()));
                if !backlog.is_large() {
                    untaken = None;
                } else if is_stuck && backlog.is_under_pressure() {
                    ending = Some(CloseReason::Overloaded);
                    // What else ends it has been said.
                    let _ = connection.cut.set(RequestReason::Overloaded);
                    break None;
                }
            }
            () = end_of(&mut look), if !is_shutting_down => {
                let idle_since = idle_since(connection, backlog, &shared);
                if let Some(end) = idle_since.and_then(|since| idle.end(since)) {
                    if end == IdleEnd::MakesRoom {
                        entry.set_error(&MadeRoom);
                    }
                    (ending, is_shutting_down) = (Some(CloseReason::IdleTimeout), true);
                    deadline = Some(Box::pin(sleep(GOAWAY_ANSWER_TIMEOUT)));
                    serving.as_mut().graceful_shutdown();
                } else if let Some((look, at)) = look.as_mut().zip(idle.next_look(idle_since.unwrap_or_else(Instant::now))) {
                    look.as_mut().reset(at.into());
                }
            }
            () = &mut expiring => {}
        }
    };
    let is_busy = idle_since(connection, backlog, &shared).is_none();
    if done.is_none() {
        let _ = connection.cut.set(reason_of_cut(ending));
        // Nothing else cuts off what is under way before a drain is over.
        ending = ending.filter(|reason| !is_busy || reason.is_denial() || *reason == CloseReason::Overloaded);
    }
    if shared.is_evicted() {
        ending = Some(CloseReason::Overloaded);
    }
    if ending == Some(CloseReason::Overloaded) {
        entry.set_error(&NoBacklogProgress);
    }
    let reason = match (ending, &done, shared.violation()) {
        (Some(reason), ..) => reason,
        (None, None, _) => CloseReason::DrainTimeout,
        (None, Some(_), Some(violation)) => {
            entry.set_error(&violation);
            violation.reason()
        }
        // The connection below is well: what came on it is not what HTTP/2 has.
        // A client that has closed its connection properly, and left in the middle of something, has not broken it either.
        (None, Some(Err(error)), None) if !shared.has_failed() && io_cause(error).is_none() => {
            entry.set_error(error);
            CloseReason::ClientViolation
        }
        (None, Some(_), None) if !shared.has_failed() && connection.is_draining() => CloseReason::ClosedIdle,
        (None, Some(_), None) => shared.with(|stream| reason_of_end(stream, is_busy, entry)),
    };
    (reason, done.is_none() && is_busy)
}

/// Since when `connection` has been idle; `None`: it is not. An answer that was handed to h2 is not one that the client has.
fn idle_since(connection: &HttpConnection, backlog: &ResponseBacklog, shared: &SharedStream) -> Option<Instant> {
    let limit = connection.config.window_timeout;
    connection.idle_since().filter(|_| !backlog.is_being_taken(shared.delivered(), limit))
}

#[cfg(test)]
mod tests {
    use super::serve;
    use crate::inbound::http::tests::size_of_version;

    #[test]
    fn a_connection_has_what_it_was_made_of_once() {
        let serve = size_of_version(serve);
        assert!(serve <= 2560, "the future of a connection has {serve} bytes");
    }
}
