//! X-Forwarded-Client-Cert as a proxy writes it whose word counts.

use base64ct::{Base64, Encoding};
use rustls::pki_types::CertificateDer;

use super::pairs::{PairValue, pairs};
use super::{MAX_VALUE, XfccDetail, XfccError, XfccForm};
use crate::identity::{Certificate, ClaimedNames, Client, DistinguishedName, byte_from_hex};
use crate::pem::{BlockKind, Pem};

/// Who calls, by the word of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardedIdentity {
    /// The whole certificate, for which nobody here has vouched yet.
    Certificate {
        /// It can be read, and nothing follows it.
        der: CertificateDer<'static>,
        /// In which form it came.
        form: XfccForm,
    },
    /// What it says, and not the certificate itself. There is nothing in it to verify.
    Named {
        /// For the rules to judge; see [`Client::from_names`] for what they make of names that were not told.
        client: Client,
        /// SHA-256 of the certificate.
        hash: Option<[u8; 32]>,
    },
}

/// Who calls, by all values of X-Forwarded-Client-Cert that a request has: gorouter's form or Envoy's.
///
/// Envoy does not put the names of a certificate in quotes, and so a CA that signs a URI such as `spiffe://one;DNS=admin` lets its holder
/// have another name beside it: nobody can tell here. A subject, a hash or a certificate cannot be had in this way.
///
/// # Errors
/// [`XfccError`]: it does not name one caller in a way that can only be read so.
pub fn parse(values: &[&[u8]]) -> Result<ForwardedIdentity, XfccError> {
    let [value] = values else { return Err(XfccError::Lines(values.len())) };
    if value.len() > MAX_VALUE {
        return Err(XfccError::TooLong);
    }
    let is_printable = value.iter().all(|byte| *byte == b' ' || byte.is_ascii_graphic());
    let text = std::str::from_utf8(value).ok().filter(|_| is_printable).ok_or(XfccError::NotPrintable)?;
    let identity = if is_base64(text) { certificate(text) } else { Claims::read(text).and_then(Claims::identity) };
    identity.map_err(|error| if goes_on_behind_certificate(text) { XfccError::BehindCertificate } else { error })
}

/// One certificate in base64.
fn certificate(text: &str) -> Result<ForwardedIdentity, XfccError> {
    let der = Base64::decode_vec(text).map_err(|_| XfccError::NotACertificate)?;
    Certificate::from_der(&der).map_err(|_| XfccError::NotACertificate)?;
    Ok(ForwardedIdentity::Certificate { der: der.into(), form: XfccForm::Raw })
}

/// Whether it is written in the letters of base64 alone; pairs have an `=` in their midst.
fn is_base64(text: &str) -> bool {
    !text.is_empty() && text.trim_end_matches('=').bytes().all(is_base64_digit)
}

fn is_base64_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

/// Whether it begins with a certificate in base64 and does not end there, which is for the message alone.
fn goes_on_behind_certificate(text: &str) -> bool {
    let digits = text.bytes().take_while(|byte| is_base64_digit(*byte)).count();
    let padding = text[digits..].bytes().take_while(|byte| *byte == b'=').count();
    let (first, behind) = text.split_at(digits + padding);
    let Ok(der) = Base64::decode_vec(first) else { return false };
    // The lengths of most certificates need padding; without, the next one's digits go on where the first one's end.
    Certificate::split_first(&der).is_some_and(|(_, rest)| !(rest.is_empty() && behind.is_empty()))
}

/// What the pairs say, each by itself.
#[derive(Default)]
struct Claims {
    hash: Option<[u8; 32]>,
    cert: Option<Vec<u8>>,
    /// The first certificate of the chain, which is the client's own.
    chain: Option<Vec<u8>>,
    subject: Option<DistinguishedName>,
    uris: Option<Vec<String>>,
    dns: Option<Vec<String>>,
}

impl Claims {
    fn read(text: &str) -> Result<Self, XfccError> {
        let mut said = Self::default();
        for (detail, value) in pairs(text)? {
            match detail {
                // Which proxy says so is known from its own certificate.
                XfccDetail::By => drop(value.plain(detail.key())?),
                XfccDetail::Hash => said.hash = Some(digest(&value.plain(detail.key())?)?),
                XfccDetail::Cert => {
                    let [cert] = <[_; 1]>::try_from(certificates(value, detail)?)
                        .map_err(|_| XfccError::NotPem(detail.key()))?;
                    said.cert = Some(cert);
                }
                XfccDetail::Chain => said.chain = certificates(value, detail)?.into_iter().next(),
                XfccDetail::Subject => {
                    said.subject = Some(DistinguishedName::parse(value.name()?).map_err(XfccError::Subject)?);
                }
                XfccDetail::Uri => push_name(&mut said.uris, value, detail)?,
                XfccDetail::Dns => push_name(&mut said.dns, value, detail)?,
            }
        }
        Ok(said)
    }

    fn identity(self) -> Result<ForwardedIdentity, XfccError> {
        if self.chain.is_some() && self.cert.is_some() && self.chain != self.cert {
            return Err(XfccError::Disagrees(XfccDetail::Chain.key()));
        }
        if let Some(der) = self.cert.as_ref().or(self.chain.as_ref()) {
            self.check_against(der)?;
        }
        if let Some(der) = &self.cert {
            return Ok(ForwardedIdentity::Certificate { der: der.clone().into(), form: XfccForm::Envoy });
        }
        let subject = self.subject.ok_or(XfccError::NothingNamed)?;
        let identity = subject.identity().map_err(XfccError::Unsound)?;
        // Equal values are harmless, but no certificate of the platform's has them: whoever wrote this put something together.
        if let Some(field) = identity.and_then(|_| subject.repeated_field()) {
            return Err(XfccError::RepeatedField(field));
        }
        let client = Client::from_names(ClaimedNames { subject, dns: self.dns, uris: self.uris });
        Ok(ForwardedIdentity::Named { client, hash: self.hash })
    }

    /// Whether everything else is what the certificate says too.
    fn check_against(&self, der: &[u8]) -> Result<(), XfccError> {
        let certificate = Certificate::from_der(der).map_err(|_| {
            let detail = if self.cert.is_some() { XfccDetail::Cert } else { XfccDetail::Chain };
            XfccError::NotPem(detail.key())
        })?;
        let names = certificate.alt_names();
        let all_in = |told: &Option<Vec<String>>, there: &[String]| {
            told.as_ref().is_none_or(|told| told.iter().all(|name| there.contains(name)))
        };
        let agrees = [
            (XfccDetail::Hash, self.hash.is_none_or(|hash| hash == *certificate.fingerprint())),
            (XfccDetail::Subject, self.subject.as_ref().is_none_or(|subject| subject.is_subject_of(&certificate))),
            (XfccDetail::Uri, all_in(&self.uris, &names.uris)),
            (XfccDetail::Dns, all_in(&self.dns, &names.dns)),
        ];
        match agrees.iter().find(|(_, agrees)| !agrees) {
            Some((detail, _)) => Err(XfccError::Disagrees(detail.key())),
            None => Ok(()),
        }
    }
}

/// Adds a name. A URI of no length says that there is none, and that the list is told all the same.
fn push_name(names: &mut Option<Vec<String>>, value: PairValue<'_>, detail: XfccDetail) -> Result<(), XfccError> {
    let name = value.plain(detail.key())?;
    let names = names.get_or_insert_default();
    if !name.is_empty() || detail == XfccDetail::Dns {
        names.push(name.into_owned());
    }
    Ok(())
}

fn digest(text: &str) -> Result<[u8; 32], XfccError> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut digest = [0; 32];
    if pairs.len() != digest.len() || !rest.is_empty() {
        return Err(XfccError::Hash);
    }
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        *byte = byte_from_hex(*pair).ok_or(XfccError::Hash)?;
    }
    Ok(digest)
}

/// The certificates in percent-encoded PEM that has nothing else in it.
fn certificates(value: PairValue<'_>, detail: XfccDetail) -> Result<Vec<Vec<u8>>, XfccError> {
    let wrong = || XfccError::NotPem(detail.key());
    let text = percent_decoded(&value.plain(detail.key())?).ok_or_else(wrong)?;
    let pem = Pem::read(&text).map_err(|_| wrong())?;
    let starts = text.starts_with(b"-----BEGIN CERTIFICATE-----");
    let is_whole = text.trim_ascii_end().ends_with(b"-----END CERTIFICATE-----") && !pem.may_be_unfinished;
    let is_certificates = pem.blocks.iter().all(|block| block.kind == BlockKind::Certificate);
    if !starts || !is_whole || !is_certificates || !pem.outside.stray_marks.is_empty() {
        return Err(wrong());
    }
    Ok(pem.blocks.into_iter().map(|block| block.der).collect())
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut decoded = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.as_bytes().split_first_chunk::<2>()?;
        decoded.push(byte_from_hex(*digits)?);
        decoded.extend_from_slice(rest);
    }
    Some(decoded)
}
