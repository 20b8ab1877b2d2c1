//! Files that together mean one thing: looked at as one, and kept as they were when they were last good.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::trouble::Trouble;

/// How long files that could be torn must stand still before they count.
const SETTLE: Duration = Duration::from_millis(50);

/// Files that change all the time are taken as they are after this many looks.
const MOST_SETTLES: usize = 10;

/// Files that together mean one thing.
pub(super) trait Source: Clone + PartialEq + Send + Sync + 'static {
    /// What stands in them, to tell whether anything has changed.
    type Texts: PartialEq + Send + Sync + 'static;
    /// What they mean.
    type Meaning: Clone + Send + 'static;
    /// Why they mean nothing.
    type Error: Display + Send + 'static;

    /// What is watched: files and folders.
    fn paths(&self) -> Vec<PathBuf>;

    /// Whether a text that is still being written may read as a whole one, so that it has to stand still first.
    fn may_be_torn(&self) -> bool;

    /// Reads the files. `before` is what stood in them when they were last good.
    fn read(&self, before: Option<&Self::Texts>) -> Result<Self::Texts, Self::Error>;

    /// What `texts` mean.
    fn understand(&self, texts: &Self::Texts) -> Result<Self::Meaning, Self::Error>;

    /// For how long `texts` have to stay as they are before their `meaning` counts. What takes something away and may not
    /// have been written to its end is looked at for longer.
    fn patience(&self, _texts: &Self::Texts, _meaning: &Self::Meaning, _before: &Known<'_, Self>) -> Duration {
        Duration::ZERO
    }

    /// Says what is odd about a meaning that is taken all the same, and was not in the one `before`.
    fn remark(&self, _meaning: &Self::Meaning, _before: Option<&Self::Meaning>) {}
}

/// What a source was when it was last good.
pub(super) struct Known<'a, S: Source> {
    pub(super) texts: &'a S::Texts,
    pub(super) meaning: &'a S::Meaning,
    /// It was bad when it was last looked at: somebody is at work on it.
    pub(super) was_troubled: bool,
}

/// A source, and what it meant when it was last good.
pub(super) struct Kept<S: Source> {
    pub(super) source: S,
    good: Option<Good<S>>,
    /// What is to become good if it stays as it is.
    waiting: Option<Waiting<S>>,
    trouble: Trouble,
}

/// What a source meant when it was last good.
struct Good<S: Source> {
    texts: Arc<S::Texts>,
    meaning: S::Meaning,
    /// The generation in which it came.
    since: u64,
}

/// What takes something away, and may not be all that is to come.
struct Waiting<S: Source> {
    texts: Arc<S::Texts>,
    meaning: S::Meaning,
    until: Instant,
    was_troubled: bool,
}

/// What has become of what a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is new, and good.
    New,
    /// It is as before, or bad for too short a time to be sure.
    Nothing,
    /// It has been bad for some time, which has been reported now.
    Failed,
}

/// What a look has found.
pub(super) enum Found<S: Source> {
    /// What was good before. The files may be others.
    Same(S::Texts),
    /// What is waiting already.
    Waiting,
    /// Something else, and how long it has to stay.
    Other(S::Texts, S::Meaning, Duration),
}

impl<S: Source> Kept<S> {
    pub(super) fn new(source: S) -> Self {
        Self { source, good: None, waiting: None, trouble: Trouble::default() }
    }

    /// What it meant when it was last good, and since which generation; `None` if it never was.
    pub(super) fn meaning(&self) -> Option<(&S::Meaning, u64)> {
        self.good.as_ref().map(|good| (&good.meaning, good.since))
    }

    /// Whether it has to be looked at again soon, whatever the events say: it is bad now, or waits.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.trouble.is_none() || self.waiting.is_some()
    }

    /// A look at the files, which blocks.
    pub(super) fn look(&self) -> impl FnOnce() -> Result<Found<S>, S::Error> + Send + use<S> {
        let source = self.source.clone();
        let known = self.good.as_ref().map(|good| (Arc::clone(&good.texts), good.meaning.clone()));
        let waiting = self.waiting.as_ref().map(|waiting| Arc::clone(&waiting.texts));
        let was_troubled = self.waiting.as_ref().map_or(!self.trouble.is_none(), |waiting| waiting.was_troubled);
        move || {
            let Some((known, meaning)) = known else {
                let texts = source.read(None)?;
                return source.understand(&texts).map(|meaning| Found::Other(texts, meaning, Duration::ZERO));
            };
            let texts = settled(&source, &known)?;
            if texts == *known {
                return Ok(Found::Same(texts));
            }
            if waiting.is_some_and(|waiting| *waiting == texts) {
                return Ok(Found::Waiting);
            }
            let before = Known { texts: &*known, meaning: &meaning, was_troubled };
            let meaning = source.understand(&texts)?;
            let patience = source.patience(&texts, &meaning, &before);
            Ok(Found::Other(texts, meaning, patience))
        }
    }

    /// Takes what a look has found into the generation `since`. What was good stays until something better is found.
    pub(super) fn take(&mut self, found: Result<Found<S>, S::Error>, since: u64) -> Taken {
        let was_troubled = !self.trouble.is_none();
        let found = match found {
            Err(error) => {
                self.waiting = None;
                return if self.trouble.note(&error, self.good.is_some()) { Taken::Failed } else { Taken::Nothing };
            }
            Ok(found) => found,
        };
        self.trouble.is_over();
        let (texts, meaning) = match (found, self.waiting.take()) {
            (Found::Same(texts), _) => {
                if let Some(good) = &mut self.good {
                    good.texts = Arc::new(texts);
                }
                return Taken::Nothing;
            }
            (Found::Waiting, Some(waiting)) if waiting.until <= Instant::now() => (waiting.texts, waiting.meaning),
            (Found::Waiting, waiting) => {
                self.waiting = waiting;
                return Taken::Nothing;
            }
            (Found::Other(texts, meaning, patience), _) if patience.is_zero() => (Arc::new(texts), meaning),
            (Found::Other(texts, meaning, patience), before) => {
                let was_troubled = was_troubled || before.is_some_and(|before| before.was_troubled);
                let (texts, until) = (Arc::new(texts), Instant::now() + patience);
                self.waiting = Some(Waiting { texts, meaning, until, was_troubled });
                return Taken::Nothing;
            }
        };
        self.source.remark(&meaning, self.good.as_ref().map(|good| &good.meaning));
        self.good = Some(Good { texts, meaning, since });
        Taken::New
    }
}

/// The texts, once they stand still or are those that are `known`.
///
/// A pair that is half-written does not match, and so is not taken. A policy file that is written in place is empty first,
/// and an empty policy admits nobody: taken in that moment it would end every connection.
fn settled<S: Source>(source: &S, known: &S::Texts) -> Result<S::Texts, S::Error> {
    let mut texts = source.read(Some(known))?;
    for _ in 0..MOST_SETTLES {
        if texts == *known || !source.may_be_torn() {
            break;
        }
        std::thread::sleep(SETTLE);
        let again = source.read(Some(known))?;
        if again == texts {
            break;
        }
        texts = again;
    }
    Ok(texts)
}
