//! How a listener serves HTTP: what it means, and what cannot be meant together.

use super::ConfigInput;
use crate::config::{ClientAuthConfig, HttpConfig, UpgradeDrain};
use crate::policy::{AmbiguousPaths, ChangedPaths};
use crate::xfcc::XfccForm;

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
    let other = http().flag("policy", "/p").flag("path-ambiguous", "judge-raw").flag("path-changed", "forward-folded");
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

type Flags = &'static [(&'static str, &'static str)];

/// What is said of an option that has no meaning: the rest of the flags, the option, its value, and the beginning of what is wrong.
type Meaningless<'a> = ([Flags; 2], &'static str, &'static str, &'a str);

const TLS_OFF: Flags =
    &[("mode", "http"), ("tls", "off"), ("listen", "9000"), ("allow", "any,anonymous"), ("router-xfcc", "forward")];
const KNOWN: Flags = &[("mode", "http"), ("client-ca", "/ca"), ("allow", "cf:any")];
const ANYBODY: Flags = &[("mode", "http")];
const ROUTER: Flags = &[
    ("mode", "http"),
    ("client-ca", "/ca"),
    ("allow", "cf:any"),
    ("xfcc-forward-from", "dns:router"),
    ("router-xfcc", "forward"),
];

fn with(flags: [Flags; 2]) -> ConfigInput {
    flags.iter().copied().flatten().fold(ConfigInput::default(), |typed, (name, value)| typed.flag(name, value))
}

#[test]
fn what_nothing_comes_of_is_refused() {
    let no_identity = "has no meaning where no certificate is asked for: nobody has an identity";
    let proxy_says = "has no meaning with --tls off: what the platform's proxy says is passed on as it comes";
    let not_written = "is how the client's identity is written, and by this --xfcc it is not";
    let contradiction = "contradicts --xfcc-forward-from: ";
    let sanitized: [Flags; 2] = [KNOWN, &[("xfcc", "sanitize")]];
    let forwarded: [Flags; 2] = [KNOWN, &[("xfcc", "forward-only")]];
    let raw: [Flags; 2] = [KNOWN, &[("xfcc-form", "raw")]];
    let http1: [Flags; 2] = [KNOWN, &[("alpn", "http/1.1")]];
    let h2c: [Flags; 2] = [KNOWN, &[("app-protocol", "h2c")]];
    let no_upgrade: [Flags; 2] = [KNOWN, &[("upgrade", "off")]];
    let cases: &[Meaningless<'_>] = &[
        ([ANYBODY, &[]], "xfcc-form", "raw", no_identity),
        ([ANYBODY, &[]], "xfcc-details", "subject", no_identity),
        ([ANYBODY, &[]], "caller-headers", "true", no_identity),
        ([ANYBODY, &[]], "xfcc", "append-forward", "is about clients with a certificate, and none is asked for"),
        ([ANYBODY, &[]], "xfcc", "forward-only", "is about clients with a certificate, and none is asked for"),
        ([ANYBODY, &[]], "path-changed", "forward-folded", "is about routes, and there are none"),
        ([KNOWN, &[]], "path-ambiguous", "judge-raw", "is about routes, and there are none"),
        (sanitized, "xfcc-form", "envoy", not_written),
        (forwarded, "xfcc-details", "subject", not_written),
        (raw, "xfcc-details", "cert", "lists the parts of Envoy's form, and --xfcc-form has another"),
        ([ROUTER, &[]], "xfcc", "sanitize", contradiction),
        ([ROUTER, &[]], "xfcc", "always-forward-only", contradiction),
        ([ROUTER, &[]], "xfcc", "append-forward", contradiction),
        ([TLS_OFF, &[]], "xfcc", "sanitize", proxy_says),
        ([TLS_OFF, &[]], "xfcc-form", "envoy", proxy_says),
        ([TLS_OFF, &[]], "xfcc-details", "hash", proxy_says),
        ([TLS_OFF, &[]], "forwarded-for", "set", proxy_says),
        ([TLS_OFF, &[]], "forwarded", "on", proxy_says),
        (http1, "h2-window-timeout", "5s", "has no meaning where clients may not speak HTTP/2"),
        (h2c, "upgrade", "any", "has no meaning where no connection becomes another protocol"),
        (h2c, "upgrade-drain", "close", "has no meaning where no connection becomes another protocol"),
        (no_upgrade, "upgrade-drain", "close", "has no meaning beside --upgrade off"),
        ([KNOWN, &[]], "drain-http", "off", "is about listeners that carry bytes, and there is none"),
    ];
    for (flags, option, value, what) in cases {
        let said = with(*flags).flag(option, value).diagnostics();
        let begin = format!("--{option}: {what}");
        assert!(said.len() == 1 && said[0].starts_with(&begin), "{flags:?} --{option} {value}: {said:?}");
        assert!(said[0].contains("; "), "it says what helps: {said:?}");
    }
}

#[test]
fn what_something_comes_of_is_taken() {
    let append: [Flags; 2] = [KNOWN, &[("xfcc", "append-forward")]];
    let alone = |flags: Flags| [flags, &[]];
    for (flags, option, value) in [
        (alone(ANYBODY), "xfcc", "always-forward-only"),
        (alone(ANYBODY), "xfcc", "sanitize"),
        (alone(ANYBODY), "forwarded", "on"),
        (alone(ANYBODY), "drain-http", "on"),
        (append, "xfcc-details", "cert"),
        (alone(KNOWN), "xfcc-form", "rfc9440"),
        (alone(KNOWN), "caller-headers", "true"),
        (alone(ROUTER), "xfcc", "sanitize-set"),
        (alone(ROUTER), "xfcc-form", "envoy"),
        (alone(TLS_OFF), "caller-headers", "true"),
        (alone(TLS_OFF), "h2-window-timeout", "5s"),
        (alone(TLS_OFF), "via", "edge"),
        (alone(KNOWN), "upgrade-drain", "close"),
    ] {
        with(flags).flag(option, value).config();
    }
    let detailed = served(&with(alone(KNOWN)).flag("xfcc-details", "cert"));
    assert_eq!(detailed.xfcc_forms, [XfccForm::Envoy], "no other form has details");
}

#[test]
fn what_protects_the_app_anyway_is_refused_as_well_where_it_is_not_done() {
    let no_routes = "is about routes, and there are none";
    let proxy_says = "has no meaning with --tls off: what the platform's proxy says is passed on as it comes";
    let health: [Flags; 2] = [KNOWN, &[("health-path", "/health")]];
    let cases: &[Meaningless<'_>] = &[
        ([ANYBODY, &[]], "path-changed", "reject", no_routes),
        ([KNOWN, &[]], "path-changed", "reject", no_routes),
        (health, "path-changed", "reject", no_routes),
        ([ANYBODY, &[]], "path-ambiguous", "reject", no_routes),
        ([TLS_OFF, &[]], "xfcc", "sanitize-set", proxy_says),
        ([TLS_OFF, &[]], "forwarded-for", "append", proxy_says),
    ];
    let begins = |said: &[String], begin: &str| said.len() == 1 && said[0].starts_with(begin);
    for (flags, option, value, what) in cases {
        let said = with(*flags).flag(option, value).diagnostics();
        assert!(begins(&said, &format!("--{option}: {what}")), "{flags:?} --{option} {value}: {said:?}");
        // A file may hold everything with what is usual.
        with(*flags).file(&format!("{option} = '{value}'\n")).config();
    }
    let said = with([ANYBODY, &[]]).variable("VESTIBULE_PATH_CHANGED", "reject").diagnostics();
    assert!(begins(&said, &format!("VESTIBULE_PATH_CHANGED: {no_routes}")), "{said:?}");
    with([KNOWN, &[("policy", "/p")]]).flag("path-changed", "reject").config();
    // One listener with routes is enough.
    let file = "mode = 'http'\n[[listener]]\nlisten = 1\n[[listener]]\nlisten = 2\nclient-ca = '/ca'\npolicy = '/p'\n";
    ConfigInput::default().flag("path-changed", "reject").file(file).config();
}

/// For whoever writes it expects what it says, and clients are not even asked.
#[test]
fn where_bytes_are_carried_no_word_on_requests_is_taken_be_it_the_usual_one() {
    let what = "has no meaning where bytes are carried as they are";
    let usual: [(&str, &str); 14] = [
        ("app-protocol", "http1"),
        ("xfcc", "sanitize-set"),
        ("xfcc-absent", "anonymous"),
        ("xfcc-verify", "optional"),
        ("router-xfcc", "unknown"),
        ("path-ambiguous", "reject"),
        ("path-changed", "reject"),
        ("forwarded-for", "append"),
        ("upgrade", "websocket"),
        ("http-max-head", "64K"),
        ("http-head-timeout", "10s"),
        ("http-body-timeout", "5m"),
        ("h2-window-timeout", "60s"),
        ("max-requests", "5"),
    ];
    for (option, value) in usual {
        let said = ConfigInput::default().flag(option, value).diagnostics();
        assert!(said.len() == 1 && said[0].starts_with(&format!("--{option}: {what}")), "{option}: {said:?}");
    }
    for (option, value) in [("sni-host", "off"), ("http-max-body", "off"), ("app-timeout", "off"), ("mode", "tcp")] {
        ConfigInput::default().flag(option, value).config();
    }
    // A file may hold everything with what is usual.
    ConfigInput::default().file("http-max-head = '64K'\nxfcc = 'sanitize-set'\n").config();
    // Of one listener nothing is said that is meant for another.
    let file = "[[listener]]\nlisten = 1\nmode = 'http'\nclient-ca = '/ca'\nallow = 'cf:any'\n\
                [[listener]]\nlisten = 2\nmode = 'http'\n";
    let both = format!("caller-headers = true\n{file}");
    ConfigInput::default().file(&both).config();
    let own = file.replace("listen = 2\n", "listen = 2\ncaller-headers = true\n");
    let said = ConfigInput::default().file(&own).diagnostics();
    assert!(said.len() == 1 && said[0].starts_with("v.toml:8: caller-headers: has no meaning where no"), "{said:?}");
}
