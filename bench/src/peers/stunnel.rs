//! stunnel, which gives each connection a thread.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Peer, Site};

/// stunnel.
pub(super) struct Stunnel {
    program: PathBuf,
}

/// stunnel, where it is installed. Debian's `stunnel4` may be a script around it.
pub(super) fn find() -> Option<Stunnel> {
    super::on_path("stunnel").or_else(|| super::on_path("stunnel4")).map(|program| Stunnel { program })
}

impl Peer for Stunnel {
    fn name(&self) -> &str {
        "stunnel"
    }

    fn version(&self) -> String {
        let said = super::says(&self.program, &["-version"]);
        super::version_in(said.lines().find(|line| line.starts_with("stunnel ")).unwrap_or(&said))
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let pem = site.write("server.pem", &site.credentials.first().combined())?;
        let verify = if site.asks_clients {
            format!("verifyChain = yes\nCAfile = {}\n", site.credentials.ca.display())
        } else {
            String::new()
        };
        let config = format!(
            "foreground = yes
pid =
debug = 3
syslog = no
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[app]
accept = {}
connect = {}
cert = {}
TIMEOUTidle = 3600
{verify}",
            site.listen,
            site.app,
            pem.display(),
        );
        let mut command = Command::new(&self.program);
        command.arg(site.write("stunnel.conf", &config)?);
        Ok(command)
    }
}
