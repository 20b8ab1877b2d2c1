//! Policy files: each mistake has its line, in which nothing stands that may be a key, and none ends the reading.
#![no_main]

mod key_line;

use std::path::Path;

use key_line::{repeats_key, with_key};
use libfuzzer_sys::fuzz_target;
use vestibule::policy::PolicyFile;

fuzz_target!(|text: &str| {
    if let Err(mistakes) = PolicyFile::parse(Path::new("policy.toml"), &with_key(text)) {
        for mistake in mistakes.iter() {
            let said = mistake.to_string();
            assert!(said.starts_with("policy.toml") && !said.contains('\n') && !repeats_key(&said), "{said}");
        }
    }
});
