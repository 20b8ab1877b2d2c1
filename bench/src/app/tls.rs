//! The app behind mutual TLS of its own: the server that proxies of clients dial.
//!
//! By rustls, since that takes the least of the machine from what is measured: TLS 1.3, X25519 and AES-128-GCM alone, and a client
//! certificate is a must.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What a client asks to learn of the handshakes so far.
pub(crate) const HANDSHAKES: &str = "GET /handshakes HTTP/1.1\r\nHost: app\r\n\r\n";

/// The handshakes of the process.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    full: AtomicU64,
    resumed: AtomicU64,
}

/// How many handshakes there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HandshakeCount {
    /// With certificates and signatures.
    pub(crate) full: u64,
    /// With a ticket.
    pub(crate) resumed: u64,
}

impl HandshakeCount {
    /// The length of an answer that holds it.
    pub(crate) const ANSWER: usize = HEAD.len() + BODY;
}

const BODY: usize = 41;
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 41\r\n\r\n";

impl fmt::Display for HandshakeCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEAD}{:20} {:20}", self.full, self.resumed)
    }
}

impl FromStr for HandshakeCount {
    type Err = anyhow::Error;

    fn from_str(answer: &str) -> Result<Self> {
        let body = answer.strip_prefix(HEAD).context("this is no answer of the app")?;
        let mut counts = body.split_whitespace().map(str::parse);
        let mut next = || counts.next().context("a count is missing")?.context("this is no count");
        Ok(Self { full: next()?, resumed: next()? })
    }
}

impl Handshakes {
    pub(super) fn count(&self) -> HandshakeCount {
        HandshakeCount { full: self.full.load(Ordering::Relaxed), resumed: self.resumed.load(Ordering::Relaxed) }
    }

    fn add(&self, kind: Option<HandshakeKind>) {
        let counter = if kind == Some(HandshakeKind::Resumed) { &self.resumed } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// With the pair `instance` of the folder, for clients of its CA.
///
/// # Errors
/// A file cannot be read or used.
pub(super) fn acceptor(credentials: &Path, tickets: bool) -> Result<TlsAcceptor> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    });
    let certificates = |name: &str| {
        let path = credentials.join(name);
        let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        read.with_context(|| format!("cannot read {}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.crt")?);
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(
            certificates("instance.crt")?,
            PrivateKeyDer::from_pem_file(credentials.join("instance.key"))?,
        )?;
    if tickets {
        config.ticketer = aws_lc_rs::Ticketer::new()?;
    } else {
        config.send_tls13_tickets = 0;
    }
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until it is dropped.
///
/// # Errors
/// Those of the kernel.
pub(super) async fn serve(listener: TcpListener, acceptor: TlsAcceptor, handshakes: Arc<Handshakes>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        stream.set_nodelay(true)?;
        let (acceptor, handshakes) = (acceptor.clone(), Arc::clone(&handshakes));
        tokio::spawn(async move { drop(connection(acceptor, stream, &handshakes).await) });
    }
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, handshakes: &Handshakes) -> std::io::Result<()> {
    let stream = acceptor.accept(stream).await?;
    handshakes.add(stream.get_ref().1.handshake_kind());
    super::connection(stream, handshakes).await
}

#[cfg(test)]
mod tests {
    use super::HandshakeCount;

    #[test]
    fn an_answer_of_the_stated_length_holds_the_count() {
        let count = HandshakeCount { full: 3, resumed: u64::MAX };
        let answer = count.to_string();
        assert_eq!(answer.len(), HandshakeCount::ANSWER);
        assert!(answer.contains(&format!("Content-Length: {}\r\n", super::BODY)));
        assert_eq!(answer.parse::<HandshakeCount>().unwrap(), count);
    }
}
