//! Policy files: each error has its line, in which nothing stands that may be a key, and none ends the reading.
#![no_main]

mod key_line;

use std::path::Path;

use key_line::{repeats_key, with_key};
use libfuzzer_sys::fuzz_target;
use vestibule::policy::PolicyFile;

fuzz_target!(|text: &str| {
    if let Err(diagnostics) = PolicyFile::parse(Path::new("policy.toml"), &with_key(text)) {
        for diagnostic in diagnostics.iter() {
            let said = diagnostic.to_string();
            assert!(said.starts_with("policy.toml") && !said.contains('\n') && !repeats_key(&said), "{said}");
        }
    }
});
