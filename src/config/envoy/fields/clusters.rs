//! The fields of a cluster, which is the app behind a listener.

use super::{
    ADDRESS, Message, NAMED_ELSEWHERE, NO_HTTP, NO_LOOKUP, OWN_STATISTICS, UnknownFieldHandling, empty, honoured,
    ignored, message, messages, only, refused,
};

const ONE_APP: &str = "there is one app";
const NO_CHECKS: &str = "the app's health is the platform's matter";
const NO_POOL: &str = "each client has a connection to the app of its own";
const NO_LIMIT: &[&str] = &["4294967295"];

/// `envoy.config.cluster.v3.Cluster`
pub(super) static CLUSTER: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        honoured("name", "what a listener names"),
        honoured("connect_timeout", "how long the app has to accept; 5 s if it is absent"),
        only("type", &["STATIC"]),
        message("load_assignment", &LOAD_ASSIGNMENT),
        message("circuit_breakers", &CIRCUIT_BREAKERS),
        refused("cluster_type", "the only type is `STATIC`"),
        refused("eds_cluster_config", super::NOTHING_IS_FETCHED),
        refused("transport_socket", "the app is spoken to in plaintext"),
        refused("transport_socket_matches", "the app is spoken to in plaintext"),
        refused("upstream_bind_config", "the kernel chooses the address that the app sees"),
        refused("upstream_config", "there are no extensions"),
        refused("filters", "bytes are passed on as they are"),
        refused("health_checks", NO_CHECKS),
        refused("outlier_detection", NO_CHECKS),
        refused("lrs_server", "statistics are not sent anywhere"),
        refused("max_requests_per_connection", NO_POOL),
        refused("preconnect_policy", NO_POOL),
        ignored("connection_pool_per_downstream_connection", NO_POOL),
        ignored("per_connection_buffer_limit_bytes", "our buffers are bounded, and their size is ours"),
        ignored("per_connection_buffer_high_watermark_timeout", "our buffers are bounded, and their size is ours"),
        ignored("upstream_connection_options", "the app is on this machine"),
        ignored("close_connections_on_host_health_failure", NO_CHECKS),
        ignored("ignore_health_on_host_removal", NO_CHECKS),
        ignored("lb_policy", ONE_APP),
        ignored("load_balancing_policy", ONE_APP),
        ignored("lb_subset_config", ONE_APP),
        ignored("common_lb_config", ONE_APP),
        ignored("ring_hash_lb_config", ONE_APP),
        ignored("maglev_lb_config", ONE_APP),
        ignored("original_dst_lb_config", ONE_APP),
        ignored("least_request_lb_config", ONE_APP),
        ignored("round_robin_lb_config", ONE_APP),
        ignored("wait_for_warm_on_init", ONE_APP),
        ignored("cleanup_interval", ONE_APP),
        ignored("protocol_selection", NO_HTTP),
        ignored("upstream_http_protocol_options", NO_HTTP),
        ignored("common_http_protocol_options", NO_HTTP),
        ignored("http_protocol_options", NO_HTTP),
        ignored("http2_protocol_options", NO_HTTP),
        ignored("typed_extension_protocol_options", NO_HTTP),
        ignored("dns_lookup_family", NO_LOOKUP),
        ignored("dns_resolvers", NO_LOOKUP),
        ignored("dns_refresh_rate", NO_LOOKUP),
        ignored("dns_jitter", NO_LOOKUP),
        ignored("dns_failure_refresh_rate", NO_LOOKUP),
        ignored("dns_resolution_config", NO_LOOKUP),
        ignored("typed_dns_resolver_config", NO_LOOKUP),
        ignored("respect_dns_ttl", NO_LOOKUP),
        ignored("use_tcp_for_dns_lookups", NO_LOOKUP),
        ignored("alt_stat_name", OWN_STATISTICS),
        ignored("track_timeout_budgets", OWN_STATISTICS),
        ignored("track_cluster_stats", OWN_STATISTICS),
        ignored("lrs_report_endpoint_metrics", OWN_STATISTICS),
        ignored("metadata", NAMED_ELSEWHERE),
    ],
};

static LOAD_ASSIGNMENT: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        messages("endpoints", &LOCALITY),
        empty("named_endpoints", ONE_APP),
        refused("policy", ONE_APP),
        ignored("cluster_name", NAMED_ELSEWHERE),
    ],
};

static LOCALITY: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        messages("lb_endpoints", &LB_ENDPOINT),
        refused("load_balancer_endpoints", ONE_APP),
        refused("leds_cluster_locality_config", super::NOTHING_IS_FETCHED),
        ignored("priority", ONE_APP),
        ignored("proximity", ONE_APP),
        ignored("load_balancing_weight", ONE_APP),
        ignored("locality", NAMED_ELSEWHERE),
        ignored("metadata", NAMED_ELSEWHERE),
    ],
};

static LB_ENDPOINT: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        message("endpoint", &ENDPOINT),
        refused("endpoint_name", ONE_APP),
        only("health_status", &["UNKNOWN", "HEALTHY"]),
        ignored("load_balancing_weight", ONE_APP),
        ignored("metadata", NAMED_ELSEWHERE),
    ],
};

static ENDPOINT: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        message("address", &ADDRESS),
        refused("additional_addresses", ONE_APP),
        ignored("health_check_config", NO_CHECKS),
        ignored("hostname", NAMED_ELSEWHERE),
    ],
};

static CIRCUIT_BREAKERS: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        messages("thresholds", &THRESHOLDS),
        refused("per_host_thresholds", "connections to the app are limited only together with clients"),
    ],
};

static THRESHOLDS: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        only("max_connections", NO_LIMIT),
        only("max_pending_requests", NO_LIMIT),
        only("max_requests", NO_LIMIT),
        refused("retry_budget", "the app is dialled once for a client"),
        ignored("max_retries", "the app is dialled once for a client"),
        ignored("max_connection_pools", NO_POOL),
        ignored("priority", "limits are ours"),
        ignored("track_remaining", OWN_STATISTICS),
    ],
};
