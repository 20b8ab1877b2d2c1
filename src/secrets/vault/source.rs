//! Secrets of Vault: what references ask for, by the token of a session.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::client::VaultRequest;
use super::error::{VaultError, VaultOperation};
use super::held::HeldToken;
use super::response::{self, SecretReading};
use super::session::VaultSession;
use crate::secrets::{FetchFuture, LastError, Request, SecretPart, SecretResponse, SecretStore, SourceError};

/// For so long one request is tried again and again, if what it fails by may pass.
const RETRY_FOR: Duration = Duration::from_secs(20);

/// Between two tries.
const BETWEEN: Duration = Duration::from_secs(1);

/// Secrets of Vault, KV and others, and what its transit engine opens.
pub struct VaultSource(Arc<VaultSession>);

/// Why there is no secret, and what was asked when it came to that.
struct VaultFetchFailure {
    operation: VaultOperation,
    error: VaultError,
}

impl VaultSource {
    /// Those that the tokens of `session` give.
    pub fn new(session: Arc<VaultSession>) -> Self {
        Self(session)
    }

    /// The answer, and the token that its lease ends with.
    pub(super) async fn fetch_held(
        &self,
        request: &Request,
        last_error: &LastError,
    ) -> Result<(SecretResponse, Arc<HeldToken>), SourceError> {
        let until = Instant::now() + RETRY_FOR;
        loop {
            match self.ask(request).await {
                Ok(found) => return found,
                Err(failure) if failure.error.is_transient(failure.operation) && Instant::now() + BETWEEN < until => {
                    tracing::debug!(error = %failure.error, "Vault request failed; retrying");
                    last_error.note(failure.into());
                    sleep(BETWEEN).await;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn ask(
        &self,
        request: &Request,
    ) -> Result<Result<(SecretResponse, Arc<HeldToken>), SourceError>, VaultFetchFailure> {
        let (operation, path, body) = match request {
            Request::Vault { path, version } => {
                let version = version.map(|version| format!("?version={version}")).unwrap_or_default();
                (VaultOperation::Secret, format!("{}{version}", escaped(path)), None)
            }
            Request::Transit { mount, key, ciphertext } => {
                let body = json!({ "ciphertext": ciphertext }).to_string();
                (
                    VaultOperation::Transit,
                    format!("{}/decrypt/{}", escaped(mount), escaped(key)),
                    Some(body.into_bytes()),
                )
            }
            Request::CredHub { .. } | Request::File { .. } => {
                return Ok(Err(SourceError::failed("this is not Vault's to answer; please report this")));
            }
        };
        let of_login = |error| VaultFetchFailure { operation: VaultOperation::Login, error };
        let of_secret = |error| VaultFetchFailure { operation, error };
        let call = async |held: &HeldToken| {
            let call = match &body {
                Some(body) => VaultRequest::post(&path, Some(&held.token), body),
                None => VaultRequest::get(&path, &held.token),
            };
            held.client.call(&call).await
        };
        let mut held = self.0.token().await.map_err(of_login)?;
        let mut reply = call(&held).await;
        // A token that is gone is no reason to believe that we may not.
        if let Err(error) = &reply
            && self.0.is_gone(&held, error).await
        {
            self.0.forget(&held, error).await;
            held = self.0.token().await.map_err(of_login)?;
            reply = call(&held).await;
        }
        let unusable =
            |what: &str| SourceError::failed(format!("{}: the answer to {path} {what}", self.0.config().url));
        let reply = match reply {
            Ok(reply) => reply,
            Err(VaultError::Refused { url, status: StatusCode::NOT_FOUND, text, .. })
                if operation == VaultOperation::Secret =>
            {
                let why = if text.is_empty() { String::new() } else { format!(" ({text})") };
                let missing = SourceError::missing(format!("{url} has nothing at {path}{why}"));
                let help =
                    "store it there, or write ?optional behind the reference; on KV 2 the path is MOUNT/data/NAME";
                return Ok(Err(missing.with_help(help)));
            }
            Err(error) => return Err(of_secret(error)),
        };
        Ok(match operation {
            VaultOperation::Transit => response::plaintext(&reply.body)
                .map(|plain| SecretResponse { whole: Some(SecretPart::Value(plain)), fields: Vec::new(), lease: None })
                .map_err(unusable),
            VaultOperation::Secret | VaultOperation::Login => {
                match response::secret(&reply.body, version_of(request)) {
                    Ok(SecretReading::Found(answer)) => Ok(answer),
                    Ok(SecretReading::Missing(why)) => {
                        let missing = SourceError::missing(format!("{}: {path} {why}", self.0.config().url));
                        Err(missing.with_help("store it there, or write ?optional behind the reference"))
                    }
                    Err(what) => Err(unusable(what)),
                }
            }
        }
        .map(|answer| (answer, held)))
    }
}

fn version_of(request: &Request) -> Option<u32> {
    match request {
        Request::Vault { version, .. } => *version,
        _ => None,
    }
}

impl From<VaultFetchFailure> for SourceError {
    fn from(VaultFetchFailure { operation, error }: VaultFetchFailure) -> Self {
        let failed = Self::failed(error.to_string());
        match error.help(operation) {
            Some(help) => failed.with_help(help),
            None => failed,
        }
    }
}

impl SecretStore for VaultSource {
    fn fetch<'a>(&'a self, request: &'a Request, last_error: &'a LastError) -> FetchFuture<'a> {
        Box::pin(async move {
            let (answer, held) = self.fetch_held(request, last_error).await?;
            if let Some(lease) = &answer.lease {
                self.0.hold(&lease.id, held).await;
            }
            Ok(answer)
        })
    }
}

/// `path`, fit for a URL (RFC 3986, 3.3): nothing in it begins a query.
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_path_ends_it() {
        assert_eq!(escaped("secret/data/a b?c#d%e/ä"), "secret/data/a%20b%3Fc%23d%25e/%C3%A4");
        assert_eq!(escaped("a/B-_.~/@:"), "a/B-_.~/@:");
    }
}
