//! `/etc/resolv.conf`, read as the C library reads it: what is wrong in it is passed over, and the rest holds.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;

use crate::sys;

const PATH: &str = "/etc/resolv.conf";

/// Who is asked where nobody is named (resolv.conf(5)).
const NOBODY_NAMED: &str = "nameserver 127.0.0.1";

/// What the operator was told last: the file is read for each lookup, and said to be wrong once.
static TOLD: Mutex<Option<String>> = Mutex::new(None);

/// The servers, the domains that are searched, and the options of this machine.
///
/// # Errors
/// What is left of it cannot be used.
pub(super) fn read() -> Result<(ResolverConfig, ResolverOpts), NetError> {
    let (text, problem) = match sys::file::read_regular(Path::new(PATH)) {
        Ok(text) => (text, None),
        Err(error) => (Vec::new(), Some(format!("it cannot be read: {error}"))),
    };
    let (usable, wrong) = usable(&String::from_utf8_lossy(&text));
    tell(problem.or(wrong));
    parse_resolv_conf(usable)
}

fn tell(problem: Option<String>) {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if *told == problem {
        return;
    }
    if let Some(problem) = &problem {
        tracing::warn!(
            path = PATH,
            error = problem,
            "resolver configuration: part of it is passed over, and the rest holds; correct it"
        );
    }
    *told = problem;
}

/// `text` without the servers and domains that are none, and the first that was left out.
fn usable(text: &str) -> (String, Option<String>) {
    let (mut usable, mut wrong, mut names_a_server) = (String::new(), None, false);
    for (nth, line) in text.lines().enumerate() {
        let mut refuse = |word: &str, what: &str| {
            wrong.get_or_insert_with(|| format!("line {}: {word:?} is no {what}", nth + 1));
        };
        let mut words = line.split([';', '#']).next().unwrap_or_default().split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let server = words.next().unwrap_or_default();
                let ip = server.split_once('%').map_or(server, |(ip, _scope)| ip);
                if ip.parse::<IpAddr>().is_err() {
                    refuse(server, "address of a DNS server");
                    continue;
                }
                names_a_server = true;
                usable.push_str("nameserver ");
                usable.push_str(server);
            }
            Some(keyword @ ("search" | "domain")) => {
                usable.push_str(keyword);
                for word in words {
                    match Name::from_str_relaxed(word) {
                        Ok(_) => {
                            usable.push(' ');
                            usable.push_str(word);
                        }
                        Err(_) => refuse(word, "domain"),
                    }
                }
            }
            Some("options") => usable.push_str(line),
            // The rest is not for those who look names up here.
            Some(_) | None => continue,
        }
        usable.push('\n');
    }
    if !names_a_server {
        usable.push_str(NOBODY_NAMED);
    }
    (usable, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(text: &str) -> (Vec<String>, Vec<String>, Option<String>) {
        let (usable, wrong) = usable(text);
        let (config, _) = parse_resolv_conf(usable).unwrap();
        let servers = config.name_servers().iter().map(|server| server.ip.to_string()).collect();
        (servers, config.search().iter().map(ToString::to_string).collect(), wrong)
    }

    #[test]
    fn a_search_domain_that_is_none_is_left_out_and_the_others_hold() {
        let long = "a".repeat(70);
        for wrong in [".svc.cluster.local", "a..b", long.as_str()] {
            let text = format!("nameserver 10.0.0.1\nsearch one.test {wrong} two.test\n");
            let (servers, search, told) = read_from(&text);
            assert_eq!((servers, search), (vec!["10.0.0.1".to_owned()], vec!["one.test".into(), "two.test".into()]));
            assert_eq!(told.unwrap(), format!("line 2: {wrong:?} is no domain"));
        }
    }

    #[test]
    fn what_is_right_is_taken_as_it_stands_and_nothing_is_said() {
        let text = "# made by hand\nsearch a.test b_c.test\nnameserver fe80::1%lo\nnameserver 10.0.0.2 ; the second\n\
                    options ndots:5 trust-ad\nsortlist 10.0.0.0/8\n";
        let (servers, search, told) = read_from(text);
        assert_eq!(servers, ["fe80::1", "10.0.0.2"]);
        assert_eq!(search, ["a.test", "b_c.test"]);
        assert_eq!(told, None);
        assert_eq!(parse_resolv_conf(usable(text).0).unwrap().1.ndots, 5);
    }

    #[test]
    fn where_no_server_is_named_this_machine_is_asked_as_the_c_library_does() {
        for (text, wrong) in [
            ("", None),
            ("\u{feff}nameserver 10.0.0.1\n", None),
            ("search a.test\nnameserver ten\n", Some("line 2: \"ten\" is no address of a DNS server")),
            ("nameserver\n", Some("line 1: \"\" is no address of a DNS server")),
        ] {
            let (servers, _, told) = read_from(text);
            assert_eq!((servers, told.as_deref()), (vec!["127.0.0.1".to_owned()], wrong), "{text:?}");
        }
    }
}
