//! What is logged, and in which form.

use strum::{EnumString, FromRepr, IntoStaticStr, VariantArray};

/// What is written to stderr, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `None`: text on a terminal, else JSON.
    pub format: Option<LogFormat>,
    /// The least severe level that is written.
    pub level: LogLevel,
    /// Which connections leave a line.
    pub access: AccessLogFilter,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One flat object a line, for machines.
    Json,
    /// The object that Cloud Foundry's own components write, as lager's RFC 3339 form has it.
    Lager,
}

/// Severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr, EnumString, FromRepr)]
#[strum(serialize_all = "lowercase")]
#[repr(u8)]
pub enum LogLevel {
    /// Nothing is written.
    Off,
    /// We or the operator must act.
    Error,
    /// Something will need attention.
    Warn,
    /// What an operator did or must know.
    Info,
    /// Why something happened.
    Debug,
    /// Every step.
    Trace,
}

/// Which connections leave an entry in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum AccessLogFilter {
    /// None.
    Off,
    /// Those that did not get through to the app.
    Denied,
    /// All.
    All,
}

impl LogLevel {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
