//! A connection to an endpoint that carries one request after another.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::backlog::BacklogStream;
use super::body_backlog::{BodyBacklog, HeldBody};
use super::open_connection::OpenConnection;
use crate::config::{Host, Target};
use crate::http::{MAX_HEAD, RequestBody};
use crate::io::{ByteMeter, MeteredStream, OwnedTask};
use crate::outbound::attempts::Connected;
use crate::outbound::dialler::Dialler;
use crate::outbound::endpoint::{Endpoint, EndpointLease};
use crate::outbound::error::OutboundError;
use crate::outbound::handshake::VerifiedServer;
use crate::outbound::pair_lifetime::{DrainStep, PairLifetime};
use crate::outbound::stream::EndpointStream;
use crate::policy::Permit;
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry};
use crate::tls::Negotiated;

/// The TLS connection to an endpoint on which hyper's client speaks.
pub(super) type Connection = TokioIo<MeteredStream<BacklogStream<EndpointStream>>>;

/// A connection to an endpoint, ready for a request. Dropping it cuts it off.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) sender: SendRequest<Box<HeldBody<RequestBody>>>,
    pub(super) meter: Arc<ByteMeter>,
    /// What is on its way to the endpoint.
    pub(super) backlog: BodyBacklog,
    pub(super) origin: Arc<ChannelOrigin>,
    /// It has carried requests before.
    pub(super) is_reused: bool,
    /// The server speaks HTTP/1.0, in which no body of an unknown length can be sent: its first request was the last one.
    pub(super) is_http10: bool,
    driver: OwnedTask,
}

/// How a connection came to be, and why we have ended it.
#[derive(Debug)]
pub(super) struct ChannelOrigin {
    pub(super) endpoint: Arc<Endpoint>,
    /// What stands in Host where the app's own is not kept.
    pub(super) authority: Option<HeaderValue>,
    pub(super) verified: Option<VerifiedServer>,
    negotiated: Option<Negotiated>,
    generation: u64,
    at: Instant,
    ended: OnceLock<(OutboundCloseReason, Option<String>)>,
}

/// Moves the bytes of a connection, until it is closed or may not go on.
async fn drive(
    connection: http1::Connection<Connection, Box<HeldBody<RequestBody>>>,
    dialler: Arc<Dialler>,
    origin: Arc<ChannelOrigin>,
) {
    let mut lifetime = PairLifetime::of(&dialler, origin.verified.as_ref());
    let mut connection = std::pin::pin!(connection.with_upgrades());
    loop {
        // One that is to be let go gets no new request: it is of another generation. The one under way comes to its end.
        if let Some(DrainStep::End(reason, detail)) = lifetime.check() {
            let _ = origin.ended.set((reason, detail));
            return;
        }
        tokio::select! {
            biased;
            // Whoever waits for a response is told of a failure.
            _ = &mut connection => return,
            () = lifetime.changed() => {}
        }
    }
}

impl Channel {
    /// Begins to speak HTTP with whoever was connected to.
    pub(super) async fn open(
        connected: Connected,
        generation: u64,
        dialler: &Arc<Dialler>,
        open: OpenConnection,
        entry: &OutboundLogEntry,
    ) -> Result<(Self, EndpointLease), OutboundError> {
        let Connected { stream, verified, lease } = connected;
        let origin = Arc::new(ChannelOrigin {
            endpoint: Arc::clone(lease.endpoint()),
            authority: HeaderValue::try_from(authority(&lease.endpoint().target)).ok(),
            verified,
            negotiated: entry.fields.negotiated.clone(),
            generation,
            at: Instant::now(),
            ended: OnceLock::new(),
        });
        let backlog = BodyBacklog::new(&dialler.backlogs);
        let stream = MeteredStream::new(BacklogStream::new(stream, &backlog));
        let meter = stream.meter();
        let mut builder = http1::Builder::new();
        // No response has more than 100 fields: as many as hyper reads without memory of its own for them.
        builder.max_buf_size(MAX_HEAD);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(OutboundError::Http)?;
        let driving = drive(connection, Arc::clone(dialler), Arc::clone(&origin));
        let driver = OwnedTask::spawn(async move {
            driving.await;
            drop(open);
        });
        Ok((Self { sender, meter, backlog, origin, is_reused: false, is_http10: false, driver }, lease))
    }

    /// Whether it leads to `endpoint` under `generation`.
    pub(super) fn leads_to(&self, endpoint: &Arc<Endpoint>, generation: u64) -> bool {
        self.is_of_generation(generation) && Arc::ptr_eq(&self.origin.endpoint, endpoint)
    }

    pub(super) fn is_of_generation(&self, generation: u64) -> bool {
        self.origin.generation == generation
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// How long it has been open.
    pub(super) fn age(&self) -> Duration {
        self.origin.at.elapsed()
    }

    /// Why we have ended it, if we have.
    pub(super) fn ended(&self) -> Option<&(OutboundCloseReason, Option<String>)> {
        self.origin.ended.get()
    }

    /// Whether it has ended without close_notify.
    pub(super) fn is_truncated(&self) -> bool {
        self.meter.is_truncated()
    }

    /// Closes it as one that is done: close_notify and FIN.
    pub(super) fn finish(self) {
        // Without a sender the task ends by itself.
        self.driver.detach();
    }
}

impl ChannelOrigin {
    /// Who answers, in the entry of a request. Of a connection that is reused nothing is measured anew.
    pub(super) fn describe(&self, entry: &mut OutboundLogEntry, is_reused: bool) {
        let fields = &mut entry.fields;
        fields.endpoint = Some(self.endpoint.addr);
        fields.is_proxied = self.endpoint.proxy.is_some();
        fields.negotiated = self.negotiated.clone();
        if let Some(VerifiedServer { server, name, snapshot, .. }) = &self.verified {
            fields.rule = server.permit.as_ref().and_then(Permit::rule).cloned();
            fields.server = Some(Arc::clone(&server.certificate));
            fields.server_name = Some(name.to_str().into_owned());
            fields.generation = Some(snapshot.pair_generation);
        }
        if let Some(request) = &mut fields.request {
            request.reused = is_reused;
        }
    }
}

/// What stands in Host for `target`: the port too, unless it is the one of HTTPS.
fn authority(target: &Target) -> String {
    let text = target.to_string();
    let text = match &target.host {
        Host::Name(name) => format!("{}:{}", name.trim_end_matches('.'), target.port),
        Host::Ip(_) => text,
    };
    text.strip_suffix(":443").map(ToOwned::to_owned).unwrap_or(text)
}
