//! Which values a variable of a process can have.

use std::ffi::OsStr;

use super::SecretValue;

/// The longest `NAME=VALUE` that a process can be started with, its NUL included, in bytes (MAX_ARG_STRLEN of Linux).
const LONGEST_VARIABLE: usize = 131_072;

/// What helps where a value cannot be one of a variable.
pub(super) const AS_FILE: &str = "add ?file behind it, and the app gets the path to a file";

/// Why no variable can have the value, as the end of a sentence; `None`: one can.
pub(super) fn unfit(name: &OsStr, value: &SecretValue) -> Option<&'static str> {
    match () {
        () if value.bytes().contains(&0) => Some("has a NUL byte in it, which no variable can have"),
        () if !fits(name, value) => Some("is longer than a variable can be, which is 128 KiB"),
        () => None,
    }
}

/// Whether a process can be started with it.
pub(super) fn fits(name: &OsStr, value: &SecretValue) -> bool {
    name.len() + "=".len() + value.bytes().len() + "\0".len() <= LONGEST_VARIABLE
}
