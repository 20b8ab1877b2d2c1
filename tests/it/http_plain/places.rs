//! Who may connect, and where the app is.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use vestibule::issuer::InstanceSpec;

use super::{ask, connect, plain};
use crate::support::app::{self, App};
use crate::support::client::connector;
use crate::support::credentials::{Credentials, issue};
use crate::support::diego::sds_pair;
use crate::support::http_app::HttpApp;
use crate::support::machine::in_namespaces;
use crate::support::sidecar::Setup;
use crate::support::{TEST_TIMEOUT, eventually};

/// A connection to `to` from `from`, whose first bytes have been sent.
fn from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into())?;
    socket.connect(&to.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TEST_TIMEOUT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    Ok(stream)
}

/// The first bytes of the answer to whoever connects `to` from there.
fn answer(source: &str, to: SocketAddr) -> std::io::Result<String> {
    let mut bytes = [0; 12];
    from(source, to)?.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Answers the next request that reaches `app`, once it is there.
fn answer_one(app: &App) {
    let mut connection = app.accept();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    connection.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
}

#[test]
fn whoever_comes_from_another_address_is_reset_and_nothing_reaches_the_app() {
    const TEST: &str = "http_plain::places::whoever_comes_from_another_address_is_reset_and_nothing_reaches_the_app";
    let prepare = "ip link set lo up && ip address add 10.9.0.1/32 dev lo && ip address add 10.9.0.2/32 dev lo";
    if !in_namespaces(TEST, &["--net"], prepare, Path::new("/")) {
        return;
    }
    let app = App::start();
    let serving = |listen: &str, more: &[&str]| {
        let args = ["proxy", "--listen", listen, "--tls", "off", "--mode", "http", "--allow", "anonymous", "--app"];
        let setup = Setup::command(&args).arg(&app.addr().to_string());
        more.iter().fold(setup, |setup, arg| setup.arg(arg)).start()
    };
    let every = serving("0", &[]);
    let port = every.addr().port();
    let at = |ip: &str, port: u16| SocketAddr::new(ip.parse().unwrap(), port);
    for (source, to) in [("10.9.0.2", "10.9.0.1"), ("127.0.0.1", "10.9.0.1"), ("10.9.0.1", "127.0.0.1")] {
        let error = answer(source, at(to, port)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{source}: {error}");
    }
    let entries = eventually("their entries", || {
        let entries = every.lines().into_iter().filter(|line| line["close_reason"] == "not_from");
        Some(entries.collect::<Vec<_>>()).filter(|entries| entries.len() == 3)
    });
    assert_eq!((&entries[0]["bytes_up"], &entries[0]["level"]), (&0.into(), &"info".into()));
    assert_eq!(app.unaccepted(), 0);

    for (source, to) in [("10.9.0.1", "10.9.0.1"), ("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "127.0.0.2")] {
        let waiting = std::thread::spawn(move || answer(source, at(to, port)).unwrap());
        answer_one(&app);
        assert_eq!(waiting.join().unwrap(), "HTTP/1.1 204", "{source}");
    }

    let wider = serving("0.0.0.0:0", &["--from", "10.9.0.2/32"]);
    let port = wider.addr().port();
    let waiting = std::thread::spawn(move || answer("10.9.0.2", at("10.9.0.1", port)).unwrap());
    answer_one(&app);
    assert_eq!(waiting.join().unwrap(), "HTTP/1.1 204");
    assert!(answer("10.9.0.1", at("10.9.0.1", port)).is_err(), "self is not named");
    let message = "untrusted hosts in --from could forge the caller; list networks of proxies only";
    assert_eq!(wider.wait_for(message)["from"], "10.9.0.2/32");
    assert!(every.lines_of(message).is_empty());
}

/// An app for `run --` that answers each request with its own PORT.
const APP: &str = r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["PORT"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

#[test]
fn in_the_apps_place_the_app_gets_another_port() {
    let port = app::nobody().port();
    let common = ["--tls", "off", "--mode", "http", "--hide-app-port", "--allow", "anonymous"];
    let listener = port.to_string();
    for place in [&[][..], &["--listener", &listener]] {
        let args = [&["run"], &common[..], place, &["--", "python3", "-c", APP]].concat();
        let sidecar = Setup::command(&args).env("PORT", &listener).start();
        assert_eq!(sidecar.addr().port(), port);
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        let body = eventually("the app", || {
            let (status, answer) = ask(here, "");
            (status == 200).then(|| answer.rsplit("\r\n").next().unwrap().to_owned())
        });
        assert_ne!(body, listener);
        // There the app is reached without us.
        drop(connect(SocketAddr::from(([127, 0, 0, 1], body.parse().unwrap()))));
        drop(sidecar);
        eventually("the port", || TcpListener::bind(here).ok());
    }
}

#[test]
fn a_second_listener_with_tls_serves_the_same_app() {
    let (app, credentials) = (HttpApp::saying("hello"), Credentials::new());
    let file = credentials.dir().join("vestibule.toml");
    let app_addr = app.addr();
    let text = format!(
        "mode = 'http'\n[[listener]]\nlisten = '127.0.0.1:0'\napp = '{app_addr}'\ntls = 'off'\nallow = ['anonymous']\n\
         [[listener]]\nlisten = '127.0.0.1:0'\napp = '{app_addr}'\n"
    );
    std::fs::write(&file, text).unwrap();
    let args = ["proxy", "--config", file.to_str().unwrap()];
    let sidecar = Setup::command(&args).credentials(&credentials).ready();
    let addrs = sidecar.addrs();
    assert_eq!(ask(addrs[0], "").0, 200);
    let mut client = connector(credentials.instance()).connect(addrs[1]).unwrap();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let (answer, _) = client.receive_all();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn the_pair_of_the_platforms_proxy_says_that_the_instance_is_to_go() {
    const TEST: &str = "http_plain::places::the_pair_of_the_platforms_proxy_says_that_the_instance_is_to_go";
    let folder = TempDir::new().unwrap();
    let prepare = "mkdir -p \"$1/cf-assets/envoy_config\" && cp -rL /etc/resolv.conf /etc/hosts /etc/passwd \"$1\" && mount --bind \"$1\" /etc";
    if !in_namespaces(TEST, &["--mount"], prepare, folder.path()) {
        return;
    }
    let spec = InstanceSpec::generate().unwrap();
    let file = Path::new("/etc/cf-assets/envoy_config/sds-id-cert-and-key.yaml");
    let write = |spec: &InstanceSpec| {
        let pair = issue(spec);
        let next = file.with_extension("next");
        std::fs::write(&next, sds_pair("id-cert-and-key", &pair.cert_pem, &pair.key_pem)).unwrap();
        std::fs::rename(next, file).unwrap();
    };
    write(&spec);
    let app = HttpApp::saying("hello");
    let sidecar = plain(app.addr()).arg("--allow").arg("anonymous").start();
    let mut stream = connect(sidecar.addr());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    write(&spec.retired());
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the idle connection is closed");
    let line = sidecar.wait_for("retirement certificate received; closing idle connections");
    assert_eq!(line["pair"], "id-cert-and-key");
    sidecar.access_log_entry("closed_idle");
    assert_eq!(ask(sidecar.addr(), "").0, 200, "whoever comes is still served");
}
