//! Service bindings whose credentials CredHub has.

use serde_json::json;

use super::Instance;
use crate::support::credhub::{CredHub, Said};

/// As somebody has written it, and CredHub would not.
const DOCUMENT: &str = r#"{ "p-mysql" : [{"name":"db","volume_mounts":[],"n":12345678901234567890,"credentials":{"credhub-ref":"((/c/mysql))" } }],
	"user-provided":[{"name":"plain","credentials":{"b":1.50,"a":"ü"}},{"name":"mail","credentials":{"credhub_ref":"/c/mail"}}]}"#;

fn credhub() -> CredHub {
    CredHub::knowing(&[
        ("/c/mysql", json!({ "uri": "mysql://u:p@db/x", "password": "S3cret-of-mysql" })),
        ("/c/mail", json!({ "password": "S3cret-of-mail" })),
        ("/c/plain", json!("a password")),
    ])
}

#[test]
fn credentials_are_replaced_and_all_other_bytes_stay_as_they_were() {
    let (instance, credhub) = (Instance::new(), credhub());
    let outcome = instance.outcome(
        instance
            .with_credhub(&credhub)
            .env("VCAP_SERVICES", DOCUMENT)
            .env("VCAP_PLATFORM_OPTIONS", r#"{"credhub-uri":"https://127.0.0.1:1/x"}"#)
            .env("CREDHUB_SKIP_INTERPOLATION", "false")
            .env("https_proxy", "http://127.0.0.1:1"),
    );
    let expected = DOCUMENT
        .replace(r#"{"credhub-ref":"((/c/mysql))" }"#, r#"{"password":"S3cret-of-mysql","uri":"mysql://u:p@db/x"}"#)
        .replace(r#"{"credhub_ref":"/c/mail"}"#, r#"{"password":"S3cret-of-mail"}"#);
    assert_eq!(outcome.value("VCAP_SERVICES"), Some(expected.as_str()));
    assert_eq!(outcome.value("DATABASE_URL"), Some("mysql2://u:p@db/x"));
    assert_eq!(outcome.value("VCAP_PLATFORM_OPTIONS"), None);
    assert!(outcome.log.contains("CREDHUB_SKIP_INTERPOLATION is set"), "{}", outcome.log);
    for secret in ["S3cret", "u:p@db"] {
        assert!(!outcome.log.contains(secret), "{secret} in {}", outcome.log);
    }
    let [asked] = &credhub.asked()[..] else { panic!("{:?}", credhub.asked()) };
    assert_eq!(asked.line(), "POST /api/v1/interpolate HTTP/1.1");
    assert_eq!(asked.body, DOCUMENT.as_bytes());
    assert_eq!(asked.app, Some(instance.credentials.spec.app.to_string()));
}

#[test]
fn without_a_reference_nobody_is_asked_and_no_byte_changes() {
    let (instance, credhub) = (Instance::new(), credhub());
    let document = r#"{ "a":[{"credentials":{"uri":"mysql://x", "n":1.50}}] }"#;
    let outcome = instance.outcome(instance.with_credhub(&credhub).env("VCAP_SERVICES", document));
    assert_eq!(outcome.value("VCAP_SERVICES"), Some(document));
    assert_eq!(outcome.value("DATABASE_URL"), None);
    assert_eq!(credhub.asked().len(), 0);
}

#[test]
fn a_database_url_of_the_apps_own_stays_and_none_is_set_where_that_is_off() {
    let (instance, credhub) = (Instance::new(), credhub());
    let setup = instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT).env("DATABASE_URL", "own");
    assert_eq!(instance.outcome(setup).value("DATABASE_URL"), Some("own"));
    let setup =
        instance.with_credhub(&credhub).env("VCAP_SERVICES", DOCUMENT).env("VESTIBULE_CREDHUB_DATABASE_URL", "off");
    assert_eq!(instance.outcome(setup).value("DATABASE_URL"), None);
}

#[test]
fn the_platform_says_where_credhub_is_before_the_variable_of_other_tools() {
    let (instance, credhub) = (Instance::new(), credhub());
    let ca = credhub.ca();
    let with_credhub =
        || instance.resolving("credhub", &["--credhub-ca", ca.to_str().unwrap()]).env("VCAP_SERVICES", DOCUMENT);
    let platform = format!(r#"{{"credhub-uri":"{}/somewhere/else","more":1}}"#, credhub.url());
    let outcome = instance
        .outcome(with_credhub().env("VCAP_PLATFORM_OPTIONS", &platform).env("CREDHUB_URL", "https://127.0.0.1:1"));
    assert!(outcome.value("VCAP_SERVICES").unwrap().contains("S3cret-of-mysql"));
    let outcome = instance.outcome(with_credhub().env("CREDHUB_URL", &credhub.url()));
    assert!(outcome.value("VCAP_SERVICES").unwrap().contains("S3cret-of-mysql"));
    // Nobody has said so: then it is as without us, and that is said.
    let outcome = instance.outcome(with_credhub());
    assert_eq!(outcome.value("VCAP_SERVICES"), Some(DOCUMENT));
    assert!(outcome.log.contains("references to CredHub are left alone"), "{}", outcome.log);
    std::fs::remove_file(instance.out()).unwrap();
    let outcome = instance.outcome(with_credhub().env("VCAP_PLATFORM_OPTIONS", "{hidden"));
    assert_eq!((outcome.status.code(), outcome.environment.is_none()), (Some(78), true));
    assert!(outcome.log.contains("VCAP_PLATFORM_OPTIONS") && !outcome.log.contains("hidden"), "{}", outcome.log);
}

#[test]
fn a_document_that_becomes_a_file_does_not_take_the_place_of_another() {
    let instance = Instance::new();
    let file = instance.path("vcap.json");
    std::fs::write(&file, "{}").unwrap();
    let credhub = CredHub::knowing(&[("/big", json!({ "p": "x".repeat(200_000) }))]);
    let setup =
        instance.with_credhub(&credhub).env("VCAP_SERVICES", r#"{"a":[{"credentials":{"credhub-ref":"/big"}}]}"#);
    let outcome = instance.outcome(setup.env("VCAP_SERVICES_FILE_PATH", file.to_str().unwrap()));
    assert!(outcome.failure().contains("leads to another document"), "{}", outcome.failure());
}

#[test]
fn a_document_that_grows_beyond_a_variable_becomes_a_file() {
    let instance = Instance::new();
    let document = r#"{"a":[{"credentials":{"credhub-ref":"/big"}}]}"#;
    // {"a":[{"credentials":{"p":"..."}}]} has 32 characters beside the value, and the variable 15 more.
    for (length, fits) in [(131_071, true), (131_072, true), (131_073, false), (200_000, false)] {
        let secret = "x".repeat(length - 32 - 15);
        let credhub = CredHub::knowing(&[("/big", json!({ "p": secret }))]);
        let outcome = instance.outcome(instance.with_credhub(&credhub).env("VCAP_SERVICES", document).env("KEPT", "1"));
        assert_eq!(outcome.value("KEPT"), Some("1"));
        match outcome.value("VCAP_SERVICES") {
            Some(value) => assert_eq!((value.len() + 15, fits), (length, true)),
            None => assert!(!fits, "{length}"),
        }
        assert_eq!(outcome.value("VCAP_SERVICES_FILE_PATH").is_some(), !fits);
        assert_eq!(outcome.log.contains("VCAP_SERVICES is longer than a variable can be"), !fits);
        assert_eq!(std::fs::read_dir(instance.path("secrets")).unwrap().count(), 0, "it goes with the app");
    }
}

#[test]
fn credhub_is_asked_again_where_that_may_help() {
    let instance = Instance::new();
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let credhub = CredHub::start(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Said::Json(503, "{}".to_owned()),
        1 => Said::Raw(Vec::new()),
        _ => Said::Json(200, r#"{"a":[{"credentials":{"p":"S3cret"}}]}"#.to_owned()),
    });
    let document = r#"{"a":[{"credentials":{"credhub-ref":"/x"}}]}"#;
    let outcome = instance.outcome(instance.with_credhub(&credhub).env("VCAP_SERVICES", document));
    assert_eq!(outcome.value("VCAP_SERVICES"), Some(r#"{"a":[{"credentials":{"p":"S3cret"}}]}"#));
    assert_eq!(credhub.asked().len(), 3);
}
