//! Why there is no connection to the app.

use std::io;

use crate::upstream::DialError;

/// Why there is no connection to the app.
#[derive(Debug, thiserror::Error)]
pub(in crate::inbound::http) enum AppConnectError {
    /// It did not accept.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It accepted, and was gone at once.
    #[error("the app closed the connection at once")]
    Closed(#[from] io::Error),
    /// HTTP was not begun.
    #[error("the app does not begin to speak HTTP")]
    Http(#[from] hyper::Error),
}
