//! One connection: one request, with bounds on everything.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::answer::{for_hyper, on_the_wire};
use super::refusal::Refusal;
use super::service::IdentityService;
use crate::listener::{ListenSocket, Queued, Service, Slot};
use crate::telemetry::TokenRequestResult;

/// From accept to the end of the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// From accept to the last byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// What comes behind the request is read and dropped for so long, so that it does not turn our end into a reset, which would take the answer along.
const LINGER: Duration = Duration::from_secs(1);

/// The same, in bytes.
const MAX_LINGER_BYTES: u64 = 256 * 1024;

/// Bytes of a request's head, the least that hyper allows.
const MAX_HEAD_BYTES: usize = 8192;

const MAX_HEADERS: usize = 32;

/// A connection of somebody on this machine.
pub(super) trait LocalStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Who has connected, as the kernel says; `None`: it does not know.
    fn peer_uid(&self) -> Option<io::Result<u32>>;
}

impl LocalStream for TcpStream {
    fn peer_uid(&self) -> Option<io::Result<u32>> {
        None
    }
}

impl LocalStream for UnixStream {
    fn peer_uid(&self) -> Option<io::Result<u32>> {
        Some(self.peer_cred().map(|peer| peer.uid()))
    }
}

impl Service<Queued<TcpListener>> for IdentityService {
    async fn serve(self: Arc<Self>, stream: Admitted<TcpListener>, _: std::net::SocketAddr, slot: Slot) {
        serve(&self, stream, slot).await;
    }

    fn reject(&self, _: Admitted<TcpListener>, _: std::net::SocketAddr) {}
}

impl Service<Queued<UnixListener>> for IdentityService {
    async fn serve(self: Arc<Self>, stream: Admitted<UnixListener>, (): (), slot: Slot) {
        serve(&self, stream, slot).await;
    }

    fn reject(&self, _: Admitted<UnixListener>, (): ()) {}
}

/// A connection for which there is room.
type Admitted<L> = (<L as ListenSocket>::Stream, OwnedSemaphorePermit);

async fn serve<S: LocalStream>(service: &IdentityService, (stream, room): (S, OwnedSemaphorePermit), slot: Slot) {
    // What goes wrong with the connection is the caller's; it sees it.
    let _ = timeout(REQUEST_TIMEOUT, answer(service, stream)).await;
    drop((room, slot));
}

async fn answer<S: LocalStream>(service: &IdentityService, stream: S) -> io::Result<()> {
    let peer_uid = match stream.peer_uid() {
        Some(Ok(uid)) if service.admits(uid) => Some(uid),
        None => None,
        // Nothing that was sent is parsed.
        Some(peer) => return refuse_peer(service, stream, peer.ok()).await,
    };
    let respond = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(for_hyper(service.answer(request, peer_uid).await))
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), respond)
        .without_shutdown();
    let parts = served.await.map_err(io::Error::other)?;
    linger(parts.io.into_inner()).await
}

async fn refuse_peer<S: LocalStream>(service: &IdentityService, mut stream: S, uid: Option<u32>) -> io::Result<()> {
    service.refused(TokenRequestResult::PeerNotAllowed, uid);
    let detail = "this user may not ask; list it by --identity-peer-uid";
    let refusal = Refusal::new(TokenRequestResult::PeerNotAllowed, detail).into_response();
    stream.write_all(&on_the_wire(&refusal)).await?;
    linger(stream).await
}

/// Ends our sending, then drops what still comes.
async fn linger<S: LocalStream>(mut stream: S) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(MAX_LINGER_BYTES);
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    Ok(())
}
