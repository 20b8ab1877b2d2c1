//! Files with secrets, each of which may be read as either kind.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vestibule::config::envoy::sds;

fuzz_target!(|text: &str| {
    let path = Path::new("sds.yaml");
    for name in ["id-cert-and-key", "c2c-cert-and-key"] {
        if let Ok(pair) = sds::pair(path, text, name) {
            assert!(!pair.chain.is_empty() && !pair.key.is_empty());
        }
    }
    if let Ok(context) = sds::validation_context(path, text, "id-validation-context") {
        assert!(context.names.iter().all(|name| !name.to_string().is_empty()));
    }
});
