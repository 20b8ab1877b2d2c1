//! Where a request comes from, and by which proxies.

use super::{Front, fields};
use crate::support::http_app::HttpApp;

/// What has come by way of others, if they are to be believed.
const FORWARDED: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n\
    X-Forwarded-Proto: http\r\nForwarded: for=1.2.3.4\r\nVia: 1.0 theirs\r\n\r\n";

fn head(options: &str) -> String {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), options);
    front.talk().ask(FORWARDED);
    app.asked()[0].head.clone()
}

#[test]
fn the_address_of_the_client_stands_behind_what_came_alone_or_nowhere() {
    for (how, said) in [
        ("append", vec!["1.2.3.4, 5.6.7.8, 127.0.0.1"]),
        ("set", vec!["127.0.0.1"]),
        ("pass", vec!["1.2.3.4", "5.6.7.8"]),
    ] {
        let head = head(&format!("--forwarded-for {how}"));
        assert_eq!(fields(&head, "x-forwarded-for"), said, "{how}");
        assert_eq!(fields(&head, "x-forwarded-proto"), ["https"]);
        assert!(fields(&head, "forwarded").is_empty(), "{head}");
        assert_eq!(fields(&head, "via"), ["1.0 theirs"]);
    }
}

#[test]
fn forwarded_and_via_are_written_where_they_are_asked_for() {
    let head = head("--forwarded on --via vestibule");
    assert_eq!(fields(&head, "forwarded"), ["for=127.0.0.1;proto=https"]);
    assert_eq!(fields(&head, "via"), ["1.0 theirs", "1.1 vestibule"]);
}
