//! What a machine may lack, so that a test cannot run on it.

/// Says that a test is left out, for want of `what`.
///
/// # Panics
/// CI names in `TESTS_LACK` what its machine lacks, with commas between; what is not named there must not be missing.
pub(crate) fn lacks(what: &str) {
    if let Ok(named) = std::env::var("TESTS_LACK") {
        let is_named = named.split(',').any(|named| named == what);
        assert!(is_named, "this machine lacks {what}, and TESTS_LACK does not name it");
    }
    eprintln!("left out: this machine lacks {what}");
}
