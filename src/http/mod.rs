//! HTTP, as far as a relay needs it: whether a response is under way.

mod response_tracker;

pub(crate) use response_tracker::ResponseTracker;
