//! One login: which pair is shown, what is sent, and what is believed of the answer.

use std::time::SystemTime;

use super::VaultSession;
use crate::credentials::{ServedCertificate, run_blocking};
use crate::secrets::rotation;
use crate::secrets::vault::client::{VaultClient, VaultRequest};
use crate::secrets::vault::error::{VaultError, VaultOperation};
use crate::secrets::vault::login;
use crate::secrets::vault::response::{self, Auth, LoginResponse, Wrapped};

impl VaultSession {
    /// The answer to a login with the pair in service, the client that has it, and that pair's generation. Who was refused with a pair that
    /// was replaced meanwhile asks again.
    pub(super) async fn ask_for_token(&self) -> Result<(LoginResponse, VaultClient, u64), VaultError> {
        loop {
            let mut shown = None;
            let result = self.ask_for_token_once(&mut shown).await;
            self.counters.count_login(self.config.method(), result.is_ok());
            match (result, shown) {
                (Err(error), Some(generation))
                    if error.is_of_the_pair(VaultOperation::Login)
                        && rotation::has_successor(&self.pairs, generation).await =>
                {
                    tracing::debug!(generation, %error, "Vault login refused; it is tried again with the new certificate");
                }
                (result, _) => return result,
            }
        }
    }

    /// One login, uncounted. Which pair is shown is told as soon as it is known.
    async fn ask_for_token_once(
        &self,
        shown: &mut Option<u64>,
    ) -> Result<(LoginResponse, VaultClient, u64), VaultError> {
        let mut pairs = self.pairs.clone();
        // The first pair is waited for; nobody is left to bring one only when the process ends.
        let served = match pairs.wait_for(|served| !served.is_empty()).await {
            Ok(served) => served.first().cloned(),
            Err(_) => None,
        };
        let Some(ServedCertificate { pair, generation, .. }) = served else {
            return Err(self.unusable("was not asked for: there is no pair"));
        };
        *shown = Some(generation);
        let config = self.config.clone();
        // A signature, and the files of CAs.
        let prepared = run_blocking(move || {
            let body = login::body(&config, &pair, SystemTime::now())?;
            Ok::<_, VaultError>((body, VaultClient::new(&config, &pair)?))
        });
        let (body, client) =
            prepared.await.map_err(|_| self.unusable("could not be asked for; please report this"))??;
        let path = self.login_path();
        let mut call = VaultRequest::post(&path, None, &body.json);
        let secrets = [body.secret.as_str()];
        call.secrets = &secrets;
        call.wrap_ttl = self.config.wrap_ttl;
        let reply = client.call(&call).await?;
        let answer = response::login(&reply.body).map_err(|what| self.unusable(what))?;
        match &answer {
            LoginResponse::Auth(_) if self.config.wrap_ttl.is_some() => {
                Err(self.unusable("is not wrapped, though it was to be"))
            }
            // Somebody may have put in what they have wrapped themselves.
            LoginResponse::Wrapped(wrapped) if wrapped.creation_path != path => {
                Err(self
                    .unusable("was wrapped elsewhere: somebody may have had it before; look at the audit log of Vault"))
            }
            _ => {
                tracing::debug!(jti = body.jti, "Vault login accepted the token");
                Ok((answer, client, generation))
            }
        }
    }

    pub(super) async fn unwrap(&self, client: &VaultClient, wrapped: &Wrapped) -> Result<Auth, VaultError> {
        let reply = client.call(&VaultRequest::post("sys/wrapping/unwrap", Some(&wrapped.token), b"")).await?;
        match response::login(&reply.body) {
            Ok(LoginResponse::Auth(auth)) => Ok(auth),
            Ok(LoginResponse::Wrapped(_)) => Err(self.unusable("is wrapped twice")),
            Err(what) => Err(self.unusable(what)),
        }
    }
}
