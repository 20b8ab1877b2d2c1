use super::*;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::config::{CredentialFile, CredentialForm, PairFiles, PairSource, TokenFile};
use crate::credentials::Pair;
use crate::crypto::provider;
use crate::issuer::{CertificateAuthority, Credential, InstanceSpec, KeyKind};
use crate::telemetry::AppFileForm;

/// For a fact to come true.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A folder with a key file in it, and the pairs that are served.
struct WriterFixture {
    folder: TempDir,
    authority: CertificateAuthority,
    spec: InstanceSpec,
    served: watch::Sender<Vec<ServedCertificate>>,
    counters: Arc<AppFileCounters>,
    in_place: watch::Receiver<Option<WrittenGeneration>>,
}

impl WriterFixture {
    /// With a writer that runs.
    fn start(config: impl FnOnce(&Path) -> AppFiles) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let served = watch::Sender::default();
        let counters = Arc::new(AppFileCounters::new(&config));
        let writer = AppFileWriter::new(&config, served.subscribe(), Arc::clone(&counters));
        let in_place = writer.in_place();
        tokio::spawn(writer.run());
        let authority = CertificateAuthority::generate(SystemTime::now()).unwrap();
        let spec = InstanceSpec { key: KeyKind::P256, ..InstanceSpec::generate().unwrap() };
        Self { folder, authority, spec, served, counters, in_place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self) -> Credential {
        self.authority.issue(&self.spec, SystemTime::now()).unwrap()
    }

    /// Has `credential` served, whose key is in its file.
    fn serve(&self, credential: &Credential, generation: u64) {
        fs::write(self.path("key"), &credential.key_pem).unwrap();
        let (cert, key) = (credential.cert_pem.as_bytes(), credential.key_pem.as_bytes());
        let pair = Pair::from_pem(cert, key, &provider()).unwrap();
        let source = PairSource::Files(PairFiles { cert: self.path("cert"), key: self.path("key") });
        self.served.send_replace(vec![ServedCertificate { source, pair, generation, since: SystemTime::now() }]);
    }

    /// Waits until all files of this generation are in place.
    async fn in_place(&mut self, generation: u64) -> WrittenGeneration {
        let is_there =
            |in_place: &Option<WrittenGeneration>| in_place.is_some_and(|in_place| in_place.generation == generation);
        let waited = tokio::time::timeout(TIMEOUT, self.in_place.wait_for(is_there)).await;
        waited.expect("in time").unwrap().unwrap()
    }
}

async fn eventually<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn token(path: PathBuf, ttl: u64) -> AppFiles {
    let tokens = vec![TokenFile { audience: "a".to_owned(), path }];
    AppFiles { tokens, token_ttl: Duration::from_secs(ttl), ..AppFiles::default() }
}

fn credential(form: CredentialForm, path: PathBuf) -> CredentialFile {
    CredentialFile { form, path }
}

#[tokio::test]
async fn a_token_is_replaced_before_its_end_and_comes_back_if_somebody_deletes_it() {
    let mut scene = WriterFixture::start(|folder| token(folder.join("token"), 2));
    scene.serve(&scene.issue(), 1);
    let in_place = scene.in_place(1).await;
    assert!(in_place.is_first);
    let path = scene.path("token");
    let first = fs::read_to_string(&path).unwrap();
    let read = || fs::read_to_string(&path).ok();
    eventually("another token", || read().filter(|token| *token != first)).await;
    fs::remove_file(&path).unwrap();
    eventually("the file again", read).await;
    assert_eq!(scene.counters.files(AppFileForm::Token).1, 0, "a file that is gone is no failure");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_holds_up_no_other_one_but_whoever_waits_for_all() {
    let mut scene = WriterFixture::start(|folder| AppFiles {
        credentials: vec![
            credential(CredentialForm::Pkcs8, folder.join("not/there/key")),
            credential(CredentialForm::Pem, folder.join("chain")),
        ],
        ..token(folder.join("token"), 300)
    });
    let credential = scene.issue();
    scene.serve(&credential, 1);
    eventually("the others", || (scene.path("chain").exists() && scene.path("token").exists()).then_some(())).await;
    eventually("the failure", || {
        (scene.counters.files(AppFileForm::Credential(CredentialForm::Pkcs8)).1 > 0).then_some(())
    })
    .await;
    assert_eq!(*scene.in_place.borrow(), None);
    let state = scene.counters.states()[0].clone();
    assert_eq!((state.generation, state.error.as_deref()), (None, Some("its folder does not exist; make it")));
    fs::create_dir_all(scene.path("not/there")).unwrap();
    scene.in_place(1).await;
    assert_eq!(scene.counters.states()[0].error, None);
    let written = fs::read(scene.path("not/there/key")).unwrap();
    Pair::from_pem(credential.cert_pem.as_bytes(), &written, &provider()).unwrap();
}

#[tokio::test]
async fn a_key_that_is_another_pairs_by_now_is_not_written_until_it_is_this_ones() {
    let mut scene = WriterFixture::start(|folder| AppFiles {
        credentials: vec![credential(CredentialForm::Pem, folder.join("pem"))],
        ..AppFiles::default()
    });
    let (first, other) = (scene.issue(), scene.issue());
    scene.serve(&first, 1);
    scene.in_place(1).await;
    let before = fs::read(scene.path("pem")).unwrap();
    scene.serve(&scene.issue(), 2);
    fs::write(scene.path("key"), &other.key_pem).unwrap();
    // A generation that lasts for a moment only, as between two renames.
    scene.serve(&other, 3);
    assert!(!scene.in_place(3).await.is_first);
    let after = fs::read(scene.path("pem")).unwrap();
    assert_ne!(before, after);
    Pair::from_pem(&after, &after, &provider()).unwrap();
}

#[tokio::test]
async fn at_retirement_nothing_is_written_and_what_there_is_stays() {
    let mut scene = WriterFixture::start(|folder| AppFiles {
        credentials: vec![credential(CredentialForm::Pem, folder.join("pem"))],
        ..token(folder.join("token"), 1)
    });
    scene.serve(&scene.issue(), 1);
    scene.in_place(1).await;
    let retirement = InstanceSpec { instance: None, ..scene.spec.clone() };
    scene.serve(&scene.authority.issue(&retirement, SystemTime::now()).unwrap(), 2);
    let gone = tokio::time::timeout(TIMEOUT, scene.in_place.wait_for(Option::is_none)).await;
    gone.expect("in time").unwrap();
    let pem = fs::read(scene.path("pem")).unwrap();
    let counted = scene.counters.files(AppFileForm::Token);
    // A token of one second would have been replaced more than once.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.counters.files(AppFileForm::Token), counted);
    assert_eq!(fs::read(scene.path("pem")).unwrap(), pem);
    scene.serve(&scene.issue(), 3);
    assert!(!scene.in_place(3).await.is_first);
    assert_ne!(fs::read(scene.path("pem")).unwrap(), pem);
}
