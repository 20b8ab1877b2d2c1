//! What is left of root's rights: capabilities(7).

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// What root still needs here: the files of other users, in the folders that Landlock leaves, and signals to an app that has become another
/// user. Listeners are open, and limits are set, by then.
const KEPT: CapabilitySet = CapabilitySet::KILL
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER);

/// Gives up all capabilities of this thread but [`KEPT`]; whoever has none of the others gives up nothing, and needs no system call for it.
///
/// # Errors
/// A sentence: somebody does not let us.
pub(super) fn restrict() -> Result<(), String> {
    let said = |error| format!("the kernel says {error}");
    let held = capabilities(None).map_err(said)?;
    let left = CapabilitySets {
        effective: held.effective & KEPT,
        permitted: held.permitted & KEPT,
        inheritable: CapabilitySet::empty(),
    };
    if left == held { Ok(()) } else { set_capabilities(None, left).map_err(said) }
}
