//! Who is told of the forward proxy, who may ask it, and what is seen of it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde_json::Value;

use super::forward_proxy::{get_from, get_from_name, proxy, setup};
use super::http::{AppClient, before};
use super::{Caller, app_guid};
use crate::health::get;
use crate::support::http_app::HttpApp;
use crate::support::sidecar::Setup;
use crate::support::{app, eventually};

/// What the app says of its environment, which `sh` prints.
fn told(caller: &Caller, options: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    let file = caller.credentials.dir().join("environment");
    let script = format!("env | grep -i -e proxy | sort > {0}.new; mv {0}.new {0}", file.display());
    let mut setup =
        Setup::command(&["run", "--listen", "127.0.0.1:0", "--app", &app::nobody().to_string(), "--forward-proxy=0"]);
    for option in options {
        setup = setup.arg(option);
    }
    for (name, value) in env {
        setup = setup.env(name, value);
    }
    let mut sidecar = setup.credentials(&caller.credentials).arg("--").arg("sh").arg("-c").arg(&script).start();
    let at = proxy(&sidecar);
    sidecar.exited();
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().filter(|line| !line.starts_with("VESTIBULE")).map(|line| line.replace(&at.to_string(), "AT")).collect()
}

#[test]
fn the_app_is_told_where_the_proxy_is() {
    let caller = Caller::new();
    assert_eq!(told(&caller, &[], &[]), ["CF_INSTANCE_MTLS_PROXY=http://AT"]);
    assert!(told(&caller, &["--forward-proxy-announce=off"], &[]).is_empty());
    let env = [("NO_PROXY", "own.example"), ("CF_INSTANCE_INTERNAL_IP", "10.255.0.3")];
    assert_eq!(
        told(&caller, &["--forward-proxy-announce=env"], &env),
        [
            "CF_INSTANCE_MTLS_PROXY=http://AT",
            "HTTP_PROXY=http://AT",
            "NODE_USE_ENV_PROXY=1",
            "NO_PROXY=own.example,localhost,127.0.0.1,::1,10.255.0.3",
            "http_proxy=http://AT",
            "no_proxy=own.example,localhost,127.0.0.1,::1,10.255.0.3",
        ]
    );
}

#[test]
fn an_answer_of_our_own_names_the_server_that_was_tried_and_the_log_has_it_in_fields() {
    let caller = Caller::new();
    let port = app::nobody().port();
    let to = format!("localhost:{port}=cf:any");
    let sidecar = setup(&caller, &[&to]).ready();
    let (head, body) = AppClient::at(proxy(&sidecar)).ask(&get_from_name("localhost", port));
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    let line = eventually("an entry", || sidecar.lines_of("request completed").into_iter().next());
    let addr = line["endpoint_addr"].as_str().unwrap();
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.starts_with("the endpoint refused the connection; start what should listen there"), "{detail}");
    assert!(detail.ends_with(&format!("--protocol tcp --port {port})")), "{detail}");
    assert_eq!(body, format!("vestibule: localhost:{port} at {addr}: {detail}\n"));
    let connect = format!("CONNECT localhost:{port} HTTP/1.1\r\n\r\n");
    let (_, body) = AppClient::at(proxy(&sidecar)).ask(&connect);
    assert!(body.starts_with(&format!("vestibule: localhost:{port} at ")), "{body}");
    // Whoever is not listed is named as ever, and the log does not say the reason twice.
    AppClient::at(proxy(&sidecar)).ask(&get_from_name("elsewhere", port));
    let detail = eventually("the refusal", || {
        sidecar.lines_of("request completed").into_iter().find(|line| line["close_reason"] == "not_listed")
    });
    assert!(detail["detail"].as_str().unwrap().starts_with("elsewhere:"), "{detail}");
}

#[test]
fn a_mapping_to_a_port_that_is_not_listed_is_told_at_the_start() {
    let caller = Caller::new();
    let setup = setup(&caller, &["backend:1=cf:any"]).arg("--forward-proxy-map").arg("backend:80=:1,other:80=:1");
    let sidecar = setup.ready();
    let warned = sidecar.wait_until("the warning", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("--forward-proxy-map leads to a port"))
    });
    assert_eq!(warned["to"], "other:1");
}

#[test]
fn without_the_password_of_this_start_nothing_is_sent_on_and_it_is_in_no_log() {
    let caller = Caller::new();
    let app = HttpApp::saying("let in");
    let (backend, serving) = before(&app);
    let to = format!("{}={}", serving.addr(), app_guid(&backend));
    let file = caller.credentials.dir().join("url");
    let script = format!("echo $CF_INSTANCE_MTLS_PROXY > {0}.new; mv {0}.new {0}; sleep 60", file.display());
    let nobody = app::nobody().to_string();
    let options = ["run", "--listen=127.0.0.1:0", "--app", &nobody, "--forward-proxy=0", "--forward-proxy-secret=on"];
    let sidecar = Setup::command(&options)
        .arg("--forward-proxy-allow-address=127.0.0.0/8")
        .arg("--forward-proxy-to")
        .arg(&to)
        .credentials(&caller.credentials)
        .arg("--")
        .arg("sh")
        .arg("-c")
        .arg(&script)
        .ready();
    let url = eventually("the URL", || std::fs::read_to_string(&file).ok());
    let password = url.trim().strip_prefix("http://vestibule:").unwrap().split_once('@').unwrap().0.to_owned();
    assert!(password.len() >= 32, "{url}");
    for wrong in ["", "Proxy-Authorization: Basic dmVzdGlidWxlOng=\r\n"] {
        let text = format!("GET http://{}/ HTTP/1.1\r\nHost: a\r\n{wrong}\r\n", serving.addr());
        let (head, _) = AppClient::at(proxy(&sidecar)).ask(&text);
        assert!(head.starts_with("HTTP/1.1 407 ") && head.contains("proxy-authenticate: Basic realm="), "{head}");
    }
    assert!(app.asked().is_empty());
    let shown = Base64::encode_string(format!("vestibule:{password}").as_bytes());
    let text =
        format!("GET http://{}/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic {shown}\r\n\r\n", serving.addr());
    assert_eq!(AppClient::at(proxy(&sidecar)).ask(&text).1, "let in");
    assert!(!app.asked()[0].head.contains(&shown), "the server gets it");
    let log = format!("{:?}", sidecar.lines());
    assert!(!log.contains(&password) && !log.contains(&shown), "{log}");
}

#[test]
fn a_socket_file_is_for_our_own_user_and_leads_to_the_same_servers() {
    let app = HttpApp::saying("by file");
    let (backend, serving) = before(&app);
    let caller = Caller::new();
    let path = caller.credentials.dir().join("proxy.sock");
    let to = format!("{}={}", serving.addr(), app_guid(&backend));
    let sidecar = Setup::proxy(&caller.credentials, app::nobody())
        .arg(&format!("--forward-proxy=unix:{}", path.display()))
        .arg("--forward-proxy-allow-address=127.0.0.0/8")
        .arg("--forward-proxy-to")
        .arg(&to)
        .ready();
    sidecar.wait_for("forward proxy listening");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(get_from(serving.addr()).as_bytes()).unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"by file") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
        seen.push(byte[0]);
    }
}

#[test]
fn metrics_and_the_status_page_know_the_forward_proxy() {
    let app = HttpApp::saying("hello");
    let caller = Caller::new();
    let (backend, serving) = before(&app);
    let to = format!("{}={}", serving.addr(), app_guid(&backend));
    let sidecar = setup(&caller, &[&to]).env("VESTIBULE_ADMIN", "127.0.0.1:0").ready();
    let admin = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
    let mut app_client = AppClient::at(proxy(&sidecar));
    app_client.ask(&get_from(serving.addr()));
    app_client.ask("GET http://other.example/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, metrics) = get(admin, "/metrics");
    for line in [
        "vestibule_outbound_forward_proxy_requests_total{mode=\"absolute\",status_class=\"2xx\"} 1",
        "vestibule_outbound_forward_proxy_requests_total{mode=\"refused\",status_class=\"4xx\"} 1",
        "vestibule_outbound_requests_total{outbound=\"forward-proxy\",reason=\"not_listed\"} 1",
        "vestibule_outbound_pool_misses_total{outbound=\"forward-proxy\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("vestibule_outbound_endpoints{"), "{metrics}");
    let (_, status) = get(admin, "/status.json");
    let status: Value = serde_json::from_str(&status).unwrap();
    let shown = &status["forward_proxy"];
    assert_eq!((&shown["to"][0]["hosts"], &shown["unlisted"]), (&serving.addr().to_string().into(), &"refuse".into()));
    assert_eq!((&shown["requests"], &shown["failures"][0]["close_reason"]), (&2.into(), &"not_listed".into()));
    assert_eq!(shown["hosts"][0]["name"], serving.addr().to_string());
    let (_, page) = get(admin, "/");
    assert!(page.contains("is the forward proxy") && page.contains("are refused"), "{page}");
}
