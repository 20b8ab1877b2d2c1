//! What is asked of the process from outside.

/// What is asked of the process, by a signal or through the admin listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRequest {
    /// End: the first time gracefully, a second time now.
    Stop,
    /// Load the credentials again.
    Reload,
}
