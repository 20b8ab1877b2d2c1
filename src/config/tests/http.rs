//! How a listener serves HTTP: what it means, and what cannot be meant together.

use super::ConfigInput;
use crate::config::{ClientAuthConfig, HttpConfig, UpgradeDrain};
use crate::policy::{AmbiguousPaths, ChangedPaths};

/// A listener that serves HTTP and asks for certificates.
fn http() -> ConfigInput {
    ConfigInput::default().flag("mode", "http").flag("client-ca", "/ca").flag("allow", "cf:any")
}

fn served(typed: &ConfigInput) -> HttpConfig {
    let listener = typed.config().listeners.remove(0);
    (*listener.http.unwrap()).clone()
}

/// Where whoever comes in by the listener may ask for health, and whether a certificate is required.
fn health(typed: &ConfigInput) -> (Option<String>, bool) {
    match typed.config().listeners.remove(0).clients {
        ClientAuthConfig::Files(files) => (files.health.map(|path| path.to_string()), files.required),
        other => panic!("{other:?}"),
    }
}

#[test]
fn health_has_a_path_where_whoever_asks_need_not_show_a_certificate() {
    let health_path = |typed: ConfigInput| typed.flag("health-path", "/health");
    assert_eq!(health(&http()), (None, false));
    assert_eq!(health(&health_path(http())), (Some("/health".to_owned()), false));
    assert_eq!(health(&health_path(http()).flag("client-auth", "request")), (Some("/health".to_owned()), false));
    for (typed, expected) in [
        (
            http().flag("client-auth", "require"),
            "nobody is without a certificate where one is required; add --client-auth request, or take it out",
        ),
        (http().flag("deny", "anonymous"), "is for callers whom a deny refuses: anonymous; take one of them out"),
        (
            ConfigInput::default().flag("mode", "http"),
            "no certificate is asked for, so everybody may ask for everything; add --client-auth request and --allow RULE, or take it out",
        ),
        (
            ConfigInput::default().flag("client-ca", "/ca").flag("allow", "cf:any"),
            "has no meaning where bytes are carried as they are; add --mode http (mode = \"http\" under the [[listener]]), or take it out",
        ),
    ] {
        assert_eq!(health_path(typed).diagnostics(), [format!("--health-path: {expected}")]);
    }
    for (path, what) in [
        ("health", "--health-path: \"health\" does not begin with /; write a path such as /health"),
        ("//health", "is the path of no request"),
        ("/health?x", "has a query"),
        ("*", "is no path that can be asked for by GET"),
    ] {
        let wrong = http().flag("health-path", path).diagnostics();
        assert!(wrong.len() == 1 && wrong[0].contains(what), "{path}: {wrong:?}");
        assert!(!wrong[0].contains("OPTIONS"), "nobody asks for health by it: {wrong:?}");
    }
}

#[test]
fn what_is_not_said_is_strict_and_bounded() {
    let usual = served(&http());
    assert_eq!((usual.paths.ambiguous, usual.paths.changed), (AmbiguousPaths::Reject, ChangedPaths::Reject));
    assert_eq!((usual.max_body, usual.upgrade_drain), (None, UpgradeDrain::Leave));
    assert_eq!(usual.window_timeout.map(|limit| limit.as_secs()), Some(60));
    let other = http().flag("path-ambiguous", "judge-raw").flag("path-changed", "forward-folded");
    let other =
        served(&other.flag("h2-window-timeout", "off").flag("http-max-body", "1M").flag("upgrade-drain", "close"));
    assert_eq!((other.paths.ambiguous, other.paths.changed), (AmbiguousPaths::JudgeRaw, ChangedPaths::ForwardFolded));
    assert_eq!((other.max_body, other.upgrade_drain), (Some(1 << 20), UpgradeDrain::Close));
    assert_eq!(other.window_timeout, None);
}

#[test]
fn http_is_no_protocol_that_a_connection_becomes() {
    let wrong = http().flag("upgrade", "h2c").diagnostics();
    let expected = "--upgrade: \"h2c\" is HTTP, to which no connection has to change; \
                    write websocket, any or off: HTTP/2 is agreed on in the handshake";
    assert_eq!(wrong, [expected]);
}

#[test]
fn what_is_agreed_on_in_the_handshake_is_http() {
    let alpn = |value: &str| http().flag("alpn", value);
    for (value, protocols) in [("h2", vec!["h2"]), ("http/1.1,h2", vec!["http/1.1", "h2"]), ("off", vec![])] {
        let said = alpn(value).config().listeners.remove(0).tls.alpn;
        assert_eq!(said, protocols.iter().map(|name| name.as_bytes()).collect::<Vec<_>>(), "{value}");
    }
    for value in ["spdy", "h2,spdy"] {
        let what = "\"spdy\" is nothing that a listener of mode http speaks";
        let help = "write h2, http/1.1 or both, or leave it out, which means both";
        assert_eq!(alpn(value).diagnostics(), [format!("--alpn: {what}; {help}")]);
    }
    let tcp = ConfigInput::default().flag("alpn", "spdy").config();
    assert_eq!(tcp.listeners[0].tls.alpn, [b"spdy"], "where bytes are carried it is the app's business");
}

#[test]
fn nothing_is_said_of_forwarded_callers_where_nobody_may_forward() {
    let meaningless = "has no meaning without --xfcc-forward-from: nobody may say who calls; \
                       name the router by --xfcc-forward-from, or take it out";
    let options = [("xfcc-absent", "client"), ("xfcc-verify", "require"), ("router-xfcc", "sanitize-set")];
    let router = || http().flag("xfcc-forward-from", "dns:router").flag("router-xfcc", "forward");
    for (name, value) in options {
        assert_eq!(http().flag(name, value).diagnostics(), [format!("--{name}: {meaningless}")]);
        if name != "router-xfcc" {
            router().flag(name, value).config();
        }
    }
    // What holds anyway may be said.
    http().flag("xfcc-absent", "anonymous").flag("xfcc-verify", "optional").flag("router-xfcc", "unknown").config();
    // For all listeners it is said where one of them believes somebody, and for one where that does.
    let file = "mode = 'http'\nrouter-xfcc = 'forward'\nxfcc-verify = 'require'\n\
                [[listener]]\nlisten = 1\n[[listener]]\nlisten = 2\nxfcc-forward-from = 'dns:router'\n";
    let typed = |file: String| ConfigInput::default().flag("client-ca", "/ca").flag("allow", "cf:any").file(&file);
    typed(file.to_owned()).config();
    let own = file.replacen("listen = 1\n", "listen = 1\nxfcc-absent = 'client'\n", 1);
    assert_eq!(typed(own).diagnostics(), [format!("v.toml:6: xfcc-absent: {meaningless}")]);
    let nobody = file.replace("xfcc-forward-from = 'dns:router'\n", "");
    let said = typed(nobody).diagnostics();
    assert_eq!(
        said,
        [format!("v.toml:2: router-xfcc: {meaningless}"), format!("v.toml:3: xfcc-verify: {meaningless}")]
    );
}
