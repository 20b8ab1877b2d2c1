//! What is shown of listeners that speak HTTP.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::{all_is_on, calling, json as shown, page, text_of};
use crate::health::{admin, proxy};
use crate::support::credentials::{Credentials, issue, roots_pem};
use crate::support::http_app::HttpApp;
use crate::support::{app, eventually};

#[test]
fn a_listener_that_speaks_http_says_how_and_counts_requests_by_their_answers() {
    let credentials = Credentials::new();
    let files = TempDir::new().unwrap();
    let (ca, policy) = (files.path().join("ca.crt"), files.path().join("policy.toml"));
    fs::write(&ca, roots_pem()).unwrap();
    fs::write(&policy, "[[route]]\npath = '/hello'\nallow = ['cf:same:space']\n").unwrap();
    let app = HttpApp::saying("hello");
    let mut setup = proxy(&credentials, app.addr());
    for arg in ["--mode", "http", "--client-ca", ca.to_str().unwrap(), "--policy", policy.to_str().unwrap()] {
        setup = setup.arg(arg);
    }
    for arg in ["--xfcc-form", "rfc9440", "--xfcc-forward-from", "dns:router.example", "--router-xfcc", "forward"] {
        setup = setup.arg(arg);
    }
    let sidecar = setup.ready();
    let friend = issue(&credentials.spec.sibling().unwrap());
    for (path, status) in [("/hello", "200"), ("/other", "403"), ("/hello", "200")] {
        let mut client = calling(&credentials, &friend).connect(sidecar.addr()).unwrap();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let answer = String::from_utf8(client.receive_all().0).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    eventually("the entries", || (sidecar.lines_of("request completed").len() == 3).then_some(()));

    let admin = admin(&sidecar);
    let seen = shown(admin);
    assert_eq!(
        seen["listeners"][0]["http"],
        json!({
            "app_protocol": "http1",
            "xfcc": "sanitize-set",
            "xfcc_forms": ["rfc9440"],
            "forward_from": { "rules": ["dns:router.example"], "more": 0 },
            "router_xfcc": "forward",
            "requests": {
                "total": 3, "active": 0, "upgraded": 0, "retries": 0,
                "classes": [{ "class": "2xx", "count": 2 }, { "class": "4xx", "count": 1 }],
                "failures": [{ "reason": "path_not_allowed", "count": 1 }],
            },
        })
    );
    let page = page(admin);
    all_is_on(&page, &seen);
    let text: String = text_of(&page).split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "speaks HTTP, and http1 to the app",
        "requests 0 now, 3 so far, 2 2xx, 1 4xx; 0 sent twice, 0 upgraded now",
        "failed 1 path_not_allowed",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
}

#[test]
fn a_listener_that_carries_bytes_has_no_requests() {
    let credentials = Credentials::new();
    let sidecar = proxy(&credentials, app::echo()).ready();
    let admin = admin(&sidecar);
    assert!(shown(admin)["listeners"][0]["http"].is_null());
    assert!(!text_of(&page(admin)).contains("speaks"));
}
