//! One request: judged, rewritten, sent to the app, and its answer on its way back.

use std::sync::{Arc, Mutex};

use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::app::MAX_ANSWER_HEAD;
use super::authorize::authorize;
use super::body::{AppExchange, AppResponseBody, ClientResponse, LocalReplyBody, UnreadBody, app_failure, failure_of};
use super::connection::{HttpConnection, RequestGuard};
use super::entry::open_entry;
use super::fields::{FieldRewrite, filter_request_trailers, may_be_response_trailer};
use super::local_reply::{self, is_grpc, own_answer};
use super::response_backlog::StreamBacklog;
use super::upgrade::UpgradeSlot;
use super::validate::{ValidatedRequest, head_length, validate};
use crate::config::AppProtocol;
use crate::http::{
    BodyLookahead, BodyPace, HeadRejection, PartSize, ROUTE_CHECK, RequestBody, RequestHead, RequestInFlight,
    RouteCheck, UnsentBytes, WaitingFrames, content_length, remove_from_response, response_head_length,
    response_problem, retain_trailer_names,
};
use crate::io::BytesSince;
use crate::telemetry::{RequestLogEntry, RequestReason, StrippedField};

/// What a client of HTTP/1.1 may have us hold of a body that the app does not read, in bytes, beside what waits to be written. Of a stream of
/// HTTP/2 it is what the client has leave to send.
const BODY_MEMORY: usize = 16 * 1024;

/// What a client of HTTP/2 may send of one request before the app has taken it, in bytes. Small, because each frame of it takes some hundred bytes
/// more, however little is in it.
pub(super) const CLIENT_STREAM_WINDOW: u32 = 64 * 1024;

/// A head that came over HTTP/2 is held as it came and as it is written for the app.
const HEAD_COPIES: usize = 2;

/// Connections that are tried for a request of which nothing could be written.
const MAX_UNSENT: usize = 3;

/// How a request came.
pub(super) struct RequestContext<'a> {
    /// What was judged of its head before hyper read it; `None` of HTTP/2, where hyper alone has read it.
    pub(super) head: Option<Result<RequestHead, HeadRejection>>,
    /// The next request on its connection waits until this is dropped.
    pub(super) in_flight: Option<RequestInFlight>,
    /// What its connection may become.
    pub(super) upgrade: Option<&'a UpgradeSlot>,
    /// What its client leaves room for, over HTTP/2.
    pub(super) stream_backlog: Option<Arc<StreamBacklog>>,
    /// How much of its body is read at a time, and what its client has not been sent yet, over HTTP/1.1.
    pub(super) pace: Option<(PartSize, UnsentBytes)>,
    /// What waits of the bodies that come on its connection, over HTTP/2.
    pub(super) waiting_frames: Option<WaitingFrames>,
}

/// Answers `request`, which came by `connection`.
pub(super) async fn answer(
    connection: &Arc<HttpConnection>,
    request: Request<Incoming>,
    arrival: RequestContext<'_>,
) -> ClientResponse {
    let guard = connection.begin_request();
    let (mut parts, body) = request.into_parts();
    let mut entry = open_entry(connection, &parts, matches!(arrival.head, Some(Err(_))));
    let grpc = is_grpc(&parts.headers);
    let judged = match arrival.head {
        Some(Err(refusal)) => Err((reason_of(refusal), true)),
        Some(Ok(head)) => validate(&mut parts, Some(head), connection).map_err(|reason| (reason, closes(reason))),
        None => validate(&mut parts, None, connection).map_err(|reason| (reason, false)),
    };
    let judged = judged.and_then(|judged| {
        authorize(connection, &mut parts, &mut entry.fields).map(|()| judged).map_err(|reason| (reason, false))
    });
    let ValidatedRequest { switches, has_fragment } = match judged {
        Ok(judged) => judged,
        Err((reason, closes)) => {
            if entry.fields.detail.is_none() {
                entry.fields.detail = detail_of(reason, &parts, connection);
            }
            let unread = unread(connection, body, &entry);
            let mut refusal = reject(reason, entry, grpc, closes || connection.says_close(), unread);
            if let Some(check) = RouteCheck::asked_by(&parts.headers).filter(|_| reason == RequestReason::RouteCheck) {
                refusal.headers_mut().insert(ROUTE_CHECK, check.answer(check.outcome(&parts.headers)));
            }
            return refusal;
        }
    };
    if connection.config.max_body.is_some_and(|most| body.size_hint().lower() > most) {
        let unread = unread(connection, body, &entry);
        return reject(RequestReason::BodyTooLarge, entry, grpc, true, unread);
    }
    entry.fields.fragment = has_fragment;
    entry.fields.host = parts.headers.get(HOST).cloned();
    let asked = parts.headers.get(UPGRADE).filter(|_| switches).cloned();
    let forwarded_caller = entry.fields.caller.as_ref().map(|caller| connection.fields_of_caller(caller));
    let rewrite = FieldRewrite {
        config: &connection.config,
        is_trusted: connection.is_trusted,
        identity: connection.identity_fields(),
        caller: forwarded_caller.as_deref().unwrap_or_else(|| connection.caller_fields()),
        client_ip: connection.client_addr.ip(),
        scheme: connection.scheme,
        version: entry.fields.http_version,
    };
    for name in rewrite.apply(&mut parts.headers, switches) {
        connection.counters.count_stripped(StrippedField::of(name.as_str()));
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let RequestContext { in_flight, upgrade, stream_backlog, pace, waiting_frames, .. } = arrival;
    let (part, unsent) = pace.unzip();
    let forwarded = RequestForwarder {
        connection,
        guard,
        grpc,
        asked,
        in_flight,
        upgrade,
        stream_backlog,
        part,
        unsent,
        waiting_frames,
    };
    forwarded.send(parts, body, entry).await
}

/// Our own answer to a request that ends for `reason`, and of whose body this is `unread`.
fn reject(
    reason: RequestReason,
    entry: RequestLogEntry,
    grpc: bool,
    closes: bool,
    unread: Option<UnreadBody>,
) -> ClientResponse {
    own_answer(reason, entry, grpc, closes).map(|text| Either::Right(LocalReplyBody::new(text, unread)))
}

/// The `body` of a request that is refused at once. It is let go where that hides no answer, or there is no memory for what comes of it.
fn unread(connection: &HttpConnection, body: Incoming, entry: &RequestLogEntry) -> Option<UnreadBody> {
    if entry.fields.http_version != "2" || body.is_end_stream() {
        return None;
    }
    let mut memory = connection.service.budgets.backlogs.reservation();
    memory.try_resize(CLIENT_STREAM_WINDOW as usize).ok()?;
    let mut body = RequestBody::new(body, filter_request_trailers);
    body.keep_rest();
    Some(UnreadBody { body: body.progress(), memory })
}

/// What the reason alone does not say of a head that is refused.
fn detail_of(reason: RequestReason, parts: &Parts, connection: &HttpConnection) -> Option<String> {
    let config = &connection.config;
    match reason {
        RequestReason::HeadTooLarge => {
            Some(format!("the limit is {} bytes (--http-max-head) and {} fields", config.max_head, config.max_fields))
        }
        RequestReason::TargetTooLong => Some(format!("the limit is {} bytes", config.max_target)),
        RequestReason::Expectation => {
            let asked = parts.headers.get(EXPECT)?.to_str().ok()?;
            Some(format!("what is expected: {}", asked.get(..64).unwrap_or(asked)))
        }
        _ => None,
    }
}

/// Whether nothing behind a request that is refused for `reason` can be trusted to be another one.
fn closes(reason: RequestReason) -> bool {
    matches!(
        reason,
        RequestReason::BadFraming
            | RequestReason::BadRequest
            | RequestReason::HostMismatch
            | RequestReason::Expectation
            | RequestReason::NotHttp
    )
}

/// Why a head is refused that hyper has not seen.
fn reason_of(refusal: HeadRejection) -> RequestReason {
    use HeadRejection as Refused;
    match refusal {
        Refused::NotHttp => RequestReason::NotHttp,
        Refused::BadTarget | Refused::BadHost | Refused::BadField | Refused::TwoHosts => RequestReason::BadRequest,
        Refused::BareLf
        | Refused::LengthAndCoding
        | Refused::BadLength
        | Refused::BadCoding
        | Refused::BodyOfConnect => RequestReason::BadFraming,
        Refused::TargetTooLong => RequestReason::TargetTooLong,
        Refused::NoTunnel | Refused::UnknownCoding => RequestReason::NotImplemented,
        Refused::HeadTooLong | Refused::TooManyFields => RequestReason::HeadTooLarge,
        Refused::HeadTimeout => RequestReason::Timeout,
        Refused::Overloaded => RequestReason::Overloaded,
    }
}

/// A request that may be sent on.
struct RequestForwarder<'a> {
    connection: &'a Arc<HttpConnection>,
    guard: RequestGuard,
    grpc: bool,
    /// The protocol that the client has asked to switch to.
    asked: Option<HeaderValue>,
    in_flight: Option<RequestInFlight>,
    upgrade: Option<&'a UpgradeSlot>,
    stream_backlog: Option<Arc<StreamBacklog>>,
    part: Option<PartSize>,
    unsent: Option<UnsentBytes>,
    waiting_frames: Option<WaitingFrames>,
}

impl RequestForwarder<'_> {
    /// Sends it, a second time only where nobody can have acted on it.
    async fn send(self, mut parts: Parts, body: Incoming, mut entry: RequestLogEntry) -> ClientResponse {
        let config = &self.connection.config;
        let backlogs = &self.connection.service.budgets.backlogs;
        let mut body = RequestBody::new(body, filter_request_trailers);
        if let Some(part) = &self.part {
            body.read_by(part.clone());
        }
        let mut memory = backlogs.reservation();
        let has_body = !body.is_end_stream();
        if let Some(waiting) = self.waiting_frames.clone() {
            // Heads are a few bytes on the wire where they repeat what came before.
            let head = HEAD_COPIES * head_length(&parts.headers);
            if let Err(exceeded) = memory.try_resize(head + if has_body { CLIENT_STREAM_WINDOW as usize } else { 0 }) {
                entry.fields.detail = Some(exceeded.to_string());
                return self.reject(RequestReason::Overloaded, entry, has_body, None);
            }
            if has_body {
                body.keep_rest();
                body.count_frames(waiting);
            }
        } else if has_body {
            // Here reading slows down instead.
            memory.set(BODY_MEMORY);
        }
        if let Some(limit) = config.body_timeout {
            body.set_read_timeout(limit);
        }
        if let Some(limit) = config.max_body {
            body.limit_bytes(limit);
        }
        if self.connection.apps.protocol() == AppProtocol::Http1 && has_unknown_length(&body) {
            // hyper takes GET and HEAD for requests without a body where nothing is said of one.
            parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let unread = UnreadBody { body: body.progress(), memory };
        let (mut message, mut unsent, mut is_retry) = ((parts, body), 0, false);
        loop {
            let mut app = match self.connection.apps.take(unsent > 0 || is_retry, backlogs).await {
                Ok(app) => app,
                Err(error) => {
                    entry.fields.detail = Some(error.to_string());
                    return self.reject(RequestReason::AppUnreachable, entry, false, Some(unread));
                }
            };
            entry.fields.to_app.get_or_insert(entry.age());
            entry.fields.reused = app.is_reused;
            self.connection.counters.count_app_connection(app.is_reused);
            let (parts, mut body) = message;
            let may_repeat = app.is_reused && !is_retry && body.is_end_stream() && parts.method.is_idempotent();
            let copy = may_repeat.then(|| parts.clone());
            let request_body = body.progress();
            let gate = (parts.headers.contains_key(EXPECT) && !body.is_end_stream()).then(|| body.hold_back());
            let request = gated_request(parts, body, gate);
            let received = BytesSince::now(app.meter());
            let answered = match config.app_timeout {
                Some(limit) => match timeout(limit, app.send(request)).await {
                    Ok(answered) => answered,
                    Err(_) => {
                        let is_unread = !request_body.is_done();
                        return self.reject(RequestReason::AppTimeout, entry, is_unread, Some(unread));
                    }
                },
                None => app.send(request).await,
            };
            let mut error = match answered {
                Ok(response) => {
                    entry.fields.first_byte = Some(entry.age());
                    let exchange = AppExchange {
                        memory: unread.memory,
                        app,
                        entry,
                        request_body,
                        may_reuse: true,
                        guard: self.guard,
                        _in_flight: self.in_flight,
                    };
                    let rest = ResponseContext {
                        grpc: self.grpc,
                        asked: self.asked,
                        upgrade: self.upgrade,
                        stream_backlog: self.stream_backlog,
                        unsent: self.unsent,
                    };
                    return rest.respond(response, exchange).await;
                }
                Err(error) => error,
            };
            if let Some(request) = error.take_message().filter(|_| unsent < MAX_UNSENT) {
                // Nothing of it was written: the connection was closed meanwhile.
                unsent += 1;
                message = request.into_parts();
                continue;
            }
            let error = error.into_error();
            let nothing_received = received.bytes().down == 0;
            if let Some(copy) = copy.filter(|_| nothing_received) {
                self.connection.counters.count_retry();
                entry.fields.retried = true;
                is_retry = true;
                message = (copy, RequestBody::none());
                continue;
            }
            let is_broken = self.upgrade.is_some_and(UpgradeSlot::is_broken);
            let reason = match failure_of(&request_body) {
                _ if is_broken => RequestReason::BadFraming,
                Some(reason) => reason,
                None => app_failure(&error),
            };
            entry.fields.detail = Some(error.to_string());
            entry.fields.transferred.up = request_body.bytes();
            return self.reject(reason, entry, !request_body.is_done(), Some(unread));
        }
    }

    fn reject(
        &self,
        reason: RequestReason,
        entry: RequestLogEntry,
        is_unread: bool,
        unread: Option<UnreadBody>,
    ) -> ClientResponse {
        reject(reason, entry, self.grpc, is_unread || self.connection.says_close(), unread)
    }
}

fn has_unknown_length(body: &RequestBody) -> bool {
    !body.is_end_stream() && body.size_hint().exact().is_none()
}

/// The request with this head and `body`, of which `gate` is opened once the app says that it wants it.
fn gated_request(parts: Parts, body: RequestBody, gate: Option<oneshot::Sender<()>>) -> Request<RequestBody> {
    let mut request = Request::from_parts(parts, body);
    if let Some(gate) = gate {
        let gate = Mutex::new(Some(gate));
        hyper::ext::on_informational(&mut request, move |informed| {
            // Others say nothing of the body.
            let is_wanted = informed.status() == StatusCode::CONTINUE;
            if let Some(gate) = gate.lock().ok().filter(|_| is_wanted).and_then(|mut gate| gate.take()) {
                // A body that is gone is not waited for.
                let _ = gate.send(());
            }
        });
    }
    request
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

/// What is left to do once the app has answered.
struct ResponseContext<'a> {
    grpc: bool,
    asked: Option<HeaderValue>,
    upgrade: Option<&'a UpgradeSlot>,
    stream_backlog: Option<Arc<StreamBacklog>>,
    unsent: Option<UnsentBytes>,
}

impl ResponseContext<'_> {
    /// The app's `response`, as it is given to the client.
    async fn respond(self, mut response: Response<Incoming>, mut exchange: AppExchange) -> ClientResponse {
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
            let AppExchange { mut entry, request_body, memory, .. } = exchange;
            entry.fields.detail = Some(problem.to_owned());
            let closes = !request_body.is_done() || connection.says_close();
            let unread = UnreadBody { body: request_body, memory };
            return reject(RequestReason::AppBadAnswer, entry, self.grpc, closes, Some(unread));
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
        if is_http2 {
            own_values(fields);
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
