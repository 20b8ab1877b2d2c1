//! What is refused, and where it is said to stand.

use super::{APP, CHAIN, CLUSTER, COMMON, LISTENER, TLS, mutated, parse};

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
fn a_refusal_says_what_was_expected_and_the_help_and_stands_alone() {
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
            "envoy.yaml: {CLUSTER}.health_checks: not supported: the app's health is the platform's matter; \
             leave it out"
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
fn all_diagnostics_are_reported_at_once() {
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
