//! The life of the process: where it stands, who still works, and what must never end early.

mod drain;
mod phase;
mod readiness;
mod tasks;

pub use drain::DrainGuard;
pub use drain::DrainGuards;
pub use drain::OpenGuards;
pub use phase::Phase;
pub use readiness::Check;
pub use readiness::CheckStatus;
pub use readiness::Readiness;
pub use readiness::Validity;
pub use readiness::describe_upstream;
pub use tasks::Tasks;
