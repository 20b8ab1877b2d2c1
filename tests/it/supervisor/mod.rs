//! The app as our child, seen from outside: the real binary as `vestibule run -- COMMAND`.

mod orphans;
mod process;
mod signals;
mod state;
mod statuses;
mod terminal;
