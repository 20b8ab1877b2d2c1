//! The specification, as tests: real sockets, real files, the real binary.

mod support;

mod policy;
mod relay;
