//! How long answers take on established connections while new ones keep the proxy busy with handshakes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use anyhow::anyhow;

use super::Figure;
use super::Measure;
use crate::load::Client;
use crate::load::Connection;
use crate::load::Target;
use crate::load::pace;
use crate::peers::Peer;
use crate::stage::Bench;
use crate::stage::Setup;

/// Before and during.
pub(super) const STORM: Measure = Measure {
    name: "storm",
    family: "Established traffic during a handshake storm, µs",
    figures: &[
        Figure { id: "calm-p99", title: "p99 before", digits: 0, lowest_wins: true },
        Figure { id: "storm-p50", title: "p50 during", digits: 0, lowest_wins: true },
        Figure { id: "storm-p99", title: "p99 during", digits: 0, lowest_wins: true },
        Figure { id: "storm-rate", title: "handshakes a second", digits: 0, lowest_wins: false },
    ],
    of: super::with_tls,
    sample,
};

const CONNECTIONS: usize = 8;
const RATE: u32 = 500;
/// Handshakes at a time, for as long as it lasts.
const STORMING: usize = 32;

fn sample(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let stage = bench.serving(peer, Setup::default())?;
    let target = stage.target(Client::default())?;
    let time = bench.sizes.time;
    let (mut calm, mut stormy, rate) = bench.runtime.block_on(async {
        let open = pace::open(&target, CONNECTIONS).await?;
        let (open, calm) = pace::fixed(open, RATE, time).await?;
        let storm = Storm::start(target.clone());
        // Until its first handshakes are done.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = storm.count();
        let (_open, stormy) = pace::fixed(open, RATE, time).await?;
        let rate = (storm.count() - before) as f64 / time.as_secs_f64();
        storm.end()?;
        anyhow::Ok((calm, stormy, rate))
    })?;
    Ok(vec![calm.at(0.99), stormy.at(0.5), stormy.at(0.99), rate])
}

/// Handshakes from a thread of their own, so that those who ask for latencies do not wait for our own cryptography.
struct Storm {
    thread: thread::JoinHandle<Result<()>>,
    end: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Storm {
    fn start(target: Target) -> Self {
        let (end, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, counted) = (Arc::clone(&end), Arc::clone(&count));
        let thread = thread::spawn(move || {
            crate::runtime()?.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for _ in 0..STORMING {
                    let (target, end, count) = (target.clone(), Arc::clone(&ended), Arc::clone(&counted));
                    tasks.spawn(async move {
                        while !end.load(Ordering::Relaxed) {
                            Connection::open(&target).await?.close().await;
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        anyhow::Ok(())
                    });
                }
                while let Some(done) = tasks.join_next().await {
                    done??;
                }
                anyhow::Ok(())
            })
        });
        Self { thread, end, count }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn end(self) -> Result<()> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the thread of the storm panicked"))?
    }
}
