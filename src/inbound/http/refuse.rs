//! Requests that are refused: why, and how their clients are told.

use std::sync::Arc;

use http_body_util::Either;
use hyper::body::{Body, Incoming};
use hyper::header::EXPECT;
use hyper::http::request::Parts;

use super::body::{ClientResponse, LocalReplyBody, UnreadBody};
use super::connection::HttpConnection;
use super::entry::open_entry;
use super::fields::filter_request_trailers;
use super::local_reply::{is_grpc, own_answer};
use crate::http::stream_memory::client_stream_window;
use crate::http::{HeadRejection, RequestBody};
use crate::telemetry::{RequestLogEntry, RequestReason};

/// Why a request is refused for which there is no memory.
pub(super) const NO_MEMORY: &str = "the memory for requests that are under way is short; raise the container's memory limit (or --memory-limit), or add instances";

/// Our own answer to a request over HTTP/2 with the head `parts` that nobody judges: it ends for `reason` whatever it asks for.
pub(super) fn refuse_unjudged(
    connection: &Arc<HttpConnection>,
    parts: &Parts,
    reason: RequestReason,
) -> ClientResponse {
    let _guard = connection.begin_request();
    let mut entry = open_entry(connection, parts, false);
    entry.fields.detail = detail_of(reason, parts, connection);
    reject(reason, entry, is_grpc(&parts.headers), false, None)
}

/// Our own answer to a request that ends for `reason`, and of whose body this is `unread`.
pub(super) fn reject(
    reason: RequestReason,
    entry: RequestLogEntry,
    grpc: bool,
    closes: bool,
    unread: Option<UnreadBody>,
) -> ClientResponse {
    own_answer(reason, entry, grpc, closes).map(|text| Either::Right(LocalReplyBody::new(text, unread)))
}

/// The `body` of a request that is refused at once. It is let go where that hides no answer, or there is no memory for what comes of it.
pub(super) fn unread(connection: &HttpConnection, body: Incoming, entry: &RequestLogEntry) -> Option<UnreadBody> {
    if entry.fields.http_version != "2" || body.is_end_stream() {
        return None;
    }
    let mut memory = connection.service.budgets.backlogs.reservation();
    memory.try_resize(client_stream_window(memory.budget().limit()) as usize).ok()?;
    let mut body = RequestBody::new(body, filter_request_trailers);
    body.keep_rest();
    Some(UnreadBody { body: body.progress(), memory })
}

/// What the reason alone does not say of a head that is refused.
pub(super) fn detail_of(reason: RequestReason, parts: &Parts, connection: &HttpConnection) -> Option<String> {
    let config = &connection.config;
    match reason {
        RequestReason::HeadTooLarge => {
            Some(format!("the limit is {} bytes (--http-max-head) and {} fields", config.max_head, config.max_fields))
        }
        RequestReason::Overloaded => Some(NO_MEMORY.to_owned()),
        RequestReason::TargetTooLong => Some(format!("the limit is {} bytes", config.max_target)),
        RequestReason::Expectation => {
            let asked = parts.headers.get(EXPECT)?.to_str().ok()?;
            Some(format!("what is expected: {}", asked.get(..64).unwrap_or(asked)))
        }
        _ => None,
    }
}

/// Whether nothing behind a request that is refused for `reason` can be trusted to be another one.
pub(super) fn closes(reason: RequestReason) -> bool {
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
pub(super) fn reason_of(refusal: HeadRejection) -> RequestReason {
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
