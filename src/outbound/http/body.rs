//! The bodies that pass through: what becomes of an exchange is known when its response's body has ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body_util::{Either, Full};
use hyper::Response;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::body_backlog::{HeldBody, HeldBytes};
use super::channel::Channel;
use super::failure::response_failure;
use super::pool::Pool;
use crate::http::{BodyProgress, LocalReply, RequestInFlight, remove_from_trailers};
use crate::outbound::dialler::Dialler;
use crate::outbound::endpoint::EndpointLease;
use crate::outbound::endpoint_failure::EndpointFailure;
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry};

/// The response to a request of the app: the server's, or one of our own.
pub(in crate::outbound) type ExchangeResponse = Response<Either<HeldBody<ResponseBody>, Full<HeldBytes>>>;

/// Our own `answer` to a request that ends for `reason`.
pub(in crate::outbound) fn own_response(
    answer: LocalReply,
    reason: OutboundCloseReason,
    mut entry: OutboundLogEntry,
) -> ExchangeResponse {
    if let Some(request) = &mut entry.fields.request {
        request.status = Some(answer.status.as_u16());
    }
    entry.fields.detail.get_or_insert_with(|| answer.text.clone());
    entry.close(reason);
    answer.into_response().map(Either::Right)
}

/// Trailers are heads that come late.
fn without_forged_trailers(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        remove_from_trailers(trailers);
    }
    frame
}

/// The body of a response on its way to the app.
#[derive(Debug)]
pub(in crate::outbound) struct ResponseBody {
    inner: Incoming,
    /// `None` once it has ended.
    resources: Option<RequestResources>,
}

/// All that one request holds until its response has ended.
#[derive(Debug)]
pub(super) struct RequestResources {
    pub(super) channel: Channel,
    pub(super) pool: Arc<Pool>,
    pub(super) dialler: Arc<Dialler>,
    /// What came of it for the endpoint was said already.
    pub(super) is_counted: bool,
    pub(super) entry: OutboundLogEntry,
    pub(super) request_body: Arc<BodyProgress>,
    /// The app's next request waits until then.
    pub(super) _in_flight: Option<RequestInFlight>,
    /// It counts as a request until then.
    pub(super) _lease: EndpointLease,
    pub(super) _permit: OwnedSemaphorePermit,
    /// The memory that it may take is spoken for until then.
    pub(super) _memory: OwnedSemaphorePermit,
}

impl ResponseBody {
    pub(super) fn new(inner: Incoming, resources: RequestResources) -> Self {
        let mut body = Self { inner, resources: Some(resources) };
        if body.inner.is_end_stream() {
            body.complete();
        }
        body
    }

    /// The response is whole: its connection waits for the next request.
    fn complete(&mut self) {
        let Some(resources) = self.resources.take() else { return };
        let RequestResources { channel, pool, dialler, is_counted, entry, request_body, .. } = resources;
        if !is_counted {
            dialler.endpoints.answered(&channel.origin.endpoint);
        }
        // A server that has answered before it had the whole request is not asked again on this connection.
        if request_body.is_done() {
            pool.put(channel);
        }
        entry.close(OutboundCloseReason::Completed);
    }

    fn fail(&mut self, error: &hyper::Error) {
        let Some(mut resources) = self.resources.take() else { return };
        let (reason, detail) = match resources.request_body.has_failed() {
            true => (OutboundCloseReason::AppReset, "the request did not come to its end".to_owned()),
            false => response_failure(error, &resources.channel),
        };
        if reason.is_endpoint_fault() && !resources.is_counted {
            let failure = EndpointFailure::new(reason, &detail);
            resources.dialler.endpoints.failed_behind_handshake(&resources.channel.origin.endpoint, failure);
        }
        resources.entry.fields.detail = Some(detail);
        resources.entry.close(reason);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx)).map(|frame| frame.map(without_forged_trailers));
        match &frame {
            Some(Err(error)) => self.fail(error),
            // Nothing follows trailers, and nobody asks for more.
            Some(Ok(frame)) if !frame.is_trailers() && !self.inner.is_end_stream() => {}
            Some(Ok(_)) | None => self.complete(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
