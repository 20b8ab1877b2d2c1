//! The way to the app: dialling it, and remembering whether it answered.

mod probe;

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;
use socket2::Domain;
use socket2::Protocol;
use socket2::Socket;
use socket2::Type;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::announce;
use crate::config::AppAddr;
use crate::config::AppReady;
use crate::config::ProxyProtocol;
use crate::relay::AppStream;
use crate::sys::sockets;

/// How often an app that starts is asked.
const EAGERLY: Duration = Duration::from_millis(50);

/// For how long it is asked that often.
const EAGER: Duration = Duration::from_secs(60);

/// How often an app is asked that has refused, or takes very long to start.
const PATIENTLY: Duration = Duration::from_secs(1);

/// Why the app could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody listens.
    #[error("the app refused the connection")]
    Refused,
    /// No answer in time.
    #[error("the app did not accept within {0:?}")]
    TimedOut(Duration),
    /// Something else, as the kernel names it.
    #[error("the app cannot be reached")]
    Failed(#[source] io::Error),
    /// It accepted, and was gone before the client had been answered.
    #[error("the app reset the connection before the client had been answered")]
    Reset,
}

/// What is known of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It has not been ready yet.
    Starting,
    /// As before, and clients no longer wait for it.
    GivenUp,
    /// It accepted when it was last asked or dialled.
    Accepting,
    /// It was ready before, and refused when it was last dialled.
    Refusing,
}

/// The way to the app behind one listener.
#[derive(Debug)]
pub struct Upstream {
    addr: AppAddr,
    /// For the app to accept.
    limit: Duration,
    ready: AppReady,
    /// What the app has to read first when we ask it ourselves.
    introduction: &'static [u8],
    hold: Option<Duration>,
    seen: watch::Sender<Seen>,
    exposed: OnceLock<Vec<SocketAddr>>,
}

impl Upstream {
    /// The way to `addr`, with `limit` for each dial. `ready` says what "ready" means, and `hold` how long clients wait for
    /// an app that has not been ready yet.
    pub fn new(addr: AppAddr, limit: Duration, ready: AppReady, hold: Option<Duration>) -> Self {
        let seen = watch::Sender::new(Seen::Starting);
        Self { addr, limit, ready, introduction: b"", hold, seen, exposed: OnceLock::new() }
    }

    /// The same to an app that is told of each client, and so reads a PROXY header first in whatever it is asked.
    pub fn announcing(self, version: Option<ProxyProtocol>) -> Self {
        let introduction = match version {
            None => b"",
            Some(ProxyProtocol::V1) => announce::OWN_V1,
            Some(ProxyProtocol::V2) => announce::OWN_V2,
        };
        Self { introduction, ..self }
    }

    /// Where the app is.
    pub fn addr(&self) -> &AppAddr {
        &self.addr
    }

    /// What is known of the app.
    pub fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Whether the app takes connections, as far as anybody knows.
    pub fn is_ready(&self) -> bool {
        match self.seen() {
            Seen::Accepting => true,
            Seen::Starting => self.ready == AppReady::Off,
            Seen::GivenUp | Seen::Refusing => false,
        }
    }

    /// The addresses through which other hosts can reach the app past us; empty until it has accepted.
    pub fn exposed(&self) -> &[SocketAddr] {
        self.exposed.get().map_or(&[], Vec::as_slice)
    }

    /// Connects to the app, and before its first readiness waits for that as long as was asked for.
    ///
    /// # Errors
    /// [`DialError`], when the app has not accepted.
    pub async fn dial(&self) -> Result<AppStream, DialError> {
        if let Some(hold) = self.hold
            && self.seen() == Seen::Starting
        {
            // When the time is over, the dial below tells the client.
            let _ = timeout(hold, self.seen.subscribe().wait_for(|seen| *seen != Seen::Starting)).await;
        }
        let dialled = connect_within(&self.addr, self.limit).await;
        match dialled {
            // That it accepts does not tell that it answers.
            Ok(_) if matches!(self.ready, AppReady::Http(_)) => {}
            Ok(_) => self.note(Seen::Accepting),
            Err(_) if self.is_ready() => self.note(Seen::Refusing),
            Err(_) => {}
        }
        dialled
    }

    /// How long clients wait for an app that has not been ready yet.
    pub fn hold(&self) -> Option<Duration> {
        self.hold
    }

    /// Clients no longer wait for an app that has not been ready yet.
    pub fn stop_holding(&self) {
        self.seen.send_if_modified(|seen| {
            let held = *seen == Seen::Starting;
            if held {
                *seen = Seen::GivenUp;
            }
            held
        });
    }

    /// Asks the app until it is ready, and again whenever a client was refused, for ever; while all is well it only waits.
    /// `ours`: the addresses that we listen on ourselves.
    pub async fn watch(&self, ours: &[SocketAddr]) {
        let began = Instant::now();
        let mut changes = self.seen.subscribe();
        loop {
            let seen = *changes.borrow_and_update();
            let pause = match seen {
                Seen::Accepting => {
                    self.say_accepting(began, ours);
                    // Cannot fail: we hold the sender.
                    let _ = changes.changed().await;
                    if self.seen() == Seen::Refusing {
                        tracing::warn!(app = %self.addr, "the app no longer accepts connections");
                    }
                    continue;
                }
                _ if self.ready == AppReady::Off => {
                    let _ = changes.changed().await;
                    continue;
                }
                Seen::Starting if began.elapsed() < EAGER => EAGERLY,
                _ => PATIENTLY,
            };
            if seen == Seen::Refusing {
                sleep(pause).await;
            }
            if probe::ask(&self.addr, self.limit, &self.ready, self.introduction).await {
                self.note(Seen::Accepting);
            } else if seen != Seen::Refusing {
                sleep(pause).await;
            }
        }
    }

    fn note(&self, now: Seen) {
        // Read first: on the path of every connection the answer is the same as before.
        if self.seen() != now {
            self.seen.send_replace(now);
        }
    }

    /// Once at the start with what is to be known of the app, and briefly after each trouble.
    fn say_accepting(&self, began: Instant, ours: &[SocketAddr]) {
        if self.exposed.get().is_some() {
            tracing::info!(app = %self.addr, "the app accepts connections again");
            return;
        }
        if self.ready != AppReady::Off {
            let after_ms = began.elapsed().as_millis();
            tracing::info!(app = %self.addr, after_ms = u64::try_from(after_ms).ok(), "the app accepts connections");
        }
        let exposed = match &self.addr {
            AppAddr::Tcp(addr) => sockets::exposed(*addr, &sockets::now_listening()),
            AppAddr::Unix(_) => Vec::new(),
        };
        let exposed = self.exposed.get_or_init(|| exposed.into_iter().filter(|at| !ours.contains(at)).collect());
        for at in exposed {
            tracing::warn!(app = %self.addr, exposed = %at,
                "other hosts can reach the app past this proxy; let it listen on 127.0.0.1, or give --hide-app-port");
        }
    }
}

async fn connect_within(app: &AppAddr, limit: Duration) -> Result<AppStream, DialError> {
    match timeout(limit, connect(app)).await {
        Ok(Ok(stream)) => {
            // In a storm of new connections others have their turn between two dials. Not within the limit, which then needs
            // no timer.
            yield_now().await;
            Ok(stream)
        }
        Ok(Err(error)) => Err(match error.kind() {
            // A Unix socket's file that is not there is an app that does not listen yet.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => DialError::Refused,
            io::ErrorKind::TimedOut => DialError::TimedOut(limit),
            _ => DialError::Failed(error),
        }),
        Err(_) => Err(DialError::TimedOut(limit)),
    }
}

async fn connect(app: &AppAddr) -> io::Result<AppStream> {
    Ok(match app {
        AppAddr::Tcp(addr) => AppStream::Tcp(connect_tcp(*addr).await?),
        AppAddr::Unix(path) => AppStream::Unix(UnixStream::connect(path).await?),
    })
}

/// As tokio's own, but that nothing is waited for, nor a timer set, where the connection stands at once. It does to an app on
/// this machine: the kernel has its answer before connect(2) returns.
async fn connect_tcp(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Only speed depends on it.
    let _ = socket.set_tcp_nodelay(true);
    match socket.connect(&addr.into()) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
        connected => connected?,
    }
    let stands = socket.peer_addr().is_ok();
    let stream = TcpStream::from_std(socket.into())?;
    if !stands {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    // A port from which the kernel also serves outgoing connections can be connected to itself (RFC 9293, 3.5),
    // and would then be taken when the app comes.
    if stream.local_addr()? == addr {
        // When the option cannot be set the socket is closed all the same.
        let _ = stream.set_zero_linger();
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

#[cfg(test)]
mod tests;
