//! How a line of the log looks: a flat object for machines, text for people, or what Cloud Foundry's own components
//! write. What a client has said may stand in any of them, so nothing in a line can begin another one, or be obeyed by a
//! terminal.

mod json;

use std::ffi::OsStr;
use std::fmt;
use std::fmt::Write;
use std::io::IsTerminal;

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use self::json::JsonFields;
use crate::config::LogFormat;
use crate::diagnostics::{LONGEST_FIELD, bounded, escape};

/// Where the fields begin in text, where the message is short enough.
const COLUMN: usize = 24;

/// The form of the lines.
#[derive(Debug, Clone)]
pub(super) struct LineFormat {
    format: LogFormat,
    colour: bool,
}

impl LineFormat {
    /// As told, or as fits stderr.
    pub(super) fn of(format: Option<LogFormat>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let format = format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
        Self { format, colour: is_coloured(terminal, std::env::var_os("NO_COLOR").as_deref()) }
    }

    /// The line in the place of `dropped` others.
    pub(super) fn gap(&self, dropped: u64) -> String {
        const MESSAGE: &str = "log lines dropped: stderr was not read";
        let (mut line, time, level) = (String::new(), Timestamp::now(), Level::WARN);
        // A string takes whatever is written.
        let _ = match self.format {
            LogFormat::Json => JsonFields::of(MESSAGE, "dropped", dropped).write_flat(&mut line, time, level),
            LogFormat::Lager => JsonFields::of(MESSAGE, "dropped", dropped).write_lager(&mut line, time, level),
            LogFormat::Text => {
                let fields = TextFields { message: MESSAGE.to_owned(), others: vec![("dropped", dropped.into())] };
                text(&mut line, time, level, &fields, self.colour)
            }
        };
        line
    }
}

/// See no-color.org: set and not empty means no.
fn is_coloured(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (time, level) = (Timestamp::now(), *event.metadata().level());
        match self.format {
            LogFormat::Json => recorded::<JsonFields>(event).write_flat(&mut writer, time, level),
            LogFormat::Lager => recorded::<JsonFields>(event).write_lager(&mut writer, time, level),
            LogFormat::Text => text(&mut writer, time, level, &recorded(event), self.colour),
        }
    }
}

/// The fields of `event`.
fn recorded<F: Default + Visit>(event: &Event<'_>) -> F {
    let mut fields = F::default();
    event.record(&mut fields);
    fields
}

/// Time of day (UTC), level and message in columns, then the fields.
fn text(writer: &mut impl Write, time: Timestamp, level: Level, fields: &TextFields, colour: bool) -> fmt::Result {
    let (on, off) = match (colour, level) {
        (false, _) => ("", ""),
        (true, Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
        (true, Level::WARN) => ("\x1b[33m", "\x1b[0m"),
        (true, Level::INFO) => ("\x1b[32m", "\x1b[0m"),
        (true, _) => ("\x1b[2m", "\x1b[0m"),
    };
    let time = time.strftime("%H:%M:%S%.3f");
    let message = plain(&fields.message);
    write!(writer, "{time} {on}{:<5}{off} ", level.as_str().to_ascii_lowercase())?;
    // No blanks at the end of a line.
    if fields.others.is_empty() {
        write!(writer, "{message}")?
    } else {
        write!(writer, "{message:<COLUMN$}")?
    }
    for (name, value) in &fields.others {
        let value = match value {
            // As JSON writes it, so that it is seen where it ends.
            Value::String(text) if text.contains([' ', '"', '=']) || text.is_empty() => plain(&value.to_string()),
            Value::String(text) => plain(text),
            value => value.to_string(),
        };
        write!(writer, " {name}={value}")?;
    }
    writer.write_char('\n')
}

/// `text` on one line: what a terminal would obey is shown, and does nothing.
fn plain(text: &str) -> String {
    text.chars().flat_map(escape).collect()
}

/// An event's fields, in their order.
#[derive(Default)]
struct TextFields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

/// Every text is bounded here, whoever has written it: no client and no certificate makes a line long.
impl TextFields {
    fn say(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let value = bounded(LONGEST_FIELD, value);
        if field.name() == "message" {
            self.message = value;
        } else {
            self.add(field, value);
        }
    }

    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.push((field.name(), value.into()));
    }
}

impl Visit for TextFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.say(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.say(field, format_args!("{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

#[cfg(test)]
pub(super) mod tests;
