//! What heads of requests may be: how long, as whose, and what their connections may become.

use std::sync::{Arc, LazyLock};

use memchr::memchr;

use super::head_rejection::HeadRejection;

/// The longest head of a request where nothing else is said, in bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// The most fields that any head may have.
pub(crate) const MAX_FIELDS: usize = 128;

/// The most fields where nothing else is said.
pub(super) const USUAL_FIELDS: usize = 100;

/// What stands in a request's first line beside its target, in bytes: the longest method, blanks and the version.
const AROUND_TARGET: usize = 64;

/// What heads may be, where requests are read. What can be read in two ways is refused whatever they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadRules {
    /// The longest head, in bytes.
    pub(crate) max_head: usize,
    /// The most fields, [`MAX_FIELDS`] at most.
    pub(crate) max_fields: usize,
    /// The longest target, in bytes.
    pub(crate) max_target: usize,
    /// Who is asked.
    pub(crate) role: HttpRole,
    /// Which other protocols a connection may become.
    pub(crate) upgrades: Upgrades,
}

/// As whom requests are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpRole {
    /// A proxy of the client's choice: it may be asked for a tunnel (CONNECT), and for servers without a name in Host.
    ForwardProxy,
    /// The server that is named: its clients say whom they ask, and others have let fragments pass, which are cut.
    Server,
}

/// Which protocols a connection may become that spoke HTTP/1.1 (RFC 9110, 7.8). Never HTTP/2, which would be another way to send requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Upgrades {
    /// Whichever client and server agree on.
    Any,
    /// These, in lower case; none: no upgrade is passed on.
    Listed(Arc<[String]>),
}

impl HeadRules {
    /// Those of a forward proxy and of our own listeners on loopback, where heads may have so many bytes. As many fields as hyper reads without
    /// memory of its own for them.
    pub(crate) fn forward_proxy(max_head: usize) -> Self {
        let (max_fields, max_target) = (USUAL_FIELDS, usize::MAX);
        Self { max_head, max_fields, max_target, role: HttpRole::ForwardProxy, upgrades: Upgrades::Any }
    }

    /// The same for heads of the usual length, as all connections share them.
    pub(crate) fn usual_forward_proxy() -> Arc<Self> {
        static USUAL: LazyLock<Arc<HeadRules>> = LazyLock::new(|| Arc::new(HeadRules::forward_proxy(MAX_HEAD)));
        Arc::clone(&USUAL)
    }

    /// What is too long of a head that begins with `begun`.
    pub(super) fn too_long(&self, begun: &[u8]) -> Option<HeadRejection> {
        let in_first_line = || {
            let start = begun.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(begun.len());
            let line = &begun[start..];
            memchr(b'\n', line).unwrap_or(line.len()) > self.max_target.saturating_add(AROUND_TARGET)
        };
        match () {
            () if begun.len() <= self.max_target.min(self.max_head) => None,
            () if in_first_line() => Some(HeadRejection::TargetTooLong),
            () => (begun.len() > self.max_head).then_some(HeadRejection::HeadTooLong),
        }
    }
}

impl Upgrades {
    /// Whether a connection may become nothing else.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::Listed(listed) if listed.is_empty())
    }

    /// Whether a connection may become `protocol`, which is one.
    pub(super) fn allow(&self, protocol: &[u8]) -> bool {
        let lower = protocol.to_ascii_lowercase();
        let is_one =
            !lower.is_empty() && !lower.contains(&b',') && !lower.starts_with(b"h2") && !lower.starts_with(b"http");
        is_one
            && match self {
                Self::Any => true,
                Self::Listed(listed) => listed.iter().any(|listed| listed.as_bytes() == lower),
            }
    }
}
