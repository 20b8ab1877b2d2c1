//! Sizes of memory as people and platforms write them: `64M`, `64MiB`, `1G`.

use std::ops::RangeInclusive;

use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Units as Cloud Foundry, Docker, Kubernetes and people write them. All of them mean powers of two: whoever writes `64M` for a
/// container gets 64 MiB on Cloud Foundry and from Docker.
const UNITS: [(&str, u64); 16] = [
    ("", 1),
    ("B", 1),
    ("K", KIB),
    ("KB", KIB),
    ("KI", KIB),
    ("KIB", KIB),
    ("M", MIB),
    ("MB", MIB),
    ("MI", MIB),
    ("MIB", MIB),
    ("G", GIB),
    ("GB", GIB),
    ("GI", GIB),
    ("GIB", GIB),
    ("T", 1024 * GIB),
    ("TIB", 1024 * GIB),
];

/// Less than this has no room for the program itself.
const LEAST: u64 = MIB;

/// The longest head of a request may be set within this.
const HEADS: RangeInclusive<u64> = 8 * KIB..=MIB;

/// A size in bytes, from one mebibyte on.
pub fn size(text: &str) -> Result<u64, Problem> {
    match bytes(text, "write a size such as 64M or 1G")? {
        bytes if bytes < LEAST => Err(Problem::new(format!("{} is too small", quote(text)), "write at least 1M")),
        bytes => Ok(bytes),
    }
}

/// The longest head of a request, in bytes.
pub fn head_size(text: &str) -> Result<usize, Problem> {
    const HELP: &str = "write 8K to 1M";
    let bytes = usize::try_from(bytes(text, HELP)?).ok();
    let fits = |bytes: &usize| HEADS.contains(&(*bytes as u64));
    bytes.filter(fits).ok_or_else(|| Problem::new(format!("{} is out of range", quote(text)), HELP))
}

/// The longest body of a request, in bytes, or `off`.
pub fn body_size_or_off(text: &str) -> Result<Option<u64>, Problem> {
    match text {
        "off" => Ok(None),
        text => bytes(text, "write a size such as 64K or 10M, or off").map(Some),
    }
}

fn bytes(text: &str, help: &'static str) -> Result<u64, Problem> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ').to_ascii_uppercase();
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes);
    let (Some(unit), false) = (unit, number.is_empty()) else {
        return Err(Problem::new(format!("{} is not a size", quote(text)), help));
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        None => Err(Problem::new(format!("{} is too large", quote(text)), help)),
        Some(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_platforms_write_them() {
        for text in ["64M", "64m", "64MB", "64Mi", "64MiB", "64 MiB", "65536K", "67108864", "67108864B"] {
            assert_eq!(size(text), Ok(64 * MIB), "{text}");
        }
        assert_eq!(size("1G"), Ok(GIB));
        assert_eq!(size("1M"), Ok(MIB));
    }

    #[test]
    fn a_body_may_have_any_length_or_none_that_is_set() {
        assert_eq!(body_size_or_off("off"), Ok(None));
        assert_eq!(body_size_or_off("10M"), Ok(Some(10 * MIB)));
        assert_eq!(body_size_or_off("0"), Ok(Some(0)));
        assert_eq!(body_size_or_off("much").unwrap_err().help, "write a size such as 64K or 10M, or off");
    }

    #[test]
    fn what_is_no_size_is_refused_with_its_help() {
        for text in ["", "M", "64X", "-1M", "+1M", "1.5G", "64 M B", " 64M"] {
            assert_eq!(size(text).unwrap_err().help, "write a size such as 64M or 1G", "{text}");
        }
        assert_eq!(size("99999999999T").unwrap_err().what, "\"99999999999T\" is too large");
        for text in ["0", "1000K", "64"] {
            assert_eq!(size(text).unwrap_err().help, "write at least 1M", "{text}");
        }
    }
}
