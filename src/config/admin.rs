//! Where health is asked for, and what may be done there.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use strum::{IntoStaticStr, VariantArray};

/// Where health is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where to listen.
    pub addr: AdminAddr,
    /// Whether somebody asked for this address, so that it must open.
    pub explicit: bool,
    /// What may be done there, beside asking; empty: nothing.
    pub actions: Vec<AdminAction>,
    /// Host names by which it may be asked, beside `localhost`, in lower case.
    pub hosts: Vec<String>,
}

/// Something that the admin listener does when it is asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum AdminAction {
    /// As TERM.
    Drain,
    /// As HUP.
    Reload,
    /// Another level for the lines on stderr.
    LogLevel,
}

/// An address of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddr {
    /// `127.0.0.1:9901`
    Tcp(SocketAddr),
    /// `unix:/run/vestibule.sock`
    Unix(PathBuf),
}

impl AdminAddr {
    /// The address, if it is one of TCP.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }
}

impl AdminAction {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
