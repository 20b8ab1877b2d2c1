//! A request on its way to the app: over which connection it goes, and when it goes once more.

use std::sync::Arc;

use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{EXPECT, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use tokio::time::timeout;

use super::body::{AppExchange, ClientResponse, UnreadBody, app_failure, app_failure_detail, failure_of};
use super::connection::{HttpConnection, RequestGuard};
use super::fields::filter_request_trailers;
use super::refuse::{NO_MEMORY, reject};
use super::respond::ResponseContext;
use super::response_backlog::{Admission, StreamBacklog};
use super::upgrade::UpgradeSlot;
use super::validate::head_length;
use crate::budget::BudgetExceeded;
use crate::config::AppProtocol;
use crate::http::stream_memory::{FREE_HEAD, HEAD_COPIES, of_request};
use crate::http::{PartSize, RequestBody, RequestInFlight, UnsentBytes, WaitingFrames};
use crate::io::BytesSince;
use crate::telemetry::{RequestLogEntry, RequestReason};

/// What a client of HTTP/1.1 may have us hold of a body that the app does not read, in bytes, beside what waits to be written. Of a stream of
/// HTTP/2 it is what the client has leave to send.
const BODY_MEMORY: usize = 16 * 1024;

/// Connections that are tried for a request of which nothing could be written.
const MAX_UNSENT: usize = 3;

/// A request that may be sent on.
pub(super) struct RequestForwarder<'a> {
    pub(super) connection: &'a Arc<HttpConnection>,
    pub(super) guard: RequestGuard,
    pub(super) grpc: bool,
    /// The protocol that the client has asked to switch to.
    pub(super) asked: Option<HeaderValue>,
    pub(super) in_flight: Option<RequestInFlight>,
    pub(super) upgrade: Option<&'a UpgradeSlot>,
    pub(super) stream_backlog: Option<Arc<StreamBacklog>>,
    pub(super) part: Option<PartSize>,
    pub(super) unsent: Option<UnsentBytes>,
    pub(super) waiting_frames: Option<WaitingFrames>,
}

impl RequestForwarder<'_> {
    /// Sends it, a second time only where nobody can have acted on it.
    pub(super) async fn send(self, mut parts: Parts, body: Incoming, mut entry: RequestLogEntry) -> ClientResponse {
        let config = &self.connection.config;
        let backlogs = &self.connection.service.budgets.backlogs;
        let mut body = Box::new(RequestBody::new(body, filter_request_trailers));
        if let Some(part) = &self.part {
            body.read_by(part.clone());
        }
        let mut memory = backlogs.reservation();
        let has_body = !body.is_end_stream();
        if let Some(waiting) = self.waiting_frames.clone() {
            // Heads are a few bytes on the wire where they repeat what came before.
            let length = if has_body { body.size_hint().exact() } else { Some(0) };
            let held = of_request(head_length(&parts.headers), length, backlogs.limit());
            let admission = self.stream_backlog.as_ref().map_or(Admission::Further, |stream| stream.admission());
            let reserved = match admission {
                // Its stream was admitted however short memory is, and takes more than that.
                Admission::Only if held <= HEAD_COPIES * FREE_HEAD => {
                    memory.set(held);
                    Ok(())
                }
                Admission::Only | Admission::Further => {
                    memory.try_resize_beside_others(held, admission == Admission::Only)
                }
                // It does not come so far (`h2.rs`); should it ever, it is refused here.
                Admission::Refused => Err(BudgetExceeded),
            };
            if reserved.is_err() {
                entry.fields.detail = Some(NO_MEMORY.to_owned());
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
            let mut request = Request::from_parts(parts, body);
            if let Some(gate) = gate {
                gate.open_on_continue(&mut request);
            }
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
                message = (copy, Box::new(RequestBody::none()));
                continue;
            }
            let is_broken = self.upgrade.is_some_and(UpgradeSlot::is_broken);
            let reason = match failure_of(&request_body) {
                _ if is_broken => RequestReason::BadFraming,
                Some(reason) => reason,
                None => app_failure(&error),
            };
            entry.fields.detail = Some(app_failure_detail(&error));
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
