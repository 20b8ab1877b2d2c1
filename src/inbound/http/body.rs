//! The body of an answer on its way to the client: what becomes of a request is known when it has ended.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Response, StatusCode};

use super::app::AppConnection;
use super::connection::RequestGuard;
use super::fields::filter_response_trailers;
use super::response_backlog::{ResponseBytes, StreamBacklog, Turn};
use crate::budget::Reservation;
use crate::http::{
    BodyLookahead, BodyProgress, MAX_ANSWER_HEAD, MAX_RESPONSE_FIELDS, RequestInFlight, io_cause, is_malformed,
};
use crate::telemetry::{RequestLogEntry, RequestReason};

/// The answer to a client: the app's, or one of our own.
pub(super) type ClientResponse = Response<Either<BodyLookahead<AppResponseBody>, LocalReplyBody>>;

/// The body of the app's answer.
#[derive(Debug)]
pub(super) struct AppResponseBody {
    inner: Incoming,
    /// `None` once it has ended.
    exchange: Option<Box<AppExchange>>,
    /// What the client leaves room for, over HTTP/2.
    stream_backlog: Option<Arc<StreamBacklog>>,
    /// Long trailers that wait for the client.
    trailers: Option<Frame<Bytes>>,
    turn: Turn,
    /// What was said of an answer that is whole, over HTTP/2, where it may still have to wait for room.
    whole: Option<RequestLogEntry>,
    /// The request's, of which something may be unread until the answer was sent.
    request_body: Arc<BodyProgress>,
    /// What the client may have us hold of that, once the rest of the exchange is gone.
    memory: Option<Reservation>,
}

/// The body of an answer of our own.
#[derive(Debug, Default)]
pub(super) struct LocalReplyBody {
    text: Full<ResponseBytes>,
    unread: Option<UnreadBody>,
    /// How long the body would be that this stands for: hyper writes the length of none but one that is there, and leaves it out itself where there
    /// must be none.
    absent: Option<u64>,
}

/// The body of a request, or what is left of it, until its answer was sent.
#[derive(Debug)]
pub(super) struct UnreadBody {
    pub(super) body: Arc<BodyProgress>,
    /// What the client may have us hold of it.
    pub(super) memory: Reservation,
}

impl LocalReplyBody {
    /// `text`, the answer to a request of whose body this is unread.
    pub(super) fn new(text: Full<ResponseBytes>, unread: Option<UnreadBody>) -> Self {
        Self { text, unread, absent: None }
    }

    /// The body of an answer that says how long it would be, and has none.
    pub(super) fn absent(length: u64) -> Self {
        Self { text: Full::default(), unread: None, absent: Some(length) }
    }
}

impl Drop for LocalReplyBody {
    fn drop(&mut self) {
        if let Some(UnreadBody { body, memory }) = self.unread.take() {
            body.answered(memory);
        }
    }
}

impl Body for LocalReplyBody {
    type Data = ResponseBytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ResponseBytes>, Infallible>>> {
        Pin::new(&mut self.text).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.absent.is_none() && self.text.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.absent.map_or_else(|| self.text.size_hint(), SizeHint::with_exact)
    }
}

/// All that one request holds until its answer has ended.
#[derive(Debug)]
pub(super) struct AppExchange {
    pub(super) app: AppConnection,
    pub(super) entry: RequestLogEntry,
    pub(super) request_body: Arc<BodyProgress>,
    /// The app's connection may carry another request, if this one was carried whole.
    pub(super) may_reuse: bool,
    /// Counts among the requests of the connection until then.
    pub(super) guard: RequestGuard,
    /// What the client may have us hold of its request.
    pub(super) memory: Reservation,
    /// The client's next request on an HTTP/1.1 connection waits until then.
    pub(super) _in_flight: Option<RequestInFlight>,
}

/// Why a request with this body has failed, if that is the reason.
pub(super) fn failure_of(body: &BodyProgress) -> Option<RequestReason> {
    match () {
        () if body.is_malformed() => Some(RequestReason::BadFraming),
        () if body.is_silent() => Some(RequestReason::Timeout),
        () if body.is_too_long() => Some(RequestReason::BodyTooLarge),
        () if body.has_failed() => Some(RequestReason::ClientClosed),
        () => None,
    }
}

/// Why a request has failed whose app is the reason.
pub(super) fn app_failure(error: &hyper::Error) -> RequestReason {
    match io_cause(error).map(io::Error::kind) {
        Some(io::ErrorKind::OutOfMemory) => RequestReason::Overloaded,
        _ if is_malformed(error) || error.is_parse_too_large() => RequestReason::AppBadAnswer,
        _ => RequestReason::AppClosed,
    }
}

/// What is said of that.
pub(super) fn app_failure_detail(error: &hyper::Error) -> String {
    match error.source() {
        _ if error.is_parse_too_large() => {
            format!(
                "{error}: the app's head has more than {} KiB or {MAX_RESPONSE_FIELDS} fields",
                MAX_ANSWER_HEAD / 1024
            )
        }
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl AppExchange {
    /// Whether an answer with `status` comes before the body of its request, which nobody is going to read: nothing that follows on the client's
    /// connection could be found.
    pub(super) fn is_unread_for_good(&self, status: StatusCode) -> bool {
        let is_final = self.request_body.is_held_back() || status.as_u16() >= 300;
        is_final && !self.request_body.is_done()
    }
}

impl AppResponseBody {
    /// `inner`, with all that is held until it has ended.
    pub(super) fn new(inner: Incoming, exchange: AppExchange, stream_backlog: Option<Arc<StreamBacklog>>) -> Self {
        let request_body = Arc::clone(&exchange.request_body);
        let mut body = Self {
            inner,
            exchange: Some(Box::new(exchange)),
            stream_backlog,
            trailers: None,
            turn: Turn::default(),
            whole: None,
            request_body,
            memory: None,
        };
        if body.inner.is_end_stream() {
            body.complete();
        }
        body
    }

    /// The answer is whole: the app's connection waits for the next request.
    fn complete(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        let AppExchange { mut app, mut entry, request_body, may_reuse, guard, memory, .. } = *exchange;
        self.memory = Some(memory);
        let is_clean = app.end_answer();
        entry.fields.transferred.up = request_body.bytes();
        // An app that has answered before it had the whole request is not asked again on this connection.
        if may_reuse && is_clean && request_body.is_done() {
            guard.connection().apps.put(app);
        }
        match self.stream_backlog {
            Some(_) => self.whole = Some(entry),
            None => entry.close(None),
        }
    }

    fn fail(&mut self, error: &hyper::Error) {
        let Some(exchange) = self.exchange.take() else { return };
        let AppExchange { mut entry, request_body, memory, .. } = *exchange;
        self.memory = Some(memory);
        entry.fields.transferred.up = request_body.bytes();
        let reason = failure_of(&request_body).unwrap_or_else(|| app_failure(error));
        entry.fields.detail = Some(app_failure_detail(error));
        entry.close(Some(reason));
    }

    /// Whether these are long trailers, which the client has to make room for first.
    fn has_to_wait(&mut self, frame: &Frame<Bytes>, cx: &mut Context<'_>) -> bool {
        let (Some(stream_backlog), Some(exchange)) = (&self.stream_backlog, &self.exchange) else { return false };
        frame.is_trailers()
            && exchange.app.holds_trailers()
            && stream_backlog.poll_trailers(&mut self.turn, cx).is_pending()
    }

    /// What the app says next, once there is room for it.
    fn poll_app(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(stream_backlog) = &self.stream_backlog else { return Pin::new(&mut self.inner).poll_frame(cx) };
        ready!(stream_backlog.poll_room(cx));
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if polled.is_pending() {
            stream_backlog.wait_for_app();
        }
        polled
    }

    fn note(&mut self, frame: &mut Frame<Bytes>) {
        let Some(exchange) = &mut self.exchange else { return };
        let fields = &mut exchange.entry.fields;
        if let Some(data) = frame.data_ref() {
            fields.transferred.down += data.len() as u64;
            exchange.app.untaken().remove();
        }
        if let Some(trailers) = frame.trailers_mut() {
            filter_response_trailers(trailers);
            let status = trailers.get("grpc-status").and_then(|status| status.to_str().ok());
            fields.grpc_status = status.map(str::to_owned).or(fields.grpc_status.take());
            // Over HTTP/1.1 they are written at once.
            if let Some(stream_backlog) = &self.stream_backlog {
                stream_backlog.hold_trailers(trailers, exchange.app.take_trailer_room());
            }
        }
    }
}

impl Body for AppResponseBody {
    type Data = ResponseBytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<ResponseBytes>>>> {
        let mut frame = match self.trailers.take() {
            Some(trailers) => Some(Ok(trailers)),
            None => ready!(self.poll_app(cx)),
        };
        if let Some(Ok(trailers)) = frame.take_if(|frame| frame.as_ref().is_ok_and(|frame| self.has_to_wait(frame, cx)))
        {
            self.trailers = Some(trailers);
            return Poll::Pending;
        }
        match &mut frame {
            Some(Err(error)) => self.fail(error),
            Some(Ok(frame)) => {
                self.note(frame);
                // Nothing follows trailers, and nobody asks for more.
                if frame.is_trailers() || self.inner.is_end_stream() {
                    self.complete();
                }
            }
            None => {
                self.complete();
                if self.stream_backlog.as_ref().is_some_and(|stream_backlog| stream_backlog.poll_end(cx).is_pending()) {
                    return Poll::Pending;
                }
            }
        }
        let counted = |bytes: Bytes| match &self.stream_backlog {
            Some(stream_backlog) => stream_backlog.fill(bytes),
            None => bytes.into(),
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(counted))))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none()
            && self.inner.is_end_stream()
            && !self.stream_backlog.as_ref().is_some_and(|stream_backlog| stream_backlog.holds_end_back())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for AppResponseBody {
    fn drop(&mut self) {
        let stalled = self
            .stream_backlog
            .as_ref()
            .filter(|stream_backlog| stream_backlog.is_stalled())
            .map(|_| RequestReason::ClientStalled);
        if let Some(entry) = self.whole.take() {
            entry.close(stalled);
        }
        // Nobody waits for the rest: the entry says so, and the app's connection is reset.
        if let Some(exchange) = self.exchange.take() {
            let AppExchange { mut entry, request_body, memory, .. } = *exchange;
            self.memory = Some(memory);
            entry.fields.transferred.up = request_body.bytes();
            if stalled.is_some() {
                entry.close(stalled);
            }
        }
        // Behind the end of the answer the client may go on for a moment with what nobody reads.
        self.request_body.answered(self.memory.take());
    }
}
