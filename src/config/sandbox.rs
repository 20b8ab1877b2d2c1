//! How the proxy's own process is fenced in.

use std::fmt;

use strum::{IntoStaticStr, VariantArray};

/// Whether the proxy takes rights away from itself, and what follows where the kernel does not let it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum SandboxMode {
    /// It keeps them.
    Off,
    /// What the kernel offers is applied, and the rest is named in the log.
    BestEffort,
    /// Without no_new_privs, less capabilities, seccomp and Landlock's rules for files there is no start.
    Strict,
}

impl SandboxMode {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for SandboxMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
