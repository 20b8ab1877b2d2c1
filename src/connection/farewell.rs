//! How a connection is closed, so that each side understands why.
//!
//! The point of no return is our Finished. Before it a reset lets the client try elsewhere; after it a reset would lose
//! what we sent, so we end our sending, then read and drop what still comes until the client closes.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::announce::HeaderError;
use crate::buffers;
use crate::connection::Ended;
use crate::connection::Reason;
use crate::relay::Relay;
use crate::sys::socket;
use crate::tls::HandshakeError;
use crate::tls::HelloError;
use crate::tls::Outgoing;

/// How long a client is given to take notice of our end and to close. Bytes that come meanwhile are dropped.
const GRACE: Duration = Duration::from_secs(2);

/// How long an app may still answer a client that must go: all of it is over within a second.
const LAST_ANSWER: Duration = Duration::from_millis(500);

/// Closes a connection that did not get as far as the relay.
pub(super) async fn refuse(client: TcpStream, ended: Ended) {
    match ended {
        // Nothing of ours was sent: a reset is the clearest "not here".
        Ended::App(_) | Ended::NoCredential | Ended::Overloaded { .. } => {
            // When the option cannot be set the socket is closed all the same.
            let _ = client.set_zero_linger();
        }
        Ended::Hello(HelloError::NotTls { alert } | HelloError::Malformed { alert, .. }) => {
            // A dozen bytes into an empty send buffer: they fit, or nobody is there.
            let _ = client.try_write(&alert);
            close(client).await;
        }
        Ended::DeniedLate(_, established) => {
            let (mut session, mut out) = (established.session, Outgoing::default());
            if session.close(&mut out).is_ok() {
                // Best effort: a client whose receive window is full learns it from the FIN.
                let _ = client.try_write(out.bytes());
            }
            close(client).await;
        }
        // Past the point of no return, or an alert is on its way; or nothing that is said would be understood.
        Ended::Handshake(HandshakeError::Refused(_))
        | Ended::HandshakeTimeout(_)
        | Ended::Denied(_)
        | Ended::AppLate(_)
        | Ended::Header(HeaderError::Malformed(_)) => close(client).await,
        Ended::Header(_) | Ended::Hello(_) | Ended::Handshake(_) => {}
    }
}

/// A client that must go takes no more part, but what the app still answers has a moment to arrive. To the app it is as if
/// the client had ended its sending. Whether nothing was cut off by that; for all other reasons there is no last answer.
pub(super) async fn last_answer(relay: &mut Relay, reason: Reason) -> bool {
    if !matches!(reason, Reason::PeerExpired | Reason::PolicyChanged) {
        return true;
    }
    relay.dismiss_client();
    timeout(LAST_ANSWER, relay).await.is_ok()
}

/// Closes both sides of a relay that ended for `reason`. `whole`: its last answer was not cut off.
pub(super) async fn part(mut relay: Relay, reason: Reason, whole: bool) {
    match reason {
        Reason::Completed | Reason::AppReset => {
            let (client, _) = relay.into_parts();
            close(client).await;
        }
        // The app must not take what it got for whole.
        Reason::ClientTruncated | Reason::ClientReset | Reason::ClientViolation => {
            let (client, app) = relay.into_parts();
            app.reset();
            close(client).await;
        }
        // Nothing was on its way: both sides see a proper end.
        Reason::IdleTimeout | Reason::ClosedIdle => {
            relay.say_goodbye();
            let (client, app) = relay.into_parts();
            // The app may be gone already.
            let _ = app.end_sending();
            drop(app);
            close(client).await;
        }
        Reason::PeerExpired | Reason::PolicyChanged => {
            let (client, app) = relay.into_parts();
            if !whole {
                app.reset();
            }
            close(client).await;
        }
        // Cut off in the middle: neither side must take what it got for whole.
        _ => {
            let (client, app) = relay.into_parts();
            app.reset();
            close(client).await;
        }
    }
}

/// Ends our sending, then reads and drops until the client closes, so that unread bytes do not turn our FIN into a reset.
async fn close(client: TcpStream) {
    if socket::end_sending(&client).is_err() {
        return;
    }
    let drop_all = async {
        while client.readable().await.is_ok() {
            match buffers::with(|buffers| client.try_read(&mut buffers.input)) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // A client that does not close in time has had its chance.
    let _ = timeout(GRACE, drop_all).await;
}
