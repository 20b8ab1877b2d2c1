//! Answers of our own: problem details (RFC 9457), or a gRPC status, with a reason from a closed set.

use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::{Method, Response, StatusCode};

use super::response_backlog::ResponseBytes;
use crate::telemetry::{RequestLogEntry, RequestReason};

/// The field that has the reason: it tells our answers from the app's.
pub(super) const REASON: HeaderName = HeaderName::from_static("vestibule-reason");

const GRPC: &[u8] = b"application/grpc";

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Statuses of gRPC (grpc/grpc doc/statuscodes.md).
const GRPC_PERMISSION_DENIED: u16 = 7;
const GRPC_INTERNAL: u16 = 13;
const GRPC_UNAVAILABLE: u16 = 14;
const GRPC_UNAUTHENTICATED: u16 = 16;

/// Whether whoever sends a head of `fields` speaks gRPC.
pub(super) fn is_grpc(fields: &HeaderMap) -> bool {
    fields.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(GRPC))
}

/// What we answer to the request of `entry`, which ends for `reason`. `grpc`: the client speaks it. `closes`: no request follows on this
/// connection.
pub(super) fn own_answer(
    reason: RequestReason,
    mut entry: RequestLogEntry,
    grpc: bool,
    closes: bool,
) -> Response<Full<ResponseBytes>> {
    // Nobody reads an answer to those that have no status.
    let status = reason.status().and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let id = ulid(SystemTime::now());
    let mut response = if grpc { grpc_answer(reason, status) } else { problem(reason, status, &id) };
    let fields = response.headers_mut();
    fields.insert(REASON, HeaderValue::from_static(reason.as_str()));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match status {
        StatusCode::UNAUTHORIZED => {
            drop(fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("ClientCertificate")))
        }
        StatusCode::SERVICE_UNAVAILABLE => drop(fields.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        StatusCode::METHOD_NOT_ALLOWED => {
            let all = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            drop(fields.insert(ALLOW, all))
        }
        _ => {}
    }
    if closes {
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if entry.fields.method == Method::HEAD {
        // The answer says how long its body would be and has none (RFC 9110, 9.3.2): HTTP/2 would send one all the same.
        let length = response.body().size_hint().exact().unwrap_or_default();
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *response.body_mut() = Full::default();
    }
    let grpc_status = response.headers().get(GRPC_STATUS).and_then(|status| status.to_str().ok());
    entry.fields.grpc_status = grpc_status.map(str::to_owned);
    entry.fields.status = Some(response.status().as_u16());
    entry.fields.id = Some(id);
    entry.close(Some(reason));
    response
}

fn problem(reason: RequestReason, status: StatusCode, id: &str) -> Response<Full<ResponseBytes>> {
    // Nothing of it needs escaping.
    let body = format!(
        r#"{{"type":"about:blank","title":"{}","status":{},"reason":"{}","id":"{id}"}}"#,
        status.canonical_reason().unwrap_or_default(),
        status.as_u16(),
        reason.as_str(),
    );
    let mut response = Response::new(Full::new(Bytes::from(body).into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// The answer has trailers alone, and they stand in its head (gRPC over HTTP/2, "Trailers-Only").
fn grpc_answer(reason: RequestReason, status: StatusCode) -> Response<Full<ResponseBytes>> {
    let code = match status {
        StatusCode::UNAUTHORIZED => GRPC_UNAUTHENTICATED,
        StatusCode::FORBIDDEN => GRPC_PERMISSION_DENIED,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => GRPC_UNAVAILABLE,
        _ => GRPC_INTERNAL,
    };
    let mut response = Response::new(Full::new(Bytes::new().into()));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(GRPC_STATUS, HeaderValue::from(code));
    fields.insert("grpc-message", HeaderValue::from_static(reason.as_str()));
    response
}

/// A number that sorts by time and that no other answer has (github.com/ulid/spec): 48 bits of milliseconds and 80 of chance.
fn ulid(now: SystemTime) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() & 0xffff_ffff_ffff;
    let number = millis << 80 | fastrand::u128(..) >> 48;
    let digit = |place: u32| char::from(DIGITS[(number >> (5 * place)) as usize & 31]);
    (0..26).rev().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_of_answers_sort_by_time_and_differ() {
        let at = |seconds| ulid(UNIX_EPOCH + Duration::from_secs(seconds));
        assert!(at(1_000_000_000) < at(1_000_000_001));
        assert_ne!(at(1), at(1));
        assert_eq!(ulid(UNIX_EPOCH + Duration::from_millis(1_469_918_176_385))[..10], *"01ARYZ6S41");
        assert_eq!(at(1).len(), 26);
    }
}
