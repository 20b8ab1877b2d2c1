//! One value of one option: from text to its type, or what is wrong with it and the help.
//!
//! Each parser takes any text at all and never panics.

mod address;
mod api_url;
mod duration;
mod file_mode;
mod forward_proxy;
mod http_proxy;
mod identity_endpoint;
mod network;
mod size;
mod target;

use std::ffi::OsStr;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use strum::VariantArray;

use crate::diagnostics::Problem;
use crate::diagnostics::redact::{holds_pem, may_be_secret_path, quote};

pub use address::{admin, app, host_name, listen, listen_or_off, listener, port};
pub use api_url::{ApiUrl, api_url};
pub use duration::{Range, duration, duration_or_off, token_ttl};
pub use file_mode::{FileMode, file_mode};
pub use forward_proxy::{HostEntry, forward_proxy, listed, port_mapping};
pub use http_proxy::{http_proxy, no_proxy};
pub use identity_endpoint::{audience, outbound_listen_or_off, rate};
pub use network::{Network, network};
pub use size::{body_size_or_off, head_size, size};
pub use target::{eject, outbound, outbound_ca, outbound_listen, server_name, target};

/// `value`, if no quote begins or ends it. A shell would have taken them away; `docker --env-file` and others do not, and
/// then they are a part of the name, the path or the list.
pub fn unquoted(value: &OsStr) -> Result<&OsStr, Problem> {
    match value.as_encoded_bytes() {
        [b'"' | b'\'', ..] | [.., b'"' | b'\''] => {
            let help = "leave the quotes out; docker --env-file, for one, keeps them as they are";
            Err(Problem::new("begins or ends with a quote that is part of the value", help))
        }
        _ => Ok(value),
    }
}

/// The path of a file, of whatever bytes.
pub fn path(value: &OsStr) -> Result<PathBuf, Problem> {
    let value = unquoted(value)?;
    let bytes = value.as_encoded_bytes();
    if bytes.is_empty() {
        return Err(Problem::new("is empty", "write the path of a file"));
    }
    // Told apart here because it happens, and because a later "cannot open" would print the key.
    if holds_pem(bytes) {
        return Err(Problem::new("holds PEM text", "write the text to a file and give the path of that file"));
    }
    if may_be_secret_path(&value.to_string_lossy()) {
        return Err(Problem::new("looks like a key itself", "write the key to a file and give the path of that file"));
    }
    if bytes.contains(&0) {
        return Err(Problem::new("has a zero byte in it", "write the path of a file"));
    }
    Ok(value.into())
}

/// Anything but a path is text.
pub fn text(value: &OsStr) -> Result<&str, Problem> {
    unquoted(value)?
        .to_str()
        .ok_or_else(|| Problem::new(format!("{} is not UTF-8", quote(&value.to_string_lossy())), "write plain text"))
}

/// A number within `range`.
pub fn number<N>(text: &str, range: &RangeInclusive<N>) -> Result<N, Problem>
where
    N: FromStr + PartialOrd + Display,
{
    let help = || format!("write a number from {} to {}", range.start(), range.end());
    // `FromStr` alone would let `+1` pass.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::new(format!("{} is not a number", quote(text)), help()));
    }
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(Problem::new(format!("{} is out of range", quote(text)), help())),
    }
}

/// One of the words of `T`.
pub fn one_of<T: VariantArray + Copy + Into<&'static str>>(text: &str) -> Result<T, Problem> {
    choose(text, T::VARIANTS.iter().map(|value| ((*value).into(), *value)))
}

/// `off`, or one of the words of `T`.
pub fn one_of_or_off<T: VariantArray + Copy + Into<&'static str>>(text: &str) -> Result<Option<T>, Problem> {
    let values = T::VARIANTS.iter().map(|value| ((*value).into(), Some(*value)));
    choose(text, std::iter::once(("off", None)).chain(values))
}

/// `true` or `false`.
pub fn switch(text: &str) -> Result<bool, Problem> {
    choose(text, [("true", true), ("false", false)].into_iter())
}

/// `on` or `off`.
pub fn on_or_off(text: &str) -> Result<bool, Problem> {
    match text {
        // As switches are written.
        "true" => Ok(true),
        "false" => Ok(false),
        text => choose(text, [("on", true), ("off", false)].into_iter()),
    }
}

/// What `text` stands for among `choices`.
fn choose<T>(text: &str, choices: impl Iterator<Item = (&'static str, T)> + Clone) -> Result<T, Problem> {
    choices.clone().find(|(word, _)| *word == text).map(|(_, value)| value).ok_or_else(|| {
        let words: Vec<_> = choices.map(|(word, _)| word).collect();
        let help = match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("write {} or {last}", rest.join(", ")),
            _ => format!("write {}", words.concat()),
        };
        Problem::new(format!("{} is not among the choices", quote(text)), help)
    })
}

/// The name of an ALPN protocol (RFC 7301, section 3.1: 1 to 255 bytes), such as `h2`.
pub fn alpn(text: &str) -> Result<Vec<u8>, Problem> {
    // Nobody offers these, so a listener that waits for them would negotiate nothing.
    let meant = match text.to_ascii_lowercase().as_str() {
        "http2" | "http/2" | "http/2.0" | "http2.0" => Some("h2"),
        "http" | "http1" | "http1.1" | "http/1" | "http-1.1" | "h1" => Some("http/1.1"),
        _ => None,
    };
    if let Some(meant) = meant {
        return Err(Problem::new(format!("{} is not what clients offer", quote(text)), format!("write {meant}")));
    }
    if text == "off" {
        return Err(Problem::new("off is given beside protocols", "write off alone"));
    }
    if !(1..=255).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::new(format!("{} is not the name of a protocol", quote(text)), "write h2,http/1.1 or off"));
    }
    Ok(text.into())
}

/// A word that becomes part of a certificate or of a file name: letters, digits, dashes, dots and underscores.
pub fn word(text: &str) -> Result<String, Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !(1..=64).contains(&text.len()) || text.starts_with('.') || !text.bytes().all(fits) {
        let what = format!("{} does not fit", quote(text));
        return Err(Problem::new(what, "write 1 to 64 letters, digits, dashes, dots or underscores"));
    }
    Ok(text.to_owned())
}

/// A text that is not empty and has no control characters.
pub fn name(text: &str) -> Result<String, Problem> {
    if text.is_empty() {
        return Err(Problem::new("is empty", "write a name"));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::new("holds a control character", "write a name without"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_digits_within_its_range() {
        assert_eq!(number("7", &(1..=9)), Ok(7));
        for (text, shown) in [
            ("", "\"\" is not a number; write a number from 1 to 9"),
            ("+1", "\"+1\" is not a number; write a number from 1 to 9"),
            ("1.5", "\"1.5\" is not a number; write a number from 1 to 9"),
            ("0", "\"0\" is out of range; write a number from 1 to 9"),
            ("99999999999999999999", "\"99999999999999999999\" is out of range; write a number from 1 to 9"),
        ] {
            assert_eq!(number(text, &(1..=9)).unwrap_err().to_string(), shown);
        }
    }

    #[test]
    fn a_key_typed_in_place_of_its_path_is_not_repeated() {
        let problem = path("-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0".as_ref()).unwrap_err().to_string();
        assert_eq!(problem, "holds PEM text; write the text to a file and give the path of that file");
    }

    #[test]
    fn a_path_may_be_any_bytes() {
        use std::os::unix::ffi::OsStrExt;
        let odd = OsStr::from_bytes(b"/tmp/\xff.crt");
        assert_eq!(path(odd), Ok(PathBuf::from(odd)));
    }

    #[test]
    fn an_alpn_name_that_nobody_offers_is_refused_with_the_one_that_is_meant() {
        assert_eq!(alpn("h2"), Ok(b"h2".to_vec()));
        assert_eq!(alpn("http/1.1"), Ok(b"http/1.1".to_vec()));
        assert_eq!(alpn("HTTP/2").unwrap_err().to_string(), "\"HTTP/2\" is not what clients offer; write h2");
        assert!(alpn("").is_err() && alpn("a b").is_err() && alpn(&"x".repeat(256)).is_err());
    }

    #[test]
    fn a_word_cannot_leave_its_folder() {
        assert_eq!(word("billing"), Ok("billing".to_owned()));
        for text in ["", "..", ".hidden", "a/b", "a b", "ä"] {
            assert!(word(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "(?s).{0,300}") {
            let _ = (path(text.as_ref()), number(&text, &(1..=256_usize)), alpn(&text), word(&text), switch(&text));
            let _ = (listen(&text), app(&text), listener(&text, true), port(&text), network(&text));
            let _ = (duration(&text, &Range::ZERO_TO_AN_HOUR), duration_or_off(&text, &Range::ZERO_TO_AN_HOUR));
        }

        #[test]
        fn nearly_right_text_does_not_either(text in "(unix:|localhost|off|\\[|\\]|:|::|=|[0-9]{1,6}|\\.|%|[a-z]{1,2}| ){0,12}") {
            let _ = (listen(&text), app(&text), listener(&text, true), port(&text));
            let _ = (duration(&text, &Range::ZERO_TO_AN_HOUR), duration_or_off(&text, &Range::ZERO_TO_AN_HOUR));
        }

        #[test]
        fn an_error_is_always_one_short_line(text in "(?s).{0,300}") {
            let problems = [listen(&text).err(), app(&text).err(), listener(&text, true).err(), alpn(&text).err(),
                duration(&text, &Range::ZERO_TO_AN_HOUR).err()];
            for problem in problems.into_iter().flatten() {
                let line = problem.to_string();
                prop_assert!(!line.contains('\n') && line.chars().count() < 1000, "{line}");
            }
        }
    }
}
