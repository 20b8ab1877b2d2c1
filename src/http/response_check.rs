//! Whether a response can be read in one way only.

use hyper::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::{Response, StatusCode};

/// What is wrong with `response`, if something could be read in two ways; `asked`: the protocol that the client has asked to switch to.
pub(crate) fn response_problem<B>(response: &Response<B>, asked: Option<&HeaderValue>) -> Option<&'static str> {
    let fields = response.headers();
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let is_asked =
        |protocol: &HeaderValue| asked.is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()));
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let is_number = |length: &HeaderValue| length.as_bytes().iter().all(u8::is_ascii_digit);
    match () {
        () if switches && !fields.get(UPGRADE).is_some_and(is_asked) => {
            Some("the server switches to another protocol than it was asked to")
        }
        () if !codings.next().is_none_or(is_chunked) || codings.next().is_some() => {
            Some("the response's Transfer-Encoding is not chunked alone")
        }
        () if !lengths.next().is_none_or(is_number) || lengths.next().is_some() => {
            Some("the response's Content-Length is no number, or stands twice")
        }
        () => None,
    }
}
