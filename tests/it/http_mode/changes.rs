//! Rules, certificates and pairs that change while requests are made.

use std::io::{Read, Write};
use std::time::Duration;

use vestibule::issuer::InstanceSpec;

use super::talk::Talk;
use super::{Front, GET};
use crate::clients::{Backend, someone};
use crate::support::app::App;
use crate::support::client::Ending;
use crate::support::credentials::issue;
use crate::support::http_app::HttpApp;

/// A front whose rules are `policy`.
fn by(policy: &str, app: std::net::SocketAddr) -> Front {
    let backend = Backend::new();
    backend.write_policy(policy);
    let options = format!("--policy {}", backend.policy().display());
    Front::with(backend, app, &options)
}

#[test]
fn a_rule_that_is_removed_lets_the_request_end_and_closes_the_connection() {
    let (_, pair) = someone();
    let app = App::start();
    let front = by("allow = ['cf:any']", app.addr());
    let (mut idle, mut talk) = (front.talk_as(&pair), front.talk_as(&pair));
    talk.send(GET);
    let mut connection = app.accept();
    connection.read_exact(&mut [0; 16]).unwrap();
    front.backend.write_policy("allow = []");
    // Nothing is under way there.
    assert_eq!(idle.rest(), (Vec::new(), Ending::CloseNotify));
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    let answer = talk.answer();
    assert_eq!((answer.text(), answer.says_close()), ("ok", true));
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    front.sidecar.lines_eventually("connection closed", 2);
    assert_eq!(front.sidecar.reasons(), ["policy_changed", "policy_changed"]);
}

#[test]
fn a_route_that_is_removed_counts_for_the_next_request_of_a_connection_that_stays() {
    let (spec, pair) = someone();
    let app = HttpApp::saying("ok");
    let route = |path: &str| format!("[[route]]\npath = \"{path}\"\nallow = [\"cf:app:{}\"]\n", spec.app);
    let front = by(&(route("/one") + &route("/other")), app.addr());
    let mut talk = front.talk_as(&pair);
    let of = |path: &str| GET.replace("GET /", &format!("GET {path}"));
    for path in ["/one", "/other/x"] {
        assert_eq!(talk.ask(&of(path)).text(), "ok");
    }
    front.backend.write_policy(&route("/one"));
    front.sidecar.wait_for("client CAs and rules reloaded");
    talk.ask(&of("/other/x")).is_ours(403, "path_not_allowed");
    assert_eq!(talk.ask(&of("/one")).text(), "ok");
    let routes: Vec<_> = front.requests(4).iter().map(|entry| entry["route"].clone()).collect();
    assert_eq!(routes[0], "/one");
    assert_eq!(routes[3], "/one");
    // One that is added counts as well.
    front.backend.write_policy(&(route("/one") + &route("/other")));
    front.sidecar.lines_eventually("client CAs and rules reloaded", 2);
    assert_eq!(talk.ask(&of("/other/x")).text(), "ok");
}

#[test]
fn a_client_whose_certificate_expires_is_answered_and_then_let_go() {
    let (spec, _) = someone();
    let short = issue(&InstanceSpec { validity: Duration::from_secs(3), ..spec });
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk_as(&short);
    assert_eq!(talk.ask(GET).text(), "ok");
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    drop(talk);
    let entry = front.sidecar.access_log_entry("peer_expired");
    assert!(entry["duration_ms"].as_f64().unwrap() < 4500.0, "{entry}");
}

#[test]
fn a_rotation_leaves_connections_as_they_are_and_new_ones_are_shown_the_new_pair() {
    let app = HttpApp::saying("ok");
    let mut front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    assert_eq!(talk.ask(GET).text(), "ok");
    let leaf = front.backend.credentials.rotate();
    front.sidecar.wait_for("certificate rotated");
    let answer = talk.ask(GET);
    assert_eq!((answer.text(), answer.says_close()), ("ok", false));
    let mut fresh: Talk = front.talk();
    assert_eq!(fresh.client.leaf(), leaf);
    assert_eq!(fresh.ask(GET).text(), "ok");
}
