//! The loop that takes new pairs into service, and keeps the last good one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::config::CredentialFiles;
use crate::config::TlsSettings;
use crate::credentials::Current;
use crate::credentials::Pair;
use crate::credentials::Serving;
use crate::credentials::load::LoadError;
use crate::credentials::load::Texts;
use crate::credentials::watch::Watch;
use crate::tls::Offer;

/// Between the platform's two renames the files are no pair, and a file that is written in place is torn for a moment.
/// Only what lasts longer than this is worth a word.
const PATIENCE: Duration = Duration::from_secs(2);

/// While the files are no pair they are looked at this often, whatever the events say.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The pair that is shown, and since which rotation.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The pair.
    pub pair: Pair,
    /// Counts from 1.
    pub generation: u64,
}

/// One credential's rotation: its files, and the listeners that serve it.
#[derive(Debug)]
pub struct Rotation {
    files: CredentialFiles,
    served_as: Vec<(TlsSettings, Current)>,
    shown: watch::Sender<Option<Shown>>,
    look: Arc<Notify>,
}

/// The trouble with the files, from its first sight until they are good again.
struct Trouble {
    cause: String,
    since: Instant,
    reported: bool,
}

impl Rotation {
    /// A rotation of the pair in `files`. `look` forces a look at any time (SIGHUP).
    pub fn new(files: CredentialFiles, look: Arc<Notify>) -> Self {
        Self { files, served_as: Vec::new(), shown: watch::Sender::new(None), look }
    }

    /// Where a listener with these settings finds what it serves. Listeners with equal settings share it.
    pub fn serve(&mut self, settings: &TlsSettings) -> Current {
        if let Some((_, current)) = self.served_as.iter().find(|(known, _)| known == settings) {
            return current.clone();
        }
        let current = Current::default();
        self.served_as.push((settings.clone(), current.clone()));
        current
    }

    /// Tells of each pair as it is taken into service; `None` before the first.
    pub fn shown(&self) -> watch::Receiver<Option<Shown>> {
        self.shown.subscribe()
    }

    /// Waits for the first usable pair, for as long as the configuration allows.
    ///
    /// # Errors
    /// The last look's trouble, when the time is over.
    pub async fn first(&self) -> Result<(), LoadError> {
        let mut shown = self.shown.subscribe();
        match tokio::time::timeout(self.files.timeout, shown.wait_for(Option::is_some)).await {
            Ok(_) => Ok(()),
            Err(_) => Texts::read(&self.files).and_then(|texts| texts.pair(&self.files)).map(|_| ()),
        }
    }

    /// Takes each new pair into service, for ever.
    pub async fn run(&self) {
        let mut watch = Watch::new(vec![self.files.key.clone(), self.files.cert.clone()]);
        let mut served: Option<Arc<Texts>> = None;
        let mut trouble: Option<Trouble> = None;
        loop {
            match self.look_at_files(served.clone()).await {
                Ok(fresh) => {
                    if let Some((texts, pair)) = fresh {
                        self.take_into_service(pair);
                        served = Some(Arc::new(texts));
                    }
                    if trouble.take().is_some_and(|trouble| trouble.reported) {
                        tracing::info!("the credential files are good again");
                    }
                }
                Err(error) => note_trouble(&mut trouble, &error, served.is_some()),
            }
            let again = trouble.as_ref().map(|_| Instant::now() + LOOK_AGAIN);
            tokio::select! {
                () = watch.changed() => {}
                () = self.look.notified() => {}
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            }
        }
    }

    /// Reads the files; a pair if they hold another one than `served`. Reading may block, and checking an RSA key takes
    /// a millisecond: neither happens on a thread that relays.
    async fn look_at_files(&self, served: Option<Arc<Texts>>) -> Result<Option<(Texts, Pair)>, LoadError> {
        let files = self.files.clone();
        let look = move || {
            let texts = Texts::read(&files)?;
            if served.is_some_and(|served| *served == texts) {
                return Ok(None);
            }
            let pair = texts.pair(&files)?;
            Ok(Some((texts, pair)))
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(looked) => looked,
            // A panic in the look is ours: it brings the rotation, and so the process, down with its own message.
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn take_into_service(&self, pair: Pair) {
        let generation = self.shown.borrow().as_ref().map_or(1, |shown| shown.generation + 1);
        for (settings, current) in &self.served_as {
            match Offer::new(pair.certified_key(), settings) {
                Ok(offer) => current.set(Serving { offer, generation }),
                Err(error) => {
                    // The system's random source failed; what is served stays.
                    tracing::error!(error = %error, "a new pair could not be taken into service");
                    return;
                }
            }
        }
        self.shown.send_replace(Some(Shown { pair, generation }));
    }
}

/// Keeps track of a cause, and reports it once when it lasts.
fn note_trouble(trouble: &mut Option<Trouble>, error: &LoadError, have_pair: bool) {
    let cause = error.to_string();
    let known = match trouble {
        Some(known) if known.cause == cause => known,
        _ => trouble.insert(Trouble { cause, since: Instant::now(), reported: false }),
    };
    if !known.reported && known.since.elapsed() >= PATIENCE {
        known.reported = true;
        if have_pair {
            tracing::warn!(error = %known.cause, "the new credential cannot be used; the last good pair stays in service");
        } else {
            tracing::warn!(error = %known.cause, "no usable credential yet");
        }
    }
}
