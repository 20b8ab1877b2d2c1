//! The clients, and how each is started on this machine.

use std::path::Path;

use crate::support::machine::{can, lacks, python_that};

/// A client, as an app has it.
pub(super) struct Client {
    pub(super) name: &'static str,
    /// How its requests are seen at the proxy.
    pub(super) mode: &'static str,
    /// Whether it knows by itself that the proxy is not for loopback.
    pub(super) leaves_out_loopback: bool,
    /// Whether it asks for a tunnel if the URL begins with https.
    pub(super) tunnels_tls: bool,
    how: How,
}

/// By what a client is run.
enum How {
    /// This program, by this script.
    Shell(&'static str, &'static str),
    /// With this module, by this script.
    Python(&'static str, &'static str),
    Go,
    /// With this class.
    Java(&'static str),
    /// A version that reads the environment: this script, with this argument.
    NodeAlone(&'static str, &'static str),
    /// With this module: this script, with this argument.
    Node(&'static str, &'static str, &'static str),
}

const fn client(name: &'static str, mode: &'static str, how: How) -> Client {
    Client { name, mode, leaves_out_loopback: true, tunnels_tls: true, how }
}

/// One that is led by what its app says, and not by the environment.
const fn told(name: &'static str, mode: &'static str, how: How) -> Client {
    Client { name, mode, leaves_out_loopback: false, tunnels_tls: true, how }
}

/// All of them.
pub(super) const CLIENTS: &[Client] = &[
    client("curl", "absolute", How::Shell("curl", "curl.sh")),
    client("curl --proxytunnel", "tunnel_wrapped", How::Shell("curl", "curl_tunnel.sh")),
    client("wget", "absolute", How::Shell("wget", "wget.sh")),
    client("urllib", "absolute", How::Python("urllib", "urllib_client.py")),
    client("requests", "absolute", How::Python("requests", "requests_client.py")),
    client("httpx", "absolute", How::Python("httpx", "httpx_client.py")),
    client("aiohttp", "absolute", How::Python("aiohttp", "aiohttp_client.py")),
    client("Go net/http", "absolute", How::Go),
    client("Java HttpURLConnection", "absolute", How::Java("HttpURLConnection")),
    client("Java HttpClient", "absolute", How::Java("HttpClient")),
    client("Node.js http", "absolute", How::NodeAlone("http.js", "own")),
    client("Node.js fetch", "tunnel_wrapped", How::NodeAlone("fetch.js", "own")),
    told("undici ProxyAgent", "tunnel_wrapped", How::Node("undici", "fetch.js", "ProxyAgent")),
    client("undici EnvHttpProxyAgent", "tunnel_wrapped", How::Node("undici", "fetch.js", "EnvHttpProxyAgent")),
    client("axios", "absolute", How::Node("axios", "axios.js", "own")),
    // Of http:// URLs alone.
    Client {
        tunnels_tls: false,
        ..told("http-proxy-agent", "absolute", How::Node("http-proxy-agent", "http.js", "http-proxy-agent"))
    },
    told("https-proxy-agent", "tunnel_wrapped", How::Node("https-proxy-agent", "http.js", "https-proxy-agent")),
];

impl Client {
    /// The program, which is given a URL as its last argument; `None` where the machine lacks it, which is said.
    pub(super) fn program(&self) -> Option<Vec<String>> {
        let (lacking, program) = match self.how {
            How::Shell(name, script) => (name, can(&[name, "--version"]).then(|| vec!["sh".to_owned(), file(script)])),
            How::Python(module, script) => {
                let python = python_that(&format!("import {module}"));
                (module, python.map(|python| vec![python.to_owned(), file(script)]))
            }
            How::Go => {
                let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go").to_str().unwrap().to_owned();
                ("Go", can(&["go", "version"]).then(|| vec!["sh".to_owned(), file("go.sh"), kept]))
            }
            How::Java(class) => {
                ("Java", can(&["javac", "-version"]).then(|| vec!["sh".to_owned(), file("java.sh"), class.to_owned()]))
            }
            How::NodeAlone(script, argument) => (
                "Node.js with --use-env-proxy",
                can(&["node", "--use-env-proxy", "-e", ""]).then(|| node(script, argument)),
            ),
            How::Node(module, script, argument) => {
                (module, can(&["node", "-e", &format!("require('{module}')")]).then(|| node(script, argument)))
            }
        };
        if program.is_none() {
            lacks(lacking);
        }
        program
    }
}

/// Who verifies nobody: what the server makes of the client is to be seen.
fn node(script: &str, argument: &str) -> Vec<String> {
    ["env", "NODE_TLS_REJECT_UNAUTHORIZED=0", "node", &file(script), argument].map(str::to_owned).to_vec()
}

fn file(name: &str) -> String {
    format!("{}/tests/it/outbound/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}
