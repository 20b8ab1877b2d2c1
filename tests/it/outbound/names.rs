//! DNS, as outbound listeners see it: in a network of the test's own, with a server that says what the test wants.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use super::{Caller, app_guid, entry, outbound, say};
use crate::clients::Backend;
use crate::health::get;
use crate::support::client::Ending;
use crate::support::dns::{AAAA, Dns, Reply, in_a_network_of_its_own};
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

const NAME: &str = "backend.apps.internal";

/// A server on every address, so that each of 127.0.0.0/8 leads to it.
fn everywhere(backend: &Backend) -> Sidecar {
    Setup::command(&["proxy", "--listen", "0.0.0.0:0", "--app", &app::echo().to_string()])
        .credentials(&backend.credentials)
        .arg("--client-ca")
        .arg(backend.ca().to_str().unwrap())
        .arg("--allow")
        .arg("cf:any")
        .ready()
}

/// A sidecar that dials `name`, whoever of `expect` answers.
fn dialling(caller: &Caller, name: &str, port: u16, backend: &Backend) -> Sidecar {
    Setup::proxy(&caller.credentials, app::nobody())
        .arg("--outbound")
        .arg(&format!("0={name}:{port}"))
        .arg("--outbound-expect")
        .arg(&app_guid(backend))
        // The tests' certificates have the instance's name.
        .arg("--outbound-server-name")
        .arg(backend.credentials.instance())
        .env("VESTIBULE_ADMIN", "127.0.0.1:0")
        .ready()
}

fn four(nth: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, u8::try_from(1 + nth / 250).unwrap(), u8::try_from(1 + nth % 250).unwrap()).into()
}

fn endpoints(sidecar: &Sidecar) -> usize {
    let admin: SocketAddr = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
    let metrics = get(admin, "/metrics").1;
    let states = metrics.lines().filter(|line| line.starts_with("vestibule_outbound_endpoints{"));
    states.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

#[test]
fn all_addresses_are_known_however_many_there_are() {
    if !in_a_network_of_its_own("outbound::names::all_addresses_are_known_however_many_there_are", "") {
        return;
    }
    let (caller, backend, dns) = (Caller::new(), Backend::new(), Dns::start());
    let serving = everywhere(&backend);
    for n in [1, 29, 60, 500] {
        dns.say(NAME, Reply::Addresses((0..n).map(four).collect(), 0));
        let sidecar = dialling(&caller, NAME, serving.addr().port(), &backend);
        assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin), "{n}");
        assert_eq!(endpoints(&sidecar), n);
    }
    assert!(dns.asked().iter().any(|(_, _, by_tcp)| *by_tcp), "500 addresses do not fit into a datagram");
    let completed = || serving.reasons().iter().filter(|reason| *reason == "completed").count();
    eventually("an entry of each", || (completed() == 4).then_some(()));
}

#[test]
fn both_families_are_asked_for_and_a_name_with_a_dot_is_asked_as_it_stands_first() {
    let here = "outbound::names::both_families_are_asked_for_and_a_name_with_a_dot_is_asked_as_it_stands_first";
    if !in_a_network_of_its_own(here, "search a.example b.example\noptions ndots:5") {
        return;
    }
    let (caller, backend, dns) = (Caller::new(), Backend::new(), Dns::start());
    let serving = everywhere(&backend);
    dns.say(NAME, Reply::Addresses(vec![four(0), Ipv6Addr::LOCALHOST.into()], 300));
    let sidecar = dialling(&caller, NAME, serving.addr().port(), &backend);
    // ::1 refuses: the other family is tried.
    for _ in 0..4 {
        assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    }
    assert_eq!(endpoints(&sidecar), 2);
    let mut asked = dns.asked();
    asked.sort();
    asked.dedup();
    assert_eq!(asked, [(NAME.to_owned(), 1, false), (NAME.to_owned(), 28, false)], "and nothing of the search list");

    // One without a dot is looked for in the list, and an alias is followed.
    dns.say("backend.b.example", Reply::Alias(NAME.to_owned()));
    let sidecar = dialling(&caller, "backend", serving.addr().port(), &backend);
    assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    let asked: Vec<_> = dns.asked().into_iter().filter(|(_, kind, _)| *kind == 1).map(|(name, ..)| name).collect();
    assert!(asked.iter().any(|name| name == "backend.a.example"), "{asked:?}");
}

#[test]
fn no_data_empties_the_set_and_a_failure_keeps_it() {
    if !in_a_network_of_its_own("outbound::names::no_data_empties_the_set_and_a_failure_keeps_it", "") {
        return;
    }
    let (caller, backend, dns) = (Caller::new(), Backend::new(), Dns::start());
    let serving = everywhere(&backend);
    dns.say(NAME, Reply::Addresses(vec![four(0), four(1)], 0));
    let sidecar = dialling(&caller, NAME, serving.addr().port(), &backend);
    let addr = outbound(&sidecar);
    let mut open = TcpStream::connect(addr).unwrap();
    open.write_all(b"a").unwrap();
    open.read_exact(&mut [0; 1]).unwrap();

    let admin: SocketAddr = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
    let lookup_error = || {
        let status: serde_json::Value = serde_json::from_str(&get(admin, "/status.json").1).unwrap();
        let outbound = &status["outbounds"][0];
        assert_eq!(outbound["lookup_error"].is_null(), outbound["lookup_failing_since"].is_null());
        outbound["lookup_error"].as_str().map(ToOwned::to_owned)
    };
    assert_eq!(lookup_error(), None);
    for (reply, after) in [(Reply::ServFail, 2), (Reply::Silence, 2), (Reply::NoData, 0)] {
        let before = dns.times(NAME);
        dns.say(NAME, reply);
        eventually("the next lookup", || (dns.times(NAME) > before + 1).then_some(()));
        eventually("what is said of it", || (lookup_error().is_some() == (after > 0)).then_some(()));
        let old = get(admin, "/readyz?verbose").1.contains("as last known: it cannot be looked up now");
        assert_eq!(old, after > 0);
        eventually("what comes of it", || (endpoints(&sidecar) == after).then_some(()));
        let expected = if after == 0 { (vec![], Ending::Reset) } else { (b"x".to_vec(), Ending::Fin) };
        assert_eq!(say(addr, b"x"), expected);
    }
    assert!(entry(&sidecar, "no_endpoint")["detail"].as_str().unwrap().contains("has no address"));
    sidecar.wait_until("the warning", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("name lookup failed"))
    });
    // What is open goes on.
    open.write_all(b"b").unwrap();
    open.read_exact(&mut [0; 1]).unwrap();
    // And it comes back.
    dns.say(NAME, Reply::Addresses(vec![four(2)], 0));
    eventually("the new one", || (endpoints(&sidecar) == 1).then_some(()));
    assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
    // That nobody was left, and that somebody is there again, was said once each.
    let again = sidecar.wait_for("endpoints found again");
    assert_eq!((&again["level"], &again["endpoints"]), (&"info".into(), &1.into()));
    let lines = sidecar.lines();
    let left =
        |line: &&serde_json::Value| line["message"].as_str().is_some_and(|said| said.starts_with("no endpoint left"));
    let warned: Vec<_> = lines.iter().filter(left).collect();
    assert_eq!((warned.len(), &warned[0]["level"]), (1, &"warn".into()), "{warned:?}");
    let error = warned[0]["error"].as_str().unwrap();
    assert!(error.contains(NAME) && error.contains("has no address; see whether the server is started"), "{error}");
}

#[test]
fn a_name_that_could_never_be_looked_up_is_a_reset_with_its_reason_and_the_start_goes_on() {
    let here = "outbound::names::a_name_that_could_never_be_looked_up_is_a_reset_with_its_reason_and_the_start_goes_on";
    if !in_a_network_of_its_own(here, "") {
        return;
    }
    let (caller, backend, dns) = (Caller::new(), Backend::new(), Dns::start());
    let serving = everywhere(&backend);
    dns.say(NAME, Reply::ServFail);
    let sidecar = dialling(&caller, NAME, serving.addr().port(), &backend);
    assert_eq!(say(outbound(&sidecar), b"x"), (vec![], Ending::Reset));
    let failed = entry(&sidecar, "resolve_failed");
    assert!(failed["detail"].as_str().unwrap().contains(NAME), "{failed}");
    // A name that does not exist is another thing.
    let sidecar = dialling(&caller, "nobody.apps.internal", serving.addr().port(), &backend);
    assert_eq!(say(outbound(&sidecar), b"x"), (vec![], Ending::Reset));
    entry(&sidecar, "no_endpoint");
    // As soon as there is an answer it is served.
    dns.say("nobody.apps.internal", Reply::Addresses(vec![four(0)], 0));
    eventually("the answer", || (endpoints(&sidecar) == 1).then_some(()));
    assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
}

#[test]
fn an_address_that_another_app_has_got_meanwhile_gets_no_byte() {
    let here = "outbound::names::an_address_that_another_app_has_got_meanwhile_gets_no_byte";
    if !in_a_network_of_its_own(here, "") {
        return;
    }
    let (caller, backend, stranger, dns) = (Caller::new(), Backend::new(), Backend::new(), Dns::start());
    let another = everywhere(&stranger);
    dns.say(NAME, Reply::Addresses(vec![four(0)], 0));
    let sidecar = Setup::proxy(&caller.credentials, app::nobody())
        .arg("--outbound")
        .arg(&format!("0={NAME}:{}", another.addr().port()))
        .arg("--outbound-expect")
        .arg(&app_guid(&backend))
        .arg("--outbound-server-name")
        .arg(stranger.credentials.instance())
        .ready();
    assert_eq!(say(outbound(&sidecar), b"secret"), (vec![], Ending::Reset));
    let refused = entry(&sidecar, "unexpected_identity");
    assert_eq!(refused["server_app"], stranger.credentials.spec.app.to_string());
    assert_eq!(another.access_log_entry("handshake_failed")["bytes_up"], 0);
    // The failure has the name looked up anew, long before its time.
    let before = dns.times(NAME);
    eventually("another lookup", || (dns.times(NAME) > before).then_some(()));
}

#[test]
fn aliases_without_an_end_are_a_failure_which_keeps_what_was_known() {
    let here = "outbound::names::aliases_without_an_end_are_a_failure_which_keeps_what_was_known";
    if !in_a_network_of_its_own(here, "") {
        return;
    }
    let (caller, backend, dns) = (Caller::new(), Backend::new(), Dns::start());
    let serving = everywhere(&backend);
    dns.say(NAME, Reply::Addresses(vec![four(0)], 0));
    let sidecar = dialling(&caller, NAME, serving.addr().port(), &backend);
    let addr = outbound(&sidecar);
    assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
    let steps = (0..20).map(|nth| (format!("step{nth}.example"), format!("step{}.example", nth + 1)));
    for (name, alias) in steps {
        dns.say(&name, Reply::Alias(alias));
    }
    dns.say("other.example", Reply::Alias(NAME.to_owned()));
    let recovered = || sidecar.lines_of("name lookup recovered").len();
    for (nth, (alias, why)) in [("other.example", "in a circle"), ("step0.example", "no end")].into_iter().enumerate() {
        dns.say(NAME, Reply::Alias(alias.to_owned()));
        sidecar.wait_until("the warning", |line| {
            let error = line["error"].as_str().unwrap_or_default();
            error.starts_with(NAME) && error.contains(why)
        });
        assert_eq!(endpoints(&sidecar), 1);
        assert_eq!(say(addr, b"x"), (b"x".to_vec(), Ending::Fin));
        dns.say(NAME, Reply::Addresses(vec![four(0)], 0));
        eventually("the recovery", || (recovered() == nth + 1).then_some(()));
    }
    // An alias of a name without an address has none.
    dns.say("empty.example", Reply::NoData);
    dns.say(NAME, Reply::Alias("empty.example".to_owned()));
    eventually("nobody", || (endpoints(&sidecar) == 0).then_some(()));
}

#[test]
fn a_family_of_which_nobody_can_say_anything_keeps_its_addresses() {
    let here = "outbound::names::a_family_of_which_nobody_can_say_anything_keeps_its_addresses";
    if !in_a_network_of_its_own(here, "") {
        return;
    }
    let (caller, backend, dns) = (Caller::new(), Backend::new(), Dns::start());
    let serving = everywhere(&backend);
    dns.say(NAME, Reply::Addresses(vec![four(0), Ipv6Addr::LOCALHOST.into()], 0));
    let sidecar = dialling(&caller, NAME, serving.addr().port(), &backend);
    eventually("both", || (endpoints(&sidecar) == 2).then_some(()));
    dns.say(NAME, Reply::HalfFailed(vec![four(0), four(1)], AAAA));
    eventually("one more", || (endpoints(&sidecar) == 3).then_some(()));
    dns.say(NAME, Reply::Addresses(vec![four(1)], 0));
    eventually("those that are left", || (endpoints(&sidecar) == 1).then_some(()));
}

/// A sidecar that dials all of `names`, whoever of `expect` answers.
fn dialling_all(caller: &Caller, names: &[&str], port: u16, backend: &Backend) -> Sidecar {
    let to: Vec<_> = names.iter().map(|name| format!("\"{name}:{port}\"")).collect();
    let text = format!(
        "[[outbound]]\nlisten = 0\nto = [{}]\nexpect = \"{}\"\nserver-name = \"{}\"\n",
        to.join(", "),
        app_guid(backend),
        backend.credentials.instance(),
    );
    let file = caller.credentials.dir().join("vestibule.toml");
    std::fs::write(&file, text).unwrap();
    Setup::proxy(&caller.credentials, app::nobody())
        .arg("--config")
        .arg(file.to_str().unwrap())
        .env("VESTIBULE_ADMIN", "127.0.0.1:0")
        .ready()
}

#[test]
fn a_name_that_nobody_answers_keeps_no_other_of_its_listener_waiting() {
    let here = "outbound::names::a_name_that_nobody_answers_keeps_no_other_of_its_listener_waiting";
    if !in_a_network_of_its_own(here, "") {
        return;
    }
    let (caller, backend, dns) = (Caller::new(), Backend::new(), Dns::start());
    let serving = everywhere(&backend);
    let dead = ["one.example", "two.example", "three.example"];
    for name in dead {
        dns.say(name, Reply::Silence);
    }
    dns.say(NAME, Reply::Addresses(vec![four(0)], 0));
    let sidecar = dialling_all(&caller, &[dead[0], dead[1], dead[2], NAME], serving.addr().port(), &backend);
    // The first connection is served, though two tries of a second each go by before anybody knows of the others.
    assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    // So is each later lookup: while the others are asked, a change is seen.
    dns.say(NAME, Reply::Addresses(vec![four(0), four(1)], 0));
    eventually("another one", || (endpoints(&sidecar) == 2).then_some(()));
    // Each is named once.
    for name in dead {
        sidecar.wait_until("its warning", |line| line["error"].as_str().is_some_and(|error| error.starts_with(name)));
    }
    let asked = dns.times(dead[0]);
    eventually("another try", || (dns.times(dead[0]) > asked + 2).then_some(()));
    let warned = |line: &serde_json::Value| line["error"].as_str().is_some_and(|error| error.starts_with(dead[0]));
    assert_eq!(sidecar.lines().into_iter().filter(warned).count(), 1);
    dns.say(dead[0], Reply::Addresses(vec![four(2)], 0));
    let recovered = sidecar.wait_for("name lookup recovered");
    assert_eq!(recovered["name"], dead[0]);
    eventually("a third one", || (endpoints(&sidecar) == 3).then_some(()));
}

#[test]
fn what_is_wrong_in_resolv_conf_is_passed_over_and_named_once() {
    let here = "outbound::names::what_is_wrong_in_resolv_conf_is_passed_over_and_named_once";
    if !in_a_network_of_its_own(here, "nameserver none\nsearch .svc.cluster.local a..b found.example") {
        return;
    }
    let (caller, backend, dns) = (Caller::new(), Backend::new(), Dns::start());
    let serving = everywhere(&backend);
    dns.say(NAME, Reply::Addresses(vec![four(0)], 0));
    dns.say("backend.found.example", Reply::Addresses(vec![four(1)], 0));
    for name in [NAME, "backend"] {
        let sidecar = dialling(&caller, name, serving.addr().port(), &backend);
        assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin), "{name}");
        let asked = dns.times(NAME);
        if name == NAME {
            eventually("another lookup", || (dns.times(NAME) > asked).then_some(()));
        }
        let told: Vec<_> = sidecar.lines().into_iter().filter(|line| line["path"] == "/etc/resolv.conf").collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["error"], "line 2: \"none\" is no address of a DNS server");
    }
}
