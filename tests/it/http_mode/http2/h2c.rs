//! An app that speaks HTTP/2 without TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body_util::{BodyExt, Either};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What comes, as it comes, and `grpc-status: 0` in the trailers, beside those that came.
struct Echo {
    body: Incoming,
    is_ended: bool,
}

impl Body for Echo {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        let mut trailers = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => trailers,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            },
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => HeaderMap::new(),
        };
        self.is_ended = true;
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<Either<Echo, http_body_util::Empty<Bytes>>>, Infallible> {
    let is_bare = request.uri().path() == "/trailers-only";
    let fields: usize = request.uri().path().strip_prefix("/fields-").map_or(0, |fields| fields.parse().unwrap());
    let mut response = match is_bare {
        true => Response::new(Either::Right(http_body_util::Empty::new())),
        false => Response::new(Either::Left(Echo { body: request.into_body(), is_ended: false })),
    };
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    for _ in 0..fields {
        response.headers_mut().append("x", HeaderValue::from_static("y"));
    }
    if is_bare {
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
    }
    Ok(response)
}

/// One that sends back what it gets, and answers `/trailers-only` with a head alone, and `/fields-N` with so many fields more.
pub(super) fn echo() -> SocketAddr {
    serve(watch::channel(true).1, answer)
}

/// One that reads nothing of its connections until it is told to by what is given here, and answers with how many bytes the body has.
pub(super) fn serving_late() -> (SocketAddr, watch::Sender<bool>) {
    let (tell, told) = watch::channel(false);
    let addr = serve(told, |request: Request<Incoming>| async {
        let length = request.into_body().collect().await.unwrap().to_bytes().len();
        Ok(Response::new(length.to_string()))
    });
    (addr, tell)
}

/// Serves with `answer`, once it is told that it may.
fn serve<F, B>(
    may_serve: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, mut may_serve) = (answer.clone(), may_serve.clone());
                tokio::spawn(async move {
                    drop(may_serve.wait_for(|may| *may).await);
                    let mut serving = http2::Builder::new(TokioExecutor::new());
                    // By itself it takes a burst of small frames for abuse.
                    serving.initial_connection_window_size(64 * 1024 * 1024);
                    let _ = serving.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
                });
            }
        });
    });
    told.recv().unwrap()
}
