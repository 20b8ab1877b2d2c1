//! Tokens that were used: one that is good once is remembered for as long as it could be used again.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;

/// Tokens that are remembered at a time; with what a token has to carry to be one of them, some megabytes.
const MOST: usize = 65_536;

/// What stands for a token: SHA-256 over the fingerprint of its certificate and its `jti`.
type UseId = [u8; 32];

/// The tokens that were used and could be used again. One that is remembered is forgotten when its time is over and not before.
#[derive(Debug, Default)]
pub struct ReplayCache(Mutex<Uses>);

#[derive(Debug, Default)]
struct Uses {
    ids: HashSet<UseId>,
    /// The same, by the last second in which each could be used.
    by_end: BTreeSet<(i64, UseId)>,
}

/// Why a token cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It was used.
    #[error("it was used before")]
    Replayed,
    /// There is no room to remember it by.
    #[error("{MOST} tokens are remembered, none of which has expired: no more are let in until one has")]
    Full,
}

impl ReplayCache {
    /// Notes that the token `jti` under the certificate with this SHA-256 `fingerprint` is used at `now`, and can be used until `end` (both in
    /// seconds since 1970).
    ///
    /// # Errors
    /// [`ReplayError`]: it was used before, or there is no room. Then nothing is noted.
    pub fn first_use(&self, fingerprint: &[u8; 32], jti: &str, end: i64, now: i64) -> Result<(), ReplayError> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(fingerprint);
        context.update(jti.as_bytes());
        let mut id = [0; 32];
        id.copy_from_slice(context.finish().as_ref());
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.forget_before(now);
        if uses.ids.contains(&id) {
            return Err(ReplayError::Replayed);
        }
        if uses.ids.len() >= MOST {
            return Err(ReplayError::Full);
        }
        uses.ids.insert(id);
        uses.by_end.insert((end, id));
        Ok(())
    }

    /// Reads what [`ReplayCache::to_lines`] wrote; lines that it did not write are an error.
    ///
    /// # Errors
    /// The number of the line, from 1.
    pub fn from_lines(text: &str) -> Result<Self, usize> {
        let mut uses = Uses::default();
        for (at, line) in text.lines().enumerate() {
            let read = line.split_once(' ').and_then(|(end, id)| Some((end.parse::<i64>().ok()?, from_hex(id)?)));
            let (end, id) = read.filter(|_| at < MOST).ok_or(at + 1)?;
            uses.ids.insert(id);
            uses.by_end.insert((end, id));
        }
        Ok(Self(Mutex::new(uses)))
    }

    /// A line for each token that is remembered: until when, and what stands for it. Nothing in it can be used as a token.
    pub fn to_lines(&self) -> String {
        let uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hex = |id: &UseId| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        uses.by_end.iter().map(|(end, id)| format!("{end} {}\n", hex(id))).collect()
    }
}

impl Uses {
    fn forget_before(&mut self, now: i64) {
        while let Some(oldest) = self.by_end.first().copied().filter(|(end, _)| *end < now) {
            self.by_end.remove(&oldest);
            self.ids.remove(&oldest.1);
        }
    }
}

fn from_hex(text: &str) -> Option<UseId> {
    let mut id = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_once_and_forgotten_once_it_cannot_be_used_any_more() {
        let cache = ReplayCache::default();
        assert_eq!(cache.first_use(&[1; 32], "a", 100, 50), Ok(()));
        assert_eq!(cache.first_use(&[1; 32], "a", 100, 100), Err(ReplayError::Replayed));
        assert_eq!(cache.first_use(&[2; 32], "a", 100, 60), Ok(()), "of another instance");
        assert_eq!(cache.first_use(&[1; 32], "b", 100, 60), Ok(()));
        assert_eq!(cache.to_lines().lines().count(), 3);
        assert_eq!(cache.first_use(&[1; 32], "c", 200, 101), Ok(()));
        assert_eq!(cache.to_lines().lines().count(), 1, "the others are over");
    }

    #[test]
    fn a_full_cache_lets_nobody_in_and_forgets_nobody_who_could_come_again() {
        let cache = ReplayCache::default();
        for jti in 0..MOST {
            cache.first_use(&[0; 32], &jti.to_string(), 100, 0).unwrap();
        }
        assert_eq!(cache.first_use(&[0; 32], "one more", 100, 100), Err(ReplayError::Full));
        assert_eq!(cache.first_use(&[0; 32], "0", 100, 100), Err(ReplayError::Replayed));
        assert_eq!(cache.first_use(&[0; 32], "one more", 300, 101), Ok(()));
    }

    #[test]
    fn what_was_written_is_read_and_anything_else_is_told_by_its_line() {
        let cache = ReplayCache::default();
        cache.first_use(&[0; 32], "a", 100, 0).unwrap();
        let lines = cache.to_lines();
        let read = ReplayCache::from_lines(&lines).unwrap();
        assert_eq!(
            (read.to_lines(), read.first_use(&[0; 32], "a", 100, 0)),
            (lines.clone(), Err(ReplayError::Replayed))
        );
        assert_eq!(ReplayCache::from_lines(&(lines.clone() + "x")).unwrap_err(), 2);
        assert_eq!(ReplayCache::from_lines(&lines.to_uppercase()).unwrap_err(), 1);
        assert_eq!(ReplayCache::from_lines(&lines[..40]).unwrap_err(), 1);
        assert!(ReplayCache::from_lines("").is_ok());
    }
}
