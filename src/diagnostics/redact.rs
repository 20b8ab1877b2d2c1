//! What is repeated in messages of what others have typed or written, and what is not: it may be a key that stands where something else
//! was meant.

use std::path::Path;

/// A run of characters of base64 is noticed from this length on. Of a shorter one no more than some bits could be learned.
const SHORTEST: usize = 8;

/// A part of a path may well look like that, as temporary files do; a key is longer.
const SHORTEST_IN_PATH: usize = 20;

/// A run of hexadecimal digits is noticed from this length on. Shorter are serial numbers and SHA-256 fingerprints (64).
const SHORTEST_HEX: usize = 65;

/// Characters of a text that are shown.
const SHOWN: usize = 48;

/// What is longer than that, in characters, is no value that anybody knows by heart: nothing of it is shown.
const LONGEST: usize = 256;

/// Whether `text` may hold a part of a key: a mark of PEM, or what base64 or hexadecimal looks like. Words, GUIDs, names and numbers
/// do not.
pub(crate) fn may_be_secret(text: &str) -> bool {
    has_mark_or_hex(text) || has_base64(text, SHORTEST, |c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/')))
}

/// The same of a path, in which capitals and small letters stand beside each other more often. What is longer than a file's name may
/// be is no path.
pub(crate) fn may_be_secret_path(text: &str) -> bool {
    let ends_run = |c: char| !(c.is_ascii_alphanumeric() || c == '+');
    let is_random = |run: &&str| run.len() >= SHORTEST_IN_PATH && is_mixed(run) && changes_often(run);
    has_mark_or_hex(text)
        || text.split('/').any(|name| name.len() > LONGEST_NAME)
        || text.split(ends_run).any(|run| is_random(&run))
}

/// The same of a name as programs have them, `requireClientCertificate`.
pub(crate) fn may_be_secret_name(text: &str) -> bool {
    may_be_secret(text) && (has_mark_or_hex(text) || changes_often(text))
}

/// `text` without the words of it that may hold a part of a key.
pub(crate) fn without_secrets(text: &str) -> String {
    let words = text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`'));
    words.map(|word| if may_be_secret(word) { "(not shown) " } else { word }).collect()
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

fn has_mark_or_hex(text: &str) -> bool {
    text.contains("-----") || text.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() >= SHORTEST_HEX)
}

/// Whether a run of at least `shortest` characters is mixed as base64 is.
fn has_base64(text: &str, shortest: usize, ends_run: fn(char) -> bool) -> bool {
    text.split(ends_run).any(|run| run.len() >= shortest && is_mixed(run))
}

/// Capitals behind the first character, and small letters too.
fn is_mixed(run: &str) -> bool {
    run.chars().skip(1).any(|c| c.is_ascii_uppercase()) && run.chars().any(|c| c.is_ascii_lowercase())
}

/// In base64 the kinds of characters change more often than in names whose words begin with capitals.
fn changes_often(text: &str) -> bool {
    let kind = |c: char| (c.is_ascii_uppercase(), c.is_ascii_digit());
    let changes = text.chars().zip(text.chars().skip(1)).filter(|(one, next)| kind(*one) != kind(*next)).count();
    changes * 4 >= text.chars().count()
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
            "9f86d081884c7d659a2feaa0c55ad0159f86d081884c7d659a2feaa0c55ad015",
        ] {
            assert!(!may_be_secret(shown), "{shown}");
        }
        let hex = "308204a40201000282".repeat(4);
        for hidden in
            ["-----BEGIN", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "x: q9XW3wPz", "a\nAbCdEfGh\n", "ab/CD+ef", &hex]
        {
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
            "/home/alice/MyProjectInstanceCertificates/own.crt",
        ] {
            assert!(!may_be_secret_path(shown), "{shown}");
        }
        let key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDD/NE7mW1K";
        assert!(may_be_secret_path(key) && may_be_secret_path("/etc/-----BEGIN"));
        assert!(!quote_path(Path::new(key)).contains("MII"));
        assert_eq!(quote_path(Path::new("./app")), "\"./app\"");
    }

    #[test]
    fn a_quoted_value_stays_on_one_line_and_is_cut_off_and_nothing_is_shown_of_a_whole_file() {
        assert_eq!(quote("a\nb"), "\"a\\nb\"");
        assert_eq!(quote(&"k".repeat(100)), format!("{:?}...", "k".repeat(48)));
        let decimals = "48, 130, 4, 162, ".repeat(100);
        assert!(!quote(&decimals).contains("130"));
    }
}
