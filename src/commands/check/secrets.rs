//! Judges what the app's environment refers to; with `--connect`, by resolving it, and never by saying what it is.

use std::sync::Arc;

use tokio::sync::watch;

use super::finding::{Findings, Subject};
use crate::config::{Config, PairSource};
use crate::credentials::ServedCertificate;
use crate::exit::Fault;
use crate::secrets;
use crate::secrets::{AppEnvironment, Plan, ResolvedName, SecretStores, SecretsFolder};
use crate::sidecar;
use crate::sys::limits;

/// Judges the references in `environment`. Nobody is asked anything unless `connects`.
///
/// # Errors
/// The runtime cannot be made.
pub(super) fn check(
    config: &Config,
    environment: &AppEnvironment,
    connects: bool,
    found: &mut Findings,
) -> Result<(), Fault> {
    let Some(wanted) = &config.secrets else { return Ok(()) };
    let plan = match Plan::read(wanted, environment) {
        Ok(plan) => plan,
        Err(diagnostics) => {
            for diagnostic in diagnostics.iter() {
                let what = format!("{}: {}", diagnostic.source, diagnostic.problem.what);
                found.problem(Subject::Secrets, what, &diagnostic.problem.help);
            }
            return Ok(());
        }
    };
    let left_alone = plan.left_alone();
    if let Some((what, help)) = left_alone {
        found.warning(Subject::Secrets, what, help);
    }
    let names = plan.names();
    if names.is_empty() {
        found.ok(Subject::Secrets, "nothing in the environment refers to a secret");
        return Ok(());
    }
    if plan.needs_files()
        && let Err(error) = SecretsFolder::check(wanted.dir.as_deref())
    {
        let what = format!("nothing can be given to the app as a file: {error}");
        found.problem(Subject::Secrets, what, "until then the app is not started");
    }
    if !connects {
        for (name, request) in names {
            found.ok(Subject::Secrets, format!("{name} refers to {request}; --connect asks for it"));
        }
        return Ok(());
    }
    let Some(served) = config.listeners.first().and_then(|listener| served(&listener.pair)) else {
        // The pair is judged for itself.
        found.problem(Subject::Secrets, "nobody is asked: there is no usable certificate to show", "see certificate");
        return Ok(());
    };
    // From here on there is more in our memory than what stands in files.
    if let Err(error) = limits::keep_memory_private() {
        found.warning(
            Subject::Secrets,
            format!("cannot mark the process non-dumpable: {error}"),
            "let it be (PR_SET_DUMPABLE)",
        );
    }
    let served = watch::Sender::new(vec![served]).subscribe();
    let stores = match SecretStores::open(wanted, &plan, &served, &Arc::default()) {
        Ok(stores) => stores,
        Err(fault) => {
            found.problem(Subject::Secrets, fault.message(), "until then nothing can be resolved");
            return Ok(());
        }
    };
    let resolved = sidecar::runtime(1)?.block_on(async {
        let resolved = secrets::probe(&plan, &stores, wanted).await;
        // What was asked for has served its turn.
        if let Some(vault) = stores.vault() {
            vault.revoke().await;
        }
        resolved
    });
    for ResolvedName { name, request, result } in resolved {
        match result {
            Ok(true) => found.ok(Subject::Secrets, format!("{name}: {request} is there")),
            Ok(false) => {
                found.ok(
                    Subject::Secrets,
                    format!("{name}: {request} is not there, and need not be: the app does not get {name}"),
                );
            }
            Err(error) => {
                let help = error.help.unwrap_or_else(|| "until then the app is not started".to_owned());
                found.problem(Subject::Secrets, format!("{name}: {request}: {}", error.what), help);
            }
        }
    }
    Ok(())
}

/// The pair, as a sidecar would serve it now.
fn served(source: &PairSource) -> Option<ServedCertificate> {
    let pair = source.load().ok()?;
    Some(ServedCertificate { source: source.clone(), pair, generation: 1, since: std::time::SystemTime::now() })
}
