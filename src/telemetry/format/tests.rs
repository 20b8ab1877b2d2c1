use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::diagnostics::is_obeyed;

/// What was written, by whoever has a clone.
#[derive(Clone, Default)]
pub(in crate::telemetry) struct SharedOutput(Arc<Mutex<Vec<u8>>>);

impl SharedOutput {
    /// What was written since this was last asked.
    pub(in crate::telemetry) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl io::Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written while `speak` runs.
fn written(format: LogFormat, colour: bool, speak: impl FnOnce()) -> String {
    let written = SharedOutput::default();
    let writer = written.clone();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .event_format(LineFormat { format, colour });
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), speak);
    written.take()
}

/// A line without its time, which is checked.
#[track_caller]
fn untimed(line: &str, length: usize) -> String {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
    let time = time.as_str().unwrap();
    assert!(time.parse::<Timestamp>().is_ok() && time.len() == length && time.ends_with('Z'), "{time}");
    line.to_string()
}

fn all_kinds() {
    tracing::info!(generation = 7, skipped = true, ratio = 0.5, back = -1, peer = "10.0.0.1:1", "rotated");
}

#[test]
fn the_three_forms_have_the_same_fields() {
    assert_eq!(
        untimed(&written(LogFormat::Json, false, all_kinds), "2026-01-01T00:00:00.000000Z".len()),
        json!({ "level": "info", "message": "rotated", "generation": 7, "skipped": true, "ratio": 0.5, "back": -1,
            "peer": "10.0.0.1:1" })
        .to_string()
    );
    assert_eq!(
        untimed(&written(LogFormat::Lager, false, all_kinds), "2026-01-01T00:00:00.000000000Z".len()),
        json!({ "source": "vestibule", "message": "vestibule.rotated", "level": "info",
            "data": { "generation": 7, "skipped": true, "ratio": 0.5, "back": -1, "peer": "10.0.0.1:1" } })
        .to_string()
    );
    let text = written(LogFormat::Text, false, all_kinds);
    assert_eq!(
        text.split_once(' ').unwrap().1,
        "info  rotated                  generation=7 skipped=true ratio=0.5 back=-1 peer=10.0.0.1:1\n"
    );
}

#[test]
fn lager_has_four_levels_and_always_its_five_members() {
    let lines = written(LogFormat::Lager, false, || {
        tracing::error!("a");
        tracing::warn!("b");
        tracing::info!("c");
        tracing::debug!("d");
        tracing::trace!("e");
    });
    let levels: Vec<_> = lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line.as_object().unwrap().len(), 5, "{line}");
            assert_eq!(line["data"], json!({}));
            line["level"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(levels, ["error", "error", "info", "debug", "debug"]);
}

#[test]
fn nothing_that_a_client_says_begins_a_line_or_is_obeyed_by_a_terminal() {
    let hostile = "a\r\n{\"level\":\"info\"} \u{1b}[2J\u{9b}2J\u{7f}\u{85}\u{2028}\u{202e}\u{2066}\u{0}\t\u{200f}";
    for format in [LogFormat::Json, LogFormat::Lager, LogFormat::Text] {
        // With and without a blank in it: text quotes the one and not the other.
        for said in [hostile.to_owned(), hostile.replace([' ', '"'], "")] {
            let line = written(format, false, || tracing::info!(subject = said, "{said}"));
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(!line.trim_end_matches('\n').chars().any(is_obeyed), "{line:?}");
        }
    }
    let line = written(LogFormat::Json, false, || tracing::info!(subject = hostile, "x"));
    let read: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(read["subject"], hostile, "whoever reads the JSON finds what was said");
}

#[test]
fn no_text_of_others_makes_a_line_long_and_where_it_was_cut_is_said() {
    let long = "\u{202e}".repeat(14_000);
    for format in [LogFormat::Json, LogFormat::Lager, LogFormat::Text] {
        let line = written(format, false, || {
            tracing::info!(subject = long, rule = %long, causes = ?[&long, &long], absent = None::<&str>, "{long}");
        });
        assert!(line.len() < 4 * 16 * 1024, "{}", line.len());
        assert_eq!(line.matches("… (12976 more)").count(), 3, "{}", line.len());
    }
    let line = written(LogFormat::Json, false, || tracing::info!(subject = long, "x"));
    let read: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(read["subject"], long.chars().take(1024).collect::<String>() + "… (12976 more)");
    let fits = "x".repeat(1024);
    let line = written(LogFormat::Json, false, || tracing::info!(subject = fits, "x"));
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["subject"], fits);
}

#[test]
fn a_value_in_text_is_seen_to_end() {
    let line = written(LogFormat::Text, false, || tracing::info!(rule = "a b=c", empty = "", "denied"));
    assert!(line.ends_with(" rule=\"a b=c\" empty=\"\"\n"), "{line:?}");
    let line = written(LogFormat::Text, false, || tracing::info!("no fields"));
    assert!(line.ends_with("info  no fields\n"), "{line:?}");
}

#[test]
fn colour_is_for_terminals_and_no_color_is_honoured() {
    assert!(is_coloured(true, None) && is_coloured(true, Some(OsStr::new(""))));
    assert!(!is_coloured(true, Some(OsStr::new("1"))) && !is_coloured(false, None));
    let line = written(LogFormat::Text, true, || tracing::warn!("look"));
    assert!(line.contains(" \u{1b}[33mwarn \u{1b}[0m look\n"), "{line:?}");
    assert!(!written(LogFormat::Text, false, || tracing::warn!("look")).contains('\u{1b}'));
}
