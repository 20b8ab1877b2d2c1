//! How a connection is closed, so that each side understands why.
//!
//! The point of no return is our Finished. Before it a reset lets the client try elsewhere; after it a reset would lose
//! what we sent, so we end our sending, then read and drop what still comes until the client closes.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::inbound::ConnectionError;
use crate::inbound::linger::{UndeliveredBytes, linger, linger_until_delivered};
use crate::inbound::relay_session::{ActiveConnection, ByteCountGuard};
use crate::inbound::service::InboundService;
use crate::io::{Outgoing, Socket};
use crate::lifecycle::Phase;
use crate::proxy_protocol::HeaderError;
use crate::relay::Relay;
use crate::telemetry::CloseReason;
use crate::tls;
use crate::tls::{HandshakeError, HelloError};

/// How long an app may still answer a client that must go: all of it is over within a second.
pub(super) const DRAIN_RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);

/// What a client in plain HTTP can read, as Go's net/http and nginx say it.
const PLAIN_HTTP: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
    This port speaks TLS, and the request came in plain HTTP: use https://\n";

/// Everything after the relay. The access log entry is written when the client has what it was sent, or will not take it.
pub(super) async fn close_connection(active: ActiveConnection, reason: CloseReason, service: &InboundService) {
    let ActiveConnection { mut relay, mut entry, .. } = active;
    entry.set_close_reason(reason);
    let counted = ByteCountGuard { relay: &mut relay, entry: &mut entry };
    let whole = await_last_response(counted.relay, reason).await;
    drop(counted);
    let reason = match close_relay(relay, reason, whole, service.phase.clone()).await {
        None => reason,
        Some(UndeliveredBytes { bytes, reason: why }) => {
            let down = &mut entry.fields.transferred.down;
            *down = down.saturating_sub(bytes);
            match reason {
                CloseReason::Completed => why,
                // It was still being delivered when the process had to go.
                CloseReason::ClosedIdle if why == CloseReason::DrainTimeout => why,
                reason => reason,
            }
        }
    };
    entry.close(reason);
}

/// Closes a connection that did not get as far as the relay.
pub(super) async fn close_before_relay(client: TcpStream, ended: ConnectionError) {
    match ended {
        // Nothing of ours was sent: a reset is the clearest "not here".
        ConnectionError::Upstream(_)
        | ConnectionError::NoCredential
        | ConnectionError::NotFrom
        | ConnectionError::Overloaded { .. }
        | ConnectionError::MemoryExhausted(_)
        | ConnectionError::Hello(HelloError::Exhausted(_)) => {
            // When the option cannot be set the socket is closed all the same.
            let _ = client.set_zero_linger();
        }
        ConnectionError::Hello(
            HelloError::NotTls { alert }
            | HelloError::Malformed { alert, .. }
            | HelloError::Forbidden { alert, .. }
            | HelloError::TooLong { alert },
        ) => {
            // A dozen bytes into an empty send buffer: they fit, or nobody is there.
            let _ = client.try_write(&alert);
            linger(client).await;
        }
        ConnectionError::Hello(HelloError::OldTls(_)) => {
            let _ = client.try_write(&tls::old_tls_alert());
            linger(client).await;
        }
        ConnectionError::Hello(HelloError::PlainHttp) => {
            let _ = client.try_write(PLAIN_HTTP);
            linger(client).await;
        }
        ConnectionError::DeniedAfterHandshake(_, established)
        | ConnectionError::ExhaustedAfterHandshake(_, established) => {
            let mut out = Outgoing::default();
            {
                // What the session holds of the client is not kept for as long as the client takes to go.
                let mut session = established.session;
                if session.close_notify(&mut out).is_ok() {
                    // Best effort: a client whose receive window is full learns it from the FIN.
                    let _ = client.try_write(out.bytes());
                }
            }
            drop(out);
            linger(client).await;
        }
        // Past the point of no return, or an alert is on its way; or nothing that is said would be understood.
        ConnectionError::Handshake(HandshakeError::Failed(_) | HandshakeError::Exhausted(_))
        | ConnectionError::Denied(_)
        | ConnectionError::UpstreamAfterHandshake(_)
        | ConnectionError::ProxyHeader(HeaderError::Malformed(_)) => linger(client).await,
        // Nothing of use was said to whoever had all the time for it.
        ConnectionError::HandshakeTimeout(_)
        | ConnectionError::ProxyHeader(_)
        | ConnectionError::Hello(_)
        | ConnectionError::Handshake(_) => {}
    }
}

/// A client that must go takes no more part, but what the app still answers has a moment to arrive. To the app it is as if
/// the client had ended its sending. Whether nothing was cut off by that; for all other reasons there is no last answer.
pub(super) async fn await_last_response(relay: &mut Relay, reason: CloseReason) -> bool {
    if !matches!(reason, CloseReason::PeerExpired | CloseReason::PolicyChanged) {
        return true;
    }
    relay.dismiss_client();
    timeout(DRAIN_RESPONSE_TIMEOUT, relay).await.is_ok()
}

/// Closes both sides of a relay that ended for `reason`. `whole`: its last answer was not cut off. Gives what the client has not
/// taken of what it was sent.
pub(super) async fn close_relay(
    mut relay: Relay,
    reason: CloseReason,
    whole: bool,
    phase: watch::Receiver<Phase>,
) -> Option<UndeliveredBytes> {
    let sent = relay.transferred().down;
    match reason {
        CloseReason::Completed | CloseReason::AppReset => {
            let (client, _) = relay.into_parts();
            linger_until_delivered(client, sent, phase).await
        }
        // Nothing was on its way: both sides see a proper end.
        CloseReason::IdleTimeout | CloseReason::ClosedIdle if relay.is_clear() => {
            relay.close_notify();
            let (client, app) = relay.into_parts();
            // The app may be gone already.
            let _ = app.end_sending();
            drop(app);
            linger_until_delivered(client, sent, phase).await
        }
        CloseReason::PeerExpired | CloseReason::PolicyChanged if whole => {
            let (client, _) = relay.into_parts();
            linger_until_delivered(client, sent, phase).await
        }
        // Cut off in the middle: neither side must take what it got for whole.
        _ => {
            let (client, app) = relay.into_parts();
            app.reset();
            linger_until_delivered(client, sent, phase).await
        }
    }
}
