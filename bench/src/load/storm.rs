//! A handshake storm: clients that connect, shake hands and leave, as fast as the server lets them.
//!
//! It rages in a process of its own with the lowest priority. Otherwise the cryptography of its clients would take the CPU from the
//! client whose latencies are measured, and the fastest server would look the worst.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use super::{Client, Connection, Target};

/// Handshakes at a time.
const AT_A_TIME: usize = 32;

/// A storm that rages until [`Self::end`]. It ends with its parent, whose end of the pipe closes.
pub(crate) struct Storm {
    child: Child,
}

impl Storm {
    /// Lets one loose on `server`.
    ///
    /// # Errors
    /// The process cannot be started.
    pub(crate) fn start(server: SocketAddr) -> Result<Self> {
        let child = Command::new("nice")
            .args(["-n", "19"])
            .arg(std::env::current_exe().context("cannot tell the path of this program")?)
            .arg("storm")
            .arg(server.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start nice")?;
        Ok(Self { child })
    }

    /// Ends it, and returns how many handshakes it brought per second.
    ///
    /// # Errors
    /// A handshake failed; the process has written which.
    pub(crate) fn end(mut self) -> Result<f64> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.child.stdout.take().context("the storm has no stdout")?.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the storm ended with {status}");
        said.trim().parse().with_context(|| format!("the storm wrote {said:?}"))
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        // After `end` there is nothing left of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does: handshakes until stdin ends, then their number per second on stdout.
///
/// # Errors
/// A handshake fails.
pub(crate) fn rage(server: SocketAddr) -> Result<()> {
    let (end, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let over = Arc::clone(&end);
    thread::spawn(move || {
        // Nothing is ever written to it: whatever comes, it is over.
        let _ = std::io::stdin().read(&mut [0]);
        over.store(true, Ordering::Relaxed);
    });
    let target = Target { addr: server, tls: Some(Client::default().config()?), rewrites_heads: false, named: None };
    let start = Instant::now();
    crate::runtime()?.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..AT_A_TIME {
            let (target, end, count) = (target.clone(), Arc::clone(&end), Arc::clone(&count));
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
    })?;
    println!("{}", count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64());
    Ok(())
}
