//! What is said of the pairs as they come into service, and what follows from them.

use std::time::SystemTime;

use super::platform_pair;
use super::running::Running;
use crate::credentials::{InitialLoadError, ServedCertificate};
use crate::exit::{Exit, Fault};
use crate::identity::Certificate;
use crate::lifecycle::{Phase, Validity};

/// The validity of a certificate that does not tell.
const UNREADABLE: Validity = Validity { not_before: SystemTime::UNIX_EPOCH, not_after: SystemTime::UNIX_EPOCH };

impl Running {
    pub(super) fn log_initial_load_error(&self, error: &InitialLoadError) -> Fault {
        let waited = self.config.credential_timeout.unwrap_or_default();
        match error {
            InitialLoadError::Pair(error) => {
                let files = self.config.pair_files();
                let looked =
                    files.map(|files| format!(" (looked at {} and {})", files.cert.display(), files.key.display()));
                let looked = looked.unwrap_or_default();
                let message = format!("no usable certificate and key within {waited:?}: {error}{looked}");
                let help = match error.is_absent() {
                    true => "set --cert and --key, or CF_INSTANCE_CERT and CF_INSTANCE_KEY",
                    false => {
                        error.help().unwrap_or("write both files anew, or name the right ones by --cert and --key")
                    }
                };
                Fault::new(Exit::NoCredential, message).with_help(help)
            }
            InitialLoadError::Tls(error) => Fault::new(Exit::Internal, format!("TLS cannot be configured: {error}")),
            InitialLoadError::ClientPolicy(error) => {
                let message = format!("no usable client CAs and rules within {waited:?}: {error}");
                Fault::new(Exit::Config, message).with_help("correct --client-ca, --client-crl or --policy")
            }
        }
    }

    /// Whether the platform's proxy shows that the instance is to go.
    pub(super) fn on_platform_pair(&mut self, retires: bool) {
        if retires && !self.platform_retires {
            tracing::info!(pair = platform_pair::NAME, "retirement certificate received; closing idle connections");
        }
        self.platform_retires = retires;
        self.follow_retirement();
    }

    /// Says which pairs are shown now that are not among those that were `spoken_of`, and takes the platform's sign when
    /// one of them is a retirement pair. Where there are several, each line names the pair that it is about.
    pub(super) fn on_served_certificates(&mut self, spoken_of: &[ServedCertificate]) {
        let several = self.rotator.pairs() > 1;
        let mut retires = false;
        let mut validity: Option<Validity> = None;
        for served in &self.logged {
            let certificate = Certificate::from_der(served.pair.leaf()).ok();
            let retiring = certificate.as_ref().is_some_and(Certificate::is_retirement);
            let valid = certificate.as_ref().map_or(UNREADABLE, Validity::of);
            validity = Some(validity.map_or(valid, |others| others.and(valid)));
            retires |= retiring;
            let generation = served.generation;
            let before = spoken_of.iter().find(|before| before.source == served.source);
            if before.is_some_and(|before| before.generation == generation) {
                continue;
            }
            let pair = several.then(|| tracing::field::display(&served.source));
            let instance = certificate.as_ref().and_then(Certificate::common_name);
            let not_after = jiff::Timestamp::try_from(valid.not_after).ok().map(tracing::field::display);
            if retiring {
                tracing::info!(
                    generation,
                    pair,
                    not_after,
                    "retirement certificate received; closing idle connections"
                );
            } else if before.is_none() {
                tracing::info!(generation, pair, instance, not_after, "certificate loaded");
            } else {
                tracing::info!(generation, pair, instance, not_after, "certificate rotated");
            }
        }
        self.own_retires = retires;
        if let Some(validity) = validity.filter(|_| self.logged.len() == self.rotator.pairs()) {
            self.readiness.set_serving(validity);
        }
        self.follow_retirement();
    }

    /// The instance is to be given nothing more once the platform has shown that it is to go, by one pair or the other.
    pub(super) fn follow_retirement(&self) {
        let retires = self.own_retires || self.platform_retires;
        self.readiness.set_retiring(retires);
        self.shared.phase.send_if_modified(|phase| {
            let next = if retires { Phase::Retiring } else { Phase::Running };
            let changes = *phase < Phase::Draining && *phase != next;
            if changes {
                *phase = next;
            }
            changes
        });
    }
}
