//! Judges what of the sandbox this machine permits.

use super::finding::{Findings, Subject};
use crate::config::{Config, SandboxMode};
use crate::sandbox::{Access, Protection, SandboxReport, try_out};

pub(super) fn check(config: &Config, found: &mut Findings) {
    // What is asked of the kernel is the same in both modes.
    let asked = Config { sandbox: SandboxMode::BestEffort, ..config.clone() };
    let access = Access::of(&asked, config.listeners.iter().map(|listener| &listener.app), None);
    match try_out(config.sandbox, &access) {
        Ok(report) => check_report(&report, found),
        Err(error) => found.warning(
            Subject::Sandbox,
            format!("nobody can say what this machine permits: there is no thread to try it on ({error})"),
            "raise the limit of processes (pids.max)",
        ),
    }
    if config.sandbox != SandboxMode::Off {
        for path in access.wide() {
            let what = format!(
                "no folder of {} is there yet: the sandbox would leave the whole file system open",
                path.display()
            );
            found.warning(Subject::Sandbox, what, "make its folder before the start");
        }
    }
}

fn check_report(tried: &SandboxReport, found: &mut Findings) {
    let words = |protections: &mut dyn Iterator<Item = Protection>| {
        protections.map(Protection::as_str).collect::<Vec<_>>().join(", ")
    };
    let applied = words(&mut tried.applied());
    let missing: Vec<_> = tried.missing().map(|(which, why)| format!("{}: {why}", which.as_str())).collect();
    let missing = missing.join("; ");
    let is_short = tried.missing().any(|(protection, _)| protection.is_essential());
    match tried.mode {
        SandboxMode::Off if missing.is_empty() => {
            found.ok(Subject::Sandbox, format!("off; --sandbox strict would work here: {applied}"));
        }
        SandboxMode::Off => {
            let mode = if is_short { SandboxMode::BestEffort } else { SandboxMode::Strict };
            let holds = if applied.is_empty() { "nothing" } else { &applied };
            found.ok(Subject::Sandbox, format!("off; --sandbox {mode} would have {holds} here, without {missing}"));
        }
        SandboxMode::BestEffort | SandboxMode::Strict if missing.is_empty() => found.ok(Subject::Sandbox, applied),
        SandboxMode::Strict if is_short => found.problem(
            Subject::Sandbox,
            format!("strict cannot be had here: {missing}"),
            "use a kernel and a container that permit it, or --sandbox best-effort, which goes on without",
        ),
        SandboxMode::BestEffort | SandboxMode::Strict => found.warning(
            Subject::Sandbox,
            format!("the proxy would be fenced in without {missing}"),
            "use a newer kernel, or a container that permits it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::exit::Exit;
    use crate::sandbox::ProtectionStatus;
    use strum::VariantArray;

    fn judged(mode: SandboxMode, missing: &[Protection]) -> (String, Exit) {
        let status = |protection: &Protection| ProtectionStatus {
            protection: *protection,
            missing: missing.contains(protection).then(|| "too old".to_owned()),
        };
        let protections = Protection::VARIANTS.iter().map(status).collect();
        let mut found = Findings::default();
        check_report(&SandboxReport { mode, protections }, &mut found);
        (found.to_text(), found.exit())
    }

    #[test]
    fn what_is_missing_is_a_problem_only_where_it_keeps_the_proxy_from_starting() {
        let tcp = &[Protection::LandlockTcp][..];
        let files = &[Protection::LandlockFiles, Protection::LandlockTcp][..];
        for (mode, missing, begins, exit) in [
            (SandboxMode::Off, &[][..], "ok       sandbox       off; --sandbox strict would work here", Exit::Success),
            (SandboxMode::Off, tcp, "ok       sandbox       off; --sandbox strict would have", Exit::Success),
            (SandboxMode::Off, files, "ok       sandbox       off; --sandbox best-effort would have", Exit::Success),
            (
                SandboxMode::Strict,
                &[],
                "ok       sandbox       no_new_privs, capabilities, seccomp, landlock_files",
                Exit::Success,
            ),
            (SandboxMode::Strict, tcp, "warning  sandbox ", Exit::Success),
            (SandboxMode::BestEffort, files, "warning  sandbox ", Exit::Success),
            (SandboxMode::Strict, files, "problem  sandbox ", Exit::Findings),
        ] {
            let (text, status) = judged(mode, missing);
            assert!(text.starts_with(begins), "{text}");
            assert_eq!(status, exit, "{text}");
        }
    }
}
