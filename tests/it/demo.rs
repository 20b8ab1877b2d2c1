//! The demo, as somebody meets it who has just built the program.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::support::client::{Client, connector_under};
use crate::support::eventually;
use crate::support::sidecar::VESTIBULE;

/// A running demo, whose temporary folder is in a folder of the test's own.
struct Demo {
    child: Child,
    out: Arc<Mutex<Vec<String>>>,
    temporary: TempDir,
}

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(VESTIBULE);
    command.arg("demo").args(args).env_clear();
    command
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let temporary = TempDir::new().unwrap();
        let mut child = demo(args)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = Arc::new(Mutex::new(Vec::new()));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::clone(&out);
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line));
        });
        Self { child, out, temporary }
    }

    fn lines(&self) -> Vec<String> {
        self.out.lock().unwrap().clone()
    }

    /// Waits for a line that has all of `parts` in it.
    #[track_caller]
    fn line_with(&self, parts: &[&str]) -> String {
        eventually(&format!("a line with {parts:?}"), || {
            self.lines().into_iter().find(|line| parts.iter().all(|part| line.contains(part)))
        })
    }

    fn interrupt(&mut self, signal: &str) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        eventually("the demo's end", || self.child.try_wait().unwrap())
    }

    /// What it has left behind.
    fn left(&self) -> Vec<std::path::PathBuf> {
        std::fs::read_dir(self.temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn errors(&mut self) -> String {
        std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.lines().join("\n"));
        }
    }
}

/// The value behind `option` in a command.
fn value<'a>(command: &'a str, option: &str) -> &'a str {
    let mut words = command.split_whitespace().skip_while(|word| *word != option);
    words.nth(1).unwrap_or_else(|| panic!("no {option} in {command}"))
}

/// Runs a command as it is printed. `None` where its program is not installed.
fn shell(command: &str) -> Option<Output> {
    let program = command.split_whitespace().next().unwrap();
    let installed = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    let run = || Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output().unwrap();
    installed.status.success().then(run)
}

/// A client of our own in the place of curl, told by curl's command.
fn connect(curl: &str) -> Client {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(Path::new(value(curl, "--cacert"))).unwrap() {
        roots.add(cert.unwrap()).unwrap();
    }
    let [name, port, ip] = value(curl, "--resolve").split(':').collect::<Vec<_>>()[..] else {
        panic!("not NAME:PORT:ADDRESS: {curl}");
    };
    connector_under(roots, name).connect(format!("{ip}:{port}").parse().unwrap()).unwrap()
}

#[test]
fn the_printed_commands_work_and_ctrl_c_leaves_nothing_behind() {
    let mut demo = Demo::start(&["--listen", "127.0.0.1:0", "--rotate-every", "300ms"]);
    let curl = demo.line_with(&["curl "]).trim().to_owned();

    let page = match shell(&curl) {
        Some(output) => {
            assert!(output.status.success(), "{curl}\n{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        }
        None => {
            let mut client = connect(&curl);
            client.send(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").unwrap();
            String::from_utf8(client.receive_all().0).unwrap()
        }
    };
    assert!(page.contains("hello from the app\nrequest  GET /\n") && page.contains("in plaintext"), "{page}");
    demo.line_with(&["connection", "completed", "TLS 1.3", "generation ", " bytes in, "]);

    let openssl = demo.line_with(&["openssl s_client "]).trim().to_owned();
    if let Some(output) = shell(&openssl) {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("Verify return code: 0 (ok)"), "{openssl}\n{said}");
    }

    let folder = Path::new(value(&curl, "--cacert")).parent().unwrap().to_owned();
    assert!(folder.starts_with(demo.temporary.path()) && folder.is_dir(), "{folder:?}");
    let status = demo.interrupt("INT");
    assert_eq!((status.code(), demo.left()), (Some(0), Vec::new()));
    assert_eq!(demo.errors(), "", "the proxy's own log is not asked for");
}

#[test]
fn whatever_signal_ends_it_nothing_is_left_behind() {
    for signal in ["HUP", "QUIT", "USR1", "USR2"] {
        let mut demo = Demo::start(&["--listen", "127.0.0.1:0"]);
        demo.line_with(&["curl "]);
        assert_eq!((demo.interrupt(signal).code(), demo.left()), (Some(0), Vec::new()), "{signal}");
    }
}

#[test]
fn each_rotation_is_told_and_shown_to_the_next_client() {
    let mut demo = Demo::start(&["--listen", "127.0.0.1:0", "--rotate-every", "200ms"]);
    let curl = demo.line_with(&["curl "]);
    let first = connect(&curl).leaf();

    demo.line_with(&["rotation", "generation 2, serial ", ", valid until "]);
    eventually("another certificate", || (connect(&curl).leaf() != first).then_some(()));

    assert_eq!(demo.interrupt("TERM").code(), Some(0));
    assert_eq!(demo.left(), [] as [std::path::PathBuf; 0]);
}

#[test]
fn a_client_that_does_not_trust_the_instance_is_told_of() {
    let demo = Demo::start(&["--listen", "127.0.0.1:0"]);
    let curl = demo.line_with(&["curl "]);
    let port = value(&curl, "--resolve").split(':').nth(1).unwrap().parse().unwrap();

    let mut garbage = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(connector_under(RootCertStore::empty(), "x").connect(([127, 0, 0, 1], port).into()).is_err());

    demo.line_with(&["connection", "not_tls"]);
    demo.line_with(&["connection", "handshake_failed"]);
}

#[test]
fn the_default_port_steps_aside_and_a_typed_one_does_not() {
    // Whoever holds it, we or another: it is taken.
    let _held = TcpListener::bind("127.0.0.1:8443");

    let mut aside = Demo::start(&[]);
    let said = aside.line_with(&["proxy ", "TLS on 127.0.0.1:", "(127.0.0.1:8443 is taken; --listen chooses another)"]);
    assert!(!said.contains("TLS on 127.0.0.1:8443 "), "{said}");
    assert_eq!(aside.interrupt("INT").code(), Some(0));

    let mut typed = Demo::start(&["--listen", "127.0.0.1:8443"]);
    let status = eventually("the demo's end", || typed.child.try_wait().unwrap());
    assert_eq!((status.code(), typed.left()), (Some(69), Vec::new()));
    assert_eq!(
        typed.errors(),
        "vestibule: cannot listen on 127.0.0.1:8443: the address is in use; stop the other program or choose another --listen\n"
    );
    assert_eq!(typed.lines(), [] as [String; 0]);
}

#[test]
fn the_proxys_own_log_is_shown_when_it_is_asked_for() {
    let mut demo = Demo::start(&["--listen", "127.0.0.1:0", "--log-level", "info"]);
    demo.line_with(&["rotation", "generation 1"]);
    assert_eq!(demo.interrupt("INT").code(), Some(0));
    let log = demo.errors();
    assert!(log.contains("\"message\":\"certificate loaded\"") && log.contains("\"message\":\"exited\""), "{log}");
}

#[test]
fn green_is_answered_and_blue_is_refused_and_the_proxies_say_why_though_no_app_knows_tls() {
    let mut demo = Demo::start(&["--green-blue", "--listen", "127.0.0.1:0"]);
    let green = demo.line_with(&["  green ", "app ", "allowed in by --allow-app"]);
    let guid = green.split_whitespace().nth(2).unwrap().trim_end_matches(',').to_owned();
    demo.line_with(&["  blue ", "app ", "no rule allows it in"]);

    demo.line_with(&[" green  ", "answered: HTTP/1.1 200 OK, \"hello from the app\""]);
    demo.line_with(&[" connection ", ": completed, green, rule cf:app:", &guid]);
    demo.line_with(&[" outbound ", ": completed, rule cf:app:"]);
    demo.line_with(&[" blue  ", "refused: its sidecar has reset the connection"]);
    demo.line_with(&[" outbound ", ": client_certificate_rejected", "AccessDenied"]);
    demo.line_with(&[" connection ", ": denied, blue, not_allowed, no rule"]);
    // Again and again.
    eventually("the second round", || {
        (demo.lines().iter().filter(|line| line.contains("refused: its sidecar")).count() >= 2).then_some(())
    });
    let (answered, refused): (Vec<_>, Vec<_>) = demo
        .lines()
        .into_iter()
        .filter(|line| line.contains("answered: ") || line.contains("refused: "))
        .partition(|line| line.contains(" green  "));
    assert!(answered.iter().all(|line| line.contains("answered: ")), "{answered:?}");
    assert!(refused.iter().all(|line| line.contains(" blue  ")), "{refused:?}");

    for (who, served) in [("green", true), ("blue", false)] {
        let curl = demo.line_with(&["curl http://127.0.0.1:", &format!("# as {who}")]).trim().to_owned();
        if let Some(output) = shell(&curl) {
            assert_eq!(output.status.success(), served, "{curl}\n{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let status = demo.interrupt("INT");
    assert_eq!((status.code(), demo.left()), (Some(0), Vec::new()));
}

#[test]
fn front_ends_rotate_too_and_go_on_calling_with_what_they_have_then() {
    let mut demo = Demo::start(&["--green-blue", "--listen", "127.0.0.1:0", "--rotate-every", "300ms"]);
    demo.line_with(&[" green  ", "rotation ", "generation 2, serial ", ", valid until "]);
    demo.line_with(&[" blue  ", "rotation ", "generation 2, serial "]);
    // A call of a generation behind the first one.
    eventually("a call with a new pair", || {
        demo.lines().into_iter().find(|line| {
            let generation =
                line.split("generation ").nth(1).and_then(|rest| rest.split(',').next()?.parse::<u32>().ok());
            line.contains(" outbound ") && line.contains(": completed") && generation > Some(1)
        })
    });
    let lines = demo.lines();
    let lost = lines.iter().find(|line| line.contains(" green  ") && line.contains("refused: "));
    assert_eq!(lost, None, "{lines:?}");
    assert_eq!(demo.interrupt("INT").code(), Some(0));
    assert_eq!(demo.left(), [] as [std::path::PathBuf; 0]);
}

#[test]
fn green_may_ask_for_one_path_and_blue_for_none_and_the_proxy_says_why() {
    let mut demo = Demo::start(&["--http", "--listen", "127.0.0.1:0"]);
    let green = demo.line_with(&["  green ", "app ", "may ask for /hello by a route"]);
    let guid = green.split_whitespace().nth(2).unwrap().trim_end_matches(',').to_owned();
    demo.line_with(&["  blue ", "app ", "may come in, and ask for nothing"]);

    demo.line_with(&[" green  ", "GET /hello answered: HTTP/1.1 200 OK, \"hello from the app\""]);
    demo.line_with(&[" green  ", "GET /secret refused: HTTP/1.1 403 Forbidden, path_not_allowed"]);
    demo.line_with(&[" blue  ", "GET /hello refused: HTTP/1.1 403 Forbidden, denied"]);
    demo.line_with(&[" request ", "GET /hello: 200, green, rule cf:app:", &guid]);
    demo.line_with(&[" request ", "GET /secret: 403, path_not_allowed, green"]);
    demo.line_with(&[" request ", "GET /hello: 403, denied, blue"]);

    for (who, path, said) in [
        ("green", "/hello", format!("caller   app {guid}, as the proxy says in X-Vestibule-App")),
        ("green", "/secret", "\"reason\":\"path_not_allowed\"".to_owned()),
        ("blue", "/hello", "\"reason\":\"denied\"".to_owned()),
    ] {
        let curl = demo.line_with(&["curl http://127.0.0.1:", &format!("{path} "), &format!("# as {who}")]);
        if let Some(output) = shell(curl.trim()) {
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(answer.contains(&said), "{curl}\n{answer}");
        }
    }
    let by_tls = demo.line_with(&["curl --cacert ", "/hello --cert ", "# as green, in HTTP/2"]);
    if let Some(output) = shell(by_tls.trim()) {
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(answer.contains(&format!("caller   app {guid}")), "{by_tls}\n{answer}");
    }
    let status = demo.interrupt("INT");
    assert_eq!((status.code(), demo.left()), (Some(0), Vec::new()));
}

#[test]
fn a_token_is_permitted_where_it_counts_and_denied_elsewhere_to_a_thief_and_after_its_time() {
    let mut demo = Demo::start(&["--tokens", "--listen", "127.0.0.1:0"]);
    let told = [
        [" token ", "made for billing, for whoever shows it: 5s to live, "],
        [" billing ", "  permit, app "],
        [" payroll ", "denial, audience; "],
        [" token ", "made for billing, bound to our certificate: "],
        [" billing ", "from us, by mTLS: permit, app "],
        [" billing ", "from a thief, by mTLS: denial, not_bound; "],
        [" billing ", "the first once more: denial, expired; "],
    ];
    for parts in &told {
        demo.line_with(parts);
    }
    let command = demo.line_with(&["token jwt --cert ", " | ", "token verify --ca "]).trim().to_owned();
    let verdict = shell(&command).unwrap();
    assert!(verdict.status.success() && verdict.stdout.starts_with(b"verdict       permit\n"), "{verdict:?}");
    // In this order, and nothing else was told of tokens.
    let lines = demo.lines();
    let app = lines.iter().find_map(|line| line.trim().strip_prefix("identity  app ")).unwrap();
    let at = |part: &str| lines.iter().position(|line| line.contains(part)).unwrap();
    assert!(at("What happens, ") < at(" token       "), "before it was told what is running: {lines:?}");
    let of_tokens = |line: &&String| [" token ", " billing ", " payroll "].iter().any(|who| line.contains(who));
    let lines: Vec<_> = lines.iter().filter(of_tokens).filter(|line| !line.contains("--audience")).collect();
    for (line, parts) in lines.iter().zip(&told) {
        assert!(parts.iter().all(|part| line.contains(part)), "{lines:?}");
        assert_eq!(line.contains(": permit, app ") || line.contains("  permit, app "), line.ends_with(app), "{line}");
    }
    assert!(!lines.iter().any(|line| line.contains("eyJ")), "a token is told: {lines:?}");
    assert_eq!(demo.interrupt("INT").code(), Some(0));
    assert_eq!(demo.left(), [] as [std::path::PathBuf; 0]);
}
