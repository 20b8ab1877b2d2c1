//! Credentials that are wrong on purpose.

use std::time::{Duration, SystemTime};

use strum::{EnumString, VariantArray};

use super::{CertificateAuthority, Credential, Folder, InstanceSpec, IssuerError, SubjectKey};

const HOUR: Duration = Duration::from_secs(3600);

/// What is wrong with a credential that is written for a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, strum::Display, EnumString)]
#[strum(serialize_all = "kebab-case", parse_err_ty = UnknownFlaw, parse_err_fn = unknown)]
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
    /// Writes a credential with this flaw into `folder`, with the renames of a sound one except for [`Flaw::Torn`].
    ///
    /// # Errors
    /// The cryptographic library failed, a date is out of range, or a file cannot be written.
    pub fn write(
        self,
        folder: &Folder,
        authority: &CertificateAuthority,
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
                let other = SubjectKey::generate(spec.key)?.to_pem()?;
                Credential { key_pem: other, ..authority.issue(spec, now)? }
            }
            Self::WrongCa => CertificateAuthority::generate(now)?.issue(spec, now)?,
        };
        folder.write(&credential)?;
        Ok(credential)
    }
}

/// No flaw has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown flaw; write torn, expired, not-yet-valid, mismatch or wrong-ca")]
pub struct UnknownFlaw;

fn unknown(_: &str) -> UnknownFlaw {
    UnknownFlaw
}
