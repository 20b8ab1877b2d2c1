//! What a credential shall say.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{IssuerError, KeyKind, random};
use crate::identity::{AppInstanceId, Guid};

/// One app instance, and how long its certificate lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSpec {
    /// `OU=organization:GUID`
    pub organization: Guid,
    /// `OU=space:GUID`
    pub space: Guid,
    /// `OU=app:GUID`
    pub app: Guid,
    /// CN and dNSName. `None` makes the retirement certificate: no CN, and a dNSName of length zero.
    pub instance: Option<AppInstanceId>,
    /// The one iPAddress.
    pub ip: IpAddr,
    /// From notBefore to notAfter, in whole seconds.
    pub validity: Duration,
    /// The kind of key that [`super::CertificateAuthority::issue`] generates.
    pub key: KeyKind,
}

impl InstanceSpec {
    /// An instance of a new app: random GUIDs, 127.0.0.1, a day, RSA 3072.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn generate() -> Result<Self, IssuerError> {
        Ok(Self {
            organization: Guid::from_random(random()?),
            space: Guid::from_random(random()?),
            app: Guid::from_random(random()?),
            instance: Some(Self::instance_id()?),
            ip: Ipv4Addr::LOCALHOST.into(),
            validity: Duration::from_secs(24 * 3600),
            key: KeyKind::default(),
        })
    }

    /// Another instance of the same app.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn sibling(&self) -> Result<Self, IssuerError> {
        Ok(Self { instance: Some(Self::instance_id()?), ..self.clone() })
    }

    /// The same instance as it announces its retirement.
    pub fn retired(&self) -> Self {
        Self { instance: None, ..self.clone() }
    }

    /// A random id of the length that Diego's have, which is shorter than a GUID.
    fn instance_id() -> Result<AppInstanceId, IssuerError> {
        let guid = Guid::from_random(random()?).to_string();
        AppInstanceId::parse(&guid.as_bytes()[..28]).map_err(|_| IssuerError::Crypto("naming an instance"))
    }
}
