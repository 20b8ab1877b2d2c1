//! What the fuzz target of requests to the forward proxy holds: what is sent on is for the server that was named, and can be read in one way.

use std::net::IpAddr;

use hyper::header::HeaderValue;
use hyper::{Method, Request};

use super::request_target::{ProxyRejection, RequestedServer};
use crate::config::{Host, values};
use crate::http::fuzzing::{AdmittedRequest, requests as judged};
use crate::http::{HeadRules, HttpRole};
use crate::outbound::http::origin_form;

/// More than any head may have, in bytes.
const MAX_HEAD: usize = 128 * 1024;

/// The most that is said of what is wrong, in bytes.
const LONGEST_ANSWER: usize = 1024;

/// Reads `bytes` as requests of an app to the forward proxy. How many of them name a server.
///
/// # Panics
/// Where a server is named that another reader of the URL does not find; where what is sent on would be refused by whoever reads it; where more
/// is said of what is wrong than helps.
pub fn requests(bytes: &[u8]) -> usize {
    let (requests, _) = judged(&HeadRules::forward_proxy(MAX_HEAD), bytes);
    requests.iter().filter(|request| names_server(request)).count()
}

fn names_server(judged: &AdmittedRequest) -> bool {
    // As hyper makes it.
    let request = Request::builder().method(judged.method.as_str()).uri(&judged.target).body(());
    let Ok(request) = request else { panic!("what was judged has no method or target") };
    let named = match RequestedServer::of(&request) {
        Ok(named) => named,
        Err(refusal) => {
            let answer = refusal.answer();
            assert!(answer.status.is_client_error() && answer.text.len() < LONGEST_ANSWER, "{}", answer.text);
            return false;
        }
    };
    assert_eq!(values::target(&named.target.to_string()).as_ref(), Ok(&named.target));
    let port = request.uri().port_u16().unwrap_or(80);
    assert_eq!(named.target.port, port);
    let host = request.uri().host().unwrap_or_default();
    match &named.target.host {
        Host::Name(name) => assert!(host.eq_ignore_ascii_case(name), "{host} is not {name}"),
        Host::Ip(ip) => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            assert_eq!(bare.parse::<IpAddr>().map(|ip| ip.to_canonical()).as_ref(), Ok(ip));
        }
    }
    let refusal = ProxyRejection::NotListed(named.target, vec![port]).answer();
    assert!(refusal.text.len() < LONGEST_ANSWER, "{}", refusal.text);
    if request.method() != Method::CONNECT {
        sent_on(request, judged, &named.authority);
    }
    true
}

/// What the server reads: one head, for itself, without a server in its target.
fn sent_on(request: Request<()>, judged: &AdmittedRequest, authority: &str) {
    assert!(HeaderValue::try_from(authority).is_ok(), "the server cannot stand in Host");
    let (parts, ()) = request.into_parts();
    let target = origin_form(judged.head, &parts);
    assert!(target.authority().is_none() && target.scheme().is_none());
    let head = format!("{} {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n", parts.method);
    let rules = HeadRules { role: HttpRole::Server, ..HeadRules::forward_proxy(2 * MAX_HEAD) };
    let (requests, refusal) = self::judged(&rules, head.as_bytes());
    assert!(requests.len() == 1 && refusal.is_none(), "{head}: {refusal:?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::requests;

    #[test]
    fn what_names_a_server_is_sent_on_for_it() {
        for (text, named) in [
            ("GET http://backend:61443/a?b HTTP/1.1\r\nHost: other\r\n\r\n", 1),
            ("CONNECT backend:61443 HTTP/1.1\r\n\r\n", 1),
            ("OPTIONS http://backend HTTP/1.1\r\n\r\nGET http://[fd00::1]:/ HTTP/1.1\r\n\r\n", 2),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
            ("GET http://a@b/ HTTP/1.1\r\n\r\n", 0),
        ] {
            assert_eq!(requests(text.as_bytes()), named, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_is_sent_on_as_one_request_or_refused(
            method in "(GET|POST|CONNECT|OPTIONS|TRACE|X)",
            scheme in "(http://|ws://|HTTP://|https://|)",
            authority in "([a-c.:@\\[\\]0-9%,;_-]{0,12}|[\\x21-\\x7e]{0,12})",
            path in "([/?#*%a]{0,6}|[\\x21-\\x7e]{0,6})",
        ) {
            requests(format!("{method} {scheme}{authority}{path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        }
    }
}
