//! Many secrets, and large ones.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Instance;
use crate::support::credhub::{CredHub, Said, error};
use crate::support::http_app::{HttpApp, Reply};

/// What all secrets together have by default.
const FOR_ALL: Duration = Duration::from_secs(30);

/// A document of a thousand services, each with a reference of its own.
fn thousand_services() -> String {
    let services: Vec<_> = (0..1000)
        .map(|n| json!({ "name": format!("db-{n}"), "credentials": { "credhub-ref": format!("((/c/{n}))") } }))
        .collect();
    json!({ "a": services }).to_string()
}

#[test]
fn a_thousand_bindings_of_which_none_is_there_are_an_error_in_time_that_names_some() {
    let instance = Instance::new();
    let credhub = CredHub::knowing(&[]);
    let began = Instant::now();
    let setup = instance.with_credhub(&credhub).env("VCAP_SERVICES", &thousand_services());
    let outcome = instance.outcome(setup);
    let failure = outcome.failure();
    assert!(failure.contains("service \"db-") && failure.contains(" and others: https://"), "{failure}");
    assert!(failure.contains("404") && failure.len() < 2_000, "{failure}");
    assert!(began.elapsed() < FOR_ALL, "{:?}", began.elapsed());
    assert!(credhub.asked().len() < 30, "{} questions", credhub.asked().len());
}

#[test]
fn the_one_of_a_thousand_bindings_that_is_missing_is_named() {
    let instance = Instance::new();
    let names: Vec<_> = (0..999).map(|n| format!("/c/{n}")).collect();
    let known: Vec<(&str, Value)> = names.iter().map(|name| (name.as_str(), json!({ "p": 1 }))).collect();
    let credhub = CredHub::knowing(&known);
    let began = Instant::now();
    let setup = instance.with_credhub(&credhub).env("VCAP_SERVICES", &thousand_services());
    let outcome = instance.outcome(setup);
    assert!(outcome.failure().contains("404"), "{}", outcome.failure());
    // A busy machine may need more time for all of them than is spent on a name.
    if credhub.asked().len() > 1000 {
        assert!(outcome.failure().contains(": service \"db-999\" refers to /c/999: "), "{}", outcome.failure());
    }
    assert!(began.elapsed() < FOR_ALL, "{:?}", began.elapsed());
}

#[test]
fn a_credhub_that_takes_its_time_to_say_that_bindings_are_missing_is_an_error_of_that_all_the_same() {
    let instance = Instance::new();
    let credhub = CredHub::start(|asked| {
        let is_whole = asked.body.len() > 1000;
        if is_whole { error(404, "no such credential") } else { Said::Nothing }
    });
    let began = Instant::now();
    let setup = instance.with_credhub(&credhub).env("VCAP_SERVICES", &thousand_services());
    let outcome = instance.outcome(setup);
    assert!(outcome.failure().contains("has answered 404: no such credential"), "{}", outcome.failure());
    assert!(began.elapsed() < FOR_ALL, "{:?}", began.elapsed());
}

#[test]
fn a_thousand_references_are_resolved_a_few_at_a_time() {
    let instance = Instance::new();
    let (running, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let vault = HttpApp::start(move |asked| {
        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(now, Ordering::SeqCst);
        let path = asked.head.split(' ').nth(1).unwrap();
        let reply = match path.strip_prefix("/v1/kv/") {
            Some(name) => Reply::ok(&json!({ "data": { "p": format!("value of {name}") } }).to_string()),
            None => Reply::ok(&json!({ "auth": { "client_token": "hvs.x", "lease_duration": 60 } }).to_string()),
        };
        running.fetch_sub(1, Ordering::SeqCst);
        reply
    });
    let url = format!("http://{}", vault.addr());
    let options = ["--vault-addr", &url, "--vault-method", "jwt", "--vault-role", "app", "--vault-audience", "vault"];
    let setup = (0..1000).fold(instance.resolving("vault", &options), |setup, n| {
        setup.env(&format!("A_{n}"), &format!("vault:kv/{n}#p"))
    });
    let outcome = instance.outcome(setup);
    for n in 0..1000 {
        assert_eq!(outcome.value(&format!("A_{n}")), Some(format!("value of {n}").as_str()));
    }
    assert!(seen.load(Ordering::SeqCst) <= 8);
    let asked = vault.asked();
    let about = |what: &str| asked.iter().filter(|asked| asked.head.split(' ').nth(1).unwrap().contains(what)).count();
    assert_eq!((about("/login"), about("/kv/")), (1, 1000), "one login, and each once");
}

#[test]
fn a_secret_of_200_kilobytes_is_a_file_and_no_variable() {
    let large = "x".repeat(200 * 1024);
    let credhub = CredHub::knowing(&[("/large", json!(large))]);
    let ca = credhub.ca();
    let url = credhub.url();
    let options = ["--credhub-url", &url, "--credhub-ca", ca.to_str().unwrap()];
    let instance = Instance::new();
    let outcome = instance.outcome(instance.resolving("credhub", &options).env("A", "credhub:/large"));
    assert!(outcome.failure().contains("?file"), "{}", outcome.failure());

    let copy = instance.path("copy");
    let script = format!("cp \"$A\" {}", copy.display());
    let setup = instance.running("credhub", &options, &["sh", "-c", &script]).env("A", "credhub:/large?file");
    let outcome = instance.outcome(setup);
    assert!(outcome.status.success(), "{}", outcome.log);
    assert!(fs::read_to_string(&copy).unwrap() == large && !outcome.log.contains("xxxxxxxx"));
}

#[test]
fn a_vault_that_seals_itself_among_many_references_ends_the_start_in_time() {
    let instance = Instance::new();
    let asked = Mutex::new(0);
    let vault = HttpApp::start(move |question| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        if question.head.contains("/login ") {
            return Reply::ok(&json!({ "auth": { "client_token": "hvs.x", "lease_duration": 60 } }).to_string());
        }
        if *asked < 100 {
            return Reply::ok(&json!({ "data": { "p": "value" } }).to_string());
        }
        let body = json!({ "errors": ["Vault is sealed"] }).to_string();
        Reply::Send(format!("HTTP/1.1 503 X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    });
    let url = format!("http://{}", vault.addr());
    let options = ["--vault-addr", &url, "--vault-method", "jwt", "--vault-role", "app", "--vault-audience", "vault"];
    let began = Instant::now();
    let setup = (0..1000).fold(instance.resolving("vault", &options), |setup, n| {
        setup.env(&format!("A_{n}"), &format!("vault:kv/{n}#p"))
    });
    let outcome = instance.outcome(setup.env("VESTIBULE_RESOLVE_TIMEOUT", "3s"));
    let failure = outcome.failure();
    assert!(failure.contains("not resolved within 3s") && failure.contains(" more"), "{failure}");
    assert!(failure.len() < 1_000 && began.elapsed() < FOR_ALL, "{failure}");
}
