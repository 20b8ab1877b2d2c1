//! Every field of the bootstrap, and what becomes of it.

mod clusters;
mod listeners;

use super::schema::{Message, UnknownFieldHandling, empty, honoured, ignored, message, messages, only, refused};

const OWN_STATISTICS: &str = "our statistics are our own";
const OWN_PROGRAM: &str = "it concerns Envoy's inner working";
const NAMED_ELSEWHERE: &str = "a label";
const NO_LOOKUP: &str = "addresses are numbers: nothing is looked up";
const NO_HTTP: &str = "bytes are passed on, not requests";
const NOTHING_IS_FETCHED: &str = "configuration comes from this file alone";
const NO_ACCESS_LOG: &str = "no access log of Envoy's is written";

/// `envoy.config.bootstrap.v3.Bootstrap`
pub(super) static BOOTSTRAP: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Warned,
    fields: &[
        message("admin", &ADMIN),
        message("node", &NODE),
        message("static_resources", &STATIC_RESOURCES),
        refused("dynamic_resources", NOTHING_IS_FETCHED),
        refused("hds_config", NOTHING_IS_FETCHED),
        refused("config_sources", NOTHING_IS_FETCHED),
        refused("default_config_source", NOTHING_IS_FETCHED),
        refused("xds_delegate_extension", NOTHING_IS_FETCHED),
        refused("xds_config_tracker_extension", NOTHING_IS_FETCHED),
        refused("bootstrap_extensions", "there are no extensions"),
        refused("default_socket_interface", "there are no extensions"),
        empty("certificate_provider_instances", "certificates come from files"),
        refused("overload_manager", "its limits are not kept"),
        refused("fatal_actions", "there are no extensions"),
        refused("tracing", "nothing is traced"),
        refused("stats_sinks", "statistics are not sent anywhere"),
        ignored("layered_runtime", "its switches are Envoy's own"),
        ignored("flags_path", "its switches are Envoy's own"),
        ignored("stats_config", OWN_STATISTICS),
        ignored("deferred_stat_options", OWN_STATISTICS),
        ignored("stats_flush_interval", OWN_STATISTICS),
        ignored("stats_flush_on_admin", OWN_STATISTICS),
        ignored("stats_server_version_override", OWN_STATISTICS),
        ignored("enable_dispatcher_stats", OWN_STATISTICS),
        ignored("node_context_params", OWN_PROGRAM),
        ignored("cluster_manager", OWN_PROGRAM),
        ignored("listener_manager", OWN_PROGRAM),
        ignored("grpc_async_client_manager_config", OWN_PROGRAM),
        ignored("memory_allocator_manager", OWN_PROGRAM),
        ignored("watchdog", OWN_PROGRAM),
        ignored("watchdogs", OWN_PROGRAM),
        ignored("perf_tracing_file_path", OWN_PROGRAM),
        ignored("default_regex_engine", OWN_PROGRAM),
        ignored("application_log_config", "our log is our own"),
        ignored("header_prefix", NO_HTTP),
        ignored("inline_headers", NO_HTTP),
        ignored("use_tcp_for_dns_lookups", NO_LOOKUP),
        ignored("dns_resolution_config", NO_LOOKUP),
        ignored("typed_dns_resolver_config", NO_LOOKUP),
    ],
};

static ADMIN: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Warned,
    fields: &[
        message("address", &ADDRESS),
        refused("allow_paths", "all that is answered there is read-only"),
        ignored("access_log", "requests to the admin address are not logged"),
        ignored("access_log_path", "requests to the admin address are not logged"),
        ignored("profile_path", OWN_PROGRAM),
        ignored("socket_options", "the admin address is for this machine"),
        ignored("ignore_global_conn_limit", "the admin address has a limit of its own"),
    ],
};

static NODE: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Warned,
    fields: &[
        honoured("id", "shown as the name of the node: it holds the container's address and the instance"),
        ignored("cluster", NAMED_ELSEWHERE),
        ignored("metadata", NAMED_ELSEWHERE),
        ignored("dynamic_parameters", NAMED_ELSEWHERE),
        ignored("locality", NAMED_ELSEWHERE),
        ignored("user_agent_name", NAMED_ELSEWHERE),
        ignored("user_agent_version", NAMED_ELSEWHERE),
        ignored("user_agent_build_version", NAMED_ELSEWHERE),
        ignored("extensions", NAMED_ELSEWHERE),
        ignored("client_features", NAMED_ELSEWHERE),
        ignored("listening_addresses", NAMED_ELSEWHERE),
    ],
};

static STATIC_RESOURCES: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        messages("listeners", &listeners::LISTENER),
        messages("clusters", &clusters::CLUSTER),
        refused("secrets", "certificates come from files of their own"),
    ],
};

static ADDRESS: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        message("socket_address", &SOCKET_ADDRESS),
        refused("pipe", "only TCP is supported"),
        refused("envoy_internal_address", "only TCP is supported"),
    ],
};

static SOCKET_ADDRESS: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        honoured("address", "an IPv4 or IPv6 address"),
        honoured("port_value", "the port"),
        only("protocol", &["TCP"]),
        refused("named_port", NO_LOOKUP),
        refused("resolver_name", NO_LOOKUP),
        refused("ipv4_compat", "an IPv6 address accepts IPv6 alone"),
        refused("network_namespace_filepath", "there is one network namespace"),
    ],
};
