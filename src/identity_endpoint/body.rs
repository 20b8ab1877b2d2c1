//! Bodies of requests: JSON, small, soon, and nothing in them that is not asked for.

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::protections::only;
use super::rejection::EndpointRejection;
use crate::telemetry::TokenRequestResult;
use crate::token::strict_json;
use crate::token::strict_json::StrictJsonError;

/// From the end of the head to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the body of `request`, of at most `most` bytes, as an object of `members`. A member that is not known, or is there twice, is an
/// error: what one reader passes over another may obey.
///
/// # Errors
/// It is too large, too slow, not JSON by its type, or not that object. Nothing of it is in the error: it may hold a token.
pub(super) async fn read<T: DeserializeOwned>(
    request: Request<Incoming>,
    most: usize,
    members: &[BodyMember],
) -> Result<T, EndpointRejection> {
    let (head, body) = request.into_parts();
    let bytes = collect(body, most).await?;
    let media_type = only(&head.headers, &CONTENT_TYPE).and_then(|value| value.split(|byte| *byte == b';').next());
    if !media_type.is_some_and(|media_type| media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")) {
        return Err(EndpointRejection::new(TokenRequestResult::MediaType, "add Content-Type: application/json"));
    }
    parse(&bytes, members)
}

async fn collect(body: Incoming, most: usize) -> Result<Bytes, EndpointRejection> {
    let too_large =
        || EndpointRejection::new(TokenRequestResult::BodyTooLarge, format!("the body has more than {most} bytes"));
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(EndpointRejection::bad_request("the body ends too soon, or is not chunked as it says")),
        Err(_) => {
            let detail = format!("the body was not there within {BODY_TIMEOUT:?}");
            Err(EndpointRejection::new(TokenRequestResult::BodyTimeout, detail))
        }
    }
}

/// What a body may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyMember {
    name: &'static str,
    kind: MemberKind,
    is_needed: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum MemberKind {
    Text,
    Texts,
    Flag,
}

impl BodyMember {
    /// One without which there is nothing to answer.
    pub(super) const fn needed(name: &'static str, kind: MemberKind) -> Self {
        Self { name, kind, is_needed: true }
    }

    /// One that may be left out, or be null.
    pub(super) const fn optional(name: &'static str, kind: MemberKind) -> Self {
        Self { name, kind, is_needed: false }
    }
}

impl MemberKind {
    fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text, Value::String(_)) | (Self::Flag, Value::Bool(_)) => true,
            (Self::Texts, Value::Array(all)) => all.iter().all(Value::is_string),
            _ => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Texts => "an array of strings",
            Self::Flag => "true or false",
        }
    }
}

/// Reads `body` as an object of `members`.
///
/// # Errors
/// It is something else. Of the body nothing is said but which of `members` is wrong.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8], members: &[BodyMember]) -> Result<T, EndpointRejection> {
    let names = members.iter().map(|member| member.name).collect::<Vec<_>>().join(", ");
    let fields = strict_json::object(body).map_err(|error| match error {
        StrictJsonError::NotAnObject => {
            EndpointRejection::bad_request(format!("the body is not one JSON object of {names}"))
        }
        StrictJsonError::Duplicate => EndpointRejection::bad_request("a member of the body occurs twice"),
        StrictJsonError::TooDeep => EndpointRejection::bad_request("the body is nested too deeply"),
    })?;
    for member in members {
        match fields.get(member.name) {
            None | Some(Value::Null) if member.is_needed => {
                return Err(EndpointRejection::bad_request(format!("the body has no {}", member.name)));
            }
            Some(value) if !value.is_null() && !member.kind.fits(value) => {
                return Err(EndpointRejection::bad_request(format!("{} is not {}", member.name, member.kind.name())));
            }
            _ => {}
        }
    }
    // Its name is the caller's, and may be a secret in the wrong place.
    if fields.keys().any(|name| !members.iter().any(|member| member.name == name)) {
        return Err(EndpointRejection::bad_request(format!("the body has a member that is none of {names}")));
    }
    serde_json::from_value(Value::Object(fields)).map_err(|_| {
        EndpointRejection::new(TokenRequestResult::Internal, "the body could not be taken over; please report this")
    })
}
