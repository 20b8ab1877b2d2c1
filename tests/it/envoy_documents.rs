//! The documents that Diego writes for Envoy, in every shape that a foundation may give them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vestibule::config::envoy::{Bootstrap, EnvoyListener, sds};
use vestibule::config::{SdsSecretRef, Tls12Suite, TlsVersion, ValidationContextConfig};
use vestibule::diagnostics::Diagnostics;

use crate::support::diego::{Container, sds_pair};
use crate::support::within;

mod refusals;
mod secrets;

const OFF: &str = "mtls-off_http2-off_ports-8080";
const ON: &str = "mtls-on_http2-on_ports-8080-9090";

const LISTENER: &str = "static_resources.listeners[0]";
const CHAIN: &str = "static_resources.listeners[0].filter_chains[0]";
const TLS: &str = "static_resources.listeners[0].filter_chains[0].transport_socket.typed_config";
const COMMON: &str = "static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context";
const CLUSTER: &str = "static_resources.clusters[0]";
const APP: &str =
    "static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address";

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diego").join(name);
    fs::read_to_string(path).unwrap()
}

fn lines(diagnostics: &Diagnostics) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

fn parse(text: &str) -> Result<Bootstrap, Vec<String>> {
    Bootstrap::parse(Path::new("envoy.yaml"), text).map_err(|diagnostics| lines(&diagnostics))
}

fn secret(name: &str) -> SdsSecretRef {
    let path = PathBuf::from(format!("/etc/cf-assets/envoy_config/sds-{name}.yaml"));
    SdsSecretRef { name: name.to_owned(), path }
}

/// What `container`'s file means.
fn meaning(container: &Container) -> Bootstrap {
    let listener = |(app, proxy): (u16, u16)| {
        let c2c = proxy == 61443;
        let clients = ValidationContextConfig { required: true, secret: secret("id-validation-context") };
        let alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        EnvoyListener {
            name: format!("listener-{app}-{proxy}"),
            listen: ([0, 0, 0, 0], proxy).into(),
            cluster: format!("service-cluster-{app}"),
            app: (container.ip.parse::<std::net::IpAddr>().unwrap(), app).into(),
            connect_timeout: Duration::from_millis(250),
            alpn: if container.http2 && !c2c { alpn } else { Vec::new() },
            tls12_suites: Some(vec![Tls12Suite::RsaAes256, Tls12Suite::RsaAes128]),
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            pair: secret(if c2c { "c2c-cert-and-key" } else { "id-cert-and-key" }),
            clients: (container.mtls && !c2c).then_some(clients),
        }
    };
    Bootstrap {
        admin: Some(([127, 0, 0, 1], container.admin_port()).into()),
        node: Some(format!("sidecar~{}~{}~x", container.ip, container.guid)),
        listeners: container.listeners().into_iter().map(listener).collect(),
        notes: Vec::new(),
    }
}

/// Every shape that a foundation may choose.
fn containers() -> Vec<Container> {
    let mut all = Vec::new();
    for bits in 0..16_u8 {
        for ports in [&[8080][..], &[8080, 9090], &[8080, 2222]] {
            let on = |bit: u8| bits & (1 << bit) != 0;
            let (mtls, http2, old_sds, clusters_reversed) = (on(0), on(1), on(2), on(3));
            all.push(Container { mtls, http2, ports, old_sds, clusters_reversed, ..Container::default() });
        }
    }
    all
}

/// A container with all that a file may say.
fn full() -> Container {
    Container { mtls: true, http2: true, ports: &[8080, 9090], ..Container::default() }
}

/// `full`'s file with the first `from` replaced by `to`.
#[track_caller]
fn mutated(from: &str, to: &str) -> String {
    let text = full().envoy_yaml();
    assert!(text.contains(from), "{from:?} is not there");
    text.replacen(from, to, 1)
}

#[test]
fn the_generator_writes_what_diego_wrote_to_the_byte() {
    let off = Container::default();
    assert_eq!(off.envoy_yaml(), fixture(&format!("{OFF}/envoy_config/envoy.yaml")));
    let on = Container { ip: "10.255.117.107", guid: "51f0a007-a1b2-4c3d-5e6f-7a07", ..full() };
    assert_eq!(on.envoy_yaml(), fixture(&format!("{ON}/envoy_config/envoy.yaml")));
    for folder in [OFF, ON] {
        for name in ["id-cert-and-key", "c2c-cert-and-key"] {
            let text = fixture(&format!("{folder}/envoy_config/sds-{name}.yaml"));
            let pair = sds::pair(Path::new("sds.yaml"), &text, name).unwrap();
            assert_eq!(sds_pair(name, &pair.chain, &pair.key), text);
        }
    }
}

#[test]
fn every_shape_of_the_bootstrap_means_what_it_says() {
    for container in containers() {
        assert_eq!(parse(&container.envoy_yaml()), Ok(meaning(&container)), "{container:?}");
    }
}

#[test]
fn a_large_bootstrap_is_read_at_once() {
    static PORTS: [u16; 100] = {
        let mut ports = [0; 100];
        let mut i = 0;
        while i < 100 {
            ports[i as usize] = 1000 + i;
            i += 1;
        }
        ports
    };
    let container = Container { mtls: true, ports: &PORTS, ..Container::default() };
    let text = container.envoy_yaml();
    within(Duration::from_secs(1), || {
        let started = Instant::now();
        assert_eq!(parse(&text).unwrap().listeners.len(), 100);
        started.elapsed()
    });
}

#[test]
fn the_same_document_as_json_means_the_same() {
    // YAML's flow style with quotes is JSON: one listener and one cluster of it, as a newer writer might put them.
    let text = r#"{"static_resources": {"clusters": [{"name": "c", "load_assignment": {"endpoints": [{"lb_endpoints":
        [{"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 8080}}}}]}]}}],
        "listeners": [{"address": {"socket_address": {"address": "::", "port_value": "61001"}}, "filter_chains": [{
        "filters": [{"typed_config": {"cluster": "c", "@type":
        "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"}}], "transport_socket": {
        "typed_config": {"@type":
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": {
        "tls_certificate_sds_secret_configs": [{"name": "s", "sds_config": {"path": "/s.yaml"}}]}}}}]}]}}"#;
    let bootstrap = parse(text).unwrap();
    let expected = EnvoyListener {
        name: "[::]:61001".to_owned(),
        listen: "[::]:61001".parse().unwrap(),
        cluster: "c".to_owned(),
        app: "10.0.0.1:8080".parse().unwrap(),
        connect_timeout: Duration::from_secs(5),
        alpn: Vec::new(),
        tls12_suites: None,
        min_version: TlsVersion::Tls12,
        max_version: TlsVersion::Tls13,
        pair: SdsSecretRef { name: "s".to_owned(), path: "/s.yaml".into() },
        clients: None,
    };
    assert_eq!(bootstrap, Bootstrap { admin: None, node: None, listeners: vec![expected], notes: Vec::new() });
}

#[test]
fn what_cannot_change_behaviour_is_ignored_whatever_it_says() {
    let plain = parse(&full().envoy_yaml()).unwrap();
    for (from, to) in [
        ("new_tcp_connection_pool: false", "something_that_envoy_removed: true"),
        ("    reject_all: true", "    reject_all: false\n    novel: {deep: [1]}"),
        ("access_log_path: /dev/null", "access_log_path: NUL"),
        ("cluster: proxy-cluster", "cluster: other"),
        ("    reuse_port: false", "    reuse_port: true"),
        ("    drain_type: DEFAULT", "    drain_type: MODIFY_ONLY"),
        ("    traffic_direction: UNSPECIFIED", "    traffic_direction: INBOUND"),
        ("    lb_policy: ROUND_ROBIN", "    lb_policy: RANDOM"),
        ("          health_status: UNKNOWN", "          health_status: HEALTHY"),
        ("stat_prefix: stats-8080-61001", "stat_prefix: other"),
        ("resource_api_version: AUTO", "resource_api_version: V3"),
        ("                    path: /etc/cf-assets/envoy_config\n", "                    path: /other\n"),
        ("flags_path: \"\"", "watchdog: {kill_timeout: 5s}"),
        ("    enable_mptcp: false", "    per_connection_buffer_limit_bytes: 1024"),
        // Defaults that a newer Diego might spell out.
        (
            "    enable_mptcp: false",
            "    novel_flag: false\n    novel_list: []\n    novel_text: \"\"\n    novel: {a: 0, b: {}}",
        ),
    ] {
        assert_eq!(parse(&mutated(from, to)).as_ref(), Ok(&plain), "{to:?}");
    }
}

#[test]
fn an_unknown_field_stops_an_app_only_where_it_may_decide_what_others_see() {
    let notes = |from, to| parse(&mutated(from, to)).unwrap().notes;
    assert_eq!(notes("node:\n", "novel: {x: 1}\nnode:\n"), ["envoy.yaml: novel: not known, and ignored"]);
    assert_eq!(notes("  client_features: []", "  novel: 7"), ["envoy.yaml: node.novel: not known, and ignored"]);
    let word = notes("    enable_mptcp: false", "    novel_policy: AS_ALWAYS");
    assert_eq!(word, [format!("envoy.yaml: {LISTENER}.novel_policy: not known, and ignored")]);
    let refused = parse(&mutated("    enable_mptcp: false", "    novel: 7")).unwrap_err();
    let line = "not known, and it may decide what clients or the app see; leave it out";
    assert_eq!(refused, [format!("envoy.yaml: {LISTENER}.novel: {line}")]);
}

#[test]
fn tls_is_what_the_file_says() {
    let first = |from: &str, to: &str| parse(&mutated(from, to)).unwrap().listeners.remove(0);
    let weak = mutated(
        "              - ECDHE-RSA-AES256-GCM-SHA384",
        "              - '[AES128-SHA|ECDHE-ECDSA-CHACHA20-POLY1305]'",
    );
    let weak = parse(&weak).unwrap();
    assert_eq!(weak.listeners[0].tls12_suites, Some(vec![Tls12Suite::EcdsaChacha20, Tls12Suite::RsaAes128]));
    let note = format!(
        "envoy.yaml: {COMMON}.tls_params.cipher_suites[0]: not spoken, and left out: no forward secrecy, or no AEAD"
    );
    assert_eq!(weak.notes, [note]);
    let min =
        |version| first("tls_minimum_protocol_version: TLS_AUTO", &format!("tls_minimum_protocol_version: {version}"));
    assert_eq!(["TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"].map(|version| min(version).min_version), {
        [TlsVersion::Tls12, TlsVersion::Tls12, TlsVersion::Tls12, TlsVersion::Tls13]
    });
    let max = first("tls_maximum_protocol_version: TLS_AUTO", "tls_maximum_protocol_version: TLSv1_2");
    assert_eq!(max.max_version, TlsVersion::Tls12);
    let alpn = first("            - h2,http/1.1", "            - http/1.1\n            - h2,http/1.1,acme");
    assert_eq!(alpn.alpn, [b"http/1.1".to_vec(), b"h2".to_vec(), b"acme".to_vec()]);
}

#[test]
fn roots_without_the_requirement_ask_and_the_requirement_without_roots_is_refused() {
    let connector = parse(&mutated("          require_client_certificate: true\n", "")).unwrap();
    let clients = ValidationContextConfig { required: false, secret: secret("id-validation-context") };
    assert_eq!(connector.listeners[0].clients, Some(clients));
    assert_eq!(connector.listeners[1].clients, None);
    let off = Container::default().envoy_yaml();
    let demanding = off.replace("LENIENT_STAPLING\n", "LENIENT_STAPLING\n          require_client_certificate: true\n");
    let found = parse(&demanding).unwrap_err();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with(&format!("envoy.yaml: {TLS}.require_client_certificate: certificates are required")));
}
