//! Files that together mean one thing: looked at as one, and kept as they were when they were last good.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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

    /// Reads the files.
    fn read(&self) -> Result<Self::Texts, Self::Error>;

    /// What `texts` mean.
    fn understand(&self, texts: &Self::Texts) -> Result<Self::Meaning, Self::Error>;

    /// Says what is odd about a meaning that is taken all the same.
    fn remark(&self, _meaning: &Self::Meaning) {}
}

/// A source, and what it meant when it was last good.
pub(super) struct Kept<S: Source> {
    pub(super) source: S,
    good: Option<Good<S>>,
    trouble: Trouble,
}

/// What a source meant when it was last good.
struct Good<S: Source> {
    texts: Arc<S::Texts>,
    meaning: S::Meaning,
    /// The generation in which it came.
    since: u64,
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

/// What a look has found; `None`: nothing new.
pub(super) type Found<S> = Result<Option<(<S as Source>::Texts, <S as Source>::Meaning)>, <S as Source>::Error>;

impl<S: Source> Kept<S> {
    pub(super) fn new(source: S) -> Self {
        Self { source, good: None, trouble: Trouble::default() }
    }

    /// What it meant when it was last good, and since which generation; `None` if it never was.
    pub(super) fn meaning(&self) -> Option<(&S::Meaning, u64)> {
        self.good.as_ref().map(|good| (&good.meaning, good.since))
    }

    /// Whether it is bad now.
    pub(super) fn is_troubled(&self) -> bool {
        !self.trouble.is_none()
    }

    /// A look at the files, which blocks.
    pub(super) fn look(&self) -> impl FnOnce() -> Found<S> + Send + use<S> {
        let (source, known) = (self.source.clone(), self.good.as_ref().map(|good| Arc::clone(&good.texts)));
        move || {
            let texts = source.read()?;
            let Some(known) = known else { return source.understand(&texts).map(|meaning| Some((texts, meaning))) };
            let Some(texts) = settled(&source, &known, texts)? else { return Ok(None) };
            source.understand(&texts).map(|meaning| Some((texts, meaning)))
        }
    }

    /// Takes what a look has found into the generation `since`. What was good stays until something better is found.
    pub(super) fn take(&mut self, found: Found<S>, since: u64) -> Taken {
        match found {
            Err(error) if self.trouble.note(&error, self.good.is_some()) => Taken::Failed,
            Err(_) => Taken::Nothing,
            Ok(fresh) => {
                self.trouble.is_over();
                let Some((texts, meaning)) = fresh else { return Taken::Nothing };
                self.source.remark(&meaning);
                self.good = Some(Good { texts: Arc::new(texts), meaning, since });
                Taken::New
            }
        }
    }
}

/// The texts, once they stand still; `None` if they are those that are `known`.
///
/// A pair that is half-written does not match, and so is not taken. A policy file that is written in place is empty first,
/// and an empty policy admits nobody: taken in that moment it would end every connection.
fn settled<S: Source>(source: &S, known: &S::Texts, mut texts: S::Texts) -> Result<Option<S::Texts>, S::Error> {
    for _ in 0..MOST_SETTLES {
        if texts == *known {
            return Ok(None);
        }
        if !source.may_be_torn() {
            break;
        }
        std::thread::sleep(SETTLE);
        let again = source.read()?;
        if again == texts {
            break;
        }
        texts = again;
    }
    Ok(Some(texts))
}
