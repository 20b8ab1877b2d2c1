//! Servers that are slow, large, or not the ones meant.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{options, path, paths, run, said, url, vault};
use crate::app_secrets::Instance;
use crate::app_secrets::failures::without_tls;
use crate::support::credhub::{CredHub, Said};
use crate::support::http_app::Reply;

const REFERENCE: &str = "vault:secret/data/app#password";

/// Sends the beginning of an answer, and then a blank each 20 ms, for as long as anybody listens.
fn drip(mut stream: TcpStream) {
    let mut text = &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..];
    while stream.write_all(text).is_ok() {
        text = b"1\r\n \r\n";
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_answer_that_drips_ends_with_the_time_for_all_or_with_a_stop() {
    for at in ["/v1/auth/jwt/login", "/v1/secret/data/app"] {
        let dripping = move |asked: &super::Asked| (path(asked) == at).then_some(Reply::HandOver(drip));
        let (instance, server) = (Instance::new(), vault(dripping));
        let outcome = instance.outcome(run(&instance, &server, &["--resolve-timeout", "1s"]).env("A", REFERENCE));
        let failure = outcome.failure();
        assert!(failure.contains("not resolved within 1s: no answer for vault:secret/data/app"), "{failure}");

        let (instance, server) = (Instance::new(), vault(dripping));
        let sidecar = run(&instance, &server, &["--resolve-timeout", "90s"]).env("A", REFERENCE).start();
        crate::support::eventually("the question", || {
            paths(&server).iter().any(|path| at.ends_with(path)).then_some(())
        });
        let began = Instant::now();
        sidecar.signal("TERM");
        let outcome = instance.ended(sidecar);
        assert_eq!((outcome.status.code(), outcome.environment), (Some(0), None), "{}", outcome.log);
        // The token is let go, for which there are two seconds.
        assert!(began.elapsed() < crate::support::TEST_TIMEOUT, "{:?}: it waits for the answer", began.elapsed());
    }
}

#[test]
fn an_answer_that_has_no_end_is_too_large_by_what_came() {
    fn pour(mut stream: TcpStream) {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    }
    let (instance, server) =
        (Instance::new(), vault(|asked| (path(asked) == "/v1/secret/data/app").then_some(Reply::HandOver(pour))));
    let outcome = instance.outcome(run(&instance, &server, &[]).env("A", REFERENCE));
    assert!(outcome.failure().contains("larger than 1048576 bytes"), "{}", outcome.failure());
    assert!(!outcome.log.contains("xxxxxxxx"));
}

#[test]
fn a_head_that_has_no_end_is_too_large_as_well() {
    fn pour(mut stream: TcpStream) {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n").is_ok() {}
    }
    let (instance, server) =
        (Instance::new(), vault(|asked| (path(asked) == "/v1/secret/data/app").then_some(Reply::HandOver(pour))));
    let outcome = instance.outcome(run(&instance, &server, &["--resolve-timeout", "3s"]).env("A", REFERENCE));
    assert!(outcome.failure().contains("secret/data/app"), "{}", outcome.failure());
    assert!(!outcome.log.contains("xxxxxxxx"), "{}", outcome.log);
}

#[test]
fn a_server_for_which_another_ca_vouches_is_told_nothing_and_the_option_is_named() {
    let (instance, server, other) =
        (Instance::new(), CredHub::start(|_| Said::Nothing), CredHub::start(|_| Said::Nothing));
    let (address, ca) = (server.url(), other.ca());
    let words = [&options(&address)[..], &["--vault-ca", ca.to_str().unwrap()]].concat();
    let outcome = instance.outcome(instance.resolving("vault", &words).env("A", REFERENCE));
    let failure = outcome.failure();
    assert!(failure.contains(ca.to_str().unwrap()) && failure.contains("--vault-ca"), "{failure}");
    assert_eq!(server.asked().len(), 0);

    let server = CredHub::named("vault.example", |_| Said::Nothing);
    let (address, ca) = (server.url(), server.ca());
    let words = [&options(&address)[..], &["--vault-ca", ca.to_str().unwrap()]].concat();
    let outcome = instance.outcome(instance.resolving("vault", &words).env("A", REFERENCE));
    assert!(outcome.failure().contains("vault.example"), "{}", outcome.failure());
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn nobody_who_listens_and_a_server_without_tls_are_told_apart() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, said) in [
        (format!("https://{closed}"), "refused the connection"),
        (format!("https://{}", without_tls()), "does not speak TLS"),
    ] {
        let instance = Instance::new();
        let ca = instance.path("ca");
        std::fs::write(&ca, crate::support::credentials::roots_pem()).unwrap();
        let words = [&options(&address)[..], &["--vault-ca", ca.to_str().unwrap(), "--resolve-timeout", "1s"]].concat();
        let outcome = instance.outcome(instance.resolving("vault", &words).env("A", REFERENCE));
        let failure = outcome.failure();
        // It is tried until the time is over, and what was found is said meanwhile.
        assert!(failure.contains("not resolved within 1s") && outcome.log.contains(said), "{said}: {}", outcome.log);
    }
}

#[test]
fn a_token_that_is_gone_at_its_renewal_is_replaced_by_another_login() {
    let instance = Instance::new();
    let server = vault(|asked| match path(asked) {
        "/v1/auth/jwt/login" => Some(said(
            200,
            &serde_json::json!({ "auth": { "client_token": "hvs.short", "lease_duration": 3, "renewable": true } }),
        )),
        "/v1/auth/token/renew-self" => Some(super::refused(403, &["permission denied"])),
        "/v1/database/creds/app" => Some(said(
            200,
            &serde_json::json!({ "lease_id": "l", "lease_duration": 3600, "renewable": true, "data": { "p": "x" } }),
        )),
        _ => None,
    });
    let address = url(&server);
    let setup = instance.running("vault", &options(&address), &["sleep", "60"]).env("A", "vault:database/creds/app#p");
    let sidecar = setup.start();
    crate::support::eventually("a second login", || {
        (paths(&server).iter().filter(|path| *path == "auth/jwt/login").count() >= 2).then_some(())
    });
    sidecar.signal("TERM");
    instance.ended(sidecar);
}
