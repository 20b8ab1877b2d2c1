//! The relay between a client and an app in memory, under schedules of reads, writes, stalls, ends, resets and time.
//!
//! What is checked, at every step: each side hears what the other has said, in order; what was cut off never looks whole; nothing
//! follows an end; what is kept is bounded and accounted for; the relay wakes whenever it can go on, and ends for the reason that there
//! is.

mod ends;
mod memory_socket;
mod simulated_relay;
mod steps;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Wake, Waker};

use rustls::{CipherSuite, ClientConfig, ServerConfig};
use tokio::time::{Instant, advance};

use super::*;
use crate::budget::{Budgets, MemoryBudget};
use crate::identity::Client;
use crate::io::buffers::{READ, RECORD};
use crate::policy::Policy;
use crate::simulation::{SimulationReport, SimulationRun, simulate, with_paused_time};
use crate::tls::test_peer::{configs, establish, provider_with};

use ends::{AppEnd, ClientEnd};
use memory_socket::MemorySocket;
use simulated_relay::SimulatedRelay;
use steps::{RARE, RelayStep, USUAL};

/// What one relay keeps at most: a read and a record each way, what they grow by when they are sealed, and two words of ours.
const MOST_KEPT: usize = 2 * (READ + RECORD) + 4096;

#[derive(Default)]
struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One connection.
struct SimulatedConnection<R> {
    relay: R,
    client: ClientEnd,
    app: AppEnd,
    woken: Arc<WakeFlag>,
    budget: Arc<MemoryBudget>,
    /// What others hold of the budget.
    others: Reservation,
    end: Option<RelayEnd>,
    /// The app was called gone.
    app_is_gone: bool,
    /// The client has reset, with more to say.
    reset: Option<Instant>,
    idle: Option<Idle>,
    /// What was carried at the last look, and since when.
    transferred: (Transferred, Instant),
    up: (u64, Instant),
    polled: Instant,
    /// Times in a row that the relay was polled after a limit in which nothing was carried, and the last one.
    quiet_limits: (u32, Instant),
    /// What the client has read, and when, of late.
    client_read: Vec<(Instant, usize)>,
}

struct Idle {
    limit: Duration,
    since: Instant,
    drains: bool,
}

impl<R: SimulatedRelay> SimulatedConnection<R> {
    fn new(
        relay: impl FnOnce(MemorySocket, MemorySocket, Reservation) -> R,
        tls: Option<crate::tls::test_peer::TestClient>,
        run: &mut SimulationRun,
    ) -> Self {
        let limit = run.pick(&[(2, None), (1, Some(64 << 10)), (1, Some(1 << 20)), (1, Some(16 << 20))]);
        let budget = Budgets::new(None, limit).backlogs;
        let mut socket = || {
            let buffer = run.pick(&[(1, 1), (2, 4 << 10), (3, 64 << 10), (1, 1 << 20)]);
            MemorySocket::new(buffer, run.fork())
        };
        let (client, app) = (socket(), socket());
        Self {
            relay: relay(client.clone(), app.clone(), budget.reservation()),
            client: ClientEnd::new(client, tls),
            app: AppEnd::new(app),
            woken: Arc::new(WakeFlag(AtomicBool::new(true))),
            others: budget.reservation(),
            budget,
            end: None,
            app_is_gone: false,
            reset: None,
            idle: None,
            transferred: (Transferred::default(), Instant::now()),
            up: (0, Instant::now()),
            polled: Instant::now(),
            quiet_limits: (0, Instant::now()),
            client_read: Vec::new(),
        }
    }

    async fn take(&mut self, step: RelayStep, run: &mut SimulationRun) {
        match step {
            RelayStep::ClientSays => self.client.say(run.length(100_000)),
            RelayStep::ClientUpdatesKeys => self.client.update_keys(run.once_in(2)),
            RelayStep::ClientDelivers => {
                // A record may be empty, and is no silence.
                self.quiet_limits = (0, Instant::now());
                self.client.deliver(run.length(200_000));
            }
            RelayStep::ClientHears => self.client_hears(run.length(200_000)),
            RelayStep::AppSays => self.app.say(run.length(200_000)),
            RelayStep::AppHears => self.app.hear(run.length(200_000)),
            RelayStep::TimePasses => advance(run.time(Duration::from_secs(10))).await,
            RelayStep::Polled => self.poll(),
            RelayStep::Settled => self.settle(),
            RelayStep::MemoryIsShort => self.others.set(self.budget.limit().unwrap_or_default()),
            RelayStep::MemoryIsFree => self.others.set(0),
            RelayStep::ClientCloses => self.client.close(),
            RelayStep::ClientEnds => self.client.end(),
            RelayStep::ClientResets => {
                if !self.client.has_closed && !self.client.has_ended {
                    self.reset.get_or_insert_with(Instant::now);
                }
                self.client.reset();
            }
            RelayStep::ClientErrs => self.client.damage(run.below(4096)),
            RelayStep::AppEnds => self.app.end(),
            RelayStep::AppResets => self.app.reset(),
            RelayStep::AppIsGone if self.app.has_ended || self.app.has_reset => {
                self.app_is_gone = true;
                self.relay.end_after_backlog();
                self.woken.wake_by_ref();
            }
            RelayStep::AppIsGone => {}
            RelayStep::IdleTimeout | RelayStep::DrainIdleTimeout => {
                let (limit, drains) = (run.time(Duration::from_secs(30)), step == RelayStep::DrainIdleTimeout);
                self.idle = Some(Idle { limit, since: Instant::now(), drains });
                match drains {
                    true => self.relay.set_drain_idle_timeout(limit),
                    false => self.relay.set_idle_timeout(limit),
                }
                // As whoever sets it does.
                self.woken.wake_by_ref();
            }
        }
        self.judge();
    }

    fn client_hears(&mut self, most: usize) {
        let before = self.client.socket.unread();
        self.client.hear(most);
        self.client_read.push((Instant::now(), before - self.client.socket.unread()));
    }

    /// Polls the relay once, if it was woken.
    fn poll(&mut self) {
        if self.end.is_some() || !self.woken.0.swap(false, Ordering::Relaxed) {
            return;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        match Pin::new(&mut self.relay).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(end) => self.end = Some(end),
            Poll::Pending => {
                let memory = self.relay.memory();
                assert!(memory <= MOST_KEPT, "{memory} bytes are kept");
                if self.budget.limit().is_some() {
                    assert_eq!(self.budget.held() - self.others.bytes(), memory, "what is kept is accounted for");
                }
            }
        }
        let transferred = self.relay.transferred();
        if transferred.up != self.up.0 {
            self.up = (transferred.up, Instant::now());
        }
        let has_moved = transferred != self.transferred.0;
        if has_moved {
            self.transferred = (transferred, Instant::now());
        }
        self.polled = Instant::now();
        self.judge_silence(has_moved);
    }

    /// A silence that lasts is noticed.
    fn judge_silence(&mut self, has_moved: bool) {
        let (count, last) = &mut self.quiet_limits;
        if has_moved || self.end.is_some() || self.relay.keeps_for_a_side() {
            (*count, *last) = (0, Instant::now());
        } else if let Some(Idle { limit, since, drains: false }) = &self.idle
            && (*last).max(*since).elapsed() >= *limit
        {
            (*count, *last) = (*count + 1, Instant::now());
            assert!(*count <= 2, "silent for {count} limits of {limit:?}, and nobody notices");
        }
    }

    /// Polls the relay until it waits.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.end.is_some() {
                return;
            }
            if !self.woken.0.load(Ordering::Relaxed) {
                return self.judge_rest();
            }
            self.poll();
        }
        panic!("the relay never comes to rest");
    }

    /// Whoever waits has nothing to do: polled without a reason, it does nothing.
    fn judge_rest(&mut self) {
        let before = (self.relay.transferred(), self.relay.memory());
        self.woken.wake_by_ref();
        self.poll();
        if self.end.is_none() {
            assert_eq!((self.relay.transferred(), self.relay.memory()), before, "it could go on, and was not woken");
        }
    }

    /// What holds at every moment.
    fn judge(&self) {
        let (client, app) = (&self.client, &self.app);
        let transferred = self.relay.transferred();
        assert!(
            transferred.up >= app.heard && transferred.up <= client.said,
            "{transferred:?}, and the app heard {}",
            app.heard
        );
        assert!(transferred.down <= app.said, "{transferred:?}, and the app said {}", app.said);
        if app.socket.is_at_end() && !app.has_reset {
            assert!(client.has_closed, "the app takes for whole what was cut off");
            assert_eq!(app.heard, client.said, "the app takes a part for the whole");
        }
        if client.heard_close {
            assert!(app.has_ended && client.heard == app.said, "the client takes a part for the whole");
        }
        let rests = self.end.is_none() && !self.woken.0.load(Ordering::Relaxed);
        if let Some(reset) = self.reset.filter(|_| rests) {
            assert!(
                reset.elapsed() <= Duration::from_secs(3),
                "nobody has seen for {:?} that the client is gone",
                reset.elapsed()
            );
        }
        if let Some(Idle { limit, drains: false, .. }) = self.idle.as_ref().filter(|_| rests) {
            let unasked = self.polled.elapsed();
            assert!(unasked <= *limit + Duration::from_millis(10), "nobody has looked for a silence for {unasked:?}");
        }
    }

    /// Both sides hear what there is and come to their end, and so does the relay.
    async fn finish(&mut self) -> RelayEnd {
        // Whoever takes a byte at a time would need as many rounds.
        self.client.socket.widen(64 * 1024);
        self.app.socket.widen(64 * 1024);
        for round in 0..400 {
            self.settle();
            if let Some(end) = self.end {
                return end;
            }
            self.client.deliver(usize::MAX);
            self.client_hears(usize::MAX);
            self.app.hear(usize::MAX);
            self.app.end();
            match self.client.is_damaged {
                false => self.client.close(),
                true => self.client.end(),
            }
            if round > 10 && self.client.heard_close {
                self.client.end();
            }
            advance(Duration::from_millis(100)).await;
            self.judge();
        }
        panic!("the relay goes on for ever");
    }

    /// Whether it may have ended so.
    fn judge_end(&mut self, end: RelayEnd, run: &mut SimulationRun) {
        let whole = self.client.socket.is_at_end() || self.client.socket.unread() > 0;
        self.app.hear(usize::MAX);
        self.client.hear(usize::MAX);
        self.judge();
        let (client, app) = (&self.client, &self.app);
        let silent = self.transferred.1.elapsed();
        match end {
            RelayEnd::Complete => {
                run.saw("complete");
                assert!(app.has_ended, "the app was not done");
                assert!(whole || client.has_reset || client.heard_close);
                let is_done = client.has_closed || client.has_ended || app.has_reset || self.app_is_gone;
                assert!(is_done, "the client was not done");
                if client.has_closed && !client.has_reset && !app.has_reset && !self.app_is_gone {
                    assert!(app.socket.is_at_end() && app.heard == client.said, "the app has not had all");
                }
                if client.is_truncated() && !app.has_reset && !self.app_is_gone && app.heard < client.said {
                    assert!(app.socket.resets_on_close(), "what the app has had looks whole");
                }
                if !client.has_reset {
                    assert!(client.socket.is_at_end() && client.heard == app.said, "the client has not had all");
                    assert_eq!(self.relay.transferred().down, app.said);
                }
            }
            RelayEnd::ClientTruncated => {
                run.saw("client truncated");
                assert!(client.is_truncated());
            }
            RelayEnd::ClientReset => {
                run.saw("client reset");
                assert!(client.has_reset);
            }
            RelayEnd::ClientViolation(_) => {
                run.saw("client violation");
                assert!(client.is_damaged);
            }
            RelayEnd::AppReset => {
                run.saw("app reset");
                assert!(app.has_reset);
            }
            RelayEnd::Idle => {
                let Idle { limit, since, drains } = self.idle.as_ref().expect("nobody has asked for it");
                run.saw(if *drains { "idle in a drain" } else { "idle" });
                let silent = silent.min(since.elapsed());
                assert!(silent + Duration::from_millis(1) >= *limit, "silent for {silent:?} and not {limit:?}");
                assert!(!(*drains && self.relay.keeps_for_a_side()), "something was on its way");
            }
            RelayEnd::BacklogEvicted => {
                run.saw("evicted");
                let late = Instant::now() - Duration::from_secs(4);
                let read: usize = self.client_read.iter().filter(|(at, _)| *at > late).map(|(_, read)| read).sum();
                let is_stuck = self.up.1.elapsed() >= Duration::from_secs(4) || read < 6 * 4096;
                assert!(self.budget.is_under_pressure() && self.relay.memory() > MIN_BACKLOG_BYTES && is_stuck);
            }
            RelayEnd::KeepAliveEnded => panic!("nobody has asked for it"),
        }
        let unharmed = !client.has_reset && !app.has_reset && !client.is_truncated() && !client.is_damaged;
        if unharmed && self.idle.is_none() && self.budget.limit().is_none() && !self.app_is_gone {
            assert_eq!(end, RelayEnd::Complete);
        }
    }

    async fn run(mut self, run: &mut SimulationRun) {
        let mut weights: Vec<(usize, RelayStep)> =
            USUAL.iter().map(|(often, step)| (often * run.below(4), *step)).collect();
        weights.push((4, RelayStep::Polled));
        for step in RARE {
            if run.once_in(4) && (R::DRAINS || step != RelayStep::DrainIdleTimeout) {
                weights.push((1, step));
            }
        }
        while self.end.is_none() && run.goes_on() {
            let step = run.pick(&weights);
            run.step(format_args!(
                "{step:?}: client said {} and heard {}, app said {} and heard {}",
                self.client.said, self.client.heard, self.app.said, self.app.heard
            ));
            self.take(step, run).await;
        }
        let end = match self.end {
            Some(end) => end,
            None => self.finish().await,
        };
        run.step(format_args!("{end:?}"));
        self.judge_end(end, run);
        let Self { relay, budget, mut others, .. } = self;
        drop(relay);
        assert_eq!(budget.held(), others.bytes(), "what was kept is free again");
        others.set(0);
        assert_eq!(budget.held(), 0);
    }
}

fn permit() -> Permit {
    Policy::anonymous().authorize(&Client::Anonymous, None).unwrap()
}

/// A relay of a session, of which nothing was carried yet.
fn session(run: &mut SimulationRun) -> SimulatedConnection<Relay<MemorySocket, MemorySocket>> {
    static CONFIGS: LazyLock<Vec<(Arc<ServerConfig>, Arc<ClientConfig>)>> = LazyLock::new(|| {
        let suites = [
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ];
        let both = |suite| configs(provider_with(suite));
        suites.map(both).map(|(server, client)| (Arc::new(server), Arc::new(client))).into()
    });
    let (server, client) = &CONFIGS[run.below(CONFIGS.len())];
    let (client, established) = establish(server, client);
    let relay = |client: MemorySocket, app: MemorySocket, reservation| {
        Relay::new(&permit(), client, established, app, Vec::new(), reservation)
    };
    SimulatedConnection::new(relay, Some(client), run)
}

/// What a relay of a session goes through.
fn sessions(steps: u64) -> SimulationReport {
    simulate("relay", steps, |run| with_paused_time(async { session(run).run(run).await }))
}

#[test]
fn under_every_schedule_a_relay_carries_all_in_order_and_ends_as_its_sides_did() {
    sessions(60_000).has_seen(&[
        "complete",
        "client truncated",
        "client reset",
        "client violation",
        "app reset",
        "idle",
        "idle in a drain",
        // One that is evicted is seen in longer runs: of a session that keeps so much, hardly any makes no progress for five looks.
    ]);
}

#[test]
fn under_every_schedule_a_relay_without_tls_carries_all_in_order_and_ends_as_its_sides_did() {
    let report = simulate("relay without TLS", 60_000, |run| {
        with_paused_time(async {
            let relay = |client: MemorySocket, app: MemorySocket, reservation| {
                PlainRelay::between(&permit(), client, app, Default::default(), Transferred::default(), reservation)
            };
            SimulatedConnection::new(relay, None, run).run(run).await;
        });
    });
    report.has_seen(&["complete", "client reset", "app reset", "idle", "evicted"]);
}

#[test]
fn a_client_that_resets_in_the_moment_in_which_the_app_ends_is_not_said_to_have_ended() {
    simulate("reset beside an end", 300, |run| {
        with_paused_time(async {
            let mut connection = session(run);
            connection.take(RelayStep::AppEnds, run).await;
            connection.take(RelayStep::ClientResets, run).await;
            assert_eq!(connection.finish().await, RelayEnd::ClientReset);
            run.step("over");
        });
    });
}
