//! What each method of logging in sends, and what it refuses to send.

use std::time::{Duration, SystemTime};

use serde_json::json;
use zeroize::Zeroizing;

use crate::config::{Vault, VaultLogin};
use crate::credentials::Pair;
use crate::identity::{Certificate, CertificateError};
use crate::token::{IssueError, TokenForm, TokenRequest, VaultCfError, issue, vault_cf_login};

/// How long a JWT lives that is sent at once and never again.
const JWT_TTL: Duration = Duration::from_secs(60);

/// Why nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Vault's CF method would refuse the pair.
    #[error("nothing was sent to Vault: {0}")]
    Cf(#[from] VaultCfError),
    /// There is no token.
    #[error("nothing was sent to Vault: {0}")]
    Jwt(IssueError),
    /// The token of the method comcast needs another kind of key than this one.
    #[error(
        "nothing was sent to Vault: the method comcast needs an RSA key, and this one is {0}; log in by the method cert or jwt"
    )]
    NeedsRsa(String),
    /// A certificate of our file cannot be read.
    #[error("nothing was sent to Vault: our certificate cannot be read: {0}; write the file anew")]
    Certificate(#[from] CertificateError),
    /// The platform has announced that the instance is about to stop.
    #[error("nothing was sent to Vault: the certificate has no CN, so the instance is about to stop")]
    Retired,
    /// The method knows whom it lets in by their CN, and says 500 of one without.
    #[error(
        "nothing was sent to Vault: the certificate does not have one CN, which is what the method cert calls its holder; have it issued with one (commonName)"
    )]
    NoName,
}

impl From<IssueError> for LoginError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::NeedsRsa(key) => Self::NeedsRsa(key),
            error => Self::Jwt(error),
        }
    }
}

/// What is posted to log in.
pub(super) struct VaultLoginBody {
    pub(super) json: Zeroizing<Vec<u8>>,
    /// What of it lets whoever sees it log in as well.
    pub(super) secret: Zeroizing<String>,
    /// What names it in the log; `None`: nothing does.
    pub(super) jti: Option<String>,
}

/// What the holder of `pair` posts at the time `now` to log in as `config` says. All of it is of this one pair: no rotation comes between its
/// parts. It may cost a signature.
///
/// # Errors
/// [`LoginError`]: the server would refuse it, or the instance is about to stop.
pub(super) fn body(config: &Vault, pair: &Pair, now: SystemTime) -> Result<VaultLoginBody, LoginError> {
    match &config.login {
        VaultLogin::Cf { role } => {
            let body = vault_cf_login(pair, role, now)?;
            Ok(VaultLoginBody {
                secret: Zeroizing::new(body.clone()),
                json: Zeroizing::new(body.into_bytes()),
                jti: None,
            })
        }
        VaultLogin::Cert { role } => by_certificate(pair, role),
        VaultLogin::Jwt { role, audience } => {
            let token = issue(pair, &TokenRequest::new(audience, JWT_TTL), now)?;
            let json = json!({ "role": role, "jwt": token.text() }).to_string().into_bytes();
            Ok(VaultLoginBody::of_jwt(json, token.text(), token.jti.clone()))
        }
        VaultLogin::Comcast { audience, policies } => {
            let form = TokenForm::Comcast { policies: policies.clone() };
            let token = issue(pair, &TokenRequest { form, ..TokenRequest::new(audience, JWT_TTL) }, now)?;
            let json = json!({ "jwt": token.text() }).to_string().into_bytes();
            Ok(VaultLoginBody::of_jwt(json, token.text(), token.jti.clone()))
        }
    }
}

/// The pair is shown in the handshake; here is nothing but whose it is to be.
fn by_certificate(pair: &Pair, role: &str) -> Result<VaultLoginBody, LoginError> {
    let certificate = Certificate::from_der(pair.leaf())?;
    if certificate.is_retirement() {
        return Err(LoginError::Retired);
    }
    if certificate.common_name().is_none() {
        return Err(LoginError::NoName);
    }
    let json = json!({ "name": role }).to_string().into_bytes();
    Ok(VaultLoginBody { json: Zeroizing::new(json), secret: Zeroizing::default(), jti: None })
}

impl VaultLoginBody {
    fn of_jwt(json: Vec<u8>, jwt: &str, jti: String) -> Self {
        Self { json: Zeroizing::new(json), secret: Zeroizing::new(jwt.to_owned()), jti: Some(jti) }
    }
}

/// What there is to warn of in how we log in, one sentence each.
pub fn warnings(config: &Vault) -> Vec<String> {
    let mut warnings = Vec::new();
    if let VaultLogin::Cf { role } = &config.login
        && role.chars().any(char::is_uppercase)
    {
        let lower = role.to_lowercase();
        warnings.push(format!("Vault stores role names in lower case, and finds no {role}; write {lower}"));
    }
    if let VaultLogin::Comcast { .. } = &config.login {
        warnings.push(
            "Comcast's plugin reads neither exp nor aud of a token: whoever sees one can log in with it until the certificate ends; \
             prefer the method cert"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto;

    #[test]
    fn a_certificate_without_a_name_is_not_shown_to_the_method_cert() {
        let key = rcgen::KeyPair::generate().unwrap();
        let named = rcgen::CertificateParams::new(vec!["app.example".to_owned()]).unwrap();
        let mut nameless = named.clone();
        nameless.distinguished_name = rcgen::DistinguishedName::new();
        nameless.distinguished_name.push(rcgen::DnType::OrganizationName, "example");
        let body = |params: rcgen::CertificateParams| {
            let pem = params.self_signed(&key).unwrap().pem();
            let pair = Pair::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes(), &crypto::provider()).unwrap();
            by_certificate(&pair, "app").map(|body| body.json.to_vec())
        };
        assert_eq!(body(named).unwrap(), br#"{"name":"app"}"#);
        assert_eq!(body(nameless).unwrap_err(), LoginError::NoName);
    }
}
