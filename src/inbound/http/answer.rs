//! One request, from its head to the answer that its client gets: judged, rewritten, and sent to the app.

use std::sync::Arc;

use hyper::Request;
use hyper::Version;
use hyper::body::{Body, Incoming};
use hyper::header::{HOST, UPGRADE};

use super::authorize::authorize;
use super::body::ClientResponse;
use super::connection::HttpConnection;
use super::entry::open_entry;
use super::fields::FieldRewrite;
use super::forward::RequestForwarder;
use super::local_reply::is_grpc;
use super::refuse::{closes, detail_of, reason_of, reject, unread};
use super::response_backlog::StreamBacklog;
use super::upgrade::UpgradeSlot;
use super::validate::{ValidatedRequest, validate};
use crate::http::{
    HeadRejection, PartSize, ROUTE_CHECK, RequestHead, RequestInFlight, RouteCheck, UnsentBytes, WaitingFrames,
};
use crate::telemetry::{RequestReason, StrippedField};

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
