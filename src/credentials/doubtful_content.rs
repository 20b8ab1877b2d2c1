//! What is odd about files that are good: told once, and not all of it.

use super::load_failure::MAX_NAMED;

/// Tells what of `notes` is new, as something about the files that `subject` begins a sentence with. Files of others may hold thousands
/// of blocks that are not meant for us.
pub(super) fn log_doubtful_content<'a>(subject: &str, notes: impl Iterator<Item = &'a String>, known: &[String]) {
    let mut new = notes.filter(|note| !known.contains(note));
    for note in new.by_ref().take(MAX_NAMED) {
        tracing::warn!(detail = %note, "{subject}: doubtful content");
    }
    let more = new.count();
    if more > 0 {
        tracing::warn!(more, "{subject}: more doubtful content");
    }
}
