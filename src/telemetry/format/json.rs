//! Lines for machines. Each is written field by field as an event tells of them: with one for each request, a tree of values
//! first, or memory for each field, would cost more than what the line says.

use std::fmt;
use std::fmt::{Debug, Write};

use jiff::Timestamp;
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::diagnostics::{LONGEST_FIELD, is_obeyed};

/// Who writes, in lager's form.
const SOURCE: &str = env!("CARGO_PKG_NAME");

/// Room for the fields of most lines, in bytes.
const USUAL_LENGTH: usize = 512;

/// An event's fields as members of an object, in their order, and its message, in quotes.
///
/// Every text is bounded here, whoever has written it: no client and no certificate makes a line long.
pub(super) struct JsonFields {
    message: String,
    /// Each with a comma in front.
    members: String,
}

impl Default for JsonFields {
    fn default() -> Self {
        Self { message: "\"\"".to_owned(), members: String::with_capacity(USUAL_LENGTH) }
    }
}

impl JsonFields {
    /// Those of a line of our own.
    pub(super) fn of(message: &str, name: &str, value: u64) -> Self {
        let mut fields = Self::default();
        fields.message.clear();
        quote(&mut fields.message, message, |text, message| text.write_str(message));
        fields.member(name, itoa::Buffer::new().format(value));
        fields
    }

    fn member(&mut self, name: &str, value: &str) {
        self.name(name);
        self.members.push_str(value);
    }

    fn name(&mut self, name: &str) {
        // Names are our own: there is nothing to escape.
        for part in [",\"", name, "\":"] {
            self.members.push_str(part);
        }
    }

    fn text<T>(&mut self, field: &Field, value: T, write: fn(&mut JsonText<'_>, T) -> fmt::Result) {
        if field.name() == "message" {
            self.message.clear();
            quote(&mut self.message, value, write);
        } else {
            self.name(field.name());
            quote(&mut self.members, value, write);
        }
    }

    /// One flat object: time (RFC 3339, UTC), level, message, then the event's own fields.
    pub(super) fn write_flat(&self, writer: &mut impl Write, time: Timestamp, level: Level) -> fmt::Result {
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        write!(writer, "{{\"timestamp\":\"{time:.6}\",\"level\":\"{level}\",\"message\":")?;
        for part in [self.message.as_str(), &self.members, "}\n"] {
            writer.write_str(part)?;
        }
        Ok(())
    }

    /// What lager writes when it is set to RFC 3339 (`code.cloudfoundry.org/lager`): the same five members in each line, and the
    /// fields in `data`.
    pub(super) fn write_lager(&self, writer: &mut impl Write, time: Timestamp, level: Level) -> fmt::Result {
        let (message, level) = (self.message.strip_prefix('"').unwrap_or_default(), lager_level(level));
        write!(writer, "{{\"timestamp\":\"{time:.9}\",\"source\":\"{SOURCE}\",\"message\":\"{SOURCE}.{message}")?;
        let members = self.members.strip_prefix(',').unwrap_or_default();
        writeln!(writer, ",\"level\":\"{level}\",\"data\":{{{members}}}}}")
    }
}

/// lager has debug, info, error and fatal. Its adapter for Go's own logger makes errors of warnings, and so do we.
fn lager_level(level: Level) -> &'static str {
    match level {
        Level::ERROR | Level::WARN => "error",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

impl Visit for JsonFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value, |text, value| text.write_str(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, value, |text, value| write!(text, "{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field.name(), itoa::Buffer::new().format(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field.name(), itoa::Buffer::new().format(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.member(field.name(), zmij::Buffer::new().format_finite(value)),
            // It is no number in JSON.
            false => self.member(field.name(), "null"),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field.name(), if value { "true" } else { "false" });
    }
}

/// Writes `value` by `write` to the end of `into`, as a string of JSON.
fn quote<T>(into: &mut String, value: T, write: fn(&mut JsonText<'_>, T) -> fmt::Result) {
    into.push('"');
    let mut text = JsonText { into, remaining: LONGEST_FIELD, lost: 0 };
    // An error is that of whoever writes itself: what it has written so far is kept.
    let _ = write(&mut text, value);
    let lost = text.lost;
    if lost > 0 {
        // A string takes whatever is written.
        let _ = write!(into, "… ({lost} more)");
    }
    into.push('"');
}

/// The inside of a string of JSON. Takes characters until there is no room for one, and counts the others.
struct JsonText<'a> {
    into: &'a mut String,
    remaining: usize,
    lost: usize,
}

impl JsonText<'_> {
    fn take(&mut self, c: char) {
        let Some(remaining) = self.remaining.checked_sub(1) else {
            self.lost += 1;
            return;
        };
        self.remaining = remaining;
        let escape = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{8}' => "\\b",
            '\t' => "\\t",
            '\n' => "\\n",
            '\u{c}' => "\\f",
            '\r' => "\\r",
            // All that JSON forbids, and more. Beyond the first 65,536 there is none.
            c if is_obeyed(c) => {
                // A string takes whatever is written.
                let _ = write!(self.into, "\\u{:04x}", u32::from(c));
                return;
            }
            c => return self.into.push(c),
        };
        self.into.push_str(escape);
    }
}

impl Write for JsonText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        // Nearly every text is, and then a byte is a character.
        if text.len() <= self.remaining && text.bytes().all(is_plain) {
            self.into.push_str(text);
            self.remaining -= text.len();
        } else {
            text.chars().for_each(|c| self.take(c));
        }
        Ok(())
    }
}
