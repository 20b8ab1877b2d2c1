//! Tokens of Comcast's form, at our verifier and at a server that does what Comcast's plugin does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::programs::{Made, StandIn, line, token};
use super::table::faults;
use crate::support::eventually;

/// What the plugin lets in and we do not: each is a way to use a token that its instance has not meant.
const THERE_ALONE: &[&str] = &[
    "exp of 1970",
    "nbf of 2099",
    "the audience of a bank",
    "twice",
    "two apps",
    "the retirement pair",
    "keyAgreement without digitalSignature",
    "its private key comes along",
    "a policy not granted beside one that is",
];

/// What we let in and the plugin does not, all of it.
const HERE_ALONE: &[&str] = &["a root CA, and the chain in x5c", "the CA is the second block", "EKU clientAuth alone"];

/// The server, with the CA of `case` and its policies.
fn configured(server: &StandIn, made: &Made, case: &Value) {
    let options = case["options"].as_array().unwrap();
    let ca = options[1].as_str().unwrap();
    server.set("/v1/auth/cf/config", &json!({ "ca": std::fs::read_to_string(ca).unwrap() }));
    let roles = made.read("comcast-roles.toml");
    let org = roles.split("cf:org:").nth(1).unwrap().split('"').next().unwrap();
    server.set(&format!("/v1/auth/cf/map/organizations/{org}"), &json!({ "policies": ["read", "list"] }));
}

#[test]
fn the_same_tokens_are_judged_here_and_by_comcasts_plugin_and_the_differences_are_known() {
    let Some(made) = Made::by("token_maker.py", &["comcast"], "table.jsonl") else { return };
    let Some(server) = StandIn::start("comcast_stand_in.py") else { return };
    let (mut wrong, mut there_alone, mut here_alone) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for case in &made.cases {
        configured(&server, &made, case);
        let name = case["name"].as_str().unwrap().strip_prefix("comcast: ").unwrap();
        let body = json!({ "jwt": case["token"] }).to_string();
        let (status, text) = server.login(&body);
        if case["there"][0] != status || !text.contains(case["there"][1].as_str().unwrap()) {
            wrong.push(format!("{name}: {status} {text} there, and should be {}", case["there"]));
        }
        // Once it has died of a token it is away for everybody.
        eventually("the server", || (server.login("{}").1 == "missing jwt").then_some(()));
        wrong.extend(faults(case));
        let permit = case["reason"].is_null();
        if permit != (status == 200) {
            let alone = if permit { &mut here_alone } else { &mut there_alone };
            alone.insert(name);
        }
    }
    assert!(wrong.is_empty(), "of {} cases:\n{}", made.cases.len(), wrong.join("\n"));
    assert_eq!(here_alone, HERE_ALONE.iter().copied().collect());
    for name in THERE_ALONE {
        assert!(there_alone.contains(name), "{name} is let in by both, or by none: {there_alone:?}");
    }
}

#[test]
fn our_token_of_comcasts_form_logs_in_at_comcasts_plugin() {
    let Some(made) = Made::by("login_maker.py", &[], "logins.jsonl") else { return };
    let Some(server) = StandIn::start("comcast_stand_in.py") else { return };
    server.set("/v1/auth/cf/config", &json!({ "ca": made.read("issuing.pem") }));
    let words = ["jwt", "--audience", "vault", "--form", "comcast", "--policy", "read"];
    for more in [&[][..], &["--alg", "PS256"], &["--chain", "leaf"]] {
        let jwt = line(&token(&made.path("sound.crt"), &made.path("sound.key"), &[&words[..], more].concat()));
        let header = jwt.split('.').next().unwrap();
        let header = <base64ct::Base64UrlUnpadded as base64ct::Encoding>::decode_vec(header).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        let members: BTreeSet<_> = header["JWK"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, BTreeSet::from(["kty", "kid", "alg", "n", "e", "x5c"]));
        let (status, text) = server.login(&json!({ "jwt": jwt }).to_string());
        assert!(status == 400 && text.starts_with("no policies mapped to org:"), "{status} {text}");
        let org = text.split("org:").nth(1).unwrap().split(' ').next().unwrap();
        server.set(&format!("/v1/auth/cf/map/organizations/{org}"), &json!({ "policies": ["read"] }));
        let (status, text) = server.login(&json!({ "jwt": jwt }).to_string());
        assert_eq!(status, 200, "{text}");
        server.set(&format!("/v1/auth/cf/map/organizations/{org}"), &json!({ "policies": [] }));
    }
}
