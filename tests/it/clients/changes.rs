//! Rules, client CAs and certificates that change while clients are connected.

use super::*;

#[test]
fn a_rule_that_is_removed_ends_the_connections_that_it_admitted_and_no_others() {
    const IDLE: usize = 40;
    const BUSY: usize = 40;
    let backend = Backend::new();
    let apps: Vec<_> = (0..5).map(|_| someone()).collect();
    let rules = |apps: &[(InstanceSpec, Credential)]| -> String {
        let rules: Vec<_> = apps.iter().map(|(spec, _)| format!("'cf:app:{}'", spec.app)).collect();
        format!("allow = [{}]", rules.join(", "))
    };
    backend.write_policy(&rules(&apps));
    let sidecar = backend.before(app::echo()).arg("--policy").arg(backend.policy().to_str().unwrap()).ready();
    let connect = |pair: &Credential, n: usize| -> Vec<Client> {
        let connector = backend.connector_as(pair, &[&rustls::version::TLS13]);
        (0..n).map(|_| visit(&connector, &sidecar).unwrap()).collect()
    };
    let (removed, staying) = apps.split_first().unwrap();
    let mut idle: Vec<_> = staying.iter().flat_map(|(_, pair)| connect(pair, IDLE / 4)).collect();
    let busy: Vec<_> = staying.iter().map(|(_, pair)| connect(pair, BUSY / 4)).collect();
    let mut doomed = connect(&removed.1, IDLE + BUSY);
    let done = AtomicBool::new(false);

    std::thread::scope(|scope| {
        let traffic: Vec<_> = busy
            .into_iter()
            .map(|mut clients| {
                let done = &done;
                scope.spawn(move || {
                    let mut answers = 0;
                    while !done.load(Ordering::Relaxed) {
                        for client in &mut clients {
                            client.send(b"busy").unwrap();
                            assert_eq!(client.receive(4).unwrap(), b"busy");
                            answers += 1;
                        }
                    }
                    answers
                })
            })
            .collect();
        let began = Instant::now();
        backend.write_policy(&rules(staying));
        for client in &mut doomed {
            client.receive_all();
        }
        let took = began.elapsed();
        done.store(true, Ordering::Relaxed);
        // A second is promised, and a tenth is usual; here other tests want the same cores. After five the poll beside file events comes.
        assert!(took < Duration::from_secs(5), "{took:?}");
        for clients in traffic {
            assert!(clients.join().unwrap() > 0);
        }
    });
    for client in &mut idle {
        client.send(b"still here").unwrap();
        assert_eq!(client.receive(10).unwrap(), b"still here");
    }
    eventually("their entries", || {
        let changed = sidecar.reasons().iter().filter(|reason| *reason == "policy_changed").count();
        (changed == IDLE + BUSY).then_some(())
    });
    assert_eq!(
        alert(&backend.connector_as(&removed.1, &[&rustls::version::TLS13]), &sidecar),
        AlertDescription::AccessDenied
    );
}

#[test]
fn an_app_hears_an_end_of_file_when_its_client_must_go_and_its_last_answer_arrives() {
    let backend = Backend::new();
    let app = App::start();
    let (_, pair) = someone();
    backend.write_policy("allow = ['cf:any']");
    let sidecar = backend.before(app.addr()).arg("--policy").arg(backend.policy().to_str().unwrap()).ready();
    let mut client = backend.connector_as(&pair, &[&rustls::version::TLS13]).connect(sidecar.addr()).unwrap();
    let mut app_end = app.accept();
    client.send(b"question").unwrap();
    app_end.read_exact(&mut [0; 8]).unwrap();

    backend.write_policy("allow = []");
    assert_eq!(app_end.read(&mut [0; 1]).unwrap(), 0);
    app_end.write_all(b"answer").unwrap();
    drop(app_end);
    assert_eq!(client.receive_all(), (b"answer".to_vec(), Ending::CloseNotify));
}

#[test]
fn a_client_certificate_that_expires_ends_its_connection() {
    let backend = Backend::new();
    let (spec, _) = someone();
    let short = issue(&InstanceSpec { validity: Duration::from_secs(3), ..spec });
    let sidecar = backend.before(app::echo()).arg("--allow").arg("cf:any").ready();
    let mut client = visit(&backend.connector_as(&short, &[&rustls::version::TLS13]), &sidecar).unwrap();
    client.receive_all();
    drop(client);
    let entry = sidecar.access_log_entry("peer_expired");
    let lived = entry["duration_ms"].as_f64().unwrap();
    assert!(lived < 4500.0, "{lived} ms for a certificate of three seconds");
}

#[test]
fn a_resumed_session_is_judged_anew_and_an_old_ticket_is_worthless_after_a_change() {
    for version in BOTH {
        let backend = Backend::new();
        let (green, _) = (someone(), ());
        backend.write_policy("allow = ['cf:any']");
        let sidecar = backend.before(app::echo()).arg("--policy").arg(backend.policy().to_str().unwrap()).ready();
        let connector = backend.connector_as(&green.1, &[version]);
        drop(visit(&connector, &sidecar).unwrap());
        let client = visit(&connector, &sidecar).unwrap();
        assert_eq!(client.tls.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        drop(client);
        let entry = sidecar.wait_until("a resumed session", |line| line["resumed"] == true);
        assert_eq!(entry["verdict"], "permit", "a resumed session has been asked as well: {entry}");
        assert_eq!(entry["client_app"], green.0.app.to_string());

        backend.write_policy(&format!("allow = ['cf:any']\ndeny = ['cf:app:{}']", green.0.app));
        sidecar.wait_for("client CAs and rules reloaded");
        assert_eq!(alert(&connector, &sidecar), AlertDescription::AccessDenied);
    }
}

#[test]
fn a_broken_policy_file_leaves_the_last_good_one_in_force_and_says_so() {
    let backend = Backend::new();
    let (green, blue) = (someone(), someone());
    backend.write_policy(&format!("allow = ['cf:app:{}']", green.0.app));
    let sidecar = backend.before(app::echo()).arg("--policy").arg(backend.policy().to_str().unwrap()).ready();
    let live = visit(&backend.connector_as(&green.1, &BOTH), &sidecar).unwrap();

    backend.write_policy("allow = ['cf:ap:x', 'any']\nmod = 'enforce'");
    let line = sidecar.wait_until("a word about it", |line| {
        line["error"].as_str().is_some_and(|error| error.contains("cf:ap:x") && error.contains("policy.toml:2"))
    });
    assert_eq!(line["level"], "warn");
    visit(&backend.connector_as(&green.1, &BOTH), &sidecar).unwrap();
    assert_eq!(alert(&backend.connector_as(&blue.1, &BOTH), &sidecar), AlertDescription::AccessDenied);
    drop(live);
    fs::remove_file(backend.policy()).unwrap();
    sidecar.wait_until("a word about its absence", |line| {
        line["error"].as_str().is_some_and(|error| error.contains("no such file"))
    });
    assert_eq!(alert(&backend.connector_as(&blue.1, &BOTH), &sidecar), AlertDescription::AccessDenied);
}

#[test]
fn a_policy_file_that_is_written_in_place_admits_nobody_at_no_moment() {
    let backend = Backend::new();
    let (_, pair) = someone();
    fs::write(backend.policy(), "allow = ['cf:any']").unwrap();
    let sidecar = backend.before(app::echo()).arg("--policy").arg(backend.policy().to_str().unwrap()).ready();
    let mut client = visit(&backend.connector_as(&pair, &BOTH), &sidecar).unwrap();
    for i in 0..5 {
        let mut file = fs::File::create(backend.policy()).unwrap();
        // The file is empty, and a look is forced at it.
        sidecar.signal("HUP");
        file.write_all(format!("allow = ['cf:any', 'cn:{i}']").as_bytes()).unwrap();
        drop(file);
        eventually("the new rules", || (sidecar.lines_of("client CAs and rules reloaded").len() > i).then_some(()));
        client.send(b"here").unwrap();
        assert_eq!(client.receive(4).unwrap(), b"here");
    }
}

#[test]
fn client_cas_are_rotated_in_two_steps_without_a_restart() {
    let backend = Backend::new();
    let now = SystemTime::now();
    let next = CertificateAuthority::generate(now).unwrap();
    let (spec, old_pair) = someone();
    let new_pair = next.issue(&spec, now).unwrap();
    let sidecar = backend.before(app::echo()).arg("--allow").arg("cf:any").ready();
    let (old, new) = (backend.connector_as(&old_pair, &BOTH), backend.connector_as(&new_pair, &BOTH));
    visit(&old, &sidecar).unwrap();
    assert_eq!(alert(&new, &sidecar), AlertDescription::UnknownCA);

    let write = |text: &str| {
        let at = backend.files.path().join(".ca.next");
        fs::write(&at, text).unwrap();
        fs::rename(at, backend.ca()).unwrap();
    };
    write(&format!("{}{}", roots_pem(), next.roots_pem()));
    eventually("the new CA's clients", || visit(&new, &sidecar).ok());
    let mut survivor = visit(&new, &sidecar).unwrap();
    let mut doomed = visit(&old, &sidecar).unwrap();

    write(&next.roots_pem());
    doomed.receive_all();
    survivor.send(b"here").unwrap();
    assert_eq!(survivor.receive(4).unwrap(), b"here");
    assert_eq!(alert(&old, &sidecar), AlertDescription::UnknownCA);
    sidecar.access_log_entry("policy_changed");
}
