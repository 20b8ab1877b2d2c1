//! Logins by HashiCorp's CF method, at a server that checks them as Vault does.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::programs::{LOGIN, Made, StandIn, line, run, token};

/// A server, and cases for it.
fn start() -> Option<(Made, StandIn)> {
    Some((Made::by("login_maker.py", &[], "logins.jsonl")?, StandIn::start("hashicorp_stand_in.py")?))
}

/// Configures the server as `case` wants it.
fn set(server: &StandIn, case: &Value) {
    for (path, document) in case["set"].as_object().into_iter().flatten() {
        server.set(path, document);
    }
}

/// A server that takes logins of the cases' CA.
fn configured() -> Option<(Made, StandIn)> {
    let (made, server) = start()?;
    made.cases.iter().take_while(|case| case["name"] != "no CF API").for_each(|case| set(&server, case));
    server.set("/cf-api", &json!({ "apps": null }));
    Some((made, server))
}

/// Our login for `role`, with the sound pair.
fn ours(made: &Made, role: &str) -> String {
    line(&token(&made.path("sound.crt"), &made.path("sound.key"), &["vault-cf", "--role", role]))
}

#[test]
fn the_server_checks_what_vault_does_in_its_order() {
    let Some((made, server)) = start() else { return };
    for case in &made.cases {
        set(&server, case);
        let (status, text) = server.login(case["body"].as_str().unwrap());
        let (name, expected) = (&case["name"], case["text"].as_str().unwrap());
        assert!(case["status"] == status && text.contains(expected), "{name}: {status} {text}, not {expected}");
    }
    let (status, answer) = server.ask("GET", LOGIN, "");
    assert_eq!((status, &answer["errors"]), (405, &json!(["unsupported operation"])));
}

#[test]
fn our_login_is_taken_and_nothing_but_what_we_have_signed_is() {
    let Some((made, server)) = configured() else { return };
    // The one of rustls and of TLS; the server itself takes any.
    server.set("/salt", &json!(32));
    let body = ours(&made, "billing");
    let (status, text) = server.login(&body);
    assert_eq!(status, 200, "{text}");
    let sent: Value = serde_json::from_str(&body).unwrap();
    let members: Vec<_> = sent.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["cf_instance_cert", "role", "signature", "signing_time"]);
    let shown = made.read("sound.crt");
    assert_eq!(sent["cf_instance_cert"], shown.as_str());
    assert!(sent["signature"].as_str().unwrap().starts_with("v1:"), "{body}");

    let mut later = sent.clone();
    later["signing_time"] = second_after(sent["signing_time"].as_str().unwrap()).into();
    let mut longer = sent.clone();
    longer["cf_instance_cert"] = format!("{shown}\n").into();
    let mut other = sent.clone();
    other["role"] = "app".into();
    for changed in [later, longer, other] {
        let (status, text) = server.login(&changed.to_string());
        assert!(status == 400 && text.contains("verification error"), "{changed}: {status} {text}");
    }
}

/// Also that it is of now, and whole seconds.
fn second_after(text: &str) -> String {
    let time: jiff::Timestamp = text.parse().unwrap();
    let age = SystemTime::now().duration_since(time.into()).unwrap();
    assert!(age < Duration::from_secs(60) && text.len() == "2026-01-02T15:04:05Z".len(), "{text}");
    format!("{:.0}", time + Duration::from_secs(1))
}

#[test]
fn of_a_longer_chain_the_leaf_and_its_issuer_are_sent_wherever_they_stand() {
    let Some((made, server)) = configured() else { return };
    let (chain, root) = (made.read("sound.crt"), made.read("root.pem"));
    let (cert, key) = (made.path("longer.crt"), made.path("sound.key"));
    let (leaf, issuing) = (chain.strip_suffix(&made.read("issuing.pem")).unwrap(), made.read("issuing.pem"));
    for text in
        [format!("{leaf}{issuing}{root}"), format!("{leaf}{root}{issuing}"), format!("# ours\r\n{leaf}\n{issuing}")]
    {
        std::fs::write(&cert, &text).unwrap();
        let body = line(&token(&cert, &key, &["vault-cf", "--role", "billing"]));
        let sent: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(sent["cf_instance_cert"], chain.as_str(), "of {text}");
        let (status, answer) = server.login(&body);
        assert_eq!(status, 200, "{answer}");
    }
}

#[test]
fn a_role_is_sent_as_it_was_given_and_capitals_are_warned_of() {
    let Some((made, server)) = configured() else { return };
    let (cert, key) = (made.path("sound.crt"), made.path("sound.key"));
    let output = token(&cert, &key, &["vault-cf", "--role", "Billing"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("lower case"), "{output:?}");
    let (status, text) = server.login(&line(&output));
    assert_eq!((status, text.as_str()), (500, "no matching role"));
    // Quotes and letters beyond ASCII are signed as they are, and sent in JSON's spelling.
    for role in ["b\"b", "b\\u0000", "b\u{fc}cher", "a b"] {
        server.set("/v1/auth/cf/roles/any", &json!({}));
        let body = ours(&made, role);
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["role"], role);
        assert_eq!(server.login(&body).1, "no matching role", "{role:?}");
    }
}

#[test]
fn curl_posts_the_login_as_the_manual_says() {
    let Some((made, server)) = configured() else { return };
    let body = ours(&made, "billing") + "\n";
    let output = run(Command::new("curl").args(["-sS", "-d", "@-", &server.url(LOGIN)]), &body);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["auth"]["client_token"].is_string(), "{answer} {output:?}");
}

#[test]
fn what_we_refuse_to_send_the_server_would_refuse() {
    let Some((made, server)) = configured() else { return };
    let pairs: Vec<_> = made.cases.iter().filter(|case| case["ours"].is_string()).collect();
    assert!(pairs.len() > 15, "{}", pairs.len());
    for case in pairs {
        let path = |name: &str| Path::new(case[name].as_str().unwrap());
        let output = token(path("cert"), path("key"), &["vault-cf", "--role", "billing"]);
        let (name, said) = (&case["name"], String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{name}: {output:?}");
        assert!(said.contains(case["ours"].as_str().unwrap()), "{name}: {said}");
        let (status, text) = server.login(case["body"].as_str().unwrap());
        assert!(case["status"] == status && text.contains(case["text"].as_str().unwrap()), "{name}: {status} {text}");
    }
}
