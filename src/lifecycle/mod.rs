//! The life of the process: where it stands, who still works, and what must never end early.

mod drain;
mod phase;
mod ready;
mod tasks;

pub use drain::Guard;
pub use drain::Guards;
pub use drain::Remaining;
pub use phase::Phase;
pub use ready::Part;
pub use ready::Readiness;
pub use ready::Standing;
pub use ready::Validity;
pub use ready::how;
pub use tasks::Tasks;
