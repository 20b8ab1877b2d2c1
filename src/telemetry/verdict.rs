//! A verdict, as access log entries and metrics name it.

use strum::{EnumCount, IntoStaticStr, VariantArray};

use crate::policy::{Denial, DenialReason, Permit, Rule};

/// What the policy said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Verdict {
    /// The client may come in.
    Permit,
    /// The client may not come in.
    Denial,
    /// It may not, and audit mode has let it in.
    Audit,
}

impl Verdict {
    /// Which one it is, the rule that decided, and why it was a denial, or would have been one but for audit mode.
    pub(crate) fn of(decision: &Result<Permit, Denial>) -> (Self, Option<&Rule>, Option<DenialReason>) {
        match decision {
            Err(denial) => (Self::Denial, denial.rule(), Some(denial.reason())),
            Ok(permit) => match permit.audited_denial() {
                None => (Self::Permit, permit.rule(), None),
                Some(denial) => (Self::Audit, denial.rule(), Some(denial.reason())),
            },
        }
    }

    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}
