//! One request to one server whose API we call ourselves, in the instance's name: what fetches secrets speaks by this.
//!
//! name → addresses → whichever accepts first → handshake → request → answer. No proxy of the environment is asked, no redirect is
//! followed, and nothing is kept for the next request but TLS sessions.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::certificate_rejection::{CertificateRejection, rejection};
use super::dial::{STAGGER, dial_addr};
use super::error::AttemptError;
use super::handshake::{handshake, name_of};
use super::resolve::{Resolution, resolve};
use super::stream::EndpointStream;
use crate::config::{ApiUrl, Host};
use crate::credentials::OutboundSnapshot;
use crate::io::{MeteredStream, ReadLimitReached};

/// The longest head of an answer, and the most that may come before the answer itself (RFC 9110, 15.2), in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How a connection ended that should have brought more.
const CLOSED_EARLY: &str = "the server closed the connection before its end";

/// Addresses that are dialled for one request.
const MAX_ADDRESSES: usize = 8;

/// A server whose API is called, and what it is shown and judged by.
#[derive(Debug, Clone)]
pub struct ApiServer {
    url: ApiUrl,
    name: ServerName<'static>,
    snapshot: Option<Arc<OutboundSnapshot>>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct ApiRequest {
    /// The method.
    pub method: Method,
    /// Path and query, behind the prefix of the URL.
    pub path: String,
    /// Fields beside Host, Accept, User-Agent and Content-Length.
    pub headers: HeaderMap,
    /// The body; empty: none.
    pub body: Bytes,
}

/// How long a request may take, and how large its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiLimits {
    /// For one address to accept, and again for the handshake with it.
    pub connect: Duration,
    /// For the lookup, all attempts and the whole answer.
    pub total: Duration,
    /// Bytes of the answer's body.
    pub body: usize,
}

/// What was answered, whatever the status.
#[derive(Debug)]
pub struct ApiResponse {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The whole body, which may hold secrets.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The name could not be looked up.
    #[error("the name could not be looked up: {0}; see DNS and /etc/resolv.conf")]
    ResolveFailed(String),
    /// The name has no address.
    #[error("the name has no address; see the URL, and DNS")]
    NoAddress,
    /// What is not encrypted stays on this machine.
    #[error("the name leads to {0}, and what is not encrypted is sent to loopback only; write https://")]
    NotLoopback(SocketAddr),
    /// None of the addresses answers, or may.
    #[error("{addr}: {error}")]
    Connect {
        /// Where the most telling attempt was.
        addr: SocketAddr,
        /// What came of it.
        error: AttemptError,
    },
    /// The server has refused our certificate once the handshake was done, as TLS 1.3 lets it.
    #[error("{}", CertificateRejection::new(*.0, None))]
    Rejected(AlertDescription),
    /// The time is over.
    #[error("there was no answer within {0:?}")]
    TimedOut(Duration),
    /// The answer is too large.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection failed.
    #[error("there was no whole answer: {0}")]
    NoAnswer(String),
    /// Whoever is there speaks something else, or no HTTP that can be read.
    #[error("the answer is no HTTP: {0}")]
    NotHttp(String),
    /// The request cannot be written.
    #[error("{0} cannot be sent in a request")]
    BadRequest(&'static str),
}

impl ApiError {
    /// Whether the server has refused the certificate that it was shown.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::Connect { error: AttemptError::Rejected(_), .. })
    }

    /// Whether the same request may well be answered a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::ResolveFailed(_) | Self::NoAddress | Self::TimedOut(_) | Self::NoAnswer(_) => true,
            Self::Connect { error, .. } => !matches!(error, AttemptError::Rejected(_) | AttemptError::Denied(_)),
            Self::Rejected(_) | Self::NotLoopback(_) | Self::TooLarge(_) | Self::NotHttp(_) | Self::BadRequest(_) => {
                false
            }
        }
    }
}

impl ApiServer {
    /// The server at `url`, which is shown and judged by what `snapshot` has.
    pub fn new(url: ApiUrl, snapshot: Arc<OutboundSnapshot>) -> Self {
        Self { name: name_of(&url.server.host), url, snapshot: Some(snapshot) }
    }

    /// The server at `url`, to which nothing is encrypted: nothing is sent unless it is on this machine.
    pub fn plain(url: ApiUrl) -> Self {
        Self { name: name_of(&url.server.host), url, snapshot: None }
    }

    /// Where it is.
    pub fn url(&self) -> &ApiUrl {
        &self.url
    }

    /// Sends `request`, and gives the whole answer.
    ///
    /// # Errors
    /// [`ApiError`]: there is none. An answer of any status is no error.
    pub async fn call(&self, request: ApiRequest, limits: ApiLimits) -> Result<ApiResponse, ApiError> {
        let exchange = async {
            let request = self.message(request)?;
            let stream = self.connect(limits.connect).await?;
            exchange(stream, request, limits.body).await
        };
        timeout(limits.total, exchange).await.unwrap_or(Err(ApiError::TimedOut(limits.total)))
    }

    fn message(&self, request: ApiRequest) -> Result<Request<Full<Bytes>>, ApiError> {
        let ApiRequest { method, path, headers, body } = request;
        let host = HeaderValue::try_from(self.url.authority()).map_err(|_| ApiError::BadRequest("the host"))?;
        let mut message = Request::new(Full::new(body));
        let target = format!("{}{path}", self.url.prefix);
        *message.uri_mut() = target.parse().map_err(|_| ApiError::BadRequest("the path"))?;
        *message.method_mut() = method;
        *message.headers_mut() = headers;
        let fields = message.headers_mut();
        fields.insert(HOST, host);
        fields.insert(ACCEPT, HeaderValue::from_static("application/json"));
        fields.insert(USER_AGENT, HeaderValue::from_static(concat!("vestibule/", env!("CARGO_PKG_VERSION"))));
        // There is no second request on this connection.
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(message)
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, ApiError> {
        let ips = match &self.url.server.host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => match resolve(name, None).await {
                Resolution::Addresses(ips, _) | Resolution::Partly(ips, _) => ips,
                Resolution::Empty => return Err(ApiError::NoAddress),
                Resolution::Failed(why) => return Err(ApiError::ResolveFailed(why)),
            },
        };
        let addrs = ips.into_iter().map(|ip| SocketAddr::new(ip, self.url.server.port));
        let addrs: Vec<_> = addrs.take(MAX_ADDRESSES).collect();
        match addrs.iter().find(|addr| !addr.ip().is_loopback()) {
            Some(addr) if self.snapshot.is_none() => Err(ApiError::NotLoopback(*addr)),
            _ => Ok(addrs),
        }
    }

    /// A connection to whichever address answers first, and may.
    async fn connect(&self, limit: Duration) -> Result<EndpointStream, ApiError> {
        let mut dials = HappyEyeballs::new(self.addresses().await?, limit);
        while let Some((addr, tcp)) = dials.next().await {
            let Some(snapshot) = &self.snapshot else { return Ok(EndpointStream::Plain(tcp)) };
            match handshake(limit, snapshot, &self.name, tcp, None).await {
                Ok(shaken) => return Ok(EndpointStream::Tls(shaken.stream)),
                Err(failed) => dials.note(addr, failed.error),
            }
        }
        Err(dials.worst.map_or(ApiError::NoAddress, |(addr, error)| ApiError::Connect { addr, error }))
    }
}

/// Addresses that are dialled, each with a head start before the next (RFC 8305, 5).
struct HappyEyeballs {
    left: std::vec::IntoIter<SocketAddr>,
    racing: JoinSet<(SocketAddr, Result<TcpStream, AttemptError>)>,
    limit: Duration,
    /// The most telling failure so far.
    worst: Option<(SocketAddr, AttemptError)>,
}

impl HappyEyeballs {
    fn new(addrs: Vec<SocketAddr>, limit: Duration) -> Self {
        Self { left: addrs.into_iter(), racing: JoinSet::new(), limit, worst: None }
    }

    /// The next that accepts; `None`: no other does.
    async fn next(&mut self) -> Option<(SocketAddr, TcpStream)> {
        loop {
            let (next, limit) = (self.left.next(), self.limit);
            if let Some(addr) = next {
                self.racing.spawn(async move { (addr, dial_addr(addr, limit).await) });
            } else if self.racing.is_empty() {
                return None;
            }
            let joined = match self.left.len() {
                0 => self.racing.join_next().await,
                _ => timeout(STAGGER, self.racing.join_next()).await.ok().flatten(),
            };
            match joined {
                Some(Ok((addr, Ok(tcp)))) => return Some((addr, tcp)),
                Some(Ok((addr, Err(error)))) => self.note(addr, error),
                Some(Err(_)) | None => {}
            }
        }
    }

    fn note(&mut self, addr: SocketAddr, error: AttemptError) {
        if self.worst.as_ref().is_none_or(|(_, worst)| error.weight() >= worst.weight()) {
            self.worst = Some((addr, error));
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, max: usize) -> Result<ApiResponse, ApiError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = MeteredStream::new(stream);
    let meter = stream.meter();
    meter.limit_reading(Some(2 * MAX_HEAD as u64));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| failure(&error))?;
        meter.limit_reading(None);
        let response = whole(response, max).await?;
        // What is cut off would pass for a whole body where its length was not said.
        match meter.is_truncated() {
            true => Err(ApiError::NoAnswer("the connection ended without close_notify".to_owned())),
            false => Ok(response),
        }
    };
    let (mut connection, mut answer) = (pin!(connection), pin!(answer));
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        // What came before its end is still to be read.
        _ = &mut connection => {}
    }
    answer.await
}

async fn whole(response: Response<Incoming>, max: usize) -> Result<ApiResponse, ApiError> {
    let (parts, mut body) = response.into_parts();
    let announced = body.size_hint().lower();
    if announced > max as u64 {
        return Err(ApiError::TooLarge(max));
    }
    let mut whole = Zeroizing::new(Vec::with_capacity(usize::try_from(announced).unwrap_or_default()));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failure(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > max - whole.len() {
            return Err(ApiError::TooLarge(max));
        }
        append(&mut whole, data);
    }
    Ok(ApiResponse { status: parts.status, headers: parts.headers, body: whole })
}

/// As `extend_from_slice`, but that no copy is left behind where the bytes have to move.
fn append(whole: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if whole.capacity() - whole.len() < data.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((whole.len() + data.len()) * 2));
        larger.extend_from_slice(whole);
        *whole = larger;
    }
    whole.extend_from_slice(data);
}

fn failure(error: &hyper::Error) -> ApiError {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = source {
        let Some(cause) = cause.downcast_ref::<io::Error>() else {
            source = cause.source();
            continue;
        };
        if let Some(alert) = rejection(cause) {
            return ApiError::Rejected(alert);
        }
        let inner = cause.get_ref();
        return match cause.kind() {
            _ if inner.is_some_and(|inner| inner.is::<ReadLimitReached>()) => ApiError::TooLarge(2 * MAX_HEAD),
            io::ErrorKind::UnexpectedEof => ApiError::NoAnswer(CLOSED_EARLY.to_owned()),
            // What is wrong with a body that is sent in chunks; the same kind of error of TLS is one of its own.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
                if !inner.is_some_and(|inner| inner.is::<rustls::Error>()) =>
            {
                ApiError::NotHttp(cause.to_string())
            }
            _ => ApiError::NoAnswer(format!("the connection failed: {cause}")),
        };
    }
    match error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        true => ApiError::NoAnswer(CLOSED_EARLY.to_owned()),
        false => ApiError::NotHttp(error.to_string()),
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
#[cfg(test)]
mod tests;
