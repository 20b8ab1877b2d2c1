//! `--tls off`: behind the platform's own proxy, which says who calls. Clients are the test's own, on loopback as that proxy is.

mod places;
mod protocols;
mod route_check;
mod web_socket;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use tempfile::TempDir;
use vestibule::issuer::{CertificateAuthority, Credential, InstanceSpec};

use crate::support::TEST_TIMEOUT;
use crate::support::credentials::{Credentials, issue, roots_pem};
use crate::support::http_app::HttpApp;
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};

/// `vestibule proxy` without TLS, in front of `app`, on a free port of 127.0.0.1, behind a router that says the truth.
fn plain(app: impl std::fmt::Display) -> Setup {
    let args = ["proxy", "--listen", "127.0.0.1:0", "--tls", "off", "--mode", "http", "--router-xfcc", "sanitize-set"];
    Setup::command(&args).arg("--app").arg(&app.to_string())
}

/// The file of the CAs of other apps, and its folder.
fn cas() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("ca.crt");
    fs::write(&ca, roots_pem()).unwrap();
    (dir, ca)
}

/// X-Forwarded-Client-Cert as gorouter writes it.
fn raw(credential: &Credential) -> String {
    let (_, rest) = credential.cert_pem.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    rest.split_once("-----END").unwrap().0.split_whitespace().collect()
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    stream
}

/// Asks on a connection of its own, with these lines in the head; status and the whole answer.
fn ask(addr: SocketAddr, fields: &str) -> (u16, String) {
    let mut stream = connect(addr);
    write!(stream, "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{fields}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

fn forwarded(credential: &Credential) -> String {
    format!("X-Forwarded-Client-Cert: {}\r\n", raw(credential))
}

/// The sidecar's entry of its only request.
fn request(sidecar: &Sidecar) -> serde_json::Value {
    sidecar.wait_for("request completed")
}

#[test]
fn whom_the_platforms_proxy_forwards_is_judged_and_what_it_writes_passes() {
    let (app, (_dir, ca)) = (HttpApp::saying("hello"), cas());
    let [a, b] = [InstanceSpec::generate().unwrap(), InstanceSpec::generate().unwrap()];
    let sidecar = plain(app.addr())
        .arg("--client-ca")
        .arg(ca.to_str().unwrap())
        .arg("--allow")
        .arg(&format!("cf:app:{}", a.app))
        .arg("--caller-headers")
        .start();
    let addr = sidecar.addr();
    let (admitted, other) = (issue(&a), issue(&b));
    let more = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Vestibule-App: forged\r\nX_Forwarded_Client_Cert: forged\r\n";
    assert_eq!(ask(addr, &format!("{}{more}", forwarded(&admitted))).0, 200);
    let entry = request(&sidecar);
    assert_eq!((&entry["client"], &entry["caller_app"]), (&"platform_proxy".into(), &a.app.to_string().into()));
    assert_eq!((&entry["caller_form"], &entry["caller_verified"]), (&"raw".into(), &true.into()));
    assert_eq!(
        (&entry["rule"], &entry["client_subject"]),
        (&format!("cf:app:{}", a.app).into(), &serde_json::Value::Null)
    );

    let (status, answer) = ask(addr, &forwarded(&other));
    assert!(status == 403 && answer.contains("denied"), "{answer}");
    let (status, answer) = ask(addr, "");
    assert!(status == 401 && answer.contains("certificate_required"), "{answer}");
    let foreign = CertificateAuthority::generate(SystemTime::now()).unwrap().issue(&a, SystemTime::now()).unwrap();
    let (status, answer) = ask(addr, &forwarded(&foreign));
    assert!(status == 403 && answer.contains("caller_untrusted"), "{answer}");
    let twice = format!("{}{}", forwarded(&admitted), forwarded(&other));
    let (status, answer) = ask(addr, &twice);
    assert!(status == 400 && answer.contains("xfcc_invalid"), "{answer}");

    let asked = app.asked();
    assert_eq!(asked.len(), 1, "whoever is refused does not reach the app");
    let head = asked[0].head.to_ascii_lowercase();
    for line in [
        format!("x-forwarded-client-cert: {}\r\n", raw(&admitted).to_ascii_lowercase()),
        "x-forwarded-for: 192.0.2.7\r\n".to_owned(),
        "x-forwarded-proto: https\r\n".to_owned(),
        format!("x-vestibule-app: {}\r\n", a.app),
        "x-vestibule-subject-kind: cf\r\n".to_owned(),
    ] {
        assert!(head.contains(&line), "{line} is not in {head}");
    }
    assert!(!head.contains("forged"), "{head}");
}

#[test]
fn without_a_named_ca_our_own_issuer_vouches_and_same_means_like_us() {
    let (app, credentials) = (HttpApp::saying("hello"), Credentials::new());
    let sidecar = plain(app.addr()).credentials(&credentials).arg("--allow").arg("cf:same:app").ready();
    let own = InstanceSpec { app: credentials.spec.app, ..InstanceSpec::generate().unwrap() };
    assert_eq!(ask(sidecar.addr(), &forwarded(&issue(&own))).0, 200);
    assert_eq!(ask(sidecar.addr(), &forwarded(&issue(&InstanceSpec::generate().unwrap()))).0, 403);
}

#[test]
fn no_pair_and_no_ca_are_needed_to_serve() {
    let app = HttpApp::saying("hello");
    let sidecar = plain(app.addr()).arg("--allow").arg("anonymous,cf:any").start();
    assert_eq!(ask(sidecar.addr(), "").0, 200);
    let (status, answer) = ask(sidecar.addr(), &forwarded(&issue(&InstanceSpec::generate().unwrap())));
    assert!(status == 403 && answer.contains("caller_untrusted"), "{answer}");
    // Of names alone the router's word counts.
    let named = "CN=x,OU=organization:1a12b29a-90c2-481b-b197-bc154f741e5d";
    let fields = format!("X-Forwarded-Client-Cert: Hash={};Subject=\"{named}\"\r\n", "0".repeat(64));
    assert_eq!(ask(sidecar.addr(), &fields).0, 200);
    assert_eq!(sidecar.lines_of("certificate loaded").len(), 0);
    let noise = sidecar.lines().into_iter().find(|line| line["level"] == "warn" || line["level"] == "error");
    assert_eq!(noise, None);
}

#[test]
fn a_health_check_without_a_byte_leaves_no_record() {
    let app = HttpApp::saying("hello");
    let sidecar = plain(app.addr()).arg("--allow").arg("anonymous").start();
    drop(connect(sidecar.addr()));
    let entry = sidecar.access_log_entry("probe");
    assert_eq!(entry["level"], "debug");
    assert!(app.asked().is_empty());
}

#[test]
fn what_cannot_be_meant_without_tls_ends_the_start_with_the_status_of_its_place() {
    let status = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(VESTIBULE);
        command.args(["proxy", "--mode", "http", "--allow", "anonymous", "--listen", "127.0.0.1:0"]).args(args);
        let output = command.env_clear().envs(variables.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = status(&["--tls", "off", "--alpn", "h2"], &[]);
    assert!(code == Some(2) && said.contains("--alpn: has no meaning with --tls off"), "{code:?} {said}");
    let (code, said) = status(&["--tls", "off"], &[("VESTIBULE_TLS_MIN", "1.3")]);
    assert!(code == Some(78) && said.contains("VESTIBULE_TLS_MIN: has no meaning with --tls off"), "{code:?} {said}");
}
