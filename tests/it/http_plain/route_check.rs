//! `check --route`: whether the router in front of us lets anybody be anybody.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use super::{ask, plain};
use crate::clients::Backend;
use crate::support::http_app::HttpApp;
use crate::support::sidecar::{Setup, VESTIBULE};

/// A router in front of `to` that passes the head of each request as `pass` has it.
fn router(to: SocketAddr, pass: fn(&str) -> String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut client, mut server) = (stream.unwrap(), TcpStream::connect(to).unwrap());
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if !matches!(client.read(&mut byte), Ok(1)) {
                        return;
                    }
                    head.push(byte[0]);
                }
                server.write_all(pass(std::str::from_utf8(&head).unwrap()).as_bytes()).unwrap();
                // Its end is the answer's.
                let _ = std::io::copy(&mut server, &mut client);
            });
        }
    });
    addr
}

/// The head without the lines of a field.
fn without(head: &str, name: &str) -> String {
    head.split_inclusive("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with(name)).collect()
}

/// What is found about the route, and the status.
fn check(url: &str, more: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(VESTIBULE);
    let args = ["check", "--listen", "127.0.0.1:0", "--app", "127.0.0.1:1", "--tls", "off", "--mode", "http"];
    command.args(args).args(["--router-xfcc", "sanitize-set", "--allow", "anonymous", "--route", url]).args(more);
    let output = command.env_clear().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found = text.lines().filter(|line| line.split_whitespace().nth(1) == Some("route"));
    (found.filter(|line| !line.starts_with("see ")).collect::<Vec<_>>().join("\n"), output.status.code())
}

#[test]
fn a_router_that_passes_what_clients_write_is_a_problem_and_one_that_does_not_is_none() {
    let app = HttpApp::saying("hello");
    let sidecar = plain(app.addr()).arg("--allow").arg("any,anonymous").start();
    let at = |addr: SocketAddr| format!("http://{addr}");

    let passing = at(router(sidecar.addr(), str::to_owned));
    let (found, status) = check(&passing, &[]);
    let expected =
        format!("problem  route         {passing}: the router passes what clients send in X-Forwarded-Client-Cert");
    assert!(found.starts_with(&expected) && found.contains("sanitize_set") && status == Some(1), "{found} {status:?}");

    let removing = at(router(sidecar.addr(), |head| without(head, "x-forwarded-client-cert")));
    let (found, status) = check(&removing, &[]);
    let expected = format!(
        "ok       route         {removing}: what clients without a certificate send in X-Forwarded-Client-Cert is removed on the way"
    );
    assert_eq!((found, status), (expected, Some(0)));

    let replacing = at(router(sidecar.addr(), |head| {
        without(head, "x-forwarded-client-cert").replacen("\r\n", "\r\nX-Forwarded-Client-Cert: Hash=00\r\n", 1)
    }));
    let (found, status) = check(&format!("{replacing}/some/path"), &[]);
    assert!(found.starts_with("ok ") && found.contains("is replaced on the way") && status == Some(0), "{found}");

    assert!(app.asked().is_empty(), "the app hears of none of it");
    let details: Vec<_> = sidecar.lines_eventually("request completed", 3);
    assert!(details.iter().all(|entry| entry["reason"] == "route_check" && entry["status"] == 400), "{details:?}");
    assert!(details[0]["detail"].as_str().unwrap().ends_with("passed"), "{}", details[0]);
    assert_eq!(details[2]["path"], "/some/path");
}

#[test]
fn where_nobody_answers_who_believes_the_router_nothing_is_said_of_it() {
    let app = HttpApp::saying("hello");
    let (found, status) = check(&format!("http://{}", app.addr()), &[]);
    assert!(
        found.starts_with("warning  route") && found.contains("status 200 does not come from a Vestibule"),
        "{found}"
    );
    assert_eq!(status, Some(0));
    let asked = &app.asked()[0].head;
    assert!(
        asked.starts_with("GET / HTTP/1.1\r\n") && asked.to_ascii_lowercase().contains("vestibule-route-check: "),
        "{asked}"
    );

    // A listener with TLS believes no client but those that are named.
    let backend = Backend::new();
    let sidecar = backend.before(app.addr()).arg("--mode").arg("http").arg("--client-auth").arg("request");
    let sidecar = Setup::arg(sidecar, "--allow").arg("any,anonymous").ready();
    let url = format!("https://{}", sidecar.addr());
    let ca = backend.ca().display().to_string();
    let (found, _) = check(&url, &["--route-ca", &ca]);
    assert!(found.contains("status 200 does not come from a Vestibule"), "{found}");
    let (found, _) = check(&url, &["--route-ca", "/nowhere/ca.crt"]);
    assert!(found.starts_with("problem  route") && found.contains("/nowhere/ca.crt"), "{found}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (found, _) = check(&format!("http://{closed}"), &[]);
    assert!(found.starts_with("warning  route") && found.contains("nothing can be said of the router"), "{found}");
}

#[test]
fn strangers_who_ask_the_same_learn_no_more_and_get_no_further() {
    let app = HttpApp::saying("hello");
    let sidecar = plain(app.addr()).arg("--allow").arg("any,anonymous").start();
    let number = "0123456789abcdef0123456789abcdef";
    let (status, answer) = ask(sidecar.addr(), &format!("Vestibule-Route-Check: {number}\r\n"));
    assert!(status == 400 && answer.contains(&format!("vestibule-route-check: {number} removed\r\n")), "{answer}");
    // What is no question is a request, and the mark is no identity.
    assert_eq!(ask(sidecar.addr(), "Vestibule-Route-Check: x\r\n").0, 200);
    let (status, answer) = ask(sidecar.addr(), &format!("X-Forwarded-Client-Cert: vestibule-route-check/{number}\r\n"));
    assert!(status == 400 && answer.contains("xfcc_invalid") && !answer.contains("vestibule-route-check"), "{answer}");
    assert_eq!(app.asked().len(), 1);
}
