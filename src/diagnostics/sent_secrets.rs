//! What a server says in its own words, without what it was sent as a secret.

use percent_encoding::percent_decode_str;

use super::SafeText;

/// A run of this many characters of a secret is not repeated; of a shorter one, the whole.
const SECRET_RUN: usize = 20;

/// What stands in the place of it.
const SENT: &str = "(what we sent)";

/// A server's own `text`, on one line and of `most` characters at most, without any of the `secrets` that it was sent, as they are or percent-encoded.
pub(crate) fn without_sent_secrets(most: usize, text: &str, secrets: &[&str]) -> SafeText {
    let given = secrets.iter().filter(|secret| !secret.is_empty());
    let text = given.fold(text.to_owned(), |text, secret| text.replace(secret, SENT));
    let words: Vec<_> = text.split_whitespace().take(most).map(|word| without_runs(word, secrets)).collect();
    SafeText::up_to(most, words.join(" "))
}

/// `word` without parts of `secrets`.
fn without_runs(word: &str, secrets: &[&str]) -> String {
    if word.contains('%') {
        let decoded = percent_decode_str(word).decode_utf8_lossy();
        let has_whole = secrets.iter().any(|secret| !secret.is_empty() && decoded.contains(secret));
        if decoded != word && (has_whole || has_run(&decoded, secrets)) {
            return SENT.to_owned();
        }
    }
    let mut kept = String::with_capacity(word.len());
    for run in word.split_inclusive(|c| !may_be_of_secret(c)) {
        let bare = run.trim_end_matches(|c| !may_be_of_secret(c));
        if has_run(bare, secrets) {
            kept.push_str(SENT);
            kept.push_str(&run[bare.len()..]);
        } else {
            kept.push_str(run);
        }
    }
    kept
}

/// Whether there is a run in `text` that one of `secrets` has too.
fn has_run(text: &str, secrets: &[&str]) -> bool {
    let is_sent = |run| secrets.iter().any(|secret| secret.as_bytes().windows(SECRET_RUN).any(|part| part == run));
    text.as_bytes().windows(SECRET_RUN).any(is_sent)
}

fn may_be_of_secret(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/=_.:-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, secrets: &[&str]) -> String {
        without_sent_secrets(60, text, secrets).to_string()
    }

    #[test]
    fn a_part_of_a_long_secret_and_the_whole_of_a_short_one_are_not_repeated() {
        let long = "hvs.SecretTokenThatNobodyMaySee";
        assert_eq!(said(&format!("no \"{long}\", x"), &[long]), "no \"(what we sent)\", x");
        assert_eq!(said("x=(SecretTokenThatNobody)", &[long]), "x=((what we sent))");
        assert_eq!(said("SecretToken", &[long]), "SecretToken");
        assert_eq!(said("502 is p a!s for\tyou", &["p a!s", ""]), "502 is (what we sent) for you");
    }

    #[test]
    fn a_secret_that_comes_back_percent_encoded_is_none_the_less_one() {
        for encoded in ["p%20%c3%a4!s", "p%20%C3%A4%21s", "%70%20%C3%A4%21%73"] {
            assert_eq!(said(&format!("of user:{encoded} 100%"), &["p ä!s"]), "of (what we sent) 100%", "{encoded}");
        }
        assert_eq!(said("hvs%2ESecretTokenThatNob", &["hvs.SecretTokenThatNobodyMaySee"]), SENT);
        assert_eq!(said("a%20b", &["c"]), "a%20b");
    }

    #[test]
    fn what_is_said_stays_short_and_on_one_line() {
        let long = said(&"x\u{202e}\n ".repeat(10_000), &["secret"]);
        assert!(long.len() < 200 && !long.contains('\u{202e}') && !long.contains('\n'), "{long}");
    }
}
