//! A line of a key that stands where something else was meant, and whether a message repeats any of it.

/// A line of a private key in PEM.
const LINE: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";

/// So many of its characters in a row are repeated by no accident.
const REPEATED: usize = 12;

/// `text`, with the line in place of each `@`.
pub fn with_key(text: &str) -> String {
    text.replacen('@', LINE, 16)
}

/// Whether `said` has a part of the line.
pub fn repeats_key(said: &str) -> bool {
    (0..=LINE.len() - REPEATED).any(|at| said.contains(&LINE[at..at + REPEATED]))
}
