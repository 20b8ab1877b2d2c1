//! `envoy.yaml`: whatever is in it, an answer comes; what is accepted has something to open, and each error is a line in which
//! nothing stands that may be a key.
#![no_main]

mod key_line;

use std::path::Path;

use key_line::{repeats_key, with_key};
use libfuzzer_sys::fuzz_target;
use vestibule::config::envoy::Bootstrap;

fuzz_target!(|text: &str| {
    match Bootstrap::parse(Path::new("envoy.yaml"), &with_key(text)) {
        Ok(bootstrap) => assert!(!bootstrap.listeners.is_empty()),
        Err(diagnostics) => {
            let is_sound = |said: &str| !said.contains('\n') && !repeats_key(said);
            assert!(diagnostics.iter().all(|diagnostic| is_sound(&diagnostic.to_string())), "{diagnostics:?}");
        }
    }
});
