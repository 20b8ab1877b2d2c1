//! Routes in the configuration file: for all listeners, and for one.

use super::super::options::Table;
use super::super::reader::OptionReader;
use super::*;

const CA: &str = "/etc/cf-system-certificates";

fn platform(file: &str) -> ConfigInput {
    nothing().variable("CF_SYSTEM_CERT_PATH", CA).file(file)
}

/// Who may come in by each listener of the file, where listeners read requests; or what is wrong.
fn clients(typed: &ConfigInput) -> Result<Vec<ClientAuthConfig>, Vec<String>> {
    typed.read(|inputs| {
        let mut reader = OptionReader::new(inputs);
        let sections: Vec<_> = reader.sources.sections(Table::Listener).cloned().collect();
        let all = reader.sources.clone();
        let read: Vec<_> = match sections.as_slice() {
            [] => vec![reader.clients(true)],
            sections => sections
                .iter()
                .map(|section| {
                    reader.sources = all.within(section);
                    reader.clients(true)
                })
                .collect(),
        };
        let wrong: Vec<String> = reader.diagnostics.iter().map(ToString::to_string).collect();
        if wrong.is_empty() { Ok(read.into_iter().map(Result::unwrap).collect()) } else { Err(wrong) }
    })
}

/// The routes of each listener, as they are shown; `-`: no certificate is asked for.
fn routes(file: &str) -> Vec<String> {
    let shown = |clients: ClientAuthConfig| match clients {
        ClientAuthConfig::Files(certified) => {
            certified.routes.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        ClientAuthConfig::None | ClientAuthConfig::ValidationContext(_) => "-".to_owned(),
    };
    clients(&platform(file)).unwrap().into_iter().map(shown).collect()
}

#[test]
fn routes_are_for_all_listeners_but_those_that_have_their_own() {
    let all = "[[route]]\npath = '/a'\nallow = ['any']\n[[route]]\npath = '/b'\nallow = ['any']\n";
    let own = "[[listener.route]]\npath = '/c'\nexact = true\nmethods = ['GET']\nallow = ['any']\n";
    assert_eq!(routes(all), ["/a /b"]);
    let file =
        format!("{all}[[listener]]\nlisten = 1\n[[listener]]\nlisten = 2\n{own}[[listener]]\nclient-auth = 'off'\n");
    assert_eq!(routes(&file), ["/a /b", "GET exact /c", "-"]);
}

#[test]
fn a_route_is_rule_enough_and_a_certificate_is_required_unless_a_route_is_for_the_anonymous() {
    let file = "[[route]]\npath = '/a'\nallow = ['anonymous']\n";
    let ClientAuthConfig::Files(certified) = clients(&platform(file)).unwrap().remove(0) else {
        panic!("no certificate")
    };
    // What stands in the policy file may be for the anonymous later, so that it is the rules in force that require it.
    assert!(!certified.required && certified.allow.is_empty() && !certified.any_implied);
    assert_eq!(certified.ca, [PathBuf::from(CA)]);

    let typed = platform(file).flag("client-auth", "require");
    let anonymous =
        "nobody is anonymous where a certificate is required; add --client-auth request, or take the rule out";
    assert_eq!(clients(&typed).unwrap_err(), [format!("v.toml:1: route: {anonymous}")]);
    let typed = platform(file).flag("client-auth", "off");
    let off = "given beside v.toml:1: route: without client certificates no rule can be kept; write --client-auth require, or take the rules out";
    assert_eq!(clients(&typed).unwrap_err(), [format!("--client-auth: {off}")]);
    let without_ca = nothing().file(file);
    assert!(clients(&without_ca).unwrap_err()[0].contains("no CA is known"));
}

#[test]
fn a_route_where_no_request_is_read_is_an_error() {
    let file = "allow = ['any']\n[[route]]\npath = '/metrics'\nallow = ['any']\n";
    let help = "write mode = \"http\" for the listener, or take its routes out";
    let what = format!("the route /metrics stands where no request is read: a listener of mode tcp; {help}");
    assert_eq!(platform(file).diagnostics(), [format!("v.toml:2: route: {what}")]);
    let anonymous = file.replace("allow = ['any']\n[[", "[[").replace("'any'", "'anonymous'");
    let said = platform(&anonymous).diagnostics();
    assert_eq!(said, [format!("v.toml:1: route: {what}")], "whom it is for is no mistake of its own");
    let Err(diagnostics) = platform(file).resolve() else { panic!("nothing was wrong") };
    assert_eq!(Fault::from(diagnostics).exit, Exit::Config);
}

#[test]
fn errors_in_routes_are_told_with_their_lines() {
    let file = "route = []\n[[listener]]\n[[listener.route]]\npath = 'a'\nallow = ['any']\n[[listener]]\nroute = 1\n\
        [[outbound]]\nroute = 1\nlisten = 9000\nto = 'h:1'\n";
    assert_eq!(
        clients(&platform(file)).unwrap_err(),
        [
            "v.toml:1: route: lists no route; write each route under [[route]], or leave it out",
            "v.toml:4: path: \"a\" does not begin with /; write a path such as /metrics, or * for OPTIONS *",
            "v.toml:7: route: is of type integer; write each route as a table with the header [[listener.route]]",
            "v.toml:9: route: cannot stand under [[outbound]]; write [[route]], for requests of clients, or leave it out",
        ]
    );
}

#[test]
fn an_error_in_how_requests_are_read_is_the_only_one() {
    let file = "mode = 'http'\nallow = ['any']\n[[route]]\npath = '/metrics'\nallow = ['any', 'anonymous']\n";
    platform(file).config();
    let said = platform(file).flag("xfcc", "nonsense").diagnostics();
    assert!(said.len() == 1 && said[0].starts_with("--xfcc: "), "{said:?}");
}
