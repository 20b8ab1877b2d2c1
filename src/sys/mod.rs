//! The thin layer over the kernel.

pub(crate) mod atomic_file;
pub(crate) mod cgroup;
pub(crate) mod file;
pub(crate) mod limits;
pub(crate) mod path_steps;
pub(crate) mod process;
pub(crate) mod removal;
pub(crate) mod send_queue;
pub(crate) mod socket;
pub(crate) mod socket_tables;
pub(crate) mod wall_clock;
