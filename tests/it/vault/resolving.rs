//! References to secrets of Vault, resolved before the app starts.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{TOKEN, VALUE, options, path, paths, refused, run, said, url, vault};
use crate::app_secrets::Instance;
use crate::support::http_app::{Asked, Reply};
use crate::support::sidecar::VESTIBULE;

const REFERENCE: &str = "vault:secret/data/app#password";

#[test]
fn a_secret_is_resolved_and_the_token_revoked_once_the_app_has_it() {
    let (instance, vault) = (Instance::new(), vault(|_| None));
    let setup = run(&instance, &vault, &["--vault-namespace", "team/a"]).env("A", REFERENCE);
    let outcome = instance.outcome(setup.env("B", "x=${vault:secret/data/app#n}${vault:secret/data/app#password}"));
    assert_eq!((outcome.value("A"), outcome.value("B")), (Some(VALUE), Some(format!("x=1{VALUE}").as_str())));
    let asked = vault.asked();
    assert_eq!(
        paths(&vault),
        ["auth/jwt/login", "secret/data/app", "auth/token/revoke-self"],
        "one question, and the end"
    );
    for asked in &asked {
        let head = asked.head.to_ascii_lowercase();
        assert!(head.contains("x-vault-request: true\r\n") && head.contains("x-vault-namespace: team/a\r\n"), "{head}");
        assert_eq!(head.contains("x-vault-token: "), path(asked) != "/v1/auth/jwt/login", "{head}");
    }
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert!(body["role"] == "app" && body["jwt"].as_str().unwrap().starts_with("eyJ"), "{body}");
    let jwt = body["jwt"].as_str().unwrap();
    for secret in [TOKEN, VALUE, jwt] {
        assert!(!outcome.log.contains(secret), "{secret} is in the log");
    }
    let environment = outcome.environment.as_ref().unwrap();
    assert!(environment.values().all(|value| !value.contains(TOKEN) && !value.contains("vault:")), "{environment:?}");
}

#[test]
fn without_a_reference_nobody_is_asked() {
    let (instance, vault) = (Instance::new(), vault(|_| None));
    assert_eq!(instance.outcome(run(&instance, &vault, &[]).env("A", "vaults:x")).value("A"), Some("vaults:x"));
    assert_eq!(vault.asked().len(), 0);
}

#[test]
fn each_refusal_ends_the_start_with_its_help_and_nothing_that_we_sent() {
    let cases: &[(&str, u16, &str, &str)] = &[
        ("/v1/auth/jwt/login", 400, "error validating token: invalid audience (aud) claim", "bound_audiences"),
        (
            "/v1/auth/jwt/login",
            400,
            "no known key successfully validated the token signature",
            "jwt_validation_pubkeys",
        ),
        ("/v1/auth/jwt/login", 403, "permission denied", "see the mount"),
        ("/v1/auth/jwt/login", 404, "no handler for route", "see the mount"),
        ("/v1/auth/jwt/login", 500, "no matching role", "lower case"),
        ("/v1/auth/jwt/login", 500, "no instance ID on given certificate", "does not name"),
        ("/v1/auth/jwt/login", 400, "request is too old; signed at X", "NTP"),
        ("/v1/secret/data/app", 403, "1 error occurred:\n\t* permission denied\n\n", "MOUNT/data/NAME"),
        ("/v1/secret/data/app", 404, "", "?optional"),
        ("/v1/secret/data/app", 400, "bad", "answers 400"),
    ];
    for (at, status, text, help) in cases.iter().copied() {
        let instance = Instance::new();
        let vault = vault(move |asked| (path(asked) == at).then(|| refused(status, &[text])));
        let outcome = instance.outcome(run(&instance, &vault, &[]).env("A", REFERENCE));
        let failure = outcome.failure();
        assert!(failure.starts_with("cannot resolve A: vault:secret/data/app: "), "{failure}");
        assert!(failure.contains(help) && !failure.contains('\n'), "{failure}");
        let tries = paths(&vault).iter().filter(|path| format!("/v1/{path}") == at).count();
        assert_eq!(tries, 1, "{text} was tried again");
    }
}

#[test]
fn a_server_that_repeats_what_it_was_sent_is_not_repeated() {
    let repeat = |asked: &Asked| {
        let head = asked.head.to_ascii_lowercase();
        let token = head.lines().find_map(|line| line.strip_prefix("x-vault-token: ")).map(|_| format!("{TOKEN}0"));
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        Some(refused(400, &[&token.unwrap_or(body)]))
    };
    for at in ["/v1/auth/jwt/login", "/v1/secret/data/app"] {
        let (instance, vault) =
            (Instance::new(), vault(move |asked| (path(asked) == at).then(|| repeat(asked)).flatten()));
        let outcome = instance.outcome(run(&instance, &vault, &[]).env("A", REFERENCE));
        assert!(outcome.failure().contains("(what we sent)"), "{}", outcome.failure());
        assert!(!outcome.log.contains(TOKEN) && !outcome.log.contains("eyJ"), "{}", outcome.log);
    }
}

#[test]
fn what_may_pass_is_tried_again_until_it_has() {
    for (at, status) in [("/v1/auth/jwt/login", 503), ("/v1/auth/jwt/login", 429), ("/v1/secret/data/app", 500)] {
        let (instance, before) = (Instance::new(), AtomicUsize::new(0));
        let vault = vault(move |asked| {
            let fails = path(asked) == at && before.fetch_add(1, Ordering::Relaxed) == 0;
            fails.then(|| refused(status, &["Vault is sealed"]))
        });
        let outcome = instance.outcome(run(&instance, &vault, &[]).env("A", REFERENCE));
        assert_eq!(outcome.value("A"), Some(VALUE));
    }
}

#[test]
fn what_does_not_pass_ends_with_the_time_for_all() {
    let (instance, vault) = (Instance::new(), vault(|_| Some(refused(503, &["Vault is sealed"]))));
    let outcome = instance.outcome(run(&instance, &vault, &["--resolve-timeout", "2s"]).env("A", REFERENCE));
    let failure = outcome.failure();
    assert!(failure.contains("within 2s: no answer for vault:secret/data/app; the last try: "), "{failure}");
    assert!(
        failure.contains("answers 503 to auth/jwt/login: Vault is sealed; ") && failure.contains("unseal"),
        "{failure}"
    );
}

#[test]
fn a_stop_in_the_middle_of_a_login_ends_it_at_once_and_no_app_is_started() {
    let instance = Instance::new();
    let silent = vault(|asked| {
        (path(asked) == "/v1/auth/jwt/login").then_some(Reply::HandOver(|mut stream| {
            // Until the client goes.
            let _ = std::io::Read::read(&mut stream, &mut [0]);
        }))
    });
    let sidecar = run(&instance, &silent, &[]).env("A", REFERENCE).start();
    while silent.asked().is_empty() {
        std::thread::yield_now();
    }
    sidecar.signal("TERM");
    let outcome = instance.ended(sidecar);
    assert_eq!((outcome.status.code(), outcome.environment), (Some(0), None), "{}", outcome.log);
}

#[test]
fn a_standby_is_followed_once_and_with_the_token() {
    let (instance, active) = (Instance::new(), vault(|_| None));
    let there = url(&active);
    let standby = vault(move |asked| {
        Some(Reply::Send(
            format!("HTTP/1.1 307 X\r\nLocation: {there}{}\r\nContent-Length: 0\r\n\r\n", path(asked)).into_bytes(),
        ))
    });
    assert_eq!(instance.outcome(run(&instance, &standby, &[]).env("A", REFERENCE)).value("A"), Some(VALUE));
    assert_eq!(paths(&active), paths(&standby));

    let (instance, there) = (Instance::new(), url(&standby));
    let further = vault(move |asked| {
        Some(Reply::Send(
            format!("HTTP/1.1 307 X\r\nLocation: {there}{}\r\nContent-Length: 0\r\n\r\n", path(asked)).into_bytes(),
        ))
    });
    let outcome = instance.outcome(run(&instance, &further, &[]).env("A", REFERENCE));
    assert!(
        outcome.failure().contains("answers 307") && outcome.failure().contains("active node"),
        "{}",
        outcome.failure()
    );
}

#[test]
fn a_token_that_somebody_has_revoked_is_replaced() {
    let (instance, is_gone) = (Instance::new(), AtomicBool::new(true));
    let vault = vault(move |asked| {
        let first = asked.head.contains(&format!("{TOKEN}0"));
        match path(asked) {
            "/v1/secret/data/app" | "/v1/auth/token/lookup-self" if first && is_gone.load(Ordering::Relaxed) => {
                Some(refused(403, &["permission denied"]))
            }
            _ => None,
        }
    });
    assert_eq!(instance.outcome(run(&instance, &vault, &[]).env("A", REFERENCE)).value("A"), Some(VALUE));
    let login = "auth/jwt/login";
    let all = [login, "secret/data/app", "auth/token/lookup-self", login, "secret/data/app", "auth/token/revoke-self"];
    assert_eq!(paths(&vault), all);
}

#[test]
fn a_token_of_one_use_is_used_once() {
    let instance = Instance::new();
    let vault = vault(|asked| match path(asked) {
        "/v1/auth/jwt/login" => {
            Some(said(200, &json!({ "auth": { "client_token": TOKEN, "lease_duration": 60, "num_uses": 1 } })))
        }
        "/v1/secret/data/other" => Some(said(200, &json!({ "data": { "password": "other" } }))),
        _ => None,
    });
    let setup = run(&instance, &vault, &[]).env("A", REFERENCE).env("B", "vault:secret/data/other#password");
    let outcome = instance.outcome(setup);
    assert_eq!((outcome.value("A"), outcome.value("B")), (Some(VALUE), Some("other")));
    let logins = paths(&vault).iter().filter(|path| *path == "auth/jwt/login").count();
    let revocations = paths(&vault).iter().filter(|path| *path == "auth/token/revoke-self").count();
    assert_eq!((logins, revocations), (2, 0), "{:?}", paths(&vault));
}

#[test]
fn a_wrapped_login_is_unwrapped_if_it_was_wrapped_where_it_should_be() {
    for (creation_path, is_ours) in [("auth/jwt/login", true), ("sys/wrapping/wrap", false)] {
        let instance = Instance::new();
        let vault = vault(move |asked| match path(asked) {
            "/v1/auth/jwt/login" => {
                assert!(asked.head.to_ascii_lowercase().contains("x-vault-wrap-ttl: 30s\r\n"), "{}", asked.head);
                Some(said(
                    200,
                    &json!({ "auth": null, "wrap_info": { "token": "hvs.wrap", "ttl": 30, "creation_path": creation_path } }),
                ))
            }
            "/v1/sys/wrapping/unwrap" => {
                Some(said(200, &json!({ "auth": { "client_token": TOKEN, "lease_duration": 60 } })))
            }
            _ => None,
        });
        let outcome = instance.outcome(run(&instance, &vault, &["--vault-wrap-ttl", "30s"]).env("A", REFERENCE));
        if is_ours {
            assert_eq!(outcome.value("A"), Some(VALUE));
        } else {
            assert!(outcome.failure().contains("wrapped elsewhere"), "{}", outcome.failure());
            assert_eq!(paths(&vault), ["auth/jwt/login"], "it was not unwrapped");
        }
    }
}

#[test]
fn answers_that_are_none_or_too_large_are_failures() {
    let large = format!(r#"{{"data":{{"password":"{}"}}}}"#, "x".repeat(1024 * 1024));
    let answers = [
        ("<html>login</html>".to_owned(), "no JSON"),
        (r#"{"data":["a"]}"#.to_owned(), "no secret with keys"),
        (r#"{"data":null}"#.to_owned(), "has no data in it"),
        (large, "larger than 1048576 bytes"),
    ];
    for (answer, why) in answers {
        let instance = Instance::new();
        let vault = vault(move |asked| {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            (path(asked) == "/v1/secret/data/app").then(|| Reply::SendAndClose(answer.into_bytes()))
        });
        let outcome = instance.outcome(run(&instance, &vault, &[]).env("A", REFERENCE));
        assert!(outcome.failure().contains(why), "{}", outcome.failure());
    }
}

#[test]
fn a_sealed_value_is_opened_by_one_request_and_nobody_elses_is() {
    let instance = Instance::new();
    let vault = vault(|asked| match path(asked) {
        "/v1/transit/decrypt/app-1" => {
            assert_eq!(serde_json::from_slice::<Value>(&asked.body).unwrap(), json!({ "ciphertext": "vault:v1:QUJD" }));
            Some(said(200, &json!({ "data": { "plaintext": "b3BlbmVk" } })))
        }
        "/v1/transit/decrypt/app-2" => Some(refused(403, &["permission denied"])),
        _ => None,
    });
    let services = r#"{"user-provided":[{"name":"db","credentials":{"uri":"transit:transit/app-1:vault:v1:QUJD"}}]}"#;
    let setup =
        run(&instance, &vault, &[]).env("A", "transit:transit/app-1:vault:v1:QUJD").env("VCAP_SERVICES", services);
    let outcome = instance.outcome(setup);
    assert_eq!(outcome.value("A"), Some("opened"));
    let expected = services.replace("transit:transit/app-1:vault:v1:QUJD", "opened");
    assert_eq!(outcome.value("VCAP_SERVICES"), Some(expected.as_str()));
    assert_eq!(paths(&vault), ["auth/jwt/login", "transit/decrypt/app-1", "auth/token/revoke-self"]);

    let other = Instance::new();
    let outcome = other.outcome(run(&other, &vault, &[]).env("A", "transit:transit/app-2:vault:v1:QUJD"));
    assert!(outcome.failure().contains("sealed for another app"), "{}", outcome.failure());
}

#[test]
fn check_asks_and_lets_the_token_go_and_says_no_value() {
    let (instance, vault) = (Instance::new(), vault(|_| None));
    let address = url(&vault);
    let mut command = Command::new(VESTIBULE);
    command.args(["check", "--connect", "--listen", "127.0.0.1:0", "--resolve", "vault"]).args(options(&address));
    command.env_clear().env("A", REFERENCE);
    command.env("CF_INSTANCE_CERT", instance.credentials.cert()).env("CF_INSTANCE_KEY", instance.credentials.key());
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(text.contains("A: vault:secret/data/app is there"), "{text}");
    assert!(!text.contains(VALUE) && !text.contains(TOKEN), "{text}");
    assert_eq!(paths(&vault), ["auth/jwt/login", "secret/data/app", "auth/token/revoke-self"]);
}

#[test]
fn what_is_missing_of_vault_is_said_before_anything_is_opened() {
    let instance = Instance::new();
    let setup = instance.resolving("vault", &["--vault-method", "jwt"]).env("A", REFERENCE);
    let outcome = instance.outcome(setup);
    let text = outcome.log;
    assert_eq!(outcome.status.code(), Some(78), "{text}");
    for option in ["--vault-addr", "--vault-role", "--vault-audience"] {
        assert!(text.contains(option), "{option} is not in {text}");
    }
}
