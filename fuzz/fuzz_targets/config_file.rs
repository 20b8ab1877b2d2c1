//! `vestibule.toml`: whatever is in it, there is a configuration, or a line for each mistake.
#![no_main]

use std::ffi::OsString;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vestibule::config::resolve::resolve;
use vestibule::config::sources::{Environment, Sources};

fuzz_target!(|text: &str| {
    let flags: [(&'static str, OsString); 1] = [("config", "vestibule.toml".into())];
    let environment = Environment::new();
    for starts_app in [false, true] {
        let read_file = |_: &Path| Ok(text.to_owned());
        let sources = Sources { flags: &flags, environment: &environment, read_file: &read_file, starts_app, cpus: 2 };
        match resolve(&sources) {
            Ok(config) => assert!(!config.listeners.is_empty()),
            Err(mistakes) => assert!(mistakes.iter().all(|mistake| !mistake.to_string().contains('\n'))),
        }
    }
});
