//! What the app is answered when it does not come to a response.

use std::io;

use hyper::StatusCode;

use super::channel::Channel;
use crate::http::{HeadRejection, LocalReply, io_cause};
use crate::io::ReadLimitReached;
use crate::outbound::certificate_rejection::{CertificateRejection, rejection};
use crate::outbound::error::{OutboundError, TRUNCATED};
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry};
use crate::tls::Violation;

/// The answer to a head that is refused.
pub(in crate::outbound) fn of_rejection(refused: HeadRejection) -> LocalReply {
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
    LocalReply { status, reason: refused.into(), text: refused.text().to_owned() }
}

/// The answer where no endpoint could be connected to. `entry` knows whom it was for, and is told why.
pub(in crate::outbound) fn no_connection(error: &OutboundError, entry: &mut OutboundLogEntry) -> LocalReply {
    let (reason, detail) = (error.reason(), error.with_remedy());
    match error.is_of_a_server() {
        true => server_failure(reason, detail, entry),
        false => {
            entry.fields.detail = Some(detail.clone());
            own_answer(reason, detail)
        }
    }
}

/// The answer where the exchange with an endpoint has failed for `reason`, of which `detail` has more. The app is told which server it was,
/// as far as it is the server's fault; `entry` knows that, and has fields of its own for it.
pub(super) fn server_failure(reason: OutboundCloseReason, detail: String, entry: &mut OutboundLogEntry) -> LocalReply {
    let text = match reason {
        OutboundCloseReason::AppReset | OutboundCloseReason::BadRequest => detail.clone(),
        _ => format!("{}: {detail}", entry.server()),
    };
    entry.fields.detail = Some(detail);
    own_answer(reason, text)
}

fn own_answer(reason: OutboundCloseReason, text: String) -> LocalReply {
    use OutboundCloseReason as Reason;
    let status = match reason {
        Reason::NoEndpoint | Reason::Overloaded | Reason::NoCredentials | Reason::CredentialExpired => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Reason::ConnectTimeout | Reason::HandshakeTimeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::BadRequest | Reason::AppReset => StatusCode::BAD_REQUEST,
        Reason::NotListed | Reason::AddressNotAllowed => StatusCode::FORBIDDEN,
        Reason::AuthenticationRequired => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        _ => StatusCode::BAD_GATEWAY,
    };
    LocalReply { status, reason: reason.as_str(), text }
}

/// Why the exchange over `channel` has failed with `error`, and more of it.
pub(super) fn response_failure(error: &hyper::Error, channel: &Channel) -> (OutboundCloseReason, String) {
    use OutboundCloseReason as Reason;
    // We have ended it ourselves.
    if let Some((reason, detail)) = channel.ended() {
        let message = detail.clone().unwrap_or_else(|| reason.meaning().to_owned());
        return (*reason, message);
    }
    if let Some(why) = channel.backlog.evicted() {
        return (Reason::Overloaded, why.to_owned());
    }
    if let Some(cause) = io_cause(error) {
        if let Some(alert) = rejection(cause) {
            let own = channel.origin.verified.as_ref().and_then(|verified| verified.snapshot.authenticator.own());
            let rejection = CertificateRejection::new(alert, own);
            return (Reason::ClientCertificateRejected, rejection.with_remedy());
        }
        let reason = match cause.kind() {
            io::ErrorKind::UnexpectedEof if channel.is_truncated() => Reason::EndpointTruncated,
            io::ErrorKind::UnexpectedEof => Reason::NoResponse,
            io::ErrorKind::InvalidData if cause.get_ref().is_some_and(|cause| cause.is::<Violation>()) => {
                Reason::EndpointViolation
            }
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Reason::BadResponse,
            _ => Reason::EndpointReset,
        };
        let detail = match reason {
            Reason::EndpointTruncated => TRUNCATED.to_owned(),
            Reason::BadResponse if cause.get_ref().is_some_and(|cause| cause.is::<ReadLimitReached>()) => {
                "the server has sent too much before its response".to_owned()
            }
            Reason::BadResponse => format!("the server's response is malformed: {cause}"),
            Reason::NoResponse => "the server closed the connection before its response was whole".to_owned(),
            _ => format!("the connection to the server failed: {cause}"),
        };
        return (reason, detail);
    }
    match () {
        () if error.is_parse() => (Reason::BadResponse, format!("the server's response is malformed: {error}")),
        () if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            (Reason::NoResponse, "the server closed the connection before its response was whole".to_owned())
        }
        // The body of the request did not come to its end.
        () if error.is_user() || error.is_body_write_aborted() => {
            (Reason::AppReset, "the request did not come to its end".to_owned())
        }
        () => (Reason::NoResponse, error.to_string()),
    }
}
