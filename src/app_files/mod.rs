//! Files for the app: tokens and parts of the pair in service, each kept fresh in a file that somebody else reads.
//!
//! ```text
//! prepare (at the start)  →  AppFileWriter::run: pair → contents → sys::atomic_file  →  AppFileWriter::in_place (for hooks)
//! ```
//!
//! A file that cannot be written stays as it is and is tried again, and holds up no other one.

mod contents;
mod places;
mod schedule;
mod writer;

pub use places::prepare;
pub(crate) use places::{check_place, locate_program, option_reading, refusals};
pub use writer::{AppFileWriter, WrittenGeneration};
