//! Sending a request to one of several endpoints, over a connection that is kept for the next.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{EXPECT, HOST, HeaderMap, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::body::{ExchangeResponse, RequestResources, ResponseBody, own_response};
use super::body_backlog::HeldBody;
use super::channel::{Channel, Connection};
use super::failure::{no_connection, response_failure, server_failure};
use super::pool::{HttpShared, Pool};
use super::retry::RetryBudget;
use super::server::ProtocolSwitch;
use crate::config::EjectOn;
use crate::http::{
    MAX_HEAD, RequestBody, RequestHead, remove_from_request, remove_from_response, remove_from_trailers,
    response_head_length, response_problem,
};
use crate::io::BytesSince;
use crate::outbound::attempts::Connected;
use crate::outbound::dialler::Dialler;
use crate::outbound::endpoint::{Endpoint, EndpointLease};
use crate::outbound::endpoint_failure::EndpointFailure;
use crate::outbound::error::OutboundError;
use crate::outbound::session::OutboundSession;
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry};

/// A connection whose last response is whole is ready for the next request at once. One that is not is of no use.
const READY: Duration = Duration::from_secs(1);

/// The most that may come before a response, its head included: some servers inform of their progress first (RFC 9110, 15.2).
const MAX_BEFORE_RESPONSE: u64 = 128 * 1024;

/// Connections that are tried for a request of which nothing could be written.
const MAX_UNSENT: usize = 3;

/// Sends requests to the endpoints of one outbound.
#[derive(Debug)]
pub struct HttpClient {
    dialler: Arc<Dialler>,
    pool: Arc<Pool>,
    requests: Arc<Semaphore>,
    max_requests: usize,
    /// Room in memory, shared by all clients of the process.
    exchanges: Arc<Semaphore>,
    retries: RetryBudget,
    sweeper: JoinHandle<()>,
}

impl HttpClient {
    /// What sends requests by `dialler`, beside others that share `shared`. Must be called within a runtime.
    pub fn new(dialler: Arc<Dialler>, shared: HttpShared) -> Self {
        let exchanges = shared.exchanges();
        let pool = Arc::new(Pool::new(Arc::clone(&dialler), shared));
        let sweeper = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.sweep().await }
        });
        let max_requests = dialler.settings.max_connections.min(Semaphore::MAX_PERMITS);
        let requests = Arc::new(Semaphore::new(max_requests));
        Self { dialler, pool, requests, max_requests, exchanges, retries: RetryBudget::default(), sweeper }
    }

    /// Requests that are being sent a second time.
    #[cfg(test)]
    pub(in crate::outbound) fn retries(&self) -> usize {
        self.retries.under_way()
    }

    /// Who dials for it.
    pub(in crate::outbound) fn dialler(&self) -> &Arc<Dialler> {
        &self.dialler
    }

    /// A place among the requests.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(in crate::outbound) fn begin_request(&self) -> Result<OwnedSemaphorePermit, OutboundError> {
        Arc::clone(&self.requests).try_acquire_owned().map_err(|_| OutboundError::overloaded_by_connections())
    }

    /// A place among the requests for which there is memory, once there is one: nobody knows how much of two messages is going to wait here
    /// for whoever takes it.
    ///
    /// # Errors
    /// There was none in the time in which a connection has to be there.
    async fn memory(&self) -> Result<OwnedSemaphorePermit, OutboundError> {
        let place = timeout(self.dialler.settings.timeouts.total, Arc::clone(&self.exchanges).acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or_else(OutboundError::overloaded_by_exchanges)
    }

    /// Sends `request`, whose target is written as the server gets it, and gives the response: the server's, or one of our own that
    /// says why there is none. It is sent a second time only where nobody can have acted on it, or where acting on it twice is what acting
    /// on it once is (RFC 9110, 9.2.2).
    pub(in crate::outbound) async fn send(
        &self,
        request: Request<Incoming>,
        head: RequestHead,
        mut entry: OutboundLogEntry,
        switch: &ProtocolSwitch,
    ) -> ExchangeResponse {
        let begun = async { Ok((self.begin_request()?, self.memory().await?)) };
        let (permit, memory) = match begun.await {
            Ok(begun) => begun,
            Err(error) => return own_response(no_connection(&error, &mut entry), error.reason(), entry),
        };
        let (mut parts, body) = request.into_parts();
        remove_from_request(&mut parts.headers, head.switch.is_some());
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let asked = parts.headers.get(UPGRADE).filter(|_| head.switch.is_some()).cloned();
        let mut message = (parts, RequestBody::new(body, remove_from_trailers));
        let (mut tried, mut unsent, mut retry) = (Vec::new(), 0, None);
        loop {
            let is_fresh = unsent > 0 || retry.is_some();
            let (mut channel, lease) = match self.channel(&tried, is_fresh, &mut entry).await {
                Ok(found) => found,
                Err(error) => return own_response(no_connection(&error, &mut entry), error.reason(), entry),
            };
            let (parts, mut body) = message;
            let may_be_repeated = body.is_end_stream() && parts.method.is_idempotent() && retry.is_none();
            let copy = (may_be_repeated && (channel.is_reused || self.has_others())).then(|| parts.clone());
            let request_body = body.progress();
            let gate = (parts.headers.contains_key(EXPECT) && !body.is_end_stream()).then(|| body.hold_back());
            let mut request = Request::from_parts(parts, Box::new(HeldBody::new(body, channel.backlog.clone())));
            self.name_host(request.headers_mut(), &channel, &mut entry);
            if let Some(gate) = gate {
                gate.open_on_continue(&mut request);
            }
            // Should the app go meanwhile, the entry knows what was carried.
            entry.fields.bytes_since = Some(BytesSince::now(&channel.meter));
            channel.meter.limit_reading(Some(MAX_BEFORE_RESPONSE));
            channel.backlog.begin_head();
            let sent = channel.sender.try_send_request(request);
            let mut error = match sent.await {
                Ok(response) => {
                    channel.meter.limit_reading(None);
                    channel.backlog.end_head();
                    let resources = RequestResources {
                        channel,
                        pool: Arc::clone(&self.pool),
                        dialler: Arc::clone(&self.dialler),
                        is_counted: false,
                        entry,
                        request_body,
                        _in_flight: switch.in_flight().take(),
                        _lease: lease,
                        _permit: permit,
                        _memory: memory,
                    };
                    return self.respond(response, resources, asked.as_ref(), switch);
                }
                Err(error) => error,
            };
            let nothing_received =
                entry.fields.bytes_since.as_ref().is_none_or(|bytes_since| bytes_since.bytes().down == 0);
            if let Some(request) = error.take_message().filter(|_| unsent < MAX_UNSENT) {
                // Nothing of it was written: the connection was closed meanwhile.
                unsent += 1;
                let (parts, body) = request.into_parts();
                message = (parts, body.into_inner());
                continue;
            }
            let error = error.into_error();
            let (reason, detail) = match () {
                () if switch.is_broken() => {
                    (OutboundCloseReason::BadRequest, "the chunks of the request's body are malformed".to_owned())
                }
                () if request_body.is_malformed() => {
                    (OutboundCloseReason::BadRequest, "the request's body, or what follows it, is malformed".to_owned())
                }
                () if request_body.has_failed() => {
                    (OutboundCloseReason::AppReset, "the request did not come to its end".to_owned())
                }
                () => response_failure(&error, &channel),
            };
            // A connection that was kept may well have come to its end meanwhile.
            let may_end =
                channel.is_reused && nothing_received && reason != OutboundCloseReason::ClientCertificateRejected;
            if reason.is_endpoint_fault() && !may_end {
                let failure = EndpointFailure::new(reason, &detail);
                self.dialler.endpoints.failed_behind_handshake(&channel.origin.endpoint, failure);
            }
            // One that was new says that something is wrong with the server, which another may not have.
            let may_be_sent_again = nothing_received && (channel.is_reused || reason.is_endpoint_fault());
            let under_way = self.max_requests - self.requests.available_permits();
            if let Some(copy) = copy.filter(|_| may_be_sent_again)
                && let Some(taken) = self.retries.take(under_way)
            {
                if let Some(request) = &mut entry.fields.request {
                    request.retried = true;
                }
                retry = Some(taken);
                // Elsewhere, if there is such a place.
                if self.has_others() {
                    tried.push(Arc::clone(&channel.origin.endpoint));
                }
                message = (copy, RequestBody::none());
                continue;
            }
            return own_response(server_failure(reason, detail, &mut entry), reason, entry);
        }
    }

    /// Whether a request that one endpoint has failed may be sent to another.
    fn has_others(&self) -> bool {
        self.dialler.settings.attempts > 1 && self.dialler.endpoints.current().len() > 1
    }

    /// The Host of the server is what it was configured as, unless the app knows better.
    fn name_host(&self, fields: &mut HeaderMap, channel: &Channel, entry: &mut OutboundLogEntry) {
        let is_kept = self.dialler.settings.preserve_host && fields.contains_key(HOST);
        if let Some(authority) = channel.origin.authority.as_ref().filter(|_| !is_kept) {
            fields.insert(HOST, authority.clone());
        }
        let host = fields.get(HOST).and_then(|host| host.to_str().ok()).map(ToOwned::to_owned);
        if let Some(request) = &mut entry.fields.request {
            request.host = host;
        }
    }

    /// A connection to an endpoint other than those `tried`: one that waits, unless it has to be `is_fresh`, or a new one.
    async fn channel(
        &self,
        tried: &[Arc<Endpoint>],
        is_fresh: bool,
        entry: &mut OutboundLogEntry,
    ) -> Result<(Channel, EndpointLease), OutboundError> {
        let mut attempts = self.dialler.attempts(tried, entry).await?;
        let generation = attempts.snapshot().map_or(0, |snapshot| snapshot.generation);
        if let Some(lease) = attempts.choose_first(entry).filter(|_| !is_fresh) {
            let endpoint = Arc::clone(lease.endpoint());
            while let Some(mut channel) = self.pool.take(&endpoint, generation) {
                if let Ok(Ok(())) = timeout(READY, channel.sender.ready()).await
                    && let Some(lease) = attempts.take_first()
                {
                    self.dialler.counters.count_pool(true);
                    channel.is_reused = true;
                    channel.origin.describe(entry, true);
                    return Ok((channel, lease));
                }
            }
        }
        // The rare way has a box of its own: all others have no room for it.
        let connected = Box::pin(attempts.run(None, entry)).await?;
        self.dialler.counters.count_pool(false);
        let open = self.pool.open_connection();
        let (channel, lease) = Channel::open(connected, generation, &self.dialler, open, entry).await?;
        channel.origin.describe(entry, false);
        Ok((channel, lease))
    }

    /// The server's `response`, as it is given to the app.
    fn respond(
        &self,
        mut response: Response<Incoming>,
        mut resources: RequestResources,
        asked: Option<&HeaderValue>,
        switch: &ProtocolSwitch,
    ) -> ExchangeResponse {
        let status = response.status();
        let (endpoints, endpoint) = (&self.dialler.endpoints, &resources.channel.origin.endpoint);
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        // hyper has looked at what it has read only when there was no end of the head in it.
        let is_long = response_head_length(&response) > MAX_HEAD;
        let problem = response_problem(&response, asked)
            .or_else(|| is_long.then_some("the head of the server's response is longer than 64 KiB"));
        match (problem, self.dialler.settings.eject_on) {
            (Some(problem), _) => {
                let failure = EndpointFailure::new(OutboundCloseReason::BadResponse, problem);
                endpoints.failed_behind_handshake(endpoint, failure);
            }
            (None, EjectOn::ServerErrors) if status.is_server_error() => {
                endpoints.failed_behind_handshake(endpoint, EndpointFailure::of_status(status));
                resources.is_counted = true;
            }
            // The rest of it may still fail to come.
            _ if !response.body().is_end_stream() && !switches => {}
            _ => endpoints.answered(endpoint),
        }
        if let Some(problem) = problem {
            let (reason, mut entry) = (OutboundCloseReason::BadResponse, resources.entry);
            return own_response(server_failure(reason, problem.to_owned(), &mut entry), reason, entry);
        }
        if let Some(request) = &mut resources.entry.fields.request {
            request.status = Some(status.as_u16());
        }
        remove_from_response(response.headers_mut(), switches);
        resources.channel.is_http10 = response.version() < Version::HTTP_11;
        *response.version_mut() = Version::HTTP_11;
        if switches {
            let upgrading = hyper::upgrade::on(&mut response);
            switch.to(self.upgraded(upgrading, resources));
            return response.map(|_| Either::Right(Full::default()));
        }
        let backlog = switch.backlog().clone();
        response.map(|body| Either::Left(HeldBody::new(ResponseBody::new(body, resources), backlog)))
    }
}

impl HttpClient {
    /// What the connections of `exchange` become once its response was sent.
    fn upgraded(&self, upgrading: hyper::upgrade::OnUpgrade, resources: RequestResources) -> super::server::Tunnel {
        let dialler = Arc::clone(&self.dialler);
        Box::new(move |app, first| {
            Box::pin(async move {
                let RequestResources { channel, mut entry, _lease: lease, _permit: permit, .. } = resources;
                let verified = channel.origin.verified.clone();
                let parts = upgrading.await.ok().and_then(|upgraded| upgraded.downcast::<Connection>().ok());
                let Some(parts) = parts else {
                    app.reset();
                    entry.close(OutboundCloseReason::NoResponse);
                    return None;
                };
                // From here on the session counts.
                entry.fields.bytes_since = None;
                let stream = parts.io.into_inner().into_inner().into_inner();
                let connected = Connected { stream, verified, lease };
                let session = OutboundSession::new(app, connected, entry, &dialler.backlogs);
                let session = session.switched().with_buffered(first, parts.read_buf.to_vec());
                Some((session.counted_by(permit), dialler))
            })
        })
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}
