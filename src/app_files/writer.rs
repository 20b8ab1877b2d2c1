//! The loop that writes the files: at each rotation, and tokens before they end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::contents::{AppFileError, Content};
use super::schedule::{refresh_after, retry_after};
use crate::config::{AppFiles, FileMode};
use crate::credentials::{ServedCertificate, run_blocking};
use crate::identity::Certificate;
use crate::sys::atomic_file;
use crate::sys::atomic_file::StagedFile;
use crate::telemetry::AppFileCounters;
use crate::token::IssuedToken;

/// What became of a file, and the token that stands in it.
type FileOutcome = Result<Option<IssuedToken>, AppFileError>;

/// Failures in a row that pass by themselves before they are said.
const MAX_RETRIES: u32 = 3;

/// A generation of which every file is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenGeneration {
    /// Which.
    pub generation: u64,
    /// The end of its certificate.
    pub not_after: SystemTime,
    /// Whether there was none before it.
    pub is_first: bool,
}

/// Keeps the files of a configuration fresh.
#[derive(Debug)]
pub struct AppFileWriter {
    files: Vec<AppFile>,
    served: watch::Receiver<Vec<ServedCertificate>>,
    /// The last pair that names an instance.
    pair: Option<ServedCertificate>,
    /// The platform has announced the end: what there is stays as it is.
    retires: bool,
    in_place: watch::Sender<Option<WrittenGeneration>>,
    /// The first generation that was served.
    first: Option<u64>,
    /// Whether all files stand as they should.
    complete: bool,
    counters: Arc<AppFileCounters>,
}

/// One file.
#[derive(Debug)]
struct AppFile {
    destination: Destination,
    /// The generation that it was last written from.
    generation: Option<u64>,
    /// When it is written next; `None`: at the next rotation.
    due: Option<Instant>,
    /// In a row.
    failures: u32,
}

/// What is written, and where.
#[derive(Debug, Clone)]
struct Destination {
    path: PathBuf,
    mode: FileMode,
    content: Content,
}

impl AppFileWriter {
    /// A writer of the files of `config`, from the pairs that are `served`.
    pub fn new(
        config: &AppFiles,
        served: watch::Receiver<Vec<ServedCertificate>>,
        counters: Arc<AppFileCounters>,
    ) -> Self {
        let credentials = config.credentials.iter().map(|file| Destination {
            path: file.path.clone(),
            mode: if file.form.has_key() { config.mode } else { FileMode::PUBLIC },
            content: Content::Credential(file.form),
        });
        let tokens = config.tokens.iter().map(|file| Destination {
            path: file.path.clone(),
            mode: config.mode,
            content: Content::Token { audience: file.audience.clone(), ttl: config.token_ttl },
        });
        let file = |destination| AppFile { destination, generation: None, due: None, failures: 0 };
        Self {
            files: credentials.chain(tokens).map(file).collect(),
            served,
            pair: None,
            retires: false,
            in_place: watch::Sender::new(None),
            first: None,
            complete: false,
            counters,
        }
    }

    /// Tells of each generation once all of its files are in place; of those that follow each other at once, of the newest.
    pub fn in_place(&self) -> watch::Receiver<Option<WrittenGeneration>> {
        self.in_place.subscribe()
    }

    /// Writes what is due, for ever.
    pub async fn run(mut self) {
        loop {
            self.take_newest();
            self.write_due().await;
            self.tell();
            let next = self.files.iter().filter_map(|file| file.due).min().filter(|_| !self.retires);
            tokio::select! {
                changed = self.served.changed() => if changed.is_err() {
                    // Nobody serves any more: the process is about to end.
                    return std::future::pending().await;
                },
                () = until(next) => {}
            }
        }
    }

    /// Takes over the pair that is served now. All files are due at once if it is a new one.
    fn take_newest(&mut self) {
        // One pair is shown by every listener wherever there are files.
        let Some(newest) = self.served.borrow_and_update().first().cloned() else { return };
        if self.pair.as_ref().is_some_and(|pair| pair.generation == newest.generation) {
            return;
        }
        self.retires = Certificate::from_der(newest.pair.leaf()).is_ok_and(|leaf| leaf.is_retirement());
        if self.retires {
            // Nor need anybody learn any more of what was in place before.
            self.in_place.send_replace(None);
            return;
        }
        self.first.get_or_insert(newest.generation);
        self.pair = Some(newest);
        let now = Instant::now();
        for file in &mut self.files {
            (file.due, file.failures) = (Some(now), 0);
        }
        self.complete = false;
    }

    /// Writes the files whose time has come, one after the other, beside the threads that relay.
    async fn write_due(&mut self) {
        let Some(served) = self.pair.clone().filter(|_| !self.retires) else { return };
        let now = Instant::now();
        let due = |file: &AppFile| file.due.is_some_and(|due| due <= now);
        // Key and chain belong together.
        let with_halves = self.files.iter().any(|file| due(file) && file.destination.content.is_half());
        let is_due = |file: &AppFile| {
            due(file) || with_halves && file.destination.content.is_half() && file.generation != Some(served.generation)
        };
        let places: Vec<_> = (0..self.files.len()).filter(|place| is_due(&self.files[*place])).collect();
        if places.is_empty() {
            return;
        }
        let destinations: Vec<_> = places.iter().map(|place| self.files[*place].destination.clone()).collect();
        let generation = served.generation;
        let written = run_blocking(move || write_together(&destinations, &served)).await;
        let written = written.unwrap_or_else(|_| places.iter().map(|_| Err(AppFileError::Internal)).collect());
        for (place, written) in places.into_iter().zip(written) {
            self.note(place, written, generation);
        }
    }

    /// What became of the file in this place.
    fn note(&mut self, place: usize, written: FileOutcome, generation: u64) {
        let file = &mut self.files[place];
        let path = file.destination.path.display();
        match written {
            Ok(token) => {
                self.counters.count_written(place, generation);
                (file.generation, file.failures) = (Some(generation), 0);
                file.due = token.as_ref().map(|token| Instant::now() + refresh_after(life(token), fastrand::f64()));
                if let (Some(token), Content::Token { audience, .. }) = (token, &file.destination.content) {
                    let expires_at = jiff::Timestamp::from_second(token.expires_at.cast_signed()).ok();
                    let expires_at = expires_at.map(tracing::field::display);
                    tracing::info!(audience, form = "standard", jti = token.jti, expires_at, generation, %path, "token issued");
                }
            }
            Err(error) => {
                file.failures = file.failures.saturating_add(1);
                file.due = Some(Instant::now() + retry_after(file.failures));
                self.complete = false;
                if error.is_transient() && file.failures < MAX_RETRIES {
                    return;
                }
                let error = error.to_string();
                if self.counters.count_not_written(place, &error) {
                    tracing::error!(%path, error, generation, "app file not written");
                }
            }
        }
    }

    /// Says when all files are in place, and tells whoever waits for a generation.
    fn tell(&mut self) {
        let Some(pair) = self.pair.as_ref().filter(|_| !self.retires) else { return };
        let generation = pair.generation;
        let is_whole = self.files.iter().all(|file| file.generation == Some(generation) && file.failures == 0);
        if !is_whole || self.complete {
            return;
        }
        self.complete = true;
        if !self.files.is_empty() {
            tracing::info!(generation, files = self.files.len(), "app files written");
        }
        let not_after = Certificate::from_der(pair.pair.leaf()).map_or(SystemTime::UNIX_EPOCH, |leaf| leaf.not_after());
        let is_first = self.first == Some(generation);
        self.in_place.send_if_modified(|before| {
            let is_new = before.is_none_or(|before| before.generation != generation);
            *before = Some(WrittenGeneration { generation, not_after, is_first });
            is_new
        });
    }
}

impl Destination {
    /// Makes the content anew, to replace the file with.
    fn stage(&self, served: &ServedCertificate) -> Result<(StagedFile, Option<IssuedToken>), AppFileError> {
        let contents = self.content.make(&served.source, &served.pair, SystemTime::now())?;
        let file = atomic_file::stage(&self.path, &contents.text, self.mode.bits())?;
        Ok((file, contents.token))
    }
}

/// Replaces the files of `destinations`: key and chain both or neither, and each of the others by itself.
fn write_together(destinations: &[Destination], served: &ServedCertificate) -> Vec<FileOutcome> {
    let mut written: Vec<_> = destinations.iter().map(|_| None).collect();
    let mut halves = Vec::new();
    for (place, destination) in destinations.iter().enumerate() {
        let staged = destination.stage(served);
        if destination.content.is_half() {
            halves.push((place, staged));
        } else {
            written[place] = Some(staged.and_then(|(file, token)| Ok(file.commit().map(|()| token)?)));
        }
    }
    let (places, staged): (Vec<_>, Vec<_>) = halves.into_iter().unzip();
    for (place, half) in places.into_iter().zip(commit_halves(staged)) {
        written[place] = Some(half);
    }
    written.into_iter().map(|written| written.unwrap_or(Err(AppFileError::Internal))).collect()
}

/// Has all halves take their places, or none.
fn commit_halves(staged: Vec<Result<(StagedFile, Option<IssuedToken>), AppFileError>>) -> Vec<FileOutcome> {
    let withheld = |is_transient| Err(AppFileError::Withheld { is_transient });
    let faults: Vec<_> = staged.iter().filter_map(|half| half.as_ref().err()).collect();
    if !faults.is_empty() {
        let is_transient = faults.iter().all(|fault| fault.is_transient());
        return staged.into_iter().map(|half| half.map_or_else(Err, |_| withheld(is_transient))).collect();
    }
    let files: Vec<_> = staged.into_iter().flatten().map(|(file, _)| file).collect();
    let all = files.len();
    match atomic_file::commit_together(files) {
        Ok(()) => (0..all).map(|_| Ok(None)).collect(),
        Err(errors) => {
            errors.into_iter().map(|error| error.map_or(withheld(false), |error| Err(error.into()))).collect()
        }
    }
}

/// How long a token is valid.
fn life(token: &IssuedToken) -> Duration {
    Duration::from_secs(token.expires_at.saturating_sub(token.issued_at))
}

/// Waits until `then`; for ever without one.
async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
