//! Envoy as a proxy towards a TLS upstream: of bytes, or of requests.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::ENVOY_HTTP;
use crate::peers::envoy::Envoy;
use crate::peers::{Peer, Site};

/// Envoy, for clients.
pub(super) struct EnvoyClient {
    envoy: Envoy,
    speaks_http: bool,
}

/// It carries bytes.
const TCP_PROXY: &str = "\
name: envoy.tcp_proxy
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: outbound
          cluster: server";

/// It sends requests one by one, and never gives up a slow one.
const HTTP_PROXY: &str = "\
name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: outbound
          route_config:
            virtual_hosts:
            - { name: server, domains: ['*'], routes: [{ match: { prefix: / }, route: { cluster: server, timeout: 0s } }] }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }";

impl EnvoyClient {
    /// One that carries bytes.
    pub(super) fn new(envoy: Envoy) -> Self {
        Self { envoy, speaks_http: false }
    }

    /// One that sends requests.
    pub(super) fn for_http(envoy: Envoy) -> Self {
        Self { envoy, speaks_http: true }
    }
}

impl Peer for EnvoyClient {
    fn name(&self) -> &str {
        if self.speaks_http { ENVOY_HTTP } else { self.envoy.name() }
    }

    fn version(&self) -> String {
        self.envoy.version()
    }

    fn program(&self) -> &Path {
        &self.envoy.program
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let pair = &site.credentials.client;
        let bootstrap = include_str!("envoy.yaml")
            .replace("{filter}", if self.speaks_http { HTTP_PROXY } else { TCP_PROXY })
            .replace("{listen}", &site.listen.port().to_string())
            .replace("{server}", &site.server.port().to_string())
            .replace("{chain}", &site.write("client.crt", &pair.chain)?.display().to_string())
            .replace("{key}", &site.write("client.key", &pair.key)?.display().to_string())
            .replace("{ca}", &site.credentials.ca.display().to_string());
        let mut command = Command::new(self.program());
        command.arg("-c").arg(site.write("envoy.yaml", &bootstrap)?).args([
            "--log-level",
            "critical",
            "--concurrency",
            "1",
            "--disable-hot-restart",
        ]);
        Ok(command)
    }

    fn speaks_tls(&self) -> bool {
        false
    }

    fn speaks_http(&self) -> bool {
        self.speaks_http
    }
}
