//! hitch: a TLS proxy and nothing else, in front of any TCP server.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Peer, Site};

/// hitch.
pub(super) struct Hitch {
    program: PathBuf,
}

/// hitch, where it is installed.
pub(super) fn find() -> Option<Hitch> {
    super::on_path("hitch").map(|program| Hitch { program })
}

impl Peer for Hitch {
    fn name(&self) -> &str {
        "hitch"
    }

    fn version(&self) -> String {
        super::version_in(&super::says(&self.program, &["--version"]))
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let pem = site.write("server.pem", &site.credentials.first().combined())?;
        let verify = if site.asks_clients {
            format!("client-verify = required\nclient-verify-ca = \"{}\"\n", site.credentials.ca.display())
        } else {
            String::new()
        };
        // As root it refuses to run its worker until it is told another user. What the folder belongs to, we are.
        let user = if fs::metadata(&site.dir)?.uid() == 0 { "user = \"nobody\"\n" } else { "" };
        let config = format!(
            "frontend = {{ host = \"{}\" port = \"{}\" }}
backend = \"[{}]:{}\"
pem-file = \"{}\"
workers = 1
backlog = 1024
daemon = off
quiet = on
{user}{verify}",
            site.listen.ip(),
            site.listen.port(),
            site.app.ip(),
            site.app.port(),
            pem.display(),
        );
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(site.write("hitch.conf", &config)?);
        Ok(command)
    }
}
