//! Clients that ask for names that are none: one certificate serves them all.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use vestibule::issuer::InstanceSpec;

use crate::support::app;
use crate::support::credentials::{Credentials, issue, roots_pem};
use crate::support::sidecar::{Setup, Sidecar};

/// Not one of them is a DNS name as rustls reads it.
const ODD: [&str; 9] = [
    "[::1]",
    "[shop.example.com]",
    "shop.example.com:8443",
    "1.2.3",
    "app-.example.com",
    "-app.example.com",
    "schön.example",
    "two words",
    "a..b",
];

/// What `openssl s_client` gets back of a line that it sends.
fn ask(sidecar: &Sidecar, name: &str, args: &[&str]) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &sidecar.addr().to_string(), "-servername", name])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the openssl program; install it");
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    let answered = client.stdout.take().unwrap().read_exact(&mut answer);
    // It waits for the other side to end, which waits for it.
    client.kill().unwrap();
    client.wait().unwrap();
    answered.unwrap_or_else(|error| panic!("{name:?} {args:?}: {error}; {:#?}", sidecar.lines()));
    String::from_utf8_lossy(&answer).into_owned()
}

fn longest_label() -> String {
    format!("{}.example.com", "l".repeat(64))
}

#[test]
fn a_name_that_cannot_be_used_counts_as_absent() {
    let sidecar = Setup::proxy(&Credentials::new(), app::echo()).ready();
    let long = longest_label();
    let names: Vec<&str> = ODD.iter().copied().chain([&*long]).collect();
    // P-521 is not spoken: the client is asked for another ClientHello, which has the name as well.
    let manners: [&[&str]; 4] = [
        &["-tls1_3"],
        &["-tls1_2"],
        &["-tls1_3", "-groups", "P-521:P-256"],
        &["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
    ];
    for name in &names {
        for manner in manners {
            assert_eq!(ask(&sidecar, name, manner), "hello\n");
        }
    }
    let entries: Vec<_> = sidecar.lines_of("connection closed");
    assert!(
        entries.iter().all(|entry| entry.get("server_name").is_none_or(serde_json::Value::is_null)),
        "{entries:#?}"
    );
    assert!(sidecar.reasons().iter().all(|reason| reason != "handshake_failed"), "{:?}", sidecar.reasons());
}

#[test]
fn the_client_certificate_of_one_who_asks_for_such_a_name_is_verified_and_its_session_resumed() {
    let credentials = Credentials::new();
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let pair = issue(&InstanceSpec::generate().unwrap());
    fs::write(at("ca.crt"), roots_pem()).unwrap();
    fs::write(at("client.crt"), &pair.cert_pem).unwrap();
    fs::write(at("client.key"), &pair.key_pem).unwrap();
    let sidecar =
        Setup::proxy(&credentials, app::echo()).arg("--client-ca").arg(&at("ca.crt")).arg("--allow=cf:any").ready();
    let shown = ["-cert", &at("client.crt"), "-cert_chain", &at("client.crt"), "-key", &at("client.key")];
    for version in ["-tls1_2", "-tls1_3"] {
        let session = at(version);
        let first: Vec<&str> = shown.iter().copied().chain([version, "-sess_out", &session]).collect();
        assert_eq!(ask(&sidecar, "[::1]", &first), "hello\n");
        let second: Vec<&str> = shown.iter().copied().chain([version, "-sess_in", &session]).collect();
        assert_eq!(ask(&sidecar, "app-.example.com", &second), "hello\n");
    }
    let resumed = |version: &str| {
        sidecar.wait_until("a resumption", |line| line["resumed"] == true && line["tls_version"] == version)["verdict"]
            .clone()
    };
    assert_eq!([resumed("TLSv1_2"), resumed("TLSv1_3")], ["permit", "permit"]);
}

#[test]
fn a_name_that_can_be_used_is_on_the_record() {
    let sidecar = Setup::proxy(&Credentials::new(), app::echo()).ready();
    for name in ["shop.example.com", "under_score.example", "xn--schn-7qa.example", "UPPER.example"] {
        assert_eq!(ask(&sidecar, name, &[]), "hello\n");
        sidecar.wait_until(name, |line| line["server_name"] == name.to_ascii_lowercase());
    }
}
