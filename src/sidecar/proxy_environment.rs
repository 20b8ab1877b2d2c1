//! How the app learns of the forward proxy: by the variables that it is started with.

use std::ffi::OsString;

use crate::config::{ProxyEnvironment, Unlisted};

/// The variable of the draft "Full mTLS for C2C" of Cloud Foundry.
const CLOUD_FOUNDRY: &str = "CF_INSTANCE_MTLS_PROXY";

/// What HTTP clients read, each in its own spelling.
const HTTP: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const HTTPS: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The container's own address on Cloud Foundry.
const OWN_ADDRESS: &str = "CF_INSTANCE_INTERNAL_IP";

/// Who is never asked for by way of a proxy. Only literal addresses and whole names mean the same to all clients, and
/// addresses of IPv6 without brackets: urllib and undici want these, and httpx fails where there are any.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The variables that tell the app of the proxy at `url`, beside those that `known` has.
pub(super) fn environment(
    announce: ProxyEnvironment,
    unlisted: Unlisted,
    url: &str,
    known: impl Fn(&str) -> Option<OsString>,
) -> Vec<(OsString, OsString)> {
    let mut variables = Vec::new();
    if announce != ProxyEnvironment::Off {
        variables.push((CLOUD_FOUNDRY.into(), url.into()));
    }
    // Clients know proxies by URL alone.
    if announce == ProxyEnvironment::Env && url.starts_with("http://") {
        variables.extend(HTTP.map(|name| (name.into(), url.into())));
        if unlisted == Unlisted::Tunnel {
            variables.extend(HTTPS.map(|name| (name.into(), url.into())));
        }
        // Node.js reads them only if it is told to.
        variables.push(("NODE_USE_ENV_PROXY".into(), "1".into()));
        variables.extend(no_proxy(&known));
    }
    variables
}

/// Both spellings, with what the app has already.
fn no_proxy(known: &impl Fn(&str) -> Option<OsString>) -> impl Iterator<Item = (OsString, OsString)> {
    let text = |name: &str| known(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
    let own = text(OWN_ADDRESS);
    let all = NO_PROXY.map(text);
    let entries = all.iter().flat_map(|text| text.split(',')).chain(LOCAL).chain([own.as_str()]);
    let mut merged: Vec<&str> = Vec::new();
    for entry in entries.map(str::trim).filter(|entry| !entry.is_empty()) {
        if !merged.contains(&entry) {
            merged.push(entry);
        }
    }
    let merged = merged.join(",");
    NO_PROXY.into_iter().map(move |name| (name.into(), merged.clone().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:61445";

    fn told(announce: ProxyEnvironment, unlisted: Unlisted, url: &str, known: &[(&str, &str)]) -> Vec<String> {
        let known =
            |name: &str| known.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value));
        let told = environment(announce, unlisted, url, known).into_iter();
        told.map(|(name, value)| format!("{}={}", name.to_str().unwrap(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn cloud_foundrys_variable_alone_is_the_default_and_nothing_is_said_where_nothing_is_wanted() {
        let told = |announce| told(announce, Unlisted::Tunnel, URL, &[]);
        assert_eq!(told(ProxyEnvironment::Cf), ["CF_INSTANCE_MTLS_PROXY=http://127.0.0.1:61445"]);
        assert!(told(ProxyEnvironment::Off).is_empty());
    }

    #[test]
    fn clients_that_read_the_environment_are_told_and_keep_their_own_exceptions() {
        let known = [("no_proxy", "a.example, localhost"), ("CF_INSTANCE_INTERNAL_IP", "10.255.0.3")];
        let merged = "a.example,localhost,127.0.0.1,::1,10.255.0.3";
        assert_eq!(
            told(ProxyEnvironment::Env, Unlisted::Refuse, URL, &known),
            [
                format!("CF_INSTANCE_MTLS_PROXY={URL}"),
                format!("http_proxy={URL}"),
                format!("HTTP_PROXY={URL}"),
                "NODE_USE_ENV_PROXY=1".to_owned(),
                format!("no_proxy={merged}"),
                format!("NO_PROXY={merged}"),
            ]
        );
        // What is not forwarded would fail.
        let tunnels = told(ProxyEnvironment::Env, Unlisted::Tunnel, URL, &[]);
        assert!(tunnels.contains(&format!("https_proxy={URL}")) && tunnels.contains(&format!("HTTPS_PROXY={URL}")));
    }

    #[test]
    fn a_socket_file_is_nothing_that_clients_can_be_told_of() {
        assert_eq!(
            told(ProxyEnvironment::Env, Unlisted::Tunnel, "unix:/run/p", &[]),
            ["CF_INSTANCE_MTLS_PROXY=unix:/run/p"]
        );
    }
}
