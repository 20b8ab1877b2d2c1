//! Scratch memory, what a socket would not take yet, and the streams that bytes pass through.

pub mod buffers;

mod app_stream;
mod connect;
mod metered;
mod outgoing;
mod owned_task;
mod periodic_check;
mod plain_stream;
mod socket;
mod write_buffer;

pub use app_stream::AppStream;
pub use connect::connect_tcp;
pub(crate) use metered::{ByteMeter, BytesSince, MeteredStream, ReadLimitReached};
pub use outgoing::Outgoing;
pub(crate) use owned_task::OwnedTask;
pub(crate) use periodic_check::PeriodicCheck;
pub(crate) use plain_stream::PlainStream;
pub use socket::{ClientSocket, Socket};
pub(crate) use write_buffer::WriteBuffer;

/// Plaintext bytes that were carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transferred {
    /// From the client to the app.
    pub up: u64,
    /// From the app to the client.
    pub down: u64,
}
