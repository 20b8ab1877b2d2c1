//! A TLS client that says when its TCP ends, and how.

use std::io;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use super::TEST_TIMEOUT;
use super::credentials::roots;

/// How the other side's sending ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// close_notify: all that was sent is whole.
    CloseNotify,
    /// FIN without close_notify: cut off.
    Fin,
    /// RST.
    Reset,
}

/// A client of the sidecar.
pub(crate) struct Client {
    pub(crate) tls: ClientConnection,
    pub(crate) tcp: TcpStream,
}

/// What a client asks for.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) config: ClientConfig,
    pub(crate) name: String,
}

/// A client that verifies `name` under the test's CA.
pub(crate) fn connector(name: &str) -> Connector {
    connector_with(name, rustls::ALL_VERSIONS)
}

/// The same, limited to some protocol versions.
pub(crate) fn connector_with(name: &str, versions: &[&'static SupportedProtocolVersion]) -> Connector {
    connector_for(name, versions, roots())
}

/// A client that verifies `name` under other roots.
pub(crate) fn connector_under(roots: RootCertStore, name: &str) -> Connector {
    connector_for(name, rustls::ALL_VERSIONS, Arc::new(roots))
}

fn connector_for(name: &str, versions: &[&'static SupportedProtocolVersion], roots: Arc<RootCertStore>) -> Connector {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Connector { config, name: name.to_owned() }
}

impl Connector {
    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Shows this certificate to whoever asks for one.
    pub(crate) fn showing(mut self, chain: &str, key: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let pair = CertifiedKey::from_der(chain, key, self.config.crypto_provider()).unwrap();
        self.config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair));
        self
    }

    /// Takes whatever certificate it is shown.
    pub(crate) fn unverified(mut self) -> Self {
        let algorithms = self.config.crypto_provider().signature_verification_algorithms;
        self.config.dangerous().set_certificate_verifier(Arc::new(Unverified(algorithms)));
        self
    }

    /// Nothing is resumed.
    pub(crate) fn afresh(mut self) -> Self {
        self.config.resumption = Resumption::disabled();
        self
    }

    /// The alert that ends the connection. In TLS 1.3 it may come after the client's own part of the handshake.
    #[track_caller]
    pub(crate) fn alert(&self, addr: SocketAddr) -> AlertDescription {
        let error = match self.connect(addr) {
            Err(error) => error,
            Ok(mut client) => rustls::Stream::new(&mut client.tls, &mut client.tcp).read(&mut [0; 1]).unwrap_err(),
        };
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => *alert,
            _ => panic!("no alert: {error}"),
        }
    }

    /// The first bytes of a connection.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let mut tls = ClientConnection::new(Arc::new(self.config.clone()), name).unwrap();
        let mut bytes = Vec::new();
        tls.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// Connects, and sends all that the handshake takes but the last byte of it.
    pub(crate) fn all_but_the_last_byte(&self, addr: SocketAddr) -> TcpStream {
        let mut tcp = TcpStream::connect(addr).unwrap();
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let mut tls = ClientConnection::new(Arc::new(self.config.clone()), name).unwrap();
        loop {
            let mut flight = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut flight).unwrap();
            }
            if !tls.is_handshaking() {
                // Whoever is turned away meanwhile need not hear the end of it.
                let _ = tcp.write_all(&flight[..flight.len() - 1]);
                return tcp;
            }
            tcp.write_all(&flight).unwrap();
            while !tls.wants_write() {
                assert!(tls.read_tls(&mut tcp).unwrap() > 0, "turned away before its turn");
                tls.process_new_packets().unwrap();
            }
        }
    }

    /// Connects and completes the handshake.
    pub(crate) fn connect(&self, addr: SocketAddr) -> io::Result<Client> {
        let tcp = TcpStream::connect(addr)?;
        tcp.set_nodelay(true)?;
        self.handshake(tcp)
    }

    /// Completes the handshake on a connection that is there already.
    pub(crate) fn handshake(&self, tcp: TcpStream) -> io::Result<Client> {
        self.handshake_and_ask(tcp, b"")
    }

    /// As [`Connector::handshake`]; `request` goes in one packet with Finished.
    pub(crate) fn handshake_and_ask(&self, tcp: TcpStream, request: &[u8]) -> io::Result<Client> {
        tcp.set_read_timeout(Some(TEST_TIMEOUT))?;
        tcp.set_write_timeout(Some(TEST_TIMEOUT))?;
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let mut tls = ClientConnection::new(Arc::new(self.config.clone()), name).unwrap();
        tls.writer().write_all(request)?;
        let mut client = Client { tls, tcp };
        while client.tls.is_handshaking() {
            client.tls.complete_io(&mut client.tcp)?;
        }
        Ok(client)
    }
}

/// Any certificate will do; that the server has its key is still checked.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, leaf, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, leaf, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl Client {
    /// Sends `bytes`, whole.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.tcp);
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Receives exactly `n` bytes.
    pub(crate) fn receive(&mut self, n: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; n];
        rustls::Stream::new(&mut self.tls, &mut self.tcp).read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Receives until the other side's sending ends.
    pub(crate) fn receive_all(&mut self) -> (Vec<u8>, Ending) {
        let mut bytes = Vec::new();
        let mut space = vec![0; 64 * 1024];
        loop {
            match rustls::Stream::new(&mut self.tls, &mut self.tcp).read(&mut space) {
                Ok(0) => return (bytes, Ending::CloseNotify),
                Ok(n) => bytes.extend_from_slice(&space[..n]),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return (bytes, Ending::Fin),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return (bytes, Ending::Reset),
                Err(error) => panic!("after {} bytes: {error}", bytes.len()),
            }
        }
    }

    /// Sends close_notify, and leaves TCP open.
    pub(crate) fn close_notify(&mut self) {
        self.tls.send_close_notify();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp).unwrap();
        }
    }

    /// Sends FIN without close_notify.
    pub(crate) fn fin(&self) {
        self.tcp.shutdown(Shutdown::Write).unwrap();
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.tcp).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// The certificate that was shown.
    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        self.tls.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

/// How a plain TCP connection ends: what was received, and whether by FIN or RST.
pub(crate) fn read_to_end(mut tcp: &TcpStream) -> (Vec<u8>, Ending) {
    tcp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let mut bytes = Vec::new();
    let mut space = [0; 4096];
    loop {
        match tcp.read(&mut space) {
            Ok(0) => return (bytes, Ending::Fin),
            Ok(n) => bytes.extend_from_slice(&space[..n]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return (bytes, Ending::Reset),
            Err(error) => panic!("after {} bytes: {error}", bytes.len()),
        }
    }
}
