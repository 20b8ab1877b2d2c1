//! One connection: one request, with bounds on everything.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use super::rejection::EndpointRejection;
use super::response::{for_hyper, on_the_wire};
use super::service::{IdentityService, MAX_CONNECTIONS};
use crate::http::{HeadRejection, HeadRules, RequestSource, ScannedStream};
use crate::listener::{LimitedListener, ListenSocket, Service, Slot};
use crate::telemetry::TokenRequestResult;

/// From accept to the first byte of the request.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(2);

/// From there to the end of its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// Each of the two while more than half of the places are taken: whoever does not ask does not keep those waiting who would.
const CROWDED_TIMEOUT: Duration = Duration::from_millis(100);

/// From accept to the last byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// What comes behind the request is read and dropped for so long, so that it does not turn our end into a reset, which would take the answer along.
const LINGER: Duration = Duration::from_secs(1);

/// The same, in bytes.
const MAX_LINGER_BYTES: u64 = 256 * 1024;

/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 8192;

/// A connection of somebody on this machine.
pub(super) trait LocalStream: AsyncRead + AsyncWrite + RequestSource + Unpin + Send + 'static {
    /// Who has connected, as the kernel says; `None`: it does not know.
    fn peer_uid(&self) -> Option<io::Result<u32>>;

    /// Waits until something was sent, or will never be. Takes nothing of it.
    fn has_sent(&self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Whoever has asked is answered, whether it waits for that or not: an answer comes at once.
impl RequestSource for TcpStream {
    fn has_peer_closed(&self) -> bool {
        false
    }
}

impl RequestSource for UnixStream {
    fn has_peer_closed(&self) -> bool {
        false
    }
}

impl LocalStream for TcpStream {
    fn peer_uid(&self) -> Option<io::Result<u32>> {
        None
    }

    async fn has_sent(&self) -> io::Result<()> {
        self.async_io(Interest::READABLE, || peek(self)).await
    }
}

impl LocalStream for UnixStream {
    fn peer_uid(&self) -> Option<io::Result<u32>> {
        Some(self.peer_cred().map(|peer| peer.uid()))
    }

    async fn has_sent(&self) -> io::Result<()> {
        self.async_io(Interest::READABLE, || peek(self)).await
    }
}

/// Looks whether something was sent on `stream`, or its end. (That it is readable is taken for granted of one that was just accepted.)
fn peek(stream: impl AsFd) -> io::Result<()> {
    rustix::net::recv(stream, &mut [0_u8; 1], RecvFlags::PEEK)?;
    Ok(())
}

impl Service<LimitedListener<TcpListener>> for IdentityService {
    async fn serve(self: Arc<Self>, stream: AcceptedConnection<TcpListener>, _: std::net::SocketAddr, slot: Slot) {
        serve(&self, stream, slot).await;
    }

    fn reject(&self, _: AcceptedConnection<TcpListener>, _: std::net::SocketAddr) {}
}

impl Service<LimitedListener<UnixListener>> for IdentityService {
    async fn serve(self: Arc<Self>, stream: AcceptedConnection<UnixListener>, (): (), slot: Slot) {
        serve(&self, stream, slot).await;
    }

    fn reject(&self, _: AcceptedConnection<UnixListener>, (): ()) {}
}

/// A connection for which there is room.
type AcceptedConnection<L> = (<L as ListenSocket>::Stream, OwnedSemaphorePermit);

async fn serve<S: LocalStream>(service: &IdentityService, (stream, permit): (S, OwnedSemaphorePermit), slot: Slot) {
    let peer_uid = match stream.peer_uid() {
        Some(Ok(uid)) if service.admits(uid) => Some(uid),
        None => None,
        Some(peer) => {
            // Whoever may not ask takes the place of nobody who may.
            drop(permit);
            refuse_peer(service, stream, peer.ok()).await;
            drop(slot);
            return;
        }
    };
    if begins(&stream, &permit).await {
        let has_asked = AtomicBool::new(false);
        // What goes wrong with the connection is the caller's; it sees it.
        tokio::select! {
            _ = timeout(REQUEST_TIMEOUT, answer(service, stream, peer_uid, &has_asked)) => {}
            () = gives_way(&has_asked, &permit) => {}
        }
    }
    drop((permit, slot));
}

/// Whether a request begins on `stream` in good time, which is short while more than half of the places are taken, `permit` among them.
async fn begins(stream: &impl LocalStream, permit: &OwnedSemaphorePermit) -> bool {
    let end = Instant::now() + FIRST_BYTE_TIMEOUT;
    while Instant::now() < end {
        match timeout(CROWDED_TIMEOUT, stream.has_sent()).await {
            Ok(sent) => return sent.is_ok(),
            Err(_) if is_crowded(permit) => return false,
            Err(_) => {}
        }
    }
    false
}

/// Waits until more than half of the places are taken, `permit` among them, and whoever has it has still not said its whole head.
async fn gives_way(has_asked: &AtomicBool, permit: &OwnedSemaphorePermit) {
    loop {
        sleep(CROWDED_TIMEOUT).await;
        if has_asked.load(Ordering::Relaxed) {
            return pending().await;
        }
        if is_crowded(permit) {
            return;
        }
    }
}

/// Whether more than half of the places are taken. Not whether all are: many end at the same moment, and what the first leaves would keep the
/// others.
fn is_crowded(permit: &OwnedSemaphorePermit) -> bool {
    permit.semaphore().available_permits() < MAX_CONNECTIONS / 2
}

/// Answers the request that comes on `stream`. `has_asked`: becomes true once its head is there, good or not.
pub(super) async fn answer<S: LocalStream>(
    service: &IdentityService,
    stream: S,
    peer_uid: Option<u32>,
    has_asked: &AtomicBool,
) -> io::Result<()> {
    let rules = Arc::new(HeadRules::forward_proxy(MAX_HEAD_BYTES));
    // Heads are judged before hyper reads them, which would have answers of its own.
    let stream = ScannedStream::new(stream, rules, HEAD_TIMEOUT, service.unlimited());
    let heads = stream.heads();
    let respond = service_fn(|request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let head = heads.next();
        async move {
            let response = match head {
                Some((Ok(_), _in_flight)) => service.answer(request, peer_uid).await,
                Some((Err(why), _in_flight)) => service.reject(EndpointRejection::of_head(why), peer_uid),
                // Every request was judged; one that was not is not acted on.
                None => service.reject(EndpointRejection::of_head(HeadRejection::NotHttp), peer_uid),
            };
            Ok::<_, Infallible>(for_hyper(response))
        }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        // Whoever has said all may end its sending, and waits for the answer all the same.
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(FIRST_BYTE_TIMEOUT)
        // What may come with the last byte of the longest head.
        .max_buf_size(4 * MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), respond)
        .without_shutdown();
    let parts = served.await.map_err(io::Error::other)?;
    linger(parts.io.into_inner().into_parts().0).await
}

/// Nothing that was sent is parsed. A few of them at a time get the moment in which what they send is dropped; all others are let go at once,
/// and read the answer all the same, or that the connection is gone.
async fn refuse_peer<S: LocalStream>(service: &IdentityService, mut stream: S, uid: Option<u32>) {
    service.refused(TokenRequestResult::PeerNotAllowed, uid);
    let detail = "this user may not ask; list it by --identity-peer-uid";
    let refusal = EndpointRejection::new(TokenRequestResult::PeerNotAllowed, detail).into_response();
    // It fits in the buffer of a connection to which nothing was written, or nobody is there.
    if timeout(LINGER, stream.write_all(&on_the_wire(&refusal))).await.is_ok_and(|written| written.is_ok())
        && let Some(_place) = service.may_linger()
    {
        let _ = linger(stream).await;
    }
}

/// Ends our sending, then drops what still comes.
async fn linger<S: LocalStream>(mut stream: S) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(MAX_LINGER_BYTES);
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    /// Whether something begins on `stream`, which has one of so many places.
    async fn begins_of(places: usize, stream: TcpStream) -> (bool, TcpStream) {
        let permit = Arc::new(Semaphore::new(places)).acquire_owned().await.unwrap();
        (begins(&stream, &permit).await, stream)
    }

    #[tokio::test]
    async fn whoever_says_nothing_keeps_its_place_for_a_while_and_for_a_moment_only_where_places_are_scarce() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let accepted = async || (TcpStream::connect(at).await.unwrap(), listener.accept().await.unwrap().0);
        let ((mut asker, ours), (_silent, alone)) = (accepted().await, accepted().await);
        let alone = tokio::spawn(begins_of(MAX_CONNECTIONS, alone));
        let (begins, ours) = begins_of(MAX_CONNECTIONS / 2, ours).await;
        assert!(!begins && !alone.is_finished());
        asker.write_all(b"G").await.unwrap();
        let (begins, mut ours) = begins_of(MAX_CONNECTIONS / 2, ours).await;
        assert!(begins);
        assert_eq!(ours.read_u8().await.unwrap(), b'G', "nothing was taken of it");
        assert!(!alone.await.unwrap().0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_not_said_its_whole_head_gives_way_where_places_are_scarce_and_whoever_has_does_not() {
        let gives_way_of = async |places: usize, has_asked: bool| {
            let permit = Arc::new(Semaphore::new(places)).acquire_owned().await.unwrap();
            timeout(REQUEST_TIMEOUT, gives_way(&AtomicBool::new(has_asked), &permit)).await.is_ok()
        };
        assert!(gives_way_of(MAX_CONNECTIONS / 2, false).await);
        assert!(!gives_way_of(MAX_CONNECTIONS / 2, true).await);
        assert!(!gives_way_of(MAX_CONNECTIONS, false).await);
    }
}
