//! What operators ask by hand, in Envoy's shapes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use vestibule::identity::Certificate;

use super::{C2C, CONTEXT, GOROUTER, ID, mtls, visit};
use crate::support::cell::Cell;
use crate::support::credentials::Credentials;
use crate::support::diego::Container;
use crate::support::platform::Platform;
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }
}

fn ask(sidecar: &Sidecar, method: &str, path: &str) -> Answer {
    let admin: SocketAddr = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
    let mut tcp = TcpStream::connect(admin).unwrap();
    write!(tcp, "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn get(sidecar: &Sidecar, path: &str) -> Answer {
    ask(sidecar, "GET", path)
}

/// A container with all that a file may say, and a proxy that serves it.
fn serving() -> (Cell, Sidecar) {
    let platform = Platform::new();
    let container = Container { http2: true, ports: &[8080, 2222], ..mtls() };
    let mut cell = Cell::unwritten(container, &[app::echo(), app::echo()]);
    cell.trusted = platform.bundle();
    cell.names = vec![GOROUTER];
    cell.update();
    let sidecar = cell.serving();
    (cell, sidecar)
}

#[test]
fn ready_tells_the_state_in_envoys_words() {
    let mut cell = Cell::unwritten(Container::default(), &[app::echo()]);
    std::fs::write(cell.bootstrap(), cell.bootstrap_text()).unwrap();
    let sidecar = cell.listening();
    let is = |status, word: &str| {
        eventually(word, || {
            let answer = get(&sidecar, "/ready");
            (answer.status == status && answer.body == format!("{word}\n")).then_some(())
        });
    };
    is(503, "PRE_INITIALIZING");
    cell.update();
    is(200, "LIVE");
    assert_eq!(get(&sidecar, "/server_info").json()["state"], "LIVE");
    cell.retire();
    is(503, "DRAINING");
    assert_eq!(get(&sidecar, "/server_info").json()["state"], "DRAINING");
    cell.update();
    is(200, "LIVE");
}

#[test]
fn certs_lists_for_each_listener_what_is_shown_and_who_vouches() {
    let (cell, sidecar) = serving();
    let certs = get(&sidecar, "/certs").json();
    let entries = certs["certificates"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    for (entry, addr, asks) in [(&entries[0], 0, true), (&entries[1], 1, false), (&entries[2], 2, true)] {
        let mut shown = cell.connector().connect(sidecar.addrs()[addr]).unwrap();
        let leaf = Certificate::from_der(&shown.leaf()).unwrap();
        let date = |time| format!("{:.0}", jiff::Timestamp::try_from(time).unwrap());
        let expected = json!({
            "path": "<inline>",
            "serial_number": leaf.serial(),
            "subject_alt_names": [{ "dns": cell.connector().name }, { "ip_address": "127.0.0.1" }],
            "days_until_expiration": "0",
            "valid_from": date(leaf.not_before()),
            "expiration_time": date(leaf.not_after()),
        });
        assert_eq!(entry["cert_chain"], json!([expected]));
        let cas = entry["ca_cert"].as_array().unwrap();
        assert_eq!(cas.len(), usize::from(asks), "the same CA three times is one");
        for ca in cas {
            assert!(!ca["serial_number"].as_str().unwrap().is_empty() && ca["subject_alt_names"] == json!([]), "{ca}");
        }
        shown.close_notify();
    }
}

#[test]
fn certs_shows_the_pair_without_a_name_while_retiring() {
    let mut cell = Cell::new(Container::default(), &[app::echo()]);
    let sidecar = cell.serving();
    cell.retire();
    eventually("the empty name", || {
        let names = get(&sidecar, "/certs").json()["certificates"][0]["cert_chain"][0]["subject_alt_names"].clone();
        (names[0] == json!({ "dns": "" })).then_some(())
    });
}

#[test]
fn listeners_are_listed_as_text_and_as_json() {
    let (_cell, sidecar) = serving();
    let (addrs, names) = (sidecar.addrs(), ["listener-8080-61001", "listener-8080-61443", "listener-2222-61002"]);
    let lines: String = names.iter().zip(&addrs).map(|(name, addr)| format!("{name}::{addr}\n")).collect();
    assert_eq!(get(&sidecar, "/listeners").body, lines);
    let statuses: Vec<_> = names
        .iter()
        .zip(&addrs)
        .map(|(name, addr)| {
            let socket = json!({ "address": "127.0.0.1", "port_value": addr.port() });
            json!({ "name": name, "local_address": { "socket_address": socket } })
        })
        .collect();
    assert_eq!(get(&sidecar, "/listeners?format=json").json(), json!({ "listener_statuses": statuses }));
}

#[test]
fn server_info_names_the_node_and_what_it_was_started_with() {
    let (cell, sidecar) = serving();
    let info = get(&sidecar, "/server_info").json();
    assert_eq!(info["version"], format!("vestibule/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(info["node"]["id"], "sidecar~127.0.0.1~51f0a000-a1b2-4c3d-5e6f-7a00~x");
    let options = &info["command_line_options"];
    assert_eq!(options["config_path"], cell.bootstrap().to_str().unwrap());
    assert_eq!((&options["drain_time"], &options["log_level"]), (&json!("900s"), &json!("debug")));
    assert!(info["uptime_current_epoch"].as_str().unwrap().ends_with('s'), "{info}");
}

#[test]
fn stats_come_as_envoys_text_and_for_prometheus() {
    let (_cell, sidecar) = serving();
    let text = get(&sidecar, "/stats").body;
    for line in ["server.live: 1", "server.state: 0", "listener_manager.total_listeners_active: 3"] {
        assert!(text.lines().any(|known| known == line), "{line} is not in {text}");
    }
    assert!(text.lines().all(|line| line.split_once(": ").is_some()), "{text}");
    let metrics = get(&sidecar, "/stats?usedonly&format=prometheus");
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    assert!(metrics.body.contains("\nvestibule_connections_opened_total "), "{}", metrics.body);
    assert_eq!(get(&sidecar, "/stats/prometheus").status, 200);
}

#[test]
fn the_config_dump_says_what_is_honoured_and_holds_no_key() {
    let (cell, sidecar) = serving();
    let answer = get(&sidecar, "/config_dump");
    assert!(!answer.body.contains("PRIVATE KEY"), "{}", answer.body);
    let dump = answer.json();
    let part = |kind: &str| {
        let configs = dump["configs"].as_array().unwrap().iter();
        configs.clone().find(|config| config["@type"] == format!("type.googleapis.com/envoy.admin.v3.{kind}")).unwrap()
    };
    let listener = &part("ListenersConfigDump")["static_listeners"][0]["listener"];
    let tls = &listener["filter_chains"][0]["transport_socket"]["typed_config"];
    assert_eq!(tls["require_client_certificate"], true);
    let common = &tls["common_tls_context"];
    assert_eq!(common["alpn_protocols"], json!(["h2", "http/1.1"]));
    assert_eq!(
        common["tls_params"]["cipher_suites"],
        json!(["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"])
    );
    let path = &common["tls_certificate_sds_secret_configs"][0]["sds_config"]["path_config_source"]["path"];
    assert_eq!(path, cell.secret(ID).to_str().unwrap());
    let clusters = part("ClustersConfigDump")["static_clusters"].as_array().unwrap();
    let names: Vec<_> = clusters.iter().map(|cluster| &cluster["cluster"]["name"]).collect();
    assert_eq!(names, ["service-cluster-8080", "service-cluster-2222"]);
    assert_eq!(clusters[0]["cluster"]["connect_timeout"], "0.250s");
    assert_eq!(part("BootstrapConfigDump")["bootstrap"]["static_resources"]["listeners"].as_array().unwrap().len(), 3);

    let secrets = part("SecretsConfigDump")["dynamic_active_secrets"].as_array().unwrap();
    let secret = |name: &str| &secrets.iter().find(|secret| secret["name"] == name).unwrap()["secret"];
    for name in [ID, C2C] {
        let pair = &secret(name)["tls_certificate"];
        assert_eq!(pair["private_key"]["inline_string"], "[redacted]");
        let chain = pair["certificate_chain"]["inline_string"].as_str().unwrap();
        assert_eq!(CertificateDer::pem_slice_iter(chain.as_bytes()).count(), 2);
    }
    let names = &secret(CONTEXT)["validation_context"]["match_subject_alt_names"];
    assert_eq!(*names, json!([{ "exact": GOROUTER }]));
    assert_eq!(secrets.len(), 3, "the context is there once though two listeners have it");
}

#[test]
fn nothing_can_be_changed_here() {
    let cell = Cell::new(Container::default(), &[app::echo()]);
    let mut sidecar = cell.serving();
    for (method, path) in [
        ("POST", "/quitquitquit"),
        ("GET", "/quitquitquit"),
        ("POST", "/healthcheck/fail"),
        ("POST", "/drain_listeners?graceful"),
        ("POST", "/logging?level=debug"),
        ("POST", "/reset_counters"),
        ("POST", "/certs"),
        ("POST", "/drain"),
        ("POST", "/loglevel?level=debug"),
    ] {
        let answer = ask(&sidecar, method, path);
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
        assert!(!answer.body.is_empty());
    }
    assert!(ask(&sidecar, "POST", "/quitquitquit").body.contains("changes nothing"));
    assert!(sidecar.is_running());
    visit(&cell.connector(), sidecar.addr()).unwrap();
    // Ours are there as well.
    assert_eq!(get(&sidecar, "/livez").status, 200);
    assert!(get(&sidecar, "/help").body.contains("/certs"));
}

#[test]
fn whoever_was_not_started_as_envoy_answers_nothing_of_envoys() {
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).env("VESTIBULE_ADMIN", "127.0.0.1:0").ready();
    for path in ["/ready", "/certs", "/config_dump", "/quitquitquit"] {
        assert_eq!(get(&sidecar, path).status, 404, "{path}");
    }
}
