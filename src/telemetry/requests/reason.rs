//! Why a request did not get the app's whole answer.

use strum::{EnumCount, EnumMessage, IntoStaticStr, VariantArray};

/// Why a request did not get the app's whole answer, as our own answers (`Vestibule-Reason`), the access log and metrics name it. A closed
/// set: dashboards are built on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, EnumMessage, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RequestReason {
    /// Where the request ends can be read in two ways, or its body breaks its own rules.
    BadFraming,
    /// A part of the head is not as HTTP has it.
    BadRequest,
    /// The target names another host than Host does.
    HostMismatch,
    /// The path can be read in two ways, and there are rules for paths.
    PathAmbiguous,
    /// The path is not written as it is judged (`//`, `/../`, `%62`), and there are rules for paths.
    PathChanged,
    /// The identity that the request forwards is malformed, or there are two.
    XfccInvalid,
    /// It was `check --route`, which asks what the router does, and nothing else.
    RouteCheck,
    /// What came is not HTTP.
    NotHttp,
    /// Only callers with a certificate may ask for this.
    CertificateRequired,
    /// A rule denies the caller, or none admits it.
    Denied,
    /// No rule admits the caller to this path.
    PathNotAllowed,
    /// No rule admits the caller to this path by this method.
    MethodNotAllowed,
    /// No client CA vouches for the identity that the request forwards.
    CallerUntrusted,
    /// TRACE would give the caller what proxies have added.
    Trace,
    /// The head or the body of the request was not there in time.
    Timeout,
    /// The body is longer than it may be.
    BodyTooLarge,
    /// The target is longer than it may be.
    TargetTooLong,
    /// The request expects something else than `100-continue`.
    Expectation,
    /// The request is for another host than the connection.
    Misdirected,
    /// The head is longer than it may be, or has too many fields.
    HeadTooLarge,
    /// The method (CONNECT) or the body's coding is not known here.
    NotImplemented,
    /// The app closed the connection before its answer was whole.
    AppClosed,
    /// The app's answer cannot be read.
    AppBadAnswer,
    /// The app did not accept a connection.
    AppUnreachable,
    /// The instance is going.
    Draining,
    /// A limit is reached.
    Overloaded,
    /// The app did not answer within `--app-timeout`.
    AppTimeout,
    /// The client went before it had the whole answer.
    ClientClosed,
    /// The client left no room for the answer for `--h2-window-timeout`, or for 5 s while memory was short (HTTP/2).
    ClientStalled,
    /// It was still under way when `--drain-timeout` was over.
    DrainTimeout,
    /// A fault of the proxy ended it; please report it.
    Internal,
}

impl RequestReason {
    /// The word in the answer, in the log and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status of our answer; `None`: there is none, as nobody is there to read it.
    pub fn status(self) -> Option<u16> {
        Some(match self {
            Self::BadFraming
            | Self::BadRequest
            | Self::HostMismatch
            | Self::PathAmbiguous
            | Self::PathChanged
            | Self::XfccInvalid
            | Self::RouteCheck
            | Self::NotHttp => 400,
            Self::CertificateRequired => 401,
            Self::Denied | Self::PathNotAllowed | Self::MethodNotAllowed | Self::CallerUntrusted => 403,
            Self::Trace => 405,
            Self::Timeout => 408,
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::Misdirected => 421,
            Self::HeadTooLarge => 431,
            Self::NotImplemented => 501,
            Self::AppClosed | Self::AppBadAnswer => 502,
            Self::AppUnreachable | Self::Draining | Self::Overloaded => 503,
            Self::AppTimeout => 504,
            Self::ClientClosed | Self::ClientStalled | Self::DrainTimeout | Self::Internal => return None,
        })
    }

    /// What happened, for the manual: what is said of the variant above.
    pub fn meaning(self) -> &'static str {
        self.get_documentation().unwrap_or_default().trim_end_matches('.')
    }

    /// Whether a client was turned away that might have been served: what an operator wants to hear of.
    pub fn is_refusal(self) -> bool {
        !matches!(self, Self::ClientClosed | Self::ClientStalled | Self::NotHttp | Self::RouteCheck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_that_is_answered_has_a_status_that_says_an_error() {
        for reason in RequestReason::VARIANTS {
            assert!(reason.status().is_none_or(|status| (400..600).contains(&status)), "{}", reason.as_str());
        }
    }
}
