//! What the fuzz targets drive: whatever is read, these do not panic, and what they promise holds.

use strum::VariantArray;

use super::{ReferenceLocation, SecretValue, credhub, json, reference, vault, vcap};
use crate::config::SecretSource;

/// The value of a variable, or a string of a document.
pub fn reference(text: &str) {
    for place in [ReferenceLocation::Variable, ReferenceLocation::Document] {
        let template = reference::parse(text, SecretSource::VARIANTS, place);
        let has_none = |template: &reference::SecretTemplate| template.references().next().is_none();
        assert!(!template.is_ok_and(|template| template.is_some_and(|template| has_none(&template))));
    }
}

/// A document: put back together with what it had, it is what it was.
pub fn document(text: &str) {
    let _ = vcap::database_url(text);
    let Ok(found) = vcap::find(text, SecretSource::VARIANTS) else { return };
    let spans = found.bindings.iter().map(|binding| binding.credentials.clone());
    let mut parts: Vec<_> = spans
        .chain(found.strings.iter().map(|string| string.span.clone()))
        .map(|span| (span.clone(), SecretValue::from(&text[span])))
        .collect();
    parts.sort_by_key(|(span, _)| span.start);
    assert_eq!(json::splice(text, &parts).bytes(), text.as_bytes());
}

/// An answer of CredHub: to a document of one service, and to the name of a credential.
pub fn credhub_answer(bytes: &[u8]) {
    let answer = SecretValue::new(bytes.to_vec());
    let document = r#"{"a":[{"credentials":{"credhub-ref":"/x"}}]}"#;
    let bindings = vcap::find(document, &[SecretSource::Credhub]).map(|found| found.bindings).unwrap_or_default();
    if let Ok(credentials) = credhub::taken(&answer, &bindings) {
        assert!(credentials.iter().all(|one| one.bytes().starts_with(b"{")));
    }
    let _ = credhub::credential(&answer);
}

/// An answer of Vault, whatever was asked: a token can be sent in a header, and its own words are short.
pub fn vault_answer(bytes: &[u8]) {
    vault::fuzzing(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_the_fuzz_targets_hold_holds_for_random_texts_too(text in "[\\[\\]{}\",:a-c \\\\]{0,40}|\\PC{0,40}") {
            super::reference(&text);
            super::document(&text);
            super::document(&format!(r#"{{"a":[{{"credentials":{text}}}]}}"#));
            super::credhub_answer(text.as_bytes());
            super::vault_answer(text.as_bytes());
        }
    }
}
