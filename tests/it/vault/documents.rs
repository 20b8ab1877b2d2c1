//! References to secrets of Vault in service bindings, as a document and as files.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{VALUE, options, path, refused, run, said, url, vault};
use crate::app_secrets::Instance;
use crate::support::credhub::CredHub;
use crate::support::http_app::HttpApp;
use crate::support::sidecar::{Setup, VESTIBULE};

/// What would break a document, or add to it, if it were not written as a string of JSON.
const AWKWARD: &str = "a\"b\\c\nd\",\"admin\":\"true";

fn awkward() -> HttpApp {
    vault(|asked| match path(asked) {
        "/v1/kv/app" => Some(said(200, &json!({ "data": { "p": AWKWARD, "none": null } }))),
        "/v1/kv/half" => {
            let body = r#"{"data":{"p":"half \ud800","q":"whole"}}"#;
            let answer = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            Some(super::Reply::Send(answer.into_bytes()))
        }
        "/v1/transit/decrypt/app" => Some(said(200, &json!({ "data": { "plaintext": "b3BlbmVk" } }))),
        _ => None,
    })
}

#[test]
fn references_within_strings_of_a_document_are_resolved_as_parts_of_it_beside_all_others() {
    let (instance, vault) = (Instance::new(), awkward());
    let credhub = CredHub::knowing(&[("/c/db", json!({ "password": "of-credhub" }))]);
    let document = r#"{"a":[{"name":"one","credentials":{"uri":"x://${vault:kv/app#p}@h","p":"vault:secret/data/app#password","deep":{"s":["transit:transit/app:vault:v1:AAAA",1.50]}}},
        {"name":"two","credentials":{"credhub-ref":"((/c/db))"}}]}"#;
    let (address, ca) = (url(&vault), credhub.ca());
    let more = ["--credhub-url", &credhub.url(), "--credhub-ca", ca.to_str().unwrap()];
    let setup = instance.resolving("credhub,vault,transit", &[&options(&address)[..], &more].concat());
    let outcome = instance.outcome(setup.env("VCAP_SERVICES", document));
    let text = outcome.value("VCAP_SERVICES").unwrap();
    let got: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let expected = json!({ "a": [
        { "name": "one", "credentials": {
            "uri": format!("x://{AWKWARD}@h"), "p": VALUE, "deep": { "s": ["opened", 1.5] } } },
        { "name": "two", "credentials": { "password": "of-credhub" } },
    ] });
    assert_eq!(got, expected);
    assert!(text.contains("1.50"), "{text}");

    // What only a variable can be is none of a document's either.
    let optional = r#"{"a":[{"name":"one","credentials":{"uri":"x ${vault:kv/app#p?optional}"}}]}"#;
    let outcome = instance.outcome(run(&instance, &vault, &[]).env("VCAP_SERVICES", optional));
    assert_eq!(outcome.status.code(), Some(78), "{}", outcome.log);
    let said = "service \"one\": a string is ?optional";
    assert!(outcome.log.replace("\\\"", "\"").contains(said), "{}", outcome.log);
}

fn write(root: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// With an app that copies its bindings.
fn with_bindings(instance: &Instance, vault: &HttpApp, root: &Path) -> Setup {
    let script = format!("cp -r $SERVICE_BINDING_ROOT {}", instance.path("copy").display());
    let address = url(vault);
    let setup = instance.running("vault,transit", &options(&address), &["sh", "-c", &script]);
    setup.env("SERVICE_BINDING_ROOT", root.to_str().unwrap())
}

#[test]
fn files_of_bindings_that_refer_to_secrets_have_them_in_the_copy() {
    let (instance, vault) = (Instance::new(), awkward());
    let root = instance.path("bindings");
    write(
        &root,
        &[
            ("db/type", b"mysql"),
            ("db/uri", b"transit:transit/app:vault:v1:AAAA\n"),
            ("db/url", b"x://${vault:secret/data/app#n}:${vault:kv/app#p}@h"),
            ("db/password", b"vault:secret/data/app#password"),
            ("db/credhub-ref", b"((/of/nobody))"),
            ("db/bytes", b"\xff\0vault:a#b"),
            ("plain/note", b"see vault:secret/data/app#password"),
        ],
    );
    let outcome = instance.outcome(with_bindings(&instance, &vault, &root));
    assert!(outcome.status.success(), "{}", outcome.log);
    let read = |name: &str| fs::read(instance.path("copy").join(name)).unwrap();
    for (name, expected) in [
        ("db/type", &b"mysql"[..]),
        ("db/uri", b"opened"),
        ("db/url", format!("x://1:{AWKWARD}@h").as_bytes()),
        ("db/password", VALUE.as_bytes()),
        ("db/credhub-ref", b"((/of/nobody))"),
        ("db/bytes", b"\xff\0vault:a#b"),
        ("plain/note", b"see vault:secret/data/app#password"),
    ] {
        assert_eq!(read(name), expected, "{name}");
    }
    assert!(!outcome.log.contains(VALUE), "{}", outcome.log);
    assert_eq!(fs::read(root.join("db/password")).unwrap(), b"vault:secret/data/app#password");

    // None that refers, and none that is there.
    fs::remove_dir_all(root.join("db")).unwrap();
    fs::remove_dir_all(instance.path("copy")).unwrap();
    let outcome = instance.outcome(with_bindings(&instance, &vault, &root));
    assert!(outcome.status.success(), "{}", outcome.log);
    assert_eq!(read("plain/note"), b"see vault:secret/data/app#password");
    let outcome = instance.outcome(run(&instance, &vault, &[]).env("SERVICE_BINDING_ROOT", "/nowhere"));
    assert_eq!(outcome.value("SERVICE_BINDING_ROOT"), Some("/nowhere"));
}

#[test]
fn what_is_wrong_in_a_file_of_a_binding_names_the_file() {
    let (instance, vault) = (Instance::new(), awkward());
    let root = instance.path("bindings");
    write(&root, &[("db/uri", b"vault:secret/data/app")]);
    let outcome = instance.outcome(with_bindings(&instance, &vault, &root));
    assert_eq!(outcome.status.code(), Some(78), "{}", outcome.log);
    let said = "SERVICE_BINDING_ROOT: service \"db\": file \"uri\" does not say which part of the secret is meant";
    assert!(outcome.log.replace("\\\"", "\"").contains(said), "{}", outcome.log);
    write(&root, &[("db/uri", b"vault:secret/data/nothing#a")]);
    let outcome = instance.outcome(with_bindings(&instance, &vault, &root));
    let failure = outcome.failure();
    assert!(failure.starts_with("cannot resolve SERVICE_BINDING_ROOT: service \"db\": file \"uri\": "), "{failure}");
}

#[test]
fn half_a_character_and_null_are_no_values() {
    let (instance, vault) = (Instance::new(), awkward());
    let outcome = instance.outcome(run(&instance, &vault, &[]).env("A", "vault:kv/half#p"));
    assert!(outcome.failure().contains("its part \"p\" is a string that is no text"), "{}", outcome.failure());
    let outcome = instance.outcome(run(&instance, &vault, &[]).env("A", "vault:kv/app#none"));
    assert!(outcome.failure().contains("its part \"none\" is null"), "{}", outcome.failure());
    let outcome = instance.outcome(run(&instance, &vault, &[]).env("A", "vault:kv/half#q"));
    assert_eq!(outcome.value("A"), Some("whole"));
    let outcome = instance.outcome(run(&instance, &vault, &[]).env("A", "vault:kv/app#none?optional"));
    assert_eq!(outcome.value("A"), None);
}

#[test]
fn what_answers_without_a_secret_is_no_reason_to_start_without_what_is_optional() {
    for answer in ["{}", "[]", "{\"data\":null}"] {
        let instance = Instance::new();
        let vault = vault(move |asked| {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            (path(asked) == "/v1/secret/data/app").then(|| super::Reply::SendAndClose(answer.into_bytes()))
        });
        let setup = run(&instance, &vault, &[]).env("A", "vault:secret/data/app#password?optional");
        let failure = instance.outcome(setup).failure().to_owned();
        assert!(failure.contains("see whether something else is there"), "{answer}: {failure}");
    }
    let (instance, vault) = (Instance::new(), vault(|_| Some(refused(404, &[]))));
    let outcome = instance.outcome(run(&instance, &vault, &[]).env("A", "file:/etc/hostname"));
    assert_eq!(outcome.value("A"), Some("file:/etc/hostname"));
}

#[test]
fn a_reference_among_bytes_that_are_no_text_is_not_passed_on() {
    let instance = Instance::new();
    let script = format!(
        "A=$(printf 'vault:a#b\\377') exec {VESTIBULE} run --listen 127.0.0.1:0 --resolve vault --vault-addr http://127.0.0.1:1 \
         --vault-method jwt --vault-role app --vault-audience vault -- true"
    );
    let outcome = instance.outcome(Setup::program("sh", &["-c", &script]).credentials(&instance.credentials));
    assert_eq!(outcome.status.code(), Some(78), "{}", outcome.log);
    assert!(outcome.log.contains("A: refers to secrets, and has bytes that are no text"), "{}", outcome.log);
}
