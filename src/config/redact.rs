//! What is not repeated in messages: it may be a key that stands where something else was meant.

/// A run of characters of base64 is noticed from this length on. Of a shorter one no more than some bits could be learned.
const SHORTEST: usize = 8;

/// A part of a path may well look like that, as temporary files do; a key is longer.
const SHORTEST_IN_PATH: usize = 20;

/// Whether `text` may hold a part of a key: a mark of PEM, or what base64 looks like. Words, GUIDs, names and numbers do not.
pub(crate) fn may_be_secret(text: &str) -> bool {
    text.contains("-----") || has_base64(text, SHORTEST, |c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/')))
}

/// The same of a path, in which capitals and small letters stand beside each other more often.
pub(crate) fn may_be_secret_path(text: &str) -> bool {
    text.contains("-----") || has_base64(text, SHORTEST_IN_PATH, |c| !(c.is_ascii_alphanumeric() || c == '+'))
}

/// The same of a name as programs have them, `requireClientCertificate`: in base64 the kinds of characters change more often.
pub(crate) fn may_be_secret_name(text: &str) -> bool {
    let kind = |c: char| (c.is_ascii_uppercase(), c.is_ascii_digit());
    let changes = text.chars().zip(text.chars().skip(1)).filter(|(one, next)| kind(*one) != kind(*next)).count();
    may_be_secret(text) && (text.contains("-----") || changes * 4 >= text.len())
}

/// `text` without the words of it that may hold a part of a key.
pub(crate) fn without_secrets(text: &str) -> String {
    let words = text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`'));
    words.map(|word| if may_be_secret(word) { "(not shown) " } else { word }).collect()
}

/// Whether a run of at least `shortest` characters has capitals behind its first character and small letters too.
fn has_base64(text: &str, shortest: usize, ends_run: fn(char) -> bool) -> bool {
    text.split(ends_run).any(|run| {
        let mut behind_first = run.chars().skip(1);
        run.len() >= shortest
            && behind_first.any(|c| c.is_ascii_uppercase())
            && run.chars().any(|c| c.is_ascii_lowercase())
    })
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
        ] {
            assert!(!may_be_secret(shown), "{shown}");
        }
        for hidden in ["-----BEGIN", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "x: q9XW3wPz", "a\nAbCdEfGh\n", "ab/CD+ef"] {
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
        for shown in
            ["/home/Alice/MyKeys/Instance.crt", "/tmp/.tmpl2WNmR/own.key", "/var/lib/9f86d081884c7d659a2feaa0c55ad015"]
        {
            assert!(!may_be_secret_path(shown), "{shown}");
        }
        let key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDD/NE7mW1K";
        assert!(may_be_secret_path(key) && may_be_secret_path("/etc/-----BEGIN"));
    }
}
