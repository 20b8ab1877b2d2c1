use super::*;
use crate::config::outbound::{ExpectedName, OutboundCa};
use crate::config::tests::ConfigInput;
use crate::config::values;

const APP: &str = "cf:app:7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";

fn proxy(typed: &ConfigInput) -> ForwardProxy {
    typed.config().forward_proxy.unwrap()
}

fn on(to: &str) -> ConfigInput {
    ConfigInput::default().flag("forward-proxy", "on").flag("forward-proxy-to", to)
}

fn target(text: &str) -> Target {
    values::target(text).unwrap()
}

#[test]
fn there_is_none_unless_it_is_asked_for_and_then_it_is_on_loopback_and_refuses_what_is_not_listed() {
    assert_eq!(ConfigInput::default().config().forward_proxy, None);
    let found = proxy(&ConfigInput::default().flag("forward-proxy", "on"));
    assert_eq!(found.listen.to_string(), "127.0.0.1:61445");
    assert_eq!((found.unlisted, found.announce, found.secret), (Unlisted::Refuse, ProxyEnvironment::Cf, false));
    assert_eq!(found.position(&target("anybody:80")), None);
    let file = ConfigInput::default().file("forward-proxy = \"unix:/run/p\"\nforward-proxy-to = [\"b:1\"]\n");
    assert_eq!(proxy(&file).listen.to_string(), "unix:/run/p");
}

#[test]
fn the_narrowest_of_several_patterns_decides() {
    let found = proxy(&on(&format!(
        "*.internal:61443,*.apps.internal:61443=cf:same:space,backend.apps.internal:61443={APP},10.0.0.0/8:1={APP},10.1.0.0/16:1=cf:any"
    )));
    let hosts = |text: &str| found.position(&target(text)).map(|at| found.listed[at].to_string());
    for (asked, pattern) in [
        ("backend.apps.internal:61443", Some("backend.apps.internal:61443")),
        ("Backend.Apps.Internal.:61443", Some("backend.apps.internal:61443")),
        ("0.backend.apps.internal:61443", Some("*.apps.internal:61443")),
        ("apps.internal:61443", Some("*.internal:61443")),
        ("internal:61443", None),
        ("xapps.internal:61443", Some("*.internal:61443")),
        ("backend.apps.internal:443", None),
        ("backend.apps.internal.example:61443", None),
        ("10.2.3.4:1", Some("10.0.0.0/8:1")),
        ("10.1.3.4:1", Some("10.1.0.0/16:1")),
        ("11.1.3.4:1", None),
    ] {
        assert_eq!(hosts(asked).as_deref(), pattern, "{asked}");
    }
}

#[test]
fn a_pattern_with_several_rules_lets_either_answer_and_one_without_takes_what_is_said_for_all() {
    let typed =
        on(&format!("a:1={APP},a:1=cf:same:space,b:1")).flag("outbound-expect", "dns:b").flag("outbound-attempts", "7");
    let found = proxy(&typed);
    let of = |text: &str| &found.listed[found.position(&target(text)).unwrap()].settings;
    let rules = |text: &str| of(text).expect.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(rules("a:1"), [APP, "cf:same:space"]);
    assert_eq!(rules("b:1"), ["dns:b"]);
    // A cf: rule is vouched for by our own issuer alone.
    assert_eq!((&of("a:1").ca[..], &of("b:1").ca[..]), (&[OutboundCa::OwnIssuer][..], &[OutboundCa::System][..]));
    assert_eq!((of("a:1").attempts, of("a:1").preserve_host), (7, true));
}

#[test]
fn one_name_for_all_servers_is_not_taken() {
    // It is for the listener that there is beside it.
    let beside = on(&format!("a:1={APP}")).flag("outbound", "9000=b:1").flag("outbound-expect", APP);
    let found = proxy(&beside.flag("outbound-server-name", "x"));
    assert_eq!(found.listed[0].settings.server_name, ExpectedName::Target);
    let found = proxy(&on(&format!("a:1={APP}")).flag("outbound-server-name", "off"));
    assert_eq!(found.listed[0].settings.server_name, ExpectedName::Unchecked);
}

#[test]
fn a_port_may_stand_for_another() {
    let found = proxy(&on("b:61443").flag("forward-proxy-map", "b:80=:61443"));
    assert_eq!(found.mapped(target("b:80")), target("b:61443"));
    assert_eq!(found.mapped(target("b.:80")), target("b.:61443"));
    assert_eq!(found.mapped(target("b:81")), target("b:81"));
    assert_eq!(found.mapped(target("c:80")), target("c:80"));
}

#[test]
fn what_would_surprise_is_refused_with_the_help() {
    for (typed, said) in [
        (ConfigInput::default().flag("forward-proxy-to", "b:1"), "there is no forward proxy"),
        (ConfigInput::default().flag("forward-proxy-secret", "on"), "there is no forward proxy"),
        (ConfigInput::default().flag("outbound-protocol", "http1"), "there is no outbound listener"),
        (ConfigInput::default().flag("forward-proxy", "0.0.0.0:1"), "other hosts may reach"),
        (on("b"), "has no port"),
        (on("*:1"), "with everybody"),
        (on("b:0"), "is not a port"),
        (on("*.:1"), "has no domain"),
        (on("http://b:1"), "is a URL"),
        (on("10.0.0.1:1"), "has no name by which"),
        (on("10.0.0.0/8:1"), "has no name by which"),
        (on("10.0.0.1/8:1=cf:any"), "names a host and a network at once"),
        (on(&format!("b:1={APP},b:1")), "with a rule and without one"),
        (on(&format!("b.:1={APP},b:1")), "with a rule and without one"),
        (on("[*.a]:1"), "is not a"),
        (on("b:1=anonymous"), "every server has a certificate"),
        (on("b:1").flag("outbound-server-name", "off"), "no name is checked"),
        (on("b:1").flag("forward-proxy-map", "b:80"), "is not HOST:PORT=:PORT"),
        (on("b:1").flag("forward-proxy", "unix:/run/p").flag("forward-proxy-secret", "on"), "no URL of a socket file"),
        (
            on("b:1").flag("forward-proxy-announce", "off").flag("forward-proxy-secret", "on"),
            "would be told the password",
        ),
        (on("b:1").flag("listen", "61445").flag("app", "1"), "is taken by --listen"),
        (on("b:1").flag("outbound", "61445=c:1"), "is listened on twice"),
    ] {
        let problems = typed.diagnostics().join("\n");
        assert!(problems.contains(said) && problems.contains("; "), "{said}: {problems}");
    }
}

#[test]
fn what_is_said_of_outbound_listeners_alone_is_refused_where_there_is_the_proxy_alone() {
    let listed = || on(&format!("a:1={APP}"));
    for (option, value, said) in [
        ("outbound-server-name", "backend", "the name that the request has"),
        ("outbound-protocol", "tcp", "speaks HTTP"),
        ("outbound-protocol", "http1", "speaks HTTP"),
        ("outbound-preserve-host", "false", "the host that the request names"),
        ("outbound-preserve-host", "true", "the host that the request names"),
        ("outbound-required", "true", "knows no server before"),
        ("unsafe-listen", "true", "loopback alone"),
    ] {
        let problem = listed().flag(option, value).diagnostics().concat();
        assert!(problem.contains("there is no outbound listener") && problem.contains(said), "{problem}");
        // With a listener it is for that; in a variable it may be for others.
        listed().flag(option, value).flag("outbound", "9000=b:1").flag("outbound-expect", APP).config();
        listed().variable(&format!("VESTIBULE_{}", option.to_uppercase().replace('-', "_")), value).config();
    }
    for (option, value) in [("outbound-server-name", "off"), ("outbound-balance", "first")] {
        listed().flag(option, value).config();
    }
    let file = format!("forward-proxy = \"on\"\nforward-proxy-to = [\"a:1={APP}\"]\noutbound-server-name = \"b\"\n");
    let problem = ConfigInput::default().file(&file).diagnostics().concat();
    assert!(problem.contains("there is no outbound listener"), "{problem}");
}

#[test]
fn nobody_is_mapped_to_two_ports() {
    let mapped = |map: &str| on(&format!("a:1={APP}")).flag("forward-proxy-map", map);
    assert_eq!(proxy(&mapped("a:80=:1,A.:80=:1")).map.len(), 1);
    let problem = mapped("a:80=:1,A.:80=:2").diagnostics().concat();
    assert!(problem.contains("leads to port 1 already"), "{problem}");
    assert_eq!(
        proxy(&mapped("a:80=:1,b:80=:1")).dangling_mappings().map(ToString::to_string).collect::<Vec<_>>(),
        ["b:80=:1"]
    );
}
