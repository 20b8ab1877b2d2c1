//! Where health, metrics and the status page are asked for: a small HTTP/1.1 server, on loopback unless told otherwise.
//!
//! It answers questions, and changes nothing unless `--admin-actions` says so. Each connection is one request with bounds on everything, and none of
//! them holds up the end of the process.

mod actions;
mod content_negotiation;
mod envoy;
mod page;
mod response;
mod routes;
mod slots;
mod state;
mod status;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::config::{Admin, AdminAddr, Listen};
use crate::exit::{Exit, Fault};
use crate::http::{NamedHost, names_only};
use crate::lifecycle::ControlRequest;
use crate::listener;
use crate::listener::{SocketFile, SocketFileMode, open_unix};

use self::actions::{Actions, PendingAction};
use self::slots::{AdminSlot, AdminSlots};

pub use self::envoy::Envoy;
pub use self::state::AdminState;
pub use self::status::{ListenerInfo, StatusSources};

/// From accept to the end of the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// From accept to the last byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request's head, the least that hyper allows.
const MAX_HEAD_BYTES: usize = 8192;

const MAX_HEADERS: usize = 32;

/// After accept(2) has failed.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// The admin listener, open.
#[derive(Debug)]
pub struct BoundAdmin {
    socket: AdminSocket,
    role: AdminRole,
    file: Option<SocketFile>,
}

/// For which kind of caller the admin listener is open.
#[derive(Debug)]
enum AdminRole {
    /// Operators, who see everything and may do what is enabled, on this machine or by a name that is listed.
    Operators { actions: Actions, hosts: Vec<String> },
    /// Scrapers and probes, wherever they are.
    Scrapers,
}

#[derive(Debug)]
enum AdminSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// The admin listener, ready to answer.
#[derive(Debug)]
pub struct AdminServer {
    listener: AdminListener,
    role: AdminRole,
    _file: Option<SocketFile>,
}

/// The state and the role that the connections of an admin listener share.
#[derive(Debug)]
struct AdminService {
    state: Arc<AdminState>,
    role: AdminRole,
}

#[derive(Debug)]
enum AdminListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl BoundAdmin {
    /// Opens the listener; `None` if there is to be none, or if its address is taken and nobody asked for just this one.
    ///
    /// # Errors
    /// [`Exit::Unavailable`], when the address was asked for.
    pub fn open(admin: Option<&Admin>) -> Result<Option<Self>, Fault> {
        let Some(admin) = admin else { return Ok(None) };
        let addr = &admin.addr;
        match open(addr, admin) {
            Ok(server) => Ok(Some(server)),
            Err(error) if admin.explicit => {
                let help = "choose another --admin, or off";
                let message = format!("cannot listen on {addr} for --admin: {error}");
                Err(Fault::new(Exit::Unavailable, message).with_help(help))
            }
            Err(error) => {
                tracing::warn!(admin = %addr, %error, "cannot bind admin address, and goes on without; choose another by --admin, or off");
                Ok(None)
            }
        }
    }

    /// What whoever runs the process is asked for here. To be called once: a second call
    /// takes the place of the first.
    pub fn requests(&mut self) -> Option<mpsc::Receiver<ControlRequest>> {
        match &mut self.role {
            AdminRole::Operators { actions, .. } => Some(actions.requests()),
            AdminRole::Scrapers => None,
        }
    }

    /// Opens the listener for scrapers; `None` if there is to be none.
    ///
    /// # Errors
    /// [`Exit::Unavailable`].
    pub fn open_metrics(listen: Option<Listen>) -> Result<Option<Self>, Fault> {
        let Some(listen) = listen else { return Ok(None) };
        let open = || {
            let listener = listener::open(listen)?;
            tracing::info!(metrics = %listener.local_addr()?, "metrics listening");
            Ok(listener)
        };
        let socket = open().map_err(|error: io::Error| {
            let message = format!("cannot listen on {listen} for --metrics: {error}");
            Fault::new(Exit::Unavailable, message).with_help("choose another --metrics, or off")
        })?;
        Ok(Some(Self { socket: AdminSocket::Tcp(socket), role: AdminRole::Scrapers, file: None }))
    }

    /// The address at which it can be asked over TCP; `None` for a Unix socket.
    pub fn addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            AdminSocket::Tcp(socket) => socket.local_addr().ok(),
            AdminSocket::Unix(_) => None,
        }
    }

    /// Has the runtime tell when there is something to answer. Must be called within one.
    ///
    /// # Errors
    /// The runtime cannot take the socket: its descriptor limit is reached.
    pub fn listen(self) -> Result<AdminServer, Fault> {
        let listener = match self.socket {
            AdminSocket::Tcp(socket) => TcpListener::from_std(socket).map(AdminListener::Tcp),
            AdminSocket::Unix(socket) => UnixListener::from_std(socket).map(AdminListener::Unix),
        };
        let listener =
            listener.map_err(|error| Fault::new(Exit::Internal, format!("cannot listen for --admin: {error}")))?;
        Ok(AdminServer { listener, role: self.role, _file: self.file })
    }
}

impl AdminServer {
    /// Answers for ever.
    pub async fn run(self, state: Arc<AdminState>) {
        let service = Arc::new(AdminService { state, role: self.role });
        let slots = Arc::new(AdminSlots::default());
        loop {
            let accepted = match &self.listener {
                AdminListener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(serve(stream, Arc::clone(&service), true, slots.take()));
                }),
                // No browser can be made to dial a Unix socket, so any name will do.
                AdminListener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(serve(stream, Arc::clone(&service), false, slots.take()));
                }),
            };
            if let Err(error) = accepted {
                tracing::debug!(%error, "cannot accept admin connection");
                sleep(ACCEPT_RETRY_INTERVAL).await;
            }
            // Whoever has sent its question with the connection asks it before the next one comes.
            yield_now().await;
        }
    }
}

fn open(addr: &AdminAddr, admin: &Admin) -> io::Result<BoundAdmin> {
    let (socket, file) = match addr {
        AdminAddr::Tcp(addr) => {
            let listener = listener::open(Listen::At(*addr))?;
            tracing::info!(admin = %listener.local_addr()?, "admin listening");
            (AdminSocket::Tcp(listener), None)
        }
        AdminAddr::Unix(path) => {
            let (listener, file) = open_unix(path, SocketFileMode::Umask)?;
            tracing::info!(admin = %addr, "admin listening");
            (AdminSocket::Unix(listener), Some(file))
        }
    };
    let role = AdminRole::Operators { actions: Actions::new(&admin.actions), hosts: admin.hosts.clone() };
    Ok(BoundAdmin { socket, role, file })
}

/// Whether `request` names us by an address, by `localhost` or by one of `hosts`, which are in lower case.
fn is_for_us<B>(request: &Request<B>, hosts: &[String]) -> bool {
    names_only(request, |named| match named {
        NamedHost::Ip(_) | NamedHost::Localhost => true,
        NamedHost::Name(name) => hosts.iter().any(|known| name.eq_ignore_ascii_case(known)),
    })
}

/// One connection: one request. `by_name`: whether the name in it has to be one that only this machine could mean.
async fn serve<S>(stream: S, service: Arc<AdminService>, by_name: bool, slot: AdminSlot)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let AdminService { state, role } = &*service;
    let pending = PendingAction::default();
    let answer = service_fn(|request| {
        slot.asks();
        let answer = match role {
            AdminRole::Scrapers => routes::answer_scraper(&request, state),
            AdminRole::Operators { hosts, .. } if by_name && !is_for_us(&request, hosts) => routes::misdirected(),
            AdminRole::Operators { actions, .. } => {
                actions.answer(&request, &pending).unwrap_or_else(|| routes::answer(&request, state))
            }
        };
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), answer);
    let mut served = pin!(served);
    let answered = async {
        let in_time = timeout(HEAD_TIMEOUT, served.as_mut()).await.is_ok();
        if !in_time && slot.has_asked() {
            // What goes wrong here is the asker's; it sees it.
            let _ = timeout(REQUEST_TIMEOUT - HEAD_TIMEOUT, served).await;
        }
    };
    tokio::select! {
        () = answered => {}
        () = slot.lost() => tracing::debug!("admin connection closed in favour of a newer one"),
    }
    pending.send();
}
