//! The forward proxy and DNS, in a network of the test's own: whatever a name says, the address that is dialled is judged.

use std::net::IpAddr;

use super::app_guid;
use super::forward_proxy::{entry, get_from_name, proxy};
use super::http::AppClient;
use super::{Caller, say};
use crate::clients::Backend;
use crate::support::client::Ending;
use crate::support::dns::{Dns, Reply, in_a_network_of_its_own};
use crate::support::http_app::HttpApp;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

const NAME: &str = "backend.apps.internal";
const GOOD: &str = "127.0.0.2";
const EVIL: &str = "127.0.0.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A server on every address.
fn everywhere(backend: &Backend, app: &HttpApp) -> Sidecar {
    Setup::command(&["proxy", "--listen", "0.0.0.0:0", "--app", &app.addr().to_string()])
        .credentials(&backend.credentials)
        .arg("--client-ca")
        .arg(backend.ca().to_str().unwrap())
        .arg("--allow")
        .arg("cf:any")
        .ready()
}

/// A forward proxy for everybody below apps.internal, which may dial 127.0.0.2 of all that is on loopback.
fn below_apps_internal(caller: &Caller, backend: &Backend, port: u16) -> Sidecar {
    Setup::proxy(&caller.credentials, app::nobody())
        .arg("--forward-proxy=0")
        .arg("--forward-proxy-allow-address")
        .arg(GOOD)
        .arg("--forward-proxy-to")
        .arg(&format!("*.apps.internal:{port}={}", app_guid(backend)))
        // The tests' certificates have the instance's name.
        .arg("--outbound-server-name=off")
        .ready()
}

#[test]
fn a_name_that_leads_to_this_machine_is_refused_though_it_led_elsewhere_before() {
    let this =
        "outbound::forward_proxy_names::a_name_that_leads_to_this_machine_is_refused_though_it_led_elsewhere_before";
    if !in_a_network_of_its_own(this, "") {
        return;
    }
    let (caller, backend, dns, app) = (Caller::new(), Backend::new(), Dns::start(), HttpApp::saying("hello"));
    let serving = everywhere(&backend, &app);
    let port = serving.addr().port();
    let sidecar = below_apps_internal(&caller, &backend, port);
    dns.say(NAME, Reply::Addresses(vec![ip(GOOD)], 0));
    let ask = || AppClient::at(proxy(&sidecar)).ask(&get_from_name(NAME, port));
    assert_eq!(ask().1, "hello");
    assert_eq!(entry(&sidecar)["endpoint_addr"], format!("{GOOD}:{port}"));

    dns.say(NAME, Reply::Addresses(vec![ip(EVIL)], 0));
    eventually("the next lookup", || ask().0.contains("x-vestibule-reason: address_not_allowed\r\n").then_some(()));
    let asked = app.asked().len();
    assert!(ask().0.starts_with("HTTP/1.1 403 "));
    // Of both the one that is allowed is dialled, and no other.
    dns.say(NAME, Reply::Addresses(vec![ip(EVIL), ip(GOOD), ip("169.254.169.254"), ip("::1")], 0));
    eventually("the lookup after that", || (ask().1 == "hello").then_some(()));
    for _ in 0..10 {
        assert_eq!(ask().1, "hello");
    }
    assert!(app.asked().len() >= asked + 11);
    let dialled = sidecar.lines_of("request completed").into_iter().filter(|line| line["status"] == 200);
    assert!(dialled.into_iter().all(|line| line["endpoint_addr"] == format!("{GOOD}:{port}")));
}

#[test]
fn names_below_a_listed_domain_are_asked_for_and_what_is_wrong_with_them_is_told() {
    let this =
        "outbound::forward_proxy_names::names_below_a_listed_domain_are_asked_for_and_what_is_wrong_with_them_is_told";
    if !in_a_network_of_its_own(this, "") {
        return;
    }
    let (caller, backend, dns, app) = (Caller::new(), Backend::new(), Dns::start(), HttpApp::saying("hello"));
    let serving = everywhere(&backend, &app);
    let port = serving.addr().port();
    let sidecar = below_apps_internal(&caller, &backend, port);
    dns.say("0.backend.apps.internal", Reply::Addresses(vec![ip(GOOD)], 30));
    dns.say("stopped.apps.internal", Reply::NoData);
    dns.say("broken.apps.internal", Reply::ServFail);
    dns.say("evil.apps.internal", Reply::Alias("localhost.example".to_owned()));
    dns.say("localhost.example", Reply::Addresses(vec![ip(EVIL)], 30));
    for (name, status, reason) in [
        ("stopped.apps.internal", 503, "no_endpoint"),
        ("unknown.apps.internal", 503, "no_endpoint"),
        ("broken.apps.internal", 502, "resolve_failed"),
        ("evil.apps.internal", 403, "address_not_allowed"),
        ("apps.internal", 403, "not_listed"),
        ("backend.apps.internal.example", 403, "not_listed"),
    ] {
        let (head, _) = AppClient::at(proxy(&sidecar)).ask(&get_from_name(name, port));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {head}");
        assert!(head.contains(&format!("x-vestibule-reason: {reason}\r\n")), "{name}: {head}");
        let connect = format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}\r\n\r\n");
        let (head, _) = AppClient::at(proxy(&sidecar)).ask(&connect);
        assert!(head.contains(&format!("x-vestibule-reason: {reason}\r\n")), "{name}: {head}");
    }
    for spelling in ["0.backend.apps.internal", "0.BACKEND.apps.internal", "0.backend.apps.internal."] {
        assert_eq!(AppClient::at(proxy(&sidecar)).ask(&get_from_name(spelling, port)).1, "hello", "{spelling}");
    }
    assert_eq!(
        dns.times("backend.apps.internal.example") + dns.times("apps.internal"),
        0,
        "who is not listed is not looked up"
    );
    assert!(serving.reasons().is_empty(), "nobody else came: {:?}", serving.reasons());
}

#[test]
fn an_address_that_another_app_has_now_gets_no_byte() {
    let this = "outbound::forward_proxy_names::an_address_that_another_app_has_now_gets_no_byte";
    if !in_a_network_of_its_own(this, "") {
        return;
    }
    let (caller, backend, dns) = (Caller::new(), Backend::new(), Dns::start());
    let (other, app) = (Backend::new(), HttpApp::saying("never"));
    let serving = everywhere(&other, &app);
    let port = serving.addr().port();
    let sidecar = below_apps_internal(&caller, &backend, port);
    dns.say(NAME, Reply::Addresses(vec![ip(GOOD)], 0));
    let (head, _) = AppClient::at(proxy(&sidecar)).ask(&get_from_name(NAME, port));
    assert!(head.contains("x-vestibule-reason: unexpected_identity\r\n"), "{head}");
    let (answer, ending) = say(proxy(&sidecar), format!("CONNECT {NAME}:{port} HTTP/1.1\r\n\r\n\0secret").as_bytes());
    assert!(answer.starts_with(b"HTTP/1.1 200 ") && ending == Ending::Reset, "{}", String::from_utf8_lossy(&answer));
    assert!(app.asked().is_empty());
    assert_eq!(serving.reasons().iter().filter(|reason| *reason == "completed").count(), 0, "{:?}", serving.reasons());
}
