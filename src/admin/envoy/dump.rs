//! `/config_dump`: the fields that we honour, in Envoy's words, and the secrets without what is secret.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Envoy;
use crate::config::envoy::EnvoyListener;
use crate::config::{SdsSecretRef, TlsVersion, ValidationContextConfig};
use crate::credentials::{ServedCertificate, SnapshotReceiver};
use crate::pem;
use crate::policy::Rule;
use crate::trust::ClientAuth;

/// What stands where Envoy hides something.
const REDACTED: &str = "[redacted]";

const TCP_PROXY: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const DOWNSTREAM_TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

impl Envoy {
    /// As Envoy has it: the bootstrap, clusters, listeners, secrets.
    pub(super) fn config_dump(&self) -> Value {
        let bootstrap = &self.compat.bootstrap;
        let listeners: Vec<_> =
            self.bootstrap_listeners().map(|(listener, (addr, _))| self::listener(listener, *addr)).collect();
        let mut clusters: Vec<Value> = Vec::new();
        for cluster in bootstrap.listeners.iter().map(self::cluster) {
            if !clusters.contains(&cluster) {
                clusters.push(cluster);
            }
        }
        let mut secrets: Vec<_> = self.shown.borrow().iter().map(pair).collect();
        for (context, current) in self
            .bootstrap_listeners()
            .filter_map(|(listener, (_, current))| Some((listener.clients.as_ref()?, current)))
        {
            let context = validation_context(context, current);
            secrets.extend(context.filter(|context| !secrets.contains(context)));
        }
        let admin = bootstrap.admin.map(|addr| json!({ "address": address(addr) }));
        let of_type = |kind: &str, what: &str, list: &[Value]| {
            let typed = list.iter().map(|value| {
                let mut value = value.clone();
                value["@type"] = kind.into();
                json!({ what: value })
            });
            typed.collect::<Vec<_>>()
        };
        json!({ "configs": [
            {
                "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
                "bootstrap": {
                    "node": self.node(),
                    "admin": admin,
                    "static_resources": { "listeners": &listeners, "clusters": &clusters },
                },
            },
            {
                "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
                "static_clusters": of_type(CLUSTER, "cluster", &clusters),
            },
            {
                "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
                "static_listeners": of_type(LISTENER, "listener", &listeners),
            },
            {
                "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
                "dynamic_active_secrets": secrets,
            },
        ] })
    }
}

pub(super) fn address(addr: SocketAddr) -> Value {
    json!({ "socket_address": { "address": addr.ip(), "port_value": addr.port() } })
}

fn listener(listener: &EnvoyListener, addr: SocketAddr) -> Value {
    let mut common = json!({
        "tls_params": {
            "tls_minimum_protocol_version": version(listener.min_version),
            "tls_maximum_protocol_version": version(listener.max_version),
        },
        "alpn_protocols": listener.alpn.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>(),
        "tls_certificate_sds_secret_configs": [secret_config(&listener.pair)],
    });
    if let Some(suites) = &listener.tls12_suites {
        common["tls_params"]["cipher_suites"] = suites.iter().map(|suite| suite.openssl_name()).collect();
    }
    let mut tls = json!({ "@type": DOWNSTREAM_TLS });
    if let Some(ValidationContextConfig { required, secret }) = &listener.clients {
        common["validation_context_sds_secret_config"] = secret_config(secret);
        tls["require_client_certificate"] = (*required).into();
    }
    tls["common_tls_context"] = common;
    json!({
        "name": listener.name,
        "address": address(addr),
        "filter_chains": [{
            "filters": [{ "typed_config": { "@type": TCP_PROXY, "cluster": listener.cluster } }],
            "transport_socket": { "name": listener.name, "typed_config": tls },
        }],
    })
}

fn secret_config(SdsSecretRef { name, path }: &SdsSecretRef) -> Value {
    json!({ "name": name, "sds_config": { "path_config_source": { "path": path.display().to_string() } } })
}

fn version(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Tls12 => "TLSv1_2",
        TlsVersion::Tls13 => "TLSv1_3",
    }
}

fn cluster(listener: &EnvoyListener) -> Value {
    json!({
        "name": listener.cluster,
        "type": "STATIC",
        "connect_timeout": format!("{:.3}s", listener.connect_timeout.as_secs_f64()),
        "load_assignment": {
            "cluster_name": listener.cluster,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(listener.app) } }] }],
        },
    })
}

/// A pair: its certificates, which every client sees, and not its key.
fn pair(shown: &ServedCertificate) -> Value {
    let chain = pem::certificates(shown.pair.chain());
    secret(
        &shown.source.to_string(),
        "tls_certificate",
        json!({ "certificate_chain": { "inline_string": chain }, "private_key": { "inline_string": REDACTED } }),
    )
}

/// Whom `context` lets in, as it is in force; its CAs are in `/certs`. `None`: it has not been loaded yet.
fn validation_context(
    ValidationContextConfig { secret, .. }: &ValidationContextConfig,
    current: &SnapshotReceiver,
) -> Option<Value> {
    let snapshot = current.load()?;
    let ClientAuth::Certificate(authenticator) = &snapshot.client_auth else { return None };
    let names = authenticator.policy().allow.iter().filter_map(|rule| match rule {
        Rule::AltName(name) => Some(json!({ "exact": name.to_string() })),
        _ => None,
    });
    let names: Vec<_> = names.collect();
    Some(self::secret(&secret.name, "validation_context", json!({ "match_subject_alt_names": names })))
}

fn secret(name: &str, kind: &str, body: Value) -> Value {
    // Diego always writes 0.
    json!({ "name": name, "version_info": "0", "secret": { "@type": SECRET, "name": name, kind: body } })
}
