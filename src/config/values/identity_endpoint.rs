//! For whom tokens may be asked, and how often.

use std::ops::RangeInclusive;

use super::{address, number, outbound_listen};
use crate::config::identity_endpoint::MAX_AUDIENCE_BYTES;
use crate::config::outbound::OutboundListen;
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;

/// As [`outbound_listen`], or `off`.
pub fn outbound_listen_or_off(text: &str) -> Result<Option<OutboundListen>, Problem> {
    if text == "off" { Ok(None) } else { outbound_listen(text).map(Some) }
}

/// For whom a token is (RFC 7519, section 4.1.3): compared as it is, so that there is no pattern.
pub fn audience(text: &str) -> Result<String, Problem> {
    const EXAMPLES: &str = "write what the receiver calls itself, such as vault or https://billing.example.com";
    if text.is_empty() || text.trim() != text || text.chars().any(char::is_control) {
        return Err(Problem::new(format!("{} is not an audience", quote(text)), EXAMPLES));
    }
    if text.contains('*') {
        return Err(Problem::new(format!("{} has a * in it, and is no pattern", quote(text)), "list each audience"));
    }
    if text.len() > MAX_AUDIENCE_BYTES {
        let what = format!("{} is {} bytes long", quote(text), text.len());
        return Err(Problem::new(what, format!("an audience has at most {MAX_AUDIENCE_BYTES} bytes")));
    }
    Ok(text.to_owned())
}

/// How often a second somebody may ask.
const RATES: RangeInclusive<u32> = 1..=1000;

/// `10/s`: so often a second.
pub fn rate(text: &str) -> Result<u32, Problem> {
    let Some(times) = text.strip_suffix("/s") else {
        let help = match address::digits(text) {
            Some(_) => number(text, &RATES).map(|_| format!("write {text}/s"))?,
            None => "write a number of signatures a second, such as 10/s".to_owned(),
        };
        return Err(Problem::new(format!("{} is not a rate", quote(text)), help));
    };
    number(times, &RATES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_a_text_and_no_pattern() {
        assert_eq!(audience("https://a.example/x?y=z"), Ok("https://a.example/x?y=z".to_owned()));
        for text in ["", " a", "a\n", "*", "https://*.example", &"x".repeat(257)] {
            assert!(audience(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_says_its_unit() {
        assert_eq!(rate("10/s"), Ok(10));
        assert_eq!(rate("10").unwrap_err().to_string(), "\"10\" is not a rate; write 10/s");
        assert_eq!(rate("0").unwrap_err().to_string(), rate("0/s").unwrap_err().to_string());
        for text in ["", "/s", "0/s", "-1/s", "1001/s", "10/m", "1.5/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
