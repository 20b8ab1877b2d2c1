//! The access log entry of a connection whose task is dropped in the middle, as when the runtime goes before it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use vestibule::config::resolve::resolve;
use vestibule::config::sources::{Environment, Sources};
use vestibule::sidecar::Sidecar;
use vestibule::telemetry::{ACCESS_LOG_TARGET, FIELDS};

use crate::support::app::App;
use crate::support::client::connector;
use crate::support::credentials::Credentials;

/// Keeps the fields of every entry, by name.
#[derive(Default, Clone)]
struct Entries(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

impl<S: Subscriber> Layer<S> for Entries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == ACCESS_LOG_TARGET {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let known: Vec<_> = event.metadata().fields().iter().map(|field| field.name()).collect();
            let described = FIELDS.iter().map(|(name, _)| *name);
            assert_eq!(known, ["message"].into_iter().chain(described).collect::<Vec<_>>(), "the manual has them all");
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

#[test]
fn a_connection_whose_task_is_dropped_leaves_its_one_record_with_its_bytes() {
    let (credentials, app) = (Credentials::new(), App::start());
    let flags: Vec<(&str, OsString)> = vec![
        ("listen", "127.0.0.1:0".into()),
        ("app", app.addr().to_string().into()),
        ("app-ready", "off".into()),
        ("cert", credentials.cert().into()),
        ("key", credentials.key().into()),
        ("admin", "off".into()),
    ];
    let none = |_: &Path| Ok(String::new());
    let inputs =
        Sources { flags: &flags, environment: &Environment::new(), read_file: &none, starts_app: false, cpus: 1 };
    let config = resolve(&inputs).unwrap();

    let entries = Entries::default();
    let (tell, told) = mpsc::channel::<SocketAddr>();
    let (stop, stopped) = mpsc::channel::<()>();
    let proxy = std::thread::spawn({
        let entries = entries.clone();
        move || {
            let subscriber = tracing_subscriber::registry().with(entries);
            tracing::subscriber::with_default(subscriber, || {
                // One thread, which drops the tasks itself.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let sidecar = Sidecar::open(config).unwrap();
                    tell.send(sidecar.addresses().next().unwrap()).unwrap();
                    tokio::select! {
                        _ = sidecar.run() => panic!("nobody has asked it to end"),
                        done = tokio::task::spawn_blocking(move || stopped.recv()) => done.unwrap().unwrap(),
                    }
                });
                // No farewell: with the runtime every task is dropped where it stands.
                drop(runtime);
            });
        }
    });
    let addr = told.recv().unwrap();
    let mut client = crate::support::eventually("a pair", || connector(credentials.instance()).connect(addr).ok());
    let mut app_end = app.accept();
    client.send(&[1; 1234]).unwrap();
    app_end.read_exact(&mut [0; 1234]).unwrap();
    app_end.write_all(&[2; 567]).unwrap();
    client.receive(567).unwrap();
    stop.send(()).unwrap();
    proxy.join().unwrap();

    let peer = client.tcp.local_addr().unwrap().to_string();
    let entries = entries.0.lock().unwrap();
    let found: Vec<_> = entries.iter().filter(|entry| entry["client_addr"] == peer).collect();
    let [entry] = found[..] else { panic!("not one entry: {entries:#?}") };
    assert_eq!((entry["bytes_up"].as_str(), entry["bytes_down"].as_str()), ("1234", "567"));
    assert_eq!(entry["close_reason"], "drain_timeout");
}
