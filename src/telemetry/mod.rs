//! What an operator sees.

mod counters;
mod limiter;
mod log;
mod record;

pub use counters::Counters;
pub use log::start_logging;
pub use log::start_logging_beside;
pub use record::RECORD_TARGET;
pub use record::Record;
