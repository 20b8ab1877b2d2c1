//! Every option there is, in one table.
//!
//! Flags, `-h` and `--help`, variables and the keys of the file are all derived from a row of [`OPTIONS`], so that
//! they cannot drift apart. A new option is one row here and its reading in [`super::resolve`].

use strum::VariantArray;

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt {
    /// `handshake-timeout`: the key in the file, and what flag and variable are made of. Unique for each command.
    pub name: &'static str,
    /// What stands for the value in help, such as `DURATION`; empty for a switch.
    pub value: &'static str,
    /// How often it may be given.
    pub arity: Arity,
    /// The only values, where they can be listed.
    pub choices: &'static [&'static str],
    /// What holds when nothing is given.
    pub default: Preset,
    /// A platform's own variable, asked after flag, variable and file, and before the default.
    pub platform: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
    /// The heading it stands under.
    pub group: Group,
    /// The commands that take it.
    pub commands: &'static [&'static str],
    /// Where it may be given.
    pub scope: Scope,
    /// Whether the first screen of help (`-h`) shows it.
    pub common: bool,
    /// Of which tables of the file each may have its own.
    pub table: Option<Table>,
}

/// The tables of the file, each of which may stand there several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub enum Table {
    /// `[[listener]]`: where clients dial us.
    Listener,
    /// `[[outbound]]`: where the app dials us.
    Outbound,
}

impl Table {
    /// `listener`
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Outbound => "outbound",
        }
    }

    /// `[[listener]]`
    pub fn header(self) -> String {
        format!("[[{}]]", self.name())
    }

    /// The option that is called `key` in this table.
    pub fn option(self, key: &str) -> Option<&'static Opt> {
        OPTIONS.iter().find(|option| option.key_in(self) == Some(key))
    }
}

/// How often an option may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Once.
    One,
    /// Any number of times; a comma separates several values in one flag, variable or string of the file. The elements
    /// of an array in the file are taken as they are.
    Many,
    /// Once and without a value; `true` or `false` in a variable or the file.
    Switch,
}

/// What holds when an option is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// This value, read like any other.
    Value(&'static str),
    /// Something that is found out at the start, in words.
    Found(&'static str),
    /// Nothing.
    None,
}

/// Where an option may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// As a flag, a variable and a key of the file.
    Everywhere,
    /// As a flag and a variable.
    FlagAndVariable,
    /// As a flag.
    Flag,
    /// As a key of its table in the file.
    Table,
}

/// The headings of the help, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each says its own name")]
pub enum Group {
    Listening,
    App,
    Credentials,
    Tls,
    Clients,
    Outbound,
    Timeouts,
    Limits,
    Drain,
    Admin,
    Log,
    File,
    General,
}

impl Group {
    /// The heading as it is printed; none for what stands first and needs none.
    pub fn heading(self) -> Option<&'static str> {
        match self {
            Self::Listening => Some("Listening"),
            Self::App => Some("App"),
            Self::Credentials => Some("Credentials"),
            Self::Tls => Some("TLS"),
            Self::Clients => Some("Clients"),
            Self::Outbound => Some("Outbound"),
            Self::Timeouts => Some("Timeouts"),
            Self::Limits => Some("Limits"),
            Self::Drain => Some("Drain"),
            Self::Admin => Some("Admin"),
            Self::Log => Some("Log"),
            Self::File => Some("File"),
            Self::General => None,
        }
    }
}

impl Opt {
    /// `--handshake-timeout`
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// `VESTIBULE_HANDSHAKE_TIMEOUT`, or nothing for an option that is only a flag.
    pub fn variable(&self) -> Option<String> {
        (!matches!(self.scope, Scope::Flag | Scope::Table))
            .then(|| format!("{PREFIX}{}", self.name.replace('-', "_").to_ascii_uppercase()))
    }

    /// `handshake-timeout`, or nothing for an option that the file cannot hold.
    pub fn key(&self) -> Option<&'static str> {
        (self.scope == Scope::Everywhere).then_some(self.name)
    }

    /// `expect` for `outbound-expect`: the key within `table`, or nothing for an option that it cannot hold.
    pub fn key_in(&self, table: Table) -> Option<&'static str> {
        let own = self.name.strip_prefix("outbound-").filter(|_| table == Table::Outbound);
        (self.table == Some(table)).then(|| own.unwrap_or(self.name))
    }

    /// What holds when nothing is given, as help shows it: `$PORT, or 127.0.0.1:8080`.
    pub fn default_text(&self) -> Option<String> {
        let preset = match self.default {
            Preset::Value(text) | Preset::Found(text) => Some(text),
            Preset::None => None,
        };
        match (self.platform, preset) {
            (Some(platform), Some(preset)) => Some(format!("${platform}, or {preset}")),
            (Some(platform), None) => Some(format!("${platform}")),
            (None, preset) => preset.map(str::to_owned),
        }
    }
}

/// The options of `command`, in the order of the table.
pub fn of(command: &str) -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().filter(move |option| option.commands.contains(&command))
}

/// The option of a serving command that is called `name`.
pub fn serving(name: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.name == name && option.scope != Scope::Flag)
}

/// What all variables of ours begin with.
pub const PREFIX: &str = "VESTIBULE_";

/// The command that judges a certificate, with its two words.
pub const POLICY_TEST: &str = "policy test";

const SERVING: &[&str] = &["run", "proxy", "check", POLICY_TEST];
const RUN: &[&str] = &["run", "check", POLICY_TEST];
const ASKING: &[&str] = &["run", "proxy", "check", POLICY_TEST, "wait", "health"];
const ISSUER: &[&str] = &["issuer"];
const DEMO: &[&str] = &["demo"];

/// What most rows have in common.
const ROW: Opt = Opt {
    name: "",
    value: "",
    arity: Arity::One,
    choices: &[],
    default: Preset::None,
    platform: None,
    help: "",
    group: Group::General,
    commands: SERVING,
    scope: Scope::Everywhere,
    common: false,
    table: None,
};
const COMMON: Opt = Opt { common: true, ..ROW };
const FLAG: Opt = Opt { scope: Scope::Flag, common: true, ..ROW };
const ISSUER_FLAG: Opt = Opt { commands: ISSUER, ..FLAG };
const CLIENTS: Opt = Opt { group: Group::Clients, table: Some(Table::Listener), ..ROW };
const OUTBOUND: Opt = Opt { group: Group::Outbound, table: Some(Table::Outbound), ..ROW };
const OUTBOUND_DURATION: Opt = Opt { value: "DURATION", ..OUTBOUND };
const DURATION: Opt = Opt { value: "DURATION", group: Group::Timeouts, ..ROW };

/// The table.
#[rustfmt::skip] // One option a paragraph, and its strings in one column.
pub const OPTIONS: &[Opt] = &[
    Opt { name: "listen", value: "ADDR", group: Group::Listening, default: Preset::Value("[::]:8443"),
          help: "Where clients dial us: a port, or ADDRESS:PORT", table: Some(Table::Listener), ..COMMON },
    Opt { name: "app", value: "ADDR", group: Group::Listening, default: Preset::Value("127.0.0.1:8080"),
          platform: Some("PORT"),
          help: "The app: a port, ADDRESS:PORT or unix:/PATH", table: Some(Table::Listener), ..COMMON },
    Opt { name: "listener", value: "LISTEN=APP", group: Group::Listening, arity: Arity::Many,
          help: "Several listeners: 8443=8080,9443=9090", ..COMMON },
    Opt { name: "dial", value: "WHEN", group: Group::Listening, choices: &["before-handshake", "after-authorization"],
          default: Preset::Found("after-authorization where client certificates are asked for"),
          help: "When the app is dialled", table: Some(Table::Listener), ..ROW },
    Opt { name: "proxy-protocol", value: "VERSION", group: Group::Listening, choices: &["off", "v1", "v2"],
          default: Preset::Value("off"),
          help: "Tell the app each client's address; v2: TLS and certificate too", table: Some(Table::Listener), ..ROW },
    Opt { name: "accept-proxy-protocol", value: "CIDR", group: Group::Listening, arity: Arity::Many,
          help: "Load balancers whose connections begin with a PROXY header", table: Some(Table::Listener), ..ROW },

    Opt { name: "app-ready", value: "HOW", group: Group::App, default: Preset::Value("tcp"),
          help: "When the app counts as accepting: tcp, http:/PATH or off", ..ROW },
    Opt { name: "hold-until-ready", group: Group::App, default: Preset::Value("off"),
          help: "Keep clients waiting this long for an app that starts", ..DURATION },
    Opt { name: "hide-app-port", arity: Arity::Switch, group: Group::App,
          help: "Give the app another PORT than the one that others know", ..ROW },
    Opt { name: "hide-key", arity: Arity::Switch, group: Group::App,
          help: "Do not tell the app where the key is", ..ROW },
    Opt { name: "signal-scope", value: "WHOM", group: Group::App, choices: &["group", "app"],
          default: Preset::Value("group"), commands: RUN,
          help: "Who gets signals: the app's process group, or the app alone", ..ROW },
    Opt { name: "signal-map", value: "FROM:TO", group: Group::App, arity: Arity::Many, commands: RUN,
          help: "Send the app other signals: TERM:QUIT,HUP:0", ..ROW },

    Opt { name: "cert", value: "FILE", group: Group::Credentials, platform: Some("CF_INSTANCE_CERT"),
          default: Preset::Value("/etc/cf-instance-credentials/instance.crt"),
          help: "The certificate chain, PEM", ..COMMON },
    Opt { name: "key", value: "FILE", group: Group::Credentials, platform: Some("CF_INSTANCE_KEY"),
          default: Preset::Value("/etc/cf-instance-credentials/instance.key"),
          help: "Its key, PEM: PKCS#1, PKCS#8 or SEC1", ..COMMON },
    Opt { name: "credential-timeout", default: Preset::Value("10s"), group: Group::Credentials,
          help: "How long a start waits for a usable pair", ..DURATION },

    Opt { name: "alpn", value: "LIST", group: Group::Tls, arity: Arity::Many, default: Preset::Value("off"),
          help: "Protocols, best first: h2,http/1.1", table: Some(Table::Listener), ..COMMON },
    Opt { name: "tls-min", value: "VERSION", group: Group::Tls, choices: &["1.2", "1.3"],
          default: Preset::Value("1.2"),
          help: "The oldest TLS version that is accepted", table: Some(Table::Listener), ..ROW },

    Opt { name: "client-auth", value: "WHETHER", choices: &["off", "request", "require"],
          default: Preset::Found("off, or require as soon as there is a rule"),
          help: "Whether clients show a certificate", ..CLIENTS },
    Opt { name: "client-ca", value: "PATH", arity: Arity::Many, platform: Some("CF_SYSTEM_CERT_PATH"), common: true,
          help: "CAs of clients: files, folders", ..CLIENTS },
    Opt { name: "client-crl", value: "PATH", arity: Arity::Many,
          help: "CRLs, PEM or DER: files, folders", ..CLIENTS },
    Opt { name: "allow", value: "RULE", arity: Arity::Many, common: true,
          help: "Who may come in: cf:app:GUID, dns:NAME, any", ..CLIENTS },
    Opt { name: "deny", value: "RULE", arity: Arity::Many,
          help: "Who may not, whatever is allowed", ..CLIENTS },
    Opt { name: "allow-app", value: "GUID", arity: Arity::Many,
          help: "As --allow cf:app:GUID", ..CLIENTS },
    Opt { name: "allow-space", value: "GUID", arity: Arity::Many,
          help: "As --allow cf:space:GUID", ..CLIENTS },
    Opt { name: "allow-org", value: "GUID", arity: Arity::Many,
          help: "As --allow cf:org:GUID", ..CLIENTS },
    Opt { name: "policy", value: "FILE",
          help: "More rules, in a TOML file: mode, allow, deny", ..CLIENTS },
    Opt { name: "policy-mode", value: "MODE", choices: &["enforce", "audit"],
          default: Preset::Found("as the policy file says, or enforce"),
          help: "Whether denials are enforced, or only logged", ..CLIENTS },

    Opt { name: "outbound", value: "LISTEN=HOST:PORT", arity: Arity::Many, table: None, common: true,
          help: "The app dials LISTEN, we HOST:PORT by mTLS", ..OUTBOUND },
    Opt { name: "outbound-listen", value: "ADDR", scope: Scope::Table, commands: &[],
          help: "Where the app dials us: a port of loopback, ADDRESS:PORT or unix:/PATH", ..OUTBOUND },
    Opt { name: "outbound-to", value: "HOST:PORT", arity: Arity::Many, scope: Scope::Table, commands: &[],
          help: "Whom we dial: a name, an IPv4 or [IPv6] address; several are balanced as one", ..OUTBOUND },
    Opt { name: "outbound-expect", value: "RULE", arity: Arity::Many,
          help: "Who may answer: cf:app:GUID, cf:same:space, dns:NAME", ..OUTBOUND },
    Opt { name: "outbound-ca", value: "CA", arity: Arity::Many,
          default: Preset::Found("own-issuer where a cf: rule is expected, else $CF_SYSTEM_CERT_PATH and system"),
          help: "CAs of servers: own-issuer, system, files, folders", ..OUTBOUND },
    Opt { name: "outbound-server-name", value: "NAME", default: Preset::Found("the host that is dialled"),
          help: "The name in SNI, which the server's certificate must have", ..OUTBOUND },
    Opt { name: "outbound-identity", value: "WHEN", choices: &["always", "never"], default: Preset::Value("always"),
          help: "Whether servers are shown our certificate", ..OUTBOUND },
    Opt { name: "outbound-balance", value: "HOW", choices: &["least-connections", "round-robin", "first"],
          default: Preset::Value("least-connections"),
          help: "Which of several endpoints is dialled", ..OUTBOUND },
    Opt { name: "outbound-attempts", value: "N", default: Preset::Value("3"),
          help: "Endpoints that are tried for one connection", ..OUTBOUND },
    Opt { name: "outbound-eject", value: "N", default: Preset::Value("3"),
          help: "Failures in a row after which an endpoint is left alone for a while, or off", ..OUTBOUND },
    Opt { name: "outbound-connect-timeout", default: Preset::Value("1s"),
          help: "For one endpoint to accept", ..OUTBOUND_DURATION },
    Opt { name: "outbound-handshake-timeout", default: Preset::Value("3s"),
          help: "For the handshake with one endpoint", ..OUTBOUND_DURATION },
    Opt { name: "outbound-timeout", default: Preset::Value("5s"),
          help: "For the lookup and all attempts together", ..OUTBOUND_DURATION },
    Opt { name: "outbound-idle-timeout", default: Preset::Value("off"),
          help: "Close a connection that is silent both ways for this long", ..OUTBOUND_DURATION },
    Opt { name: "outbound-max-age", default: Preset::Value("off"),
          help: "Close a connection that is older than this", ..OUTBOUND_DURATION },
    Opt { name: "outbound-refresh", default: Preset::Value("30s"),
          help: "Look the name up again at the latest after this, whatever its TTL", ..OUTBOUND_DURATION },
    Opt { name: "outbound-max-connections", value: "N", default: Preset::Value("1024"),
          help: "Connections at a time of each outbound listener", ..OUTBOUND },
    Opt { name: "outbound-max-pending", value: "N", default: Preset::Value("256"),
          help: "Connections at a time that wait for an endpoint", ..OUTBOUND },
    Opt { name: "outbound-required", arity: Arity::Switch,
          help: "Not ready while no endpoint is known", ..OUTBOUND },
    Opt { name: "unsafe-listen", arity: Arity::Switch,
          help: "Let outbound listeners be reached by other hosts, which then speak as this app", ..OUTBOUND },

    Opt { name: "handshake-timeout", default: Preset::Value("10s"),
          help: "From accept to the end of the handshake", ..DURATION },
    Opt { name: "connect-timeout", default: Preset::Value("1s"),
          help: "For the app to accept", ..DURATION },
    Opt { name: "idle-timeout", default: Preset::Value("off"),
          help: "Close a connection that is silent both ways for this long", ..DURATION },
    Opt { name: "max-age", default: Preset::Value("off"),
          help: "Close a connection that is older than this", ..DURATION },

    Opt { name: "max-connections", value: "N", group: Group::Limits,
          default: Preset::Found("from the descriptor and memory limits"),
          help: "Connections at a time", ..ROW },
    Opt { name: "max-handshakes", value: "N", group: Group::Limits,
          default: Preset::Found("as many as connections"),
          help: "Unfinished handshakes at a time", ..ROW },
    Opt { name: "memory-limit", value: "SIZE", group: Group::Limits,
          default: Preset::Found("the control group's"),
          help: "Memory of the proxy and the app together", ..ROW },
    Opt { name: "threads", value: "N", group: Group::Limits,
          default: Preset::Found("the CPU quota, at most 2; 1 without"),
          help: "Worker threads", ..COMMON },

    Opt { name: "drain-delay", default: Preset::Value("0s"), group: Group::Drain,
          help: "After TERM, go on accepting for this long first", ..DURATION },
    Opt { name: "drain-timeout", default: Preset::Value("8s"), group: Group::Drain, common: true,
          help: "From TERM to the end, at most", ..DURATION },

    Opt { name: "admin", value: "ADDR", group: Group::Admin, default: Preset::Value("127.0.0.1:9901"), commands: ASKING,
          help: "Admin listener: a port, ADDR:PORT, unix:/PATH, off", ..COMMON },
    Opt { name: "metrics", value: "ADDR", group: Group::Admin, default: Preset::Value("off"),
          help: "Metrics and probes alone, for scrapers: a port, ADDRESS:PORT or off", ..ROW },
    Opt { name: "admin-actions", value: "LIST", group: Group::Admin, arity: Arity::Many,
          choices: &["drain", "reload", "loglevel"],
          help: "What --admin may be asked to do, by POST", ..ROW },
    Opt { name: "admin-host", value: "NAME", group: Group::Admin, arity: Arity::Many,
          help: "Host names, beside localhost, that --admin answers to", ..ROW },
    Opt { name: "timeout", value: "DURATION", default: Preset::Value("30s"), commands: &["wait"],
          help: "How long to wait", ..FLAG },

    Opt { name: "log-format", value: "FORMAT", group: Group::Log, choices: &["json", "text", "lager"],
          default: Preset::Found("text on a terminal, else json"),
          help: "How lines on stderr look", ..ROW },
    Opt { name: "log-level", value: "LEVEL", group: Group::Log, default: Preset::Value("info"),
          choices: &["off", "error", "warn", "info", "debug", "trace"],
          help: "The least severe level that is written", ..COMMON },
    Opt { name: "access-log", value: "WHICH", group: Group::Log, choices: &["off", "denied", "all"],
          default: Preset::Value("denied"),
          help: "Which connections leave a line", ..COMMON },

    Opt { name: "config", value: "FILE", group: Group::File, scope: Scope::FlagAndVariable, commands: ASKING,
          help: "A vestibule.toml that holds any of these", ..COMMON },
    Opt { name: "peer", value: "CERT", commands: &[POLICY_TEST],
          help: "The client's certificate chain, PEM, leaf first", ..FLAG },
    Opt { name: "connect", arity: Arity::Switch, commands: &["check"],
          help: "Shake hands with those whom the app dials by --outbound", scope: Scope::Flag, ..ROW },
    Opt { name: "json", arity: Arity::Switch, commands: &["check", "identity", POLICY_TEST],
          help: "Print JSON", ..FLAG },

    Opt { name: "validity", value: "DURATION", default: Preset::Value("24h"),
          help: "How long each certificate is valid", ..ISSUER_FLAG },
    Opt { name: "rotate-every", value: "DURATION", default: Preset::Found("as Diego does"),
          help: "Write a new pair this often", ..ISSUER_FLAG },
    Opt { name: "org", value: "ID", default: Preset::Found("random"),
          help: "The organization in the certificate", ..ISSUER_FLAG },
    Opt { name: "space", value: "ID", default: Preset::Found("random"),
          help: "The space", ..ISSUER_FLAG },
    Opt { name: "app", value: "ID", default: Preset::Found("random"),
          help: "The app", ..ISSUER_FLAG },
    Opt { name: "instance", value: "ID", default: Preset::Found("random"),
          help: "The instance: its common name and DNS name", ..ISSUER_FLAG },
    Opt { name: "ip", value: "ADDR", default: Preset::Value("127.0.0.1"),
          help: "The IP address in the certificate", ..ISSUER_FLAG },
    Opt { name: "key", value: "KIND", default: Preset::Value("rsa-3072"),
          choices: &["rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "ed25519"],
          help: "What kind of key", ..ISSUER_FLAG },
    Opt { name: "client", arity: Arity::Switch,
          help: "Also write a client certificate for another app", ..ISSUER_FLAG },
    Opt { name: "client-named", value: "NAME", arity: Arity::Many,
          help: "Also write NAME.crt and NAME.key, one more app for each", common: false, ..ISSUER_FLAG },
    Opt { name: "second-instance", arity: Arity::Switch,
          help: "Also write the pair of a second instance", ..ISSUER_FLAG },
    Opt { name: "once", arity: Arity::Switch,
          help: "Write and exit", ..ISSUER_FLAG },
    Opt { name: "retire", arity: Arity::Switch,
          help: "Write the pair of an instance that is about to go", ..ISSUER_FLAG },
    Opt { name: "inject", value: "FAULT",
          choices: &["torn", "expired", "not-yet-valid", "mismatch", "wrong-ca"],
          help: "Write a faulty pair, for tests", ..ISSUER_FLAG },

    Opt { name: "listen", value: "ADDR", default: Preset::Value("127.0.0.1:8443"),
          help: "Where clients dial the demo", commands: DEMO, ..FLAG },
    Opt { name: "green-blue", arity: Arity::Switch,
          help: "Two front-ends call, green and blue; only green is allowed in", commands: DEMO, ..FLAG },
    Opt { name: "rotate-every", value: "DURATION", default: Preset::Value("5s"),
          help: "How often the pair is replaced", commands: DEMO, ..FLAG },
    Opt { name: "log-level", value: "LEVEL", default: Preset::Value("off"),
          choices: &["off", "error", "warn", "info", "debug", "trace"],
          help: "The least severe line of the proxy's own log that is shown", commands: DEMO, ..FLAG },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_command_has_two_options_of_one_name() {
        let mut seen = HashSet::new();
        for option in OPTIONS {
            for command in option.commands {
                assert!(seen.insert((command, option.name)), "{command} has --{} twice", option.name);
            }
        }
    }

    #[test]
    fn no_two_options_share_a_variable() {
        let mut seen = HashSet::new();
        for variable in OPTIONS.iter().filter_map(Opt::variable) {
            assert!(seen.insert(variable.clone()), "{variable} twice");
        }
    }

    #[test]
    fn a_value_has_a_placeholder_and_a_switch_has_none() {
        for option in OPTIONS {
            assert_eq!(option.value.is_empty(), option.arity == Arity::Switch, "{}", option.name);
        }
    }

    #[test]
    fn help_is_one_sentence_without_a_full_stop() {
        for option in OPTIONS {
            assert!(option.help.starts_with(char::is_uppercase), "{}", option.name);
            assert!(!option.help.ends_with('.') && !option.help.contains('\n'), "{}", option.name);
        }
    }

    #[test]
    fn flag_variable_and_key_are_derived_from_the_name() {
        let option = serving("handshake-timeout").unwrap();
        assert_eq!(option.flag(), "--handshake-timeout");
        assert_eq!(option.variable().as_deref(), Some("VESTIBULE_HANDSHAKE_TIMEOUT"));
        assert_eq!(option.key(), Some("handshake-timeout"));
        assert_eq!(serving("config").unwrap().key(), None);
        assert_eq!(serving("json"), None);
    }

    #[test]
    fn the_default_names_the_platforms_variable_first() {
        let text = serving("app").unwrap().default_text();
        assert_eq!(text.as_deref(), Some("$PORT, or 127.0.0.1:8080"));
    }
}
