//! What has become of new files, counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Rotations since the start. Written by the rotation, read when somebody asks.
#[derive(Debug, Default)]
pub struct RotationStats {
    successes: AtomicU64,
    failed: AtomicU64,
    generation: AtomicU64,
    unusable_files: AtomicUsize,
}

impl RotationStats {
    /// New files were taken into service, as this generation; `unusable_files` of folders could not be used.
    pub(super) fn record_success(&self, generation: u64, unusable_files: usize) {
        self.unusable_files.store(unusable_files, Ordering::Relaxed);
        self.successes.fetch_add(1, Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// New files could not be used.
    pub(super) fn record_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
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

    /// How many files in folders of client CAs and CRLs cannot be used: they are left out, or count as they were.
    pub fn unusable_files(&self) -> usize {
        self.unusable_files.load(Ordering::Relaxed)
    }
}
