//! Judges the two files: whether they are a pair, whom they name, and for how long.

use std::fs;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::chain;
use super::finding::{Findings, Subject};
use crate::commands::text;
use crate::config::PairFiles;
use crate::credentials;
use crate::credentials::{LoadError, Pair, PairError, renewal_overdue};
use crate::crypto::provider;
use crate::identity::Certificate;
use crate::pem::Pem;

/// A certificate that becomes valid within this time was more likely issued just now by a machine whose clock is ahead
/// of ours than for the future.
const CLOCKS_DIFFER: Duration = Duration::from_secs(12 * 3600);

/// Files are written a moment before they are looked at; a second is what a file system may round by.
const ROUNDING: Duration = Duration::from_secs(2);

/// The two files as they were found.
pub(super) struct PairReading<'a> {
    pub(super) names: &'a PairFiles,
    pub(super) cert: Result<Vec<u8>, LoadError>,
    pub(super) key: Result<Vec<u8>, LoadError>,
    /// When the certificate's file was written, by the file system's account.
    pub(super) written: Option<SystemTime>,
}

impl<'a> PairReading<'a> {
    /// Reads both as the proxy does.
    pub(super) fn read(names: &'a PairFiles) -> Self {
        let written = fs::metadata(&names.cert).and_then(|metadata| metadata.modified()).ok();
        Self { names, cert: credentials::read_half(&names.cert), key: credentials::read_half(&names.key), written }
    }
}

/// Judges everything about the files at the time `now`.
pub(super) fn check(files: &PairReading<'_>, now: SystemTime, found: &mut Findings) {
    if let Some(ahead) = files.written.and_then(|written| written.duration_since(now).ok()).filter(|d| *d > ROUNDING) {
        found.warning(
            Subject::Clock,
            format!("{} was written {} from now by this clock", files.names.cert.display(), text::duration(ahead)),
            "the clock was set back or is behind: compare `date -u` with another machine's",
        );
    }
    match (&files.cert, &files.key) {
        (Ok(cert), Ok(key)) => check_pair(files.names, cert, key, now, found),
        (cert, key) => {
            for (unread, option, variable) in [(cert, "--cert", "CF_INSTANCE_CERT"), (key, "--key", "CF_INSTANCE_KEY")]
            {
                if let Err(error) = unread {
                    found.problem(Subject::Certificate, error.to_string(), help_for_unread(error, option, variable));
                }
            }
            // What can be read is looked at all the same.
            if let Ok(cert) = cert {
                check_certificates(&certificates(cert), now, found);
            }
        }
    }
}

fn help_for_unread(error: &LoadError, option: &str, variable: &str) -> String {
    match error {
        LoadError::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "run as a user who may, or have the writer allow it".to_owned()
        }
        LoadError::Read { .. } | LoadError::NotAFile { .. } | LoadError::TooLarge { .. } | LoadError::NoRoom { .. } => {
            format!("give the right path by {option} or {variable}, or start what writes it")
        }
        LoadError::Empty { .. } => "have it written anew, under another name and then renamed".to_owned(),
        LoadError::Pair { .. } => "write both files anew".to_owned(),
        LoadError::PairInSecret { .. } | LoadError::NotText(_) | LoadError::Document(_) => "write it anew".to_owned(),
    }
}

fn check_pair(names: &PairFiles, cert: &[u8], key: &[u8], now: SystemTime, found: &mut Findings) {
    let chain = match Pair::from_pem(cert, key, &provider()) {
        Ok(pair) => {
            let kind = Certificate::from_der(pair.leaf()).map(|leaf| format!(" ({})", leaf.key_type()));
            let (cert, key) = (names.cert.display(), names.key.display());
            found.ok(Subject::Certificate, format!("{cert} and {key} belong together{}", kind.unwrap_or_default()));
            for note in pair.notes() {
                found.warning(
                    Subject::Certificate,
                    note.clone(),
                    "take it out of the file, if it is not meant to be there",
                );
            }
            pair.chain().to_vec()
        }
        Err(error) => {
            check_no_pair(names, cert, key, &error, found);
            // Of a pair whose order or key is wrong the dates of the first certificate say nothing.
            if matches!(error, PairError::Mismatch) { Vec::new() } else { certificates(cert) }
        }
    };
    check_certificates(&chain, now, found);
}

fn check_no_pair(names: &PairFiles, cert: &[u8], key: &[u8], error: &PairError, found: &mut Findings) {
    let (cert_name, key_name) = (names.cert.display(), names.key.display());
    let holds_certificate = |text: &[u8]| Pem::read(text).is_ok_and(|pem| pem.certificates().next().is_some());
    if matches!(error, PairError::KeyInCertificatesPlace) && holds_certificate(key) {
        let what = format!("{cert_name} holds the key and {key_name} the certificate");
        return found.problem(Subject::Certificate, what, "exchange --cert and --key");
    }
    let (file, help): (_, &str) = match error {
        // The first byte of DER and of PKCS#12 alike: a SEQUENCE.
        PairError::NoCertificate | PairError::CertificatePem(_) if cert.first() == Some(&0x30) => {
            let what = format!("{cert_name}: binary (DER or PKCS#12), not PEM");
            let help =
                "convert it: openssl x509 -inform der -in FILE -out PEM, or openssl pkcs12 -nodes -in FILE -out PEM";
            return found.problem(Subject::Certificate, what, help);
        }
        PairError::NoKey | PairError::KeyPem(_) if key.first() == Some(&0x30) => {
            let what = format!("{key_name}: binary (DER or PKCS#12), not PEM");
            return found.problem(Subject::Certificate, what, "convert it: openssl pkey -inform der -in FILE -out PEM");
        }
        PairError::EncryptedKey => {
            let what = format!("{key_name}: the key is encrypted, and there is nobody to ask for its passphrase");
            return found.problem(Subject::Certificate, what, "write it without one: openssl pkey -in FILE -out PLAIN");
        }
        PairError::Mismatch => match place_of_leaf(cert, key) {
            Some(place) => {
                let what = format!("{cert_name}: the key belongs to certificate {place} of the file, not to the first");
                return found.problem(Subject::Chain, what, "write the leaf first, then the CA that issued it");
            }
            None => {
                let what = format!("{cert_name} and {key_name}: {error}");
                let help = "write both anew; if they are being replaced right now, check again in a moment";
                return found.problem(Subject::Certificate, what, help);
            }
        },
        PairError::CertificatePem(_) => (cert_name, "write it anew, under another name and then renamed"),
        PairError::KeyInCertificatesPlace => (cert_name, "name the certificate by --cert, and the key by --key"),
        PairError::CertificateInKeysPlace => (key_name, "name the certificate by --cert, and the key by --key"),
        PairError::NoCertificate => (cert_name, "write the leaf and the CA that issued it as CERTIFICATE blocks"),
        PairError::Certificate(_) => (cert_name, "have the certificate issued anew"),
        PairError::KeyPem(_) => (key_name, "write it anew, under another name and then renamed"),
        PairError::NoKey => (key_name, "write the key as PKCS#8, PKCS#1 or SEC1 in PEM"),
        PairError::Key(_) => (key_name, "have a pair issued with such a key"),
    };
    found.problem(Subject::Certificate, format!("{file}: {error}"), help);
}

/// Which certificate of the file, from 2, the key belongs to.
fn place_of_leaf(cert: &[u8], key: &[u8]) -> Option<usize> {
    let key = Pem::read(key).ok()?.private_key()?;
    let key = provider().key_provider.load_private_key(key).ok()?;
    let belongs = |cert: &CertificateDer<'static>| {
        CertifiedKey::new(vec![cert.clone()], std::sync::Arc::clone(&key)).keys_match().is_ok()
    };
    certificates(cert).iter().position(belongs).map(|index| index + 1)
}

/// The certificates of a file, as far as it can be read.
fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    Pem::read(pem).map(|pem| pem.chain()).unwrap_or_default()
}

/// Judges the certificates, leaf first; says nothing where there is none.
fn check_certificates(ders: &[CertificateDer<'_>], now: SystemTime, found: &mut Findings) {
    let mut chain = Vec::new();
    for (index, der) in ders.iter().enumerate() {
        match Certificate::from_der(der) {
            Ok(certificate) => chain.push(certificate),
            Err(error) => {
                let what = format!("certificate {} of the file: {error}", index + 1);
                return found.problem(Subject::Chain, what, "have the certificate issued anew");
            }
        }
    }
    let Some((leaf, above)) = chain.split_first() else { return };
    chain::check(ders, &chain, found);
    check_validity(leaf, above, now, found);
    check_identity(leaf, found);
}

/// Judges the dates of the leaf, and of the CAs that follow it.
fn check_validity(leaf: &Certificate, above: &[Certificate], now: SystemTime, found: &mut Findings) {
    let (from, until) = (leaf.not_before(), leaf.not_after());
    let shown = text::timestamp(until);
    if let Some(wait) = after(from, now) {
        let what = format!("not valid before {}, in {}", text::timestamp(from), text::duration(wait));
        found.problem(Subject::Validity, what, "wait, or have a pair issued that is valid now");
        if wait < CLOCKS_DIFFER {
            let what = format!("this clock may be {} behind the issuer's", text::duration(wait));
            found.warning(Subject::Clock, what, "compare `date -u` with another machine's; start time synchronisation");
        }
    } else if let Some(past) = after(now, until) {
        let what = format!("expired {} ago, on {shown}", text::duration(past));
        found.problem(Subject::Validity, what, "have a new pair written; on Cloud Foundry restart the instance");
    } else {
        let left = until.duration_since(now).unwrap_or_default();
        let what = format!("valid until {shown}, {} left", text::duration(left));
        if renewal_overdue(leaf) < now {
            let what = format!("{what}, and no successor has come");
            found.warning(Subject::Validity, what, "see whether what rotates the pair still runs");
        } else {
            found.ok(Subject::Validity, what);
        }
    }
    for ca in above {
        let (name, until) = (ca.subject(), ca.not_after());
        if after(now, until).is_some() {
            let what = format!("the CA {name} expired on {}", text::timestamp(until));
            found.problem(Subject::Validity, what, "have a pair issued by a CA that is valid");
        } else if after(leaf.not_after(), until).is_some() {
            let what = format!("the CA {name} expires on {}, before the leaf", text::timestamp(until));
            found.warning(Subject::Validity, what, "have the CA renewed before that day");
        }
    }
}

/// By how much `later` is after `earlier`; `None` if it is not.
fn after(later: SystemTime, earlier: SystemTime) -> Option<Duration> {
    later.duration_since(earlier).ok().filter(|by| !by.is_zero())
}

fn check_identity(leaf: &Certificate, found: &mut Findings) {
    if leaf.is_retirement() {
        return found.warning(
            Subject::Retirement,
            "the pair has no CN and an empty DNS name: the platform is about to stop this instance",
            "nothing if it is; else have a regular pair written",
        );
    }
    match leaf.identity() {
        Ok(Some(identity)) => {
            let parts = [
                ("organization", identity.organization.map(|guid| guid.to_string())),
                ("space", identity.space.map(|guid| guid.to_string())),
                ("app", identity.app.map(|guid| guid.to_string())),
                ("instance", identity.instance.map(|instance| instance.to_string())),
            ];
            let parts: Vec<String> =
                parts.into_iter().filter_map(|(name, id)| Some(format!("{name} {}", id?))).collect();
            found.ok(Subject::Identity, parts.join(", "));
        }
        Ok(None) => found.ok(Subject::Identity, format!("not Cloud Foundry's; the subject is {}", subject(leaf))),
        Err(error) => found.problem(
            Subject::Identity,
            format!("looks like Cloud Foundry's and is not sound: {error}"),
            "have the certificate issued anew; whoever authorizes by identity refuses this one",
        ),
    }
}

fn subject(leaf: &Certificate) -> String {
    let subject = leaf.subject();
    if subject.is_empty() { "empty".to_owned() } else { subject }
}

#[cfg(test)]
mod tests;
