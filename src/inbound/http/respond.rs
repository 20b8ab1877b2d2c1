//! The app's answer, as it is given to the client.

use std::future::poll_fn;
use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use hyper::{HeaderMap, Response, StatusCode, Version};
use tokio::time::{Instant, sleep};

use super::body::{AppExchange, AppResponseBody, ClientResponse, LocalReplyBody, UnreadBody};
use super::fields::may_be_response_trailer;
use super::local_reply;
use super::refuse::{NO_MEMORY, reject};
use super::response_backlog::{StreamBacklog, Turn};
use super::upgrade::UpgradeSlot;
use super::validate::{head_map, head_text};
use crate::budget::{BudgetExceeded, ROOM_INTERVAL, ROOM_TIMEOUT, Reservation};
use crate::http::{
    BodyLookahead, BodyPace, FREE_ANSWER_HEAD, MAX_ANSWER_HEAD, UnsentBytes, content_length, remove_from_response,
    response_head_length, response_problem, retain_trailer_names,
};
use crate::telemetry::{RequestLogEntry, RequestReason};

/// What is left to do once the app has answered.
pub(super) struct ResponseContext<'a> {
    pub(super) grpc: bool,
    pub(super) asked: Option<HeaderValue>,
    pub(super) upgrade: Option<&'a UpgradeSlot>,
    pub(super) stream_backlog: Option<Arc<StreamBacklog>>,
    pub(super) unsent: Option<UnsentBytes>,
}

impl ResponseContext<'_> {
    /// The app's `response`, as it is given to the client.
    pub(super) async fn respond(self, mut response: Response<Incoming>, mut exchange: AppExchange) -> ClientResponse {
        let connection = Arc::clone(exchange.guard.connection());
        let status = response.status();
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        let may_switch = switches && self.upgrade.is_some();
        let problem = match switches && !may_switch {
            true => Some("the app switches to another protocol, and nobody has asked for it"),
            false if response_head_length(&response) > MAX_ANSWER_HEAD => {
                Some("the head of the app's answer is too long")
            }
            false => response_problem(&response, self.asked.as_ref()),
        };
        if let Some(problem) = problem {
            return refuse(RequestReason::AppBadAnswer, problem, self.grpc, exchange);
        }
        let is_http2 = exchange.entry.fields.http_version == "2";
        let fields = response.headers_mut();
        // Whoever writes both has lost count, or is made to.
        exchange.may_reuse = !(fields.contains_key(TRANSFER_ENCODING) && fields.contains_key(CONTENT_LENGTH));
        remove_from_response(fields, switches);
        fields.remove(local_reply::REASON);
        retain_trailer_names(fields, may_be_response_trailer);
        if status == StatusCode::NO_CONTENT {
            fields.remove(CONTENT_LENGTH);
        }
        if let Some(length) = fields.get_mut(CONTENT_LENGTH).filter(|length| length.as_bytes().starts_with(b"0")) {
            // As everybody reads it.
            *length = HeaderValue::from(content_length(length).unwrap_or_default());
        }
        if !is_http2 && !switches && (connection.says_close() || exchange.is_unread_for_good(status)) {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let held = match &self.stream_backlog {
            Some(stream_backlog) => {
                exchange.app.part().begin_stream();
                own_values(fields);
                hold_stream_head(fields, stream_backlog, &mut exchange).await
            }
            None => match self.unsent.as_ref().zip(over_free_head(fields)) {
                Some((unsent, more)) => wait_for_room(|| unsent.hold_head(more, exchange.memory.budget()), None).await,
                None => Ok(()),
            },
        };
        if held.is_err() {
            return refuse(RequestReason::Overloaded, NO_MEMORY, self.grpc, exchange);
        }
        if is_http2 && status.is_success() {
            exchange.request_body.take_to_end();
        }
        *response.version_mut() = Version::HTTP_11;
        exchange.entry.fields.status = Some(status.as_u16());
        if let Some(status) = response.headers().get("grpc-status").and_then(|status| status.to_str().ok()) {
            exchange.entry.fields.grpc_status = Some(status.to_owned());
        }
        if let Some(slot) = self.upgrade.filter(|_| switches) {
            slot.set(exchange, self.asked);
            return response.map(|_| Either::Right(LocalReplyBody::default()));
        }
        if status == StatusCode::RESET_CONTENT && !response.body().is_end_stream() {
            // It has no body (RFC 9110, 15.3.6); the app's connection ends with what the app sends all the same.
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
            let AppExchange { mut entry, request_body, memory, .. } = exchange;
            entry.fields.transferred.up = request_body.bytes();
            entry.close(None);
            let unread = UnreadBody { body: request_body, memory };
            return response.map(|_| Either::Right(LocalReplyBody::new(Full::default(), Some(unread))));
        }
        let is_http2 = exchange.entry.fields.http_version == "2";
        let (head, body) = response.into_parts();
        let is_absent = head.status == StatusCode::NOT_MODIFIED && body.is_end_stream() && !is_http2;
        let part = exchange.app.part().clone();
        let body = AppResponseBody::new(body, exchange, self.stream_backlog);
        if let Some(length) = head.headers.get(CONTENT_LENGTH).filter(|_| is_absent).and_then(content_length) {
            return Response::from_parts(head, Either::Right(LocalReplyBody::absent(length)));
        }
        // Over HTTP/2 the client's window decides when something goes out.
        let body = if is_http2 { BodyLookahead::unseen(body) } else { BodyLookahead::of(body).await };
        let body = body.paced(self.unsent.map(|unsent| BodyPace::new(unsent, part)));
        Response::from_parts(head, Either::Left(body))
    }
}

/// Our own answer instead of the app's, which is not passed on for `reason`; `detail` says more.
fn refuse(reason: RequestReason, detail: &str, grpc: bool, exchange: AppExchange) -> ClientResponse {
    let AppExchange { mut entry, request_body, memory, guard, .. } = exchange;
    entry.fields.detail = Some(detail.to_owned());
    let closes = !request_body.is_done() || guard.connection().says_close();
    reject(reason, entry, grpc, closes, Some(UnreadBody { body: request_body, memory }))
}

/// What whoever sends a head of these `fields` over HTTP/1.1 grows to for it beyond what all have room for, in bytes; `None`: not at all.
fn over_free_head(fields: &HeaderMap) -> Option<usize> {
    let length = head_text(fields) + head_map(fields);
    (length > FREE_ANSWER_HEAD).then(|| length.next_power_of_two() - FREE_ANSWER_HEAD)
}

/// A stream that is given up while it waits has that in its `entry`.
struct StallNote<'a> {
    stream_backlog: &'a StreamBacklog,
    entry: &'a mut RequestLogEntry,
}

impl Drop for StallNote<'_> {
    fn drop(&mut self) {
        if self.stream_backlog.is_stalled() {
            self.entry.set_reason(RequestReason::ClientStalled);
        }
    }
}

/// Sees to the room for a head with these `fields`, and for what it leaves behind, on its way to the stream with this backlog.
///
/// # Errors
/// There was none for too long.
async fn hold_stream_head(
    fields: &mut HeaderMap,
    stream_backlog: &StreamBacklog,
    exchange: &mut AppExchange,
) -> Result<(), BudgetExceeded> {
    let room = stream_backlog.head_room(fields);
    if room > 0 {
        let _stall = StallNote { stream_backlog, entry: &mut exchange.entry };
        let mut turn = Turn::default();
        poll_fn(|cx| stream_backlog.poll_turn(&mut turn, cx)).await;
    }
    let mut waiting = exchange.guard.connection().service.budgets.waiting_heads.reservation();
    let hold = || {
        let given = exchange.app.part().pass_head_to_stream(stream_backlog.is_only())?;
        stream_backlog.hold_head(fields, room, given)
    };
    wait_for_room(hold, Some((&mut waiting, room))).await
}

/// Asks `hold` for room until there is some: the app has acted on the request. What waits has so many bytes with it, which are held to what is for
/// those that wait.
///
/// # Errors
/// There was none for too long, or too many wait.
async fn wait_for_room(
    mut hold: impl FnMut() -> Result<(), BudgetExceeded>,
    waiting: Option<(&mut Reservation, usize)>,
) -> Result<(), BudgetExceeded> {
    let Err(_) = hold() else { return Ok(()) };
    if let Some((waiting, bytes)) = waiting {
        waiting.try_resize_for_moment(bytes)?;
    }
    let end = Instant::now() + ROOM_TIMEOUT;
    loop {
        sleep(ROOM_INTERVAL).await;
        let held = hold();
        if held.is_ok() || Instant::now() > end {
            return held;
        }
    }
}

/// Each value gets memory of its own. They are parts of the buffer that the answer was read into, and those that a connection of HTTP/2 compresses
/// the next answers by would keep the whole of it.
fn own_values(fields: &mut HeaderMap) {
    for value in fields.values_mut() {
        if let Ok(own) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = own;
        }
    }
}
