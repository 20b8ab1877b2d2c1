//! How long answers take on established connections while the app asks for tokens as fast as the identity endpoint signs them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until};

use super::{Figure, Measure};
use crate::credentials::Rsa;
use crate::load::{Client, pace};
use crate::peers::Peer;
use crate::peers::vestibule::IDENTITY_SOCKET;
use crate::stage::{Bench, Setup};

/// Without and with, of those that have an identity endpoint.
pub(super) const TOKENS: Measure = Measure {
    name: "tokens",
    family: "Established traffic while 10 tokens a second are signed (RSA-3072), µs",
    figures: &[
        Figure { id: "tokens-calm-p50", title: "p50 without", digits: 0, lowest_wins: true },
        Figure { id: "tokens-p50", title: "p50 with", digits: 0, lowest_wins: true },
        Figure { id: "tokens-calm-p99", title: "p99 without", digits: 0, lowest_wins: true },
        Figure { id: "tokens-p99", title: "p99 with", digits: 0, lowest_wins: true },
        Figure { id: "token", title: "CPU µs per token", digits: 0, lowest_wins: true },
    ],
    of: super::ours,
    sample,
};

const CONNECTIONS: usize = 8;
const RATE: u32 = 1_000;
/// The default of `--identity-rate`.
const TOKEN_EVERY: Duration = Duration::from_millis(100);

fn sample(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let setup = Setup { rsa: Rsa::Bits3072, gives_tokens: true, ..Setup::default() };
    let stage = bench.serving(peer, setup)?;
    let target = stage.target(Client::default())?;
    let time = bench.sizes.time.max(10 * TOKEN_EVERY);
    let open = bench.runtime.block_on(pace::open(&target, CONNECTIONS))?;
    let ((open, mut calm), without) = stage.cost_of(pace::fixed(open, RATE, time))?;
    let socket = stage.site.dir.join(IDENTITY_SOCKET);
    let mut tokens = 0;
    let ((_open, mut busy), with) = stage.cost_of(async {
        let ask = async {
            let start = Instant::now();
            while TOKEN_EVERY * tokens < time {
                fresh_token(&socket).await?;
                tokens += 1;
                sleep_until(start + TOKEN_EVERY * tokens).await;
            }
            anyhow::Ok(())
        };
        let (traffic, asked) = tokio::join!(pace::fixed(open, RATE, time), ask);
        asked?;
        traffic
    })?;
    let each = (with.cpu.as_secs_f64() - without.cpu.as_secs_f64()) * 1e6 / f64::from(tokens);
    Ok(vec![calm.at(0.5), busy.at(0.5), calm.at(0.99), busy.at(0.99), each])
}

/// Asks for a token that was not there before.
async fn fresh_token(socket: &Path) -> Result<()> {
    const BODY: &str = r#"{"audience":"bench","fresh":true}"#;
    let mut stream = UnixStream::connect(socket).await.context("the identity endpoint")?;
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: localhost\r\nX-Identity-Request: true\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "no token: {}",
        String::from_utf8_lossy(&answer[..answer.len().min(200)])
    );
    Ok(())
}
