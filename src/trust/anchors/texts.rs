//! What is in the files of client CAs and of CRLs.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use der::pem::LineEnding;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::ca::Ca;
use crate::identity::{Certificate, CertificateError, Role};
use crate::pem::{BlockKind, Pem, PemError};
use crate::trust::crl::{Crl, CrlError};
use crate::trust::signed::SignedObject;

/// The text of one file.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// Where it was read.
    pub path: PathBuf,
    /// What was read.
    pub bytes: Vec<u8>,
    /// The file was named itself, and not found in a folder: something must be in it.
    pub named: bool,
}

impl Text {
    /// As if `certificates` had been read in PEM from the file `path`.
    pub fn of_certificates<'a>(path: &Path, certificates: impl Iterator<Item = &'a CertificateDer<'a>>) -> Self {
        let pem = certificates.filter_map(|der| der::pem::encode_string("CERTIFICATE", LineEnding::LF, der).ok());
        Self { path: path.to_owned(), bytes: pem.collect::<String>().into_bytes(), named: false }
    }
}

/// Says nothing of what was read, which may be a key by mistake.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("path", &self.path).field("named", &self.named).finish_non_exhaustive()
    }
}

/// What CAs are called, and by which options they and their CRLs are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnchorLabels {
    ca: &'static str,
    without: &'static str,
    ca_option: &'static str,
    crl_option: &'static str,
}

impl AnchorLabels {
    /// Those that vouch for clients.
    pub const CLIENTS: Self =
        Self { ca: "client CA", without: "nobody could come in", ca_option: "--client-ca", crl_option: "--client-crl" };

    /// Those that vouch for servers.
    pub const SERVERS: Self = Self {
        ca: "server CA",
        without: "no server could be verified",
        ca_option: "--outbound-ca",
        crl_option: "--outbound-crl",
    };

    /// Those that vouch for whoever shows a token to the identity endpoint.
    pub const TOKENS: Self =
        Self { ca: "CA", without: "no token could be verified", ca_option: "--token-ca", crl_option: "--token-crl" };

    /// Those of `token verify`.
    pub const TOKEN_COMMAND: Self = Self { ca_option: "--ca", crl_option: "--crl", ..Self::TOKENS };

    /// Those that vouch for the holders of certificates in this role.
    fn of(role: Role) -> Self {
        match role {
            Role::Client => Self::CLIENTS,
            Role::Server => Self::SERVERS,
        }
    }
}

/// Why files hold no usable trust anchors.
#[derive(Debug, thiserror::Error)]
pub enum TrustAnchorsError {
    /// It has PEM's marks, but not to its end.
    #[error("{}: torn or not PEM: {cause}", path.display())]
    Pem {
        /// The file should hold CRLs, and not CAs.
        crls: bool,
        /// The file.
        path: PathBuf,
        /// What the reader says.
        cause: PemError,
    },
    /// A certificate cannot be read.
    #[error("{}: certificate {position}: {source}; write the file anew, or take it out", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        position: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// A certificate cannot be trusted, whoever wants to.
    #[error("{}: certificate {position} cannot be a CA of ours: {source}; take it out", path.display())]
    Anchor {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        position: usize,
        /// What is wrong with it.
        source: webpki::Error,
    },
    /// A CRL cannot be used.
    #[error("{}: CRL {position}: {source}", path.display())]
    Crl {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        position: usize,
        /// What is wrong with it.
        source: CrlError,
    },
    /// A CRL has the name of a listed CA, and a signature that none of the listed keys has made.
    #[error(
        "{}: CRL {position}: the signature does not hold with the key of {issuer}, which is listed: the CRL is damaged, or another CA of that name has signed it; \
         have it written anew, list that CA as well, or take the CRL out",
        path.display()
    )]
    CrlSignature {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        position: usize,
        /// The CA's name, as RFC 4514 writes it.
        issuer: String,
    },
    /// A file that was named has nothing of use.
    #[error("{}: no {wanted} in it{others}", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
        /// What else is in it, for the end of a sentence.
        others: String,
    },
    /// A file in a folder of CRLs has none that can be read, and does not look like one that is not meant to.
    #[error(
        "{}: no CRL in it that can be read, though by its name or its bytes it may be one; write it in PEM or DER, or take it out",
        .0.display()
    )]
    NoCrl(PathBuf),
    /// No CRL at all, where there should be some.
    #[error(
        "no CRL in {places}; nothing would be revoked: give {} a file or folder of CRLs in PEM or DER, or leave it out{}",
        words.crl_option,
        list(notes)
    )]
    NoCrls {
        /// Who would be revoked.
        words: AnchorLabels,
        /// Where was looked.
        places: String,
        /// What is said of the files that were left out.
        notes: Vec<String>,
    },
    /// No CA at all.
    #[error(
        "no {} in {places}; without one {}: give {} a file or folder of CAs in PEM{}",
        words.ca,
        words.without,
        words.ca_option,
        list(left_out)
    )]
    Empty {
        /// For whom they should vouch.
        words: AnchorLabels,
        /// Where was looked.
        places: String,
        /// What is said of the files that were left out.
        left_out: Vec<String>,
    },
}

impl TrustAnchorsError {
    /// Whether CRLs are what cannot be used.
    pub fn is_about_crls(&self) -> bool {
        match self {
            Self::Crl { .. } | Self::CrlSignature { .. } | Self::NoCrl(_) | Self::NoCrls { .. } => true,
            Self::Nothing { wanted, .. } => wanted.contains("CRL"),
            Self::Pem { crls, .. } => *crls,
            Self::Certificate { .. } | Self::Anchor { .. } | Self::Empty { .. } => false,
        }
    }

    /// The same, with `more` files that were left out.
    pub(crate) fn with_left_out(self, more: &[String]) -> Self {
        match self {
            Self::Empty { words, places, left_out } => {
                Self::Empty { words, places, left_out: [left_out, more.to_vec()].concat() }
            }
            other => other,
        }
    }

    /// The same, said of the files that `words` are for.
    pub(crate) fn said_of(self, words: AnchorLabels) -> Self {
        match self {
            Self::Empty { places, left_out, .. } => Self::Empty { words, places, left_out },
            Self::NoCrls { places, notes, .. } => Self::NoCrls { words, places, notes },
            other => other,
        }
    }

    /// There is no CRL in any of `places`.
    pub(crate) fn missing_crls_error<'a>(places: impl Iterator<Item = &'a PathBuf>, notes: &[String]) -> Self {
        let places: Vec<_> = places.map(|path| path.display().to_string()).collect();
        Self::NoCrls { words: AnchorLabels::CLIENTS, places: places.join(", "), notes: notes.to_vec() }
    }

    /// There is no CA in any of `places`, some of which may have been left out.
    pub(crate) fn empty<'a>(role: Role, places: impl Iterator<Item = &'a PathBuf>, left_out: &[String]) -> Self {
        let places: Vec<_> = places.map(|path| path.display().to_string()).collect();
        Self::Empty { words: AnchorLabels::of(role), places: places.join(", "), left_out: left_out.to_vec() }
    }
}

/// The CAs in `text`, which are put behind those that were `found` before, and notes on what is left out.
///
/// # Errors
/// [`TrustAnchorsError`].
pub(super) fn read_cas(
    text: &Text,
    role: Role,
    found: &mut Vec<Ca>,
    notes: &mut Vec<String>,
) -> Result<(), TrustAnchorsError> {
    let path = || text.path.clone();
    let pem = read_pem(text, false)?;
    let passed_over = pem.passed_over(|kind| matches!(kind, BlockKind::Certificate | BlockKind::TrustedCertificate));
    if pem.certificates().next().is_none() {
        return nothing(text, "certificate in PEM", &passed_over, notes);
    }
    note_passed_over(text, passed_over, notes);
    for (position, block) in (1..).zip(pem.certificates()) {
        if block.rejects_clients && role == Role::Client {
            let path = text.path.display();
            notes.push(format!(
                "{path}: certificate {position} is not trusted for clients by its own settings and is left out"
            ));
            continue;
        }
        let der = &CertificateDer::from(&*block.der);
        let certificate = Certificate::from_der(der).map_err(|source| TrustAnchorsError::Certificate {
            path: path(),
            position,
            source,
        })?;
        let anchor = webpki::anchor_from_trusted_cert(der)
            .map_err(|source| TrustAnchorsError::Anchor { path: path(), position, source })?
            .to_owned();
        if !certificate.is_ca() {
            let (path, subject) = (text.path.display(), certificate.subject());
            notes.push(format!("{path}: certificate {position} is not a CA and is left out: {subject}"));
            continue;
        }
        if let Some(why) = certificate.ca_fault(role) {
            let (path, subject) = (text.path.display(), certificate.subject());
            notes.push(format!("{path}: certificate {position} {why} and is left out: {subject}"));
            continue;
        }
        let refused = |source| TrustAnchorsError::Anchor { path: path(), position, source };
        let cert = EndEntityCert::try_from(der).map_err(refused)?;
        let signed = SignedObject::from_der(der).map_err(|_| refused(webpki::Error::BadDer))?;
        let ca = Ca {
            anchor,
            is_revoked: false,
            path_len: certificate.path_length(),
            issuer: cert.issuer().into(),
            serial_number: cert.serial().into(),
            key_identifier: certificate.key_identifier(),
            signed,
            subject: certificate.subject(),
            serial: certificate.serial(),
            alt_names: certificate.alt_names().clone(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
        };
        if !found.iter().any(|known| known.is_same(&ca)) {
            found.push(ca);
        }
    }
    Ok(())
}

/// The CRLs in `text`, likewise.
///
/// # Errors
/// [`TrustAnchorsError`].
pub(super) fn read_crls(text: &Text, found: &mut Vec<Crl>, notes: &mut Vec<String>) -> Result<(), TrustAnchorsError> {
    // A SEQUENCE with such a length is not the beginning of any text.
    let is_der = matches!(text.bytes.as_slice(), [0x30, length, rest @ ..] if *length >= 0x80 || usize::from(*length) == rest.len());
    let pem = if is_der { Pem::default() } else { read_pem(text, true)? };
    let lists: Vec<&[u8]> =
        if is_der { vec![&text.bytes] } else { pem.crls().map(|block| block.der.as_slice()).collect() };
    let passed_over = pem.passed_over(|kind| kind == BlockKind::Crl);
    if lists.is_empty() {
        if !text.named && may_hold_crl(text) {
            return Err(TrustAnchorsError::NoCrl(text.path.clone()));
        }
        return nothing(text, "CRL in PEM or DER", &passed_over, notes);
    }
    note_passed_over(text, passed_over, notes);
    for (position, der) in (1..).zip(lists) {
        let place = format!("{}: CRL {position}", text.path.display());
        let crl = Crl::from_der(der, place).map_err(|source| TrustAnchorsError::Crl {
            path: text.path.clone(),
            position,
            source,
        })?;
        found.push(crl);
    }
    Ok(())
}

/// Whether a file of a folder in which no CRL was found may hold one all the same, in a form that is not read: it is no text, or its
/// name says so, as do those of `openssl rehash`. Left out, it would let in whom it revokes.
fn may_hold_crl(text: &Text) -> bool {
    let is_text = str::from_utf8(&text.bytes).is_ok_and(|text| !text.contains('\0'));
    let extension = text.path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    let is_rehashed = extension.strip_prefix('r').is_some_and(|nth| nth.parse::<u32>().is_ok());
    !is_text || extension == "crl" || is_rehashed
}

/// A file without what is wanted: an error where it was named, else a note. It says what else is there.
fn nothing(
    text: &Text,
    wanted: &'static str,
    passed_over: &[String],
    notes: &mut Vec<String>,
) -> Result<(), TrustAnchorsError> {
    let others: String = passed_over.iter().map(|note| format!("; {note}")).collect();
    if text.named {
        return Err(TrustAnchorsError::Nothing { path: text.path.clone(), wanted, others });
    }
    notes.push(format!("{}: no {wanted} in it, left out{others}", text.path.display()));
    Ok(())
}

fn read_pem(text: &Text, crls: bool) -> Result<Pem, TrustAnchorsError> {
    Pem::read(&text.bytes).map_err(|cause| TrustAnchorsError::Pem { crls, path: text.path.clone(), cause })
}

fn note_passed_over(text: &Text, passed_over: Vec<String>, notes: &mut Vec<String>) {
    notes.extend(passed_over.into_iter().map(|note| format!("{}: {note}", text.path.display())));
}

/// Each of `notes`, for the end of a sentence.
fn list(notes: &[String]) -> String {
    notes.iter().map(|note| format!("; {note}")).collect()
}
