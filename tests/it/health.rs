//! Health: what `/readyz`, `vestibule health` and `vestibule wait` say, and when.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::client::{Ending, connector};
use crate::support::credentials::Credentials;
use crate::support::sidecar::{Setup, Sidecar, VESTIBULE};
use crate::support::{TEST_TIMEOUT, app, eventually};

/// A proxy whose admin listening on a free port.
pub(crate) fn proxy(credentials: &Credentials, app: impl std::fmt::Display) -> Setup {
    Setup::proxy(credentials, app).arg("--admin").arg("127.0.0.1:0").env("VESTIBULE_APP_READY", "tcp")
}

pub(crate) fn admin(sidecar: &Sidecar) -> SocketAddr {
    sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap()
}

/// Head and body of the answer to `request`, a whole head.
pub(crate) fn ask(admin: SocketAddr, request: &str) -> (String, String) {
    let mut tcp = TcpStream::connect(admin).unwrap();
    tcp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    tcp.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Status and body of the answer to a GET for `target`.
pub(crate) fn get(admin: SocketAddr, target: &str) -> (u16, String) {
    let (head, body) = ask(admin, &format!("GET {target} HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    (status(&head), body)
}

pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn vestibule(args: &[&str], admin: &str) -> Output {
    Command::new(VESTIBULE).args(args).env_clear().env("VESTIBULE_ADMIN", admin).output().unwrap()
}

#[test]
fn every_part_is_named_and_readiness_follows_the_app() {
    let credentials = Credentials::new();
    let at = low_port();
    let sidecar = proxy(&credentials, at).ready();
    let admin = admin(&sidecar);
    assert_eq!(get(admin, "/livez"), (200, "ok\n".to_owned()));
    assert_eq!(get(admin, "/readyz"), (503, "not ready\n".to_owned()));
    let (status, body) = get(admin, "/readyz?verbose");
    assert_eq!(status, 503);
    assert!(body.contains(&format!("[-]app: {at} does not accept yet\n")), "{body}");
    for part in
        ["[+]listeners: 1 open", "[+]certificate: until 2", "[+]drain: not draining", "[+]retirement: not retiring"]
    {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert_eq!(get(admin, "/readyz?exclude=app").0, 200);
    assert_eq!(get(admin, "/readyz?verbose&exclude=app&exclude=certificate").0, 200);

    let app = TcpListener::bind(at).unwrap();
    eventually("readiness", || (get(admin, "/readyz").0 == 200).then_some(()));
    assert_eq!(get(admin, "/healthz"), (200, "ok\n".to_owned()));
    drop(app);
    assert!(connector(credentials.instance()).connect(sidecar.addr()).is_err());
    let (status, body) = get(admin, "/readyz?verbose");
    assert_eq!(status, 503);
    assert!(body.contains("no longer accepts"), "{body}");
    let _app = TcpListener::bind(at).unwrap();
    eventually("readiness again", || (get(admin, "/readyz").0 == 200).then_some(()));
}

#[test]
fn retirement_and_the_steps_of_a_drain_are_visible() {
    let mut credentials = Credentials::new();
    let app = app::App::start();
    let mut sidecar = proxy(&credentials, app.addr()).env("VESTIBULE_APP_READY", "off").ready();
    let admin = admin(&sidecar);
    let mut busy = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    busy.send(b"?").unwrap();
    let mut app_end = app.accept();
    app_end.read_exact(&mut [0; 1]).unwrap();
    credentials.spec = credentials.spec.retired();
    credentials.rotate();
    sidecar.wait_for("retirement certificate received; closing idle connections");
    let (status, body) = get(admin, "/readyz?verbose");
    assert_eq!(status, 503);
    assert!(body.contains("[-]retirement: retirement certificate received\n"), "{body}");
    assert!(body.contains("[+]certificate: "), "{body}");

    sidecar.signal("TERM");
    sidecar.wait_for("listeners closed");
    let (_, body) = get(admin, "/readyz?verbose");
    assert!(body.contains("[-]listeners: closed\n") && body.contains("[-]drain: listeners closed\n"), "{body}");
    // An asker that never finishes does not hold up the end.
    let _asker = TcpStream::connect(admin).unwrap();
    app_end.write_all(b"answer").unwrap();
    drop(app_end);
    assert_eq!(busy.receive_all(), (b"answer".to_vec(), Ending::CloseNotify));
    drop(busy);
    assert_eq!(sidecar.exited().code(), Some(0));
}

#[test]
fn while_the_app_is_waited_for_readiness_names_the_signal_that_it_was_sent() {
    let deaf = "trap '' TERM QUIT; echo deaf >&2; while :; do sleep 0.05; done";
    for (map, step) in [
        ("", "SIGTERM sent to app"),
        ("TERM:QUIT", "SIGQUIT sent to app"),
        ("TERM:0", "waiting for the app to exit; --signal-map drops TERM"),
    ] {
        let credentials = Credentials::new();
        let options = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-timeout", "60s"];
        let mut sidecar = Setup::command(&options)
            .arg(&format!("--signal-map={map}"))
            .arg("--")
            .arg("sh")
            .arg("-c")
            .arg(deaf)
            .credentials(&credentials)
            .env("PORT", &app::nobody().port().to_string())
            .ready();
        let admin = admin(&sidecar);
        sidecar.wait_until("the app", |line| line == "deaf");
        sidecar.signal("TERM");
        let expected = format!("[-]drain: {step}\n");
        eventually(step, || get(admin, "/readyz?verbose").1.contains(&expected).then_some(()));
        sidecar.signal("TERM");
        assert_eq!(sidecar.exited().code(), Some(128 + 9), "{map}");
    }
}

#[test]
fn what_is_not_a_question_for_us_is_refused() {
    let credentials = Credentials::new();
    let sidecar = proxy(&credentials, app::echo()).ready();
    let admin = admin(&sidecar);
    let refused = |request: &str| status(&ask(admin, request).0);
    assert_eq!(refused("GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 421);
    assert_eq!(refused("GET http://evil.example/readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), 421);
    assert_eq!(refused("POST /readyz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"), 405);
    assert_eq!(refused("DELETE /quitquitquit HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404);
    assert_eq!(refused("GET /readyz?exclude=nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
    assert_eq!(refused(&format!("GET /nothing HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(7000))), 404);
    let (head, body) = ask(admin, "HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((status(&head), body.as_str()), (200, ""));
    assert!(head.contains("cache-control: no-store") && head.contains("connection: close"), "{head}");
}

/// Whether the other side has closed, by now or within a moment.
fn is_closed(mut stream: impl Read) -> bool {
    !matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn those_who_connect_and_do_not_ask_keep_nobody_waiting() {
    let credentials = Credentials::new();
    let sidecar = proxy(&credentials, app::echo()).ready();
    let admin = admin(&sidecar);
    let part = |text: &str| {
        let mut tcp = TcpStream::connect(admin).unwrap();
        tcp.write_all(text.as_bytes()).unwrap();
        tcp
    };
    for (kind, text) in [("silent", ""), ("dribbling", "GET /livez HTTP/1.1\r\nHost: local")] {
        let crowd: Vec<_> = (0..64).map(|_| part(text)).collect();
        assert_eq!(get(admin, "/livez").0, 200, "{kind}");
        // The crowd's newest still has its place when the probe has been answered; the oldest has not.
        crowd[0].set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        assert!(is_closed(&crowd[0]), "{kind}");
    }
    // Whoever has a place and asks in time is answered, beside a crowd of others.
    let mut slow = part("GET /livez HTTP/1.1\r\n");
    let _crowd: Vec<_> = (0..8).map(|_| part("")).collect();
    slow.write_all(b"Host: localhost\r\n\r\n").unwrap();
    slow.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 200);

    let mut client = connector(credentials.instance()).connect(sidecar.addr()).unwrap();
    client.send(b"x").unwrap();
    assert_eq!(client.receive(1).unwrap(), b"x");
}

#[test]
fn a_head_that_is_dribbled_is_given_up_though_there_is_room() {
    let credentials = Credentials::new();
    let socket = credentials.dir().join("admin.sock");
    let admin = format!("unix:{}", socket.display());
    let sidecar = Setup::proxy(&credentials, app::echo()).arg("--admin").arg(&admin).ready();
    let mut dribbling = UnixStream::connect(&socket).unwrap();
    dribbling.write_all(b"GET /livez HTTP/1.1\r\nX: ").unwrap();
    dribbling.set_nonblocking(true).unwrap();
    eventually("the end of a dribbled head", || {
        let _ = dribbling.write_all(b"x");
        is_closed(&dribbling).then_some(())
    });
    let _silent: Vec<_> = (0..64).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    assert_eq!(vestibule(&["health", "--admin", &admin], "off").status.code(), Some(0));
    drop(sidecar);
}

#[test]
fn names_that_are_listed_are_answered_to_and_no_others() {
    let credentials = Credentials::new();
    let setup = proxy(&credentials, app::echo()).arg("--admin-host=metrics.example").arg("--admin-host=other.example");
    let sidecar = setup.ready();
    let admin = admin(&sidecar);
    let asked = |host: &str| ask(admin, &format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    for host in ["metrics.example", "METRICS.example:9901", "other.example:1", "localhost"] {
        assert_eq!(status(&asked(host).0), 200, "{host}");
    }
    for host in ["evil.example", "metrics.example.evil.example", "x.metrics.example"] {
        let (head, body) = asked(host);
        assert_eq!(status(&head), 421, "{host}");
        assert!(body.contains("--admin-host"), "{body}");
    }
}

#[test]
fn wait_blocks_until_the_instance_serves_and_health_asks_once() {
    let credentials = Credentials::new();
    let at = low_port();
    let socket = credentials.dir().join("admin.sock");
    let admin = format!("unix:{}", socket.display());
    let nobody = vestibule(&["health"], &admin);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("nobody answers at unix:"));

    let sidecar = Setup::proxy(&credentials, at).arg("--admin").arg(&admin).env("VESTIBULE_APP_READY", "tcp");
    let mut sidecar = sidecar.ready();
    let waited = vestibule(&["wait", "--timeout", "200ms"], &admin);
    assert_eq!(waited.status.code(), Some(1));
    let said = String::from_utf8_lossy(&waited.stderr).into_owned();
    assert!(said.contains("not ready within 200ms") && said.contains("[-]app: "), "{said}");
    assert!(!said.contains("[+]"), "{said}");
    assert_eq!(vestibule(&["health"], &admin).status.code(), Some(1));

    let waiting = std::thread::spawn({
        let admin = admin.clone();
        move || vestibule(&["wait"], &admin).status.code()
    });
    let _app = TcpListener::bind(at).unwrap();
    assert_eq!(waiting.join().unwrap(), Some(0));
    let healthy = vestibule(&["health"], &admin);
    assert_eq!((healthy.status.code(), healthy.stdout, healthy.stderr), (Some(0), Vec::new(), Vec::new()));
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    assert!(!socket.exists(), "the socket's file went with it");
}

#[test]
fn an_answer_that_does_not_end_gains_no_time_by_its_parts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                while stream.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
    });
    for args in [&["wait", "--timeout", "300ms"][..], &["health"]] {
        let ended = vestibule(args, &addr);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("no whole answer has come in time"), "{ended:?}");
    }
}

#[test]
fn wait_says_what_it_was_told_last_and_not_that_its_time_was_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 1024];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n");
        }
    });
    let ended = vestibule(&["wait", "--timeout", "300ms"], &addr);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("the answer is not from vestibule"), "{ended:?}");
}

#[test]
fn a_socket_file_at_which_nobody_accepts_is_not_waited_at_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    // The only place in its backlog.
    let _pending = UnixStream::connect(&path).unwrap();
    let ended = vestibule(&["wait", "--timeout", "300ms"], &format!("unix:{}", path.display()));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("no whole answer has come in time"), "{ended:?}");
}

#[test]
fn an_admin_address_that_was_asked_for_must_open_and_the_default_steps_aside() {
    let credentials = Credentials::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let mut sidecar = Setup::proxy(&credentials, app::nobody()).arg("--admin").arg(&addr).start();
    assert_eq!(sidecar.exited().code(), Some(69));

    // Held by us, or by whoever else runs on this machine.
    let _default = TcpListener::bind("127.0.0.1:9901");
    let sidecar = Setup::proxy(&credentials, app::echo()).env("VESTIBULE_ADMIN", "").ready();
    let warned = sidecar.wait_for("cannot bind admin address, and goes on without; choose another by --admin, or off");
    assert_eq!(warned["level"], "warn");
    connector(credentials.instance()).connect(sidecar.addr()).unwrap();
}

/// A free port that no outgoing connection is given, so that it is still free when the app comes.
fn low_port() -> SocketAddr {
    let start = 22_000 + u16::try_from(std::process::id() % 9000).unwrap();
    let mut ports = (start..32_000).chain(22_000..start);
    ports.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).unwrap().local_addr().unwrap()
}

#[test]
fn scrapers_find_metrics_and_probes_on_an_address_of_their_own_and_nothing_else() {
    let credentials = Credentials::new();
    let setup = Setup::proxy(&credentials, app::echo()).arg("--metrics").arg("127.0.0.1:0").arg("--admin").arg("off");
    let sidecar = setup.ready();
    let metrics: SocketAddr = sidecar.wait_for("metrics listening")["metrics"].as_str().unwrap().parse().unwrap();
    let (code, body) = get(metrics, "/metrics");
    assert_eq!(code, 200);
    assert!(body.contains("vestibule_connections_limit ") && body.contains("vestibule_files_usable"), "{body}");
    assert_eq!(get(metrics, "/livez"), (200, "ok\n".to_owned()));
    // Where the app is, and what is wrong with which file, is not for everybody.
    assert_eq!(get(metrics, "/readyz?verbose"), (200, "ok\n".to_owned()));
    for path in ["/", "/status.json", "/healthz", "/drain", "/reload", "/loglevel", "/certs", "/server_info"] {
        assert_eq!(get(metrics, path).0, 404, "{path}");
    }
    // A scraper may know us by any name.
    let mut tcp = std::net::TcpStream::connect(metrics).unwrap();
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: shop.example:9102\r\n\r\n").unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
