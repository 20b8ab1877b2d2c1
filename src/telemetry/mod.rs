//! What an operator sees.

mod counters;
mod limiter;
mod lines;
mod log;
mod record;

pub use counters::Counters;
pub(crate) use lines::plain;
pub use log::change_log_level;
pub use log::log_level;
pub use log::start_logging;
pub use log::start_logging_beside;
pub use record::RECORD_TARGET;
pub use record::Record;
