//! What an operator sees: log lines, access log entries, counters, metrics.

mod access_log;
mod addr_text;
mod app_files;
mod bounded_counter;
mod close_reason;
mod counters;
mod denials;
mod format;
mod histogram;
mod history;
mod limiter;
mod log;
pub(crate) mod log_writer;
mod outbound;
mod requests;
mod secrets;
mod tokens;
mod vault;
mod verdict;

pub use access_log::{ACCESS_LOG_TARGET, AccessLogEntry, FIELDS};
pub use app_files::{AppFileCounters, AppFileForm, AppFileState, HookResult};
pub(crate) use bounded_counter::Counts;
pub use close_reason::CloseReason;
pub use counters::{ClientConnections, Counters};
pub(crate) use counters::{HandshakeFailure, HandshakeKind, ListenerRequests};
pub use denials::{Denied, DeniedClient};
pub(crate) use histogram::HistogramSnapshot;
pub use history::{BUCKET, Bucket};
pub use log::{
    change_log_level, log_level, start_log_thread, start_logging, start_logging_beside, start_logging_without_thread,
};
pub use outbound::{
    AttemptResult, CutReason, EndpointCounts, OUTBOUND_FIELDS, OutboundCloseReason, OutboundCounters, OutboundLogEntry,
    RequestFields, RequestMode, ResolveResult,
};
pub use requests::{
    CallerSource, GoawayReason, MethodLabel, REQUEST_FIELDS, RequestCounters, RequestEntryFields, RequestLogEntry,
    RequestReason, StrippedField,
};
pub use secrets::{SecretCounters, SecretResult};
pub use tokens::{TokenCounters, TokenRequestResult};
pub use vault::{VaultCounters, VaultTokenTimes};
pub(crate) use verdict::Verdict;
