//! The URL of a server whose API we call ourselves.

use std::fmt;

use super::target::{dial_host, target};
use crate::config::outbound::{Host, Target};
use crate::diagnostics::Problem;

const EXAMPLE: &str = "write https://HOST[:PORT], or http://127.0.0.1:PORT";

/// `https://HOST[:PORT][/PATH]`; or `http://`, which leads to loopback only: what we say there is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl {
    /// Whether what is said is encrypted, and the server shows who it is.
    pub is_tls: bool,
    /// Whom it leads to.
    pub server: Target,
    /// What stands before each path of the API; empty, or `/` and more without a `/` at its end.
    pub prefix: String,
}

/// `https://vault.example:8200`. What is wrong is said without repeating it: there may be a password in it.
pub fn api_url(text: &str) -> Result<ApiUrl, Problem> {
    let wrong = |what: &str| Problem::new(what, EXAMPLE);
    let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(wrong("is not a URL that begins with https://")),
    };
    if rest.contains(['@', '?', '#']) || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("has a user, a query, a fragment or a blank in it"));
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let bare = authority.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
    let port = if is_tls { 443 } else { 80 };
    let server = match (target(authority), dial_host(bare.unwrap_or(authority))) {
        (Ok(server), _) => server,
        (Err(_), Ok(host)) => Target { host, port },
        (Err(_), Err(_)) => return Err(wrong("has no HOST or HOST:PORT that can be dialled")),
    };
    let is_loopback = match &server.host {
        Host::Ip(ip) => ip.is_loopback(),
        Host::Name(name) => name.trim_end_matches('.') == "localhost",
    };
    if !is_tls && !is_loopback {
        return Err(Problem::new(
            "is not encrypted and leads to another machine, which would see what nobody may see",
            "write https://; http:// is for 127.0.0.1, [::1] and localhost",
        ));
    }
    Ok(ApiUrl { is_tls, server, prefix: path.trim_end_matches('/').to_owned() })
}

impl ApiUrl {
    /// What stands in Host: the port too, unless it is the usual one.
    pub fn authority(&self) -> String {
        let usual = if self.is_tls { ":443" } else { ":80" };
        let whole = match &self.server.host {
            Host::Name(name) => format!("{}:{}", name.trim_end_matches('.'), self.server.port),
            Host::Ip(_) => self.server.to_string(),
        };
        whole.strip_suffix(usual).map(ToOwned::to_owned).unwrap_or(whole)
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_an_api_has_a_scheme_a_server_and_perhaps_a_path() {
        for (text, shown) in [
            ("https://Vault.Example:8200", "https://vault.example:8200"),
            ("https://vault.example:8200/", "https://vault.example:8200"),
            ("https://vault.example/below/it/", "https://vault.example/below/it"),
            ("https://vault.example:443", "https://vault.example"),
            ("https://10.0.0.1:8200", "https://10.0.0.1:8200"),
            ("https://[fd00::1]", "https://[fd00::1]"),
            ("https://[fd00::1]:8200", "https://[fd00::1]:8200"),
            ("http://127.0.0.1:8200", "http://127.0.0.1:8200"),
            ("http://[::1]:8200", "http://[::1]:8200"),
            ("http://localhost", "http://localhost"),
        ] {
            assert_eq!(api_url(text).map(|url| url.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_of_an_api_is_refused_without_repeating_it() {
        for (text, said) in [
            ("", "begins with https://"),
            ("vault.example:8200", "begins with https://"),
            ("HTTPS://vault.example", "begins with https://"),
            ("unix:///run/vault.sock", "begins with https://"),
            ("https://user:hidden@vault.example", "has a user"),
            ("https://vault.example/?token=hidden", "a query"),
            ("https://vault.example/ hidden", "a blank"),
            ("https://", "has no HOST"),
            ("https://:8200", "has no HOST"),
            ("https://vault.example:0", "has no HOST"),
            ("https://0.0.0.0:1", "has no HOST"),
            ("http://vault.example:8200", "not encrypted"),
            ("http://10.0.0.1:8200", "not encrypted"),
            ("http://localhost.example", "not encrypted"),
        ] {
            let problem = api_url(text).unwrap_err().to_string();
            assert!(
                problem.contains(said) && problem.contains("; ") && !problem.contains("hidden"),
                "{text}: {problem}"
            );
        }
    }
}
