//! What is counted and logged of the requests of clients, where a listener speaks HTTP.

mod counters;
mod entry;
mod reason;

pub use counters::{CallerSource, GoawayReason, MethodLabel, RequestCounters, StrippedField};
pub use entry::{REQUEST_FIELDS, RequestEntryFields, RequestLogEntry};
pub use reason::RequestReason;
