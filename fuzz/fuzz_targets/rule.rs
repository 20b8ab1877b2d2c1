//! Rules as operators type them: what is written out means what was read.

use vestibule::policy::Rule;

pub fn fuzz(text: &str) {
    if let Ok(rule) = text.parse::<Rule>() {
        assert_eq!(rule.to_string().parse().as_ref(), Ok(&rule));
    }
}
