//! All references or none: they are asked for, and what comes is put into the app's environment.

use tokio::time::timeout;

use super::environment::EnvironmentBuilder;
use super::fetch::Fetches;
use super::files::SecretsFolder;
use super::resolved::{Resolved, ResolvedName};
use super::{Plan, SecretStores};
use crate::config::Secrets;
use crate::exit::Fault;
use crate::telemetry::SecretCounters;

/// Asks `sources` for all that `plan` refers to, and puts it together.
///
/// # Errors
/// [`crate::exit::Exit::Unavailable`]: something is missing, or could not be had in time. Nothing of what was fetched is left.
pub async fn resolve(
    plan: &Plan,
    sources: &SecretStores,
    secrets: &Secrets,
    counters: &SecretCounters,
) -> Result<Resolved, Fault> {
    SecretsFolder::remove_leftovers(secrets.dir.as_deref());
    plan.log();
    let mut fetching = Fetches::of(plan);
    if timeout(secrets.timeout, fetching.run(plan, sources, counters, true)).await.is_err() {
        return Err(fetching.overdue(secrets));
    }
    let mut assembly = EnvironmentBuilder::new(&fetching, secrets);
    assembly.assemble(plan);
    assembly.finish(plan, counters)
}

/// As [`resolve`], but that nothing comes of it: what has become of each name, in their order.
pub async fn probe(plan: &Plan, sources: &SecretStores, secrets: &Secrets) -> Vec<ResolvedName> {
    let mut fetching = Fetches::of(plan);
    // What is not there by then is said to be so, name by name.
    let _ = timeout(secrets.timeout, fetching.run(plan, sources, &SecretCounters::default(), false)).await;
    fetching.names(plan, secrets)
}
