//! Credentials that are wrong on purpose.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::{Authority, Credential, Folder, InstanceSpec, IssuerError, Key};

const HOUR: Duration = Duration::from_secs(3600);

/// What is wrong with a credential that is written for a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Both files are rewritten in place, and the certificate's ends in the middle of the leaf.
    Torn,
    /// notAfter was an hour ago.
    Expired,
    /// notBefore is an hour from now.
    NotYetValid,
    /// The key belongs to another certificate.
    Mismatch,
    /// Issued by another CA of the same name.
    WrongCa,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Torn, Self::Expired, Self::NotYetValid, Self::Mismatch, Self::WrongCa];

    /// Writes a credential with this flaw into `folder`, with the renames of a sound one except for [`Flaw::Torn`].
    ///
    /// # Errors
    /// The cryptographic library failed, a date is out of range, or a file cannot be written.
    pub fn write(
        self,
        folder: &Folder,
        authority: &Authority,
        spec: &InstanceSpec,
        now: SystemTime,
    ) -> Result<Credential, IssuerError> {
        let credential = match self {
            Self::Torn => {
                let mut torn = authority.issue(spec, now)?;
                // The leaf is more than half of the file, so a third of it ends inside.
                torn.cert_pem.truncate(torn.cert_pem.len() / 3);
                folder.overwrite(&torn)?;
                return Ok(torn);
            }
            Self::Expired => {
                let then = now.checked_sub(spec.validity.saturating_add(HOUR)).ok_or(IssuerError::Dates)?;
                authority.issue(spec, then)?
            }
            Self::NotYetValid => authority.issue(spec, now + HOUR)?,
            Self::Mismatch => {
                let other = Key::generate(spec.key)?.to_pem()?;
                Credential { key_pem: other, ..authority.issue(spec, now)? }
            }
            Self::WrongCa => Authority::generate(now)?.issue(spec, now)?,
        };
        folder.write(&credential)?;
        Ok(credential)
    }
}

/// No flaw has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown flaw; write torn, expired, not-yet-valid, mismatch or wrong-ca")]
pub struct UnknownFlaw;

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torn => "torn",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Mismatch => "mismatch",
            Self::WrongCa => "wrong-ca",
        })
    }
}

impl FromStr for Flaw {
    type Err = UnknownFlaw;

    fn from_str(text: &str) -> Result<Self, UnknownFlaw> {
        Self::ALL.into_iter().find(|flaw| flaw.to_string() == text).ok_or(UnknownFlaw)
    }
}
