//! What Vault answers, read. Pure: any bytes at all, and no message repeats any of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::secrets::{SecretLease, SecretResponse, SecretValue, json};

/// No lease is believed to be longer: nobody waits for so long.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A token of Vault's. Whoever has its text can use it, so it is neither shown nor compared.
#[derive(Clone)]
pub struct VaultToken(Arc<Zeroizing<String>>);

/// What a login gives.
#[derive(Clone)]
pub(super) struct Auth {
    /// The token.
    pub(super) token: VaultToken,
    /// How long it is good; zero: for ever.
    pub(super) lease: Duration,
    /// Whether it can be made longer.
    pub(super) renewable: bool,
    /// How often it can be used; `None`: as often as one likes.
    pub(super) uses: Option<u64>,
}

/// A login that is wrapped: whoever unwraps it, once, has the token.
pub(super) struct Wrapped {
    /// What it is unwrapped with.
    pub(super) token: VaultToken,
    /// What was asked for it to come to be.
    pub(super) creation_path: String,
}

/// The answer to a login.
pub(super) enum LoginResponse {
    /// The token.
    Auth(Auth),
    /// What holds the token.
    Wrapped(Wrapped),
}

/// How long something is good from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Renewal {
    /// Zero: for ever.
    pub(super) lease: Duration,
    /// Whether that can be done again.
    pub(super) renewable: bool,
}

/// What is wrong with an answer, as the end of a sentence.
pub(super) type ResponseProblem = &'static str;

const NO_JSON: ResponseProblem = "is no JSON that Vault would write; see whether something else is there";

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    lease_id: Option<String>,
    #[serde(default)]
    lease_duration: Option<u64>,
    #[serde(default)]
    renewable: Option<bool>,
    #[serde(default)]
    auth: Option<AuthBody>,
    #[serde(default)]
    wrap_info: Option<WrapBody>,
}

#[derive(Deserialize)]
struct AuthBody {
    #[serde(default)]
    client_token: Option<String>,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    num_uses: u64,
}

#[derive(Deserialize)]
struct WrapBody {
    token: String,
    #[serde(default)]
    creation_path: String,
}

impl VaultToken {
    /// The token with this text; `None`: it cannot be one, for it cannot be sent in a header.
    fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(Arc::new(text)))
    }

    /// Its text, one word of ASCII. It is a secret.
    pub fn text(&self) -> &str {
        &self.0
    }
}

fn envelope(body: &[u8]) -> Result<Envelope<'_>, ResponseProblem> {
    object(std::str::from_utf8(body).map_err(|_| NO_JSON)?).ok_or(NO_JSON)
}

/// The object in `text`. An array with the same values in it is none, though serde would take it for one.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

fn duration(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(LONGEST)
}

/// The answer to a login, or to unwrapping one.
pub(super) fn login(body: &[u8]) -> Result<LoginResponse, ResponseProblem> {
    const NO_TOKEN: ResponseProblem = "has no token in it; see whether something else is there";
    let envelope = envelope(body)?;
    if let Some(WrapBody { token, creation_path }) = envelope.wrap_info {
        let token = VaultToken::new(token).ok_or(NO_TOKEN)?;
        return Ok(LoginResponse::Wrapped(Wrapped { token, creation_path }));
    }
    let auth = envelope.auth.ok_or(NO_TOKEN)?;
    let token = auth.client_token.and_then(VaultToken::new).ok_or(NO_TOKEN)?;
    let uses = Some(auth.num_uses).filter(|uses| *uses > 0);
    let AuthBody { lease_duration, renewable, .. } = auth;
    Ok(LoginResponse::Auth(Auth { token, lease: duration(lease_duration), renewable, uses }))
}

/// What a token was renewed to; `None`: it was not, whatever the status says.
pub(super) fn token_renewal(body: &[u8]) -> Option<Renewal> {
    let AuthBody { lease_duration, renewable, .. } = envelope(body).ok()?.auth?;
    Some(Renewal { lease: duration(lease_duration), renewable })
}

/// What a lease was renewed to; `None`: it was not.
pub(super) fn lease_renewal(body: &[u8]) -> Option<Renewal> {
    let Envelope { lease_duration, renewable, .. } = envelope(body).ok()?;
    Some(Renewal { lease: duration(lease_duration?), renewable: renewable.unwrap_or(false) })
}

/// What there is to say of an answer to a question for a secret.
pub(super) enum SecretReading {
    /// There it is.
    Found(SecretResponse),
    /// There is none, for this reason.
    Missing(String),
}

/// KV 2 writes what was stored in `data`, and beside it what is known of that version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Versioned<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: VersionMetadata,
}

#[derive(Deserialize)]
struct VersionMetadata {
    version: u64,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

/// The secret in `body`, of which `version` was asked for.
pub(super) fn secret(body: &[u8], version: Option<u32>) -> Result<SecretReading, ResponseProblem> {
    let Envelope { data, lease_id, lease_duration, renewable, .. } = envelope(body)?;
    // Where there is no secret Vault says 404. Whatever says something else may well be no Vault.
    let data = data.ok_or("has no data in it; see whether something else is there")?;
    let data = match object::<Versioned<'_>>(data.get()) {
        Some(Versioned { data: Some(data), metadata }) => {
            if version.is_some_and(|version| u64::from(version) != metadata.version) {
                return Err("is another version than was asked for");
            }
            data
        }
        Some(Versioned { data: None, metadata: VersionMetadata { version, destroyed, .. } }) => {
            let how = if destroyed { "destroyed" } else { "deleted" };
            return Ok(SecretReading::Missing(format!("has version {version}, which was {how}")));
        }
        None if version.is_some() => return Err("has no versions, for it is not of KV 2; leave out #VERSION"),
        None => data,
    };
    let members: BTreeMap<String, &RawValue> =
        object(data.get()).ok_or("is no secret with keys; see where this path leads")?;
    let fields = members.into_iter().map(|(name, value)| (name, json::part(value.get()))).collect();
    let lease = lease_id.filter(|id| !id.is_empty()).map(|id| SecretLease {
        id,
        duration: duration(lease_duration.unwrap_or_default()),
        renewable: renewable.unwrap_or(false),
    });
    Ok(SecretReading::Found(SecretResponse { whole: None, fields, lease }))
}

/// What a 404 of KV 2 says of the version, where it says more than that there is nothing.
pub(super) fn missing(body: &[u8]) -> Option<String> {
    let data = envelope(body).ok()?.data?;
    let VersionMetadata { version, destroyed, deletion_time } = object::<Versioned<'_>>(data.get())?.metadata;
    match (destroyed, deletion_time.is_empty()) {
        (true, _) => Some(format!("version {version} was destroyed")),
        (false, false) => Some(format!("version {version} was deleted")),
        (false, true) => None,
    }
}

/// What the transit engine has opened.
pub(super) fn plaintext(body: &[u8]) -> Result<SecretValue, ResponseProblem> {
    #[derive(Deserialize)]
    struct TransitPlaintext {
        plaintext: String,
    }
    const NOTHING: ResponseProblem = "has no plaintext in it; see whether something else is there";
    let data = envelope(body)?.data.ok_or(NOTHING)?;
    let TransitPlaintext { plaintext } = object(data.get()).ok_or(NOTHING)?;
    let plaintext = Zeroizing::new(plaintext);
    Base64::decode_vec(&plaintext)
        .map(SecretValue::new)
        .map_err(|_| "has a plaintext that is no base64; see whether something else is there")
}

#[cfg(test)]
mod tests;
