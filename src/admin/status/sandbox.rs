//! How the process is fenced in.

use serde::Serialize;

use crate::config::SandboxMode;
use crate::diagnostics::{LONGEST_LINE, SafeText};
use crate::sandbox::SandboxReport;

/// What was asked for, and what holds.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct SandboxStatus {
    /// As `--sandbox` has it.
    pub(in crate::admin) mode: &'static str,
    pub(in crate::admin) protections: Vec<ProtectionEntry>,
}

/// One protection.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct ProtectionEntry {
    pub(in crate::admin) protection: &'static str,
    pub(in crate::admin) applied: bool,
    /// Why it does not hold.
    pub(in crate::admin) detail: Option<SafeText>,
}

impl SandboxStatus {
    pub(super) fn of(report: &SandboxReport) -> Self {
        // Of what nobody has asked for there is nothing to say.
        let asked = report.protections.iter().filter(|_| report.mode != SandboxMode::Off);
        let entries = asked.map(|status| ProtectionEntry {
            protection: status.protection.as_str(),
            applied: status.missing.is_none(),
            detail: status.missing.as_deref().map(|why| SafeText::up_to(LONGEST_LINE, why)),
        });
        Self { mode: report.mode.as_str(), protections: entries.collect() }
    }
}
