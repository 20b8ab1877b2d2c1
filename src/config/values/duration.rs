//! Durations as people write them: `10s`, `500ms`, `1m 30s`, `1h`.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;

use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;

/// What a duration may be, both ends included.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The shortest, as it is written.
    pub least: (Duration, &'static str),
    /// The longest, as it is written.
    pub most: (Duration, &'static str),
}

impl Range {
    const NONE: (Duration, &'static str) = (Duration::ZERO, "0s");
    const MILLISECOND: (Duration, &'static str) = (Duration::from_millis(1), "1ms");
    const SECOND: (Duration, &'static str) = (Duration::from_secs(1), "1s");
    const TEN_SECONDS: (Duration, &'static str) = (Duration::from_secs(10), "10s");
    const FIVE_MINUTES: (Duration, &'static str) = (Duration::from_secs(300), "5m");
    const TEN_MINUTES: (Duration, &'static str) = (Duration::from_secs(600), "10m");
    const HOUR: (Duration, &'static str) = (Duration::from_secs(3600), "1h");
    const DAY: (Duration, &'static str) = (Duration::from_secs(24 * 3600), "24h");
    const MONTH: (Duration, &'static str) = (Duration::from_secs(30 * 24 * 3600), "720h");
    const TEN_YEARS: (Duration, &'static str) = (Duration::from_secs(3650 * 24 * 3600), "87600h");

    /// For a step of a connection.
    pub const A_MILLISECOND_TO_TEN_MINUTES: Self = Self { least: Self::MILLISECOND, most: Self::TEN_MINUTES };
    /// For the life of a connection.
    pub const A_MILLISECOND_TO_A_MONTH: Self = Self { least: Self::MILLISECOND, most: Self::MONTH };
    /// For what a body or an answer may take.
    pub const A_MILLISECOND_TO_A_DAY: Self = Self { least: Self::MILLISECOND, most: Self::DAY };
    /// For something that may be skipped.
    pub const ZERO_TO_AN_HOUR: Self = Self { least: Self::NONE, most: Self::HOUR };
    /// For a token.
    pub const TEN_SECONDS_TO_AN_HOUR: Self = Self { least: Self::TEN_SECONDS, most: Self::HOUR };
    /// For what is wrapped until somebody has fetched it.
    pub const A_SECOND_TO_AN_HOUR: Self = Self { least: Self::SECOND, most: Self::HOUR };
    /// For the end of long downloads.
    pub const ZERO_TO_A_DAY: Self = Self { least: Self::NONE, most: Self::DAY };
    /// For what is looked at now and then.
    pub const A_SECOND_TO_A_DAY: Self = Self { least: Self::SECOND, most: Self::DAY };
    /// For the difference between two clocks.
    pub const ZERO_TO_FIVE_MINUTES: Self = Self { least: Self::NONE, most: Self::FIVE_MINUTES };
    /// For the issuer's rotation.
    pub const A_MILLISECOND_TO_TEN_YEARS: Self = Self { least: Self::MILLISECOND, most: Self::TEN_YEARS };
    /// For a certificate, whose dates know no fractions.
    pub const A_SECOND_TO_TEN_YEARS: Self = Self { least: Self::SECOND, most: Self::TEN_YEARS };
}

/// A duration with its unit.
pub fn duration(text: &str, between: &Range) -> Result<Duration, Problem> {
    const PARSER: SpanParser = SpanParser::new();
    let Ok(duration) = PARSER.parse_unsigned_duration(text) else {
        return Err(not_a_duration(text, between));
    };
    let (least, most) = (between.least, between.most);
    if duration < least.0 {
        return Err(Problem::new(format!("{} is too short", quote(text)), format!("write at least {}", least.1)));
    }
    if duration > most.0 {
        return Err(Problem::new(format!("{} is too long", quote(text)), format!("write at most {}", most.1)));
    }
    Ok(duration)
}

/// A duration, or `off`.
pub fn duration_or_off(text: &str, between: &Range) -> Result<Option<Duration>, Problem> {
    if text == "off" {
        return Ok(None);
    }
    // `0` means "never" to some programs and "at once" to others, so we say which.
    if PLAIN_ZERO.contains(&text) {
        return Err(Problem::new(format!("{} is too short", quote(text)), "write off for no limit"));
    }
    duration(text, between).map(Some)
}

const PLAIN_ZERO: [&str; 3] = ["0", "0s", "0ms"];

fn not_a_duration(text: &str, between: &Range) -> Problem {
    let digits = !text.is_empty() && text.len() < 7 && text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "0" => Problem::new("\"0\" has no unit", format!("write {}", between.least.1)),
        _ if digits => Problem::new(format!("\"{text}\" has no unit"), format!("write {text}s or {text}ms")),
        "off" => Problem::new("cannot be off", "write a duration such as 10s, 500ms, 1m 30s or 1h"),
        _ => Problem::new(format!("{} is not a duration", quote(text)), "write it like 10s, 500ms, 1m 30s or 1h"),
    }
}

/// How long a token of ours may live.
pub fn token_ttl(text: &str) -> Result<Duration, Problem> {
    duration(text, &Range::TEN_SECONDS_TO_AN_HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Range = Range::A_MILLISECOND_TO_TEN_MINUTES;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, milliseconds) in
            [("10s", 10_000), ("500ms", 500), ("1m 30s", 90_000), ("1m30s", 90_000), ("1.5s", 1500), ("10m", 600_000)]
        {
            assert_eq!(duration(text, &STEP), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(duration("24h", &Range::ZERO_TO_A_DAY), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("0s", &Range::ZERO_TO_A_DAY), Ok(Duration::ZERO));
    }

    #[test]
    fn off_is_a_duration_only_where_it_may_be() {
        assert_eq!(duration_or_off("off", &STEP), Ok(None));
        assert_eq!(duration_or_off("2s", &STEP), Ok(Some(Duration::from_secs(2))));
    }

    #[test]
    fn each_diagnostic_has_its_help() {
        let step = |text: &str| duration(text, &STEP).unwrap_err().to_string();
        assert_eq!(step("10"), "\"10\" has no unit; write 10s or 10ms");
        assert_eq!(step("0"), "\"0\" has no unit; write 1ms");
        assert_eq!(step("0s"), "\"0s\" is too short; write at least 1ms");
        assert_eq!(step("11m"), "\"11m\" is too long; write at most 10m");
        assert_eq!(step("off"), "cannot be off; write a duration such as 10s, 500ms, 1m 30s or 1h");
        for text in ["", "soon", "5d", "-3s", "3s ago", "1mo"] {
            let shown = format!("{text:?} is not a duration; write it like 10s, 500ms, 1m 30s or 1h");
            assert_eq!(step(text), shown);
        }
        let never = duration_or_off("0", &STEP).unwrap_err().to_string();
        assert_eq!(never, "\"0\" is too short; write off for no limit");
    }
}
