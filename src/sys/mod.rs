//! The thin layer over the kernel.

pub mod limits;
