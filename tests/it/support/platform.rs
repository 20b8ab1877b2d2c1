//! The platform's own CA, under which routers have their client certificates.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::client::Connector;

/// A CA that signs the certificates of routers, and of dozens of other components.
pub(crate) struct Platform {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Platform {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "service_cf_internal_ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// The bundle that the cell is configured with: each router's CA, which is the same one three times.
    pub(crate) fn bundle(&self) -> String {
        self.pem.repeat(3)
    }

    /// `connector` as the component of this name, which is a subjectAltName of its certificate.
    pub(crate) fn client(&self, connector: Connector, name: &str) -> Connector {
        self.client_with(connector, name, |_| {})
    }

    /// The same with a certificate whose time is over.
    pub(crate) fn expired(&self, connector: Connector, name: &str) -> Connector {
        let hours = |n: u64| Duration::from_secs(3600 * n);
        self.client_with(connector, name, |params| {
            params.not_before = (SystemTime::now() - hours(2)).into();
            params.not_after = (SystemTime::now() - hours(1)).into();
        })
    }

    /// The same with whatever `change` does to the certificate.
    pub(crate) fn client_with(
        &self,
        connector: Connector,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Connector {
        let (certificate, key) = self.issue(name, change);
        connector.showing(&certificate.pem(), &key.serialize_pem())
    }

    /// A certificate of the component of this name, in DER.
    pub(crate) fn certificate(&self, name: &str) -> Vec<u8> {
        self.issue(name, |_| {}).0.der().to_vec()
    }

    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a component");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        (certificate, key)
    }
}
