//! What is said of outbound connections: their access log entries and their counters.

mod close_reason;
mod counters;
mod entry;

pub use close_reason::OutboundCloseReason;
pub use counters::{AttemptResult, EndpointCounts, OutboundCounters, RequestMode, ResolveResult};
pub use entry::{CutReason, OUTBOUND_FIELDS, OutboundLogEntry, RequestFields};
