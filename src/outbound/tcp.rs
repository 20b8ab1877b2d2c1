//! An outbound listener that carries bytes as they are: one connection to an endpoint for each of the app's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::attempts::Connected;
use super::dialler::Dialler;
use super::error::OutboundError;
use super::session::OutboundSession;
use crate::config::AccessLogFilter;
use crate::io::{AppStream, Socket, UnansweredApp};
use crate::lifecycle::Phase;
use crate::listener::{Service, Slot};
use crate::telemetry::{OutboundCloseReason, OutboundLogEntry};

/// How often an app that waits for its endpoint is looked after.
const LOOK_AFTER_APP: Duration = Duration::from_millis(50);

/// What the connections of one outbound listener share.
#[derive(Debug)]
pub struct OutboundService {
    dialler: Dialler,
    /// Where the app dials us.
    listener: Arc<str>,
    connections: Semaphore,
    phase: watch::Receiver<Phase>,
    access: AccessLogFilter,
}

impl OutboundService {
    /// What listens at `listener`, and dials by `dialler`. `phase` ends it.
    pub fn new(dialler: Dialler, listener: Arc<str>, phase: watch::Receiver<Phase>, access: AccessLogFilter) -> Self {
        let connections = Semaphore::new(dialler.settings.max_connections.min(Semaphore::MAX_PERMITS));
        Self { dialler, listener, connections, phase, access }
    }

    async fn serve_app(&self, app: AppStream, slot: &Slot) {
        let Ok(_connection) = self.connections.try_acquire() else {
            return self.reject_app(app, OutboundError::overloaded_by_connections());
        };
        if slot.capacity_permit.is_none() {
            return self.reject_app(app, OutboundError::overloaded_by_all());
        }
        // The beginning has a box of its own: an idle connection has no room for it.
        let Some(session) = Box::pin(self.open(app)).await else { return };
        session.run(&self.dialler, self.phase.clone()).await;
    }

    /// Everything before the relay; `None` if it does not come to that, once the app has been told.
    async fn open(&self, mut app: AppStream) -> Option<OutboundSession> {
        let mut entry = self.entry();
        // Should the process end meanwhile, it is not an end of file that the app sees.
        let mut unanswered = UnansweredApp::new(&mut app);
        let connected = self.connect(unanswered.stream(), &mut entry).await;
        unanswered.release();
        let Some(connected) = connected else {
            app.reset();
            entry.close(OutboundCloseReason::AppReset);
            return None;
        };
        match connected {
            Ok(connected) => Some(OutboundSession::new(app, connected, entry, &self.dialler.backlogs)),
            Err(error) => {
                close(app, entry, &error);
                None
            }
        }
    }

    /// An endpoint for `app`; `None`: it has gone before there was one. One that has ended its sending without a word may still read, and is
    /// connected; but it takes no place among those that wait from others.
    async fn connect(&self, app: &AppStream, entry: &mut OutboundLogEntry) -> Option<Result<Connected, OutboundError>> {
        let mut place = match self.dialler.pending_place() {
            Ok(place) => Some(place),
            Err(error) => return Some(Err(error)),
        };
        let mut connecting = std::pin::pin!(self.dialler.connect(entry));
        loop {
            tokio::select! {
                biased;
                connected = &mut connecting => return Some(connected),
                () = sleep(LOOK_AFTER_APP) => {}
            }
            if app.is_reset() {
                return None;
            }
            place = place.filter(|_| !app.has_ended_wordless());
        }
    }

    fn entry(&self) -> OutboundLogEntry {
        let Dialler { counters, endpoints, .. } = &self.dialler;
        OutboundLogEntry::open(
            Arc::clone(counters),
            self.access,
            Arc::clone(&self.listener),
            Arc::clone(endpoints.name()),
        )
    }

    fn reject_app(&self, app: AppStream, error: OutboundError) {
        close(app, self.entry(), &error);
    }
}

/// It does not come to a connection.
fn close(app: AppStream, mut entry: OutboundLogEntry, error: &OutboundError) {
    entry.fields.detail = Some(error.with_remedy());
    // Never an end of file: the app would take it for an answer.
    app.reset();
    entry.close(error.reason());
}

impl Service<TcpListener> for OutboundService {
    async fn serve(self: Arc<Self>, stream: TcpStream, _: SocketAddr, slot: Slot) {
        self.serve_app(AppStream::Tcp(stream), &slot).await;
    }

    fn reject(&self, stream: TcpStream, _: SocketAddr) {
        self.reject_app(AppStream::Tcp(stream), OutboundError::overloaded_by_all());
    }
}

impl Service<UnixListener> for OutboundService {
    async fn serve(self: Arc<Self>, stream: UnixStream, (): (), slot: Slot) {
        self.serve_app(AppStream::Unix(stream), &slot).await;
    }

    fn reject(&self, stream: UnixStream, (): ()) {
        self.reject_app(AppStream::Unix(stream), OutboundError::overloaded_by_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: fn(Arc<OutboundService>, TcpStream, SocketAddr, Slot) -> F) -> usize {
        size_of::<F>()
    }

    /// The allocator has no class between 896 and 1,024 bytes, and tokio puts 104 of its own around a future.
    #[test]
    fn an_idle_connection_has_no_room_for_what_is_over_or_to_come() {
        let serve = size_of_future(<OutboundService as Service<TcpListener>>::serve);
        assert!(serve <= 792, "the future of a connection has {serve} bytes");
    }
}
