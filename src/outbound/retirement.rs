//! The end of the pair with which a connection was made: it is let go in time, and never outlives the pair.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::attempts::Verified;
use super::dialler::Dialler;
use crate::credentials::{OutboundSnapshot, SnapshotReceiver};
use crate::sys::wall_clock::WallClockTimer;
use crate::telemetry::OutboundCloseReason;
use crate::trust::ServerDenialReason;

/// Before its pair ends a connection is let go at the latest so long: whichever of the two is less.
const LATEST: Duration = Duration::from_secs(5 * 60);
const LATEST_PART: u32 = 10;

/// What is demanded of a connection that was made some time ago.
pub(super) enum RetirementStep {
    /// It is closed at the next pause: its pair was rotated, or is about to end.
    LetGo,
    /// It is closed now, for this reason, of which there may be more to say.
    End(OutboundCloseReason, Option<String>),
}

/// Whether a connection to an endpoint may go on: the pair with which it was made is in service, and whoever has answered is believed.
pub(super) struct Retirement<'a> {
    /// What is in force now, and by what the connection was made; `None`: nobody was asked.
    made: Option<(&'a SnapshotReceiver<OutboundSnapshot>, &'a Verified)>,
    generations: Option<watch::Receiver<u64>>,
    /// `None`: the pair has no end that is known.
    timer: Option<Box<WallClockTimer>>,
    /// The last moment of the pair; `None` once it is time to let go of the connection, or if there is none.
    end: Option<SystemTime>,
    /// It is time to let go, or that was said.
    is_due: bool,
    is_told: bool,
    is_over: bool,
}

impl<'a> Retirement<'a> {
    /// That of a connection which `dialler` has made to whoever is `verified`.
    pub(super) fn of(dialler: &'a Dialler, verified: Option<&'a Verified>) -> Self {
        let made = dialler.snapshots.as_ref().zip(verified);
        let validity = verified.and_then(|verified| verified.snapshot.validity);
        let let_go = validity.map(|validity| {
            let lifetime = validity.not_after.duration_since(validity.not_before).unwrap_or_default();
            validity.not_after.checked_sub((lifetime / LATEST_PART).min(LATEST)).unwrap_or(validity.not_after)
        });
        Self {
            made,
            generations: made.map(|(snapshots, _)| snapshots.generations()),
            timer: let_go.map(WallClockTimer::at).map(Box::new),
            end: validity.map(|validity| validity.not_after),
            is_due: false,
            is_told: false,
            is_over: false,
        }
    }

    /// What is demanded now of the connection, whose server has shown `chain`. Each thing is said once.
    pub(super) fn check(&mut self, chain: &[CertificateDer<'_>]) -> Option<RetirementStep> {
        if self.is_over {
            return Some(RetirementStep::End(OutboundCloseReason::CredentialExpired, None));
        }
        let (snapshots, Verified { name, snapshot, .. }) = self.made?;
        if let Some(generations) = &mut self.generations {
            generations.borrow_and_update();
        }
        if let Some(served) = snapshots.load().filter(|served| served.generation != snapshot.generation) {
            if let Err(denial) = served.authenticator.authorize(chain, name, SystemTime::now()) {
                let reason = match denial.reason {
                    ServerDenialReason::CertificateExpired => OutboundCloseReason::CertificateExpired,
                    _ => OutboundCloseReason::PolicyChanged,
                };
                return Some(RetirementStep::End(reason, Some(denial.to_string())));
            }
            // What was agreed on with the old pair stays so: the new one is for new connections.
            self.is_due |= snapshot.validity.is_some() && served.pair_generation != snapshot.pair_generation;
        }
        (self.is_due && !std::mem::replace(&mut self.is_told, true)).then_some(RetirementStep::LetGo)
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
            () = over => match self.end.take() {
                Some(end) => {
                    self.is_due = true;
                    self.timer = Some(Box::new(WallClockTimer::at(end)));
                }
                None => self.is_over = true,
            },
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
