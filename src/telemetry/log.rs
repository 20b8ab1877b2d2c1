//! Log lines: JSON for machines, text for people. Always on stderr; stdout is the app's.

use std::fmt;
use std::io::IsTerminal;

use jiff::Timestamp;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::Value;
use tracing::Event;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::FormatEvent;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use crate::config::Log;
use crate::config::LogFormat;
use crate::config::LogLevel;

/// Starts logging for the process. Called once; a second call changes nothing.
pub fn start_logging(log: &Log) {
    let started = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level_filter(log.level))
        .event_format(Lines::of(log))
        .finish();
    // Only a second call fails: then the first one's settings stay.
    let _ = tracing::subscriber::set_global_default(started);
}

/// As [`start_logging`], with another reader of the events beside the log. What that one sees is for its own filter to
/// say, not for the log's level.
pub fn start_logging_beside(log: &Log, reader: impl Layer<Registry> + Send + Sync) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .event_format(Lines::of(log))
        .with_filter(level_filter(log.level));
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(reader).with(lines));
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

struct Lines {
    format: LogFormat,
    colour: bool,
}

impl Lines {
    fn of(log: &Log) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let format = log.format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, colour }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        match self.format {
            LogFormat::Json => write_json(writer, level, fields),
            LogFormat::Text => write_text(writer, level, &fields, self.colour),
        }
    }
}

/// One flat object: time (RFC 3339, UTC), level, message, then the event's own fields.
fn write_json(mut writer: Writer<'_>, level: tracing::Level, fields: Fields) -> fmt::Result {
    let line = serde_json::to_string(&Line { level, fields }).map_err(|_| fmt::Error)?;
    writeln!(writer, "{line}")
}

struct Line {
    level: tracing::Level,
    fields: Fields,
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("timestamp", &format_args!("{:.6}", Timestamp::now()))?;
        line.serialize_entry("level", &self.level.as_str().to_ascii_lowercase())?;
        line.serialize_entry("message", &self.fields.message)?;
        for (name, value) in &self.fields.others {
            line.serialize_entry(name, value)?;
        }
        line.end()
    }
}

fn write_text(mut writer: Writer<'_>, level: tracing::Level, fields: &Fields, colour: bool) -> fmt::Result {
    let (on, off) = match (colour, level) {
        (false, _) => ("", ""),
        (true, tracing::Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
        (true, tracing::Level::WARN) => ("\x1b[33m", "\x1b[0m"),
        (true, tracing::Level::INFO) => ("\x1b[32m", "\x1b[0m"),
        (true, _) => ("\x1b[2m", "\x1b[0m"),
    };
    let time = Timestamp::now().strftime("%H:%M:%S%.3f");
    write!(writer, "{time} {on}{:<5}{off} {}", level.as_str().to_ascii_lowercase(), Plain(&fields.message))?;
    for (name, value) in &fields.others {
        match value {
            Value::String(text) if text.contains([' ', '"', '=']) || text.is_empty() => {
                write!(writer, " {name}={}", Value::String(text.clone()))?;
            }
            Value::String(text) => write!(writer, " {name}={}", Plain(text))?,
            value => write!(writer, " {name}={value}")?,
        }
    }
    writeln!(writer)
}

/// Text for a terminal: control characters, which could come from a client, are shown and do nothing.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

/// An event's fields, in their order.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
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
