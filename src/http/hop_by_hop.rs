//! What stands in a head for one connection alone, and is not passed on (RFC 9110, 7.6.1).

use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::local_reply::REASON;
use super::trailers::{may_be_trailer, retain_trailer_names};

/// Who has called somebody else. Nobody but a proxy that has seen the certificate says this of a request.
const FORWARDED_CERTIFICATE: &str = "x-forwarded-client-cert";

/// Removes from a request what is for the connection that it came by, and what only a proxy may say. `switches`: it asks for another
/// protocol, and goes on asking.
pub(crate) fn remove_from_request(fields: &mut HeaderMap, switches: bool) {
    let takes_trailers = fields.get_all(TE).iter().any(|value| options(value).any(|option| option == "trailers"));
    remove_hop_by_hop(fields, switches, |_| false);
    let others: Vec<HeaderName> = fields.keys().filter(|name| is_for_proxies(name)).cloned().collect();
    for name in others {
        fields.remove(name);
    }
    retain_trailer_names(fields, may_be_trailer);
    fields.remove(TE);
    if takes_trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// The same of a response.
pub(crate) fn remove_from_response(fields: &mut HeaderMap, switches: bool) {
    remove_hop_by_hop(fields, switches, |_| false);
    retain_trailer_names(fields, may_be_trailer);
    // It tells our answers from the server's, also to those who take `_` for `-`.
    let forged: Vec<HeaderName> = fields.keys().filter(|name| is_reason(name)).cloned().collect();
    for name in forged {
        fields.remove(name);
    }
    if fields.remove(TRANSFER_ENCODING).is_some() {
        // The coding counts (RFC 9112, 6.3), and both together would be taken for an attack further on.
        fields.remove(CONTENT_LENGTH);
    }
}

/// Removes what is for one connection alone: what a Connection field names, that itself, and what it need not name. Where the body ends, who is
/// asked is not for it to say, nor what `is_kept`. `switches`: another protocol is asked for, and goes on being.
pub(crate) fn remove_hop_by_hop(fields: &mut HeaderMap, switches: bool, is_kept: fn(&HeaderName) -> bool) {
    // Most heads have nothing of it, and to look at all names costs less than to look for each.
    if !switches && !fields.keys().any(is_hop_by_hop) {
        return;
    }
    let nominated: Vec<HeaderName> = fields
        .get_all(CONNECTION)
        .iter()
        .flat_map(options)
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .filter(|name| ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER, TE, UPGRADE].contains(name))
        .filter(|name| !is_kept(name))
        .collect();
    for name in nominated {
        fields.remove(name);
    }
    for name in UNNAMED {
        fields.remove(name);
    }
    fields.remove(CONNECTION);
    if switches {
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        fields.remove(UPGRADE);
    }
}

/// For one connection alone, whether Connection names them or not.
const UNNAMED: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION || *name == UPGRADE || is_unnamed(name)
}

/// Whether it is for one connection alone though no Connection field may name it.
pub(super) fn is_unnamed(name: &HeaderName) -> bool {
    UNNAMED.contains(&name.as_str())
}

/// Whether a field is for proxies, or said by them. Many servers take `_` and whatever else is no letter for `-`.
pub(super) fn is_for_proxies(name: &HeaderName) -> bool {
    let name = name.as_str().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    name == FORWARDED_CERTIFICATE || name == "proxy" || name.starts_with("proxy-")
}

/// Whether it is the field of our own answers, in any spelling.
pub(super) fn is_reason(name: &HeaderName) -> bool {
    let is_same = |(byte, ours): (u8, u8)| byte == ours || ours == b'-' && !byte.is_ascii_alphanumeric();
    name.as_str().len() == REASON.as_str().len() && name.as_str().bytes().zip(REASON.as_str().bytes()).all(is_same)
}

/// The options in one field of a list, in lower case.
fn options(value: &HeaderValue) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    text.split(',').map(|option| option.trim().to_owned()).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        fields
    }

    fn names(fields: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_is_for_one_connection_and_what_only_proxies_say_is_removed_and_the_rest_stays() {
        let mut request = fields(&[
            ("host", "a"),
            ("connection", "close, X-Mine"),
            ("connection", "Host, Content-Length"),
            ("x-mine", "1"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("proxy_authorization", "Basic x"),
            ("http2-settings", "AA"),
            ("upgrade", "h2c"),
            ("te", "gzip, trailers"),
            ("trailer", "X_Forwarded-Client-Cert, x-sum"),
            ("x-forwarded-client-cert", "a"),
            ("x_forwarded_client_cert", "a"),
            ("x-forwarded_client.cert", "a"),
            ("cookie", "c"),
            ("expect", "100-continue"),
        ]);
        remove_from_request(&mut request, false);
        assert_eq!(names(&request), ["content-length", "cookie", "expect", "host", "te", "trailer"]);
        assert_eq!((&request["te"], &request["trailer"]), (&"trailers".parse().unwrap(), &"x-sum".parse().unwrap()));
    }

    #[test]
    fn a_request_for_another_protocol_goes_on_asking_for_it() {
        let mut request = fields(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        remove_from_request(&mut request, true);
        assert_eq!(
            (&request["connection"], &request["upgrade"]),
            (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
    }

    #[test]
    fn a_response_has_one_length() {
        let mut response = fields(&[
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("connection", "x-mine, trailer"),
            ("x-mine", "1"),
            ("trailer", "x-sum"),
            ("proxy-authenticate", "Basic"),
            ("x-vestibule-reason", "forged"),
            ("x_vestibule_reason", "forged"),
            ("x.vestibule-reason", "forged"),
        ]);
        remove_from_response(&mut response, false);
        assert_eq!(names(&response), ["proxy-authenticate", "trailer"]);
    }
}
