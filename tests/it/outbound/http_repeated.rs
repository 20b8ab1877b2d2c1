//! What is sent a second time where an endpoint is bad behind its handshake, and what is not.

use std::sync::atomic::{AtomicBool, Ordering};

use super::http::{AppClient, GET, before, sending};
use super::{Caller, outbound};
use crate::clients::Backend;
use crate::support::credentials::Credentials;
use crate::support::http_app::{HttpApp, Reply};
use crate::support::sidecar::Sidecar;

const FIRST: &str = "balance = \"first\"\neject = \"off\"";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";

/// A server whose app ends each connection behind a request, without a word.
fn silent() -> HttpApp {
    HttpApp::start(|_| Reply::SendAndClose(Vec::new()))
}

/// The methods that it was asked by.
fn methods(app: &HttpApp) -> Vec<String> {
    app.asked().iter().map(|asked| asked.head.split(' ').next().unwrap().to_owned()).collect()
}

fn retried(sidecar: &Sidecar, n: usize) -> Vec<bool> {
    sidecar.lines_eventually("request completed", n).iter().map(|entry| entry["retried"] == true).collect()
}

#[test]
fn a_new_connection_that_ends_without_a_byte_has_a_request_that_may_be_repeated_sent_elsewhere_once() {
    let (bad, good, caller) = (silent(), HttpApp::saying("ok"), Caller::new());
    let ((_b1, first), (_b2, second)) = (before(&bad), before(&good));
    let sidecar = sending(&caller, &[first.addr(), second.addr()], "cf:any", FIRST);
    let addr = outbound(&sidecar);
    for method in ["GET", "DELETE"] {
        let (head, body) = AppClient::at(addr).ask(&GET.replace("GET", method));
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok", "{method}: {head}");
    }
    assert_eq!((methods(&bad), methods(&good)), (["GET", "DELETE"].map(String::from).to_vec(), methods(&bad)));
    assert_eq!(retried(&sidecar, 2), [true, true]);
}

#[test]
fn what_may_not_be_repeated_is_sent_to_one_endpoint_alone() {
    let (bad, good, caller) = (silent(), HttpApp::saying("never"), Caller::new());
    let ((_b1, first), (_b2, second)) = (before(&bad), before(&good));
    let sidecar = sending(&caller, &[first.addr(), second.addr()], "cf:any", FIRST);
    let addr = outbound(&sidecar);
    let put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    for request in [POST, &POST.replace(": 0\r\n\r\n", ": 3\r\n\r\nabc"), put] {
        let (head, _) = AppClient::at(addr).ask(request);
        assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: no_response\r\n"), "{head}");
    }
    assert_eq!(methods(&bad), ["POST", "POST", "PUT"]);
    assert_eq!(methods(&good), [] as [String; 0], "nothing of them was sent again");
    assert_eq!(retried(&sidecar, 3), [false; 3]);
}

#[test]
fn one_endpoint_alone_is_not_asked_twice_and_nobody_is_where_one_attempt_was_wanted() {
    let (bad, good, caller) = (silent(), HttpApp::saying("never"), Caller::new());
    let ((_b1, first), (_b2, second)) = (before(&bad), before(&good));
    let one_attempt = format!("{FIRST}\nattempts = 1");
    for (to, more) in [(&[first.addr()][..], FIRST), (&[first.addr(), second.addr()], &one_attempt)] {
        let before = bad.asked().len();
        let sidecar = sending(&caller, to, "cf:any", more);
        let (head, _) = AppClient::at(outbound(&sidecar)).ask(GET);
        assert!(head.contains("x-vestibule-reason: no_response\r\n"), "{head}");
        assert_eq!((bad.asked().len(), good.asked().len()), (before + 1, 0));
    }
}

#[test]
fn a_response_that_has_begun_is_not_asked_for_again() {
    let (bad, good, caller) =
        (HttpApp::start(|_| Reply::SendAndClose(b"HTTP/1.1 ".to_vec())), HttpApp::saying("never"), Caller::new());
    let ((_b1, first), (_b2, second)) = (before(&bad), before(&good));
    let sidecar = sending(&caller, &[first.addr(), second.addr()], "cf:any", FIRST);
    let (head, _) = AppClient::at(outbound(&sidecar)).ask(GET);
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!((bad.asked().len(), good.asked().len()), (1, 0));
}

#[test]
fn an_endpoint_that_does_not_let_us_in_costs_no_request_that_may_be_repeated() {
    let (never, good, caller) = (HttpApp::saying("never"), HttpApp::saying("ok"), Caller::new());
    let refusing = Backend::new();
    let another = format!("cf:app:{}", Credentials::new().spec.app);
    let refused = refusing.before(never.addr()).arg("--allow").arg(&another).ready();
    let (_backend, serving) = before(&good);
    let sidecar = sending(&caller, &[refused.addr(), serving.addr()], "cf:any", FIRST);
    assert_eq!(AppClient::at(outbound(&sidecar)).ask(GET).1, "ok");
    let (head, _) = AppClient::at(outbound(&sidecar)).ask(POST);
    assert!(head.contains("x-vestibule-reason: client_certificate_rejected\r\n"), "{head}");
    assert_eq!((methods(&never), methods(&good)), (vec![], vec!["GET".to_owned()]));
}

#[test]
fn with_one_attempt_a_kept_connection_at_its_end_is_made_anew_to_the_same_endpoint() {
    static HAS_CLOSED: AtomicBool = AtomicBool::new(false);
    let app = HttpApp::start(|asked| match asked.head.contains("/again") {
        true if !HAS_CLOSED.swap(true, Ordering::SeqCst) => Reply::SendAndClose(Vec::new()),
        _ => Reply::ok("ok"),
    });
    let (other, caller) = (HttpApp::saying("never"), Caller::new());
    let ((_b1, first), (_b2, second)) = (before(&app), before(&other));
    let sidecar = sending(&caller, &[first.addr(), second.addr()], "cf:any", &format!("{FIRST}\nattempts = 1"));
    let mut app_client = AppClient::at(outbound(&sidecar));
    assert_eq!(app_client.ask(GET).1, "ok");
    let (head, body) = app_client.ask("GET /again HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok", "{head}{body}");
    assert_eq!(retried(&sidecar, 2), [false, true]);
    assert_eq!(other.asked().len(), 0);
}
