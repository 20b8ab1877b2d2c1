//! What follows from secrets of the app that are replaced, or end.

use tokio::sync::mpsc;

use super::running::Running;
use crate::config::OnSecretExpiry;
use crate::exit::{Exit, Fault};
use crate::secrets::vault::LeaseEvent;

impl Running {
    /// What follows from `event`; the end, if that is what it is.
    pub(super) fn on_lease_event(&self, event: LeaseEvent) -> Option<Fault> {
        let config = self.config.secrets.as_ref()?;
        match event {
            LeaseEvent::Replaced => {
                if let (Some(app), Some(signal)) = (&self.app, config.signal) {
                    tracing::info!(%signal, "secret files replaced; signal sent to app");
                    app.signal(signal);
                }
                None
            }
            LeaseEvent::Ending(variables) => (config.on_expiry == OnSecretExpiry::Stop).then(|| {
                Fault::new(Exit::Unavailable, format!("a secret in {} is about to end", variables.join(", ")))
                    .with_help("whoever starts us has the app started anew, with a new one")
            }),
        }
    }

    /// Lets the token of Vault go, and with it whatever ends with it.
    pub(super) async fn revoke_secrets(&mut self) {
        if let Some(session) = self.vault.take() {
            session.revoke().await;
        }
    }
}

/// What becomes of secrets that end; for ever where none does.
pub(super) async fn next_lease_event(events: &mut Option<mpsc::Receiver<LeaseEvent>>) -> LeaseEvent {
    let event = match events {
        Some(events) => events.recv().await,
        None => None,
    };
    match event {
        Some(event) => event,
        None => std::future::pending().await,
    }
}
