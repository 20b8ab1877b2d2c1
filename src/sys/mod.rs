//! The thin layer over the kernel.

pub(crate) mod socket;
