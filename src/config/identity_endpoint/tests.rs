use super::*;
use crate::config::tests::ConfigInput;

fn at(listen: &str) -> ConfigInput {
    ConfigInput::default().flag("identity-listen", listen).flag("identity-audience", "vault")
}

fn endpoint(typed: &ConfigInput) -> IdentityEndpoint {
    typed.config().identity_endpoint.unwrap()
}

#[test]
fn there_is_none_unless_it_is_asked_for_and_then_an_audience_is_all_that_it_needs() {
    assert_eq!(ConfigInput::default().config().identity_endpoint, None);
    let found = endpoint(&at("unix:/run/i"));
    assert_eq!(found.listen.to_string(), "unix:/run/i");
    assert_eq!((found.audiences, found.ttl, found.rate), (vec!["vault".to_owned()], Duration::from_secs(300), 10));
    assert_eq!((found.peer_uids, found.token_file, found.verification), (vec![], None, None));
    let file =
        "identity-listen = \"127.0.0.1:9000\"\nidentity-audience = [\"a,b\", \"a,b\", \"c\"]\ntoken-ca = [\"/ca\"]\n";
    let found = endpoint(&ConfigInput::default().file(file));
    assert_eq!(found.audiences, ["a,b", "c"]);
    let verification = found.verification.unwrap();
    assert_eq!((verification.max_ttl, verification.skew), (Duration::from_secs(3600), Duration::from_secs(60)));
}

#[test]
fn each_diagnostic_has_its_help() {
    const SOCKET: &str = "unix:/run/i";
    for (typed, line) in [
        (
            at("10.0.0.1:9000"),
            "--identity-listen: other hosts may reach 10.0.0.1:9000, and would get tokens of this app; write 127.0.0.1:9000, or unix:/PATH",
        ),
        (
            ConfigInput::default().flag("identity-listen", SOCKET),
            "--identity-listen: nobody may be asked for a token for: no audience is listed; add --identity-audience AUD",
        ),
        (
            ConfigInput::default().flag("identity-audience", "a"),
            "--identity-audience: there is no identity endpoint; add --identity-listen unix:/PATH or 127.0.0.1:PORT, or leave it out",
        ),
        (
            at(SOCKET).flag("token-crl", "/crl"),
            "--token-crl: no token is verified; add --token-ca PATH, the CAs that vouch for those who show tokens, or leave it out",
        ),
        (
            at("127.0.0.1:9000").flag("identity-peer-uid", "7"),
            "--identity-peer-uid: over TCP nobody knows the user; leave it out, or write --identity-listen unix:/PATH",
        ),
        (
            at(SOCKET).flag("identity-token-file", "/t"),
            "--identity-token-file: a socket file needs no secret: the kernel says which user asks; leave it out, or write --identity-listen 127.0.0.1:PORT",
        ),
        (
            at("127.0.0.1:8443"),
            "--identity-listen: \"127.0.0.1:8443\" is taken by --listen; give it an address of its own",
        ),
        (
            at("127.0.0.1:9901"),
            "--identity-listen: \"127.0.0.1:9901\" is taken by --admin; give it an address of its own",
        ),
        (
            at("127.0.0.1:9000").flag("forward-proxy", "127.0.0.1:9000"),
            "--identity-listen: \"127.0.0.1:9000\" is listened on twice; give each an address of its own",
        ),
    ] {
        assert_eq!(typed.diagnostics(), [line]);
    }
    assert!(ConfigInput::default().variable("VESTIBULE_IDENTITY_AUDIENCE", "a").config().identity_endpoint.is_none());
    assert!(at("off").config().identity_endpoint.is_none(), "turned off by somebody who knows of it");
}

#[test]
fn where_others_start_the_app_the_secret_has_to_have_a_place() {
    let line = "--identity-listen: nobody would be told the secret that requests need; add --identity-token-file PATH, which the app reads, or write --identity-listen unix:/PATH";
    assert_eq!(at("127.0.0.1:9000").under_proxy().diagnostics(), [line]);
    let found = endpoint(&at("127.0.0.1:9000").flag("identity-token-file", "/t").under_proxy());
    assert_eq!(found.token_file, Some("/t".into()));
    assert!(endpoint(&at("127.0.0.1:9000")).token_file.is_none(), "in a folder of ours");
}
