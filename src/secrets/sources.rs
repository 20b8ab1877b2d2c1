//! The stores that references are fetched from (CredHub, Vault, files), as far as any of theirs are referred to.

use std::io;
use std::io::ErrorKind;
use std::sync::Arc;

use tokio::sync::watch;

use super::credhub::CredHub;
use super::source::{FetchFuture, LastError, Request, SecretPart, SecretResponse, SecretStore, SourceError};
use super::vault::{VaultSession, VaultSource};
use super::{Plan, SecretValue};
use crate::config::{SecretSource, Secrets};
use crate::credentials::ServedCertificate;
use crate::exit::{Exit, Fault};
use crate::sys;
use crate::telemetry::VaultCounters;

/// The stores that references are fetched from.
#[derive(Default)]
pub struct SecretStores {
    /// It resolves documents too.
    pub(super) credhub: Option<Arc<CredHub>>,
    /// It holds a token, which is to be let go.
    vault: Option<Arc<VaultSession>>,
    others: Vec<(SecretSource, Arc<dyn SecretStore>)>,
}

impl SecretStores {
    /// Those of `secrets` of which `plan` has references. Nobody is asked anything yet. `served` has the pair that they are shown.
    ///
    /// # Errors
    /// [`Exit::Unavailable`]: what vouches for one of them cannot be used.
    pub fn open(
        secrets: &Secrets,
        plan: &Plan,
        served: &watch::Receiver<Vec<ServedCertificate>>,
        counters: &Arc<VaultCounters>,
    ) -> Result<Self, Fault> {
        let mut sources = Self::default();
        if plan.refers_to(SecretSource::Credhub) {
            let credhub = CredHub::new(&secrets.credhub, served.clone());
            sources.credhub = credhub.map_err(|what| Fault::new(Exit::Unavailable, what))?.map(Arc::new);
        }
        let of_vault = [SecretSource::Vault, SecretSource::Transit].map(|kind| (kind, plan.refers_to(kind)));
        if let Some(vault) = secrets.vault.as_ref().filter(|_| of_vault.iter().any(|(_, refers)| *refers)) {
            let session = Arc::new(VaultSession::new(vault.clone(), served.clone(), Arc::clone(counters)));
            for (kind, _) in of_vault {
                sources.add(kind, Arc::new(VaultSource::new(Arc::clone(&session))));
            }
            sources.vault = Some(session);
        }
        if plan.refers_to(SecretSource::File) {
            sources.add(SecretSource::File, Arc::new(Files));
        }
        Ok(sources)
    }

    /// The session with Vault, if there is one.
    pub fn vault(&self) -> Option<&Arc<VaultSession>> {
        self.vault.as_ref()
    }

    /// Has `source` answer what is for `kind`.
    pub fn add(&mut self, kind: SecretSource, source: Arc<dyn SecretStore>) {
        self.others.push((kind, source));
    }

    /// Whoever answers what is for `kind`.
    pub(super) fn source(&self, kind: SecretSource) -> Option<Arc<dyn SecretStore>> {
        if kind == SecretSource::Credhub {
            return self.credhub.clone().map(|credhub| credhub as Arc<dyn SecretStore>);
        }
        self.others.iter().find(|(known, _)| *known == kind).map(|(_, source)| Arc::clone(source))
    }
}

/// Files of this machine.
struct Files;

impl SecretStore for Files {
    fn fetch<'a>(&'a self, request: &'a Request, _: &'a LastError) -> FetchFuture<'a> {
        Box::pin(async move {
            let Request::File { path } = request else {
                return Err(SourceError::failed(format!("{request} is no file")));
            };
            // A secret is short, and where it is read the relay does not run yet.
            sys::file::read_regular(path).map(answer).map_err(|error| unread(&error))
        })
    }
}

/// Without the newline that editors leave at the end.
fn answer(mut bytes: Vec<u8>) -> SecretResponse {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    SecretResponse { whole: Some(SecretPart::Value(SecretValue::new(bytes))), fields: Vec::new(), lease: None }
}

fn unread(error: &io::Error) -> SourceError {
    match error.kind() {
        ErrorKind::NotFound => SourceError::missing("the file does not exist")
            .with_help("write or mount it before the start, or correct the path"),
        _ => SourceError::failed(format!("the file cannot be read: {error}")),
    }
}
