//! The files that hold secrets: a `DiscoveryResponse` with a pair, or with a validation context.
//!
//! No error here quotes anything of the file: half of it is keys.

use std::fmt;
use std::path::Path;

use base64ct::{Base64, Encoding};

use super::reader::{FieldProblem, LocatedNode, MessageReader};
use super::schema::{Message, UnknownFieldHandling, honoured, ignored, message, messages, only, refused};
use crate::diagnostics::Diagnostics;
use crate::diagnostics::redact::{may_be_secret_in_name, quote};
use crate::policy::{AltName, AltNameKind};

/// The largest file that is read, in bytes: a bundle of trust anchors has at most 512 KiB.
pub const LARGEST: usize = 2 * 1024 * 1024;

/// A certificate chain and its key, not yet held against each other.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsCertificate {
    /// PEM, leaf first.
    pub chain: String,
    /// PEM.
    pub key: String,
}

impl fmt::Debug for TlsCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Either may be what the other should be.
        f.debug_struct("TlsCertificate").finish_non_exhaustive()
    }
}

/// Whom clients' certificates must come from, and whom they must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationContext {
    /// PEM; empty means that nobody is trusted.
    pub trusted_ca: String,
    /// One of them must be in the certificate; empty means that any certificate under the trust anchors will do.
    pub names: Vec<AltName>,
}

/// The pair that is called `name` in the whole `text` of the file `path`.
///
/// # Errors
/// Every error in it, with the path of the field.
pub fn pair(path: &Path, text: &str, name: &str) -> Result<TlsCertificate, Diagnostics> {
    secret(path, text, name, |reader, secret| {
        let at = reader.part(secret, "tls_certificate")?;
        let chain = reader.some_data(&at.field("certificate_chain"));
        let key = reader.some_data(&at.field("private_key"));
        Ok(TlsCertificate { chain: chain?, key: key? })
    })
}

/// The validation context that is called `name` in the whole `text` of the file `path`.
///
/// # Errors
/// Every error in it, with the path of the field.
pub fn validation_context(path: &Path, text: &str, name: &str) -> Result<ValidationContext, Diagnostics> {
    secret(path, text, name, |reader, secret| {
        let at = reader.part(secret, "validation_context")?;
        let trusted_ca = reader.data(&at.field("trusted_ca"));
        let names = reader.names(&at);
        Ok(ValidationContext { trusted_ca: trusted_ca?, names: names? })
    })
}

fn secret<T>(
    path: &Path,
    text: &str,
    name: &str,
    read: impl Fn(&mut MessageReader<'_>, &LocatedNode<'_>) -> Result<T, FieldProblem>,
) -> Result<T, Diagnostics> {
    let mut reader = MessageReader::new(path);
    let tree = reader.tree(text, LARGEST)?;
    let root = LocatedNode::root(&tree);
    reader.check_keys(&root, &RESPONSE);
    let secret = reader.resource(&root.field("resources"), name).and_then(|at| read(&mut reader, &at));
    // What is worth a line in the log at the start would be one at each rotation.
    reader.finish(secret).map(|(secret, _)| secret)
}

impl MessageReader<'_> {
    fn resource<'n>(&mut self, at: &LocatedNode<'n>, name: &str) -> Result<LocatedNode<'n>, FieldProblem> {
        let mut named: Vec<_> = at.items();
        named.retain(|at| at.field("name").node.text() == Some(name));
        let found = named.len();
        match named.pop() {
            Some(secret) if found == 1 => Ok(secret),
            _ => {
                let what = format!("expected exactly one that is called {}, found {found}", quote(name));
                Err(self.wrong(at, what, "write it once"))
            }
        }
    }

    fn part<'n>(&mut self, secret: &LocatedNode<'n>, name: &str) -> Result<LocatedNode<'n>, FieldProblem> {
        let at = secret.field(name);
        if at.is_absent() { Err(self.wrong(&at, "is missing", "write it below the secret's name")) } else { Ok(at) }
    }

    /// Text that must be there.
    fn some_data(&mut self, at: &LocatedNode<'_>) -> Result<String, FieldProblem> {
        let text = self.data(at)?;
        if text.is_empty() { Err(self.wrong(at, "is missing", "write inline_string with PEM")) } else { Ok(text) }
    }

    /// Text, plain or in base64; empty where neither is there.
    fn data(&mut self, at: &LocatedNode<'_>) -> Result<String, FieldProblem> {
        let (plain, encoded) = (at.field("inline_string"), at.field("inline_bytes"));
        match (plain.is_absent(), encoded.is_absent()) {
            (true, true) => Ok(String::new()),
            (false, true) => self.text(&plain).map(str::to_owned),
            (true, false) => {
                let text = self.text(&encoded)?;
                let bytes = Base64::decode_vec(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                bytes.ok_or_else(|| self.wrong(&encoded, "is no text in base64", "write inline_string"))
            }
            (false, false) => Err(self.wrong(at, "says the same thing twice", "leave inline_bytes out")),
        }
    }

    /// The newer list, which says where a name must stand, else the older one: so does Envoy.
    fn names(&mut self, context: &LocatedNode<'_>) -> Result<Vec<AltName>, FieldProblem> {
        let typed = context.field("match_typed_subject_alt_names").items();
        if typed.is_empty() {
            let plain = context.field("match_subject_alt_names").items();
            return plain.iter().map(|at| Ok(AltName::new(None, &self.exact(at)?))).collect();
        }
        let name = |at: &LocatedNode<'_>| {
            let kind = at.field("san_type");
            let kind = match kind.node.text() {
                Some("DNS") => Ok(AltNameKind::Dns),
                Some("EMAIL") => Ok(AltNameKind::Email),
                Some("URI") => Ok(AltNameKind::Uri),
                Some("IP_ADDRESS") => Ok(AltNameKind::Ip),
                _ => Err(self.wrong(&kind, "no such kind", "write DNS, EMAIL, URI or IP_ADDRESS")),
            };
            let exact = self.exact(&at.field("matcher"));
            Ok(AltName::new(Some(kind?), &exact?))
        };
        typed.iter().map(name).collect()
    }

    /// An empty name would match certificates that have one, which no operator can mean.
    fn exact(&mut self, matcher: &LocatedNode<'_>) -> Result<String, FieldProblem> {
        let at = matcher.field("exact");
        let name = self.text(&at)?;
        match may_be_secret_in_name(name) {
            true => Err(self.wrong(&at, "looks like a key itself", "write the name that clients have")),
            false => Ok(name.to_owned()),
        }
    }
}

const NOTHING_IS_FETCHED: &str = "secrets come from this file alone";
const ONLY_INLINE: &str = "secrets stand in this file";
const ONLY_EXACT: &str = "names are compared as a whole";
const ONLY_PAIR: &str = "a pair is a chain and a key";
const WATCHED: &str = "the folder of this file is watched";
const NO_SUCH_CHECK: &str = "it is not checked";

/// `envoy.service.discovery.v3.DiscoveryResponse`
pub(super) static RESPONSE: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Warned,
    fields: &[
        messages("resources", &SECRET),
        ignored("version_info", "Diego always writes 0: what counts is what the file holds"),
        ignored("type_url", "each resource has its type"),
        ignored("nonce", "there is no server to answer"),
        ignored("canary", "there is no server to answer"),
        ignored("control_plane", "there is no server to answer"),
        refused("resource_errors", NOTHING_IS_FETCHED),
    ],
};

static SECRET: Message = Message {
    kind: Some("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"),
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        honoured("name", "what `envoy.yaml` names"),
        message("tls_certificate", &TLS_CERTIFICATE),
        message("validation_context", &VALIDATION_CONTEXT),
        refused("session_ticket_keys", "ticket keys are made here and never written down"),
        refused("generic_secret", "there is no use for one"),
    ],
};

static TLS_CERTIFICATE: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        message("certificate_chain", &DATA),
        message("private_key", &DATA),
        refused("pkcs12", ONLY_PAIR),
        refused("private_key_provider", ONLY_PAIR),
        refused("password", "the key is not encrypted"),
        refused("ocsp_staple", "nothing is stapled"),
        refused("signed_certificate_timestamp", "nothing is stapled"),
        ignored("watched_directory", WATCHED),
    ],
};

static DATA: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        honoured("inline_string", "PEM"),
        honoured("inline_bytes", "PEM in base64"),
        refused("filename", ONLY_INLINE),
        refused("environment_variable", ONLY_INLINE),
        ignored("watched_directory", WATCHED),
    ],
};

static VALIDATION_CONTEXT: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        message("trusted_ca", &DATA),
        messages("match_subject_alt_names", &STRING_MATCHER),
        messages("match_typed_subject_alt_names", &TYPED_MATCHER),
        refused("ca_certificate_provider_instance", ONLY_INLINE),
        refused("system_root_certs", ONLY_INLINE),
        refused("crl", NO_SUCH_CHECK),
        refused("only_verify_leaf_cert_crl", NO_SUCH_CHECK),
        refused("verify_certificate_spki", NO_SUCH_CHECK),
        refused("verify_certificate_hash", NO_SUCH_CHECK),
        only("require_signed_certificate_timestamp", &["false"]),
        only("max_verify_depth", &["100"]),
        only("trust_chain_verification", &["VERIFY_TRUST_CHAIN"]),
        refused("allow_expired_certificate", "expired certificates are refused"),
        refused("custom_validator_config", "there are no extensions"),
        refused("auto_sni_san_match", "it is for those who dial"),
        ignored("watched_directory", WATCHED),
    ],
};

static TYPED_MATCHER: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        honoured("san_type", "`DNS`, `EMAIL`, `URI` or `IP_ADDRESS`"),
        message("matcher", &STRING_MATCHER),
        refused("oid", "other names are not read"),
    ],
};

static STRING_MATCHER: Message = Message {
    kind: None,
    unknown: UnknownFieldHandling::Refused,
    fields: &[
        honoured(
            "exact",
            "one of these names must be in the certificate; none listed means any certificate under the roots",
        ),
        refused("prefix", ONLY_EXACT),
        refused("suffix", ONLY_EXACT),
        refused("contains", ONLY_EXACT),
        refused("safe_regex", ONLY_EXACT),
        refused("custom", ONLY_EXACT),
        refused("ignore_case", ONLY_EXACT),
    ],
};
