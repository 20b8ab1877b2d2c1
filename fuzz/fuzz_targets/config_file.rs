//! `vestibule.toml`: whatever is in it, there is a configuration, or a line for each error, in which nothing stands that may be a key.

use std::ffi::OsString;
use std::path::Path;

use vestibule::config::resolve::resolve;
use vestibule::config::sources::{Environment, Sources};

use crate::key_line::{repeats_key, with_key};

pub fn fuzz(text: &str) {
    let text = with_key(text);
    let flags: [(&'static str, OsString); 1] = [("config", "vestibule.toml".into())];
    let environment = Environment::new();
    for starts_app in [false, true] {
        let read_file = |_: &Path| Ok(text.clone());
        let sources = Sources { flags: &flags, environment: &environment, read_file: &read_file, starts_app, cpus: 2 };
        match resolve(&sources) {
            Ok(config) => assert!(!config.listeners.is_empty()),
            Err(diagnostics) => {
                for diagnostic in diagnostics.iter() {
                    let said = diagnostic.to_string();
                    assert!(!said.contains('\n') && !repeats_key(&said), "{said}");
                }
            }
        }
    }
}
