//! `envoy.yaml`: whatever is in it, an answer comes; what is accepted has something to open, and each error is a line in which
//! nothing stands that may be a key.

use std::path::Path;

use vestibule::config::envoy::Bootstrap;

use crate::key_line::{repeats_key, with_key};

pub fn fuzz(text: &str) {
    match Bootstrap::parse(Path::new("envoy.yaml"), &with_key(text)) {
        Ok(bootstrap) => assert!(!bootstrap.listeners.is_empty()),
        Err(diagnostics) => {
            let is_sound = |said: &str| !said.contains('\n') && !repeats_key(said);
            assert!(diagnostics.iter().all(|diagnostic| is_sound(&diagnostic.to_string())), "{diagnostics:?}");
        }
    }
}
