//! A client of HTTP/2, as hyper makes them.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http2;
use hyper::client::conn::http2::SendRequest;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::TEST_TIMEOUT;
use crate::support::client::Connector;

/// Frames of a body that is streamed which may wait to be sent.
const STREAMED: usize = 16;

/// A body whose frames come from elsewhere.
pub(in crate::http_mode) struct Frames(Receiver<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

/// A connection.
pub(in crate::http_mode) struct H2 {
    runtime: Runtime,
    sender: SendRequest<Frames>,
}

/// An answer that is waited for.
pub(in crate::http_mode) type PendingResponse = JoinHandle<hyper::Result<Response<Incoming>>>;

/// An answer whose body comes.
pub(in crate::http_mode) struct Streaming {
    status: u16,
    head: HeaderMap,
    body: Incoming,
    bytes: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
pub(in crate::http_mode) struct H2Answer {
    pub(in crate::http_mode) status: u16,
    pub(in crate::http_mode) head: HeaderMap,
    pub(in crate::http_mode) body: Vec<u8>,
    pub(in crate::http_mode) trailers: Option<HeaderMap>,
}

impl H2Answer {
    pub(in crate::http_mode) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(in crate::http_mode) fn request(path: &str) -> Request<()> {
    Request::get(format!("https://app.test{path}")).body(()).unwrap()
}

pub(in crate::http_mode) fn post(path: &str) -> Request<()> {
    Request::post(format!("https://app.test{path}")).body(()).unwrap()
}

impl H2 {
    pub(in crate::http_mode) fn connect(connector: &Connector, addr: SocketAddr) -> Self {
        Self::try_connect(connector, addr).unwrap()
    }

    pub(in crate::http_mode) fn try_connect(connector: &Connector, addr: SocketAddr) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let name = ServerName::try_from(connector.name.clone()).unwrap();
        let tls = tokio_rustls::TlsConnector::from(Arc::new(connector.config.clone()));
        let sender = runtime.block_on(async move {
            let tcp = tokio::net::TcpStream::connect(addr).await?;
            tcp.set_nodelay(true)?;
            begin(tls.connect(name, tcp).await?).await
        })?;
        Ok(Self { runtime, sender })
    }

    /// Without TLS, where it is known that the other side speaks HTTP/2.
    pub(in crate::http_mode) fn connect_plain(addr: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sender = runtime.block_on(async move { begin(tokio::net::TcpStream::connect(addr).await?).await });
        Self { sender: sender.unwrap(), runtime }
    }

    /// Sends a request whose body is still to come; it ends with the sender.
    pub(in crate::http_mode) fn begin_streaming(
        &self,
        request: Request<()>,
    ) -> (Sender<Frame<Bytes>>, PendingResponse) {
        let (sender, frames) = channel(STREAMED);
        let mut connection = self.sender.clone();
        let pending =
            self.runtime.spawn(async move { connection.send_request(request.map(|()| Frames(frames))).await });
        (sender, pending)
    }

    pub(in crate::http_mode) fn begin(&self, request: Request<()>, frames: Vec<Frame<Bytes>>) -> PendingResponse {
        let (sender, queue) = channel(frames.len().max(1));
        for frame in frames {
            assert!(sender.try_send(frame).is_ok(), "there is room for all");
        }
        drop(sender);
        let mut connection = self.sender.clone();
        self.runtime.spawn(async move { connection.send_request(request.map(|()| Frames(queue))).await })
    }

    pub(in crate::http_mode) fn head(&self, pending: PendingResponse) -> Result<Streaming, String> {
        let response = self.runtime.block_on(async { timeout(TEST_TIMEOUT, pending).await.unwrap().unwrap() });
        let (parts, body) = response.map_err(text)?.into_parts();
        Ok(Streaming { status: parts.status.as_u16(), head: parts.headers, body, bytes: Vec::new() })
    }

    /// The next `n` bytes of the body.
    pub(in crate::http_mode) fn next(&self, streaming: &mut Streaming, n: usize) -> Vec<u8> {
        self.runtime.block_on(async {
            while streaming.bytes.len() < n {
                let frame = timeout(TEST_TIMEOUT, streaming.body.frame()).await.unwrap().unwrap().unwrap();
                streaming.bytes.extend_from_slice(frame.data_ref().unwrap());
            }
        });
        streaming.bytes.drain(..n).collect()
    }

    /// All that is left of it.
    pub(in crate::http_mode) fn rest(&self, streaming: Streaming) -> Result<H2Answer, String> {
        let Streaming { status, head, mut body, mut bytes } = streaming;
        let mut trailers = None;
        self.runtime.block_on(async {
            while let Some(frame) = timeout(TEST_TIMEOUT, body.frame()).await.unwrap() {
                match frame.map_err(text)?.into_data() {
                    Ok(data) => bytes.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
            }
            Ok(H2Answer { status, head, body: bytes, trailers })
        })
    }

    pub(in crate::http_mode) fn end(&self, pending: PendingResponse) -> Result<H2Answer, String> {
        let streaming = self.head(pending)?;
        self.rest(streaming)
    }

    pub(in crate::http_mode) fn ask(
        &self,
        request: Request<()>,
        frames: Vec<Frame<Bytes>>,
    ) -> Result<H2Answer, String> {
        self.end(self.begin(request, frames))
    }

    /// So many at a time ask for something again and again, until the connection takes no more requests.
    ///
    /// # Errors
    /// A request that was taken was not answered.
    pub(in crate::http_mode) fn keep_asking(&self, at_once: usize, answered: &AtomicUsize) -> Result<(), String> {
        let count = Arc::new(AtomicUsize::new(0));
        let users: Vec<_> = (0..at_once)
            .map(|_| {
                let (mut connection, count) = (self.sender.clone(), Arc::clone(&count));
                self.runtime.spawn(async move {
                    while connection.ready().await.is_ok() {
                        let (sender, frames) = channel(1);
                        sender.send(Frame::data(Bytes::from_static(b"hello"))).await.unwrap();
                        drop(sender);
                        let mut request = post("/");
                        request.headers_mut().insert("content-length", "5".parse().unwrap());
                        let response = match connection.try_send_request(request.map(|()| Frames(frames))).await {
                            Ok(response) => response,
                            Err(mut error) => match error.take_message() {
                                // Nothing of it was sent.
                                Some(_) => return Ok(()),
                                None => return Err(text(error.into_error())),
                            },
                        };
                        let status = response.status();
                        let body = response.into_body().collect().await.map_err(text)?.to_bytes();
                        if status != 200 || body != "done" {
                            return Err(format!("{status} {body:?}"));
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        self.runtime.block_on(async {
            let mut seen = 0;
            let mut count_on = || {
                let now = count.load(Ordering::Relaxed);
                answered.fetch_add(now - seen, Ordering::Relaxed);
                seen = now;
            };
            for mut user in users {
                loop {
                    tokio::select! {
                        ended = &mut user => {
                            ended.unwrap()?;
                            break;
                        }
                        () = tokio::time::sleep(std::time::Duration::from_millis(5)) => count_on(),
                    }
                }
            }
            count_on();
            Ok(())
        })
    }
}

/// Speaks HTTP/2 on `stream`.
async fn begin(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> std::io::Result<SendRequest<Frames>> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let handshake = builder.max_frame_size(16 * 1024).handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(std::io::Error::other)?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// An error with its causes.
fn text(error: hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
