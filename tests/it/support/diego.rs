//! Documents of the shape that Diego writes, for whatever a foundation may have configured.

use std::fmt::Write;

const HEAD: &str = r#"admin:
  access_log: []
  access_log_path: /dev/null
  address:
    socket_address:
      address: 127.0.0.1
      ipv4_compat: false
      port_value: {admin}
      protocol: TCP
      resolver_name: ""
  ignore_global_conn_limit: false
  profile_path: ""
  socket_options: []
bootstrap_extensions: []
certificate_provider_instances: {}
config_sources: []
default_socket_interface: ""
enable_dispatcher_stats: false
fatal_actions: []
flags_path: ""
header_prefix: ""
inline_headers: []
layered_runtime:
  layers:
  - name: static-layer
    static_layer:
      envoy:
        reloadable_features:
          new_tcp_connection_pool: false
node:
  client_features: []
  cluster: proxy-cluster
  dynamic_parameters: {}
  extensions: []
  id: sidecar~{ip}~{guid}~x
  listening_addresses: []
  user_agent_name: ""
node_context_params: []
perf_tracing_file_path: ""
static_resources:
  clusters:
"#;

const CLUSTER: &str = r#"  - alt_stat_name: ""
    circuit_breakers:
      per_host_thresholds: []
      thresholds:
      - max_connections: 4294967295
        priority: DEFAULT
        track_remaining: false
      - max_pending_requests: 4294967295
        priority: DEFAULT
        track_remaining: false
      - max_requests: 4294967295
        priority: DEFAULT
        track_remaining: false
    close_connections_on_host_health_failure: false
    connect_timeout: 0.250s
    connection_pool_per_downstream_connection: false
    dns_lookup_family: AUTO
    dns_resolvers: []
    filters: []
    health_checks: []
    ignore_health_on_host_removal: false
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: service-cluster-{app}
      endpoints:
      - lb_endpoints:
        - endpoint:
            additional_addresses: []
            address:
              socket_address:
                address: {ip}
                ipv4_compat: false
                port_value: {app}
                protocol: TCP
                resolver_name: ""
            hostname: ""
          health_status: UNKNOWN
        priority: 0
      named_endpoints: {}
    name: service-cluster-{app}
    protocol_selection: USE_CONFIGURED_PROTOCOL
    respect_dns_ttl: false
    track_timeout_budgets: false
    transport_socket_matches: []
    type: STATIC
    typed_extension_protocol_options: {}
    use_tcp_for_dns_lookups: false
"#;

const LISTENER: &str = r#"  - access_log: []
    additional_addresses: []
    address:
      socket_address:
        address: 0.0.0.0
        ipv4_compat: false
        port_value: {proxy}
        protocol: TCP
        resolver_name: ""
    continue_on_listener_filters_timeout: false
    drain_type: DEFAULT
    enable_mptcp: false
    filter_chains:
    - filters:
      - name: envoy.tcp_proxy
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          access_log: []
          cluster: service-cluster-{app}
          flush_access_log_on_connected: false
          hash_policy: []
          stat_prefix: stats-{app}-{proxy}
      name: ""
      transport_socket:
        name: listener-{app}-{proxy}
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols:{alpn}
            tls_certificate_sds_secret_configs:
            - name: {pair}
{pair_sds}            tls_certificates: []
            tls_params:
              cipher_suites:
              - ECDHE-RSA-AES256-GCM-SHA384
              - ECDHE-RSA-AES128-GCM-SHA256
              ecdh_curves: []
              signature_algorithms: []
              tls_maximum_protocol_version: TLS_AUTO
              tls_minimum_protocol_version: TLS_AUTO
{validation}          disable_stateful_session_resumption: false
          ocsp_staple_policy: LENIENT_STAPLING
{required}    ignore_global_conn_limit: false
    listener_filters: []
    name: listener-{app}-{proxy}
    reuse_port: false
    socket_options: []
    stat_prefix: ""
    traffic_direction: UNSPECIFIED
"#;

const TAIL: &str = r#"  secrets: []
stats_config:
  histogram_bucket_settings: []
  stats_matcher:
    reject_all: true
  stats_tags: []
stats_sinks: []
use_tcp_for_dns_lookups: false
"#;

/// What decides how `envoy.yaml` looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Container {
    /// `require_and_verify_client_certificates`
    pub(crate) mtls: bool,
    /// HTTP/2 is offered by ALPN.
    pub(crate) http2: bool,
    /// What the app listens on; 8080 gets a second listener at 61443.
    pub(crate) ports: &'static [u16],
    /// The form of `sds_config` that was written until 2026.
    pub(crate) old_sds: bool,
    /// Clusters come in any order.
    pub(crate) clusters_reversed: bool,
    /// The container's address, which is where the app is.
    pub(crate) ip: &'static str,
    /// The instance.
    pub(crate) guid: &'static str,
}

impl Default for Container {
    fn default() -> Self {
        Self {
            mtls: false,
            http2: false,
            ports: &[8080],
            old_sds: false,
            clusters_reversed: false,
            ip: "10.255.117.100",
            guid: "51f0a000-a1b2-4c3d-5e6f-7a00",
        }
    }
}

impl Container {
    /// Each listener as (app port, proxy port).
    pub(crate) fn listeners(&self) -> Vec<(u16, u16)> {
        let proxied = self.ports.iter().zip(61001..);
        proxied
            .flat_map(|(app, proxy)| [(*app, proxy)].into_iter().chain((*app == 8080).then_some((8080, 61443))))
            .collect()
    }

    /// The port of the admin address: the first that is free.
    pub(crate) fn admin_port(&self) -> u16 {
        61001 + u16::try_from(self.ports.len()).unwrap()
    }

    /// The text of `envoy.yaml`.
    pub(crate) fn envoy_yaml(&self) -> String {
        let admin = self.admin_port().to_string();
        let mut text = fill(HEAD, &[("admin", &admin), ("ip", self.ip), ("guid", self.guid)]);
        let mut ports = self.ports.to_vec();
        if self.clusters_reversed {
            ports.reverse();
        }
        for app in ports {
            text += &fill(CLUSTER, &[("ip", self.ip), ("app", &app.to_string())]);
        }
        text += "  listeners:\n";
        for (app, proxy) in self.listeners() {
            text += &self.listener(app, proxy);
        }
        text + TAIL
    }

    fn listener(&self, app: u16, proxy: u16) -> String {
        let c2c = proxy == 61443;
        let pair = if c2c { "c2c-cert-and-key" } else { "id-cert-and-key" };
        let mut validation = String::new();
        let mut required = "";
        if self.mtls && !c2c {
            validation = "            validation_context_sds_secret_config:\n".to_owned();
            writeln!(validation, "{:14}name: id-validation-context", "").unwrap();
            validation += &self.sds_config(14, "id-validation-context");
            required = "          require_client_certificate: true\n";
        }
        let alpn = if self.http2 && !c2c { "\n            - h2,http/1.1" } else { " []" };
        let (app, proxy) = (app.to_string(), proxy.to_string());
        let pair_sds = self.sds_config(14, pair);
        let holes = [
            ("app", app.as_str()),
            ("proxy", &proxy),
            ("pair", pair),
            ("pair_sds", &pair_sds),
            ("validation", &validation),
            ("required", required),
            ("alpn", alpn),
        ];
        fill(LISTENER, &holes)
    }

    fn sds_config(&self, indent: usize, secret: &str) -> String {
        let folder = "/etc/cf-assets/envoy_config";
        let file = format!("{folder}/sds-{secret}.yaml");
        let lines = if self.old_sds {
            format!("sds_config:\n  authorities: []\n  path: {file}\n  resource_api_version: AUTO\n")
        } else {
            format!(
                "sds_config:\n  authorities: []\n  path_config_source:\n    path: {file}\n    watched_directory:\n      \
                 path: {folder}\n  resource_api_version: AUTO\n"
            )
        };
        lines.lines().map(|line| format!("{:indent$}{line}\n", "")).collect()
    }
}

/// The text of a file with a pair.
pub(crate) fn sds_pair(name: &str, chain: &str, key: &str) -> String {
    format!(
        "resources:\n- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n  name: {name}\n  \
         tls_certificate:\n    certificate_chain:\n      inline_string: |\n{}    private_key:\n      inline_string: |\n{}\
         version_info: \"0\"\n",
        block(chain),
        block(key)
    )
}

/// The text of a file with a validation context; without roots and names it is that of a foundation without mTLS.
pub(crate) fn sds_validation_context(roots: &str, names: &[&str]) -> String {
    let mut matchers = String::new();
    if !names.is_empty() {
        matchers = "    match_subject_alt_names:\n".to_owned();
        names.iter().for_each(|name| writeln!(matchers, "    - exact: {name}").unwrap());
    }
    let roots = if roots.is_empty() { " \"\"\n".to_owned() } else { format!(" |\n{}", block(roots)) };
    format!(
        "resources:\n- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n  \
         name: id-validation-context\n  validation_context:\n{matchers}    trusted_ca:\n      inline_string:{roots}\
         version_info: \"0\"\n"
    )
}

fn block(pem: &str) -> String {
    pem.lines().map(|line| format!("        {line}\n")).collect()
}

fn fill(template: &str, holes: &[(&str, &str)]) -> String {
    // From the left, so that what was filled in is not looked at again.
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or_else(|| panic!("no end: {after:.20}"));
        text += before;
        match holes.iter().find(|(hole, _)| *hole == name) {
            Some((_, value)) => text += value,
            // `{}` is YAML's.
            None => write!(text, "{{{name}}}").unwrap(),
        }
        rest = after;
    }
    text + rest
}
