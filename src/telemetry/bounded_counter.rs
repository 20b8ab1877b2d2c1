//! Counts by something that clients choose, in bounded memory and with a bounded number of names.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts by key. The first `MAX_KEYS` keys have counts of their own until the end of the process; all others share one.
///
/// So every count only ever grows, as a counter's must, and whoever stores them sees at most `MAX_KEYS` names in all. To make
/// room for a key that has become frequent would keep the first, and break the second: each newcomer is one more name
/// in the store, and ten thousand callers could come and go.
#[derive(Debug)]
pub(crate) struct BoundedCounter<K, const MAX_KEYS: usize>(Mutex<Counts<K>>);

#[derive(Debug, Clone)]
pub(crate) struct Counts<K> {
    /// In the order in which they came. Invariant: at most `MAX_KEYS`.
    pub(crate) known: Vec<(K, u64)>,
    /// What the keys beyond them have in common.
    pub(crate) others: u64,
}

impl<K, const MAX_KEYS: usize> Default for BoundedCounter<K, MAX_KEYS> {
    fn default() -> Self {
        Self(Mutex::new(Counts { known: Vec::new(), others: 0 }))
    }
}

impl<K: Clone + PartialEq, const MAX_KEYS: usize> BoundedCounter<K, MAX_KEYS> {
    /// Counts one more of `key`. A look through a short list: cheap enough for once per connection.
    pub(crate) fn count(&self, key: &K) {
        let mut counts = self.lock();
        if let Some((_, count)) = counts.known.iter_mut().find(|(known, _)| known == key) {
            *count += 1;
        } else if counts.known.len() < MAX_KEYS {
            counts.known.push((key.clone(), 1));
        } else {
            counts.others += 1;
        }
    }

    /// All counts, as they are now.
    pub(crate) fn counts(&self) -> Counts<K> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts<K>> {
        // Counts cannot be left half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keys_keep_their_counts_and_all_others_share_one() {
        let few = BoundedCounter::<u32, 3>::default();
        for key in [1, 2, 1, 3, 4, 5, 4, 1] {
            few.count(&key);
        }
        let Counts { known, others } = few.counts();
        assert_eq!(known, [(1, 3), (2, 1), (3, 1)]);
        assert_eq!(others, 3);
    }
}
