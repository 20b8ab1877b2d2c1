//! The fields of a listener.

use super::{
    ADDRESS, Message, NAMED_ELSEWHERE, NO_ACCESS_LOG, OWN_PROGRAM, UnknownFieldHandling, honoured, ignored, message,
    messages, only, refused,
};

const ONE_CHAIN: &str = "every connection takes the one chain";
const ONE_ADDRESS: &str = "a listener has one address";
const CLOSED_AS_IT_IS: &str = "the connection lives as long as its two ends want";
const ONE_CLUSTER: &str = "every byte goes to the one app";
const ONLY_SDS: &str = "certificates come from SDS files";
const OWN_BUFFERS: &str = "our buffers are bounded, and their size is ours";

/// `envoy.config.listener.v3.Listener`
pub(super) static LISTENER: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        honoured("name", "names the listener in the log and on the admin address"),
        message("address", &ADDRESS),
        messages("filter_chains", &FILTER_CHAIN),
        refused("additional_addresses", ONE_ADDRESS),
        refused("default_filter_chain", ONE_CHAIN),
        refused("filter_chain_matcher", ONE_CHAIN),
        refused("fcds_config", ONE_CHAIN),
        refused("listener_filters", "nothing looks into a connection before its handshake"),
        refused("use_original_dst", "a connection belongs to the address that it came to"),
        refused("transparent", "a connection belongs to the address that it came to"),
        refused("freebind", "the address must be this machine's"),
        refused("socket_options", "options of sockets are ours"),
        refused("udp_listener_config", "only TCP is supported"),
        refused("api_listener", "a listener has a socket"),
        refused("internal_listener", "a listener has a socket"),
        refused("enable_mptcp", "only TCP is supported"),
        refused("access_log", NO_ACCESS_LOG),
        only("bind_to_port", &["true"]),
        message("deprecated_v1", &DEPRECATED_V1),
        ignored("per_connection_buffer_limit_bytes", OWN_BUFFERS),
        ignored("per_connection_buffer_high_watermark_timeout", OWN_BUFFERS),
        ignored("stat_prefix", super::OWN_STATISTICS),
        ignored("metadata", NAMED_ELSEWHERE),
        ignored("traffic_direction", NAMED_ELSEWHERE),
        ignored("drain_type", "a listener is never changed while it runs"),
        ignored("listener_filters_timeout", "there are no listener filters"),
        ignored("continue_on_listener_filters_timeout", "there are no listener filters"),
        ignored("tcp_fast_open_queue_length", "it hastens connections and changes none"),
        ignored("tcp_backlog_size", "it is as large as the kernel allows"),
        ignored("max_connections_to_accept_per_socket_event", OWN_PROGRAM),
        ignored("connection_balance_config", OWN_PROGRAM),
        ignored("reuse_port", "each address is opened once"),
        ignored("enable_reuse_port", "each address is opened once"),
        ignored("ignore_global_conn_limit", "limits are ours"),
        ignored("bypass_overload_manager", "limits are ours"),
    ],
};

static DEPRECATED_V1: Message =
    Message { kind: None, unknown: UnknownFieldHandling::Refused, fields: &[only("bind_to_port", &["true"])] };

static FILTER_CHAIN: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        messages("filters", &FILTER),
        message("transport_socket", &TRANSPORT_SOCKET),
        refused("filter_chain_match", ONE_CHAIN),
        refused("use_proxy_proto", "the PROXY protocol is not read here"),
        refused("transport_socket_connect_timeout", "the time for a handshake is ours"),
        refused("on_demand_configuration", super::NOTHING_IS_FETCHED),
        ignored("name", NAMED_ELSEWHERE),
        ignored("metadata", NAMED_ELSEWHERE),
    ],
};

static FILTER: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        message("typed_config", &TCP_PROXY),
        refused("config_discovery", super::NOTHING_IS_FETCHED),
        refused("disabled", "there is one filter"),
        ignored("name", "the type says what it is"),
        ignored("is_optional", "the one filter is there"),
    ],
};

static TCP_PROXY: Message = Message {
    kind: Some("type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"),
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        honoured("cluster", "the cluster of that name, wherever it stands in the list, is the app"),
        refused("weighted_clusters", ONE_CLUSTER),
        refused("metadata_match", ONE_CLUSTER),
        refused("hash_policy", ONE_CLUSTER),
        refused("on_demand", ONE_CLUSTER),
        refused("tunneling_config", ONE_CLUSTER),
        only("idle_timeout", &["0s"]),
        only("downstream_idle_timeout", &["0s"]),
        only("upstream_idle_timeout", &["0s"]),
        refused("max_downstream_connection_duration", CLOSED_AS_IT_IS),
        refused("max_downstream_connection_duration_jitter_percentage", CLOSED_AS_IT_IS),
        refused("check_drain_close", CLOSED_AS_IT_IS),
        only("max_connect_attempts", &["1"]),
        refused("backoff_options", "the app is dialled once for a client"),
        only("upstream_connect_mode", &["IMMEDIATE"]),
        refused("max_early_data_bytes", "the app is dialled before the handshake"),
        refused("proxy_protocol_tlvs", "the app is told nothing about the client"),
        refused("access_log", NO_ACCESS_LOG),
        ignored("proxy_protocol_tlv_merge_policy", "the app is told nothing about the client"),
        ignored("access_log_options", NO_ACCESS_LOG),
        ignored("access_log_flush_interval", NO_ACCESS_LOG),
        ignored("flush_access_log_on_connected", NO_ACCESS_LOG),
        ignored("stat_prefix", super::OWN_STATISTICS),
    ],
};

static TRANSPORT_SOCKET: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[message("typed_config", &DOWNSTREAM_TLS), ignored("name", "the type says what it is")],
};

static DOWNSTREAM_TLS: Message = Message {
    kind: Some("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        message("common_tls_context", &COMMON_TLS),
        honoured("require_client_certificate", "a client without a certificate cannot complete the handshake"),
        refused("require_sni", "clients without a server name are served"),
        refused("session_ticket_keys", "ticket keys are made here and never written down"),
        refused("session_ticket_keys_sds_secret_config", "ticket keys are made here and never written down"),
        refused("disable_stateless_session_resumption", "tickets are given to clients that want them"),
        refused("disable_stateful_session_resumption", "tickets are given to clients that want them"),
        refused("session_timeout", "how long a ticket is good for is ours"),
        only("ocsp_staple_policy", &["LENIENT_STAPLING"]),
        ignored("full_scan_certs_on_sni_mismatch", "there is one certificate"),
        ignored("prefer_client_ciphers", "where suites are listed their order counts, else the client's"),
    ],
};

static COMMON_TLS: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        messages("tls_certificate_sds_secret_configs", &SDS_SECRET),
        message("validation_context_sds_secret_config", &SDS_SECRET),
        honoured("alpn_protocols", "in order of preference; a text may hold several with commas between them"),
        message("tls_params", &TLS_PARAMS),
        refused("tls_certificates", ONLY_SDS),
        refused("tls_certificate_provider_instance", ONLY_SDS),
        refused("tls_certificate_certificate_provider", ONLY_SDS),
        refused("tls_certificate_certificate_provider_instance", ONLY_SDS),
        refused("custom_tls_certificate_selector", ONLY_SDS),
        refused("validation_context", ONLY_SDS),
        refused("combined_validation_context", ONLY_SDS),
        refused("validation_context_certificate_provider", ONLY_SDS),
        refused("validation_context_certificate_provider_instance", ONLY_SDS),
        refused("custom_handshaker", "there are no extensions"),
        refused("key_log", "keys are never written down"),
    ],
};

static TLS_PARAMS: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        honoured("tls_minimum_protocol_version", "`TLS_AUTO` and anything older than TLS 1.2 mean 1.2"),
        honoured("tls_maximum_protocol_version", "`TLS_AUTO` means 1.3; older than 1.2 is refused"),
        honoured(
            "cipher_suites",
            "for TLS 1.2: ECDHE with AES-GCM or ChaCha20; the others that Envoy knows are left out with a line in the \
             log; refused if none is left, or a name is not known",
        ),
        refused("ecdh_curves", "groups are ours: X25519MLKEM768, X25519, P-256, P-384"),
        refused("signature_algorithms", "they follow from the key"),
        refused("compliance_policies", "there is one policy"),
    ],
};

static SDS_SECRET: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[honoured("name", "the name of the secret in its file"), message("sds_config", &SDS_CONFIG)],
};

static SDS_CONFIG: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        message("path_config_source", &PATH_CONFIG_SOURCE),
        honoured("path", "the file, in the form that Diego wrote until 2026"),
        refused("api_config_source", super::NOTHING_IS_FETCHED),
        refused("ads", super::NOTHING_IS_FETCHED),
        refused("self", super::NOTHING_IS_FETCHED),
        refused("authorities", super::NOTHING_IS_FETCHED),
        ignored("initial_fetch_timeout", "the file is there when the program starts"),
        ignored("resource_api_version", "there is one version"),
    ],
};

static PATH_CONFIG_SOURCE: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        honoured("path", "the file"),
        ignored("watched_directory", "the folder of the file is watched in any case"),
    ],
};
