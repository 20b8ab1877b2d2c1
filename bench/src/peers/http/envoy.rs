//! Envoy's HTTP connection manager.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::peers::envoy::Envoy;
use crate::peers::{Peer, Site};

/// Envoy that reads requests.
pub(super) struct ConnectionManager(pub(super) Envoy);

impl Peer for ConnectionManager {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn version(&self) -> String {
        self.0.version()
    }

    fn program(&self) -> &Path {
        &self.0.program
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let pair = site.credentials.first();
        let bootstrap = include_str!("envoy.yaml")
            .replace("{listen}", &site.listen.port().to_string())
            .replace("{app}", &site.app.port().to_string())
            .replace("{chain}", &site.write("server.crt", &pair.chain)?.display().to_string())
            .replace("{key}", &site.write("server.key", &pair.key)?.display().to_string());
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

    fn speaks_http(&self) -> bool {
        true
    }
}
