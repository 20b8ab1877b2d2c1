//! The bodies that pass through: what becomes of an exchange is known when its response's body has ended.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::Response;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Sleep, sleep};

use super::channel::Channel;
use super::failure::{is_malformed, response_failure};
use super::pool::Pool;
use crate::http::{OwnAnswer, RequestInFlight, remove_from_trailers};
use crate::outbound::endpoints::Lease;
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry};

/// The response to a request of the app: the server's, or one of our own.
pub(in crate::outbound) type ExchangeResponse = Response<Either<ResponseBody, Full<Bytes>>>;

/// A server that does not say whether it wants the body is sent it after so long (RFC 9110, 10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// Our own `answer` to a request that ends for `reason`.
pub(in crate::outbound) fn own_response(
    answer: OwnAnswer,
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

/// The body of a request on its way to the server.
#[derive(Debug)]
pub(in crate::outbound) struct RequestBody {
    /// `None`: there is none.
    inner: Option<Incoming>,
    gate: Gate,
    progress: Arc<BodyProgress>,
}

/// What has become of a body so far.
#[derive(Debug, Default)]
pub(in crate::outbound) struct BodyProgress {
    is_done: AtomicBool,
    has_failed: AtomicBool,
    is_malformed: AtomicBool,
}

impl BodyProgress {
    /// Whether all of it has been taken.
    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// Whether what the app has sent is no body.
    pub(super) fn is_malformed(&self) -> bool {
        self.is_malformed.load(Ordering::Acquire)
    }

    /// Whether it has ended too early: the app has gone, or what it sent is no body.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }
}

/// The app may ask whether it may send the body: then it is not read before the server has said so.
#[derive(Debug)]
enum Gate {
    /// It is sent.
    Open,
    /// It waits for the server, or for so long.
    Waiting { opened: oneshot::Receiver<()>, timer: Pin<Box<Sleep>> },
    /// The server has answered something else: it is not wanted.
    Closed,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming) -> Self {
        let inner = Some(inner).filter(|inner| !inner.is_end_stream());
        let progress = BodyProgress { is_done: AtomicBool::new(inner.is_none()), ..BodyProgress::default() };
        Self { progress: Arc::new(progress), inner, gate: Gate::Open }
    }

    pub(super) fn none() -> Self {
        let progress = BodyProgress { is_done: AtomicBool::new(true), ..BodyProgress::default() };
        Self { inner: None, gate: Gate::Open, progress: Arc::new(progress) }
    }

    /// It is held back until what is given here is used, or for a while.
    pub(super) fn hold_back(&mut self) -> oneshot::Sender<()> {
        let (open, opened) = oneshot::channel();
        self.gate = Gate::Waiting { opened, timer: Box::pin(sleep(CONTINUE_WAIT)) };
        open
    }

    /// What becomes of it.
    pub(super) fn progress(&self) -> Arc<BodyProgress> {
        Arc::clone(&self.progress)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut self.gate {
            Gate::Open => {}
            Gate::Closed => return Poll::Pending,
            Gate::Waiting { opened, timer } => match Pin::new(opened).poll(cx) {
                Poll::Ready(Ok(())) => self.gate = Gate::Open,
                // The sender is dropped with the question.
                Poll::Ready(Err(_)) => {
                    self.gate = Gate::Closed;
                    return Poll::Pending;
                }
                Poll::Pending => {
                    ready!(timer.as_mut().poll(cx));
                    self.gate = Gate::Open;
                }
            },
        }
        let frame = match &mut self.inner {
            Some(inner) => ready!(Pin::new(inner).poll_frame(cx)).map(|frame| frame.map(without_forged_trailers)),
            None => None,
        };
        match &frame {
            Some(Err(error)) => {
                self.progress.has_failed.store(true, Ordering::Release);
                self.progress.is_malformed.store(is_malformed(error), Ordering::Release);
            }
            // Nothing follows trailers.
            Some(Ok(frame)) if !frame.is_trailers() && !self.is_end_stream() => {}
            Some(Ok(_)) | None => self.progress.is_done.store(true, Ordering::Release),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
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
    exchange: Option<Exchange>,
}

/// All that one request holds until its response has ended.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) channel: Channel,
    pub(super) pool: Arc<Pool>,
    pub(super) entry: OutboundLogEntry,
    pub(super) request_body: Arc<BodyProgress>,
    /// The app's next request waits until then.
    pub(super) _in_flight: Option<RequestInFlight>,
    /// It counts as a request until then.
    pub(super) _lease: Lease,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl ResponseBody {
    pub(super) fn new(inner: Incoming, exchange: Exchange) -> Self {
        let mut body = Self { inner, exchange: Some(exchange) };
        if body.inner.is_end_stream() {
            body.complete();
        }
        body
    }

    /// The response is whole: its connection waits for the next request.
    fn complete(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        let Exchange { channel, pool, entry, request_body, .. } = exchange;
        // A server that has answered before it had the whole request is not asked again on this connection.
        if request_body.is_done() {
            pool.put(channel);
        }
        entry.close(OutboundCloseReason::Completed);
    }

    fn fail(&mut self, error: &hyper::Error) {
        let Some(mut exchange) = self.exchange.take() else { return };
        let (reason, detail) = match exchange.request_body.has_failed() {
            true => (OutboundCloseReason::AppReset, "the request did not come to its end".to_owned()),
            false => response_failure(error, &exchange.channel),
        };
        exchange.entry.fields.detail = Some(detail);
        exchange.entry.close(reason);
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
