//! Bodies of requests: JSON, small, soon, and nothing in them that is not asked for.

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::protections::only;
use super::refusal::Refusal;
use crate::telemetry::TokenRequestResult;

/// From the end of the head to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the body of `request`, of at most `most` bytes, as the object that `members` lists. A member that is not known, or is there twice, is a
/// mistake: what one reader passes over another may obey.
///
/// # Errors
/// It is too large, too slow, not JSON by its type, or not that object. Nothing of it is in the error: it may hold a token.
pub(super) async fn read<T: DeserializeOwned>(
    request: Request<Incoming>,
    most: usize,
    members: &str,
) -> Result<T, Refusal> {
    let (head, body) = request.into_parts();
    let bytes = collect(body, most).await?;
    let media_type = only(&head.headers, &CONTENT_TYPE).and_then(|value| value.split(|byte| *byte == b';').next());
    if !media_type.is_some_and(|media_type| media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")) {
        return Err(Refusal::new(TokenRequestResult::MediaType, "add Content-Type: application/json"));
    }
    parse(&bytes, members)
}

async fn collect(body: Incoming, most: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(TokenRequestResult::BodyTooLarge, format!("the body has more than {most} bytes"));
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::bad_request("the body ends too soon")),
        Err(_) => {
            let detail = format!("the body was not there within {BODY_TIMEOUT:?}");
            Err(Refusal::new(TokenRequestResult::BodyTimeout, detail))
        }
    }
}

/// Reads `body` as the object that `members` lists.
///
/// # Errors
/// It is something else.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8], members: &str) -> Result<T, Refusal> {
    let refusal = |place: String| Refusal::bad_request(format!("the body is not a JSON object of {members}{place}"));
    // An array would do for serde.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(refusal(String::new()));
    }
    // Its own text quotes what it found.
    serde_json::from_slice(body).map_err(|error| refusal(format!(": line {}, column {}", error.line(), error.column())))
}
