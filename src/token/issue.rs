//! A token, signed with the key of the pair in service.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use der::asn1::UintRef;
use der::{Decode, Sequence};
use serde_json::{Map, Value, json};
use strum::EnumString;

use super::issue_error::{IssueError, TokenParts};
use super::{Algorithm, LONGEST_TOKEN, identity_claims};
use crate::config::values;
use crate::credentials::Pair;
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;
use crate::identity::{Certificate, Identity, PublicKeyKind};
use crate::trust::has_issued;

/// `nbf` lies this long before `iat`, for receivers whose clock is late.
const BACKDATED: Duration = Duration::from_secs(30);

/// A token that lives for less is of no use to anybody.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);

/// What a token is to say, beside who the instance is. Tokens of equal requests can stand for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// For whom it is; never empty.
    pub audience: Vec<String>,
    /// How long it is to live. It never outlives a certificate.
    pub ttl: Duration,
    /// How it is written.
    pub form: TokenForm,
    /// How it is signed; `None`: as the key suggests.
    pub algorithm: Option<Algorithm>,
    /// Which certificates it carries.
    pub chain: ChainPart,
    /// The claim `sub`; `None`: the app of the certificate, or else its first URI.
    pub subject: Option<String>,
    /// The claim `iss`; `None`: the subject.
    pub issuer: Option<String>,
    /// What else it says.
    pub claims: Vec<Claim>,
    /// Whether it counts only together with our certificate (RFC 8705, section 3.1).
    pub bind: bool,
}

/// How a token is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenForm {
    /// With `x5c` in the header (RFC 7515, section 4.1.6).
    Standard,
    /// As Comcast's plugin for Vault reads it: the key and its certificates in the header parameter `JWK`. RSA only.
    Comcast {
        /// The claim `Policies`; never empty.
        policies: Vec<String>,
    },
    /// As UAA reads a client's assertion (RFC 7523): without certificates.
    Uaa {
        /// The claims `iss` and `sub`.
        client_id: String,
    },
}

/// Which certificates a token carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum ChainPart {
    /// The leaf and what of the file has issued it, a root left out.
    Full,
    /// The leaf.
    Leaf,
    /// None: the receiver has the certificate.
    None,
}

/// A claim of the caller's own: a name that nothing else stands for, and a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    name: String,
    value: String,
}

/// A token. Whoever has its text can use it, so it is not printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    text: String,
    /// The claim `jti`, which names it in logs.
    pub jti: String,
    /// The claim `iat`, in seconds since 1970.
    pub issued_at: u64,
    /// The claim `exp`, in seconds since 1970.
    pub expires_at: u64,
}

impl TokenRequest {
    /// A token of the standard form for `audience` that lives for `ttl`, with the whole chain.
    pub fn new(audience: impl Into<String>, ttl: Duration) -> Self {
        Self {
            audience: vec![audience.into()],
            ttl,
            form: TokenForm::Standard,
            algorithm: None,
            chain: ChainPart::Full,
            subject: None,
            issuer: None,
            claims: Vec::new(),
            bind: false,
        }
    }
}

impl TokenForm {
    /// The word for it, in options, logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Comcast { .. } => "comcast",
            Self::Uaa { .. } => "uaa",
        }
    }
}

impl IssuedToken {
    /// The token itself, one word of ASCII. It is a secret.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("jti", &self.jti)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl FromStr for Claim {
    type Err = Problem;

    /// Reads `NAME=TEXT`. Names that say who made the token, for whom, until when and by which right are not the caller's (RFC 7519, section 4.1).
    fn from_str(text: &str) -> Result<Self, Problem> {
        const TAKEN: [&str; 9] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf", "Policies"];
        let help = "write NAME=TEXT";
        let (name, value) =
            text.split_once('=').ok_or_else(|| Problem::new(format!("{} has no =", quote(text)), help))?;
        values::name(name).map_err(|wrong| Problem::new(format!("the name of the claim {}", wrong.what), help))?;
        if TAKEN.contains(&name) || name.ends_with("_guid") {
            let what = format!("the claim {name} is written by ourselves");
            return Err(Problem::new(what, "choose another name"));
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

impl Claim {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Signs a token of `request` with the key of `pair` at the time `now`. It costs a signature: up to some milliseconds of a core for RSA.
///
/// # Errors
/// [`IssueError`]: the pair is not one to vouch for anybody now, or the request does not fit it.
pub fn issue(pair: &Pair, request: &TokenRequest, now: SystemTime) -> Result<IssuedToken, IssueError> {
    let signer = TokenSigner::new(pair, request, now)?;
    let header = signer.header();
    let jti = random_id()?;
    let claims = signer.claims(&jti)?;
    let encode =
        |value: Map<String, Value>| Base64UrlUnpadded::encode_string(Value::Object(value).to_string().as_bytes());
    let (header, claims) = (encode(header), encode(claims));
    let mut text = format!("{header}.{claims}");
    let signature = sign(pair, signer.algorithm, text.as_bytes())?;
    text.push('.');
    text.push_str(&Base64UrlUnpadded::encode_string(&signature));
    if text.len() > LONGEST_TOKEN {
        let (all, certificates) = (text.len(), signer.carried().len());
        return Err(IssueError::TooLong(TokenParts { all, header: header.len(), certificates, claims: claims.len() }));
    }
    Ok(IssuedToken { text, jti, issued_at: signer.issued_at, expires_at: signer.expires_at })
}

/// Everything that is known before the token is written.
struct TokenSigner<'a> {
    request: &'a TokenRequest,
    leaf: Certificate,
    /// The certificates that the token carries, leaf first, in DER.
    chain: Vec<&'a [u8]>,
    identity: Option<Identity>,
    algorithm: Algorithm,
    issued_at: u64,
    expires_at: u64,
}

impl<'a> TokenSigner<'a> {
    fn new(pair: &'a Pair, request: &'a TokenRequest, now: SystemTime) -> Result<Self, IssueError> {
        let all = pair.chain().iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
        let leaf = Certificate::from_der(pair.leaf())?;
        if leaf.is_retirement() {
            return Err(IssueError::Retired);
        }
        for one in &all {
            if now < one.not_before() {
                return Err(IssueError::NotYetValid(one.subject()));
            }
            if now > one.not_after() {
                return Err(IssueError::Expired(one.subject()));
            }
        }
        let issued_at = seconds(now);
        let mut expires_at = issued_at + request.ttl.as_secs();
        for one in &all {
            let end = seconds(one.not_after());
            if end < issued_at + SHORTEST_LIFE.as_secs() {
                return Err(IssueError::EndsTooSoon(one.subject()));
            }
            expires_at = expires_at.min(end);
        }
        let key = leaf.public_key_kind();
        let own = Algorithm::of_key(key);
        if matches!(request.form, TokenForm::Comcast { .. }) && !matches!(key, PublicKeyKind::Rsa { .. }) {
            return Err(IssueError::NeedsRsa(leaf.key_type()));
        }
        let algorithm = match request.algorithm {
            Some(algorithm) if !algorithm.fits(key) => {
                return Err(IssueError::Algorithm { algorithm, key: leaf.key_type(), own });
            }
            Some(algorithm) => algorithm,
            None => own.ok_or_else(|| IssueError::Key(leaf.key_type()))?,
        };
        let chain = match request.chain {
            ChainPart::Full => issuing_path(pair),
            ChainPart::Leaf => vec![pair.leaf().as_ref()],
            ChainPart::None => Vec::new(),
        };
        let identity = leaf.identity()?;
        Ok(Self { request, leaf, chain, identity, algorithm, issued_at, expires_at })
    }

    /// The certificates that this form has room for.
    fn carried(&self) -> &[&'a [u8]] {
        if matches!(self.request.form, TokenForm::Uaa { .. }) { &[] } else { &self.chain }
    }

    fn header(&self) -> Map<String, Value> {
        let thumbprint = self.thumbprint();
        let mut header = Map::new();
        header.insert("alg".to_owned(), self.algorithm.as_str().into());
        header.insert("typ".to_owned(), "JWT".into());
        let x5c: Vec<_> = self.carried().iter().map(|der| Base64::encode_string(der)).collect();
        match &self.request.form {
            TokenForm::Standard => {
                header.insert("x5t#S256".to_owned(), thumbprint.clone().into());
                header.insert("kid".to_owned(), thumbprint.into());
                if !x5c.is_empty() {
                    header.insert("x5c".to_owned(), x5c.into());
                }
            }
            TokenForm::Comcast { .. } => {
                header.insert("x5t#S256".to_owned(), thumbprint.into());
                let (n, e) = self.leaf.rsa_public_key().unwrap_or_default();
                let number = Base64UrlUnpadded::encode_string;
                // Nothing but what is public: the plugin's own client puts the private key here.
                let jwk = json!({
                    "kty": "RSA", "kid": "cf", "alg": self.algorithm.as_str(), "n": number(n), "e": number(e), "x5c": x5c,
                });
                header.insert("JWK".to_owned(), jwk);
            }
            TokenForm::Uaa { .. } => {
                header.insert("kid".to_owned(), thumbprint.into());
            }
        }
        header
    }

    fn claims(&self, jti: &str) -> Result<Map<String, Value>, IssueError> {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        for claim in &self.request.claims {
            put(&claim.name, claim.value.clone().into());
        }
        let begins = seconds_up(self.leaf.not_before());
        let not_before = match &self.request.form {
            TokenForm::Comcast { .. } => begins,
            _ => self.issued_at.saturating_sub(BACKDATED.as_secs()).max(begins),
        };
        put("iat", self.issued_at.into());
        put("nbf", not_before.into());
        put("exp", self.expires_at.into());
        put("jti", jti.into());
        put(
            "aud",
            match self.request.audience.as_slice() {
                [one] => one.clone().into(),
                several => several.into(),
            },
        );
        if let TokenForm::Uaa { client_id } = &self.request.form {
            put("iss", client_id.clone().into());
            put("sub", client_id.clone().into());
            return Ok(claims);
        }
        let subject = self.subject()?;
        put("iss", self.request.issuer.clone().unwrap_or_else(|| subject.clone()).into());
        put("sub", subject.into());
        for (name, value) in identity_claims(self.identity.as_ref()) {
            if let Some(value) = value {
                put(name, value.into());
            }
        }
        if let TokenForm::Comcast { policies } = &self.request.form {
            put("Policies", policies.clone().into());
        }
        if self.request.bind {
            put("cnf", json!({ "x5t#S256": self.thumbprint() }));
        }
        Ok(claims)
    }

    fn subject(&self) -> Result<String, IssueError> {
        let app = self.identity.as_ref().and_then(|identity| identity.app).map(|app| format!("cf:app:{app}"));
        let uri = || self.leaf.alt_names().uris.first().cloned();
        self.request.subject.clone().or(app).or_else(uri).ok_or(IssueError::NoSubject)
    }

    /// `x5t#S256` (RFC 7515, section 4.1.8).
    fn thumbprint(&self) -> String {
        Base64UrlUnpadded::encode_string(self.leaf.fingerprint())
    }
}

/// The leaf of `pair` and what of its file has issued it, one above the other, up to a root, which is left out.
fn issuing_path(pair: &Pair) -> Vec<&[u8]> {
    let (leaf, mut rest) = (pair.leaf(), pair.chain()[1..].iter().collect::<Vec<_>>());
    let mut path = vec![leaf.as_ref()];
    let mut below = leaf;
    while let Some(at) = rest.iter().position(|above| has_issued(above, below)) {
        let above = rest.swap_remove(at);
        if has_issued(above, above) {
            break;
        }
        path.push(above.as_ref());
        below = above;
    }
    path
}

/// A signature over `message` as JWS writes it (RFC 7518, section 3).
pub(super) fn sign(pair: &Pair, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, IssueError> {
    let key = pair.certified_key();
    let signer =
        key.key.choose_scheme(&[algorithm.scheme()]).ok_or(IssueError::Crypto("the key has no such scheme"))?;
    let signature = signer.sign(message).map_err(|_| IssueError::Crypto("signing failed"))?;
    match algorithm.ecdsa_half() {
        None => Ok(signature),
        Some(half) => fixed_length(&signature, half).ok_or(IssueError::Crypto("the signature cannot be read")),
    }
}

/// An ECDSA signature in DER (RFC 3279, section 2.2.3).
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// r || s, each as `half` bytes with its leading zeros.
pub(super) fn fixed_length(der: &[u8], half: usize) -> Option<Vec<u8>> {
    let EcdsaSignature { r, s } = EcdsaSignature::from_der(der).ok()?;
    let mut fixed = vec![0; 2 * half];
    for (number, place) in [r, s].into_iter().zip(fixed.chunks_mut(half)) {
        let start = half.checked_sub(number.as_bytes().len())?;
        place[start..].copy_from_slice(number.as_bytes());
    }
    Some(fixed)
}

fn random_id() -> Result<String, IssueError> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| IssueError::Crypto("there are no random bytes"))?;
    Ok(Base64UrlUnpadded::encode_string(&id))
}

/// Whole seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The same, rounded up.
fn seconds_up(time: SystemTime) -> u64 {
    seconds(time + Duration::from_nanos(999_999_999))
}
