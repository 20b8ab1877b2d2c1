//! The end of the pair with which a connection was made: it is let go in time, and never outlives the pair.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::dialler::Dialler;
use super::handshake::VerifiedServer;
use crate::credentials::{OutboundSnapshot, PairValidity, SnapshotReceiver};
use crate::sys::wall_clock::WallClockTimer;
use crate::telemetry::OutboundCloseReason;
use crate::trust::ServerDenialReason;

/// Before its pair ends a connection is let go at the latest so long: whichever of the two is less.
const LATEST: Duration = Duration::from_secs(5 * 60);
const LATEST_PART: u32 = 10;

/// The silence that is waited for while there is time: at most so long, and at most this part of what is left.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);
const SILENCE_PART: u32 = 100;

/// What is demanded of a connection that was made some time ago.
pub(super) enum DrainStep {
    /// Its pair was rotated, or is about to end. There is time to wait for a silence of this length, or for the end of an exchange.
    LetGo(Duration),
    /// It is closed in the next pause: there is little time.
    Hurry,
    /// It is closed now, for this reason, of which there may be more to say.
    End(OutboundCloseReason, Option<String>),
}

/// How far a connection is on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum DrainStage {
    InService,
    LettingGo,
    Hurrying,
    Over,
}

/// Whether a connection to an endpoint may go on: the pair with which it was made is in service, and whoever has answered is believed.
pub(super) struct PairLifetime<'a> {
    /// What is in force now, and by what the connection was made; `None`: nobody was asked.
    made: Option<(&'a SnapshotReceiver<OutboundSnapshot>, &'a VerifiedServer)>,
    generations: Option<watch::Receiver<u64>>,
    stage: DrainStage,
    /// What was demanded last.
    reported: DrainStage,
    /// Until the next stage begins; `None`: the pair has no end that is known, or it has ended.
    timer: Option<Box<WallClockTimer>>,
}

impl<'a> PairLifetime<'a> {
    /// That of a connection which `dialler` has made to whoever is `verified`.
    pub(super) fn of(dialler: &'a Dialler, verified: Option<&'a VerifiedServer>) -> Self {
        let made = dialler.snapshots.as_ref().zip(verified);
        let mut lifetime = Self {
            made,
            generations: made.map(|(snapshots, _)| snapshots.generations()),
            stage: DrainStage::InService,
            reported: DrainStage::InService,
            timer: None,
        };
        lifetime.enter(DrainStage::InService);
        lifetime
    }

    fn validity(&self) -> Option<PairValidity> {
        self.made?.1.snapshot.validity
    }

    /// So much before the end of the pair as `part` makes of the time in which connections are let go at the latest.
    fn before_end(&self, part: impl FnOnce(Duration) -> Duration) -> Option<SystemTime> {
        let PairValidity { not_before, not_after } = self.validity()?;
        let lifetime = not_after.duration_since(not_before).unwrap_or_default();
        let before = part((lifetime / LATEST_PART).min(LATEST));
        Some(not_after.checked_sub(before).unwrap_or(not_after))
    }

    fn enter(&mut self, stage: DrainStage) {
        self.stage = stage;
        let end = match stage {
            DrainStage::InService => self.before_end(|latest| latest),
            DrainStage::LettingGo => self.before_end(|latest| latest / 2),
            DrainStage::Hurrying => self.before_end(|_| Duration::ZERO),
            DrainStage::Over => None,
        };
        self.timer = end.map(WallClockTimer::at).map(Box::new);
    }

    /// What is demanded now of the connection. Each thing is said once.
    pub(super) fn check(&mut self) -> Option<DrainStep> {
        if self.stage == DrainStage::Over {
            return Some(DrainStep::End(OutboundCloseReason::CredentialExpired, None));
        }
        let (snapshots, VerifiedServer { server, name, snapshot, .. }) = self.made?;
        if let Some(generations) = &mut self.generations {
            generations.borrow_and_update();
        }
        if let Some(served) = snapshots.load().filter(|served| served.generation != snapshot.generation) {
            if let Err(denial) = served.authenticator.authorize(&server.certificate.chain, name, SystemTime::now()) {
                let reason = match denial.reason {
                    ServerDenialReason::CertificateExpired => OutboundCloseReason::CertificateExpired,
                    _ => OutboundCloseReason::PolicyChanged,
                };
                return Some(DrainStep::End(reason, Some(denial.to_string())));
            }
            // What was agreed on with the old pair stays so: the new one is for new connections.
            let is_rotated = snapshot.validity.is_some() && served.pair_generation != snapshot.pair_generation;
            if is_rotated && self.stage == DrainStage::InService {
                self.enter(DrainStage::LettingGo);
            }
        }
        if std::mem::replace(&mut self.reported, self.stage) == self.stage {
            return None;
        }
        match self.stage {
            DrainStage::LettingGo => {
                let end = self.before_end(|latest| latest / 2);
                let left = end.and_then(|end| end.duration_since(SystemTime::now()).ok()).unwrap_or_default();
                Some(DrainStep::LetGo((left / SILENCE_PART).min(LONGEST_SILENCE)))
            }
            _ => Some(DrainStep::Hurry),
        }
    }

    /// Waits until there may be something to judge. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let generations = async {
            match &mut self.generations {
                // Who sends them is there as long as the process.
                Some(generations) => drop(generations.changed().await),
                None => std::future::pending().await,
            }
        };
        let over = async {
            match &mut self.timer {
                Some(timer) => timer.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = generations => {}
            () = over => self.enter(match self.stage {
                DrainStage::InService => DrainStage::LettingGo,
                DrainStage::LettingGo => DrainStage::Hurrying,
                DrainStage::Hurrying | DrainStage::Over => DrainStage::Over,
            }),
        }
    }
}

/// A timer that may not be there: then it costs none, and never ends.
pub(super) struct OptionalTimer(Option<Pin<Box<Sleep>>>);

impl OptionalTimer {
    /// One that ends in `after`; `None`: never.
    pub(super) fn after(after: Option<Duration>) -> Self {
        Self(after.map(|after| Box::pin(sleep(after))))
    }
}

impl Future for OptionalTimer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
