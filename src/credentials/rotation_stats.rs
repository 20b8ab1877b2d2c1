//! What has become of new files, counted; and what is wrong with files now.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{FileKind, ReloadFailure};

/// Rotations since the start. Written by the rotation, read when somebody asks.
#[derive(Debug, Default)]
pub struct RotationStats {
    successes: AtomicU64,
    failed: AtomicU64,
    generation: AtomicU64,
    files: Mutex<FileStates>,
}

/// How the files are now.
#[derive(Debug, Clone, Default)]
pub struct FileStates {
    /// What is loaded from files.
    pub kinds: BTreeSet<FileKind>,
    /// What cannot be loaded now.
    pub failures: Vec<ReloadFailure>,
    /// The last second of the client CA that is valid longest.
    pub client_ca_not_after: Option<SystemTime>,
    /// Whose CRLs are in service, and by when there is to be another; those that say.
    pub client_crl_next_update: Vec<(String, SystemTime)>,
}

impl RotationStats {
    /// New files were taken into service, as this generation.
    pub(super) fn record_success(&self, generation: u64) {
        self.successes.fetch_add(1, Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// New files could not be used.
    pub(super) fn record_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes what is known of the files.
    pub(super) fn update_files(&self, change: impl FnOnce(&mut FileStates)) {
        change(&mut self.lock());
    }

    /// How often new files were taken into service, the first ones included.
    pub fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// How often new files could not be used for so long that the log says so; once for each cause.
    pub fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The generation that is served; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// How many files in folders of CAs and CRLs cannot be used: they are left out, or count as they were.
    pub fn unusable_files(&self) -> usize {
        self.lock().failures.iter().filter(|failure| failure.file.is_some()).count()
    }

    /// How the files are now.
    pub fn files(&self) -> FileStates {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, FileStates> {
        // Each field is written whole.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
