//! Files with secrets, each of which may be read as either kind; what is wrong with them is said without any of a key.

use std::path::Path;

use vestibule::config::envoy::sds;

use crate::key_line::{repeats_key, with_key};

pub fn fuzz(text: &str) {
    let (path, text) = (Path::new("sds.yaml"), with_key(text));
    for name in ["id-cert-and-key", "c2c-cert-and-key"] {
        match sds::pair(path, &text, name) {
            Ok(pair) => assert!(!pair.chain.is_empty() && !pair.key.is_empty()),
            Err(diagnostics) => {
                assert!(diagnostics.iter().all(|diagnostic| !repeats_key(&diagnostic.to_string())), "{diagnostics:?}")
            }
        }
    }
    match sds::validation_context(path, &text, "id-validation-context") {
        Ok(context) => assert!(context.names.iter().all(|name| !name.to_string().is_empty())),
        Err(diagnostics) => {
            assert!(diagnostics.iter().all(|diagnostic| !repeats_key(&diagnostic.to_string())), "{diagnostics:?}")
        }
    }
}
