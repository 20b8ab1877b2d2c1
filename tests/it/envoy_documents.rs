//! The documents that Diego writes for Envoy, in every shape that a foundation may give them.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use proptest::prelude::*;
use vestibule::config::Context;
use vestibule::config::SecretFile;
use vestibule::config::Tls12Suite;
use vestibule::config::TlsVersion;
use vestibule::config::envoy::Bootstrap;
use vestibule::config::envoy::EnvoyListener;
use vestibule::config::envoy::sds;
use vestibule::config::mistake::Mistakes;
use vestibule::policy::AltName;
use vestibule::policy::AltNameKind;

use crate::support::diego::Container;
use crate::support::diego::sds_pair;
use crate::support::diego::sds_validation_context;

const OFF: &str = "mtls-off_http2-off_ports-8080";
const ON: &str = "mtls-on_http2-on_ports-8080-9090";

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diego").join(name);
    fs::read_to_string(path).unwrap()
}

fn lines(mistakes: &Mistakes) -> Vec<String> {
    mistakes.iter().map(ToString::to_string).collect()
}

fn parse(text: &str) -> Result<Bootstrap, Vec<String>> {
    Bootstrap::parse(Path::new("envoy.yaml"), text).map_err(|mistakes| lines(&mistakes))
}

fn secret(name: &str) -> SecretFile {
    let path = PathBuf::from(format!("/etc/cf-assets/envoy_config/sds-{name}.yaml"));
    SecretFile { name: name.to_owned(), path }
}

/// What `container`'s file means.
fn meaning(container: &Container) -> Bootstrap {
    let listener = |(app, proxy): (u16, u16)| {
        let c2c = proxy == 61443;
        let clients = Context { required: true, secret: secret("id-validation-context") };
        let alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        EnvoyListener {
            name: format!("listener-{app}-{proxy}"),
            listen: ([0, 0, 0, 0], proxy).into(),
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
    let started = Instant::now();
    assert_eq!(parse(&text).unwrap().listeners.len(), 100);
    assert!(started.elapsed() < Duration::from_secs(1), "{} bytes in {:?}", text.len(), started.elapsed());
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
        app: "10.0.0.1:8080".parse().unwrap(),
        connect_timeout: Duration::from_secs(5),
        alpn: Vec::new(),
        tls12_suites: None,
        min_version: TlsVersion::Tls12,
        max_version: TlsVersion::Tls13,
        pair: SecretFile { name: "s".to_owned(), path: "/s.yaml".into() },
        clients: None,
    };
    assert_eq!(bootstrap, Bootstrap { admin: None, node: None, listeners: vec![expected], notes: Vec::new() });
}

const LISTENER: &str = "static_resources.listeners[0]";
const CHAIN: &str = "static_resources.listeners[0].filter_chains[0]";
const TLS: &str = "static_resources.listeners[0].filter_chains[0].transport_socket.typed_config";
const COMMON: &str = "static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context";
const CLUSTER: &str = "static_resources.clusters[0]";
const APP: &str =
    "static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address";

/// What is replaced, by what, and which field is refused.
fn refusals() -> Vec<(&'static str, &'static str, String)> {
    let listener = |field: &str| format!("{LISTENER}.{field}");
    let chain = |field: &str| format!("{CHAIN}.{field}");
    let tls = |field: &str| format!("{TLS}.{field}");
    let common = |field: &str| format!("{COMMON}.{field}");
    let cluster = |field: &str| format!("{CLUSTER}.{field}");
    let filter = |field: &str| chain(&format!("filters[0].{field}"));
    let app = |field: &str| format!("{APP}.{field}");
    let endpoints = |field: &str| cluster(&format!("load_assignment.endpoints{field}"));
    vec![
        // Configuration from elsewhere.
        ("node:\n", "dynamic_resources:\n  lds_config:\n    ads: {}\nnode:\n", "dynamic_resources".to_owned()),
        ("node:\n", "dynamic_resources:\n  ads_config: {}\nnode:\n", "dynamic_resources".to_owned()),
        ("config_sources: []", "config_sources: [{}]", "config_sources".to_owned()),
        ("bootstrap_extensions: []", "bootstrap_extensions: [{name: x}]", "bootstrap_extensions".to_owned()),
        ("node:\n", "overload_manager:\n  refresh_interval: 1s\nnode:\n", "overload_manager".to_owned()),
        ("  secrets: []", "  secrets: [{name: x}]", "static_resources.secrets".to_owned()),
        (
            "                path_config_source:",
            "                ads: {}\n                path_config_source:",
            common("tls_certificate_sds_secret_configs[0].sds_config.ads"),
        ),
        (
            "                path_config_source:",
            "                api_config_source: {}\n                path_config_source:",
            common("tls_certificate_sds_secret_configs[0].sds_config.api_config_source"),
        ),
        // Listeners.
        (
            "  - access_log: []\n    additional_addresses: []\n",
            "  - additional_addresses: [{}]\n",
            listener("additional_addresses"),
        ),
        ("    listener_filters: []", "    listener_filters: [{name: x}]", listener("listener_filters")),
        ("    enable_mptcp: false", "    enable_mptcp: true", listener("enable_mptcp")),
        ("    enable_mptcp: false", "    bind_to_port: false", listener("bind_to_port")),
        ("    enable_mptcp: false", "    use_original_dst: true", listener("use_original_dst")),
        ("    enable_mptcp: false", "    default_filter_chain: {}", listener("default_filter_chain")),
        ("    enable_mptcp: false", "    udp_listener_config: {}", listener("udp_listener_config")),
        ("    enable_mptcp: false", "    max_connections: 7", listener("max_connections")),
        ("  listeners:\n  - access_log: []", "  listeners:\n  - access_log: [{name: x}]", listener("access_log")),
        (
            "    listener_filters: []\n    name: listener-8080-61001\n    reuse_port: false\n    socket_options: []",
            "    socket_options: [{level: 1}]",
            listener("socket_options"),
        ),
        ("        address: 0.0.0.0\n", "        address: localhost\n", listener("address.socket_address.address")),
        ("        port_value: 61001\n", "        port_value: 70000\n", listener("address.socket_address.port_value")),
        ("        port_value: 61001\n", "        named_port: http\n", listener("address.socket_address.named_port")),
        (
            "        port_value: 61001\n        protocol: TCP",
            "        port_value: 1\n        protocol: UDP",
            listener("address.socket_address.protocol"),
        ),
        (
            "    address:\n      socket_address:\n        address: 0.0.0.0",
            "    address:\n      pipe:\n        path: /x",
            listener("address.pipe"),
        ),
        // Filter chains and filters.
        ("    filter_chains:\n", "    filter_chains:\n    - filters: []\n", listener("filter_chains")),
        (
            "    - filters:\n",
            "    - filter_chain_match:\n        server_names: [x]\n      filters:\n",
            chain("filter_chain_match"),
        ),
        ("    - filters:\n", "    - filters:\n      - name: rbac\n", chain("filters")),
        ("    - filters:\n", "    - use_proxy_proto: true\n      filters:\n", chain("use_proxy_proto")),
        ("filters.network.tcp_proxy.v3.TcpProxy", "filters.network.rbac.v3.RBAC", filter("typed_config")),
        ("          access_log: []\n", "          access_log: [{name: x}]\n", filter("typed_config.access_log")),
        ("          hash_policy: []", "          hash_policy: [{source_ip: {}}]", filter("typed_config.hash_policy")),
        ("          hash_policy: []", "          idle_timeout: 60s", filter("typed_config.idle_timeout")),
        ("          hash_policy: []", "          max_connect_attempts: 3", filter("typed_config.max_connect_attempts")),
        (
            "          hash_policy: []",
            "          tunneling_config: {hostname: x}",
            filter("typed_config.tunneling_config"),
        ),
        (
            "          hash_policy: []",
            "          max_downstream_connection_duration: 1s",
            filter("typed_config.max_downstream_connection_duration"),
        ),
        (
            "          cluster: service-cluster-8080",
            "          cluster: service-cluster-8081",
            filter("typed_config.cluster"),
        ),
        (
            "          cluster: service-cluster-8080",
            "          weighted_clusters: {clusters: []}",
            filter("typed_config.weighted_clusters"),
        ),
        // TLS.
        ("      transport_socket:\n", "      other:\n", chain("transport_socket")),
        (
            "transport_sockets.tls.v3.DownstreamTlsContext",
            "transport_sockets.raw_buffer.v3.RawBuffer",
            chain("transport_socket.typed_config"),
        ),
        (
            "          disable_stateful_session_resumption: false",
            "          disable_stateful_session_resumption: true",
            tls("disable_stateful_session_resumption"),
        ),
        ("          disable_stateful_session_resumption: false", "          require_sni: true", tls("require_sni")),
        ("LENIENT_STAPLING", "MUST_STAPLE", tls("ocsp_staple_policy")),
        ("require_client_certificate: true", "require_client_certificate: yes", tls("require_client_certificate")),
        ("require_client_certificate: true", "requireClientCertificate: true", tls("requireClientCertificate")),
        (
            "            validation_context_sds_secret_config:",
            "            validation_context:",
            common("validation_context"),
        ),
        ("            tls_certificates: []", "            tls_certificates: [{}]", common("tls_certificates")),
        (
            "            tls_certificate_sds_secret_configs:\n",
            "            tls_certificate_sds_secret_configs:\n            - name: x\n",
            common("tls_certificate_sds_secret_configs"),
        ),
        (
            "            - name: id-cert-and-key",
            "            - name: \"\"",
            common("tls_certificate_sds_secret_configs[0].name"),
        ),
        (
            "                authorities: []\n",
            "                path: /x\n",
            common("tls_certificate_sds_secret_configs[0].sds_config"),
        ),
        ("            - h2,http/1.1", "            - h2,,http/1.1", common("alpn_protocols[0]")),
        ("              ecdh_curves: []", "              ecdh_curves: [X25519]", common("tls_params.ecdh_curves")),
        (
            "              signature_algorithms: []",
            "              signature_algorithms: [ed25519]",
            common("tls_params.signature_algorithms"),
        ),
        ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES257-GCM-SHA384", common("tls_params.cipher_suites[0]")),
        (
            "              - ECDHE-RSA-AES256-GCM-SHA384\n              - ECDHE-RSA-AES128-GCM-SHA256",
            "              - AES128-SHA",
            common("tls_params.cipher_suites"),
        ),
        (
            "tls_maximum_protocol_version: TLS_AUTO",
            "tls_maximum_protocol_version: TLSv1_1",
            common("tls_params.tls_maximum_protocol_version"),
        ),
        (
            "tls_minimum_protocol_version: TLS_AUTO",
            "tls_minimum_protocol_version: [TLSv1_3]",
            common("tls_params.tls_minimum_protocol_version"),
        ),
        // Clusters.
        ("    type: STATIC", "    type: STRICT_DNS", cluster("type")),
        ("    filters: []", "    filters: [{name: x}]", cluster("filters")),
        ("    filters: []", "    transport_socket: {name: tls}", cluster("transport_socket")),
        ("    filters: []", "    upstream_bind_config: {}", cluster("upstream_bind_config")),
        ("    health_checks: []", "    health_checks: [{timeout: 1s}]", cluster("health_checks")),
        ("    connect_timeout: 0.250s", "    connect_timeout: 250ms", cluster("connect_timeout")),
        ("    connect_timeout: 0.250s", "    connect_timeout: 0s", cluster("connect_timeout")),
        (
            "      - max_connections: 4294967295",
            "      - max_connections: 0",
            cluster("circuit_breakers.thresholds[0].max_connections"),
        ),
        (
            "      - max_requests: 4294967295",
            "      - max_requests: 1024",
            cluster("circuit_breakers.thresholds[2].max_requests"),
        ),
        (
            "      per_host_thresholds: []",
            "      per_host_thresholds: [{max_connections: 1}]",
            cluster("circuit_breakers.per_host_thresholds"),
        ),
        ("      endpoints:\n", "      endpoints:\n      - lb_endpoints: []\n", endpoints("")),
        ("      - lb_endpoints:\n", "      - lb_endpoints:\n        - {}\n", endpoints("[0].lb_endpoints")),
        (
            "          health_status: UNKNOWN",
            "          health_status: UNHEALTHY",
            endpoints("[0].lb_endpoints[0].health_status"),
        ),
        ("                address: 10.255.117.100", "                address: app.internal", app("address")),
        ("                port_value: 8080", "                port_value: 0", app("port_value")),
        ("      named_endpoints: {}", "      named_endpoints: {a: {}}", cluster("load_assignment.named_endpoints")),
        (
            "    name: service-cluster-9090",
            "    name: service-cluster-8080",
            "static_resources.clusters[1].name".to_owned(),
        ),
        ("        port_value: 61002", "        port_value: 61001", "static_resources.listeners[2].address".to_owned()),
        ("static_resources:", "staticResources:", "staticResources".to_owned()),
    ]
}

#[test]
fn what_changes_behaviour_is_refused_with_the_path_of_the_field() {
    let mut missed = Vec::new();
    for (from, to, path) in refusals() {
        let found = parse(&mutated(from, to)).err().unwrap_or_default();
        if !found.iter().any(|line| line.starts_with(&format!("envoy.yaml: {path}: "))) {
            missed.push((to, path, found.clone()));
        }
        assert!(found.iter().all(|line| line.contains("; ") && !line.contains('\n')), "{found:#?}");
    }
    assert!(missed.is_empty(), "not refused, or elsewhere: {missed:#?}");
}

#[test]
fn a_refusal_says_what_was_expected_and_the_mend_and_stands_alone() {
    let one = |from, to| match parse(&mutated(from, to)) {
        Err(lines) => lines.join("\n"),
        Ok(_) => panic!("{to:?} was not refused"),
    };
    let chains = "    filter_chains:\n    - filters: []\n";
    assert_eq!(
        one("    filter_chains:\n", chains),
        format!("envoy.yaml: {LISTENER}.filter_chains: expected exactly one, found 2; write one element")
    );
    assert_eq!(
        one("    type: STATIC", "    type: STRICT_DNS"),
        format!("envoy.yaml: {CLUSTER}.type: only STATIC is supported; write that, or nothing")
    );
    assert_eq!(
        one("    health_checks: []", "    health_checks: [{timeout: 1s}]"),
        format!(
            "envoy.yaml: {CLUSTER}.health_checks: not supported: the app's health is the platform's matter; leave it out"
        )
    );
    // What follows from it is not reported as well.
    assert_eq!(
        one("filters.network.tcp_proxy.v3.TcpProxy", "filters.network.rbac.v3.RBAC"),
        format!(
            "envoy.yaml: {CHAIN}.filters[0].typed_config: this type is not supported; the only '@type' here is \
             type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
        )
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = mutated("    type: STATIC", "    type: EDS")
        .replace("reuse_port: false", "transparent: true")
        .replace("port_value: 9090", "port_value: x");
    let found = parse(&text).unwrap_err();
    let expected =
        ["clusters[0].type", "listeners[0].transparent", "listeners[1].transparent", "listeners[2].transparent"];
    for path in expected {
        assert!(found.iter().any(|line| line.contains(path)), "{path} is not in {found:#?}");
    }
    assert!(found.iter().any(|line| line.ends_with("\"x\" is no port; write a number up to 65535")), "{found:#?}");
    assert_eq!(found.len(), 5, "{found:#?}");
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
    let asking = parse(&mutated("          require_client_certificate: true\n", "")).unwrap();
    let clients = Context { required: false, secret: secret("id-validation-context") };
    assert_eq!(asking.listeners[0].clients, Some(clients));
    assert_eq!(asking.listeners[1].clients, None);
    let off = Container::default().envoy_yaml();
    let demanding = off.replace("LENIENT_STAPLING\n", "LENIENT_STAPLING\n          require_client_certificate: true\n");
    let found = parse(&demanding).unwrap_err();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with(&format!("envoy.yaml: {TLS}.require_client_certificate: certificates are required")));
}

fn context(text: &str) -> Result<sds::ValidationContext, Vec<String>> {
    let read = sds::validation_context(Path::new("sds.yaml"), text, "id-validation-context");
    read.map_err(|mistakes| lines(&mistakes))
}

fn any(exact: &str) -> AltName {
    AltName::new(None, exact)
}

#[test]
fn a_validation_context_is_roots_and_names() {
    let found = context(&fixture(&format!("{ON}/envoy_config/sds-id-validation-context.yaml"))).unwrap();
    let names = ["gorouter", "ssh-proxy", "tcp-router"].map(|name| any(&format!("{name}.service.cf.internal")));
    assert_eq!(found.names, names);
    // The same certificate three times.
    assert_eq!(found.trusted_ca.matches("BEGIN CERTIFICATE").count(), 3);
    let empty = context(&fixture(&format!("{OFF}/envoy_config/sds-id-validation-context.yaml"))).unwrap();
    assert_eq!((empty.trusted_ca.as_str(), empty.names.len()), ("", 0));
    assert_eq!(sds_validation_context("", &[]), fixture(&format!("{OFF}/envoy_config/sds-id-validation-context.yaml")));
    let text = sds_validation_context("a\nb\n", &["x"]);
    assert_eq!(context(&text), Ok(sds::ValidationContext { trusted_ca: "a\nb\n".into(), names: vec![any("x")] }));
    let encoded = text.replace("inline_string: |\n        a\n        b", "inline_bytes: YQpiCg==");
    assert_eq!(context(&encoded), context(&text));
}

#[test]
fn typed_names_keep_their_kind_and_replace_the_others() {
    let typed = "    match_typed_subject_alt_names:\n    - san_type: DNS\n      matcher: {exact: a}\n    - san_type: IP_ADDRESS\n      matcher: {exact: 10.0.0.1, ignore_case: false}\n    trusted_ca:";
    let text = sds_validation_context("ca\n", &["x"]).replace("    trusted_ca:", typed);
    let of = |kind, exact: &str| AltName::new(Some(kind), exact);
    assert_eq!(context(&text).unwrap().names, [of(AltNameKind::Dns, "a"), of(AltNameKind::Ip, "10.0.0.1")]);
    let found = context(&text.replace("DNS", "OTHER_NAME")).unwrap_err();
    assert_eq!(
        found[0],
        "sds.yaml: resources[0].validation_context.match_typed_subject_alt_names[0].san_type: no such kind; write DNS, EMAIL, URI or IP_ADDRESS"
    );
}

#[test]
fn what_would_admit_others_is_refused_in_a_secret() {
    let text = sds_validation_context("ca\n", &["x"]);
    let inside = "resources[0].validation_context";
    for (from, to, path) in [
        ("exact: x", "prefix: x", "match_subject_alt_names[0].prefix"),
        ("exact: x", "safe_regex: {regex: .*}", "match_subject_alt_names[0].safe_regex"),
        ("exact: x", "exact: x\n      ignore_case: true", "match_subject_alt_names[0].ignore_case"),
        ("exact: x", "exact: \"\"", "match_subject_alt_names[0].exact"),
        ("exact: x", "novel: x", "match_subject_alt_names[0].novel"),
        ("    match_subject_alt_names:\n    - exact: x", "    match_subject_alt_names: x", "match_subject_alt_names"),
        ("    trusted_ca:", "    crl: {inline_string: x}\n    trusted_ca:", "crl"),
        ("    trusted_ca:", "    allow_expired_certificate: true\n    trusted_ca:", "allow_expired_certificate"),
        ("    trusted_ca:", "    verify_certificate_hash: [x]\n    trusted_ca:", "verify_certificate_hash"),
        ("    trusted_ca:", "    verify_certificate_spki: [x]\n    trusted_ca:", "verify_certificate_spki"),
        ("    trusted_ca:", "    max_verify_depth: 0\n    trusted_ca:", "max_verify_depth"),
        ("    trusted_ca:", "    system_root_certs: {}\n    trusted_ca:", "system_root_certs"),
        (
            "    trusted_ca:",
            "    trust_chain_verification: ACCEPT_UNTRUSTED\n    trusted_ca:",
            "trust_chain_verification",
        ),
        ("inline_string: |\n        ca", "filename: /x", "trusted_ca.filename"),
        ("inline_string: |\n        ca", "inline_bytes: '*'", "trusted_ca.inline_bytes"),
    ] {
        assert!(text.contains(from), "{from:?}");
        let found = context(&text.replace(from, to)).unwrap_err();
        let place = format!("sds.yaml: {inside}.{path}: ");
        assert!(found.iter().any(|line| line.starts_with(&place)), "{place:?} is not in {found:#?}");
    }
    let typed = context(&text.replace("tls.v3.Secret", "tls.v3.Other")).unwrap_err();
    assert!(typed[0].starts_with("sds.yaml: resources[0]: this type is not supported"), "{typed:#?}");
    let named = context(&text.replace("name: id-", "name: other-")).unwrap_err();
    let expected = "expected exactly one that is called \"id-validation-context\", found 0; write it once";
    assert_eq!(named, [format!("sds.yaml: resources: {expected}")]);
    assert_eq!(
        context("").unwrap_err(),
        ["sds.yaml: is empty; write it as Diego does: plain YAML or JSON, one document"]
    );
}

/// Whether `text` holds a part of a key: eight characters in a row of one of its lines.
fn leaks(text: &str, key: &str) -> bool {
    let lines = key.lines().filter(|line| !line.starts_with("-----"));
    lines.flat_map(|line| line.as_bytes().windows(8)).any(|part| text.contains(str::from_utf8(part).unwrap()))
}

fn pair(text: &str) -> Result<sds::TlsCertificate, String> {
    let read = sds::pair(Path::new("sds.yaml"), text, "id-cert-and-key");
    read.map_err(|mistakes| lines(&mistakes).join("\n"))
}

#[test]
fn a_key_is_never_shown() {
    let text = fixture(&format!("{ON}/envoy_config/sds-id-cert-and-key.yaml"));
    let pair = pair(&text).unwrap();
    assert!(
        pair.key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n")
            && pair.key.ends_with("-----END RSA PRIVATE KEY-----\n")
    );
    let shown = format!("{pair:?}");
    assert!(shown.contains("BEGIN CERTIFICATE") && !shown.contains("PRIVATE") && !leaks(&shown, &pair.key));
    assert!(leaks(&pair.key, &pair.key));
}

#[test]
fn a_torn_file_does_no_harm_wherever_it_ends() {
    let text = fixture(&format!("{ON}/envoy_config/sds-id-cert-and-key.yaml"));
    let key = pair(&text).unwrap().key;
    for end in 0..text.len() {
        if let Err(message) = pair(&text[..end]) {
            assert!(!leaks(&message, &key), "{end}: {message}");
        }
    }
    let text = fixture(&format!("{OFF}/envoy_config/envoy.yaml"));
    for end in 0..text.len() {
        match parse(&text[..end]) {
            Ok(bootstrap) => assert!(!bootstrap.listeners.is_empty(), "{end}"),
            Err(lines) => assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains('\n')), "{lines:#?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn flipped_bytes_do_no_harm(flips in proptest::collection::vec((proptest::arbitrary::any::<prop::sample::Index>(), proptest::arbitrary::any::<u8>()), 1..6)) {
        let mut bytes = fixture(&format!("{ON}/envoy_config/sds-id-cert-and-key.yaml")).into_bytes();
        let key = pair(str::from_utf8(&bytes).unwrap()).unwrap().key;
        for (at, byte) in &flips {
            *at.get_mut(&mut bytes) = *byte;
        }
        if let Err(message) = pair(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(!leaks(&message, &key), "{message}");
        }
        let mut bytes = full().envoy_yaml().into_bytes();
        for (at, byte) in &flips {
            *at.get_mut(&mut bytes) = *byte;
        }
        if let Err(lines) = parse(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:#?}");
        }
    }
}
