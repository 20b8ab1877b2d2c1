//! CONNECT: a connection to the server is handed over, and what comes first says what becomes of it.
//!
//! Many clients send plaintext behind CONNECT for `http:` URLs, which is sent on by mutual TLS. One that speaks TLS by itself speaks with
//! the server alone, and shows nothing of ours.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::hosts::ProxiedHost;
use crate::config::TlsTunnel;
use crate::http::LocalReply;
use crate::io::{AppStream, UnansweredApp};
use crate::outbound::attempts::{AcceptedDial, Connected};
use crate::outbound::dialler::Dialler;
use crate::outbound::endpoint::Endpoint;
use crate::outbound::error::OutboundError;
use crate::outbound::http::{ExchangeResponse, ProtocolSwitch, linger, no_connection, own_response};
use crate::outbound::session::OutboundSession;
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry, RequestMode};

/// How long a client has to send its first byte: without it nobody knows what it wants.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// The most that is read before it is known what to do.
const FIRST_READ: usize = 4096;

/// The type of the record that a ClientHello comes in (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// A server that accepts, and what was learned on the way to it.
struct TunnelStart {
    host: Arc<ProxiedHost>,
    dialled: AcceptedDial,
    tried: Vec<Arc<Endpoint>>,
    entry: OutboundLogEntry,
    /// Its place among the server's requests.
    permit: OwnedSemaphorePermit,
}

/// The response to CONNECT, and what the connection becomes behind it. Nothing is sent to the server before the client has spoken.
pub(super) async fn open(
    host: Arc<ProxiedHost>,
    tls: TlsTunnel,
    mut entry: OutboundLogEntry,
    switch: &ProtocolSwitch,
) -> ExchangeResponse {
    let begun = async {
        let permit = host.client().begin_request()?;
        let mut attempts = host.client().dialler().attempts(&[], &mut entry).await?;
        let dialled = attempts.accepting(&mut entry).await?;
        Ok((permit, attempts.tried().to_vec(), dialled))
    };
    let (permit, tried, dialled) = match Box::pin(begun).await {
        Ok(begun) => begun,
        Err::<_, OutboundError>(error) => {
            return own_response(no_connection(&error, &mut entry), error.reason(), entry);
        }
    };
    if let Some(request) = &mut entry.fields.request {
        request.status = Some(StatusCode::OK.as_u16());
    }
    let start = TunnelStart { host, dialled, tried, entry, permit };
    switch.to(Box::new(move |app, first| {
        Box::pin(async move {
            let dialler = Arc::clone(start.host.client().dialler());
            Some((start.begin(app, first, tls).await?, dialler))
        })
    }));
    Response::new(Either::Right(Full::default()))
}

impl TunnelStart {
    /// What `app` has sent `first` decides. `None`: it does not come to a session, and the app was told.
    async fn begin(mut self, mut app: AppStream, mut first: Vec<u8>, tls: TlsTunnel) -> Option<OutboundSession> {
        if !self.host.is_listed() {
            return Some(self.relay_unread(app, first, RequestMode::TunnelRaw));
        }
        if first.is_empty() {
            first.reserve(FIRST_READ);
            let mut unanswered = UnansweredApp::new(&mut app);
            let heard = timeout(FIRST_BYTE, unanswered.stream().read_buf(&mut first)).await;
            unanswered.release();
            match heard {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) => return self.end(app, OutboundCloseReason::Completed, None),
                Ok(Err(_)) => return self.end(app, OutboundCloseReason::AppReset, None),
                Err(_) => {
                    let why = "the app has sent nothing behind CONNECT; a protocol in which the server speaks first needs --outbound";
                    return self.end(app, OutboundCloseReason::IdleTimeout, Some(why.to_owned()));
                }
            }
        }
        if first.first() != Some(&TLS_HANDSHAKE) {
            return self.wrap(app, first).await;
        }
        self.note_mode(RequestMode::TunnelTls);
        if tls == TlsTunnel::Refuse {
            let why = "the app speaks TLS by itself; write http:// in its URL, and mutual TLS is spoken for it";
            return self.end(app, OutboundCloseReason::BadRequest, Some(why.to_owned()));
        }
        if self.host.is_news() {
            tracing::warn!(
                to = %self.dialler().endpoints.name(),
                "the app speaks TLS by itself through the forward proxy, so the server sees no certificate of ours; write http:// in the app's URL"
            );
        }
        Some(self.relay_unread(app, first, RequestMode::TunnelTls))
    }

    /// The handshake with the server, or with another, and then what the app has sent.
    async fn wrap(mut self, mut app: AppStream, first: Vec<u8>) -> Option<OutboundSession> {
        self.note_mode(RequestMode::TunnelWrapped);
        let dialler = Arc::clone(self.host.client().dialler());
        let Self { dialled, tried, mut entry, permit, .. } = self;
        let unanswered = UnansweredApp::new(&mut app);
        let shaken = handshake(&dialler, dialled, &tried, &mut entry).await;
        unanswered.release();
        match shaken {
            Ok(connected) => {
                let session = OutboundSession::new(app, connected, entry, &dialler.backlogs);
                Some(session.with_buffered(first, Vec::new()).counted_by(permit))
            }
            Err(error) => {
                let answer = no_connection(&error, &mut entry);
                tell(app, &first, answer).await;
                entry.close(error.reason());
                None
            }
        }
    }

    /// The bytes are not ours to protect.
    fn relay_unread(mut self, app: AppStream, first: Vec<u8>, mode: RequestMode) -> OutboundSession {
        self.note_mode(mode);
        let backlogs = Arc::clone(&self.dialler().backlogs);
        let Self { dialled, entry, permit, .. } = self;
        let session = OutboundSession::new(app, dialled.unprotected(), entry, &backlogs);
        session.with_buffered(first, Vec::new()).counted_by(permit)
    }

    fn end(self, app: AppStream, reason: OutboundCloseReason, detail: Option<String>) -> Option<OutboundSession> {
        let mut entry = self.entry;
        match reason {
            OutboundCloseReason::Completed => drop(app),
            _ => app.reset(),
        }
        entry.fields.detail = detail;
        entry.close(reason);
        None
    }

    fn dialler(&self) -> &Arc<Dialler> {
        self.host.client().dialler()
    }

    fn note_mode(&mut self, mode: RequestMode) {
        if let Some(request) = &mut self.entry.fields.request {
            request.mode = mode;
        }
    }
}

/// As long as for the first time: whoever was waited for was the app.
async fn handshake(
    dialler: &Dialler,
    dialled: AcceptedDial,
    tried: &[Arc<Endpoint>],
    entry: &mut OutboundLogEntry,
) -> Result<Connected, OutboundError> {
    dialler.attempts(tried, entry).await?.run(Some(dialled), entry).await
}

/// Gives `answer` to `app`, which has sent `first`, if it speaks HTTP; else it sees a reset.
async fn tell(mut app: AppStream, first: &[u8], answer: LocalReply) {
    let method = first.split(|byte| *byte == b' ').next().unwrap_or_default();
    let speaks_http = method.len() < first.len() && !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
    if speaks_http && app.write_all(&answer.into_bytes()).await.is_ok() {
        linger(app).await;
    } else {
        app.reset();
    }
}
