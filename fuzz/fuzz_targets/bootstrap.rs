//! `envoy.yaml`: whatever is in it, an answer comes; what is accepted has something to open, and each mistake is a line.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vestibule::config::envoy::Bootstrap;

fuzz_target!(|text: &str| {
    match Bootstrap::parse(Path::new("envoy.yaml"), text) {
        Ok(bootstrap) => assert!(!bootstrap.listeners.is_empty()),
        Err(mistakes) => assert!(mistakes.iter().all(|mistake| !mistake.to_string().contains('\n'))),
    }
});
