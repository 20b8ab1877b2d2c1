//! Peers for tests: a stock rustls client or server shakes hands, and from then on it says whatever its keys allow.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::kernel::KernelConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CipherSuite, ClientConfig, ContentType, DigitallySignedStruct, ExtractedSecrets, ServerConfig,
    SignatureScheme, SupportedCipherSuite,
};

use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind, SubjectKey};

#[cfg(test)]
use super::Established;
#[cfg(test)]
use super::handshake_driver::HandshakeDriver;
use super::handshake_driver::HandshakeSide;
use super::record::{Opener, Record, Sealer};
use crate::io::Outgoing;

/// HandshakeType (RFC 8446, 4).
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// A peer that has shaken hands and is bound by nothing any more. `D` is what rustls keeps of its side.
pub(crate) struct TestPeer<D> {
    sealer: Sealer,
    opener: Opener,
    kernel: KernelConnection<D>,
    wire: Vec<u8>,
}

/// A client that is bound by nothing.
pub(crate) type TestClient = TestPeer<ClientConnectionData>;

/// A server that is bound by nothing.
pub(crate) type TestServer = TestPeer<ServerConnectionData>;

/// What the other side has said, as one record of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So much of the app's.
    Data(Vec<u8>),
    /// It takes new keys; whether it wants the peer to do so as well.
    KeyUpdate(bool),
    /// A ticket, which is kept for the next handshake.
    Ticket,
    /// An alert.
    Alert(AlertDescription),
}

impl TestClient {
    /// Shakes hands with whoever answers to bytes. Gives the client's last flight too, which has not been sent; it is empty where
    /// the server has the last word.
    pub(crate) fn connect(
        config: Arc<ClientConfig>,
        server: impl FnMut(&mut Vec<u8>) -> Vec<u8>,
    ) -> Result<(Self, Vec<u8>), rustls::Error> {
        let mut client = UnbufferedClientConnection::new(config, "app.test".try_into().unwrap())?;
        let flight = shake(&mut client, server)?;
        let (secrets, kernel) = client.dangerous_into_kernel_connection()?;
        Ok((Self::take_over(secrets, kernel)?, flight))
    }
}

impl TestServer {
    /// Shakes hands with whoever answers to bytes, and begins when it is told nothing. Gives the server's last flight too, which has not
    /// been sent, with its tickets in TLS 1.3; it is empty where the client has the last word.
    pub(crate) fn accept(
        config: Arc<ServerConfig>,
        client: impl FnMut(&mut Vec<u8>) -> Vec<u8>,
    ) -> Result<(Self, Vec<u8>), rustls::Error> {
        let mut server = UnbufferedServerConnection::new(config)?;
        let flight = shake(&mut server, client)?;
        let (secrets, kernel) = server.dangerous_into_kernel_connection()?;
        Ok((Self::take_over(secrets, kernel)?, flight))
    }
}

/// Lets `side` shake hands with `other`; gives its last flight.
fn shake<C: HandshakeSide>(
    side: &mut C,
    mut other: impl FnMut(&mut Vec<u8>) -> Vec<u8>,
) -> Result<Vec<u8>, rustls::Error> {
    let (mut received, mut flight) = (Vec::new(), Outgoing::default());
    loop {
        let UnbufferedStatus { discard, state } = side.process(&mut received);
        match state? {
            ConnectionState::EncodeTlsData(mut data) => flight.encode(|space| data.encode(space))?,
            ConnectionState::TransmitTlsData(sent) => sent.done(),
            ConnectionState::BlockedHandshake => {
                received.drain(..discard);
                let mut sent = std::mem::take(&mut flight).bytes().to_vec();
                let answer = other(&mut sent);
                if answer.is_empty() {
                    return Err(rustls::Error::HandshakeNotComplete);
                }
                received.extend_from_slice(&answer);
                continue;
            }
            ConnectionState::WriteTraffic(_) => return Ok(flight.bytes().to_vec()),
            other => return Err(rustls::Error::General(format!("{other:?} in a handshake"))),
        }
        received.drain(..discard);
    }
}

/// What takes a server's tickets, on the side that gets them.
pub(crate) trait TakeTicket {
    /// Keeps the ticket for the next handshake.
    ///
    /// # Errors
    /// The alert that the side would send.
    fn take_ticket(&mut self, ticket: &[u8]) -> Result<(), AlertDescription>;
}

impl TakeTicket for KernelConnection<ClientConnectionData> {
    fn take_ticket(&mut self, ticket: &[u8]) -> Result<(), AlertDescription> {
        self.handle_new_session_ticket(ticket).map_err(|_| AlertDescription::DecodeError)
    }
}

impl TakeTicket for KernelConnection<ServerConnectionData> {
    fn take_ticket(&mut self, _: &[u8]) -> Result<(), AlertDescription> {
        Err(AlertDescription::UnexpectedMessage)
    }
}

impl<D> TestPeer<D>
where
    KernelConnection<D>: TakeTicket,
{
    fn take_over(secrets: ExtractedSecrets, kernel: KernelConnection<D>) -> Result<Self, rustls::Error> {
        let suite = kernel.negotiated_cipher_suite();
        let (sealer, opener) = (Sealer::new(suite, secrets.tx)?, Opener::new(suite, secrets.rx)?);
        Ok(Self { sealer, opener, kernel, wire: Vec::new() })
    }

    /// Whether it has agreed on TLS 1.3, in which keys may be taken anew.
    #[cfg(test)]
    pub(crate) fn is_tls13(&self) -> bool {
        self.kernel.negotiated_cipher_suite().tls13().is_some()
    }

    /// One record that holds `payload`.
    pub(crate) fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let mut out = Outgoing::default();
        self.sealer.seal(typ, payload, &mut out).unwrap();
        out.bytes().to_vec()
    }

    /// Takes new keys for what follows, and says so; `wanted`: the other side is to do the same.
    pub(crate) fn update_keys(&mut self, wanted: bool) -> Vec<u8> {
        let said = self.seal(ContentType::Handshake, &[KEY_UPDATE, 0, 0, 1, u8::from(wanted)]);
        self.take_new_keys();
        said
    }

    /// Takes new keys for what follows without a word.
    pub(crate) fn take_new_keys(&mut self) {
        self.sealer =
            Sealer::new(self.kernel.negotiated_cipher_suite(), self.kernel.update_tx_secret().unwrap()).unwrap();
    }

    /// Opens what the other side has sent.
    ///
    /// # Errors
    /// The alert that it would be told.
    pub(crate) fn receive(&mut self, wire: &[u8]) -> Result<VecDeque<Received>, AlertDescription> {
        self.wire.extend_from_slice(wire);
        let mut received = VecDeque::new();
        let mut wire = std::mem::take(&mut self.wire);
        let mut used = 0;
        while let Some((record, length)) = Record::first_in(&mut wire[used..], self.kernel.negotiated_cipher_suite())? {
            used += length;
            let opened = self.opener.open(record)?;
            match (opened.typ, opened.payload) {
                (ContentType::ApplicationData, data) => received.push_back(Received::Data(data.to_vec())),
                (ContentType::Alert, &[_, description]) => received.push_back(Received::Alert(description.into())),
                (ContentType::Handshake, &[KEY_UPDATE, 0, 0, 1, wanted]) => {
                    let secrets = self.kernel.update_rx_secret().map_err(|_| AlertDescription::InternalError)?;
                    self.opener = Opener::new(self.kernel.negotiated_cipher_suite(), secrets).unwrap();
                    received.push_back(Received::KeyUpdate(wanted == 1));
                }
                (ContentType::Handshake, [NEW_SESSION_TICKET, _, _, _, ticket @ ..]) => {
                    self.kernel.take_ticket(ticket)?;
                    received.push_back(Received::Ticket);
                }
                _ => return Err(AlertDescription::UnexpectedMessage),
            }
        }
        self.wire = wire.split_off(used);
        Ok(received)
    }
}

/// A session of ours and a client after their handshake.
#[cfg(test)]
pub(crate) fn establish(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> (TestClient, Established) {
    let mut driver = Some(HandshakeDriver::with_client(Arc::clone(server), None).unwrap());
    let (mut held, mut session) = (Vec::new(), None);
    let mut arrive = |sent: &[u8]| {
        held.extend_from_slice(sent);
        let (mut driving, mut out) = (driver.take().unwrap(), Outgoing::default());
        let used = driving.drive(&mut held, &mut out).unwrap();
        held.drain(..used);
        if driving.is_under_way() {
            driver = Some(driving);
        } else {
            session = Some(driving.finish().unwrap().1);
        }
        out.bytes().to_vec()
    };
    let (mut client, flight) = TestClient::connect(Arc::clone(client), |sent| arrive(sent)).unwrap();
    if !flight.is_empty() {
        let tickets = arrive(&flight);
        client.receive(&tickets).unwrap();
    }
    let established =
        Established { session: session.unwrap(), pending_ciphertext: held, resumed_chain: None, chain_bytes: 0 };
    (client, established)
}

/// What a server and a client of a test are set up with: these versions and suites, and a key that fits them.
pub(crate) fn configs(provider: CryptoProvider) -> (ServerConfig, ClientConfig) {
    static AUTHORITY: LazyLock<CertificateAuthority> =
        LazyLock::new(|| CertificateAuthority::generate(SystemTime::now()).unwrap());
    static RSA: LazyLock<SubjectKey> = LazyLock::new(|| SubjectKey::generate(KeyKind::Rsa2048).unwrap());
    static P256: LazyLock<SubjectKey> = LazyLock::new(|| SubjectKey::generate(KeyKind::P256).unwrap());

    let signs_with_rsa =
        |suite: &SupportedCipherSuite| suite.suite().as_str().is_some_and(|name| name.contains("RSA_"));
    let key = if provider.cipher_suites.iter().all(signs_with_rsa) { &*RSA } else { &*P256 };
    let issued = AUTHORITY.issue_with_key(&InstanceSpec::generate().unwrap(), key, SystemTime::now()).unwrap();
    let chain = CertificateDer::pem_slice_iter(issued.cert_pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(provider);
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    server.enable_secret_extraction = true;
    server.ticketer = Ticketer::new().unwrap();
    server.send_tls13_tickets = 1;
    let verifier = Arc::new(Unverified(provider.signature_verification_algorithms));
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (server, client)
}

/// Our provider with this suite alone.
pub(crate) fn provider_with(suite: CipherSuite) -> CryptoProvider {
    let mut provider = (*crate::crypto::provider()).clone();
    provider.cipher_suites.retain(|known| known.suite() == suite);
    assert_eq!(provider.cipher_suites.len(), 1, "{suite:?}");
    provider
}

/// Takes any certificate; that the server has its key is checked.
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
