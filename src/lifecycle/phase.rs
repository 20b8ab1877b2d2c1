//! Where the process stands.

use strum::IntoStaticStr;

/// The phase of the process. Phases are ordered, and only gone through forwards; [`Phase::Retiring`] alone can be taken back, should
/// the platform show a regular pair again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Phase {
    /// Listening and serving.
    Running,
    /// A retirement certificate was received: connections that are idle are closed gently, all else goes on.
    Retiring,
    /// The listeners are closed: idle connections are closed gently, busy ones finish.
    Draining,
    /// The app has ended: what it sent is delivered, and nothing else is waited for.
    Delivering,
    /// The time is over: what is left is closed.
    Closing,
}

impl Phase {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
