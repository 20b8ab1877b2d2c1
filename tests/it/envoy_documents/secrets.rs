//! Files with secrets: what they mean, what is refused in them, and that no key is ever shown.

use std::path::Path;

use proptest::arbitrary::any as arbitrary;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use vestibule::config::envoy::sds;
use vestibule::policy::{AltName, AltNameKind};

use super::{OFF, ON, fixture, full, lines, parse};
use crate::support::diego::sds_validation_context;

fn context(text: &str) -> Result<sds::ValidationContext, Vec<String>> {
    let read = sds::validation_context(Path::new("sds.yaml"), text, "id-validation-context");
    read.map_err(|diagnostics| lines(&diagnostics))
}

fn anywhere(exact: &str) -> AltName {
    AltName::new(None, exact)
}

#[test]
fn a_validation_context_is_roots_and_names() {
    let found = context(&fixture(&format!("{ON}/envoy_config/sds-id-validation-context.yaml"))).unwrap();
    let names = ["gorouter", "ssh-proxy", "tcp-router"].map(|name| anywhere(&format!("{name}.service.cf.internal")));
    assert_eq!(found.names, names);
    // The same certificate three times.
    assert_eq!(found.trusted_ca.matches("BEGIN CERTIFICATE").count(), 3);
    let empty = context(&fixture(&format!("{OFF}/envoy_config/sds-id-validation-context.yaml"))).unwrap();
    assert_eq!((empty.trusted_ca.as_str(), empty.names.len()), ("", 0));
    assert_eq!(sds_validation_context("", &[]), fixture(&format!("{OFF}/envoy_config/sds-id-validation-context.yaml")));
    let text = sds_validation_context("a\nb\n", &["x"]);
    assert_eq!(context(&text), Ok(sds::ValidationContext { trusted_ca: "a\nb\n".into(), names: vec![anywhere("x")] }));
    let encoded = text.replace("inline_string: |\n        a\n        b", "inline_bytes: YQpiCg==");
    assert_eq!(context(&encoded), context(&text));
}

#[test]
fn typed_names_keep_their_kind_and_replace_the_others() {
    let typed = "    match_typed_subject_alt_names:\n    - san_type: DNS\n      matcher: {exact: a}\n    \
                 - san_type: IP_ADDRESS\n      matcher: {exact: 10.0.0.1, ignore_case: false}\n    trusted_ca:";
    let text = sds_validation_context("ca\n", &["x"]).replace("    trusted_ca:", typed);
    let of = |kind, exact: &str| AltName::new(Some(kind), exact);
    assert_eq!(context(&text).unwrap().names, [of(AltNameKind::Dns, "a"), of(AltNameKind::Ip, "10.0.0.1")]);
    let found = context(&text.replace("DNS", "OTHER_NAME")).unwrap_err();
    assert_eq!(
        found[0],
        "sds.yaml: resources[0].validation_context.match_typed_subject_alt_names[0].san_type: no such kind; \
         write DNS, EMAIL, URI or IP_ADDRESS"
    );
}

#[test]
fn what_would_admit_others_is_refused_in_a_secret() {
    let text = sds_validation_context("ca\n", &["x"]);
    let inside = "resources[0].validation_context";
    for (from, to, path) in [
        ("exact: x", "prefix: x", "match_subject_alt_names[0].prefix"),
        ("exact: x", "safe_regex: {regex: .*}", "match_subject_alt_names[0].safe_regex"),
        ("exact: x", "exact: x\n      ignore_case: true", "match_subject_alt_names[0].ignore_case"),
        ("exact: x", "exact: \"\"", "match_subject_alt_names[0].exact"),
        ("exact: x", "novel: x", "match_subject_alt_names[0].novel"),
        ("    match_subject_alt_names:\n    - exact: x", "    match_subject_alt_names: x", "match_subject_alt_names"),
        ("    trusted_ca:", "    crl: {inline_string: x}\n    trusted_ca:", "crl"),
        ("    trusted_ca:", "    allow_expired_certificate: true\n    trusted_ca:", "allow_expired_certificate"),
        ("    trusted_ca:", "    verify_certificate_hash: [x]\n    trusted_ca:", "verify_certificate_hash"),
        ("    trusted_ca:", "    verify_certificate_spki: [x]\n    trusted_ca:", "verify_certificate_spki"),
        ("    trusted_ca:", "    max_verify_depth: 0\n    trusted_ca:", "max_verify_depth"),
        ("    trusted_ca:", "    system_root_certs: {}\n    trusted_ca:", "system_root_certs"),
        (
            "    trusted_ca:",
            "    trust_chain_verification: ACCEPT_UNTRUSTED\n    trusted_ca:",
            "trust_chain_verification",
        ),
        ("inline_string: |\n        ca", "filename: /x", "trusted_ca.filename"),
        ("inline_string: |\n        ca", "inline_bytes: '*'", "trusted_ca.inline_bytes"),
    ] {
        assert!(text.contains(from), "{from:?}");
        let found = context(&text.replace(from, to)).unwrap_err();
        let place = format!("sds.yaml: {inside}.{path}: ");
        assert!(found.iter().any(|line| line.starts_with(&place)), "{place:?} is not in {found:#?}");
    }
    let typed = context(&text.replace("tls.v3.Secret", "tls.v3.Other")).unwrap_err();
    assert!(typed[0].starts_with("sds.yaml: resources[0]: this type is not supported"), "{typed:#?}");
    let named = context(&text.replace("name: id-", "name: other-")).unwrap_err();
    let expected = "expected exactly one that is called \"id-validation-context\", found 0; write it once";
    assert_eq!(named, [format!("sds.yaml: resources: {expected}")]);
    assert_eq!(
        context("").unwrap_err(),
        ["sds.yaml: is empty; write it as Diego does: plain YAML or JSON, one document"]
    );
}

/// Whether `text` holds a part of a key: eight characters in a row of one of its lines.
fn leaks(text: &str, key: &str) -> bool {
    let lines = key.lines().filter(|line| !line.starts_with("-----"));
    lines.flat_map(|line| line.as_bytes().windows(8)).any(|part| text.contains(str::from_utf8(part).unwrap()))
}

fn pair(text: &str) -> Result<sds::TlsCertificate, String> {
    let read = sds::pair(Path::new("sds.yaml"), text, "id-cert-and-key");
    read.map_err(|diagnostics| lines(&diagnostics).join("\n"))
}

#[test]
fn a_key_is_never_shown() {
    let text = fixture(&format!("{ON}/envoy_config/sds-id-cert-and-key.yaml"));
    let pair = pair(&text).unwrap();
    assert!(
        pair.key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n")
            && pair.key.ends_with("-----END RSA PRIVATE KEY-----\n")
    );
    let shown = format!("{pair:?}");
    assert!(shown.contains("TlsCertificate") && !shown.contains("PRIVATE") && !leaks(&shown, &pair.key));
    assert!(leaks(&pair.key, &pair.key));
}

#[test]
fn a_torn_file_does_no_harm_wherever_it_ends() {
    let text = fixture(&format!("{ON}/envoy_config/sds-id-cert-and-key.yaml"));
    let key = pair(&text).unwrap().key;
    for end in 0..text.len() {
        if let Err(message) = pair(&text[..end]) {
            assert!(!leaks(&message, &key), "{end}: {message}");
        }
    }
    let text = fixture(&format!("{OFF}/envoy_config/envoy.yaml"));
    for end in 0..text.len() {
        match parse(&text[..end]) {
            Ok(bootstrap) => assert!(!bootstrap.listeners.is_empty(), "{end}"),
            Err(lines) => assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains('\n')), "{lines:#?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn flipped_bytes_do_no_harm(flips in vec((arbitrary::<Index>(), arbitrary::<u8>()), 1..6)) {
        let mut bytes = fixture(&format!("{ON}/envoy_config/sds-id-cert-and-key.yaml")).into_bytes();
        let key = pair(str::from_utf8(&bytes).unwrap()).unwrap().key;
        for (at, byte) in &flips {
            *at.get_mut(&mut bytes) = *byte;
        }
        if let Err(message) = pair(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(!leaks(&message, &key), "{message}");
        }
        let mut bytes = full().envoy_yaml().into_bytes();
        for (at, byte) in &flips {
            *at.get_mut(&mut bytes) = *byte;
        }
        if let Err(lines) = parse(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:#?}");
        }
    }
}
