//! What becomes of paths that apps may read differently than rules do.

use strum::{IntoStaticStr, VariantArray};

/// What becomes of paths that apps may read differently than rules do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PathHandling {
    /// Of those that nobody can fold with certainty.
    pub ambiguous: AmbiguousPaths,
    /// Of those that folding changes.
    pub changed: ChangedPaths,
}

/// What becomes of a path that can be read in more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum AmbiguousPaths {
    /// It is refused.
    #[default]
    Reject,
    /// It goes to the app as it came, if every route that may be the one of some reading admits the caller.
    JudgeRaw,
}

/// What becomes of a path that is not written as it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ChangedPaths {
    /// It is refused.
    #[default]
    Reject,
    /// The app gets the path that was judged.
    ForwardFolded,
}
