//! A CredHub: what it answers is by its source, not by what we would like it to.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection, SignatureScheme,
    StreamOwned,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule::crypto::provider;
use vestibule::identity::Identity;

use super::credentials::roots;

const MISSING: &str = "The request could not be completed because the credential does not exist or you do not have sufficient authorization.";

/// One request, and who has sent it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The head, with its last empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The app in the client's certificate.
    pub(crate) app: Option<String>,
    /// That certificate.
    pub(crate) leaf: Vec<u8>,
}

impl Asked {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

/// What is sent back.
pub(crate) enum Said {
    /// A status and a body.
    Json(u16, String),
    /// These bytes, and the end.
    Raw(Vec<u8>),
    /// Nothing, for as long as the client waits.
    Nothing,
    /// These bytes, one after the other, for as long as the client waits, and never a last one.
    Dripping(&'static [u8]),
}

/// The server.
pub(crate) struct CredHub {
    pub(crate) addr: SocketAddr,
    folder: TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl CredHub {
    /// One that knows these credentials of type JSON, and answers as CredHub does.
    pub(crate) fn knowing(credentials: &[(&str, Value)]) -> Self {
        let known: BTreeMap<String, Value> =
            credentials.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self::start(move |asked| answer(&known, asked))
    }

    /// One that answers by `script`.
    pub(crate) fn start(script: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        Self::named("127.0.0.1", script)
    }

    /// The same with a certificate for `name`.
    pub(crate) fn named(name: &str, script: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        Self::serving(name, |_| true, script)
    }

    /// The same, but that whoever shows a certificate that `admits` does not like is refused in the handshake.
    pub(crate) fn admitting(
        admits: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
        script: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    ) -> Self {
        Self::serving("127.0.0.1", admits, script)
    }

    fn serving(
        name: &str,
        admits: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
        script: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let config = Arc::new(server_config(name, &folder.path().join("ca.crt"), Arc::new(admits)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { addr: listener.local_addr().unwrap(), folder, asked: Arc::default() };
        let (asked, script) = (Arc::clone(&server.asked), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, asked, script) = (Arc::clone(&config), Arc::clone(&asked), Arc::clone(&script));
                std::thread::spawn(move || serve(stream.unwrap(), config, &asked, &*script));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// The CA of its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn server_config(name: &str, ca_file: &std::path::Path, admits: Admits) -> ServerConfig {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "credhub-ca");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    std::fs::write(ca_file, ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    let provider = provider();
    let clients = WebPkiClientVerifier::builder_with_provider(roots(), Arc::clone(&provider)).build().unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(Clients { chains: clients, admits }))
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(leaf.pem().as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap()
}

type Admits = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Whom the server speaks with: those of the tests' CA that it likes.
struct Clients {
    chains: Arc<dyn ClientCertVerifier>,
    admits: Admits,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match (self.admits)(leaf) {
            true => self.chains.verify_client_cert(leaf, chain, now),
            false => Err(CertificateError::Revoked.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

fn serve(tcp: TcpStream, config: Arc<ServerConfig>, all: &Mutex<Vec<Asked>>, script: &dyn Fn(&Asked) -> Said) {
    tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut space = [0; 4096];
        match stream.read(&mut space) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&space[..read]),
            // Whoever does not like our certificate.
            _ => return,
        }
    };
    let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    let read = bytes.len().min(body.len());
    body[..read].copy_from_slice(&bytes[..read]);
    stream.read_exact(&mut body[read..]).unwrap();
    let leaf = stream.conn.peer_certificates().unwrap()[0].clone();
    let app = Identity::from_der(&leaf).unwrap().and_then(|identity| identity.app).map(|app| app.to_string());
    let asked = Asked { head, body, app, leaf: leaf.to_vec() };
    all.lock().unwrap().push(asked.clone());
    let text = match script(&asked) {
        Said::Json(status, body) => {
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
            format!("{head}\r\n\r\n{body}").into_bytes()
        }
        Said::Raw(text) => text,
        Said::Dripping(text) => {
            let forever = text.iter().chain(std::iter::repeat(&b' '));
            for byte in forever {
                if stream.write_all(&[*byte]).and_then(|()| stream.flush()).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            return;
        }
        Said::Nothing => {
            // Until the client has enough.
            let _ = stream.read(&mut [0]);
            return;
        }
    };
    let _ = stream.write_all(&text);
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// What is wrong, as CredHub says it.
pub(crate) fn error(status: u16, text: &str) -> Said {
    Said::Json(status, json!({ "error": text }).to_string())
}

fn answer(known: &BTreeMap<String, Value>, asked: &Asked) -> Said {
    if asked.app.is_none() {
        return error(401, "invalid_token");
    }
    let (method, rest) = asked.line().split_once(' ').unwrap();
    let path = rest.split(' ').next().unwrap();
    if asked.head.to_ascii_lowercase().contains("authorization:") {
        return error(400, "nobody sends a token here");
    }
    match (method, path) {
        ("POST", "/api/v1/interpolate")
            if asked.head.to_ascii_lowercase().contains("content-type: application/json") =>
        {
            interpolate(known, &asked.body)
        }
        ("GET", path) => {
            let name = path.strip_prefix("/api/v1/data?name=").and_then(|rest| rest.strip_suffix("&current=true"));
            match name.and_then(|name| known.get(name)) {
                Some(value) => {
                    let kind = if value.is_string() { "password" } else { "json" };
                    let kind = if value.get("username").is_some() { "user" } else { kind };
                    Said::Json(
                        200,
                        json!({ "data": [{ "type": kind, "name": name, "id": "x", "value": value }] }).to_string(),
                    )
                }
                None => error(404, MISSING),
            }
        }
        _ => error(405, "Method Not Allowed"),
    }
}

/// As DefaultInterpolationHandler does it.
fn interpolate(known: &BTreeMap<String, Value>, body: &[u8]) -> Said {
    let Ok(mut document) = serde_json::from_slice::<Value>(body) else { return error(400, "The request is not JSON.") };
    let Some(lists) = document.as_object_mut() else { return error(400, "The request is not an object.") };
    for element in lists.values_mut().filter_map(Value::as_array_mut).flatten() {
        let Some(credentials) = element.get_mut("credentials").filter(|credentials| credentials.is_object()) else {
            continue;
        };
        let reference = credentials.get("credhub_ref").or_else(|| credentials.get("credhub-ref"));
        let Some(reference) = reference.and_then(Value::as_str) else { continue };
        let name = reference.strip_prefix("((").unwrap_or(reference);
        let name = name.strip_suffix("))").unwrap_or(name);
        match known.get(name) {
            Some(value) if value.is_object() => *credentials = value.clone(),
            Some(_) => {
                let text = format!(
                    "The credential '{name}' is not the expected type. A credhub-ref credential must be of type 'JSON'."
                );
                return error(400, &text);
            }
            None => return error(404, MISSING),
        }
    }
    Said::Json(200, document.to_string())
}
