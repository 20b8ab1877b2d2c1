//! nginx: with its stream module, which Debian packs by itself, and as a proxy of requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Peer, Site};

/// nginx, and what it is.
pub(super) struct Nginx {
    program: PathBuf,
    way: Way,
}

/// How the client's bytes get to the app.
enum Way {
    /// As they are, by the stream module, which this line may have to load.
    Stream { load_module: String },
    /// Request by request.
    Http,
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
    Some(Nginx { program, way: Way::Stream { load_module } })
}

/// The same as a proxy of requests, which needs no module.
pub(super) fn find_for_http() -> Option<Nginx> {
    super::on_path("nginx").map(|program| Nginx { program, way: Way::Http })
}

/// Connections to the app are kept, as many as there are requests at a time here. Limits are raised as for all, and nothing goes by
/// way of a file. Folders for what would are named, since those of the package are not everybody's.
const HTTP: &str = "\
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    upstream app { server {app}; keepalive 64; keepalive_requests 1000000000; }
";

const LOCATION: &str = "\
        location / {
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }
";

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
        let (load_module, block, http2, before, inside) = match &self.way {
            Way::Stream { load_module } => {
                let pass = format!("        proxy_pass {};\n        proxy_timeout 1h;\n", site.app);
                (load_module.as_str(), "stream", "", String::new(), pass)
            }
            Way::Http => ("", "http", "http2", HTTP.replace("{app}", &site.app.to_string()), LOCATION.to_owned()),
        };
        // Where we are root the worker must be able to read the folder too. A connection takes two of `worker_connections`.
        let config = format!(
            "{load_module}
daemon off;
user root;
pid nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 19900; }}
{block} {{
{before}    server {{
        listen {} ssl {http2};
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.2 TLSv1.3;
        {verify}
{inside}    }}
}}
",
            site.listen,
            chain.display(),
            key.display(),
        );
        let mut command = Command::new(&self.program);
        command.arg("-p").arg(&site.dir).arg("-e").arg("stderr").arg("-c").arg(site.write("nginx.conf", &config)?);
        Ok(command)
    }

    fn speaks_http(&self) -> bool {
        matches!(self.way, Way::Http)
    }
}
