//! The app of the demo: it speaks plaintext HTTP/1.1, and says so.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::commands::text;

/// Starts the app on a free port of 127.0.0.1. It runs for as long as the runtime does. `is_told`: the proxy tells it who calls, and
/// nobody else can.
///
/// # Errors
/// The kernel grants no port or descriptor.
pub(super) async fn start(is_told: bool) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        // When accepting fails the demo has run out of descriptors; the proxy's access log then says that the app cannot
        // be reached.
        while let Ok((stream, client)) = listener.accept().await {
            tokio::spawn(serve(stream, client, is_told));
        }
    });
    Ok(addr)
}

async fn serve(stream: TcpStream, client: SocketAddr, is_told: bool) {
    let answer = service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request, client, is_told)) });
    // A client that leaves is no matter for an app that keeps nothing.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

fn answer(request: &Request<Incoming>, client: SocketAddr, is_told: bool) -> Response<Full<Bytes>> {
    let caller = request.headers().get("x-vestibule-app").filter(|_| is_told).and_then(|app| app.to_str().ok());
    let body = page(request.method().as_str(), request.uri().path(), client, caller, SystemTime::now());
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// `caller`: the app that calls, if the proxy says so.
fn page(method: &str, path: &str, client: SocketAddr, caller: Option<&str>, now: SystemTime) -> String {
    let caller = caller.map(|app| format!("caller   app {app}, as the proxy says in X-Vestibule-App\n"));
    let page = format!(
        "hello from the app\n\
         request  {method} {path}\n\
         time     {}\n\
         from     {client}, in plaintext: the proxy has taken the TLS off\n",
        text::timestamp(now)
    );
    page + &caller.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::page;
    use std::time::UNIX_EPOCH;

    #[test]
    fn the_page_shows_path_time_and_that_it_is_plaintext() {
        assert_eq!(
            page("GET", "/a", "127.0.0.1:9".parse().unwrap(), None, UNIX_EPOCH),
            "hello from the app\nrequest  GET /a\ntime     1970-01-01T00:00:00Z\n\
             from     127.0.0.1:9, in plaintext: the proxy has taken the TLS off\n"
        );
        let told = page("GET", "/a", "127.0.0.1:9".parse().unwrap(), Some("x"), UNIX_EPOCH);
        assert!(told.ends_with("\ncaller   app x, as the proxy says in X-Vestibule-App\n"), "{told}");
    }
}
