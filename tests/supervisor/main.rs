//! The app as our child, seen from outside: the real binary as `vestibule run -- COMMAND`.

#![allow(clippy::unwrap_used, reason = "a test fails by it, with the line")]

mod orphans;
mod process;
mod signals;
mod state;
mod statuses;
mod terminal;
