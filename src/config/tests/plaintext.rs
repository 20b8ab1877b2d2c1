//! `--tls off`: what it means, and what cannot be meant beside it.

use super::{ConfigInput, listeners, tcp};
use crate::config::{AdmittedPeers, ClientAuthConfig, Listen, Listener, values};

/// What stands in a start command on the platform.
fn plain() -> ConfigInput {
    ConfigInput::default()
        .variable("PORT", "8080")
        .flag("tls", "off")
        .flag("mode", "http")
        .flag("router-xfcc", "sanitize-set")
        .flag("allow", "cf:any")
}

fn hidden() -> ConfigInput {
    plain().flag("hide-app-port", "true")
}

fn only(typed: &ConfigInput) -> Listener {
    typed.config().listeners.remove(0)
}

#[test]
fn it_listens_in_the_apps_place_whose_port_is_hidden() {
    let known = (Listen::EveryAddress(8080), tcp("127.0.0.1:8080"));
    for typed in [hidden(), hidden().flag("listener", "8080")] {
        assert_eq!(listeners(&typed.config()), std::slice::from_ref(&known));
    }
    let own = AdmittedPeers { own: true, networks: Vec::new() };
    assert_eq!(only(&hidden()).plaintext, Some(own));
    // A second one with TLS, for those who come without the platform's proxy.
    let file = "mode = 'http'\n[[listener]]\ntls = 'off'\nallow = ['anonymous']\n[[listener]]\nlisten = 8443\n";
    let config = ConfigInput::default().variable("PORT", "8080").flag("hide-app-port", "true").file(file).config();
    assert_eq!(listeners(&config), [known, (Listen::EveryAddress(8443), tcp("127.0.0.1:8080"))]);
    assert!(config.app.hide_port && config.listeners[1].plaintext.is_none());
}

#[test]
fn a_listener_without_an_app_leads_to_the_one_that_run_starts() {
    let typed = ConfigInput::default().variable("PORT", "8080").flag("listener", "8443").flag("listener", "9443=9090");
    let expected = [(8443, "127.0.0.1:8080"), (9443, "127.0.0.1:9090")];
    assert_eq!(listeners(&typed.config()), expected.map(|(port, app)| (Listen::EveryAddress(port), tcp(app))));
    assert_eq!(
        ConfigInput::proxy().flag("listener", "8443").diagnostics(),
        ["--listener: \"8443\" has no =; write LISTEN=APP such as 8443=8080"]
    );
}

#[test]
fn others_than_this_machine_are_named() {
    let network = |text| values::network(text).unwrap();
    let peers = |typed: &ConfigInput| only(typed).plaintext.unwrap();
    let expected = AdmittedPeers { own: true, networks: vec![network("10.0.0.0/8"), network("fd00::/8")] };
    assert_eq!(peers(&hidden().flag("from", "self,10.0.0.0/8,fd00::/8")), expected);
    let everybody = hidden().flag("from", "0.0.0.0/0");
    assert_eq!(
        everybody.diagnostics(),
        [
            "--from: 0.0.0.0/0 is everybody, who may then say that anybody calls; name the networks of proxies that tell the truth, or add --unsafe-from"
        ]
    );
    let expected = AdmittedPeers { own: false, networks: vec![network("0.0.0.0/0")] };
    assert_eq!(peers(&everybody.flag("unsafe-from", "true")), expected);
    assert_eq!(
        hidden().flag("from", "me").diagnostics(),
        ["--from: \"me\" is not a network; write a network such as 10.0.0.0/8 or fd00::/8, or an address; or self"]
    );
    assert_eq!(
        ConfigInput::default().flag("from", "10.0.0.0/8").diagnostics(),
        ["--from: has no meaning with TLS, where a certificate says who it is; add --tls off, or take it out"]
    );
}

#[test]
fn who_vouches_is_named_or_is_our_own_issuer_or_nobody() {
    let files = |typed: &ConfigInput| match only(typed).clients {
        ClientAuthConfig::Files(files) => (files.ca, files.issuer_of),
        other => panic!("{other:?}"),
    };
    let issued = hidden().variable("CF_INSTANCE_CERT", "/i.crt").variable("CF_INSTANCE_KEY", "/i.key");
    assert_eq!(files(&hidden()), (vec![], None));
    assert_eq!(files(&issued), (vec![], Some("/i.crt".into())));
    assert_eq!(files(&issued.variable("CF_SYSTEM_CERT_PATH", "/cas")), (vec!["/cas".into()], None));
}

#[test]
fn what_cannot_be_meant_without_tls_has_its_help() {
    let off = || ConfigInput::default().variable("PORT", "8080").flag("hide-app-port", "true").flag("tls", "off");
    let open = || off().flag("mode", "http").flag("allow", "anonymous");
    for (typed, said) in [
        (
            off().flag("allow", "anonymous"),
            "--tls: bytes that are carried as they are need TLS; add --mode http (mode = \"http\" under the [[listener]]): without TLS only a request says who calls",
        ),
        (
            off().flag("mode", "http"),
            "--tls: no rule and no route says who may call; add --allow RULE or a [[route]]; --allow any,anonymous serves everybody",
        ),
        (
            open().flag("client-auth", "request"),
            "--client-auth: has no meaning with --tls off: there is no handshake in which a certificate could be asked for; take it out: --allow and routes judge whom the platform's proxy forwards",
        ),
        (
            open().variable("VESTIBULE_ALPN", "h2"),
            "VESTIBULE_ALPN: has no meaning with --tls off: there is no handshake; take it out: HTTP/2 is known by its first bytes",
        ),
        (open().flag("tls-min", "1.3"), "--tls-min: has no meaning with --tls off: there is no handshake; take it out"),
        (
            open().flag("xfcc-forward-from", "dns:router"),
            "--xfcc-forward-from: has no meaning with --tls off: whoever may connect may say who calls; take it out, and say by --from who may connect",
        ),
        (open().flag("max-handshakes", "7"), "--max-handshakes: no listener has a handshake: TLS is off; take it out"),
        (
            open().flag("handshake-timeout", "7s"),
            "--handshake-timeout: no listener has a handshake: TLS is off; take it out",
        ),
        (
            ConfigInput::default().flag("tls", "off").flag("mode", "http").flag("allow", "anonymous"),
            "--tls: neither --listen nor PORT says where the platform's proxy finds the app; add --listen PORT",
        ),
        (
            plain(),
            "PORT: we would listen where the app is, 127.0.0.1:8080; add --hide-app-port, so that the app gets another one",
        ),
        (
            off().flag("mode", "http").flag("allow", "cf:any"),
            "--tls: callers are judged by what the router forwards, and anybody may write that unless the router sees to it; say what it does by --router-xfcc sanitize-set or forward (gorouter: router.forwarded_client_cert), or try it with --policy-mode audit",
        ),
        (
            hidden().flag("listener", "8080=9090"),
            "--hide-app-port: given beside --listener; let the app take its port from PORT, or leave one of the two out",
        ),
    ] {
        assert_eq!(typed.diagnostics(), [said]);
    }
    let held = open().flag("hold-until-ready", "11s").flag("handshake-timeout", "12s");
    assert!(only(&held).plaintext.is_some(), "how long clients are held is bounded by it");
}
