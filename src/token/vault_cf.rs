//! The body with which an instance logs in at HashiCorp's CF method (vault-plugin-auth-cf, `signatures/version1.go` and `path_login.go`).

use std::time::SystemTime;

use base64ct::{Base64, Encoding};
use serde::Serialize;

use super::Algorithm;
use super::issue::sign;
use crate::credentials::Pair;
use crate::identity::{Certificate, CertificateError, IdentityField, PublicKeyKind};
use crate::pem;
use crate::trust::has_issued;

/// Why the server would not let this instance in, whatever was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultCfError {
    /// A certificate of our file cannot be read.
    #[error("a certificate of the file cannot be read: {0}; write the file anew")]
    Certificate(#[from] CertificateError),
    /// The signature is RSA's, and no other.
    #[error(
        "Vault's CF method takes RSA keys of 2048 to 4096 bits only, and this one is {0}; log in by its cert or jwt method"
    )]
    NotRsa(String),
    /// The CA is not in the file.
    #[error(
        "the certificate of the CA that issued ours is not in the file, and Vault wants exactly these two; add it behind the first"
    )]
    NoIssuer,
    /// Vault takes the one IP address for the caller's.
    #[error("Vault wants exactly one IP address in the certificate, and this one has {0}")]
    Addresses(usize),
    /// The platform has announced that the instance is about to stop.
    #[error("the certificate has no CN, which names the instance: the instance is about to stop")]
    NoInstance,
    /// One of the GUIDs is missing, or is there more than once, be it the same.
    #[error("Vault wants {0} exactly once in the certificate's subject, and it is there {1} times")]
    Units(IdentityField, usize),
    /// The purpose is limited to others.
    #[error("Vault wants serverAuth in the certificate's extendedKeyUsage, which is {}", .0.join(", "))]
    Purpose(Vec<String>),
    /// Past its last second.
    #[error("the certificate has expired: {0}; have it renewed")]
    Expired(String),
    /// Before its first second.
    #[error("the certificate is not valid yet: {0}; look at this machine's clock")]
    NotYetValid(String),
    /// The cryptographic library failed.
    #[error("the login could not be signed; please report this")]
    Crypto,
}

/// What is posted to `/v1/auth/MOUNT/login`.
#[derive(Serialize)]
struct LoginBody<'a> {
    role: &'a str,
    cf_instance_cert: &'a str,
    signing_time: &'a str,
    signature: &'a str,
}

/// The body, one line of JSON, with which the holder of `pair` asks for `role` at the time `now`. The certificates in it are those of the pair
/// whose key signs it, so no rotation comes between them. Vault takes it for 300 seconds.
///
/// # Errors
/// [`VaultCfError`]: Vault would refuse the certificate, and often by no more than a status 500.
pub fn vault_cf_login(pair: &Pair, role: &str, now: SystemTime) -> Result<String, VaultCfError> {
    let leaf = Certificate::from_der(pair.leaf())?;
    let issuer = pair.chain()[1..].iter().find(|ca| has_issued(ca, pair.leaf())).ok_or(VaultCfError::NoIssuer);
    refuse_unfit(&leaf)?;
    let issuer = issuer?;
    for one in [&leaf, &Certificate::from_der(issuer)?] {
        if now < one.not_before() {
            return Err(VaultCfError::NotYetValid(one.subject()));
        }
        if now > one.not_after() {
            return Err(VaultCfError::Expired(one.subject()));
        }
    }
    let certificates = pem::certificates([pair.leaf(), issuer]);
    let signing_time = jiff::Timestamp::try_from(now).map_err(|_| VaultCfError::Crypto)?;
    let signing_time = signing_time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let message = format!("{signing_time}{certificates}{role}");
    let signature = sign(pair, Algorithm::Ps256, message.as_bytes()).map_err(|_| VaultCfError::Crypto)?;
    let signature = format!("v1:{}", Base64::encode_string(&signature));
    let body = LoginBody { role, cf_instance_cert: &certificates, signing_time: &signing_time, signature: &signature };
    serde_json::to_string(&body).map_err(|_| VaultCfError::Crypto)
}

/// What Vault would refuse in the certificate itself.
fn refuse_unfit(leaf: &Certificate) -> Result<(), VaultCfError> {
    if !matches!(leaf.public_key_kind(), PublicKeyKind::Rsa { .. }) || !Algorithm::Ps256.fits(leaf.public_key_kind()) {
        return Err(VaultCfError::NotRsa(leaf.key_type()));
    }
    if let Some(usages) = leaf.extended_key_usages()
        && !usages.iter().any(|usage| usage == "serverAuth" || usage == "anyExtendedKeyUsage")
    {
        return Err(VaultCfError::Purpose(usages));
    }
    if leaf.alt_names().ips.len() != 1 {
        return Err(VaultCfError::Addresses(leaf.alt_names().ips.len()));
    }
    if !leaf.has_common_name() {
        return Err(VaultCfError::NoInstance);
    }
    for field in [IdentityField::Organization, IdentityField::Space, IdentityField::App] {
        let units = leaf.units(field);
        if units != 1 {
            return Err(VaultCfError::Units(field, units));
        }
    }
    Ok(())
}
