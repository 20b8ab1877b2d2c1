use std::time::Duration;

use super::*;
use crate::config::tests::ConfigInput;
use crate::config::{Config, Listen};

const APP: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";

fn outbounds(typed: &ConfigInput) -> Vec<Outbound> {
    typed.config().outbounds
}

#[test]
fn nothing_typed_is_no_outbound() {
    assert_eq!(outbounds(&ConfigInput::default()), []);
}

#[test]
fn each_pair_is_a_listener_and_what_is_said_for_all_holds_for_each() {
    let typed = ConfigInput::default()
        .flag("outbound", "9000=backend.apps.internal:61443,unix:/run/db.sock=db.apps.internal:61443")
        .flag("outbound-expect", &format!("cf:app:{APP}"))
        .variable("VESTIBULE_OUTBOUND_ATTEMPTS", "5");
    let found = outbounds(&typed);
    let listens: Vec<_> = found.iter().map(|outbound| outbound.listen.to_string()).collect();
    assert_eq!(listens, ["127.0.0.1:9000", "unix:/run/db.sock"]);
    let names: Vec<_> = found.iter().map(Outbound::name).collect();
    assert_eq!(names, ["backend.apps.internal:61443", "db.apps.internal:61443"]);
    for outbound in &found {
        assert_eq!(outbound.settings.expect, [format!("cf:app:{APP}").parse().unwrap()]);
        assert_eq!(
            (outbound.settings.attempts, outbound.settings.eject, outbound.settings.identity),
            (5, Some(3), IdentityUse::Always)
        );
        assert_eq!(outbound.settings.timeouts.total, Duration::from_secs(5));
    }
}

#[test]
fn own_issuer_alone_vouches_where_an_identity_is_expected_and_the_platform_and_the_system_elsewhere() {
    let ca = |typed: ConfigInput| outbounds(&typed.flag("outbound", "9000=backend:1"))[0].settings.ca.clone();
    let platform = || ConfigInput::default().variable("CF_SYSTEM_CERT_PATH", "/etc/cf-system-certificates");
    let folder = OutboundCa::Path("/etc/cf-system-certificates".into());
    assert_eq!(ca(platform().flag("outbound-expect", "cf:same:space")), [OutboundCa::OwnIssuer]);
    assert_eq!(ca(platform()), [folder, OutboundCa::System]);
    assert_eq!(ca(ConfigInput::default().flag("outbound-expect", "dns:backend")), [OutboundCa::System]);
    let given = ca(platform().flag("outbound-ca", "own-issuer,system,/ca.crt"));
    assert_eq!(given, [OutboundCa::OwnIssuer, OutboundCa::System, OutboundCa::Path("/ca.crt".into())]);
}

#[test]
fn a_table_has_its_own_values_and_they_beat_what_is_said_for_all() {
    let text = format!(
        "outbound-expect = \"cf:app:{APP}\"\noutbound-attempts = 7\n\
         [[outbound]]\nlisten = 9000\nto = [\"a.apps.internal:61443\", \"b.apps.internal:61443\"]\nexpect = \"cf:any\"\nbalance = \"first\"\n\
         [[outbound]]\nlisten = \"127.0.0.1:9001\"\nto = \"c:1\"\nrequired = true\n"
    );
    let found =
        outbounds(&ConfigInput::default().file(&text).flag("outbound-attempts", "2").flag("outbound", "9002=d:1"));
    let facts: Vec<_> = found
        .iter()
        .map(|outbound| {
            (
                outbound.name(),
                outbound.settings.expect[0].to_string(),
                outbound.settings.balance,
                outbound.settings.required,
                outbound.settings.attempts,
            )
        })
        .collect();
    let app = format!("cf:app:{APP}");
    let least = Balance::LeastConnections;
    let expected = [
        ("d:1".to_owned(), app.clone(), least, false, 2),
        ("a.apps.internal:61443,b.apps.internal:61443".to_owned(), "cf:any".to_owned(), Balance::First, false, 2),
        ("c:1".to_owned(), app, least, true, 2),
    ];
    assert_eq!(facts, expected);
}

#[test]
fn errors_about_outbounds_have_their_place_and_their_help() {
    let outbound = |text: &str| ConfigInput::default().flag("outbound", text);
    for (typed, line) in [
        (
            outbound("0.0.0.0:9000=backend:1"),
            "--outbound: other hosts may reach 0.0.0.0:9000, and would speak as this app; write 127.0.0.1:9000, or add --unsafe-listen",
        ),
        (
            outbound("9000=10.0.0.1:8443"),
            "--outbound: 10.0.0.1:8443 has no name by which the server could be told from others; add --outbound-expect RULE, or --outbound-server-name NAME",
        ),
        (
            outbound("9000=10.0.0.1:8443").flag("outbound-expect", "any"),
            "--outbound: 10.0.0.1:8443 has no name by which the server could be told from others; expect somebody, as cf:app:GUID or dns:NAME, instead of everybody, or add --outbound-server-name NAME",
        ),
        (
            outbound("9000=a:1,127.0.0.1:9000=b:1"),
            "--outbound: \"127.0.0.1:9000\" is listened on twice; give each an address of its own",
        ),
        (
            outbound("8443=a:1").flag("listen", "8443"),
            "--outbound: \"127.0.0.1:8443\" is taken by --listen; give it an address of its own",
        ),
        (
            outbound("8080=a:1"),
            "--outbound: \"127.0.0.1:8080\" is where the app listens, 127.0.0.1:8080: whoever reaches the app would leave here in its name; give it an address of its own, or correct --app",
        ),
        (
            outbound("unix:/run/app.sock=a:1").flag("app", "unix:/run/app.sock"),
            "--outbound: \"unix:/run/app.sock\" is where the app listens, unix:/run/app.sock: whoever reaches the app would leave here in its name; give it an address of its own, or correct --app",
        ),
        (
            ConfigInput::default()
                .flag("forward-proxy", "on")
                .flag("forward-proxy-to", "b:1")
                .flag("app", "localhost:61445"),
            "--forward-proxy: \"127.0.0.1:61445\" is where the app listens, localhost:61445: whoever reaches the app would leave here in its name; give it an address of its own, or correct --app",
        ),
        (outbound("9901=a:1"), "--outbound: \"127.0.0.1:9901\" is taken by --admin; give it an address of its own"),
        (
            outbound("9000=127.0.0.1:8443").flag("outbound-expect", "cf:any"),
            "--outbound: we would dial ourselves at 127.0.0.1:8443; name another server",
        ),
        (outbound("9000=localhost:9000"), "--outbound: we would dial ourselves at localhost:9000; name another server"),
        (
            outbound("9000=a:1,9001=LOCALHOST.:9000"),
            "--outbound: we would dial ourselves at localhost.:9000; name another server",
        ),
        (
            outbound("9000=a:1").flag("outbound-proxy", "http://127.0.0.1:9000"),
            "--outbound-proxy: we would be our own proxy: we listen at 127.0.0.1:9000 ourselves; name another proxy, or leave it out",
        ),
        (
            ConfigInput::default()
                .flag("forward-proxy", "on")
                .flag("forward-proxy-to", "b:1")
                .flag("outbound-proxy", "http://localhost:61445"),
            "--outbound-proxy: we would be our own proxy: we listen at localhost:61445 ourselves; name another proxy, or leave it out",
        ),
        (
            outbound("9000=a:1").flag("outbound-expect", "anonymous"),
            "--outbound-expect: every server has a certificate; name an app, or leave it out",
        ),
        (
            outbound("9000=a:1").flag("outbound-server-name", "off"),
            "--outbound: no name is checked, and no identity either: anybody could answer; add --outbound-expect RULE, or leave out --outbound-server-name off",
        ),
        (
            ConfigInput::default().flag("outbound-expect", "cf:any"),
            "--outbound-expect: there is no outbound listener; add --outbound LISTEN=HOST:PORT, or leave it out",
        ),
        (
            ConfigInput::default().file("[[outbound]]\nlisten = 9000\n"),
            "v.toml:1: outbound: has no to; write to = \"HOST:PORT\", whom we dial",
        ),
        (
            ConfigInput::default().file("[[outbound]]\nto = \"a:1\"\n"),
            "v.toml:1: outbound: has no listen; write listen = \"9000\", where the app dials us",
        ),
        (
            ConfigInput::default().file("[[outbound]]\nlisten = 9000\nto = \"a:1\"\nexpekt = \"cf:any\"\n"),
            "v.toml:4: expekt: no such key; the nearest is expect",
        ),
        (
            ConfigInput::default().file("[[outbound]]\nlisten = 9000\nto = \"a:1\"\nadmin = \"off\"\n"),
            "v.toml:4: admin: cannot stand under [[outbound]]; write it above the first [[outbound]]",
        ),
        (
            ConfigInput::default().file("[[outbound]]\nlisten = 9000\nto = \"a:1\"\noutbound-expect = \"cf:any\"\n"),
            "v.toml:4: outbound-expect: cannot stand under [[outbound]]; write expect here",
        ),
        (
            ConfigInput::default().file("outbound-to = \"a:1\"\n"),
            "v.toml:1: outbound-to: stands under [[outbound]] alone; write to there",
        ),
        (
            ConfigInput::default().file("[[outbound]]\nlisten = 9000\nto = \"a:1\"\nexpect = []\n"),
            "v.toml: expect: lists nobody; write a rule, or leave it out where the server's name is enough",
        ),
        (
            ConfigInput::default().file("[[outbound]]\nlisten = 9000\nto = \"a:1\"\nca = []\n"),
            "v.toml: ca: lists no CA; write own-issuer, system or a path, or leave it out",
        ),
        (
            ConfigInput::default().file("[outbound]\nlisten = 9000\nto = \"a:1\"\n"),
            "v.toml:1: outbound: is of type table; write each as a table with the header [[outbound]]",
        ),
    ] {
        assert_eq!(typed.diagnostics(), [line]);
    }
}

#[test]
fn whoever_asks_for_it_listens_where_other_hosts_reach_it() {
    let typed = ConfigInput::default().flag("outbound", "10.0.0.1:9000=a:1").flag("unsafe-listen", "true");
    let Config { outbounds, listeners, .. } = typed.config();
    assert_eq!(outbounds[0].listen, OutboundListen::At("10.0.0.1:9000".parse().unwrap()));
    assert_eq!(listeners[0].listen, Listen::EveryAddress(8443));
}
