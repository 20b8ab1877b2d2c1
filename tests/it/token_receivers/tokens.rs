//! Tokens for the receivers: those of the real program, and some that were put together by hand, each with one thing that is wrong.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256,
};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use vestibule::credentials::Pair;
use vestibule::issuer::{CertificateAuthority, InstanceSpec, KeyKind};
use vestibule::token::{Algorithm, ChainPart, TokenRequest, issue};

/// For whom the tokens have to be.
pub(super) const AUDIENCE: &str = "billing";

/// Who has made the ones that were put together.
pub(super) const APP: &str = "1a12b29a-90c2-481b-b197-bc154f741e5d";

/// Cases that a receiver may leave out.
pub(super) const FOR_NO_SIGNATURES: &str = "the certificate's key is not for signatures";
pub(super) const WITHOUT_KEY_USAGE: &str = "the certificate has no key usage";

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A token, and who is to judge it.
pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) token: String,
    /// Whom the receiver trusts, in PEM.
    pub(super) cas: String,
    /// Who has made it, or claims so.
    pub(super) app: String,
}

/// The tokens to be let in.
pub(super) fn sound() -> Vec<Case> {
    let rsa = Issued::new(KeyKind::Rsa2048);
    let of = |what, issued: &Issued, change: fn(&mut TokenRequest)| issued.case(what, SystemTime::now(), change);
    vec![
        of("RS256", &rsa, |_| {}),
        of("PS256", &rsa, |request| request.algorithm = Some(Algorithm::Ps256)),
        of("the leaf alone", &rsa, |request| request.chain = ChainPart::Leaf),
        of("several audiences", &rsa, |request| request.audience.insert(0, "mail".to_owned())),
        of("ES256", &Issued::new(KeyKind::P256), |_| {}),
        of("ES384", &Issued::new(KeyKind::P384), |_| {}),
        // All others that are put together differ from it in one thing.
        Draft::new().case("one that was put together"),
    ]
}

/// The tokens to be refused.
pub(super) fn unsound() -> Vec<Case> {
    let issued = Issued::new(KeyKind::P256);
    let now = SystemTime::now();
    let strangers =
        Issued { cas: CertificateAuthority::generate(now).unwrap().roots_pem(), ..Issued::new(KeyKind::P256) };
    let mut cases = vec![
        issued.case("another audience", now, |request| request.audience = vec!["mail".to_owned()]),
        issued.case("a part of the audience", now, |request| request.audience = vec!["billing2".to_owned()]),
        issued.case("expired", now - HOUR, |_| {}),
        issued.case("not yet valid", now + HOUR, |_| {}),
        issued.case("another app's name", now, |request| request.subject = Some(format!("cf:app:{APP}"))),
        issued.case("bound to a certificate", now, |request| request.bind = true),
        issued.case("without certificates", now, |request| request.chain = ChainPart::None),
        strangers.case("another CA", now, |_| {}),
    ];
    let garbage = [("nothing", ""), ("no token", "abc"), ("two dots", ".."), ("no JSON", "YWJj.YWJj.YWJj")];
    for (what, token) in garbage {
        cases.push(Case { what, token: token.to_owned(), ..Draft::new().case(what) });
    }
    let drafts: &[(&str, Change)] = &[
        ("issued by a stranger who sends its CA along", |draft| draft.ca = &STRANGER),
        ("signed by another key", |draft| draft.signer = &OTHER_KEY),
        ("signed for other bytes", |draft| {
            let mut claims = draft.claims.clone();
            claims["x"] = json!(1);
            draft.claims_after = Some(claims);
        }),
        ("not signed", |draft| draft.signature = Some(Vec::new())),
        ("alg none", |draft| (draft.header["alg"], draft.signature) = (json!("none"), Some(Vec::new()))),
        ("alg None", |draft| (draft.header["alg"], draft.signature) = (json!("None"), Some(Vec::new()))),
        ("HS256 with the public key in PEM", |draft| draft.hmac_by(LEAF_KEY.public_key_pem().as_bytes())),
        ("HS256 with the certificate in PEM", |draft| draft.hmac_by(draft.certificate().pem().as_bytes())),
        ("HS256 with the certificate in DER", |draft| draft.hmac_by(draft.certificate().der())),
        ("an algorithm that does not fit the key", |draft| draft.header["alg"] = json!("ES256")),
        ("an algorithm that is not on the list", |draft| {
            (draft.header["alg"], draft.scheme) = (json!("RS512"), SignatureScheme::RSA_PKCS1_SHA512);
        }),
        ("PS256 that is RS256", |draft| draft.header["alg"] = json!("PS256")),
        ("an extension that must be understood", |draft| {
            (draft.header["crit"], draft.header["x"]) = (json!(["x"]), json!(1));
        }),
        ("an empty x5c", |draft| draft.header["x5c"] = json!([])),
        ("an x5c that is no list", |draft| draft.header["x5c"] = json!("x")),
        ("an x5c of garbage", |draft| draft.header["x5c"] = json!(["AAAA"])),
        ("an expired certificate", |draft| draft.leaf.not_after = (SystemTime::now() - HOUR).into()),
        ("a certificate that is not valid yet", |draft| draft.leaf.not_before = (SystemTime::now() + HOUR).into()),
        (FOR_NO_SIGNATURES, |draft| draft.leaf.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        (WITHOUT_KEY_USAGE, |draft| draft.leaf.key_usages.clear()),
        ("the certificate is a server's", |draft| {
            draft.leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
        ("the certificate is a CA's", |draft| {
            draft.leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            draft.leaf.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }),
        ("issued by a certificate that is no CA's", |draft| draft.is_issued_by_a_leaf = true),
        ("two apps", |draft| draft.leaf.distinguished_name.push(ou_by_number(), "app:another")),
        ("no app", |draft| draft.leaf.distinguished_name.remove(DnType::OrganizationalUnitName).then_some(()).unwrap()),
        ("no instance", |draft| draft.leaf.distinguished_name.remove(DnType::CommonName).then_some(()).unwrap()),
        ("no end", |draft| draft.without("exp")),
        ("an end that is a text", |draft| draft.claims["exp"] = json!("9999999999")),
        ("no beginning", |draft| draft.without("nbf")),
        ("no time of issue", |draft| draft.without("iat")),
        ("a time of issue that lies ahead", |draft| draft.claims["iat"] = json!(seconds(HOUR))),
        ("no audience", |draft| draft.without("aud")),
        ("no subject", |draft| draft.without("sub")),
        ("a subject in other letters", |draft| draft.claims["sub"] = json!(format!("cf:app:{}", APP.to_uppercase()))),
        ("too long", |draft| draft.claims["x"] = json!("x".repeat(16_384))),
    ];
    for (what, change) in drafts {
        let mut draft = Draft::new();
        change(&mut draft);
        cases.push(draft.case(what));
    }
    cases
}

/// An instance whose tokens the real program makes.
struct Issued {
    pair: Pair,
    app: String,
    cas: String,
}

impl Issued {
    /// Valid since yesterday, until tomorrow.
    fn new(key: KeyKind) -> Self {
        static AUTHORITY: LazyLock<CertificateAuthority> =
            LazyLock::new(|| CertificateAuthority::generate(SystemTime::now() - DAY).unwrap());
        let spec = InstanceSpec { key, validity: 2 * DAY, ..InstanceSpec::generate().unwrap() };
        let issued = AUTHORITY.issue(&spec, SystemTime::now() - DAY).unwrap();
        let pair = Pair::from_pem(issued.cert_pem.as_bytes(), issued.key_pem.as_bytes(), &default_provider()).unwrap();
        Self { pair, app: spec.app.to_string(), cas: AUTHORITY.roots_pem() }
    }

    /// A token that was made at the time `now` and lives for a minute.
    fn case(&self, what: &'static str, now: SystemTime, change: impl FnOnce(&mut TokenRequest)) -> Case {
        let mut request = TokenRequest::new(AUDIENCE, Duration::from_secs(60));
        change(&mut request);
        let token = issue(&self.pair, &request, now).unwrap().text().to_owned();
        Case { what, token, cas: self.cas.clone(), app: self.app.clone() }
    }
}

static LEAF_KEY: LazyLock<KeyPair> = LazyLock::new(rsa);
static OTHER_KEY: LazyLock<KeyPair> = LazyLock::new(rsa);
static CA: LazyLock<Ca> = LazyLock::new(Ca::new);
static STRANGER: LazyLock<Ca> = LazyLock::new(Ca::new);

fn rsa() -> KeyPair {
    KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap()
}

/// The OU once more: rcgen holds one value for each name of a kind.
fn ou_by_number() -> DnType {
    DnType::CustomDnType(vec![2, 5, 4, 11])
}

struct Ca {
    params: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "instance-identity-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = ((SystemTime::now() - DAY).into(), (SystemTime::now() + DAY).into());
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { params, key, certificate }
    }
}

/// What is made wrong in one.
type Change = fn(&mut Draft);

/// A token that is put together; as it begins it is sound.
struct Draft {
    ca: &'static LazyLock<Ca>,
    leaf: CertificateParams,
    /// Its certificate is issued by another of the kind, which is in `x5c` behind it.
    is_issued_by_a_leaf: bool,
    /// `x5c` is put in where there is none.
    header: Value,
    claims: Value,
    /// Put in the place of `claims` once those were signed.
    claims_after: Option<Value>,
    signer: &'static LazyLock<KeyPair>,
    scheme: SignatureScheme,
    /// In the place of the right one.
    signature: Option<Vec<u8>>,
    /// In the place of a signature: a MAC by this key.
    mac: Option<Vec<u8>>,
}

impl Draft {
    fn new() -> Self {
        let mut leaf = CertificateParams::new(vec!["an-instance".to_owned()]).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, "an-instance");
        leaf.distinguished_name.push(DnType::OrganizationalUnitName, format!("app:{APP}"));
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        (leaf.not_before, leaf.not_after) = ((SystemTime::now() - DAY).into(), (SystemTime::now() + DAY).into());
        let now = seconds(Duration::ZERO);
        Self {
            ca: &CA,
            leaf,
            is_issued_by_a_leaf: false,
            header: json!({"alg": "RS256", "typ": "JWT"}),
            claims: json!({"iat": now, "nbf": now, "exp": now + 60, "aud": AUDIENCE, "sub": format!("cf:app:{APP}")}),
            claims_after: None,
            signer: &LEAF_KEY,
            scheme: SignatureScheme::RSA_PKCS1_SHA256,
            signature: None,
            mac: None,
        }
    }

    fn without(&mut self, claim: &str) {
        self.claims.as_object_mut().unwrap().remove(claim).unwrap();
    }

    fn hmac_by(&mut self, key: &[u8]) {
        (self.header["alg"], self.mac) = (json!("HS256"), Some(key.to_vec()));
    }

    /// Of the key that is to sign, by the CA itself.
    fn certificate(&self) -> Certificate {
        self.leaf.signed_by(&*LEAF_KEY, &Issuer::from_params(&self.ca.params, &self.ca.key)).unwrap()
    }

    fn x5c(&self) -> Value {
        let chain = if self.is_issued_by_a_leaf {
            let above = Self::new();
            let by = Issuer::from_params(&above.leaf, &*OTHER_KEY);
            let issuer = above.leaf.signed_by(&*OTHER_KEY, &Issuer::from_params(&CA.params, &CA.key)).unwrap();
            vec![self.leaf.signed_by(&*LEAF_KEY, &by).unwrap(), issuer]
        } else {
            vec![self.certificate(), self.ca.certificate.clone()]
        };
        chain.iter().map(|one| Base64::encode_string(one.der())).collect()
    }

    fn case(mut self, what: &'static str) -> Case {
        if self.header.get("x5c").is_none() {
            self.header["x5c"] = self.x5c();
        }
        let encode = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let (header, claims) = (encode(&self.header), encode(&self.claims));
        let message = format!("{header}.{claims}");
        let signature = match (self.signature, self.mac) {
            (Some(signature), _) => signature,
            (None, Some(key)) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), message.as_bytes()).as_ref().to_vec()
            }
            (None, None) => {
                let key = PrivateKeyDer::try_from(self.signer.serialize_der()).unwrap();
                let key = sign::any_supported_type(&key).unwrap();
                key.choose_scheme(&[self.scheme]).unwrap().sign(message.as_bytes()).unwrap()
            }
        };
        let claims = self.claims_after.as_ref().map_or(claims, encode);
        let token = format!("{header}.{claims}.{}", Base64UrlUnpadded::encode_string(&signature));
        Case { what, token, cas: CA.certificate.pem(), app: APP.to_owned() }
    }
}

/// Seconds since 1970, so far ahead.
fn seconds(ahead: Duration) -> u64 {
    (SystemTime::now() + ahead).duration_since(UNIX_EPOCH).unwrap().as_secs()
}
