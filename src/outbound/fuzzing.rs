//! What the fuzz targets drive: whatever servers and the app say, these do not panic, and what they promise holds.

pub use super::api::fuzzing::exchange;
pub use super::forward_proxy::fuzzing::requests;
pub use super::resolve::fuzzing::answers;
