//! The life of the process: where it stands, who still works, and what must never end early.

mod drain;
mod health;
mod outbound_health;
mod phase;
mod readiness;
mod request;
mod tasks;

pub use drain::{DrainGuard, DrainGuards, OpenGuards};
pub use health::{Health, HealthState};
pub use outbound_health::{OutboundHealth, OutboundReadiness};
pub use phase::Phase;
pub use readiness::{Check, CheckStatus, Readiness, SecretsStep, Validity};
pub use request::ControlRequest;
pub use tasks::Tasks;
