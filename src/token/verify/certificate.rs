//! The certificate of a token, once a CA has vouched for it: when it is valid, what it is for, and whom it names.

use std::time::SystemTime;

use super::denial::{TokenDenial, TokenDenialReason};
use super::question::{RequiredIdentity, VerifiedForm};
use crate::identity::{Certificate, Identity, KeyUsageBit, Role};
use crate::trust::TokenChain;

/// Judges `leaf`, which `path` vouches for.
///
/// # Errors
/// [`TokenDenial`]: the first of checks 2 to 4 that fails.
pub(super) fn check(
    leaf: &Certificate,
    path: &TokenChain,
    form: VerifiedForm,
    required: RequiredIdentity,
    now: SystemTime,
) -> Result<(), TokenDenial> {
    check_dates(leaf, path, now)?;
    check_usage(leaf, form)?;
    check_identity(leaf, required)
}

fn check_dates(leaf: &Certificate, path: &TokenChain, now: SystemTime) -> Result<(), TokenDenial> {
    if now > *path.dates.end() {
        let what = match now > leaf.not_after() {
            true => "its certificate has expired; the instance has a newer one, or is gone",
            false => "a CA above its certificate has expired; name that CA's new one, or have it sent along",
        };
        return Err(TokenDenialReason::CertificateExpired.because(what));
    }
    if now < *path.dates.start() {
        let what = match now < leaf.not_before() {
            true => "its certificate is not valid yet; look at this machine's clock",
            false => "a CA above its certificate is not valid yet; look at this machine's clock",
        };
        return Err(TokenDenialReason::CertificateNotYetValid.because(what));
    }
    Ok(())
}

fn check_usage(leaf: &Certificate, form: VerifiedForm) -> Result<(), TokenDenial> {
    let wrong = |what: &str| Err(TokenDenialReason::KeyUsage.because(what));
    if !leaf.has_key_usage(KeyUsageBit::DigitalSignature) {
        return wrong("the keyUsage of its certificate is missing, or lacks digitalSignature");
    }
    if form == VerifiedForm::Comcast && !leaf.has_key_usage(KeyUsageBit::KeyAgreement) {
        return wrong("the keyUsage of its certificate lacks keyAgreement, which the form comcast asks for");
    }
    if !leaf.is_for(Role::Client) {
        return wrong("the extendedKeyUsage of its certificate lacks clientAuth");
    }
    Ok(())
}

fn check_identity(leaf: &Certificate, required: RequiredIdentity) -> Result<(), TokenDenial> {
    let identity = leaf.identity().map_err(|error| {
        TokenDenialReason::IdentityMalformed.because(format!("its certificate is not sound: {error}"))
    })?;
    let retired = || TokenDenialReason::Retired.because("its certificate names no instance: it is about to stop");
    match (identity, required) {
        (None, RequiredIdentity::Any) if leaf.is_retirement() => Err(retired()),
        (None, RequiredIdentity::Any) => Ok(()),
        (Some(Identity { organization: Some(_), space: Some(_), app: Some(_), instance }), _) => {
            instance.map(drop).ok_or_else(retired)
        }
        // Half an identity is none, whatever is let in beside Cloud Foundry's.
        (None, RequiredIdentity::CloudFoundry) | (Some(_), _) => {
            let what = "its certificate does not name organization, space and app";
            Err(TokenDenialReason::IdentityMissing.because(what))
        }
    }
}
