//! What a server says in its own words, without what it was sent as a secret.

use base64ct::{Base64Unpadded, Encoding};
use memchr::memmem;
use percent_encoding::percent_decode_str;

use super::SafeText;

/// A run of this many characters of a secret is not repeated; of a shorter one, the whole.
const SECRET_RUN: usize = 20;

/// A secret of so many bytes is looked for in what is Base64 or hexadecimal; shorter ones are found in what has nothing to do with them.
const ENCODED_SECRET: usize = 4;

/// Of a text no more than so many bytes are looked at: whoever says more would have us search for long.
const MOST_READ: usize = 16 * 1024;

/// What stands in the place of it.
const SENT: &str = "(what we sent)";

/// A server's own `text`, on one line and of `most` characters at most, without any of the `secrets` that it was sent, as they are, percent-encoded, in
/// Base64 or in hexadecimal.
pub(crate) fn without_sent_secrets(most: usize, text: &str, secrets: &[&str]) -> SafeText {
    let end = (0..=text.len().min(MOST_READ)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let text = &text[..end];
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
        if decoded != word && (has_whole || has_run(decoded.as_bytes(), secrets)) {
            return SENT.to_owned();
        }
    }
    let mut kept = String::with_capacity(word.len());
    for run in word.split_inclusive(|c| !may_be_of_secret(c)) {
        let bare = run.trim_end_matches(|c| !may_be_of_secret(c));
        if has_run(bare.as_bytes(), secrets) || has_encoded(bare, secrets) {
            kept.push_str(SENT);
            kept.push_str(&run[bare.len()..]);
        } else {
            kept.push_str(run);
        }
    }
    kept
}

/// Whether there is a run in `text` that one of `secrets` has too.
fn has_run(text: &[u8], secrets: &[&str]) -> bool {
    let is_sent = |run| secrets.iter().any(|secret| secret.as_bytes().windows(SECRET_RUN).any(|part| part == run));
    text.windows(SECRET_RUN).any(is_sent)
}

/// Whether there is Base64 in `text`, in either alphabet, or hexadecimal, of what has a part of one of `secrets`. Something else may stand in front of
/// it.
fn has_encoded(text: &str, secrets: &[&str]) -> bool {
    let holds = |decoded: &[u8]| {
        let has_whole =
            |secret: &&str| secret.len() >= ENCODED_SECRET && memmem::find(decoded, secret.as_bytes()).is_some();
        has_run(decoded, secrets) || secrets.iter().any(has_whole)
    };
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/".contains(c);
    let usual = text.replace('-', "+").replace('_', "/");
    usual.split(|c| !is_base64(c)).any(|run| {
        let base64 = (0..4).filter_map(|from| {
            let rest = run.get(from..)?;
            // The last digits may say less than a byte more.
            let whole = rest.get(..rest.len() / 4 * 4)?;
            let mut decoded = Base64Unpadded::decode_vec(whole).ok()?;
            let last = format!("{}{}", &rest[whole.len()..], "AAAA");
            decoded.extend(Base64Unpadded::decode_vec(last.get(..4)?).ok()?);
            Some(decoded)
        });
        let digits: Vec<_> = run.chars().map(|c| c.to_digit(16)).collect();
        let hexadecimal = (0..2).map(|from| {
            let pairs = digits.get(from..).unwrap_or_default().chunks_exact(2);
            pairs.map(|pair| Some(pair[0]? << 4 | pair[1]?)).map(|byte| byte.map_or(0, |byte| byte as u8)).collect()
        });
        base64.chain(hexadecimal).any(|decoded: Vec<u8>| holds(&decoded))
    })
}

fn may_be_of_secret(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/=_.:-".contains(c)
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Base64Url, Base64UrlUnpadded};

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
    fn a_secret_that_comes_back_in_base64_or_hexadecimal_is_none_the_less_one() {
        let token = "hvs.CAESIJ-SecretTokenThatNobodyMaySee";
        let hex: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
        let encoded =
            ["", "a", "ab", "abc"].map(|before| Base64::encode_string(format!("{before}{token}?").as_bytes()));
        let url_safe = [Base64Url::encode_string(token.as_bytes()), Base64UrlUnpadded::encode_string(token.as_bytes())];
        let in_others = [format!("b64={}", encoded[0]), format!("xy{hex}"), format!("\"{}\".", hex.to_uppercase())];
        for said_so in encoded.iter().chain(&url_safe).chain(&in_others) {
            let said = said(&format!("denied for {said_so} x"), &[token]);
            assert!(said.contains(SENT) && said.ends_with(" x") && !said.contains("aHZz"), "{said_so}: {said}");
        }
        assert_eq!(said("user cGEhcw==", &["pa!s"]), "user (what we sent)");
        assert_eq!(
            said("of deadbeef0123 and aGVsbG8gd29ybGQ=", &[token, "pa!s"]),
            "of deadbeef0123 and aGVsbG8gd29ybGQ="
        );
    }

    #[test]
    fn what_is_said_stays_short_and_on_one_line() {
        let long = said(&"x\u{202e}\n ".repeat(10_000), &["secret"]);
        assert!(long.len() < 200 && !long.contains('\u{202e}') && !long.contains('\n'), "{long}");
    }
}
