//! What cannot be resolved: status 69, a sentence that says what to do, and no app.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use super::{Instance, Outcome};
use crate::support::credhub::{CredHub, Said, error};

const DOCUMENT: &str = r#"{"a":[{"name":"db","credentials":{"credhub-ref":"((/c/db))"}},{"name":"mail","credentials":{"credhub-ref":"((/c/mail))"}}]}"#;

const SENTENCE: &str = "Unable to interpolate credhub refs: ";

fn failing(credhub: &CredHub) -> Outcome {
    let instance = Instance::new();
    instance.outcome(instance.with_credhub(credhub).env("VCAP_SERVICES", DOCUMENT))
}

#[test]
fn what_is_missing_is_named_though_credhub_does_not_name_it() {
    let credhub = CredHub::knowing(&[("/c/db", json!({ "password": "S3cret" }))]);
    let outcome = failing(&credhub);
    let failure = outcome.failure();
    assert!(failure.starts_with(&format!("{SENTENCE}service \"mail\" refers to /c/mail: https://")), "{failure}");
    assert!(failure.contains("404") && failure.contains("bind the service again, or grant mtls-app:"), "{failure}");
    assert!(!failure.contains("/c/db") && !outcome.log.contains("S3cret"), "{failure}");
    // Once for all, and once for each.
    assert_eq!(credhub.asked().len(), 3);
}

#[test]
fn what_credhub_says_is_not_repeated_where_it_says_what_it_was_sent() {
    let document = r#"{"mine":[{"name":"queue","credentials":{"password":"plain-S3cret"}}],"a":[{"name":"db","credentials":{"credhub-ref":"((/c/db))"}}]}"#;
    for status in [400, 404, 500] {
        let instance = Instance::new();
        let credhub = CredHub::start(move |asked| {
            error(status, &format!("cannot read {}", String::from_utf8_lossy(&asked.body)))
        });
        let outcome = instance.outcome(instance.with_credhub(&credhub).env("VCAP_SERVICES", document));
        let failure = outcome.failure();
        assert!(failure.contains("(what we sent)") && !failure.contains("plain-S3cret"), "{failure}");
    }
}

#[test]
fn each_answer_that_is_none_has_its_sentence_and_the_tries_that_help() {
    let huge = || Said::Json(200, format!("{{\"a\":\"{}\"}}", "x".repeat(9 * 1024 * 1024)));
    type Script = Box<dyn Fn() -> Said + Send + Sync>;
    let cases: [(Script, &[&str], usize); 19] = [
        (Box::new(|| Said::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())), &["the answer is no HTTP", "is a CredHub"], 1),
        (Box::new(|| error(409, "no")), &["409: no", "CredHub's log"], 1),
        (
            Box::new(|| {
                error(
                    400,
                    "The credential '/c/db' is not the expected type. A credhub-ref credential must be of type 'JSON'.",
                )
            }),
            &["400", "'/c/db' is not the expected type", "must point to a credential of type json"],
            1,
        ),
        (
            Box::new(|| {
                Said::Json(401, r#"{"error":"invalid_token","error_description":"no\u001b[31mway"}"#.to_owned())
            }),
            &["401: invalid_token: no\\u{1b}[31mway", "it was shown the certificate of app ", "see CredHub's log"],
            1,
        ),
        (Box::new(|| error(403, "no")), &["403: no", "it was shown the certificate of app "], 1),
        (Box::new(|| error(400, "The request is malformed.")), &["400: The request is malformed."], 1),
        (Box::new(|| error(503, "read only mode")), &["503: read only mode (after 3 tries)"], 3),
        (Box::new(|| error(413, "too large")), &["413"], 1),
        (Box::new(|| error(500, "a missing key")), &["500: a missing key (after 3 tries)", "CredHub's log"], 3),
        (Box::new(|| Said::Json(429, "S3cret".to_owned())), &["429 (after 3 tries)", "too much to do"], 3),
        (
            Box::new(|| {
                Said::Raw(b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec())
            }),
            &["302", "no redirect is followed"],
            1,
        ),
        (
            Box::new(|| Said::Json(200, "<html>S3cret".to_owned())),
            &["the answer is not JSON: line 1", "is a CredHub"],
            1,
        ),
        (Box::new(|| Said::Json(200, DOCUMENT.to_owned())), &["leaves the reference of service \"db\" as it was"], 1),
        (
            Box::new(|| Said::Json(200, r#"{"a":[{"credentials":{"p":"S3cret"}}]}"#.to_owned())),
            &["no credentials for service \"mail\""],
            1,
        ),
        (
            Box::new(|| Said::Json(200, r#"{"a":[{"credentials":{}},{"credentials":"S3cret"}]}"#.to_owned())),
            &["no credentials for service \"mail\""],
            1,
        ),
        (Box::new(huge), &["larger than 8388608 bytes", "is a CredHub"], 1),
        (
            Box::new(|| {
                let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
                Said::Raw(
                    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(9)).into_bytes(),
                )
            }),
            &["larger than 8388608 bytes"],
            1,
        ),
        (Box::new(|| Said::Raw(Vec::new())), &["no whole answer", "(after 3 tries)", "security group"], 3),
        (
            Box::new(|| Said::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"S3cret".to_vec())),
            &["no whole answer"],
            3,
        ),
    ];
    for (script, said, tries) in cases {
        let credhub = CredHub::start(move |_| script());
        let outcome = failing(&credhub);
        let failure = outcome.failure();
        assert!(failure.starts_with(SENTENCE), "{failure}");
        for text in said {
            assert!(failure.contains(text), "{text} in {failure}");
        }
        assert!(!outcome.log.contains("S3cret"), "{}", outcome.log);
        assert_eq!(credhub.asked().len(), tries, "{failure}");
    }
}

#[test]
fn a_server_that_is_not_the_one_meant_is_told_nothing() {
    let instance = Instance::new();
    let other = CredHub::knowing(&[]);
    let credhub = CredHub::knowing(&[]);
    let ca = other.ca();
    let setup = instance.resolving("credhub", &["--credhub-url", &credhub.url(), "--credhub-ca", ca.to_str().unwrap()]);
    let outcome = instance.outcome(setup.env("VCAP_SERVICES", DOCUMENT));
    let failure = outcome.failure();
    assert!(failure.contains(ca.to_str().unwrap()) && failure.contains("--credhub-ca"), "{failure}");

    let credhub = CredHub::named("credhub.example", |_| Said::Nothing);
    let outcome = instance.outcome(instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT));
    let failure = outcome.failure();
    assert!(failure.contains("credhub.example"), "{failure}");
    assert_eq!((credhub.asked().len(), other.asked().len()), (0, 0));
}

#[test]
fn nobody_who_listens_and_nobody_who_answers_are_said_with_the_tries() {
    let instance = Instance::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let credhub = CredHub::start(|_| Said::Nothing);
    let pem = credhub.ca();
    let setup = instance
        .resolving("credhub", &["--credhub-url", &format!("https://{closed}"), "--credhub-ca", pem.to_str().unwrap()]);
    let outcome = instance.outcome(setup.env("VCAP_SERVICES", DOCUMENT));
    assert!(
        outcome.failure().contains("refused the connection (after 3 tries); see whether CredHub runs"),
        "{}",
        outcome.failure()
    );

    let setup =
        instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT).env("VESTIBULE_CREDHUB_TIMEOUT", "700ms");
    let outcome = instance.outcome(setup);
    assert!(outcome.failure().contains("no answer within 700ms"), "{}", outcome.failure());
    let setup =
        instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT).env("VESTIBULE_RESOLVE_TIMEOUT", "300ms");
    let outcome = instance.outcome(setup);
    let failure = outcome.failure();
    assert!(
        failure.contains("not resolved within 300ms: no answer for the credhub refs of VCAP_SERVICES"),
        "{failure}"
    );
    assert!(failure.contains("--resolve-timeout"), "{failure}");
}

#[test]
fn an_answer_that_drips_is_waited_for_no_longer_than_for_one_that_does_not_come() {
    let instance = Instance::new();
    let credhub = CredHub::start(|_| Said::Dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{"));
    let setup =
        instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT).env("VESTIBULE_CREDHUB_TIMEOUT", "900ms");
    let outcome = instance.outcome(setup);
    assert!(outcome.failure().contains("no answer within 900ms"), "{}", outcome.failure());
    let credhub = CredHub::start(|_| Said::Dripping(b"HTTP/1.1 2"));
    let setup =
        instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT).env("VESTIBULE_CREDHUB_TIMEOUT", "900ms");
    let outcome = instance.outcome(setup);
    assert_eq!(outcome.status.code(), Some(69), "{}", outcome.log);
    assert!(outcome.environment.is_none());
}

/// A server that takes whatever comes for a bad request.
pub(crate) fn without_tls() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    addr
}

#[test]
fn a_server_that_speaks_no_tls_is_told_nothing() {
    let instance = Instance::new();
    let credhub = CredHub::knowing(&[]);
    let (url, ca) = (format!("https://{}", without_tls()), credhub.ca());
    let setup = instance.resolving("credhub", &["--credhub-url", &url, "--credhub-ca", ca.to_str().unwrap()]);
    let outcome = instance.outcome(setup.env("VCAP_SERVICES", DOCUMENT));
    assert!(outcome.failure().contains("does not speak TLS"), "{}", outcome.failure());
}

#[test]
fn a_start_without_a_certificate_to_show_ends_as_elsewhere() {
    let instance = Instance::new();
    std::fs::remove_file(instance.credentials.key()).unwrap();
    let credhub = CredHub::knowing(&[]);
    let setup =
        instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT).env("VESTIBULE_CREDENTIAL_TIMEOUT", "300ms");
    let outcome = instance.outcome(setup);
    assert_eq!((outcome.status.code(), outcome.environment.is_none()), (Some(66), true));
    assert_eq!(credhub.asked().len(), 0);
}

#[test]
fn what_is_wrong_in_the_environment_is_said_before_anything_is_opened() {
    let instance = Instance::new();
    let mut sidecar = instance
        .resolving("credhub,file", &[])
        .env("ONE", "credhub:hidden")
        .env("TWO", "credhub:/hidden")
        .env("THREE", "file:/hidden/")
        .env("VCAP_SERVICES", "{\"hidden")
        .env("VCAP_SERVICES_FILE_PATH", "/nowhere/at/all")
        .start();
    assert_eq!(sidecar.exited().code(), Some(78));
    let said: Vec<_> = sidecar.lines().iter().map(ToString::to_string).collect();
    let said = said.join("\n");
    for name in [
        "ONE: has no name",
        "TWO: refers to CredHub",
        "THREE: names no file",
        "VCAP_SERVICES: is not JSON: line 1",
        "VCAP_SERVICES_FILE_PATH: /nowhere",
    ] {
        assert!(said.contains(name), "{name} in {said}");
    }
    assert!(!said.contains("hidden") && !said.contains("listening") && !instance.out().exists(), "{said}");
}
