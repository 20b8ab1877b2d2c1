//! Policy files: each mistake has its line, and none ends the reading.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vestibule::policy::PolicyFile;

fuzz_target!(|text: &str| {
    if let Err(mistakes) = PolicyFile::parse(Path::new("policy.toml"), text) {
        for mistake in mistakes.iter() {
            let said = mistake.to_string();
            assert!(said.starts_with("policy.toml") && !said.contains('\n'), "{said}");
        }
    }
});
