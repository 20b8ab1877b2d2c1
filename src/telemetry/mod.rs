//! What an operator sees: log lines, records, counters, metrics.

mod brief;
mod counters;
mod course;
mod denials;
mod few;
mod histogram;
mod limiter;
mod lines;
mod log;
pub(crate) mod log_writer;
mod metrics;
mod record;
mod verdict;

pub use brief::Brief;
pub(crate) use brief::LONGEST_FIELD;
pub(crate) use brief::LONGEST_LINE;
pub(crate) use brief::bounded;
pub use counters::Calls;
pub use counters::Counters;
pub use course::PIECE;
pub use course::Piece;
pub use denials::Caller;
pub use denials::Denied;
pub use log::change_log_level;
pub use log::log_level;
pub use log::start_logging;
pub use log::start_logging_beside;
pub use metrics::METRICS;
pub use metrics::Metric;
pub use metrics::Metrics;
pub use record::FIELDS;
pub use record::RECORD_TARGET;
pub use record::Record;
