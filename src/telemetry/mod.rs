//! What an operator sees: log lines, records, counters, metrics.

mod access_log;
mod bounded_counter;
mod counters;
mod denials;
mod format;
mod histogram;
mod history;
mod limiter;
mod log;
pub(crate) mod log_writer;
mod metrics;
mod sanitize;
mod verdict;

pub use access_log::ACCESS_LOG_TARGET;
pub use access_log::AccessLogEntry;
pub use access_log::FIELDS;
pub use counters::ClientConnections;
pub use counters::Counters;
pub use denials::Denied;
pub use denials::DeniedClient;
pub use history::BUCKET;
pub use history::Bucket;
pub use log::change_log_level;
pub use log::log_level;
pub use log::start_logging;
pub use log::start_logging_beside;
pub use metrics::METRICS;
pub use metrics::Metric;
pub use metrics::Metrics;
pub(crate) use sanitize::LONGEST_FIELD;
pub(crate) use sanitize::LONGEST_LINE;
pub use sanitize::SafeText;
pub(crate) use sanitize::bounded;
