//! `vestibule identity [FILE] [--json]`: what a certificate says.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::pem::Pem;
use serde::Serialize;

use super::text;
use crate::exit::{Exit, Fault};
use crate::identity::Certificate;
use crate::sys;

/// Where the platform puts the certificate if it does not say so.
const DEFAULT_CERT: &str = "/etc/cf-instance-credentials/instance.crt";

/// Which file is read: the one that was named, else `CF_INSTANCE_CERT`'s (given as `variable`), else the place where
/// Cloud Foundry keeps it.
pub fn file(named: Option<PathBuf>, variable: Option<PathBuf>) -> PathBuf {
    named.or(variable.filter(|path| !path.as_os_str().is_empty())).unwrap_or_else(|| DEFAULT_CERT.into())
}

/// Reads the file and says what its first certificate says at the time `now`; one JSON object if `json`, else aligned
/// lines. Ends with a line break.
///
/// # Errors
/// The file cannot be read, or does not begin with a certificate: status 66, with the path and the remedy.
pub fn run(path: &Path, json: bool, now: SystemTime) -> Result<String, Fault> {
    let contents = sys::file::read(path).map_err(|error| {
        let help = "name another file, or set CF_INSTANCE_CERT";
        Fault::new(Exit::NoCredential, format!("{}: cannot be read: {error}; {help}", path.display()))
    })?;
    report(&contents, json, now).map_err(|what| Fault::new(Exit::NoCredential, format!("{}: {what}", path.display())))
}

/// What [`run`] prints for a file with these contents; the error is a sentence to put behind the file's name.
///
/// # Errors
/// The contents are not certificates in PEM, or the first one cannot be read.
pub fn report(contents: &[u8], json: bool, now: SystemTime) -> Result<String, String> {
    let chain = Pem::read(contents).map_err(|error| format!("broken PEM: {error}; write the file anew"))?.chain();
    let Some((leaf, rest)) = chain.split_first() else {
        return Err("no certificate in it; give a PEM file with BEGIN CERTIFICATE, leaf first".to_owned());
    };
    let unreadable = |place: &str, error| format!("{place}: {error}; write the file anew");
    let leaf = Certificate::from_der(leaf).map_err(|error| unreadable("its first certificate", error))?;
    let rest = rest
        .iter()
        .map(|der| Certificate::from_der(der).map_err(|error| unreadable("a certificate behind the first", error)))
        .collect::<Result<Vec<_>, _>>()?;
    let facts = CertificateReport::of(&leaf, &rest, now);
    if json {
        return serde_json::to_string_pretty(&facts).map(|text| text + "\n").map_err(|error| error.to_string());
    }
    Ok(facts.to_text())
}

/// What `vestibule identity` prints, under the names that `--json` gives.
#[derive(Serialize)]
struct CertificateReport {
    organization: Option<String>,
    space: Option<String>,
    app: Option<String>,
    instance: Option<String>,
    /// Why the certificate has no identity though it claims to be Cloud Foundry's.
    invalid: Option<String>,
    retirement: bool,
    subject: String,
    dns: Vec<String>,
    ip: Vec<String>,
    uri: Vec<String>,
    email: Vec<String>,
    not_before: String,
    not_after: String,
    state: ValidityState,
    /// To the end of the last valid second; negative after it.
    seconds_left: i64,
    key_type: String,
    /// What the key is for by its extendedKeyUsage; `None`: it is not limited.
    extended_key_usage: Option<Vec<String>>,
    issuer: String,
    serial: String,
    sha256: String,
    is_ca: bool,
    chain: Vec<Link>,
    #[serde(skip)]
    time_left: String,
}

/// A certificate that follows the leaf.
#[derive(Serialize)]
struct Link {
    subject: String,
    is_ca: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ValidityState {
    Valid,
    Expired,
    NotYetValid,
}

impl CertificateReport {
    fn of(leaf: &Certificate, rest: &[Certificate], now: SystemTime) -> Self {
        let (identity, invalid) = match leaf.identity() {
            Ok(identity) => (identity, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let names = leaf.alt_names();
        let (state, time_left) = time_left(leaf, now);
        Self {
            organization: identity.as_ref().and_then(|i| i.organization).map(|guid| guid.to_string()),
            space: identity.as_ref().and_then(|i| i.space).map(|guid| guid.to_string()),
            app: identity.as_ref().and_then(|i| i.app).map(|guid| guid.to_string()),
            instance: identity.and_then(|i| i.instance).map(|id| id.to_string()),
            invalid,
            retirement: leaf.is_retirement(),
            subject: leaf.subject(),
            dns: names.dns.clone(),
            ip: names.ips.iter().map(ToString::to_string).collect(),
            uri: names.uris.clone(),
            email: names.emails.clone(),
            not_before: text::timestamp(leaf.not_before()),
            not_after: text::timestamp(leaf.not_after()),
            state,
            seconds_left: unix(leaf.not_after()).saturating_sub(unix(now)),
            key_type: leaf.key_type(),
            extended_key_usage: leaf.extended_key_usages(),
            issuer: leaf.issuer(),
            serial: leaf.serial(),
            sha256: leaf.fingerprint_hex(),
            is_ca: leaf.is_ca(),
            chain: rest.iter().map(|c| Link { subject: c.subject(), is_ca: c.is_ca() }).collect(),
            time_left,
        }
    }

    fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: &str| {
            // A String takes everything; only the trait's signature knows of errors.
            let _ = writeln!(out, "{name:<14}{value}");
        };
        let absent = if self.invalid.is_some() { "unknown: the identity is invalid" } else { "none" };
        let or_absent = |value: &Option<String>| value.clone().unwrap_or_else(|| absent.to_owned());
        line("organization", &or_absent(&self.organization));
        line("space", &or_absent(&self.space));
        line("app", &or_absent(&self.app));
        line("instance", &or_absent(&self.instance));
        if let Some(why) = &self.invalid {
            line("invalid", why);
        }
        if self.retirement {
            line("retirement", "yes: no CN and an empty DNS name; this instance is about to stop");
        }
        line("subject", &self.subject);
        for (kind, names) in [("DNS", &self.dns), ("IP", &self.ip), ("URI", &self.uri), ("email", &self.email)] {
            for name in names {
                line("also named", &format!("{kind} {}", shown(name)));
            }
        }
        line("valid from", &self.not_before);
        line("valid until", &self.not_after);
        line("time left", &self.time_left);
        line("key", &self.key_type);
        line("usage", &self.extended_key_usage.as_ref().map_or("not limited".to_owned(), |usages| usages.join(", ")));
        line("issuer", &self.issuer);
        line("serial", &self.serial);
        line("sha-256", &self.sha256);
        if self.is_ca {
            line("CA", "yes: this certificate may sign others");
        }
        line("chain", &self.chain_text());
        out
    }

    fn chain_text(&self) -> String {
        let each = |link: &Link| format!("{} ({})", link.subject, if link.is_ca { "CA" } else { "not a CA" });
        match self.chain.len() {
            0 => "no certificate follows".to_owned(),
            1 => format!("1 certificate follows: {}", self.chain.iter().map(each).collect::<String>()),
            n => format!("{n} certificates follow: {}", self.chain.iter().map(each).collect::<Vec<_>>().join(", ")),
        }
    }
}

fn time_left(leaf: &Certificate, now: SystemTime) -> (ValidityState, String) {
    match leaf.not_before().duration_since(now) {
        Ok(wait) if !wait.is_zero() => {
            return (ValidityState::NotYetValid, format!("not yet valid: begins in {}", text::duration(wait)));
        }
        _ => {}
    }
    match leaf.not_after().duration_since(now) {
        Ok(left) => (ValidityState::Valid, text::duration(left)),
        Err(past) => (ValidityState::Expired, format!("expired {} ago", text::duration(past.duration()))),
    }
}

fn unix(time: SystemTime) -> i64 {
    let seconds = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => -seconds(before.duration()),
    }
}

/// A name out of a certificate, with nothing in it that a terminal would obey.
fn shown(name: &str) -> String {
    match name {
        "" => "(empty)".to_owned(),
        name => name.escape_default().to_string(),
    }
}

#[cfg(test)]
mod tests;
