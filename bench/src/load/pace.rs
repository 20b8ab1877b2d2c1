//! Requests over connections that stay open: as fast as answers come, or at a fixed rate.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::percentiles::Latencies;
use super::{Connection, Target};

/// Something over which requests are sent one after the other: a connection, or a place for one stream of several.
///
/// Each fails when the answer is cut off or another one.
pub(crate) trait Asks: Sized + Send + 'static {
    /// Dials, and shakes hands.
    fn open(target: &Target) -> impl Future<Output = Result<Self>> + Send;

    /// One small request and its answer, which must be the app's.
    fn request(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Lets the app send so many bytes.
    fn down(&mut self, bytes: u64) -> impl Future<Output = Result<()>> + Send;

    /// Sends so many bytes to the app, and waits until it says that it has them.
    fn up(&mut self, bytes: u64) -> impl Future<Output = Result<()>> + Send;
}

/// Opens `count` connections, and sends one request over each so that all is warm.
///
/// # Errors
/// One cannot be opened.
pub(crate) async fn open<A: Asks>(target: &Target, count: usize) -> Result<Vec<A>> {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = A::open(target).await?;
        connection.request().await?;
        open.push(connection);
    }
    Ok(open)
}

/// One request after the other over each until `time` has passed. Returns what they were sent over and the number of answers.
///
/// # Errors
/// An answer fails.
pub(crate) async fn full<A: Asks>(askers: Vec<A>, time: Duration) -> Result<(Vec<A>, usize)> {
    let end = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for mut asker in askers {
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                asker.request().await?;
                count += 1;
            }
            anyhow::Ok((asker, count))
        });
    }
    let mut back = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (asker, count) = done??;
        back.0.push(asker);
        back.1 += count;
    }
    Ok(back)
}

/// `rate` requests a second for `time`, shared out over the connections. Returns the connections and how long answers took.
///
/// A request whose turn has come while the one before is not answered counts from its turn: waiting for a slow answer is part of
/// what a slow answer costs. One that the client itself sends late, since its timer ticks in milliseconds, counts from when it was sent.
///
/// # Errors
/// An answer fails.
pub(crate) async fn fixed(
    connections: Vec<Connection>,
    rate: u32,
    time: Duration,
) -> Result<(Vec<Connection>, Latencies)> {
    let start = Instant::now() + Duration::from_millis(2);
    let step = Duration::from_secs_f64(connections.len() as f64 / f64::from(rate));
    let mut tasks = JoinSet::new();
    for (at, mut connection) in connections.into_iter().enumerate() {
        let mut turn = start + Duration::from_secs_f64(at as f64 / f64::from(rate));
        tasks.spawn(async move {
            let mut latencies = Latencies::default();
            while turn < start + time {
                let from = if Instant::now() < turn {
                    sleep_until(turn.into()).await;
                    Instant::now()
                } else {
                    turn
                };
                connection.request().await?;
                latencies.add(from.elapsed());
                turn += step;
            }
            anyhow::Ok((connection, latencies))
        });
    }
    let mut back = (Vec::new(), Latencies::default());
    while let Some(done) = tasks.join_next().await {
        let (connection, latencies) = done??;
        back.0.push(connection);
        back.1.merge(latencies);
    }
    Ok(back)
}
