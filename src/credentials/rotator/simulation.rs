//! Two pairs whose files are torn, mismatched, removed and swapped, and what three listeners and a bare pair are served with.
//!
//! What is checked: what is served is always one whole pair that stood in the files, and the newest; a failure changes nothing; a
//! generation is for those alone for whom something is new, its number grows, and its number and its content agree wherever they are told.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use tempfile::TempDir;

use super::*;
use crate::config::{ClientAuthConfig, PairFiles, TlsSettings, TlsVersion};
use crate::credentials::SnapshotReceiver;
use crate::issuer::{CertificateAuthority, Credential, InstanceSpec, KeyKind, SubjectKey};
use crate::simulation::{SimulationRun, simulate, with_paused_time};

/// Pairs that are rotated between, each with a key of its own.
static PAIRS: LazyLock<Vec<Credential>> = LazyLock::new(|| {
    let authority = CertificateAuthority::generate(SystemTime::now()).unwrap();
    let issue = |_| {
        let key = SubjectKey::generate(KeyKind::P256).unwrap();
        authority.issue_with_key(&InstanceSpec::generate().unwrap(), &key, SystemTime::now()).unwrap()
    };
    (0..5).map(issue).collect()
});

/// What stands in a file: which of the pairs, or the beginning of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PairContent {
    Nothing,
    Whole(usize),
    Torn(usize),
}

/// The files of one pair.
#[derive(Debug)]
struct PairFolder {
    dir: TempDir,
    cert: PairContent,
    key: PairContent,
    /// Which pair is served, once one was.
    served: Option<usize>,
    generation: u64,
}

impl PairFolder {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self { dir, cert: PairContent::Nothing, key: PairContent::Nothing, served: None, generation: 0 }
    }

    fn files(&self) -> [PathBuf; 2] {
        ["instance.crt", "instance.key"].map(|name| self.dir.path().join(name))
    }

    fn source(&self) -> PairSource {
        let [cert, key] = self.files();
        PairSource::Files(PairFiles { cert, key })
    }

    fn write(&mut self, is_key: bool, content: PairContent, run: &mut SimulationRun) {
        let [cert, key] = self.files();
        let (path, place) = if is_key { (key, &mut self.key) } else { (cert, &mut self.cert) };
        *place = content;
        let text = |at: usize| if is_key { PAIRS[at].key_pem.as_bytes() } else { PAIRS[at].cert_pem.as_bytes() };
        match content {
            PairContent::Nothing => drop(fs::remove_file(path)),
            PairContent::Whole(at) => fs::write(path, text(at)).unwrap(),
            PairContent::Torn(at) => fs::write(path, &text(at)[..run.below(text(at).len())]).unwrap(),
        }
    }

    /// The pair that has to be served after a load; `None`: the one that was.
    fn good(&self) -> Option<usize> {
        match (self.cert, self.key) {
            (PairContent::Whole(cert), PairContent::Whole(key)) if cert == key => Some(cert),
            _ => None,
        }
    }
}

struct RotatorScene {
    rotator: Rotator,
    good: LastGoodSources,
    folders: [PairFolder; 2],
    /// Each with the folder of its pair.
    listeners: Vec<(usize, SnapshotReceiver)>,
}

impl RotatorScene {
    fn new() -> Self {
        let folders = [PairFolder::new(), PairFolder::new()];
        let mut rotator = Rotator::new(Arc::default());
        let newer = TlsSettings { min_version: TlsVersion::Tls13, ..TlsSettings::default() };
        let listeners = vec![
            (0, rotator.add_listener(&folders[0].source(), &TlsSettings::default(), &ClientAuthConfig::None)),
            (0, rotator.add_listener(&folders[0].source(), &newer, &ClientAuthConfig::None)),
            (1, rotator.add_listener(&folders[1].source(), &TlsSettings::default(), &ClientAuthConfig::None)),
        ];
        rotator.add_pair(&folders[1].source());
        let good = rotator.unloaded_sources();
        Self { rotator, good, folders, listeners }
    }

    /// One turn of the rotation.
    fn load(&mut self) {
        let generation = self.good.generation + 1;
        let loads: Vec<_> = self.good.pairs.iter().map(LastGood::load).collect();
        let mut is_new = false;
        for (last_good, load) in self.good.pairs.iter_mut().zip(loads) {
            is_new |= last_good.apply(load(), generation).is_new;
        }
        if is_new {
            self.rotator.publish(&mut self.good);
        }
    }

    fn judge(&mut self, run: &mut SimulationRun) {
        let shown = self.rotator.served_certificates.borrow().clone();
        for (at, folder) in self.folders.iter_mut().enumerate() {
            let source = folder.source();
            let served = shown.iter().find(|shown| shown.source == source);
            let Some(ServedCertificate { pair, generation, .. }) = served else {
                assert_eq!((folder.served, folder.good()), (None, None), "a pair is good, and none is served");
                continue;
            };
            let is = PAIRS.iter().position(|known| known.leaf == pair.leaf().as_ref());
            let is = is.expect("a pair that stood in the files");
            match folder.good() {
                Some(good) => assert_eq!(is, good, "what stands in the files is not served"),
                // What is cut behind the leaf, or behind all but an end of line, is a pair, if it stays so.
                None if folder.served != Some(is) => {
                    let is_of = |content| content == PairContent::Torn(is) || content == PairContent::Whole(is);
                    assert!(is_of(folder.cert) && is_of(folder.key), "{folder:?}, {is}");
                    run.saw("cut behind what is needed");
                }
                None => run.saw("the last good pair stays"),
            }
            if folder.served != Some(is) {
                run.saw("rotated");
                assert!(*generation > folder.generation, "a new pair has a new number");
            } else if *generation != folder.generation {
                // The same leaf, and its chain in another length.
                assert!(*generation > folder.generation);
            }
            (folder.served, folder.generation) = (Some(is), *generation);
            for (_, snapshots) in self.listeners.iter().filter(|(of, _)| *of == at) {
                let snapshot = snapshots.load().expect("nothing is served");
                assert_eq!(snapshot.generation, *generation, "another generation than the pair's");
                assert_eq!(*snapshots.generations().borrow(), *generation, "those who wait are told another number");
                let Ok(Client::Authenticated(own)) = Client::from_leaf(pair.leaf()) else { panic!("it has a name") };
                assert_eq!(snapshot.own.as_deref(), Some(&*own), "number and content disagree");
                assert!(snapshot.server_configs.is_some());
            }
        }
    }
}

#[test]
fn under_every_schedule_one_whole_pair_is_served_and_each_generation_is_what_it_says() {
    let report = simulate("rotation", 20_000, |run| {
        with_paused_time(async {
            let mut scene = RotatorScene::new();
            while run.goes_on() {
                let (which, is_key, at) = (run.below(2), run.once_in(2), run.below(PAIRS.len()));
                match run.below(8) {
                    0 => scene.folders[which].write(is_key, PairContent::Torn(at), run),
                    1 => scene.folders[which].write(is_key, PairContent::Nothing, run),
                    2 | 3 => scene.folders[which].write(is_key, PairContent::Whole(at), run),
                    4 => {
                        for is_key in [true, false] {
                            scene.folders[which].write(is_key, PairContent::Whole(at), run);
                        }
                    }
                    5 => tokio::time::advance(run.time(Duration::from_secs(3))).await,
                    _ => {
                        scene.load();
                        scene.judge(run);
                    }
                }
                let [one, other] = &scene.folders;
                run.step(format_args!("{:?} {:?}, {:?} {:?}", one.cert, one.key, other.cert, other.key));
            }
        });
    });
    report.has_seen(&["rotated", "the last good pair stays"]);
}
