//! Times as people read them, and paths as shells do.

use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::diagnostics::{LONGEST_LINE, SafeText};

/// RFC 3339 in UTC, to the second.
pub(super) fn timestamp(time: SystemTime) -> String {
    match Timestamp::try_from(time).and_then(|time| Timestamp::from_second(time.as_second())) {
        Ok(time) => time.to_string(),
        // The last day that X.509 can write, which says that a certificate never expires (RFC 5280, 4.1.2.5), lies
        // just beyond what the library can.
        Err(_) => "9999-12-31T23:59:59Z".to_owned(),
    }
}

/// The two largest units that are not zero: `23h 30m`, `7m`, `450ms`.
pub(super) fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let largest = units.iter().skip_while(|(count, _)| *count == 0).take(2);
    let text: Vec<String> =
        largest.filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { format!("{}ms", length.as_millis()) } else { text.join(" ") }
}

/// A path as one word of a shell.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// `text` on one line, with nothing in it that a terminal would obey: it may come from a file's name, a certificate or a
/// client.
pub(super) fn one_line(text: &str) -> String {
    SafeText::up_to(LONGEST_LINE, text).to_string()
}

#[cfg(test)]
mod tests {
    use super::{duration, one_line, quoted, timestamp};
    use std::path::Path;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [
            (84_600, "23h 30m"),
            (420, "7m"),
            (3601, "1h"),
            (86_400 * 1825 + 1, "1825d"),
            (90_061, "1d 1h"),
            (59, "59s"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(duration(Duration::from_millis(450)), "450ms");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(one_line("the app's \n\u{1b}[2J ü"), "the app's \\n\\u{1b}[2J ü");
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/tmp/a-1.crt")), "/tmp/a-1.crt");
        assert_eq!(quoted(Path::new("/tmp/it's; $HOME")), r"'/tmp/it'\''s; $HOME'");
    }

    #[test]
    fn timestamps_have_whole_seconds_and_no_limit_that_x509_lacks() {
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_millis(1_500)), "1970-01-01T00:00:01Z");
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(253_402_300_799)), "9999-12-31T23:59:59Z");
    }
}
