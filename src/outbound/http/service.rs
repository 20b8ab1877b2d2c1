//! A listener whose connections carry requests.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::failure::no_connection;
use super::server::{RequestHandler, linger, serve_requests};
use crate::budget::MemoryBudget;
use crate::io::{AppStream, Socket};
use crate::lifecycle::Phase;
use crate::listener::{Service, Slot};
use crate::outbound::error::OutboundError;

/// An app for which there is no room has so long to ask, and to be told.
const ASKED: Duration = Duration::from_secs(1);

/// Has `H` answer the requests of everybody who connects.
#[derive(Debug)]
pub struct RequestService<H> {
    handler: Arc<H>,
    /// What is kept of heads that have come in part is of this.
    budget: Arc<MemoryBudget>,
    phase: watch::Receiver<Phase>,
}

#[expect(private_bounds, reason = "who may handle requests is a matter of this room")]
impl<H: RequestHandler> RequestService<H> {
    /// What has `handler` answer. What is kept of heads that have come in part is held to `budget`; `phase` ends it.
    pub fn new(handler: H, budget: Arc<MemoryBudget>, phase: watch::Receiver<Phase>) -> Self {
        Self { handler: Arc::new(handler), budget, phase }
    }

    async fn serve_app(&self, app: AppStream, slot: &Slot) {
        if slot.capacity_permit.is_none() {
            return Box::pin(self.answer_overloaded(app)).await;
        }
        let handler = Arc::clone(&self.handler);
        let became = serve_requests(app, handler, &self.budget, self.phase.clone()).await;
        if let Some((session, dialler)) = became {
            session.run(&dialler, self.phase.clone()).await;
        }
    }

    /// There is no room for it: it is told so once it asks, and its connection ends.
    async fn answer_overloaded(&self, mut app: AppStream) {
        let mut entry = self.handler.entry(None);
        let error = OutboundError::overloaded_by_all();
        let answer = no_connection(&error, &mut entry);
        // An answer to nothing is none: some clients drop their connection then, and make another.
        let asked = timeout(ASKED, poll_fn(|cx| app.poll_read_ready(cx))).await;
        let status = answer.status.as_u16();
        let is_told = asked.is_ok() && app.write_all(&answer.into_bytes()).await.is_ok();
        if let Some(request) = entry.fields.request.as_mut().filter(|_| is_told) {
            request.status = Some(status);
        }
        entry.close(error.reason());
        match is_told {
            true => linger(app).await,
            false => app.reset(),
        }
    }

    /// There is no room even to tell it.
    fn reject_app(&self, app: AppStream) {
        let mut entry = self.handler.entry(None);
        let error = OutboundError::overloaded_by_all();
        entry.fields.detail = Some(error.with_remedy());
        app.reset();
        entry.close(error.reason());
    }
}

impl<H: RequestHandler> Service<TcpListener> for RequestService<H> {
    async fn serve(self: Arc<Self>, stream: TcpStream, _: SocketAddr, slot: Slot) {
        self.serve_app(AppStream::Tcp(stream), &slot).await;
    }

    fn reject(&self, stream: TcpStream, _: SocketAddr) {
        self.reject_app(AppStream::Tcp(stream));
    }
}

impl<H: RequestHandler> Service<UnixListener> for RequestService<H> {
    async fn serve(self: Arc<Self>, stream: UnixStream, (): (), slot: Slot) {
        if self.handler.serves(&stream) {
            self.serve_app(AppStream::Unix(stream), &slot).await;
        }
    }

    fn reject(&self, stream: UnixStream, (): ()) {
        self.reject_app(AppStream::Unix(stream));
    }
}

#[cfg(test)]
mod tests {
    use super::super::OutboundRequests;
    use super::*;

    type Serve<'a, F> = fn(AppStream, Arc<OutboundRequests>, &'a Arc<MemoryBudget>, watch::Receiver<Phase>) -> F;

    fn size_of_future<'a, F: Future>(_: Serve<'a, F>) -> usize {
        size_of::<F>()
    }

    /// What serves requests has a box of its own.
    #[test]
    fn a_connection_without_a_request_has_no_room_for_one() {
        let serve = size_of_future(serve_requests);
        assert!(serve <= 512, "the future of a connection has {serve} bytes");
    }
}
