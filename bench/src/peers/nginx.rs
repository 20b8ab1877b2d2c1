//! nginx with its stream module, which Debian packs by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Peer, Site};

/// nginx, and how it gets its stream module.
pub(super) struct Nginx {
    program: PathBuf,
    load_module: String,
}

/// nginx, where it is installed and its stream module is as well.
pub(super) fn find() -> Option<Nginx> {
    let program = super::on_path("nginx")?;
    let built = super::says(&program, &["-V"]);
    let load_module = if built.contains("--with-stream=dynamic") {
        let modules = built.split_whitespace().find_map(|word| word.strip_prefix("--modules-path="))?;
        let module = PathBuf::from(modules).join("ngx_stream_module.so");
        fs::exists(&module).ok().filter(|there| *there)?;
        format!("load_module {};", module.display())
    } else if built.contains("--with-stream") {
        String::new()
    } else {
        return None;
    };
    Some(Nginx { program, load_module })
}

impl Peer for Nginx {
    fn name(&self) -> &str {
        "nginx"
    }

    fn version(&self) -> String {
        super::version_in(&super::says(&self.program, &["-v"]))
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let pair = site.credentials.first();
        let (chain, key) = (site.write("server.crt", &pair.chain)?, site.write("server.key", &pair.key)?);
        let verify = if site.asks_clients {
            format!(
                "ssl_verify_client on; ssl_verify_depth 3; ssl_client_certificate {};",
                site.credentials.ca.display()
            )
        } else {
            String::new()
        };
        // Where we are root the worker must be able to read the folder too. A connection takes two of `worker_connections`.
        let config = format!(
            "{}
daemon off;
user root;
pid nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 19900; }}
stream {{
    server {{
        listen {} ssl;
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.2 TLSv1.3;
        {verify}
        proxy_pass {};
        proxy_timeout 1h;
    }}
}}
",
            self.load_module,
            site.listen,
            chain.display(),
            key.display(),
            site.app
        );
        let mut command = Command::new(&self.program);
        command.arg("-p").arg(&site.dir).arg("-e").arg("stderr").arg("-c").arg(site.write("nginx.conf", &config)?);
        Ok(command)
    }
}
