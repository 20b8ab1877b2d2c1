//! The loop that takes new pairs, roots and rules into service, and keeps the last good ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::sleep_until;

use super::Admission;
use super::AdmissionError;
use super::AdmissionTexts;
use super::Admitting;
use super::Current;
use super::Gate;
use super::LoadError;
use super::Pair;
use super::Rotations;
use super::Serving;
use super::Texts;
use super::trouble::LOOK_AGAIN;
use super::trouble::Trouble;
use super::watch::Watch;
use crate::config::Certified;
use crate::config::Clients;
use crate::config::CredentialFiles;
use crate::config::TlsSettings;
use crate::identity::Identity;
use crate::tls::Offer;

/// How long changed CAs, CRLs and rules must stand still before they count.
const SETTLE: Duration = Duration::from_millis(50);

/// Files that change all the time are taken as they are after this many looks.
const MOST_SETTLES: usize = 10;

/// The pair that is shown, and since which rotation.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The pair.
    pub pair: Pair,
    /// Counts from 1.
    pub generation: u64,
}

/// Why nothing could be served in time.
#[derive(Debug, thiserror::Error)]
pub enum NothingToServe {
    /// There is no usable pair.
    #[error(transparent)]
    Pair(#[from] LoadError),
    /// There are no usable roots or rules.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
}

/// The rotation of one pair, and of the roots and rules that are served with it.
#[derive(Debug)]
pub struct Rotation {
    files: CredentialFiles,
    served: Vec<Served>,
    shown: watch::Sender<Option<Shown>>,
    look: Arc<Notify>,
    rotations: Arc<Rotations>,
}

/// What listeners with equal settings share.
#[derive(Debug)]
struct Served {
    settings: TlsSettings,
    clients: Clients,
    current: watch::Sender<Option<Arc<Serving>>>,
}

/// Everything that was good when it was last looked at.
#[derive(Default, Clone)]
struct Good {
    pair: Option<(Arc<Texts>, Pair)>,
    admissions: Vec<(Certified, Arc<AdmissionTexts>, Arc<Admission>)>,
}

/// What a look at the files has found: what is new, and what is wrong.
struct Look {
    pair: Found<Texts, Pair, LoadError>,
    admissions: Vec<(Certified, Found<AdmissionTexts, Admission, AdmissionError>)>,
}

/// `None`: nothing is new.
type Found<Text, Meaning, Error> = Result<Option<(Text, Meaning)>, Error>;

impl Rotation {
    /// A rotation of the pair in `files`. `look` forces a look at any time (SIGHUP).
    pub fn new(files: CredentialFiles, look: Arc<Notify>) -> Self {
        Self { files, served: Vec::new(), shown: watch::Sender::new(None), look, rotations: Arc::default() }
    }

    /// Where a listener with these settings finds what it serves. Listeners with equal settings share it.
    pub fn serve(&mut self, settings: &TlsSettings, clients: &Clients) -> Current {
        if let Some(known) = self.served.iter().find(|known| known.settings == *settings && known.clients == *clients) {
            return known.current.subscribe();
        }
        let (current, served) = watch::channel(None);
        self.served.push(Served { settings: settings.clone(), clients: clients.clone(), current });
        served
    }

    /// Tells of each pair as it is taken into service; `None` before the first.
    pub fn shown(&self) -> watch::Receiver<Option<Shown>> {
        self.shown.subscribe()
    }

    /// What has become of new files so far.
    pub fn rotations(&self) -> Arc<Rotations> {
        Arc::clone(&self.rotations)
    }

    /// Waits until there is something to serve, for as long as the configuration allows.
    ///
    /// # Errors
    /// The trouble that is left when the time is over.
    pub async fn first(&self) -> Result<(), NothingToServe> {
        let mut shown = self.shown.subscribe();
        if tokio::time::timeout(self.files.timeout, shown.wait_for(Option::is_some)).await.is_ok() {
            return Ok(());
        }
        let look = look(&self.files, &self.certified(), &Good::default());
        look.pair?;
        for (_, admission) in look.admissions {
            admission?;
        }
        Ok(())
    }

    /// The settings on certified clients, each once.
    fn certified(&self) -> Vec<Certified> {
        let mut all: Vec<Certified> = Vec::new();
        for served in &self.served {
            if let Clients::Certified(certified) = &served.clients
                && !all.contains(certified)
            {
                all.push(certified.clone());
            }
        }
        all
    }

    /// Takes everything new into service, for ever.
    pub async fn run(&self) {
        let certified = self.certified();
        let mut paths = vec![self.files.key.clone(), self.files.cert.clone()];
        for certified in &certified {
            paths.extend(certified.ca.iter().chain(&certified.crl).chain(&certified.policy).cloned());
        }
        let mut watch = Watch::new(paths);
        let mut good = Good::default();
        let mut pair_trouble = Trouble::default();
        let mut admission_trouble: Vec<Trouble> = certified.iter().map(|_| Trouble::default()).collect();
        loop {
            let found = self.look_at_files(&certified, &good).await;
            let (mut new_pair, mut new_admission) = (false, false);
            match found.pair {
                Ok(fresh) => {
                    pair_trouble.is_over();
                    if let Some((texts, pair)) = fresh {
                        good.pair = Some((Arc::new(texts), pair));
                        new_pair = true;
                    }
                }
                Err(error) => {
                    if pair_trouble.note(&error, good.pair.is_some()) {
                        self.rotations.failed();
                    }
                }
            }
            for ((certified, admission), trouble) in found.admissions.into_iter().zip(&mut admission_trouble) {
                match admission {
                    Ok(fresh) => {
                        trouble.is_over();
                        if let Some((texts, admission)) = fresh {
                            good.keep(certified, texts, admission);
                            new_admission = true;
                        }
                    }
                    Err(error) => {
                        if trouble.note(&error, good.admission(&certified).is_some()) {
                            self.rotations.failed();
                        }
                    }
                }
            }
            if new_pair || new_admission {
                self.take_into_service(&good, new_pair);
            }
            let troubled = !pair_trouble.is_none() || admission_trouble.iter().any(|trouble| !trouble.is_none());
            tokio::select! {
                () = watch.changed() => {}
                () = self.look.notified() => {}
                () = sleep_until(Instant::now() + LOOK_AGAIN), if troubled => {}
            }
        }
    }

    /// Reading may block, and checking an RSA key takes a millisecond: neither happens on a thread that relays.
    async fn look_at_files(&self, certified: &[Certified], good: &Good) -> Look {
        let (files, certified, good) = (self.files.clone(), certified.to_vec(), good.clone());
        match tokio::task::spawn_blocking(move || look(&files, &certified, &good)).await {
            Ok(looked) => looked,
            // A panic in the look is ours: it brings the rotation, and so the process, down with its own message.
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Publishes one more generation, once everything that is served has been loaded.
    fn take_into_service(&self, good: &Good, new_pair: bool) {
        let Some((_, pair)) = &good.pair else { return };
        let own = Identity::from_der(pair.leaf()).ok().flatten().map(Arc::new);
        let generation = self.served.iter().filter_map(Served::generation).max().unwrap_or(0) + 1;
        let mut next = Vec::new();
        for served in &self.served {
            let admitting = match &served.clients {
                Clients::Anonymous => Admitting::Everybody,
                Clients::Certified(certified) => match good.admission(certified) {
                    Some(admission) => {
                        Admitting::Certified(Gate::new(Arc::clone(admission), certified.required, own.clone()))
                    }
                    // Its first roots and rules are still missing: it serves nobody, and the start waits for it.
                    None => return,
                },
            };
            match Offer::new(pair.certified_key(), &served.settings, &admitting) {
                Ok(offer) => next.push(Serving { offer, admitting, generation }),
                Err(error) => {
                    // The system's random source failed; what is served stays.
                    tracing::error!(%error, "a new generation could not be taken into service");
                    self.rotations.failed();
                    return;
                }
            }
        }
        for (served, serving) in self.served.iter().zip(next) {
            served.current.send_replace(Some(Arc::new(serving)));
        }
        self.rotations.took(generation);
        if new_pair || self.shown.borrow().is_none() {
            self.shown.send_replace(Some(Shown { pair: pair.clone(), generation }));
        } else {
            tracing::info!(generation, "client CAs and rules reloaded");
        }
    }
}

impl Served {
    fn generation(&self) -> Option<u64> {
        self.current.borrow().as_ref().map(|serving| serving.generation)
    }
}

impl Good {
    fn admission(&self, certified: &Certified) -> Option<&Arc<Admission>> {
        self.admissions.iter().find(|(known, _, _)| known == certified).map(|(_, _, admission)| admission)
    }

    fn keep(&mut self, certified: Certified, texts: AdmissionTexts, admission: Admission) {
        for note in &admission.notes {
            tracing::warn!("{note}");
        }
        self.admissions.retain(|(known, _, _)| *known != certified);
        self.admissions.push((certified, Arc::new(texts), Arc::new(admission)));
    }
}

/// Reads everything; gives what differs from `good`.
fn look(files: &CredentialFiles, certified: &[Certified], good: &Good) -> Look {
    let pair = Texts::read(files).and_then(|texts| match &good.pair {
        Some((known, _)) if **known == texts => Ok(None),
        _ => texts.pair(files).map(|pair| Some((texts, pair))),
    });
    let admissions = certified.iter().map(|certified| {
        let known = good.admissions.iter().find(|(known, _, _)| known == certified).map(|(_, texts, _)| texts);
        let looked = read_settled(certified, known.map(Arc::as_ref)).and_then(|texts| match texts {
            None => Ok(None),
            Some(texts) => texts.admission(certified).map(|admission| Some((texts, admission))),
        });
        (certified.clone(), looked)
    });
    Look { pair, admissions: admissions.collect() }
}

/// The texts if they differ from `known`, once they stand still.
///
/// A pair that is half-written does not match, and so is not taken. A policy file that is written in place is empty first,
/// and an empty policy admits nobody: taken in that moment it would end every connection.
fn read_settled(
    certified: &Certified,
    known: Option<&AdmissionTexts>,
) -> Result<Option<AdmissionTexts>, AdmissionError> {
    let mut texts = AdmissionTexts::read(certified)?;
    for _ in 0..MOST_SETTLES {
        let Some(known) = known else { break };
        if *known == texts {
            return Ok(None);
        }
        // On a thread for work that blocks.
        std::thread::sleep(SETTLE);
        let again = AdmissionTexts::read(certified)?;
        if again == texts {
            break;
        }
        texts = again;
    }
    Ok(Some(texts))
}
