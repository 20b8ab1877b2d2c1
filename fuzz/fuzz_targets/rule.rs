//! Rules as operators type them: what is written out means what was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::policy::Rule;

fuzz_target!(|text: &str| {
    if let Ok(rule) = text.parse::<Rule>() {
        assert_eq!(rule.to_string().parse().as_ref(), Ok(&rule));
    }
});
