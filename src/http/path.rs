//! The path of a request as rules judge it: one text for all the ways in which it can be written.
//!
//! Apps read paths differently: one resolves `..;x`, another decodes twice, a third takes `\` for `/`. So a path is folded before it is
//! judged, and what cannot be folded with certainty is refused. Whoever passes requests on refuses as well what folding has changed,
//! or passes the folded path on, so that the app never reads another path than the one that was judged.

use std::fmt;

/// A path without query and fragment, folded: no `//`, no `.` or `..` segment, no `\`, nothing encoded that need not be, ASCII alone.
/// `*` stands for the server itself (`OPTIONS *`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FoldedPath {
    text: String,
    changed: bool,
}

/// Why nobody can say which path an app would read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathAmbiguous {
    /// `example.com/x`
    #[error("it does not begin with /")]
    NoSlash,
    /// `%2f`
    #[error("it has a / that is encoded, %2f")]
    EncodedSlash,
    /// `%5c`
    #[error("it has a \\ that is encoded, %5c")]
    EncodedBackslash,
    /// `%25`: what follows may be decoded once more.
    #[error("it has a % that is encoded, %25")]
    EncodedPercent,
    /// `..%3b`: a dot segment for whoever decodes before parameters are taken off.
    #[error("it has a dot segment with a ; that is encoded, %3b")]
    EncodedParameter,
    /// `%c0%af`: longer than UTF-8 allows, and a `/` for some.
    #[error("it has UTF-8 that is longer than need be")]
    OverlongUtf8,
    /// `%00`, `%0a`, or such a byte as it is; a blank.
    #[error("it has a control character or a blank")]
    Control,
    /// `%`, `%4`, `%u002f`
    #[error("it has a % without two hexadecimal digits behind it")]
    BadPercent,
    /// `ä` as it is.
    #[error("it has characters beyond ASCII that are not encoded")]
    NotAscii,
    /// `/..`
    #[error("it leads above /")]
    AboveRoot,
}

/// Folds the path of a request, which is its target without scheme and authority.
///
/// Query and fragment are cut off. Letters, digits, `-`, `.`, `_` and `~` are decoded, once. `\` is read as `/`, several `/` as one,
/// and `.` and `..` segments are resolved, whatever parameters (`;x`) they have. Upper and lower case stay as they are. An empty path
/// is `/` (RFC 9112, 3.2.1).
///
/// # Errors
/// [`PathAmbiguous`]: apps differ about such a path.
pub fn fold(path: impl AsRef<[u8]>) -> Result<FoldedPath, PathAmbiguous> {
    let path = path.as_ref();
    let path = path.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    if path.is_empty() || path == b"*" {
        let text = if path.is_empty() { "/" } else { "*" };
        return Ok(FoldedPath { text: text.to_owned(), changed: false });
    }
    let (decoded, was_decoded) = decode(path)?;
    let segments = decoded.strip_prefix('/').ok_or(PathAmbiguous::NoSlash)?;
    let text = resolve(segments)?;
    Ok(FoldedPath { changed: was_decoded || text != decoded, text })
}

impl FoldedPath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it was written in another way. That a query or a fragment was cut off does not count, and neither does `%c3` for `%C3`,
    /// which no app takes for two things.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The path as an app reads it that decodes everything and knows nothing of parameters; `None`: as it stands.
    ///
    /// RFC 3986 tells `/a%40b` from `/a@b` and `/a;x` from `/a`, and most apps do not: a rule for the one must not be passed by with the
    /// other.
    pub(crate) fn lenient(&self) -> Option<Vec<u8>> {
        if !self.text.contains(['%', ';']) {
            return None;
        }
        let mut lenient = Vec::with_capacity(self.text.len());
        let mut segments = self.text.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let decoded = decode_all(segment);
            let name = decoded.split(|byte| *byte == b';').next().unwrap_or_default();
            if !name.is_empty() || segments.peek().is_none() {
                lenient.push(b'/');
                lenient.extend_from_slice(name);
            }
        }
        Some(lenient)
    }
}

impl fmt::Display for FoldedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The path with what need not be encoded decoded, `/` for `\`, and hexadecimal digits in capitals; and whether it is another path by
/// that.
fn decode(path: &[u8]) -> Result<(String, bool), PathAmbiguous> {
    let mut decoded = String::with_capacity(path.len());
    let mut changed = false;
    let mut rest = path;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'%' => {
                let value = hex_pair(rest).ok_or(PathAmbiguous::BadPercent)?;
                rest = &rest[2..];
                match value {
                    b'/' => return Err(PathAmbiguous::EncodedSlash),
                    b'\\' => return Err(PathAmbiguous::EncodedBackslash),
                    b'%' => return Err(PathAmbiguous::EncodedPercent),
                    0..0x20 | 0x7f => return Err(PathAmbiguous::Control),
                    _ if is_overlong(value, rest) => return Err(PathAmbiguous::OverlongUtf8),
                    _ if is_unreserved(value) => {
                        decoded.push(char::from(value));
                        changed = true;
                    }
                    _ => {
                        decoded.push('%');
                        decoded.extend([value >> 4, value & 15].map(hex_digit));
                    }
                }
            }
            b'\\' => {
                decoded.push('/');
                changed = true;
            }
            0..=b' ' | 0x7f => return Err(PathAmbiguous::Control),
            0x80.. => return Err(PathAmbiguous::NotAscii),
            _ => decoded.push(char::from(byte)),
        }
    }
    Ok((decoded, changed))
}

/// The path that these segments are, without empty ones and dot segments. Only the last may be empty: `/a/` is not `/a`.
fn resolve(segments: &str) -> Result<String, PathAmbiguous> {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment.split(';').next().unwrap_or_default() {
            "." => {}
            ".." => drop(kept.pop().ok_or(PathAmbiguous::AboveRoot)?),
            _ if segment.starts_with(".%3B") || segment.starts_with("..%3B") => {
                return Err(PathAmbiguous::EncodedParameter);
            }
            _ if segment.is_empty() => {}
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    Ok(format!("/{}", kept.join("/")))
}

/// Everything decoded that is encoded in `segment`, where each `%` has its two digits.
fn decode_all(segment: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let value = if byte == b'%' { hex_pair(behind) } else { None };
        rest = if value.is_some() { &behind[2..] } else { behind };
        decoded.push(value.unwrap_or(byte));
    }
    decoded
}

/// Whether `value` and the encoded byte that `rest` begins with are the start of a character in more bytes than it takes.
pub(super) fn is_overlong(value: u8, rest: &[u8]) -> bool {
    let next = rest.split_first().filter(|(percent, _)| **percent == b'%').and_then(|(_, digits)| hex_pair(digits));
    match value {
        0xc0 | 0xc1 => true,
        0xe0 => matches!(next, Some(0x80..0xa0)),
        0xf0 => matches!(next, Some(0x80..0x90)),
        // No character has so many bytes, and some readers take them all the same (RFC 3629, 3).
        0xf8..=0xfd => true,
        _ => false,
    }
}

/// The byte that two hexadecimal digits at the start of `text` stand for.
pub(super) fn hex_pair(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(0)? << 4 | digit(1)?)
}

fn hex_digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or_default().to_ascii_uppercase()
}

/// RFC 3986, 2.3
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What becomes of a path: as it was, changed, or why not.
    fn folded(path: &str) -> Result<(String, bool), PathAmbiguous> {
        fold(path).map(|path| (path.as_str().to_owned(), path.is_changed()))
    }

    #[test]
    fn a_path_that_is_written_plainly_stays_as_it_is() {
        let plain =
            ["/", "*", "/a", "/a/", "/a/b.c", "/A/b", "/a;x=1/b", "/...", "/a..", "/..a", "/a:b@c,d", "/%40", "/a%20b"];
        for path in plain.iter().chain(&["/%C3%A4", "/%F0%9F%A6%80", "/%E0%A4%B9"]) {
            assert_eq!(folded(path), Ok(((*path).to_owned(), false)), "{path}");
        }
    }

    #[test]
    fn a_query_and_a_fragment_are_cut_off_and_that_is_no_change() {
        for (path, expected) in [
            ("/a?b=/../c", "/a"),
            ("/a#/b", "/a"),
            ("/a?b#c", "/a"),
            ("/a#b?c", "/a"),
            ("?a", "/"),
            ("", "/"),
            ("/?%zz", "/"),
        ] {
            assert_eq!(folded(path), Ok((expected.to_owned(), false)), "{path}");
        }
        assert_eq!(folded("/%c3%a4?x"), Ok(("/%C3%A4".to_owned(), false)), "digits in lower case are no other path");
    }

    #[test]
    fn what_apps_read_as_one_path_folds_to_one() {
        for path in [
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/.%2e/b",
            "/a/%2E./b",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/%2e%2e;x/b",
            "/./b",
            "/.;x/b",
            "//b",
            "///b",
            "/%62",
            "/a\\..\\b",
            "\\b",
            "/a;x=1/../b",
            "/a//../b",
            "/a/b/..//../b",
        ] {
            assert_eq!(folded(path), Ok(("/b".to_owned(), true)), "{path}");
        }
        for (path, expected) in
            [("/b/.", "/b/"), ("/b/c/..", "/b/"), ("/b//", "/b/"), ("/b\\", "/b/"), ("//", "/"), ("/b/..", "/")]
        {
            assert_eq!(folded(path), Ok((expected.to_owned(), true)), "{path}");
        }
    }

    #[test]
    fn what_apps_read_differently_is_ambiguous() {
        use PathAmbiguous as P;
        for (path, why) in [
            ("/a%2fb", P::EncodedSlash),
            ("/a%2Fb", P::EncodedSlash),
            ("/b%5cc", P::EncodedBackslash),
            ("/b%00", P::Control),
            ("/b%0a", P::Control),
            ("/b%7f", P::Control),
            ("/b\u{1}", P::Control),
            ("/b c", P::Control),
            ("/b\u{7f}", P::Control),
            ("/b%252e", P::EncodedPercent),
            ("/100%25", P::EncodedPercent),
            ("/b%", P::BadPercent),
            ("/b%4", P::BadPercent),
            ("/b%zz", P::BadPercent),
            ("/b%u002f", P::BadPercent),
            ("/b%4%31", P::BadPercent),
            ("/bä", P::NotAscii),
            ("/../b", P::AboveRoot),
            ("/..", P::AboveRoot),
            ("/%2e%2e/b", P::AboveRoot),
            ("/a/../../b", P::AboveRoot),
            ("//../b", P::AboveRoot),
            ("/a/..%3bx/b", P::EncodedParameter),
            ("/a/.%3B/b", P::EncodedParameter),
            ("/a/%2e%2e%3b/b", P::EncodedParameter),
            ("/%c0%ae%c0%ae/b", P::OverlongUtf8),
            ("/a%c1%9c", P::OverlongUtf8),
            ("/a%e0%80%af", P::OverlongUtf8),
            ("/a%f0%80%80%af", P::OverlongUtf8),
            ("a", P::NoSlash),
            ("**", P::NoSlash),
            ("http://a/b", P::NoSlash),
        ] {
            assert_eq!(folded(path), Err(why), "{path}");
        }
        assert_eq!(fold(b"/\xc3\xa4"), Err(P::NotAscii), "as bytes");
    }

    #[test]
    fn a_lenient_app_decodes_and_drops_parameters() {
        let lenient = |path: &str| fold(path).unwrap().lenient().map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(lenient("/a/b"), None);
        for (path, expected) in [
            ("/a%40b", "/a@b"),
            ("/a;x=1/b", "/a/b"),
            ("/a%3bx/b", "/a/b"),
            ("/;x/a", "/a"),
            ("/a/;x", "/a/"),
            ("/%c3%a4", "/ä"),
            ("/a;x", "/a"),
            ("/;x", "/"),
        ] {
            assert_eq!(lenient(path).as_deref(), Some(expected), "{path}");
        }
    }

    /// Pieces that make trouble.
    fn troublesome() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/", "//", ".", "..", "%2e", "%2E", ";", ";x", "\\", "%41", "%40", "%c3%a4", "%3b", "a", "B", "~", "?",
            "#", "%", "2", "%25", "*",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn folding_what_is_folded_changes_nothing(path in prop_oneof![troublesome(), troublesome().prop_map(|p| format!("/{p}")), any::<String>()]) {
            if let Ok(once) = fold(&path) {
                let twice = fold(once.as_str()).unwrap();
                prop_assert_eq!(twice.as_str(), once.as_str());
                prop_assert!(!twice.is_changed());
            }
        }

        #[test]
        fn nothing_is_left_that_could_be_folded(path in troublesome().prop_map(|path| format!("/{path}"))) {
            if let Ok(folded) = fold(&path) {
                let text = folded.as_str();
                prop_assert!(text.starts_with('/') && text.is_ascii());
                prop_assert!(!["//", "\\", "?", "#"].iter().any(|odd| text.contains(odd)), "{}", text);
                prop_assert!(text.split('/').all(|segment| !matches!(segment.split(';').next(), Some("." | ".."))), "{}", text);
                let uncut = path.split(['?', '#']).next().unwrap_or_default();
                prop_assert!(folded.is_changed() || text.eq_ignore_ascii_case(uncut));
                if let Some(lenient) = folded.lenient() {
                    prop_assert!(lenient.starts_with(b"/") && !lenient.windows(2).any(|two| two == b"//"));
                }
            }
        }
    }
}
