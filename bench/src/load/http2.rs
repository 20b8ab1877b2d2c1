//! One HTTP/2 connection of the client: streams side by side, each with what [`Connection`](super::Connection) asks for in HTTP/1.1.

use std::future::poll_fn;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request};
use tokio::time::timeout;

use super::Target;
use super::connection::{PATIENCE, shake_hands};
use super::pace::Asks;
use crate::app;

/// How much of an answer may be on its way: gorouter's window.
const WINDOW: u32 = 4 << 20;

/// A connection to a proxy. A clone is a place for one more stream of the same connection, which ends with the last of them.
#[derive(Clone)]
pub(crate) struct Http2 {
    requests: SendRequest<Bytes>,
    authority: String,
}

impl Http2 {
    /// Sends the head of a request, with `length` where a body follows.
    async fn ask_for(
        &mut self,
        method: Method,
        path: &str,
        length: Option<u64>,
    ) -> Result<(SendStream<Bytes>, h2::client::ResponseFuture)> {
        let mut request = Request::builder().method(method).uri(format!("https://{}{path}", self.authority));
        match length {
            Some(length) => request = request.header("content-length", length),
            None => request = request.header("accept", "*/*"),
        }
        // Waits for a free place where the proxy allows no more streams.
        poll_fn(|cx| self.requests.poll_ready(cx)).await?;
        let (answer, body) = self.requests.send_request(request.body(())?, length.is_none())?;
        Ok((body, answer))
    }
}

impl Asks for Http2 {
    async fn open(target: &Target) -> Result<Self> {
        let config = target.tls.as_ref().context("there is no HTTP/2 without TLS here")?;
        let opened = timeout(PATIENCE, async {
            let tls = shake_hands(target.addr, config).await?;
            ensure!(tls.get_ref().1.alpn_protocol() == Some(b"h2"), "the proxy does not agree to HTTP/2");
            let (requests, connection) = Builder::new()
                .initial_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .enable_push(false)
                .handshake(tls)
                .await?;
            // Whoever waits for an answer is told how the connection ended.
            tokio::spawn(async move { drop(connection.await) });
            Ok(Self { requests, authority: target.addr.to_string() })
        });
        opened.await.context("no handshake within 20 s")?
    }

    async fn request(&mut self) -> Result<()> {
        timeout(PATIENCE, async {
            let (_, answer) = self.ask_for(Method::GET, app::SMALL_PATH, None).await?;
            small(answer.await?).await
        })
        .await
        .context("no answer within 20 s")?
    }

    async fn down(&mut self, bytes: u64) -> Result<()> {
        let (_, answer) = self.ask_for(Method::GET, &app::down_path(bytes), None).await?;
        let (head, mut body) = answer.await?.into_parts();
        ensure!(head.status == 200, "the answer is a bad one: {}", head.status);
        let mut left = bytes;
        while let Some(part) = next(&mut body).await? {
            ensure!(
                part.iter().step_by(1024).all(|byte| *byte == b'd'),
                "the answer holds other bytes than the app sent"
            );
            left = left.checked_sub(part.len() as u64).context("the answer is longer than it says")?;
        }
        ensure!(left == 0, "the answer was cut off {left} bytes early");
        Ok(())
    }

    async fn up(&mut self, bytes: u64) -> Result<()> {
        let (mut body, answer) = self.ask_for(Method::PUT, &app::up_path(bytes), Some(bytes)).await?;
        let block = Bytes::from(vec![b'u'; 256 * 1024]);
        let mut left = bytes;
        while left > 0 {
            let part = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            body.reserve_capacity(part);
            let room = poll_fn(|cx| body.poll_capacity(cx)).await.context("the proxy takes no more")??.min(part);
            left -= room as u64;
            body.send_data(block.slice(..room), left == 0)?;
        }
        small(answer.await?).await
    }
}

/// Holds an answer to the app's small one.
async fn small(answer: http::Response<RecvStream>) -> Result<()> {
    let (head, mut body) = answer.into_parts();
    ensure!(head.status == 200, "the answer is a bad one: {}", head.status);
    let mut rest = app::ANSWER_BODY.as_bytes();
    while let Some(part) = next(&mut body).await? {
        rest = rest.strip_prefix(&part[..]).context("the answer is not what the app sent")?;
    }
    ensure!(rest.is_empty(), "the answer was cut off");
    Ok(())
}

/// The next part of a body, for which the sender gets room again; `None` at its end.
async fn next(body: &mut RecvStream) -> Result<Option<Bytes>> {
    let Some(part) = body.data().await else { return Ok(None) };
    let part = part.context("the answer was cut off")?;
    body.flow_control().release_capacity(part.len())?;
    Ok(Some(part))
}
