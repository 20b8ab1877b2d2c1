use super::*;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(5);

/// An address on which nobody listens, below those that outgoing connections come from; each test has its own.
async fn nobody() -> SocketAddr {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    loop {
        let nth = (std::process::id() as u16).wrapping_mul(11).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", 5_000 + nth % 5_000)).await {
            return listener.local_addr().unwrap();
        }
    }
}

fn upstream(addr: SocketAddr, ready: AppReady, hold: Option<Duration>) -> Arc<Upstream> {
    Arc::new(Upstream::new(AppAddr::Tcp(addr), LIMIT, ready, hold))
}

fn watched(upstream: &Arc<Upstream>) -> tokio::task::JoinHandle<()> {
    let upstream = Arc::clone(upstream);
    tokio::spawn(async move { upstream.watch(&[]).await })
}

async fn becomes(upstream: &Upstream, wanted: HealthState) {
    let mut seen = upstream.health().watch();
    timeout(Duration::from_secs(20), seen.wait_for(|seen| *seen == wanted)).await.expect("in time").unwrap();
}

#[tokio::test]
async fn an_app_that_starts_is_asked_until_it_accepts_and_then_no_more() {
    let addr = nobody().await;
    let upstream = upstream(addr, AppReady::Tcp, None);
    let watching = watched(&upstream);
    assert!(matches!(upstream.dial().await, Err(DialError::Refused)));
    assert_eq!(upstream.health().state(), HealthState::Starting);
    assert!(!upstream.health().is_ready());

    let app = TcpListener::bind(addr).await.unwrap();
    becomes(&upstream, HealthState::Accepting).await;
    app.accept().await.unwrap();
    assert!(timeout(FAST_PROBE_INTERVAL * 5, app.accept()).await.is_err(), "asked again though all was well");
    watching.abort();
}

#[tokio::test]
async fn a_refused_dial_is_noted_and_the_app_is_asked_again() {
    let addr = nobody().await;
    let app = TcpListener::bind(addr).await.unwrap();
    let upstream = upstream(addr, AppReady::Tcp, None);
    let watching = watched(&upstream);
    becomes(&upstream, HealthState::Accepting).await;
    drop(app);
    assert!(upstream.dial().await.is_err());
    assert_eq!(upstream.health().state(), HealthState::Refusing);
    assert!(!upstream.health().is_ready());
    let _app = TcpListener::bind(addr).await.unwrap();
    becomes(&upstream, HealthState::Accepting).await;
    watching.abort();
}

#[tokio::test]
async fn a_client_waits_for_an_app_that_starts_but_not_for_one_that_has_gone() {
    let addr = nobody().await;
    let upstream = upstream(addr, AppReady::Tcp, Some(LIMIT));
    let watching = watched(&upstream);
    let waiting = tokio::spawn({
        let upstream = Arc::clone(&upstream);
        async move { upstream.dial().await }
    });
    sleep(FAST_PROBE_INTERVAL).await;
    assert!(!waiting.is_finished());
    let app = TcpListener::bind(addr).await.unwrap();
    assert!(waiting.await.unwrap().is_ok());

    drop(app);
    // At the first poll that the kernel has an answer for, without the timer that a wait would need.
    assert!(matches!(upstream.dial().await, Err(DialError::Refused)));
    assert_eq!(upstream.health().state(), HealthState::Refusing);
    watching.abort();
}

#[tokio::test]
async fn nobody_waits_once_the_holding_has_stopped() {
    let upstream = upstream(nobody().await, AppReady::Tcp, Some(Duration::from_secs(3600)));
    let waiting = tokio::spawn({
        let upstream = Arc::clone(&upstream);
        async move { upstream.dial().await }
    });
    upstream.health().stop_holding();
    assert!(matches!(timeout(LIMIT, waiting).await.unwrap().unwrap(), Err(DialError::Refused)));
}

#[tokio::test]
async fn an_app_that_is_asked_by_http_is_ready_when_it_answers_well() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(app.local_addr().unwrap(), AppReady::Http("/up".into()), None);
    let watching = watched(&upstream);
    for (answer, ready) in [
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
        ("SSH-2.0-OpenSSH_9\r\n", false),
        ("", false),
        ("HTTP/1.0 204 No Content\r\n\r\n", true),
    ] {
        assert!(!upstream.health().is_ready());
        let (mut connection, _) = timeout(LIMIT, app.accept()).await.unwrap().unwrap();
        let mut request = [0; 19];
        connection.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"GET /up HTTP/1.1\r\nH");
        connection.write_all(answer.as_bytes()).await.unwrap();
        drop(connection);
        if ready {
            becomes(&upstream, HealthState::Accepting).await;
        }
    }
    watching.abort();
}

#[tokio::test]
async fn an_app_that_is_never_asked_counts_as_ready_until_a_client_is_refused() {
    let addr = nobody().await;
    let app = TcpListener::bind(addr).await.unwrap();
    let upstream = upstream(addr, AppReady::Off, None);
    let watching = watched(&upstream);
    assert!(upstream.health().is_ready());
    assert!(timeout(FAST_PROBE_INTERVAL * 3, app.accept()).await.is_err(), "asked");
    upstream.dial().await.unwrap();
    assert_eq!(upstream.health().state(), HealthState::Accepting);
    drop(app);
    assert!(upstream.dial().await.is_err());
    assert!(!upstream.health().is_ready());
    watching.abort();
}

#[tokio::test]
async fn an_app_on_localhost_is_found_on_either_address_and_dialled_there_first() {
    let four = nobody().await;
    let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, four.port()));
    let upstream = Upstream::new(AppAddr::Localhost(four.port()), LIMIT, AppReady::Tcp, None);
    assert!(matches!(upstream.dial().await, Err(DialError::Refused)));
    let on_six = TcpListener::bind(six).await.unwrap();
    upstream.dial().await.unwrap();
    on_six.accept().await.unwrap();
    // Where it was last it is looked for first, and it may move.
    let on_four = TcpListener::bind(four).await.unwrap();
    upstream.dial().await.unwrap();
    on_six.accept().await.unwrap();
    drop(on_six);
    upstream.dial().await.unwrap();
    on_four.accept().await.unwrap();
    let _six_again = TcpListener::bind(six).await.unwrap();
    upstream.dial().await.unwrap();
    on_four.accept().await.unwrap();
}
