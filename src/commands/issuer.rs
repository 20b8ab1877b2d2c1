//! `vestibule issuer DIR`: a development CA that writes and rotates instance credentials as Diego does.
//!
//! What it prints is a shell script: the exports, and everything else as comments, so that
//! `eval "$(vestibule issuer DIR --once)"` sets up a shell.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::text;
use crate::cli::IssuerArgs;
use crate::exit::{Exit, Fault};
use crate::identity::{Certificate, Identity};
use crate::issuer::schedule::rotate_after;
use crate::issuer::{CertificateAuthority, Credential, Flaw, Folder, InstanceSpec, IssuerError, KeyKind};
use crate::pem::Pem;
use crate::sys;

/// One pair that is kept fresh.
struct IssuedTo {
    what: &'static str,
    folder: Folder,
    spec: InstanceSpec,
}

/// Writes the CA and the pairs, says so on `out`, and rotates until SIGINT or SIGTERM unless told to end at once.
/// Brings a runtime of its own, so it must not be called from within one.
///
/// # Errors
/// An option that cannot be (status 2), a file that cannot be written (status 78), or `out` (status 70).
pub fn run(options: &IssuerArgs, out: &mut dyn Write) -> Result<(), Fault> {
    let every = options.check()?;
    let dir = std::path::absolute(&options.dir)
        .map_err(|error| config(format!("{}: not a folder's path: {error}", options.dir.display())))?;
    let (spec, holders) = options.holders(&dir)?;
    let authority = CertificateAuthority::open_or_create(&dir.join("authority"), SystemTime::now()).map_err(fault)?;
    authority.write_roots(&dir.join("ca.crt")).map_err(fault)?;
    say(out, format_args!("# ca.crt: the root and the issuing CA; what the other side trusts"))?;

    for (i, holder) in holders.iter().enumerate() {
        let flaw = options.inject.filter(|_| i == 0);
        let note = match (options.retire && i == 0, flaw) {
            (true, _) => " (retirement)".to_owned(),
            (_, Some(flaw)) => format!(" (faulty on purpose: {flaw})"),
            _ => String::new(),
        };
        let line = holder.write(&authority, flaw, SystemTime::now()).map_err(fault)?;
        // Not the whole path: a line break in it would end the comment.
        let cert = holder.folder.cert();
        let cert = cert.strip_prefix(&dir).unwrap_or(&cert);
        say(out, format_args!("# {}: {}{note}: {line}", cert.display(), holder.what))?;
    }
    let own = Folder::instance(&dir);
    if options.retire || options.inject.is_some() {
        note_identity(&authority, &spec, &noted(&dir, &own))?;
    }
    let (cert, key) = (text::quoted(&own.cert()), text::quoted(&own.key()));
    say(out, format_args!("export CF_INSTANCE_CERT={cert} CF_INSTANCE_KEY={key}"))?;
    if options.once || options.retire {
        return Ok(());
    }
    say(out, format_args!("# rotating every {}; Ctrl-C ends it", text::duration(every)))?;
    rotate(&holders, &authority, every, out)
}

impl IssuerArgs {
    /// Looks for what cannot be, and gives the time between rotations.
    fn check(&self) -> Result<Duration, Fault> {
        let mut diagnostics = Vec::new();
        if self.validity < Duration::from_secs(1) {
            diagnostics.push("--validity is under a second; certificates count whole seconds".to_owned());
        }
        let every = self.rotate_every.unwrap_or_else(|| rotate_after(self.validity));
        if every.is_zero() {
            diagnostics.push("--rotate-every is zero; give a time, or leave it out for Diego's schedule".to_owned());
        }
        if self.retire && self.inject.is_some() {
            diagnostics.push("--retire and --inject exclude each other; give one of them".to_owned());
        }
        for (flag, text) in [("--org", &self.org), ("--space", &self.space), ("--app", &self.app)] {
            if let Some(Err(error)) = text.as_ref().map(|text| text.parse::<crate::identity::Guid>()) {
                diagnostics.push(format!("{flag}: {error}"));
            }
        }
        if let Some(Err(error)) = self.instance.as_ref().map(|text| text.parse::<crate::identity::AppInstanceId>()) {
            diagnostics.push(format!("--instance: {error}"));
        }
        if diagnostics.is_empty() { Ok(every) } else { Err(Fault::new(Exit::Usage, diagnostics.join("\n"))) }
    }

    /// The instance as it is while it runs, and the pairs to write, its own first. What was not typed is as in the files that are there already.
    fn holders(&self, dir: &Path) -> Result<(InstanceSpec, Vec<IssuedTo>), Fault> {
        let folder = Folder::instance(dir);
        let mut spec = known(dir, &folder, self.fresh()?);
        // `check` has seen that these parse.
        let guid = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        spec.organization = guid(&self.org).unwrap_or(spec.organization);
        spec.space = guid(&self.space).unwrap_or(spec.space);
        spec.app = guid(&self.app).unwrap_or(spec.app);
        if let Some(Ok(instance)) = self.instance.as_ref().map(|text| text.parse()) {
            spec.instance = Some(instance);
        }
        let own = if self.retire { spec.retired() } else { spec.clone() };
        let mut holders = vec![IssuedTo { what: "instance", folder, spec: own }];
        if self.second_instance {
            let folder = Folder::instance(dir.join("second"));
            let instance = known(folder.dir(), &folder, spec.sibling().map_err(fault)?).instance;
            holders.push(IssuedTo { what: "second instance", folder, spec: InstanceSpec { instance, ..spec.clone() } });
        }
        if self.client {
            let folder = Folder::client(dir);
            let stranger = InstanceSpec { organization: spec.organization, space: spec.space, ..self.fresh()? };
            holders.push(IssuedTo { what: "another app", spec: known(dir, &folder, stranger), folder });
        }
        for name in &self.clients_named {
            let folder = Folder::named(dir, name);
            let another = InstanceSpec { organization: spec.organization, space: spec.space, ..self.fresh()? };
            holders.push(IssuedTo { what: "another app", spec: known(dir, &folder, another), folder });
        }
        Ok((spec, holders))
    }

    fn fresh(&self) -> Result<InstanceSpec, Fault> {
        let random = InstanceSpec::generate().map_err(fault)?;
        Ok(InstanceSpec { ip: self.ip, validity: self.validity, key: self.key, ..random })
    }
}

impl IssuedTo {
    /// Writes the next pair; the line that says so.
    fn write(
        &self,
        authority: &CertificateAuthority,
        flaw: Option<Flaw>,
        now: SystemTime,
    ) -> Result<String, IssuerError> {
        let credential = match flaw {
            Some(flaw) => flaw.write(&self.folder, authority, &self.spec, now)?,
            None => {
                let credential = authority.issue(&self.spec, now)?;
                self.folder.write(&credential)?;
                credential
            }
        };
        Ok(self.summary(&credential))
    }

    fn summary(&self, credential: &Credential) -> String {
        let instance = self.spec.instance.as_ref().map_or("none", |instance| instance.as_str());
        let dates = Certificate::from_der(&credential.leaf).map_or_else(
            |error| error.to_string(),
            |leaf| format!("serial {}, valid until {}", leaf.serial(), text::timestamp(leaf.not_after())),
        );
        format!("app {}, instance {instance}, {dates}", self.spec.app)
    }
}

/// `spec` with the identity that was last issued to `folder`: that of the certificate there, or where this says less (it announces a
/// retirement, or is faulty on purpose) the one that was noted beside the CA in `dir`.
fn known(dir: &Path, folder: &Folder, spec: InstanceSpec) -> InstanceSpec {
    let leaf = |path: PathBuf| Pem::read(&sys::file::read_regular(&path).ok()?).ok()?.chain().into_iter().next();
    let spec = with_identity_of(leaf(noted(dir, folder)), spec);
    with_identity_of(leaf(folder.cert()), spec)
}

/// Keeps the identity of `spec` for the next run, as a certificate of its own.
fn note_identity(authority: &CertificateAuthority, spec: &InstanceSpec, path: &Path) -> Result<(), Fault> {
    let last =
        authority.issue(&InstanceSpec { key: KeyKind::P256, ..spec.clone() }, SystemTime::now()).map_err(fault)?;
    fs::write(path, last.cert_pem).map_err(|error| fault(IssuerError::file(path, "written")(error)))
}

/// Where the last certificate is noted that had a whole identity.
fn noted(dir: &Path, folder: &Folder) -> PathBuf {
    dir.join("authority").join(format!("{}.last.crt", folder.name()))
}

fn with_identity_of(leaf: Option<CertificateDer<'_>>, spec: InstanceSpec) -> InstanceSpec {
    match leaf.map(|leaf| Identity::from_der(&leaf)) {
        Some(Ok(Some(identity))) => InstanceSpec {
            organization: identity.organization.unwrap_or(spec.organization),
            space: identity.space.unwrap_or(spec.space),
            app: identity.app.unwrap_or(spec.app),
            instance: identity.instance.or(spec.instance),
            ..spec
        },
        // Nothing there, or torn: what is about to be written mends it.
        _ => spec,
    }
}

fn rotate(
    holders: &[IssuedTo],
    authority: &CertificateAuthority,
    every: Duration,
    out: &mut dyn Write,
) -> Result<(), Fault> {
    let internal = |error: std::io::Error| Fault::new(Exit::Internal, format!("runtime cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
        let mut ticks = tokio::time::interval(every);
        // A machine that slept owes one rotation, not all that it missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        for generation in 2_u64.. {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            }
            for holder in holders {
                let line = holder.write(authority, None, SystemTime::now()).map_err(fault)?;
                say(out, format_args!("# rotation {generation}: {}: {line}", holder.what))?;
            }
        }
        Ok(())
    })
}

fn say(out: &mut dyn Write, line: std::fmt::Arguments<'_>) -> Result<(), Fault> {
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| Fault::of_stdout(&error))
}

fn fault(error: IssuerError) -> Fault {
    config(error.to_string())
}

fn config(message: String) -> Fault {
    Fault::new(Exit::Config, message)
}

#[cfg(test)]
mod tests;
