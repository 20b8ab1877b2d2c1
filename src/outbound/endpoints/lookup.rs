//! The lookup of the names behind an outbound listener, again and again.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::{Endpoints, MIN_REFRESH, ResolveState};
use crate::outbound::resolve::{Resolution, resolve};
use crate::telemetry::ResolveResult;

/// But for a failure of an endpoint, after which the name is looked up at once.
const MIN_REFRESH_ON_FAILURE: Duration = Duration::from_secs(1);

impl Endpoints {
    /// Keeps the endpoints up to date, for ever. At once done where there is no name.
    pub async fn run(&self) {
        let mut found: Vec<(String, Vec<IpAddr>)> = Vec::new();
        let mut reported = false;
        loop {
            let (mut next, mut failure) = (self.refresh, None);
            for name in self.names() {
                let began = std::time::Instant::now();
                let resolution = resolve(name).await;
                let result = match &resolution {
                    Resolution::Addresses(..) | Resolution::Partly(..) => ResolveResult::Success,
                    Resolution::Empty => ResolveResult::Empty,
                    Resolution::Failed(_) => ResolveResult::Failed,
                };
                self.counters.count_resolve(result, began);
                match self.resolved(name, resolution, &mut found) {
                    Ok(holds) => next = next.min(holds.max(MIN_REFRESH)),
                    Err(why) => {
                        next = MIN_REFRESH;
                        failure = Some(format!("{name}: {why}"));
                    }
                }
            }
            match failure {
                Some(why) if !reported => {
                    tracing::warn!(to = %self.name, error = %why, "name lookup failed; the addresses that were known, if any, go on; see DNS and /etc/resolv.conf");
                    reported = true;
                    self.note_failure(why);
                }
                Some(why) => self.note_failure(why),
                None => {
                    if reported {
                        tracing::info!(to = %self.name, "name lookup recovered");
                    }
                    reported = false;
                    self.know();
                }
            }
            if self.names().is_empty() {
                return std::future::pending().await;
            }
            tokio::select! {
                () = sleep(next) => {}
                () = async {
                    sleep(MIN_REFRESH_ON_FAILURE).await;
                    self.failed.notified().await;
                } => {}
            }
        }
    }

    /// `name` resolves to this, beside what was `found` of all names, and one name does not wait for another. Gives for how long it holds.
    ///
    /// # Errors
    /// Why nobody could say; then what was known holds.
    pub(in crate::outbound) fn resolved(
        &self,
        name: &str,
        resolution: Resolution,
        found: &mut Vec<(String, Vec<IpAddr>)>,
    ) -> Result<Duration, String> {
        let (addresses, holds) = match resolution {
            Resolution::Addresses(addresses, ttl) => (addresses, ttl),
            Resolution::Partly(mut addresses, family) => {
                let known = found.iter().filter(|(known, _)| known == name).flat_map(|(_, known)| known);
                addresses.extend(known.filter(|ip| family.has(**ip)));
                (addresses, Duration::ZERO)
            }
            Resolution::Empty => (Vec::new(), Duration::ZERO),
            Resolution::Failed(why) => return Err(why),
        };
        found.retain(|(known, _)| known != name);
        found.push((name.to_owned(), addresses));
        self.replace(found);
        if !self.current().is_empty() {
            self.know();
        }
        Ok(holds)
    }

    fn note_failure(&self, why: String) {
        self.known.send_if_modified(|known| match known {
            ResolveState::Resolved => false,
            ResolveState::Pending | ResolveState::Failed(_) => {
                *known = ResolveState::Failed(why);
                true
            }
        });
    }
}
