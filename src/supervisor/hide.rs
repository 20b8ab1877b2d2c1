//! A port for the app that others do not know, and an environment that agrees with it.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::{fs, io};

use serde::Deserialize;
use serde_json::value::RawValue;

/// The variable with the container's ports on Cloud Foundry: a JSON array, one object for each port of the app.
pub const INSTANCE_PORTS: &str = "CF_INSTANCE_PORTS";

/// The lowest port that is given to an app, well above those that anything is known by.
const LOWEST: u16 = 20_000;

/// The lowest port that the kernel itself gives to outgoing connections, where it cannot be asked.
const USUAL_EPHEMERAL: u16 = 32_768;

/// Another port for the app than the one that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HiddenPort {
    known: u16,
    hidden: u16,
}

impl HiddenPort {
    /// Finds a port on 127.0.0.1 that nobody listens on, in place of `known`. To be called when all listeners of ours are
    /// open, so that it is none of theirs.
    ///
    /// It lies below the ports that the kernel chooses from for outgoing connections: while the app starts, one of those
    /// could otherwise take it, even a connection to it (a TCP connection to itself).
    ///
    /// # Errors
    /// When no port is free.
    pub fn find(known: u16) -> io::Result<Self> {
        let ephemeral = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
        let first = ephemeral.and_then(|range| range.split_ascii_whitespace().next()?.parse().ok());
        let end = first.filter(|first| *first > LOWEST + 1000).unwrap_or(USUAL_EPHEMERAL);
        // By chance: of two that start in the same moment, neither listens yet when the other looks.
        let count = end - LOWEST;
        let start = fastrand::u16(..count);
        let mut candidates = (0..count).map(|i| LOWEST + (start + i) % count).filter(|port| *port != known);
        candidates
            .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
            .map(|hidden| Self { known, hidden })
            .ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "no port is free for the app"))
    }

    /// Where the app is to be reached.
    pub fn addr(self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.hidden).into()
    }

    /// The variables that the app gets in place of ours, which has `ports` in [`INSTANCE_PORTS`].
    pub fn environment(self, ports: Option<OsString>) -> Vec<(OsString, OsString)> {
        let mut changes = vec![("PORT".into(), self.hidden.to_string().into())];
        let ports = ports.and_then(|ports| self.rewrite(ports.to_str()?));
        changes.extend(ports.map(|ports| (INSTANCE_PORTS.into(), ports.into())));
        changes
    }

    /// `ports` with the hidden port wherever `internal` was the known one, all else byte for byte. `None` if it is not
    /// what the platform writes.
    fn rewrite(self, ports: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct PortMappingEntry<'a> {
            #[serde(borrow)]
            internal: Option<&'a RawValue>,
        }
        let entries: Vec<PortMappingEntry<'_>> = serde_json::from_str(ports).ok()?;
        let mut rewritten = String::with_capacity(ports.len() + 8);
        let mut rest = ports;
        for internal in entries.iter().filter_map(|entry| entry.internal) {
            if internal.get().parse() != Ok(self.known) {
                continue;
            }
            // Both are slices of `ports`, and the entries stand in their order.
            let at = internal.get().as_ptr() as usize - rest.as_ptr() as usize;
            rewritten.push_str(&rest[..at]);
            rewritten.push_str(&self.hidden.to_string());
            rest = &rest[at + internal.get().len()..];
        }
        rewritten.push_str(rest);
        Some(rewritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: HiddenPort = HiddenPort { known: 8080, hidden: 23_456 };

    #[test]
    fn the_apps_port_is_replaced_in_the_list_and_nothing_else_is_touched() {
        let ports = r#"[{"external":61012,"internal":8080,"external_tls_proxy":61014, "internal_tls_proxy":61001},
            {"internal": 2222,"external":8080},{"internal":8080 }]"#;
        let expected = ports.replace(r#""internal":8080"#, r#""internal":23456"#);
        assert_eq!(PORTS.rewrite(ports).as_deref(), Some(expected.as_str()));
        assert_eq!(expected.matches("23456").count(), 2);
    }

    #[test]
    fn a_list_that_is_none_is_left_alone() {
        for odd in ["", "null", "8080", "[8080]", "[{\"internal\":8080}", "{\"internal\":8080}"] {
            assert_eq!(PORTS.rewrite(odd), None, "{odd}");
        }
        for same in ["[]", "[{}]", r#"[{"internal":"8080"}]"#, r#"[{"internal":null}]"#, r#"[{"internal":80800}]"#] {
            assert_eq!(PORTS.rewrite(same).as_deref(), Some(same));
        }
    }

    #[test]
    fn the_hidden_port_is_free_and_no_outgoing_connection_can_take_it() {
        let found = HiddenPort::find(8080).unwrap();
        TcpListener::bind(found.addr()).unwrap();
        let next = HiddenPort::find(found.hidden).unwrap();
        assert_ne!(next.hidden, found.hidden);
        assert!((LOWEST..USUAL_EPHEMERAL).contains(&found.hidden), "{found:?}");
    }

    #[test]
    fn the_environment_names_the_hidden_port() {
        assert_eq!(PORTS.environment(None), [("PORT".into(), "23456".into())]);
        let changes = PORTS.environment(Some(r#"[{"internal":8080}]"#.into()));
        assert_eq!(changes[1], (INSTANCE_PORTS.into(), r#"[{"internal":23456}]"#.into()));
        assert_eq!(PORTS.environment(Some("odd".into())).len(), 1);
    }
}
