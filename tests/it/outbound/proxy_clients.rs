//! Real HTTP clients, each led by its proxy settings alone to a server that wants our identity.

mod programs;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use self::programs::{CLIENTS, Client};
use super::{Caller, app_guid};
use crate::clients::Backend;
use crate::support::dns::{Dns, Reply as Answer, in_a_network_of_its_own};
use crate::support::http_app::{Asked, HttpApp, Reply};
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

/// Of a name, and not of loopback: some clients do not ask a proxy for that, whatever it is called.
const NAME: &str = "backend.apps.internal";

/// What all clients print who got all that they asked for.
const EVERYTHING: [&str; 3] = ["hello", "100000", "1000000"];

/// A frontend whose clients are told of its forward proxy by their environment, and the server that takes the frontend alone.
struct ProxySetup {
    app: HttpApp,
    caller: Caller,
    backend: Backend,
    serving: Sidecar,
    sidecar: Sidecar,
    /// What the frontend's app was started with.
    environment: BTreeMap<String, String>,
    _dns: Dns,
}

impl ProxySetup {
    /// Starts it, with `more` options for the frontend. In a network of the test's own.
    fn start(more: &[&str]) -> Self {
        let dns = Dns::start();
        dns.say(NAME, Answer::Addresses(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 60));
        let (app, caller, backend) = (HttpApp::start(reply), Caller::new(), Backend::new());
        let serving = backend.before(app.addr()).arg("--allow").arg(&format!("cf:app:{}", caller.guid())).ready();
        let to = format!("{NAME}:{}={}", serving.addr().port(), app_guid(&backend));
        let file = caller.credentials.dir().join("environment");
        let script = format!("env > {0}.new; mv {0}.new {0}; exec sleep 600", file.display());
        let nobody = app::nobody().to_string();
        let mut setup = Setup::command(&["run", "--listen=127.0.0.1:0", "--app", &nobody, "--forward-proxy=0"])
            .arg("--forward-proxy-announce=env")
            .arg("--forward-proxy-allow-address=127.0.0.0/8")
            .arg("--forward-proxy-to")
            .arg(&to)
            // The tests' certificates have the instance's name.
            .arg("--outbound-server-name=off");
        for option in more {
            setup = setup.arg(option);
        }
        let sidecar = setup.credentials(&caller.credentials).arg("--").arg("sh").arg("-c").arg(&script).ready();
        let environment = eventually("what the app is told", || std::fs::read_to_string(&file).ok());
        let environment = environment.lines().filter_map(|line| line.split_once('='));
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { app, caller, backend, serving, sidecar, environment, _dns: dns }
    }

    /// The server, as the app names it.
    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{NAME}:{}", self.serving.addr().port())
    }

    fn proxy(&self) -> &str {
        &self.environment["CF_INSTANCE_MTLS_PROXY"]
    }

    /// Runs a program as the frontend's app would.
    fn run(&self, program: &[String]) -> Output {
        let mut command = Command::new("timeout");
        command.arg("300").args(program).env_clear().envs(&self.environment).stdin(Stdio::null());
        command.env("HOME", self.caller.credentials.dir()).current_dir(self.caller.credentials.dir());
        command.env("PATH", std::env::var_os("PATH").unwrap());
        if let Some(modules) = std::env::var_os("NODE_PATH") {
            command.env("NODE_PATH", modules);
        }
        command.output().unwrap()
    }

    /// What `client` prints who asks for everything at `url`.
    #[track_caller]
    fn everything(&self, client: &Client, program: &[String], url: &str) {
        let output = self.run(&[program, &[url.to_owned()]].concat());
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(printed.split_whitespace().collect::<Vec<_>>(), EVERYTHING, "{}: {output:?}", client.name);
        assert!(output.status.success(), "{}: {output:?}", client.name);
    }

    /// The entries of requests that came after the first `before`, once there are `least`.
    fn requests(&self, before: usize, least: usize) -> Vec<Value> {
        eventually(&format!("{least} requests"), || {
            let entries = self.sidecar.lines_of("request completed");
            (entries.len() >= before + least).then(|| entries[before..].to_vec())
        })
    }

    /// Ends both, and judges what the server has in its log: nobody but the frontend was ever there.
    fn only_we_were_there(self) {
        let Self { app, caller, mut serving, sidecar, .. } = self;
        let host = format!("\r\nhost: {NAME}:{}\r\n", serving.addr().port());
        // With it all connections end.
        drop(sidecar);
        serving.signal("TERM");
        serving.exited();
        let entries: Vec<_> = serving.lines().into_iter().filter(|line| line["close_reason"].is_string()).collect();
        assert!(!entries.is_empty());
        for entry in entries {
            assert_eq!(entry["client_app"], caller.guid(), "{entry}");
        }
        for asked in app.asked() {
            let head = asked.head.to_ascii_lowercase();
            assert!(head.contains(&host) && !head.contains("\r\nproxy-"), "{head}");
        }
    }
}

/// Answers for `/hello`, `/count` and `/large`.
fn reply(asked: &Asked) -> Reply {
    match asked.head.split(' ').nth(1).unwrap() {
        "/hello" => Reply::ok("hello "),
        "/count" => Reply::ok(&format!("{} ", length(asked))),
        "/large" => Reply::ok(&"x".repeat(1_000_000)),
        other => panic!("nobody asks for {other}"),
    }
}

/// How long the body is that the client meant.
fn length(asked: &Asked) -> usize {
    if !asked.head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked\r\n") {
        return asked.body.len();
    }
    let (mut rest, mut sum) = (&asked.body[..], 0);
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return sum;
        }
        sum += size;
        rest = &rest[end + 2 + size + 2..];
    }
}

/// The right answers come, by the way that the client is known to take, and the server knows us.
fn answers(test: &str, named: &str) {
    let client = CLIENTS.iter().find(|client| client.name == named).unwrap();
    if !in_a_network_of_its_own(&format!("outbound::proxy_clients::{test}"), "") {
        return;
    }
    let Some(program) = client.program() else { return };
    let setup = ProxySetup::start(&[]);
    setup.everything(client, &program, &setup.url("http"));
    let entries = setup.requests(0, if client.mode == "absolute" { 3 } else { 1 });
    for entry in entries {
        assert_eq!((&entry["mode"], &entry["status"]), (&client.mode.into(), &200.into()), "{entry}");
        assert_eq!(entry["server_app"], setup.backend.credentials.spec.app.to_string(), "{entry}");
    }
    setup.only_we_were_there();
}

macro_rules! answers {
    ($($test:ident: $client:literal,)*) => {
        $(
            #[test]
            fn $test() {
                answers(stringify!($test), $client);
            }
        )*
    };
}

answers! {
    curl_is_led_to_a_server_that_wants_our_identity: "curl",
    curl_through_a_tunnel_is_led_to_a_server_that_wants_our_identity: "curl --proxytunnel",
    wget_is_led_to_a_server_that_wants_our_identity: "wget",
    pythons_urllib_is_led_to_a_server_that_wants_our_identity: "urllib",
    pythons_requests_is_led_to_a_server_that_wants_our_identity: "requests",
    pythons_httpx_is_led_to_a_server_that_wants_our_identity: "httpx",
    pythons_aiohttp_is_led_to_a_server_that_wants_our_identity: "aiohttp",
    go_is_led_to_a_server_that_wants_our_identity: "Go net/http",
    javas_http_url_connection_is_led_to_a_server_that_wants_our_identity: "Java HttpURLConnection",
    javas_http_client_is_led_to_a_server_that_wants_our_identity: "Java HttpClient",
    nodes_http_is_led_to_a_server_that_wants_our_identity: "Node.js http",
    nodes_fetch_is_led_to_a_server_that_wants_our_identity: "Node.js fetch",
    undicis_proxy_agent_is_led_to_a_server_that_wants_our_identity: "undici ProxyAgent",
    undicis_agent_of_the_environment_is_led_to_a_server_that_wants_our_identity: "undici EnvHttpProxyAgent",
    axios_is_led_to_a_server_that_wants_our_identity: "axios",
    http_proxy_agent_is_led_to_a_server_that_wants_our_identity: "http-proxy-agent",
    https_proxy_agent_is_led_to_a_server_that_wants_our_identity: "https-proxy-agent",
}

#[test]
fn curl_may_ask_for_http2_or_a_go_ahead_or_speak_http_1_0() {
    let here = "outbound::proxy_clients::curl_may_ask_for_http2_or_a_go_ahead_or_speak_http_1_0";
    if !in_a_network_of_its_own(here, "") {
        return;
    }
    let setup = ProxySetup::start(&[]);
    let (hello, count) = (format!("{}/hello", setup.url("http")), format!("{}/count", setup.url("http")));
    let body = "a".repeat(10_000);
    let through = ["-x", setup.proxy()];
    for (options, url, printed, mode) in [
        (&["--http2"][..], &hello, "hello 200", "absolute"),
        (&["--http1.0"], &hello, "hello 200", "absolute"),
        (&[&through[..], &["-p", "--http1.0"]].concat(), &hello, "hello 200", "tunnel_wrapped"),
        (&["-H", "Expect: 100-continue", "-d", &body], &count, "10000 200", "absolute"),
        (
            &[&through[..], &["-p", "-H", "Expect: 100-continue", "-d", &body]].concat(),
            &count,
            "10000 200",
            "tunnel_wrapped",
        ),
        (&["-H", "Transfer-Encoding: chunked", "-d", &body], &count, "10000 200", "absolute"),
    ] {
        let before = setup.sidecar.lines_of("request completed").len();
        let curl = ["curl", "-sS", "-m", "60", "-w", "%{http_code}"];
        let program: Vec<_> = curl.iter().chain(options).map(|word| (*word).to_owned()).chain([url.clone()]).collect();
        let output = setup.run(&program);
        assert_eq!(String::from_utf8_lossy(&output.stdout), printed, "{options:?}: {output:?}");
        let entries = setup.requests(before, 1);
        assert_eq!((entries.len(), &entries[0]["mode"]), (1, &mode.into()), "{options:?}: {entries:?}");
    }
    setup.only_we_were_there();
}

#[test]
fn what_a_client_asks_of_loopback_does_not_come_to_the_proxy_that_the_environment_names() {
    let here =
        "outbound::proxy_clients::what_a_client_asks_of_loopback_does_not_come_to_the_proxy_that_the_environment_names";
    if !in_a_network_of_its_own(here, "") {
        return;
    }
    let setup = ProxySetup::start(&[]);
    for client in CLIENTS.iter().filter(|client| client.leaves_out_loopback) {
        let Some(program) = client.program() else { continue };
        for host in ["127.0.0.1", "localhost"] {
            setup.everything(client, &program, &format!("http://{host}:{}", setup.app.addr().port()));
        }
    }
    // The server's own app was asked, and nobody else.
    assert_eq!(setup.sidecar.lines_of("request completed"), Vec::<Value>::new());
    assert_eq!(setup.serving.reasons(), Vec::<String>::new());
}

#[test]
fn clients_show_the_password_of_the_url_that_they_are_told() {
    let here = "outbound::proxy_clients::clients_show_the_password_of_the_url_that_they_are_told";
    if !in_a_network_of_its_own(here, "") {
        return;
    }
    let setup = ProxySetup::start(&["--forward-proxy-secret=on"]);
    for client in CLIENTS {
        let Some(program) = client.program() else { continue };
        let before = setup.sidecar.lines_of("request completed").len();
        setup.everything(client, &program, &setup.url("http"));
        let entries = setup.requests(before, 1);
        // Java does so after it was asked to.
        let refused = entries.iter().filter(|entry| entry["status"] == 407).count();
        assert_eq!(refused > 0, client.name.starts_with("Java"), "{}: {entries:?}", client.name);
    }
    setup.only_we_were_there();
}

#[test]
fn tls_that_a_client_speaks_by_itself_has_no_certificate_and_is_refused_by_the_server() {
    let here =
        "outbound::proxy_clients::tls_that_a_client_speaks_by_itself_has_no_certificate_and_is_refused_by_the_server";
    if !in_a_network_of_its_own(here, "") {
        return;
    }
    // So that https_proxy is announced as well.
    let setup = ProxySetup::start(&["--forward-proxy-unlisted=tunnel"]);
    for client in CLIENTS.iter().filter(|client| client.tunnels_tls) {
        let Some(program) = client.program() else { continue };
        let before = setup.sidecar.lines_of("request completed").len();
        let output = setup.run(&[&program[..], &[setup.url("https")]].concat());
        assert!(!output.status.success(), "{}: {output:?}", client.name);
        for entry in setup.requests(before, 1) {
            assert_eq!((&entry["mode"], &entry["server_app"]), (&"tunnel_tls".into(), &Value::Null), "{entry}");
        }
    }
    let denied = setup.serving.access_log_entry("denied");
    assert_eq!(denied["client_app"], Value::Null, "{denied}");
    assert!(!setup.serving.lines().iter().any(|line| line["client_app"].is_string()));
    assert!(setup.app.asked().is_empty());
}
