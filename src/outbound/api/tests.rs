#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::values::api_url;
use crate::credentials::{ApiCas, ApiTrust, Pair};

const LIMITS: ApiLimits =
    ApiLimits { connect: Duration::from_secs(10), total: Duration::from_secs(20), body: 1024 * 1024 };

fn get(path: &str) -> ApiRequest {
    ApiRequest { method: Method::GET, path: path.to_owned(), headers: HeaderMap::new(), body: Bytes::new() }
}

/// Reads one head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A server in plaintext that answers one request with `answer` and closes; gives the head that it got.
async fn plain(answer: Vec<u8>) -> (ApiServer, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = api_url(&format!("http://{}/prefix", listener.local_addr().unwrap())).unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        // A caller that has enough closes first.
        let _ = stream.write_all(&answer).await;
        head
    });
    (ApiServer::plain(url), serving)
}

async fn answered(answer: &[u8]) -> Result<ApiResponse, ApiError> {
    let (server, serving) = plain(answer.to_vec()).await;
    let result = server.call(get("/v1/sys/health"), LIMITS).await;
    serving.await.unwrap();
    result
}

#[tokio::test]
async fn the_answer_is_given_whatever_its_status_and_a_redirect_is_not_followed() {
    let (server, serving) = plain(
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
    )
    .await;
    let response = server.call(get("/v1/a?list=true"), LIMITS).await.unwrap();
    assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(response.headers["location"], "http://127.0.0.1:1/");
    assert_eq!(**response.body, *b"{}");
    let head = serving.await.unwrap();
    assert!(head.starts_with("GET /prefix/v1/a?list=true HTTP/1.1\r\n"), "{head}");
    let host = format!("host: {}\r\n", server.url().authority());
    assert!(head.to_ascii_lowercase().contains(&host), "{head}");
}

#[tokio::test]
async fn a_body_comes_whole_in_chunks_or_until_the_connection_closes() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(**answered(chunked).await.unwrap().body, *b"abcde");
    assert_eq!(**answered(b"HTTP/1.0 200 OK\r\n\r\nuntil the end").await.unwrap().body, *b"until the end");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_kept() {
    let announced = b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n".to_vec();
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1024 * 1024 + 1]].concat();
    for answer in [announced, endless] {
        let error = answered(&answer).await.unwrap_err();
        assert!(matches!(error, ApiError::TooLarge(1_048_576)) && !error.is_transient(), "{error}");
    }
    let whole = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1024 * 1024]].concat();
    assert_eq!(answered(&whole).await.unwrap().body.len(), 1024 * 1024);
    // Nor what informs for ever (RFC 9110, 15.2), or has no end of its head.
    for head in [
        b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20_000),
        [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'a'; 500_000]].concat(),
    ] {
        let error = answered(&head).await.unwrap_err();
        assert!(matches!(error, ApiError::TooLarge(_) | ApiError::NotHttp(_)), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_answer_or_breaks_off_is_told_apart_from_one() {
    for (answer, said) in [
        (&b""[..], "closed the connection before"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "no whole answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "closed the connection before"),
    ] {
        let error = answered(answer).await.unwrap_err();
        assert!(matches!(&error, ApiError::NoAnswer(_)) && error.is_transient(), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn whoever_speaks_something_else_is_not_asked_again() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff",
    ] {
        let error = answered(answer).await.unwrap_err();
        assert!(matches!(&error, ApiError::NotHttp(_)) && !error.is_transient(), "{error:?}");
        assert!(error.to_string().starts_with("the answer is no HTTP: "), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_costs_no_more_than_its_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = ApiServer::plain(api_url(&format!("http://{}", listener.local_addr().unwrap())).unwrap());
    let limits = ApiLimits { total: Duration::from_millis(200), ..LIMITS };
    let error = server.call(get("/"), limits).await.unwrap_err();
    assert!(matches!(error, ApiError::TimedOut(_)) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn one_that_refuses_is_named_with_its_address() {
    let addr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = ApiServer::plain(api_url(&format!("http://{addr}")).unwrap());
    let error = server.call(get("/"), LIMITS).await.unwrap_err();
    assert!(matches!(&error, ApiError::Connect { error: AttemptError::ConnectRefused(_), .. }), "{error:?}");
    assert!(error.is_transient() && error.to_string().starts_with(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn of_several_addresses_the_one_that_answers_is_taken() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let alive = listener.local_addr().unwrap();
    let mut dials = HappyEyeballs::new(vec![dead, alive], Duration::from_secs(10));
    assert_eq!(dials.next().await.unwrap().0, alive);
    assert!(dials.next().await.is_none() && dials.worst.unwrap().0 == dead);
}

/// A CA, and what it issues.
struct TestCa {
    certificate: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    folder: tempfile::TempDir,
}

impl TestCa {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Each has a name of its own.
        params.distinguished_name.push(rcgen::DnType::CommonName, folder.path().display().to_string());
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { certificate, folder }
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        (rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &self.certificate).unwrap(), key)
    }

    fn pair(&self) -> Pair {
        let (certificate, key) = self.issue(&["instance"]);
        Pair::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes(), &crate::crypto::provider())
            .unwrap()
    }

    fn trust(&self) -> ApiTrust {
        let given = Some(self.folder.path().join("ca.pem"));
        ApiTrust::load(&ApiCas { given, platform: None, option: "--vault-ca" }).unwrap()
    }
}

/// A TLS server with a certificate of `names` by `ca` that asks for one of `clients`, and answers each request by who has asked.
async fn encrypted(ca: &TestCa, names: &[&str], clients: Option<&TestCa>) -> SocketAddr {
    let (certificate, key) = ca.issue(names);
    let builder = ServerConfig::builder_with_provider(crate::crypto::provider()).with_safe_default_protocol_versions();
    let builder = match clients {
        None => builder.unwrap().with_no_client_auth(),
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from(clients.certificate.der().to_vec())).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crate::crypto::provider());
            builder.unwrap().with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = builder.with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that is refused has no stream.
                let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                let shown = stream.get_ref().1.peer_certificates().is_some();
                head(&mut stream).await;
                answer(&mut stream, if shown { "somebody" } else { "nobody" }).await;
            });
        }
    });
    addr
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), body: &str) {
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn call(url: &str, trust: &ApiTrust, pair: Option<&Pair>) -> Result<Vec<u8>, ApiError> {
    let server = ApiServer::new(api_url(url).unwrap(), Arc::new(trust.snapshot(pair).unwrap()));
    server.call(get("/"), LIMITS).await.map(|response| response.body.to_vec())
}

#[tokio::test]
async fn the_pair_is_shown_where_one_is_given_and_the_server_must_have_the_name() {
    let ca = TestCa::new();
    let addr = encrypted(&ca, &["127.0.0.1", "localhost"], Some(&ca)).await;
    let (trust, pair) = (ca.trust(), ca.pair());
    let at = format!("https://{addr}");
    assert_eq!(call(&at, &trust, Some(&pair)).await.unwrap(), b"somebody");
    assert_eq!(call(&format!("https://localhost:{}", addr.port()), &trust, Some(&pair)).await.unwrap(), b"somebody");
    let error = call(&at, &trust, None).await.unwrap_err();
    assert!(matches!(error, ApiError::Rejected(AlertDescription::CertificateRequired)), "{error:?}");
    assert!(!error.is_transient());

    let elsewhere = encrypted(&ca, &["vault.example"], None).await;
    let error = call(&format!("https://{elsewhere}"), &trust, None).await.unwrap_err();
    assert!(error.to_string().contains("the certificate is not for 127.0.0.1; it has vault.example"), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_server_of_an_unknown_ca_is_told_nothing_and_the_cas_are_named() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let addr = encrypted(&other, &["127.0.0.1"], None).await;
    let error = call(&format!("https://{addr}"), &ca.trust(), None).await.unwrap_err();
    let said = error.to_string();
    let path = ca.folder.path().join("ca.pem").display().to_string();
    assert!(said.contains(&path) && said.contains("add --vault-ca FILE") && !error.is_transient(), "{said}");
}

#[tokio::test]
async fn a_server_that_does_not_know_our_ca_has_refused_us() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let addr = encrypted(&ca, &["127.0.0.1"], Some(&other)).await;
    let error = call(&format!("https://{addr}"), &ca.trust(), Some(&ca.pair())).await.unwrap_err();
    assert!(matches!(error, ApiError::Rejected(_)), "{error:?}");
}

#[tokio::test]
async fn an_encrypted_body_that_is_cut_off_never_looks_whole() {
    let ca = TestCa::new();
    let (certificate, key) = ca.issue(&["127.0.0.1"]);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(crate::crypto::provider()).with_safe_default_protocol_versions();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let config = builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.unwrap();
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf of it").await.unwrap();
        stream.flush().await.unwrap();
        // FIN without close_notify.
        stream.get_mut().0.shutdown().await.unwrap();
    });
    let error = call(&format!("https://{addr}"), &ca.trust(), None).await.unwrap_err();
    assert!(matches!(&error, ApiError::NoAnswer(said) if said.contains("before its end")), "{error:?}");
}

#[tokio::test]
async fn an_encrypted_answer_that_does_not_come_is_told_in_our_words() {
    let ca = TestCa::new();
    let (certificate, key) = ca.issue(&["127.0.0.1"]);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(crate::crypto::provider()).with_safe_default_protocol_versions();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let config = Arc::new(builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap());
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf of it"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = TlsAcceptor::from(config).accept(tcp).await.unwrap();
            head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            stream.get_mut().0.shutdown().await.unwrap();
        });
        let error = call(&format!("https://{addr}"), &ca.trust(), None).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert_eq!(error.to_string(), "there was no whole answer: the server closed the connection before its end");
    }
}
