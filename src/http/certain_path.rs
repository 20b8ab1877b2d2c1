//! What of a path is certain where apps differ about the rest.

use super::path::{hex_pair, is_overlong};

/// The beginning of `path` that all apps read alike, by whole segments, with the `/` behind it: `/files/` of `/files/a%2fb`. It is `/` where
/// something behind it may lead up, however it is decoded and whatever is dropped of it.
pub(crate) fn certain_part(path: &[u8]) -> &[u8] {
    let path = path.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    if path.first() != Some(&b'/') {
        return b"/";
    }
    let mut end = 1;
    while let Some(length) = path[end..].iter().position(|byte| *byte == b'/') {
        if !is_plain(&path[end..end + length]) {
            break;
        }
        end += length + 1;
    }
    if may_lead_up(&path[end..]) { b"/" } else { &path[..end] }
}

/// Whether no app takes `segment` for anything else than it is.
fn is_plain(segment: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(byte);
    segment.iter().all(is_plain) && segment.iter().any(|byte| *byte != b'.')
}

/// Whether some app may find a `..` in `rest`: one that decodes it, drops parameters, stops at control characters, or drops them and blanks.
fn may_lead_up(rest: &[u8]) -> bool {
    // What may be decoded once more, or in another way, may be anything.
    let Some(decoded) = decode_certain(rest) else { return true };
    let is_control = |byte: &u8| matches!(byte, 0..=b' ' | 0x7f);
    let has_dots = |text: &[u8], ends: &dyn Fn(&u8) -> bool| {
        let mut pieces = text.split(|byte| matches!(byte, b'/' | b'\\' | b';') || ends(byte));
        pieces.any(|piece| piece.len() > 1 && piece.iter().all(|byte| *byte == b'.'))
    };
    let visible: Vec<u8> = decoded.iter().copied().filter(|byte| !is_control(byte)).collect();
    has_dots(&decoded, &is_control) || has_dots(&visible, &|_| false)
}

/// `rest` decoded once; `None`: apps differ about what that is.
fn decode_certain(rest: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(rest.len());
    let mut rest = rest;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'%' => {
                let value = hex_pair(rest)?;
                rest = &rest[2..];
                if value == b'%' || is_overlong(value, rest) {
                    return None;
                }
                decoded.push(value);
            }
            0x80.. => return None,
            _ => decoded.push(byte),
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certain(path: &str) -> &str {
        std::str::from_utf8(certain_part(path.as_bytes())).unwrap()
    }

    #[test]
    fn whole_segments_are_certain_up_to_the_first_that_is_not() {
        for (path, expected) in [
            ("/api/queues/%2f/name", "/api/queues/"),
            ("/files/a%2Fb", "/files/"),
            ("/files/a%5cb?x=/../", "/files/"),
            ("/a/b;x/c", "/a/"),
            ("/a/b%00", "/a/"),
            ("/a//b%2fc", "/a/"),
            ("/a/./b%2fc", "/a/"),
            ("/a/b\\c", "/a/"),
            ("/a/v1..2/%2f", "/a/v1..2/"),
            ("/a/x%2fy.tar.gz", "/a/"),
            ("/a/%c3%a4%2fb", "/a/"),
            ("/%2f", "/"),
            ("/", "/"),
            ("a", "/"),
            ("*", "/"),
        ] {
            assert_eq!(certain(path), expected, "{path}");
        }
    }

    #[test]
    fn where_something_may_lead_up_nothing_is_certain() {
        for rest in [
            "..%2fb",
            "%2e%2e%2fb",
            "..%5cb",
            "..;x",
            "..%3bx",
            "%2e.;x/b",
            ".%00./b",
            "..%00x",
            "..%0a",
            "..%20/b",
            "...%2f",
            "x%2f..",
            "%252e",
            "x%25",
            "%",
            "%zz",
            "%u002e",
            "%c0%ae",
            "%e0%80%ae",
            "ä",
        ] {
            assert_eq!(certain(&format!("/a/b/{rest}")), "/", "{rest}");
        }
        assert_eq!(certain_part(b"/a/\xc0\xae\xc0\xae/b"), b"/");
    }
}
