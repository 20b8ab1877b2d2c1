//! The specification, as tests: real sockets, real files, the real binary.

#![allow(clippy::unwrap_used, reason = "a test fails by it, with the line")]

mod support;

mod handshake;
mod process;
mod relay;
mod rotation;
mod supervisor;
