//! What is not answered as it was asked, and why.

use std::borrow::Cow;
use std::time::Duration;

use hyper::StatusCode;

use crate::http::HeadRejection;
use crate::telemetry::TokenRequestResult;
use crate::token::IssueError;

/// While there is no pair: the first one comes within moments.
const SOON: Duration = Duration::from_secs(1);

/// While a certificate has to be renewed, or the clock to be set right.
const LATER: Duration = Duration::from_secs(10);

/// Why a request does not get what it asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EndpointRejection {
    /// Which of the closed set; never a success.
    pub(super) error: TokenRequestResult,
    /// One sentence for people: what was wrong, and the remedy. Never anything of a body.
    pub(super) detail: Cow<'static, str>,
    pub(super) retry_after: Option<Duration>,
    pub(super) allow: Option<&'static str>,
}

impl EndpointRejection {
    pub(super) fn new(error: TokenRequestResult, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = match error {
            TokenRequestResult::NoPair | TokenRequestResult::NoTrustAnchors | TokenRequestResult::Internal => {
                Some(SOON)
            }
            TokenRequestResult::Expired
            | TokenRequestResult::NotYetValid
            | TokenRequestResult::Retired
            | TokenRequestResult::UnusablePair => Some(LATER),
            _ => None,
        };
        Self { error, detail: detail.into(), retry_after, allow: None }
    }

    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(TokenRequestResult::BadRequest, detail)
    }

    /// The head of a request may be read in several ways, or in none.
    pub(super) fn of_head(why: HeadRejection) -> Self {
        match why {
            HeadRejection::HeadTooLong | HeadRejection::TooManyFields => {
                let detail = "the head of the request has more than 8 KiB, or more than 100 fields";
                Self::new(TokenRequestResult::HeadTooLarge, detail)
            }
            HeadRejection::HeadTimeout => {
                Self::new(TokenRequestResult::HeadTimeout, "the head of the request was not there within a second")
            }
            why => Self::bad_request(why.text()),
        }
    }

    /// Another method is meant.
    pub(super) fn method(allow: &'static str) -> Self {
        let refusal = Self::new(TokenRequestResult::MethodNotAllowed, format!("only {allow}"));
        Self { allow: Some(allow), ..refusal }
    }

    /// There were too many requests; one may come after `wait`.
    pub(super) fn rate_limited(wait: Duration) -> Self {
        let detail = "too many requests; keep a token for half of its life, and ask again later";
        Self { retry_after: Some(wait), ..Self::new(TokenRequestResult::RateLimited, detail) }
    }

    /// The pair makes no such token now.
    pub(super) fn of_issue(error: &IssueError) -> Self {
        let result = match error {
            IssueError::Retired => TokenRequestResult::Retired,
            IssueError::Expired(_) | IssueError::EndsTooSoon(_) => TokenRequestResult::Expired,
            IssueError::NotYetValid(_) => TokenRequestResult::NotYetValid,
            IssueError::NeedsRsa(_) => TokenRequestResult::FormNotPossible,
            _ => TokenRequestResult::UnusablePair,
        };
        Self::new(result, error.to_string())
    }

    pub(super) fn status(&self) -> StatusCode {
        use TokenRequestResult as Result;
        match self.error {
            Result::PeerNotAllowed | Result::Forwarded | Result::AudienceNotAllowed => StatusCode::FORBIDDEN,
            Result::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Result::HeaderMissing => StatusCode::PRECONDITION_FAILED,
            Result::Unauthorized => StatusCode::UNAUTHORIZED,
            Result::NotFound => StatusCode::NOT_FOUND,
            Result::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Result::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Result::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Result::HeadTimeout | Result::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Result::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Result::BadRequest | Result::TtlOutOfRange | Result::FormNotPossible => StatusCode::BAD_REQUEST,
            Result::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Result::NoPair
            | Result::Expired
            | Result::NotYetValid
            | Result::Retired
            | Result::UnusablePair
            | Result::NoTrustAnchors => StatusCode::SERVICE_UNAVAILABLE,
            // Successes are no refusals.
            Result::Internal | Result::Signed | Result::Cached | Result::Identity | Result::Verified => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}
