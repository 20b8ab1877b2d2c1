//! What can be typed about clients, and the exact line for each error in it.

use super::super::tests::{ConfigInput, nothing};
use super::super::{Dial, Listen, TlsVersion};
use super::*;

const GREEN: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";

/// With a CA, as on the platform.
fn platform() -> ConfigInput {
    nothing().variable("CF_SYSTEM_CERT_PATH", "/etc/cf-system-certificates")
}

fn certified(typed: &ConfigInput) -> ClientAuthSettings {
    match typed.config().listeners.remove(0).clients {
        ClientAuthConfig::Files(certified) => certified,
        ClientAuthConfig::None | ClientAuthConfig::ValidationContext(_) => panic!("anonymous: {typed:?}"),
    }
}

fn texts(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

fn allowed(typed: &ConfigInput) -> Vec<String> {
    texts(&certified(typed).allow)
}

#[test]
fn without_a_rule_no_certificate_is_asked_for() {
    let listener = platform().config().listeners.remove(0);
    assert_eq!((listener.clients, listener.dial), (ClientAuthConfig::None, Dial::BeforeHandshake));
    let typed = nothing().flag("client-auth", "off").flag("client-ca", "/ca");
    assert_eq!(typed.config().listeners[0].clients, ClientAuthConfig::None);
}

#[test]
fn a_rule_is_enough_to_require_a_certificate_and_to_dial_after_the_permit() {
    let rules = [("allow", "cf:any"), ("allow-app", GREEN), ("policy", "/p.toml")];
    for (option, value) in rules {
        let typed = platform().flag(option, value);
        let certified = certified(&typed);
        assert!(certified.required && !certified.any_implied, "{option}");
        assert_eq!(certified.ca, [PathBuf::from("/etc/cf-system-certificates")]);
        assert_eq!(typed.config().listeners[0].dial, Dial::AfterAuthorization);
    }
    let typed = platform().flag("allow", "any").flag("dial", "before-handshake");
    assert_eq!(typed.config().listeners[0].dial, Dial::BeforeHandshake);
}

#[test]
fn require_without_a_rule_implies_any_and_says_so() {
    let required = certified(&platform().flag("client-auth", "require"));
    assert_eq!((texts(&required.allow), required.any_implied), (vec!["any".to_owned()], true));
    let with_file = certified(&platform().flag("client-auth", "require").flag("policy", "/p.toml"));
    assert_eq!((with_file.allow, with_file.any_implied), (vec![], false), "a file that lists nothing admits nobody");
}

#[test]
fn everything_that_can_be_said_is_kept() {
    let typed = nothing()
        .flag("client-auth", "request")
        .flag("client-ca", "/a,/b")
        .flag("client-ca", "/c")
        .flag("client-crl", "/l")
        .flag("allow", "anonymous,dns:*.Example.com")
        .flag("deny", "cn:x")
        .flag("policy", "/p.toml")
        .flag("policy-mode", "audit");
    let expected = ClientAuthSettings {
        required: false,
        ca: ["/a", "/b", "/c"].map(PathBuf::from).to_vec(),
        issuer_of: None,
        crl: vec!["/l".into()],
        allow: vec![Rule::Anonymous, "dns:*.example.com".parse().unwrap()],
        deny: vec!["cn:x".parse().unwrap()],
        forward_from: Vec::new(),
        any_implied: false,
        policy: Some("/p.toml".into()),
        mode: Some(PolicyMode::Audit),
        routes: None,
        health: None,
    };
    assert_eq!(certified(&typed), expected);
}

#[test]
fn the_shorthands_and_allow_are_one_list_of_which_the_highest_source_counts() {
    let guid = |i: u8| format!("00000000-0000-4000-8000-0000000000{i:02}");
    let file = format!("allow = ['cf:any']\nallow-org = ['{}']", guid(1));
    let typed = platform().file(&file);
    assert_eq!(allowed(&typed), ["cf:any".to_owned(), format!("cf:org:{}", guid(1))]);
    let typed = typed.variable("VESTIBULE_ALLOW_SPACE", &guid(2));
    assert_eq!(allowed(&typed), [format!("cf:space:{}", guid(2))]);
    let typed = typed.flag("allow-app", &format!("{},{}", guid(3), guid(4))).flag("allow", "cn:x");
    assert_eq!(allowed(&typed), ["cn:x".to_owned(), format!("cf:app:{}", guid(3)), format!("cf:app:{}", guid(4))]);
}

#[test]
fn each_listener_of_the_file_may_have_its_own() {
    let typed = platform().variable("PORT", "3000").file(
        "allow = ['cf:same:org']\ntls-min = '1.3'\n\
         [[listener]]\nlisten = 8443\n\
         [[listener]]\nlisten = 9443\napp = 9090\nallow = ['dns:gorouter.service.cf.internal']\nclient-ca = ['/router.crt']\n\
         tls-min = '1.2'\nalpn = ['h2']\ndial = 'before-handshake'\n\
         [[listener]]\nlisten = 7443\nclient-auth = 'off'\n",
    );
    let config = typed.config();
    let [first, second, third] = &config.listeners[..] else { panic!("{config:?}") };
    let ports = [first, second, third].map(|listener| listener.listen);
    assert_eq!(ports, [8443, 9443, 7443].map(Listen::EveryAddress));
    assert_eq!([first, second].map(|listener| listener.app.to_string()), ["127.0.0.1:3000", "127.0.0.1:9090"]);
    assert_eq!([first, second].map(|l| l.tls.min_version), [TlsVersion::Tls13, TlsVersion::Tls12]);
    assert_eq!([first, second].map(|l| l.dial), [Dial::AfterAuthorization, Dial::BeforeHandshake]);
    let rules = |listener: &super::super::Listener| match &listener.clients {
        ClientAuthConfig::Files(certified) => (texts(&certified.allow), certified.ca.clone()),
        ClientAuthConfig::None | ClientAuthConfig::ValidationContext(_) => panic!("anonymous"),
    };
    assert_eq!(rules(first), (vec!["cf:same:org".to_owned()], vec!["/etc/cf-system-certificates".into()]));
    let router = vec!["dns:gorouter.service.cf.internal".to_owned()];
    assert_eq!(rules(second), (router, vec![PathBuf::from("/router.crt")]));
    assert_eq!(third.clients, ClientAuthConfig::None, "it has said so itself");
}

#[test]
fn a_flag_or_variable_speaks_for_every_listener() {
    let file = "[[listener]]\nlisten = 1\nallow = ['cn:x']\nallow-app = []\n[[listener]]\nlisten = 2\n";
    let typed = platform().file(file).variable("VESTIBULE_ALLOW_APP", GREEN).flag("deny", "cn:y");
    for listener in typed.config().listeners {
        let ClientAuthConfig::Files(certified) = listener.clients else { panic!("anonymous") };
        assert_eq!(
            (texts(&certified.allow), texts(&certified.deny)),
            (vec![format!("cf:app:{GREEN}")], vec!["cn:y".to_owned()])
        );
    }
    let typed = platform().file("[[listener]]\nclient-auth = 'require'\n").flag("client-auth", "off");
    assert_eq!(typed.config().listeners[0].clients, ClientAuthConfig::None);
}

#[test]
#[rustfmt::skip] // What is typed, and what is said, in one column each.
fn every_diagnostic_says_where_what_and_the_help() {
    let n = nothing;
    let p = platform;
    const NO_CA: &str = "client certificates are asked for, but no CA is known; give --client-ca PATH; where Cloud Foundry says so it is $CF_SYSTEM_CERT_PATH";
    for (typed, said) in [
        (p().flag("allow", "cf:ap:x"),
            "--allow: \"cf:ap:x\": no such rule; the nearest is cf:app:GUID".to_owned()),
        (p().variable("VESTIBULE_DENY", "any,cf:space:dev").flag("allow", "any"),
            "VESTIBULE_DENY: \"cf:space:dev\": \"dev\" is not a GUID; write the GUID that cf space NAME --guid prints".to_owned()),
        (p().flag("allow-org", "system"),
            "--allow-org: \"system\" is not a GUID; write the GUID that cf org NAME --guid prints".to_owned()),
        (n().flag("allow", "any"), format!("--allow: {NO_CA}")),
        (n().variable("VESTIBULE_CLIENT_AUTH", "require"), format!("VESTIBULE_CLIENT_AUTH: {NO_CA}")),
        (n().file("\npolicy = '/p.toml'"), format!("v.toml:2: policy: {NO_CA}")),
        // No certificate is asked for, and something was said about certificates.
        (p().flag("client-auth", "off").flag("allow", "any"),
            "--allow: given beside --client-auth: without client certificates no rule can be kept; write --client-auth require, or take the rules out".to_owned()),
        (p().flag("client-auth", "off").file("policy = '/p.toml'"),
            "--client-auth: given beside v.toml:1: policy: without client certificates no rule can be kept; write --client-auth require, or take the rules out".to_owned()),
        (n().flag("client-ca", "/ca"),
            "--client-ca: no certificate is asked for, so everybody comes in; add --client-auth require or --allow RULE, or say --client-auth off".to_owned()),
        (p().file("policy-mode = 'audit'"),
            "v.toml:1: policy-mode: no certificate is asked for, so everybody comes in; add --client-auth require or --allow RULE, or say --client-auth off".to_owned()),
        // Nobody would come in.
        (p().flag("deny", "cf:any"),
            "--deny: nobody is allowed in who could be denied; add --allow any".to_owned()),
        (p().flag("client-auth", "request"),
            "--client-auth: no rule says who may come in; add --allow any, or --allow any,anonymous".to_owned()),
        (p().flag("allow", "any,anonymous"),
            "--allow: nobody is anonymous where a certificate is required; add --client-auth request, or take the rule out".to_owned()),
        (p().file("allow = []\nclient-auth = 'require'"),
            "v.toml: allow: lists nobody; write a rule, any for every certificate, or leave it out".to_owned()),
        // An empty variable is what a template leaves behind that was not filled in.
        (p().variable("VESTIBULE_ALLOW", ""),
            "VESTIBULE_ALLOW: \"\": no such rule; write cf:app:GUID, cf:space:GUID, cf:org:GUID, cf:same:org, dns:NAME or any".to_owned()),
        (p().variable("VESTIBULE_POLICY", ""),
            "VESTIBULE_POLICY: is empty; write the path of a file".to_owned()),
        // [[listener]]
        (n().file("[[listener]]\nthreads = 2"),
            "v.toml:2: threads: cannot stand under [[listener]]; write it above the first [[listener]]".to_owned()),
        (n().file("[[listener]]\nalow = ['any']"),
            "v.toml:2: alow: no such key; the nearest is allow".to_owned()),
        (n().file("[[listener]]\nlisten = 1\n[[listener]]\nlisten = '127.0.0.1:1'"),
            "v.toml:4: listen: [::]:1 and 127.0.0.1:1 overlap; give each listener an address of its own".to_owned()),
        (n().file("listen = 1\n[[listener]]\nlisten = 2"),
            "v.toml:1: listen: given beside v.toml:2: listener; write listen and app under each [[listener]]".to_owned()),
        (n().file("[[listener]]\nlisten = 2").flag("listener", "1=2"),
            "--listener: given beside v.toml:1: listener; write listen and app under each [[listener]]".to_owned()),
        (n().file("listener = ['1=2', { listen = 3 }]"),
            "v.toml:1: listener: holds something of type string beside tables; write each of them as [[listener]]".to_owned()),
        (p().file("[[listener]]\nclient-auth = 'off'\nallow = ['any']"),
            "v.toml:2: client-auth: given beside v.toml:3: allow: without client certificates no rule can be kept; write --client-auth require, or take the rules out".to_owned()),
        (p().file("[[listener]]\nclient-auth = 'off'").flag("allow", "any"),
            "--allow: given beside v.toml:2: client-auth: without client certificates no rule can be kept; write --client-auth require, or take the rules out".to_owned()),
        // What is wrong for all is said once.
        (n().file("alpn = 'http2'\n[[listener]]\nlisten = 1\n[[listener]]\nlisten = 2"),
            "v.toml:1: alpn: \"http2\" is not what clients offer; write h2".to_owned()),
    ] {
        assert_eq!(typed.diagnostics(), [said]);
    }
}
