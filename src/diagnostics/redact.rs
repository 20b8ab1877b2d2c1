//! What is repeated in messages of what others have typed or written, and what is not: it may be a key that stands where something else
//! was meant.

use std::borrow::Cow;
use std::path::Path;

/// A run of characters of base64 is noticed from this length on. Of a shorter one no more than some bits could be learned.
const SHORTEST: usize = 8;

/// A part of a path may well look like that, as temporary files do; a key is longer.
const SHORTEST_IN_PATH: usize = 20;

/// A run of hexadecimal digits is noticed from this length on: eight bytes.
const SHORTEST_HEX: usize = 16;

/// In a path such a run may be the name of a container or of a file by its contents: with a slash one of SHA-256 is (64), and without
/// one that of a GUID (32).
const SHORTEST_HEX_IN_PATH: usize = 65;
const SHORTEST_HEX_ALONE: usize = 33;

/// Bytes that are written one by one, with something in between, are noticed from this many on. An IPv6 address has eight groups.
const MIN_BYTES: usize = 9;

/// Characters of a text that are shown.
const SHOWN: usize = 48;

/// What is longer than that, in characters, is no value that anybody knows by heart: nothing of it is shown.
const LONGEST: usize = 256;

/// How the first line of a PEM block begins (RFC 7468).
const PEM_BEGIN: &[u8] = b"-----BEGIN";

/// Whether there is the beginning of a PEM block in `bytes`.
pub(crate) fn holds_pem(bytes: &[u8]) -> bool {
    bytes.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN)
}

/// Whether `text` may hold a part of a key: a mark of PEM, or what base64 or hexadecimal looks like. Words, GUIDs, names and numbers
/// do not.
pub(crate) fn may_be_secret(text: &str) -> bool {
    let ends_run = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/'));
    is_key_in_other_form(text, SHORTEST_HEX) || text.split(ends_run).any(|run| run.len() >= SHORTEST && is_mixed(run))
}

/// The same of a path, in which capitals and small letters stand beside each other more often. What is longer than a file's name may
/// be is no path.
pub(crate) fn may_be_secret_path(text: &str) -> bool {
    let ends_run = |c: char| !(c.is_ascii_alphanumeric() || c == '+');
    let is_random = |run: &str| run.len() >= SHORTEST_IN_PATH && is_mixed(run) && is_dense(run);
    let shortest_hex = if text.contains('/') { SHORTEST_HEX_IN_PATH } else { SHORTEST_HEX_ALONE };
    is_key_in_other_form(text, shortest_hex)
        || text.split('/').any(|name| name.len() > LONGEST_NAME)
        || text.ends_with('=') && is_mixed(text)
        || text.split(ends_run).any(is_random)
        || text.split_whitespace().count() >= MIN_BYTES && is_random(&text.split_whitespace().collect::<String>())
}

/// The same of a name in a certificate, which may hold whatever a CA likes: no less than a line of a key is taken for one.
pub(crate) fn may_be_secret_in_name(text: &str) -> bool {
    const LINE: usize = 48;
    let ends_run = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='));
    let is_line = |run: &str| run.len() >= LINE && is_mixed(run) && is_dense(run);
    holds_pem(text.as_bytes()) || text.split(ends_run).any(is_line)
}

/// The same of a name as programs have them, `requireClientCertificate`.
pub(crate) fn may_be_secret_name(text: &str) -> bool {
    may_be_secret(text) && (is_key_in_other_form(text, SHORTEST_HEX) || is_dense(text))
}

/// `text` in quotes and on one line, cut off where it is long. What may be a part of a key, by accident, is not repeated.
pub(crate) fn quote(text: &str) -> String {
    let length = text.chars().count();
    if may_be_secret(text) || length > LONGEST {
        return format!("a text of {length} characters that may be a secret");
    }
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// An option that nobody knows, as it is shown to people: what is not written like an option may be a value, and so a secret, that
/// stands behind one without a blank.
pub(crate) fn option_name(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    match is_plain && text.starts_with('-') && text.len() <= LONGEST_OPTION {
        true => text.to_owned(),
        false => format!("an option of {} characters", text.chars().count()),
    }
}

/// A key of a file that nobody knows, as it is shown to people: what is not written like a key may be the value of one, in the wrong place.
pub(crate) fn key_name(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    match is_plain && text.len() <= LONGEST_OPTION && !may_be_secret(text) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("a key of {} characters", text.chars().count())),
    }
}

/// In characters, the dashes included; the longest of Envoy's has 33.
const LONGEST_OPTION: usize = 36;

/// A path as it is shown to people, unless it may be a key.
pub(crate) fn quote_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    match may_be_secret_path(&text) {
        true => format!("a path of {} characters that may be a secret", text.chars().count()),
        false => format!("{text:?}"),
    }
}

/// In bytes (NAME_MAX).
const LONGEST_NAME: usize = 255;

/// Whether there is a mark of PEM, at least `shortest_hex` hexadecimal digits in a row, or bytes one by one.
fn is_key_in_other_form(text: &str, shortest_hex: usize) -> bool {
    // Digits alone are a number.
    let has_hex = |run: &str| run.len() >= shortest_hex && run.bytes().any(|byte| byte.is_ascii_alphabetic());
    text.contains("-----") || text.split(|c: char| !c.is_ascii_hexdigit()).any(has_hex) || has_bytes(text)
}

/// Whether there are bytes one by one: `a8:28:42`, `0x1d, 0x4d` or `224, 24`.
fn has_bytes(text: &str) -> bool {
    let is_byte = |word: &&str| {
        let hex = word.trim_start_matches("0x").trim_start_matches('x');
        (hex.len() == 2 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())) || word.parse::<u8>().is_ok()
    };
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut in_a_row = 0;
    words.map(|word| is_byte(&word)).any(|is_byte| {
        in_a_row = if is_byte { in_a_row + 1 } else { 0 };
        in_a_row >= MIN_BYTES
    })
}

/// Capitals behind the first character, and small letters too.
fn is_mixed(run: &str) -> bool {
    run.chars().skip(1).any(|c| c.is_ascii_uppercase()) && run.chars().any(|c| c.is_ascii_lowercase())
}

/// In base64 more than half of the characters are capitals and digits; in names whose words begin with capitals, a quarter at most.
fn is_dense(text: &str) -> bool {
    let dense = text.chars().filter(|c| c.is_ascii_uppercase() || c.is_ascii_digit()).count();
    dense * 5 >= text.chars().count() * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names_are_shown_and_keys_are_not() {
        for shown in [
            "10",
            "Router",
            "Gorouter one",
            "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11",
            "OU=app:GUID",
            "gorouter.service.cf.internal",
            "spiffe://example.org/ns/web",
            "TLS_AES_128",
            "X25519MLKEM768",
            "2001:db8:12:34:56:78:9a:bc",
            "10.0.0.1, 10.0.0.2",
        ] {
            assert!(!may_be_secret(shown), "{shown}");
        }
        let hex = "b0496a7ac74b0e128339c3d6a0a0f23aeb7219fb5cce7da68bacf94c0608f5be";
        let pairs = "a8:28:42:1d:4d:e0:18:d5:39:12:07:fc:ad:b9:b6";
        let decimals = "[181, 178, 201, 1, 2, 3, 99, 100, 255]";
        let bytes = "0xa8, 0x28, 0x42, 0x1d, 0x4d, 0xe0, 0x18, 0xd5, 0x39";
        let base64 = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "x: q9XW3wPz", "a\nAbCdEfGh\n", "ab/CD+ef"];
        for hidden in [hex, pairs, decimals, bytes, "-----BEGIN"].into_iter().chain(base64) {
            assert!(may_be_secret(hidden), "{hidden}");
        }
    }

    #[test]
    fn names_of_fields_are_shown_and_keys_in_their_place_are_not() {
        assert!(!may_be_secret_name("requireClientCertificate") && !may_be_secret_name("tls_params"));
        assert!(may_be_secret_name("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC") && may_be_secret_name("-----BEGIN KEY-----"));
    }

    #[test]
    fn paths_are_shown_and_keys_in_their_place_are_not() {
        for shown in [
            "/home/Alice/MyKeys/Instance.crt",
            "/tmp/.tmpl2WNmR/own.key",
            "/var/lib/9f86d081884c7d659a2feaa0c55ad015",
            "/home/alice/MyProjectInstanceCertificatesOfTheYear/own.crt",
            "/var/lib/b0496a7ac74b0e128339c3d6a0a0f23aeb7219fb5cce7da68bacf94c0608f5be/own.crt",
            "certs/MyApp1/Instance2Cert",
        ] {
            assert!(!may_be_secret_path(shown), "{shown}");
        }
        let key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDD/NE7mW1K";
        assert!(may_be_secret_path(key) && may_be_secret_path("/etc/-----BEGIN"));
        let hex = "b0496a7ac74b0e128339c3d6a0a0f23aeb7219fb5cce7da68bacf94c0608f5be";
        assert!(may_be_secret_path(hex) && may_be_secret_path("37jBdgqLTKrU084Ww/ZEVoPHXQ=="));
        let words: Vec<_> = key.as_bytes().chunks(8).map(|word| str::from_utf8(word).unwrap()).collect();
        assert!(may_be_secret_path(&format!("{} {}", words.join(" "), words.join(" "))));
        assert!(!quote_path(Path::new(key)).contains("MII"));
        assert_eq!(quote_path(Path::new("./app")), "\"./app\"");
    }

    #[test]
    fn a_quoted_value_stays_on_one_line_and_is_cut_off_and_nothing_is_shown_of_a_whole_file() {
        assert_eq!(quote("a\nb"), "\"a\\nb\"");
        assert_eq!(quote(&"k".repeat(100)), format!("{:?}...", "k".repeat(48)));
        let words = "there is no end to it ".repeat(100);
        assert!(!quote(&words).contains("end"));
    }
}
