//! What a server says in its own words, where that does not repeat a secret that it was sent.
//!
//! Letters and digits alone are compared, and their case is not: whoever repeats a secret may quote it, break it, or write it in another way. Where a
//! part of one is found, in whatever way, nothing of the text is shown.

use std::borrow::Cow;
use std::collections::HashSet;

use base64ct::{Base64Unpadded, Encoding};
use memchr::memmem;
use percent_encoding::percent_decode_str;

use super::SafeText;

/// A run of so many letters and digits of a secret is not repeated; of a shorter one, the whole.
const RUN: usize = 12;

/// A secret with fewer letters and digits is looked for as it is, in plain text alone: it is found in what has nothing to do with it.
const SHORTEST: usize = 4;

/// Of a text no more than so many bytes are looked at, and half of them shown: what is cut off there is no beginning of a secret then.
const MOST_READ: usize = 16 * 1024;

/// How often a text is decoded that may have been encoded more than once.
const LAYERS: usize = 3;

/// What stands in the place of it.
const SENT: &str = "(what we sent)";

/// A server's own `text`, on one line and of `most` characters at most; [`SENT`] where it repeats one of the `secrets` that it was sent, or a part of
/// one: as it is, percent-encoded, as JSON and HTML write it, in Base64 or in hexadecimal.
pub(crate) fn without_sent_secrets(most: usize, text: &str, secrets: &[&str]) -> SafeText {
    let text = up_to(text, MOST_READ);
    if SentSecrets::of(secrets).are_in(text) {
        return SafeText::up_to(most, SENT);
    }
    let words: Vec<_> = up_to(text, MOST_READ / 2).split_whitespace().take(most).collect();
    SafeText::up_to(most, words.join(" "))
}

/// The beginning of `text`, of so many bytes at most.
fn up_to(text: &str, most: usize) -> &str {
    let end = (0..=text.len().min(most)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    &text[..end]
}

/// What is looked for.
struct SentSecrets<'a> {
    /// Those of which next to nothing is a letter or a digit.
    odd: Vec<&'a str>,
    /// The letters and digits of those that have few.
    short: Vec<Vec<u8>>,
    /// All runs of the others.
    runs: HashSet<[u8; RUN]>,
}

impl<'a> SentSecrets<'a> {
    fn of(secrets: &[&'a str]) -> Self {
        let (mut odd, mut short, mut runs) = (Vec::new(), Vec::new(), HashSet::new());
        for secret in secrets.iter().filter(|secret| !secret.trim().is_empty()) {
            match folded(secret.as_bytes()) {
                folded if folded.len() < SHORTEST => odd.push(secret.trim()),
                folded if folded.len() < RUN => short.push(folded),
                folded => runs.extend(runs_of(&folded)),
            }
        }
        Self { odd, short, runs }
    }

    /// Whether `text` has one of them, however it is written.
    fn are_in(&self, text: &str) -> bool {
        let mut plain = Cow::Borrowed(text);
        for _ in 0..LAYERS {
            if self.are_in_plain(&plain) {
                return true;
            }
            let decoded = unescaped(&percent_decode_str(&plain).decode_utf8_lossy());
            if decoded == plain {
                return false;
            }
            plain = Cow::Owned(decoded);
        }
        self.are_in_plain(&plain)
    }

    fn are_in_plain(&self, text: &str) -> bool {
        let bytes = folded(text.as_bytes());
        let in_hexadecimal =
            || (0..2).any(|from| self.are_in_bytes(&hexadecimal(bytes.get(from..).unwrap_or_default())));
        self.odd.iter().any(|secret| text.contains(secret))
            || self.are_in_folded(&bytes)
            || in_hexadecimal()
            || base64_of(text.as_bytes()).iter().any(|decoded| {
                self.are_in_bytes(decoded) || base64_of(decoded).iter().any(|again| self.are_in_bytes(again))
            })
    }

    /// The same of what was decoded, and may be anything.
    fn are_in_bytes(&self, bytes: &[u8]) -> bool {
        self.are_in_folded(&folded(bytes))
    }

    fn are_in_folded(&self, bytes: &[u8]) -> bool {
        self.short.iter().any(|secret| memmem::find(bytes, secret).is_some())
            || (!self.runs.is_empty() && runs_of(bytes).any(|run| self.runs.contains(&run)))
    }
}

/// The letters and digits of `bytes`, in small letters, and what is not of ASCII.
fn folded(bytes: &[u8]) -> Vec<u8> {
    let is_kept = |byte: &&u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    bytes.iter().filter(is_kept).map(u8::to_ascii_lowercase).collect()
}

fn runs_of(bytes: &[u8]) -> impl Iterator<Item = [u8; RUN]> {
    bytes.windows(RUN).filter_map(|run| run.try_into().ok())
}

/// What `digits` say in hexadecimal, with a zero for all that is none.
fn hexadecimal(digits: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok();
    digits.chunks_exact(2).map(|pair| byte(pair).unwrap_or_default()).collect()
}

/// What the Base64 in `text` may say, in either alphabet, wherever it begins. What stands between its digits is passed over.
fn base64_of(text: &[u8]) -> Vec<Vec<u8>> {
    let usual = |byte: &u8| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        byte if byte.is_ascii_alphanumeric() || b"+/".contains(byte) => Some(*byte),
        _ => None,
    };
    // The last digits may say less than a byte more.
    let digits: Vec<u8> = text.iter().filter_map(usual).chain(*b"AAA").collect();
    let from = |from: usize| {
        let rest = digits.get(from..)?;
        let whole = std::str::from_utf8(&rest[..rest.len() / 4 * 4]).ok()?;
        Base64Unpadded::decode_vec(whole).ok()
    };
    (0..4).filter_map(from).collect()
}

/// `text` without the escapes of JSON and of HTML.
fn unescaped(text: &str) -> String {
    const NAMED: [(&str, char); 5] = [("amp;", '&'), ("lt;", '<'), ("gt;", '>'), ("quot;", '"'), ("apos;", '\'')];
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '&']) {
        plain.push_str(&rest[..at]);
        let (mark, behind) = rest[at..].split_at(1);
        let escape = match mark {
            "\\" => json_escape(behind),
            _ => numbered(behind).or_else(|| NAMED.iter().find_map(|(name, c)| Some((*c, behind.strip_prefix(name)?)))),
        };
        match escape {
            Some((c, behind)) => {
                plain.push(c);
                rest = behind;
            }
            None => {
                plain.push_str(mark);
                rest = behind;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// What stands behind a backslash says, and what follows.
fn json_escape(text: &str) -> Option<(char, &str)> {
    let digits = |rest: &str, count: usize| {
        let code = u32::from_str_radix(rest.get(..count)?, 16).ok()?;
        // Half of a pair is no letter.
        Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), count))
    };
    let first = text.chars().next()?;
    let rest = &text[first.len_utf8()..];
    let (c, length) = match first {
        'u' => digits(rest, 4)?,
        'x' => digits(rest, 2)?,
        'n' | 'r' | 't' | 'b' | 'f' => (' ', 0),
        '"' | '\\' | '/' | '\'' => (first, 0),
        _ => return None,
    };
    Some((c, &rest[length..]))
}

/// What a numbered reference of HTML says, behind its `&`, and what follows. Browsers read one without its `;` too.
fn numbered(text: &str) -> Option<(char, &str)> {
    let number = text.strip_prefix('#')?;
    let (digits, radix) = number.strip_prefix(['x', 'X']).map_or((number, 10), |digits| (digits, 16));
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (code, rest) = digits.split_at(end);
    let c = char::from_u32(u32::from_str_radix(code, radix).ok()?)?;
    Some((c, rest.strip_prefix(';').unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Base64Url, Base64UrlUnpadded};

    use super::*;

    const TOKEN: &str = "hvs.CAESIJ-SecretTokenThatNobodyMaySee";

    fn said(text: &str, secrets: &[&str]) -> String {
        without_sent_secrets(60, text, secrets).to_string()
    }

    #[track_caller]
    fn is_withheld(text: &str, secret: &str) {
        assert_eq!(said(text, &["", secret]), SENT, "{text}");
    }

    fn hex(text: &str, between: &str) -> String {
        text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
    }

    #[test]
    fn what_repeats_a_part_of_a_long_secret_or_the_whole_of_a_short_one_is_not_shown() {
        is_withheld(&format!("no \"{TOKEN}\", x"), TOKEN);
        is_withheld("x=(SecretTokenThatNobody)", TOKEN);
        is_withheld("502 is p a!sz for\tyou", "p a!sz");
        is_withheld("502 is !?a for you", "!?a");
        for harmless in ["SecretToken", "permission denied", "502 is pasture", ""] {
            assert_eq!(said(harmless, &[TOKEN, "p a!sz", "!?a", "", " "]), harmless);
        }
    }

    #[test]
    fn a_secret_that_was_broken_or_changed_on_its_way_is_none_the_less_one() {
        let phrase = "correct horse battery staple!";
        for form in [
            "correct+horse+battery+staple%21",
            "correct horse\tbattery",
            "CORRECT_HORSE_BATTERY_STAPLE",
            "correct%2520horse%2520battery%2520staple",
            "correct\\u0020horse\\x20battery",
            "correct&nbsp;horse&#32;battery&#x20;staple",
            "correct&#32horse&#32b&#x61&#116&#0116;ery&#X20staple",
            "correcthorse batt erystaple",
        ] {
            is_withheld(&format!("no {form} here"), phrase);
        }
        for form in [r#"pa+ss!w&amp;&quot;ord&lt;x"#, r#"pa+ss!w&\"ord\u003cx"#, "pa%2Bss!w%26%22ord%3Cx"] {
            is_withheld(form, r#"pa+ss!w&"ord<x"#);
        }
        for encoded in ["p%20%c3%a4!sz", "p%20%C3%A4%21sz", "%70%20%C3%A4%21%73%7a"] {
            is_withheld(&format!("of user:{encoded} 100%"), "p ä!sz");
        }
        assert_eq!(said("a%20b", &["c"]), "a%20b");
    }

    #[test]
    fn a_secret_that_comes_back_in_base64_or_hexadecimal_is_none_the_less_one() {
        for before in ["", "a", "ab", "abc"] {
            let encoded = Base64::encode_string(format!("{before}{TOKEN}?").as_bytes());
            let groups: Vec<_> = encoded.as_bytes().chunks(10).map(String::from_utf8_lossy).collect();
            is_withheld(&format!("denied for {encoded} x"), TOKEN);
            is_withheld(&format!("denied for {} x", groups.join(" ")), TOKEN);
            is_withheld(&format!("b64={}", Base64::encode_string(encoded.as_bytes())), TOKEN);
        }
        is_withheld(&Base64Url::encode_string(TOKEN.as_bytes()), TOKEN);
        is_withheld(&Base64UrlUnpadded::encode_string(TOKEN.as_bytes()).replace('=', "%3D"), TOKEN);
        is_withheld(&format!("xy{}", hex(TOKEN, "")), TOKEN);
        is_withheld(&format!("\"{}\".", hex(TOKEN, ":").to_uppercase()), TOKEN);
        is_withheld(&format!("\\x{}", hex(TOKEN, "\\x")), TOKEN);
        is_withheld("user cGEhc3N3", "pa!ssw");
        let harmless = "of deadbeef0123 and aGVsbG8gd29ybGQ=";
        assert_eq!(said(harmless, &[TOKEN, "pa!ssw"]), harmless);
    }

    #[test]
    fn where_a_text_is_cut_off_no_part_of_a_secret_is_left() {
        let blanks = " ".repeat(MOST_READ - RUN + 1);
        assert_eq!(said(&format!("{blanks}{TOKEN}"), &[TOKEN]), "");
        let blanks = " ".repeat(MOST_READ / 2 - 11);
        is_withheld(&format!("{blanks}{TOKEN}"), TOKEN);
    }

    #[test]
    fn what_is_said_stays_short_and_on_one_line() {
        let long = said(&"x\u{202e}\n ".repeat(10_000), &["secret"]);
        assert!(long.len() < 200 && !long.contains('\u{202e}') && !long.contains('\n'), "{long}");
        for odd in ["\\", "&", "\\u12", "&#", "&#x110000;", "\\ud800", "100%", "%", "ä\\ä&ä"] {
            said(odd, &["secret"]);
        }
    }
}
