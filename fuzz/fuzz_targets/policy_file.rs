//! Policy files: each error has its line, in which nothing stands that may be a key, and none ends the reading.

use std::path::Path;

use vestibule::policy::PolicyFile;

use crate::key_line::{repeats_key, with_key};

pub fn fuzz(text: &str) {
    if let Err(diagnostics) = PolicyFile::parse(Path::new("policy.toml"), &with_key(text)) {
        for diagnostic in diagnostics.iter() {
            let said = diagnostic.to_string();
            assert!(said.starts_with("policy.toml") && !said.contains('\n') && !repeats_key(&said), "{said}");
        }
    }
}
