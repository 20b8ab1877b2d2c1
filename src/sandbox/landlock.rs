//! Landlock: which folders are still to be reached, and which ports (landlock(7)).

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, RestrictSelfAttr,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::access::{Access, FolderAccess};
use super::{Protection, ProtectionStatus, RestrictScope};

/// What a ruleset speaks of. A later one may know of more, which this program was never tried with.
const KNOWN: ABI = ABI::V7;

/// Gives up all but `access`, and says what came of it.
pub(super) fn restrict(access: &Access, extent: RestrictScope) -> [ProtectionStatus; 3] {
    let of = |protection, outcome| ProtectionStatus::of(protection, outcome);
    match rules(access, extent) {
        Ok(RestrictionStatus { ruleset, landlock, .. }) => {
            let files = match (ruleset, landlock) {
                (_, LandlockStatus::NotImplemented) => Err("the kernel has no Landlock (Linux 5.13)".to_owned()),
                (_, LandlockStatus::NotEnabled) => {
                    Err("Landlock is not enabled (the kernel's parameter lsm=)".to_owned())
                }
                (RulesetStatus::NotEnforced, _) => Err("Landlock does not take the rules".to_owned()),
                _ => Ok(()),
            };
            let abi = match landlock {
                LandlockStatus::Available { effective_abi, .. } => effective_abi,
                _ => ABI::Unsupported,
            };
            let from = |least: ABI, linux: &str| match &files {
                Err(why) => Err(why.clone()),
                Ok(()) if abi >= least => Ok(()),
                Ok(()) => Err(format!("the kernel's Landlock (ABI {abi}) does not know of it before Linux {linux}")),
            };
            [
                of(Protection::LandlockFiles, files.clone()),
                of(Protection::LandlockTcp, from(ABI::V4, "6.7")),
                of(Protection::LandlockUnix, from(ABI::V6, "6.12")),
            ]
        }
        Err(error) => {
            // A container's own seccomp filter may forbid the calls.
            let failed = || Err(format!("Landlock refuses: {error}"));
            [Protection::LandlockFiles, Protection::LandlockTcp, Protection::LandlockUnix]
                .map(|which| of(which, failed()))
        }
    }
}

fn rules(access: &Access, extent: RestrictScope) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?;
    ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
    if access.tcp_ports().is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    // Not signals: the app, which gets them, is outside.
    let mut created = ruleset.scope(Scope::AbstractUnixSocket)?.create()?;
    for (path, access) in access.folders() {
        // What is gone by now needs no rule.
        let Ok(folder) = PathFd::new(path) else { continue };
        created = created.add_rule(PathBeneath::new(folder, rights(access)))?;
    }
    for port in access.tcp_ports().into_iter().flatten() {
        created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    // Threads that nobody knows of too, where the kernel can (Linux 7.0).
    created.all_threads(extent == RestrictScope::Process)?.restrict_self()
}

fn rights(access: FolderAccess) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write =
        read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::MakeSym | AccessFs::RemoveFile;
    match access {
        FolderAccess::ReadFile => AccessFs::ReadFile.into(),
        FolderAccess::Unlink => AccessFs::RemoveFile.into(),
        FolderAccess::Read => read,
        FolderAccess::Write => write,
        FolderAccess::WriteTree => write | AccessFs::MakeDir | AccessFs::RemoveDir,
    }
}
