//! The thin layer over the kernel.

pub(crate) mod limits;
pub(crate) mod socket;
