//! The handshake with one endpoint: which name is asked for, and who has answered.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::AttemptError;
use crate::config::{ExpectedName, Host, OutboundSettings};
use crate::credentials::OutboundSnapshot;
use crate::listener::KEEPALIVE;
use crate::tls::{Negotiated, ServerHandshakeError, Stream, client_handshake};
use crate::trust::AuthenticatedServer;

/// A server that has shown who it is, and by what it was judged.
#[derive(Debug, Clone)]
pub(super) struct VerifiedServer {
    pub(super) server: AuthenticatedServer,
    pub(super) name: ServerName<'static>,
    pub(super) snapshot: Arc<OutboundSnapshot>,
}

/// A session with an endpoint, and who that is.
#[derive(Debug)]
pub(super) struct VerifiedSession {
    pub(super) stream: Stream,
    pub(super) server: AuthenticatedServer,
    pub(super) negotiated: Negotiated,
}

/// A handshake that has come to nothing.
#[derive(Debug)]
pub(super) struct FailedHandshake {
    /// Why.
    pub(super) error: AttemptError,
    /// Who has answered, where it is whom we want, and has refused us (TLS 1.2).
    pub(super) server: Option<Box<AuthenticatedServer>>,
}

impl From<AttemptError> for FailedHandshake {
    fn from(error: AttemptError) -> Self {
        Self { error, server: None }
    }
}

impl From<FailedHandshake> for AttemptError {
    fn from(failed: FailedHandshake) -> Self {
        failed.error
    }
}

/// The handshake with the endpoint on `tcp`, and who it is.
pub(super) async fn handshake(
    limit: Duration,
    snapshot: &OutboundSnapshot,
    name: &ServerName<'static>,
    mut tcp: TcpStream,
) -> Result<VerifiedSession, FailedHandshake> {
    // A server that vanishes without a word is noticed after two minutes. When it cannot be set, it is not.
    let _ = SockRef::from(&tcp).set_tcp_keepalive(&KEEPALIVE);
    let shaking = client_handshake(&mut tcp, Arc::clone(&snapshot.client_config), name.clone());
    let shaken = timeout(limit, shaking).await;
    let established = shaken.map_err(|_| AttemptError::HandshakeTimeout(limit))?.map_err(|failed| {
        let ServerHandshakeError { error, chain } = failed;
        let error = AttemptError::of_handshake(error, snapshot.authenticator.own());
        let server = snapshot.authenticator.authorize(&chain, name, SystemTime::now()).ok();
        FailedHandshake { error, server: server.map(Box::new) }
    })?;
    // A session that was resumed was verified when it began: it is judged anew, by what is in force now.
    let judged = snapshot.authenticator.authorize(&established.chain, name, SystemTime::now());
    let server = judged.map_err(|denial| AttemptError::Denied(Box::new(denial)))?;
    let negotiated = established.negotiated.clone();
    Ok(VerifiedSession { stream: Stream::with_server(&server, tcp, established), server, negotiated })
}

/// The name that is asked for, and mostly verified, where `host` is dialled.
pub fn server_name(settings: &OutboundSettings, host: &Host) -> ServerName<'static> {
    name_of(match &settings.server_name {
        ExpectedName::Given(name) => name,
        ExpectedName::Target | ExpectedName::Unchecked => host,
    })
}

/// `host`, as TLS calls it.
pub(super) fn name_of(host: &Host) -> ServerName<'static> {
    match host {
        Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
        Host::Name(name) => {
            let name = name.trim_end_matches('.').to_owned();
            // Invariant: the configuration takes names only that are.
            ServerName::try_from(name).unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
        }
    }
}
