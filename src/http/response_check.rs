//! Whether a response can be read in one way only.

use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::{Response, StatusCode};

/// The longest head of an app's answer, in bytes.
pub(crate) const MAX_ANSWER_HEAD: usize = 256 * 1024;

/// The most fields that a response may have.
pub(crate) const MAX_RESPONSE_FIELDS: usize = 512;

/// What is wrong with `response`, if something could be read in two ways; `asked`: the protocol that the client has asked to switch to.
pub(crate) fn response_problem<B>(response: &Response<B>, asked: Option<&HeaderValue>) -> Option<&'static str> {
    let fields = response.headers();
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let is_asked =
        |protocol: &HeaderValue| asked.is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()));
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let is_number = |length: &HeaderValue| content_length(length).is_some();
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
        () if fields.len() > MAX_RESPONSE_FIELDS => Some("the response has more than 512 fields"),
        () if fields.keys().any(|name| !is_token(name)) => Some("the response has a field whose name is no token"),
        () => None,
    }
}

/// Whether a field may be called so (RFC 9110, 5.6.2): the type takes a quotation mark as well.
pub(crate) fn is_token(name: &HeaderName) -> bool {
    // As bytes: the standard library looks for a character far longer.
    !name.as_str().as_bytes().contains(&b'"')
}

/// The number of bytes that Content-Length says; `None`: none (RFC 9110, 8.6).
pub(crate) fn content_length(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    // A sign would be taken as part of a number.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The length of the head of `response` in HTTP/1.1, in bytes, without what stands around values beside one space (RFC 9112, 4 and 5).
pub(crate) fn response_head_length<B>(response: &Response<B>) -> usize {
    const STATUS_LINE: usize = "HTTP/1.1 200 \r\n".len();
    const AROUND_FIELD: usize = ": \r\n".len();
    let said = response.extensions().get::<ReasonPhrase>().map(|phrase| phrase.as_bytes().len());
    // hyper keeps the phrase where it is not the usual one.
    let phrase = said.or_else(|| response.status().canonical_reason().map(str::len)).unwrap_or_default();
    let fields = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + AROUND_FIELD);
    STATUS_LINE + phrase + fields.sum::<usize>() + "\r\n".len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_that_fit_in_a_number() {
        let read = |text| content_length(&HeaderValue::from_static(text));
        assert_eq!([read("0"), read("02"), read("18446744073709551615")], [Some(0), Some(2), Some(u64::MAX)]);
        for text in ["", "+1", "-1", "1 ", "0x1", "1,1", "99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_field_whose_name_is_no_token_is_a_problem() {
        let mut response = Response::new(());
        response.headers_mut().insert(HeaderName::from_lowercase(b"x\"y").unwrap(), HeaderValue::from_static("z"));
        assert!(response_problem(&response, None).is_some());
    }

    #[test]
    fn more_fields_than_there_may_be_are_a_problem_whatever_the_server_speaks() {
        let mut response = Response::new(());
        for _ in 0..MAX_RESPONSE_FIELDS {
            response.headers_mut().append("x", HeaderValue::from_static("y"));
        }
        assert_eq!(response_problem(&response, None), None);
        response.headers_mut().append("x", HeaderValue::from_static("y"));
        assert_eq!(response_problem(&response, None), Some("the response has more than 512 fields"));
    }

    #[test]
    fn the_length_of_a_head_is_that_of_its_lines() {
        let mut response = Response::new(());
        assert_eq!(response_head_length(&response), "HTTP/1.1 200 OK\r\n\r\n".len());
        for value in ["b", "cd"] {
            response.headers_mut().append("a", HeaderValue::from_static(value));
        }
        response.extensions_mut().insert(ReasonPhrase::from_static(b"Well done"));
        assert_eq!(response_head_length(&response), "HTTP/1.1 200 Well done\r\na: b\r\na: cd\r\n\r\n".len());
    }
}
