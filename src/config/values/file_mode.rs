//! Who may read and write a file: `0640`.

use std::fmt;

use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;

/// The permission bits of a file, without those that change what a program may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileMode(u32);

impl FileMode {
    /// Ours alone: what holds a secret.
    pub const PRIVATE: Self = Self(0o600);

    /// Everybody reads it: what is no secret.
    pub const PUBLIC: Self = Self(0o644);

    /// The bits, as chmod(2) takes them.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Reads three octal digits, or four of which the first is 0.
pub fn file_mode(text: &str) -> Result<FileMode, Problem> {
    let help = "write three octal digits, such as 0640: read is 4 and write is 2, for the owner, the group and others";
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let bits = match digits.len() {
        3 | 4 if digits.bytes().all(|digit| digit.is_ascii_digit()) => u32::from_str_radix(digits, 8).ok(),
        _ => None,
    };
    match bits {
        None => Err(Problem::new(format!("{} is not a file mode", quote(text)), help)),
        Some(bits) if bits & !0o666 != 0 => {
            let what = format!("{} lets somebody run the file, or more", quote(text));
            Err(Problem::new(what, "leave those bits out: the file holds text"))
        }
        Some(bits) if bits & 0o002 != 0 => Err(Problem::new(
            format!("{} lets everybody write the file", quote(text)),
            "write 0 or 4 as the last digit",
        )),
        Some(bits) if bits & 0o444 == 0 => {
            Err(Problem::new(format!("{} lets nobody read the file", quote(text)), help))
        }
        Some(bits) => Ok(FileMode(bits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_written_in_octal_and_lets_somebody_read_and_nobody_run() {
        for (text, bits) in [("600", 0o600), ("0600", 0o600), ("0o640", 0o640), ("0444", 0o444), ("040", 0o040)] {
            assert_eq!(file_mode(text).unwrap().bits(), bits, "{text}");
        }
        for text in
            ["", "6", "60", "06000", "0x600", "+600", "-600", "u=rw", "0680", "0700", "4600", "0602", "0200", "0000"]
        {
            assert!(file_mode(text).is_err(), "{text}");
        }
        assert_eq!(file_mode("640").unwrap().to_string(), "0640");
        assert_eq!(FileMode::PRIVATE.to_string(), "0600");
    }
}
