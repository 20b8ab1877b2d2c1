//! A file that is torn, swapped, removed and put back in any order, and what of it is in service.
//!
//! What is checked: what is served is what stood in the file when it was read last; what takes something away counts only if it came by
//! a rename or has stood still; once there was something good there always is; what is not settled is looked at again; and once the
//! file is left alone, what stands in it is served.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::time::advance;

use super::*;
use crate::credentials::FileKind;
use crate::simulation::{SimulationRun, simulate, with_paused_time};

/// For how long what was written in place has to stand still if it says less.
const IN_PLACE: Duration = Duration::from_secs(3);

/// The same of another file that may not be whole.
const ANEW: Duration = Duration::from_secs(1);

/// What stands in the file: a set of items, or nothing that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SourceText {
    items: u8,
    inode: u32,
    by_rename: bool,
    is_sound: bool,
}

#[derive(Debug, Default)]
struct ModelFolder {
    /// `None`: there is no file.
    text: Option<SourceText>,
    /// What the writer does while the file is being looked at: a step between two reads.
    coming: VecDeque<Option<SourceText>>,
    /// What was read last.
    read: Option<SourceText>,
}

#[derive(Clone)]
struct ModelSource(Arc<Mutex<ModelFolder>>);

impl PartialEq for ModelSource {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// As it was read; the same if it says the same.
#[derive(Debug)]
struct ModelText(SourceText);

impl PartialEq for ModelText {
    fn eq(&self, other: &Self) -> bool {
        (self.0.items, self.0.is_sound) == (other.0.items, other.0.is_sound)
    }
}

impl ReloadSource for ModelSource {
    type Raw = ModelText;
    type Parsed = u8;
    type Error = &'static str;

    fn faults_of(&self, error: &&'static str) -> Vec<LoadFault> {
        vec![LoadFault { kind: FileKind::Policy, file: None, error: (*error).to_owned() }]
    }

    fn paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn settle_interval(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn read(&self, _: Option<&ModelText>) -> Result<ModelText, &'static str> {
        let mut folder = self.0.lock().unwrap();
        folder.read = folder.text;
        if let Some(next) = folder.coming.pop_front() {
            folder.text = next;
        }
        folder.read.map(ModelText).ok_or("no such file")
    }

    fn parse(&self, raw: &ModelText) -> Result<u8, &'static str> {
        if raw.0.is_sound { Ok(raw.0.items) } else { Err("an error") }
    }

    fn settle_time(&self, raw: &ModelText, items: &u8, before: &Previous<'_, Self>) -> Duration {
        let lacks = before.parsed & !items != 0;
        match lacks {
            false => Duration::ZERO,
            true if before.was_failing || raw.0.inode == before.raw.0.inode => IN_PLACE,
            true if raw.0.by_rename => Duration::ZERO,
            true => ANEW,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum SourceStep {
    Renamed,
    WrittenInPlace,
    WrittenAnew,
    Removed,
    PutBack,
    TimePasses,
    Loaded,
}

struct SourceScene {
    source: ModelSource,
    last_good: LastGood<ModelSource>,
    generation: u64,
    inode: u32,
    /// What was there before, to be put back.
    earlier: Vec<SourceText>,
    /// What the loads have found of late, and since when it was the same.
    found: Option<(SourceText, Instant)>,
    /// The last load has failed.
    has_failed: bool,
}

impl SourceScene {
    fn new() -> Self {
        let source = ModelSource(Arc::default());
        let last_good = LastGood::new(source.clone());
        Self { source, last_good, generation: 0, inode: 0, earlier: Vec::new(), found: None, has_failed: false }
    }

    fn now(&self) -> Option<SourceText> {
        let folder = self.source.0.lock().unwrap();
        folder.coming.back().copied().unwrap_or(folder.text)
    }

    /// The writer does these one after the other; some of it while the file is being looked at.
    fn write(&mut self, texts: Vec<Option<SourceText>>, run: &mut SimulationRun) {
        self.earlier.extend(texts.iter().flatten().filter(|text| text.by_rename));
        let mut folder = self.source.0.lock().unwrap();
        let at_once = run.below(texts.len() + 1);
        let rest: Vec<_> = folder.coming.drain(..).chain(texts).collect();
        for (at, text) in rest.into_iter().enumerate() {
            if at < at_once && folder.coming.is_empty() {
                folder.text = text;
            } else {
                folder.coming.push_back(text);
            }
        }
    }

    /// A text of `items` that is written in pieces into the file `inode`.
    fn pieces(items: u8, inode: u32, run: &mut SimulationRun) -> Vec<Option<SourceText>> {
        let text = |items, is_sound| Some(SourceText { items, inode, by_rename: false, is_sound });
        let mut pieces = vec![text(0, true)];
        for bit in 0..u8::BITS {
            let so_far = items & ((1 << bit) - 1) as u8;
            if run.once_in(3) {
                pieces.push(text(so_far, !run.once_in(3)));
            }
        }
        pieces.push(text(items, true));
        pieces
    }

    async fn take(&mut self, step: SourceStep, run: &mut SimulationRun) {
        let items = run.below(256) as u8;
        match step {
            SourceStep::Renamed => {
                self.inode += 1;
                let text = SourceText { items, inode: self.inode, by_rename: true, is_sound: !run.once_in(8) };
                self.write(vec![Some(text)], run);
            }
            SourceStep::WrittenInPlace => {
                let inode = self.now().map_or(self.inode + 1, |text| text.inode);
                self.inode = self.inode.max(inode);
                let pieces = Self::pieces(items, inode, run);
                self.write(pieces, run);
            }
            SourceStep::WrittenAnew => {
                self.inode += 1;
                let mut pieces = Self::pieces(items, self.inode, run);
                pieces.insert(0, None);
                self.write(pieces, run);
            }
            SourceStep::Removed => self.write(vec![None], run),
            SourceStep::PutBack => {
                let at = run.below(self.earlier.len());
                if let Some(text) = self.earlier.get(at).copied() {
                    self.inode += 1;
                    self.write(vec![Some(SourceText { inode: self.inode, ..text })], run);
                }
            }
            SourceStep::TimePasses => advance(run.time(Duration::from_secs(5))).await,
            SourceStep::Loaded => self.load(run).await,
        }
    }

    async fn load(&mut self, run: &mut SimulationRun) {
        let before = self.last_good.parsed().map(|(items, _)| *items);
        let load = self.last_good.load();
        if run.once_in(4) {
            advance(Duration::from_millis(5)).await;
        }
        let loaded = load();
        let failed = loaded.is_err();
        let read = self.source.0.lock().unwrap().read;
        let was_failing = self.has_failed;
        self.has_failed = failed;
        match (read.filter(|_| !failed), self.found) {
            (Some(read), Some((found, _))) if found.items == read.items && found.is_sound == read.is_sound => {}
            (Some(read), _) => self.found = Some((read, Instant::now())),
            (None, _) => self.found = None,
        }
        let Update { is_new, .. } = self.last_good.apply(loaded, self.generation + 1);
        let served = self.last_good.parsed().map(|(items, since)| (*items, since));
        if failed {
            run.saw("a failed load");
            assert!(!is_new && served.map(|(items, _)| items) == before, "a failure changes something");
            assert!(self.last_good.is_unsettled(), "nobody looks again");
            return;
        }
        let read = read.expect("it was read");
        let (served, since) = served.expect("something good was found");
        if is_new {
            self.generation += 1;
            assert_eq!((served, since), (read.items, self.generation), "it is not what stands there");
            if let Some(before) = before.filter(|before| before & !served != 0) {
                run.saw(if read.by_rename { "less by a rename" } else { "less in place" });
                let stood = self.found.expect("it was found").1.elapsed();
                let least = match () {
                    () if was_failing => IN_PLACE,
                    () if read.by_rename => Duration::ZERO,
                    () => ANEW,
                };
                assert!(stood >= least, "{before:b} becomes {served:b}, which has stood for {stood:?}");
            } else {
                run.saw("more or the first");
            }
        } else {
            assert_eq!(Some(served), before);
        }
        assert!(served == read.items || self.last_good.is_unsettled(), "nobody looks again");
        assert_eq!(self.last_good.failures().count(), 0, "it is good");
    }

    /// The writer is done: what stands there is served in the end.
    async fn finish(&mut self, run: &mut SimulationRun) {
        self.inode += 1;
        let text =
            SourceText { items: run.below(256) as u8, inode: self.inode, by_rename: run.once_in(2), is_sound: true };
        self.source.0.lock().unwrap().coming.clear();
        self.source.0.lock().unwrap().text = Some(text);
        self.load(run).await;
        let mut looks = 0;
        while self.last_good.is_unsettled() {
            assert!(looks < 40, "it never settles");
            looks += 1;
            advance(Duration::from_millis(100)).await;
            self.load(run).await;
        }
        assert_eq!(
            self.last_good.parsed().map(|(items, _)| *items),
            Some(text.items),
            "what stands there is not served"
        );
    }
}

#[test]
fn under_every_schedule_what_is_served_was_whole_and_nothing_is_taken_away_by_half_a_text() {
    let report = simulate("reload", 400_000, |run| {
        with_paused_time(async {
            let mut scene = SourceScene::new();
            let mut weights = vec![(8, SourceStep::Loaded), (1 + run.below(6), SourceStep::TimePasses)];
            for step in [
                SourceStep::Renamed,
                SourceStep::WrittenInPlace,
                SourceStep::WrittenAnew,
                SourceStep::Removed,
                SourceStep::PutBack,
            ] {
                weights.push((run.below(3), step));
            }
            while run.goes_on() {
                let step = run.pick(&weights);
                run.step(format_args!("{step:?}, {:?}", scene.source.0.lock().unwrap()));
                scene.take(step, run).await;
            }
            scene.finish(run).await;
        });
    });
    report.has_seen(&["a failed load", "less by a rename", "less in place", "more or the first"]);
}
