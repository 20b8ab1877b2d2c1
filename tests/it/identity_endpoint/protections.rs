//! Each protection, left out alone: nothing else stands between a stranger and a token.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{ASKED, Answer, Endpoint, exists, post};
use crate::support::credentials::Credentials;
use crate::support::machine::lacks;
use crate::support::sidecar::Setup;
use crate::support::{app, eventually, within};

/// `GET /token?audience=vault` with these fields.
fn get(fields: &str) -> String {
    format!("GET /token?audience=vault HTTP/1.1\r\n{fields}\r\n")
}

#[test]
fn with_any_one_of_the_headers_wrong_there_is_no_token() {
    let endpoint = Endpoint::new();
    let host = "Host: localhost\r\n";
    for (fields, expected) in [
        (format!("{host}{ASKED}\r\n"), None),
        (format!("{ASKED}\r\nHost: 127.0.0.1:80\r\n"), None),
        (format!("{ASKED}\r\nHost: evil.example\r\n"), Some((421, "misdirected"))),
        (format!("{ASKED}\r\nHost: 10.0.0.1\r\n"), Some((421, "misdirected"))),
        (host.to_owned(), Some((412, "header_missing"))),
        (format!("{host}X-Identity-Request: 1\r\n"), Some((412, "header_missing"))),
        (format!("{host}{ASKED}\r\n{ASKED}\r\n"), Some((412, "header_missing"))),
        (format!("{host}{ASKED}\r\nX-Forwarded-For: 10.0.0.1\r\n"), Some((403, "forwarded"))),
        (format!("{host}{ASKED}\r\nx-forwarded-proto: https\r\n"), Some((403, "forwarded"))),
        (format!("{host}{ASKED}\r\nForwarded: for=10.0.0.1\r\n"), Some((403, "forwarded"))),
        (format!("{host}{ASKED}\r\nVia: 1.1 proxy\r\n"), Some((403, "forwarded"))),
        (format!("{host}{ASKED}\r\nOrigin: http://localhost\r\n"), Some((403, "forwarded"))),
        (format!("{host}{ASKED}\r\nSec-Fetch-Site: same-origin\r\n"), Some((403, "forwarded"))),
    ] {
        let answer = endpoint.ask(&get(&fields));
        match expected {
            None => assert!(!answer.token().is_empty()),
            Some((status, error)) => {
                assert_eq!(answer.error(), (status, error.to_owned()), "{fields}");
                assert!(!answer.head.contains("access-control-allow"), "{answer:?}");
            }
        }
    }
}

#[test]
fn the_first_protection_that_refuses_is_the_one_that_is_told() {
    let endpoint = Endpoint::new();
    let all = "Host: evil.example\r\nVia: 1.1 x\r\n";
    let ask = |fields: &str| endpoint.ask(&format!("PUT /nothing HTTP/1.1\r\n{fields}\r\n")).error().1;
    assert_eq!(ask(all), "misdirected");
    assert_eq!(ask("Host: localhost\r\nVia: 1.1 x\r\n"), "forwarded");
    assert_eq!(ask("Host: localhost\r\n"), "header_missing");
    assert_eq!(ask(&format!("Host: localhost\r\n{ASKED}\r\n")), "not_found");
}

#[test]
fn paths_and_methods_that_are_not_there_are_named() {
    let endpoint = Endpoint::new();
    let ask = |start: &str| endpoint.ask(&format!("{start} HTTP/1.1\r\nHost: localhost\r\n{ASKED}\r\n\r\n"));
    let unknown = ask("GET /v1/token");
    assert_eq!(unknown.error(), (404, "not_found".to_owned()));
    assert!(unknown.body.contains("GET /identity") && unknown.body.contains("POST /token"), "{unknown:?}");
    for (start, allow) in [
        ("PUT /token", "allow: get, post"),
        ("DELETE /token", "allow: get, post"),
        ("OPTIONS /token", "allow: get, post"),
        ("POST /identity", "allow: get"),
        ("OPTIONS /identity", "allow: get"),
    ] {
        let answer = ask(start);
        assert_eq!(answer.error(), (405, "method_not_allowed".to_owned()), "{start}");
        assert!(answer.head.contains(&format!("{allow}\r\n")) || answer.head.ends_with(allow), "{answer:?}");
    }
    assert_eq!(endpoint.ask(&post("/verify", "{}")).error(), (404, "not_found".to_owned()), "no --token-ca");
}

#[test]
fn another_user_gets_nothing_and_is_not_even_heard() {
    if !rustix::process::geteuid().is_root() {
        return lacks("root");
    }
    // Others reach the socket file, and the kernel says who they are.
    let credentials = Credentials::new();
    std::fs::set_permissions(credentials.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let endpoint = Endpoint::with(credentials, |setup| setup.arg("--identity-peer-uid=0,4242"));
    let mode = |endpoint: &Endpoint| std::fs::metadata(endpoint.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&endpoint), 0o666);
    let ask = |uid: u32, text: &str| {
        let script = "$s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $!; print $s $ARGV[1]; print while <$s>";
        let uid = uid.to_string();
        let asked = Command::new("setpriv")
            .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "perl", "-MIO::Socket::UNIX", "-e", script])
            .args([endpoint.socket().to_str().unwrap(), text])
            .output()
            .unwrap();
        Answer::read(&asked.stdout[..])
    };
    let good = get(&format!("Host: localhost\r\n{ASKED}\r\n"));
    assert!(!ask(4242, &good).token().is_empty());
    assert!(!endpoint.ask(&good).token().is_empty());
    for text in [good.as_str(), "not HTTP at all\r\n\r\n"] {
        assert_eq!(ask(4243, text).error(), (403, "peer_not_allowed".to_owned()));
    }
    let refused = endpoint.sidecar.lines_eventually("token request refused", 2);
    assert!(refused.iter().all(|line| line["peer_uid"] == 4243), "{refused:#?}");

    // Those who may ask do not wait behind those who may not, and who stay for as long as they can.
    let script =
        "for (1..500) { push @s, IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $! } print 1; close STDOUT; <STDIN>";
    within(Duration::from_secs(5), || {
        let mut lingering = Command::new("setpriv")
            .args(["--reuid", "4243", "--regid", "4243", "--clear-groups", "perl", "-MIO::Socket::UNIX", "-e", script])
            .arg(endpoint.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let began = Instant::now();
        let connected = std::io::read_to_string(lingering.stdout.take().unwrap()).unwrap();
        assert_eq!(connected, "1", "it has connected 500 times");
        assert!(!endpoint.ask(&good).token().is_empty());
        let took = began.elapsed();
        drop(lingering.stdin.take());
        lingering.wait().unwrap();
        took
    });

    let own = Endpoint::new();
    assert_eq!(mode(&own), 0o600);
}

#[test]
fn a_socket_file_is_nowhere_where_others_could_put_theirs_and_in_the_place_of_no_other_file() {
    let credentials = Credentials::new();
    let start = |path: &Path| {
        let mut sidecar = Setup::proxy(&credentials, app::nobody())
            .arg(&format!("--identity-listen=unix:{}", path.display()))
            .arg("--identity-audience=vault")
            .start();
        let status = sidecar.exited();
        let said: Vec<_> = sidecar.lines().iter().map(|line| line.to_string()).collect();
        (status.code(), said.join("\n"))
    };
    let open = credentials.dir().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (status, said) = start(&open.join("s"));
    assert!(status != Some(0) && said.contains("others may write in its folder"), "{status:?} {said}");
    let file = credentials.dir().join("file");
    std::fs::write(&file, "somebody's").unwrap();
    let (status, said) = start(&file);
    assert!(status != Some(0) && said.contains("there is a file that is no socket"), "{status:?} {said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's");
}

#[test]
fn root_is_no_exception_where_others_are_named() {
    if !rustix::process::geteuid().is_root() {
        return lacks("root");
    }
    let endpoint = Endpoint::with(Credentials::new(), |setup| setup.arg("--identity-peer-uid=4242"));
    assert_eq!(endpoint.get("/identity").error(), (403, "peer_not_allowed".to_owned()));
}

#[test]
fn over_tcp_only_who_can_read_the_file_of_this_start_is_answered() {
    let credentials = Credentials::new();
    let file = credentials.dir().join("secret");
    let start = || {
        let sidecar = Setup::proxy(&credentials, app::nobody())
            .arg("--identity-listen=127.0.0.1:0")
            .arg("--identity-audience=vault")
            .arg(&format!("--identity-token-file={}", file.display()))
            .ready();
        let at = sidecar.wait_for("identity endpoint listening")["identity_endpoint"].as_str().unwrap().to_owned();
        (sidecar, at.strip_prefix("http://").unwrap().parse().unwrap())
    };
    let (first, _) = start();
    let old = std::fs::read_to_string(&file).unwrap();
    drop(first);
    let (sidecar, addr) = start();
    let secret = std::fs::read_to_string(&file).unwrap();
    assert_ne!(old, secret, "new at each start");
    assert_eq!((secret.len(), std::fs::metadata(&file).unwrap().permissions().mode() & 0o777), (64, 0o400));
    let ask = |authorization: &str| Answer::at(addr, &get(&format!("Host: {addr}\r\n{ASKED}\r\n{authorization}")));
    for wrong in [
        String::new(),
        format!("Authorization: Bearer {old}\r\n"),
        format!("Authorization: Basic {secret}\r\n"),
        format!("Authorization: Bearer {}\r\n", &secret[..63]),
        format!("Authorization: Bearer {secret}\r\nAuthorization: Bearer {secret}\r\n"),
    ] {
        let answer = ask(&wrong);
        assert_eq!(answer.error(), (401, "unauthorized".to_owned()), "{wrong}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
    }
    let token = ask(&format!("Authorization: Bearer {secret}\r\n")).token();
    let log = eventually("the line", || {
        let lines = sidecar.lines();
        lines.iter().any(|line| line["message"] == "token issued").then(|| format!("{lines:?}"))
    });
    for kept in [&secret, &old, &token, token.rsplit('.').next().unwrap()] {
        assert!(!log.contains(kept), "{kept} in {log}");
    }
    assert!(exists(&file));
}
