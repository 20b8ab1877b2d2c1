use super::*;
use crate::config::tests::ConfigInput;

fn secrets(typed: &ConfigInput) -> Secrets {
    typed.config().secrets.unwrap()
}

#[test]
fn nothing_is_resolved_unless_it_is_asked_for_and_then_each_source_counts_once() {
    assert_eq!(ConfigInput::default().variable("CREDHUB_URL", "https://c:1").config().secrets, None);
    let found = secrets(&ConfigInput::default().flag("resolve", "file,credhub").flag("resolve", "file"));
    assert_eq!(found.resolve, [SecretSource::File, SecretSource::Credhub]);
    assert!(found.resolves(SecretSource::File) && !found.resolves(SecretSource::Vault));
    assert_eq!((found.timeout, found.dir, found.credhub.url), (Duration::from_secs(30), None, None));
    assert_eq!((found.credhub.timeout, found.credhub.database_url), (Duration::from_secs(20), true));
}

#[test]
fn credhub_is_where_we_were_told_then_where_the_platform_says_then_where_others_look() {
    let url = |typed: &ConfigInput| secrets(typed).credhub.url.map(|url| url.to_string());
    let other = ConfigInput::default().flag("resolve", "credhub").variable("CREDHUB_URL", "https://other:1/path");
    assert_eq!(url(&other).as_deref(), Some("https://other:1"));
    let platform = other.variable("VCAP_PLATFORM_OPTIONS", r#"{"credhub-uri":"https://platform:8844/x","y":1}"#);
    assert_eq!(url(&platform).as_deref(), Some("https://platform:8844"));
    let nothing = platform.clone().variable("VCAP_PLATFORM_OPTIONS", "{}");
    assert_eq!(url(&nothing).as_deref(), Some("https://other:1"));
    assert_eq!(url(&platform.clone().flag("credhub-url", "https://typed")).as_deref(), Some("https://typed"));
    assert_eq!(url(&platform.variable("VESTIBULE_CREDHUB_URL", "https://ours")).as_deref(), Some("https://ours"));
}

#[test]
fn each_diagnostic_has_its_help_and_repeats_no_secret() {
    let on = || ConfigInput::default().flag("resolve", "credhub");
    for (typed, said) in [
        (ConfigInput::default().flag("resolve", "hidden"), "--resolve"),
        (on().variable("VCAP_PLATFORM_OPTIONS", "hidden"), "VCAP_PLATFORM_OPTIONS: is not JSON"),
        (on().variable("VCAP_PLATFORM_OPTIONS", r#"{"credhub-uri":1}"#), "VCAP_PLATFORM_OPTIONS: is not JSON"),
        (on().variable("VCAP_PLATFORM_OPTIONS", r#"{"credhub-uri":"ftp://hidden"}"#), "VCAP_PLATFORM_OPTIONS: "),
        (on().flag("credhub-url", "http://127.0.0.1:1"), "--credhub-url: is not encrypted"),
        (on().flag("secrets-dir", "relative"), "--secrets-dir: "),
        (on().flag("resolve-timeout", "0s"), "--resolve-timeout: "),
        (
            ConfigInput::default().flag("credhub-url", "https://c"),
            "--credhub-url: no secrets are resolved; add --resolve",
        ),
    ] {
        let diagnostics = typed.diagnostics().join("\n");
        assert!(diagnostics.contains(said) && diagnostics.contains("; "), "{said}: {diagnostics}");
        assert!(!diagnostics.contains("ftp"), "{diagnostics}");
    }
}
