//! Certificates of clients, good ones and others, under CAs that are made for one run.

use std::net::IpAddr;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};

use crate::credentials::Pair;

/// One name in a client's certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name {
    /// A dNSName.
    Dns(&'static str),
    /// An rfc822Name.
    Email(&'static str),
    /// A uniformResourceIdentifier.
    Uri(&'static str),
    /// An iPAddress.
    Ip(IpAddr),
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Validity {
    /// Now, and for as long as anyone will look.
    Now,
    /// Not any more.
    Over,
    /// Not yet.
    Later,
}

/// What a client's certificate says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Its SANs.
    pub(crate) names: &'a [Name],
    /// When it is valid.
    pub(crate) validity: Validity,
    /// What it may be used for.
    pub(crate) usage: Option<Usage>,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Usage {
    /// As a client's.
    Client,
    /// As a server's alone.
    Server,
}

/// A CA.
pub(crate) struct Authority {
    /// Its certificate, PEM.
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// What comes after a leaf in the chain: nothing where the CA is the root.
    above: String,
}

impl Authority {
    /// A root.
    ///
    /// # Errors
    /// No key can be made.
    pub(crate) fn root(name: &str) -> Result<Self> {
        let (params, key) = authority_params(name)?;
        let pem = params.self_signed(&key).context("cannot sign a CA")?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key), above: String::new() })
    }

    /// A CA below this one, whose certificate goes into the chains of its leaves.
    ///
    /// # Errors
    /// No key can be made.
    pub(crate) fn below(&self, name: &str) -> Result<Self> {
        let (params, key) = authority_params(name)?;
        let pem = params.signed_by(&key, &self.issuer).context("cannot sign a CA")?.pem();
        Ok(Self { above: pem.clone(), pem, issuer: Issuer::new(params, key) })
    }

    /// A pair of a client.
    ///
    /// # Errors
    /// A name cannot be written in a certificate, or no key can be made.
    pub(crate) fn client(&self, wanted: Wanted<'_>) -> Result<Pair> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("a client");
        params.subject_alt_names = wanted.names.iter().map(|name| san(*name)).collect::<Result<_>>()?;
        (params.not_before, params.not_after) = match wanted.validity {
            Validity::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2049, 1, 1)),
            Validity::Over => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Validity::Later => (date_time_ymd(2048, 1, 1), date_time_ymd(2049, 1, 1)),
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match wanted.usage {
            Some(Usage::Client) => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Some(Usage::Server) => vec![ExtendedKeyUsagePurpose::ServerAuth],
            None => Vec::new(),
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let leaf = params.signed_by(&key, &self.issuer).context("cannot sign a client's certificate")?;
        Ok(Pair { chain: leaf.pem() + &self.above, key: key.serialize_pem() })
    }
}

fn authority_params(name: &str) -> Result<(CertificateParams, KeyPair)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2049, 1, 1));
    Ok((params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
}

fn named(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

fn san(name: Name) -> Result<SanType> {
    Ok(match name {
        Name::Dns(name) => SanType::DnsName(name.try_into()?),
        Name::Email(name) => SanType::Rfc822Name(name.try_into()?),
        Name::Uri(name) => SanType::URI(name.try_into()?),
        Name::Ip(addr) => SanType::IpAddress(addr),
    })
}
