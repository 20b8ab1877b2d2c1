//! Every option there is, in one table.
//!
//! Flags, `-h` and `--help`, variables and the keys of the file are all derived from a row of [`OPTIONS`], so that
//! they cannot drift apart. A new option is one row in `table`, and its reading in the file of its group, which
//! [`super::resolve`] calls.

mod table;

use strum::VariantArray;

pub use table::OPTIONS;

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
    Derived(&'static str),
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
    Http,
    Outbound,
    ForwardProxy,
    AppFiles,
    IdentityEndpoint,
    Secrets,
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
            Self::Http => Some("HTTP"),
            Self::Outbound => Some("Outbound"),
            Self::ForwardProxy => Some("Forward proxy"),
            Self::AppFiles => Some("Files for the app"),
            Self::IdentityEndpoint => Some("Identity endpoint"),
            Self::Secrets => Some("Secrets"),
            Self::Timeouts => Some("Timeouts"),
            Self::Limits => Some("Limits"),
            Self::Drain => Some("Drain"),
            Self::Admin => Some("Admin"),
            Self::Log => Some("Log"),
            Self::File => Some("Configuration file"),
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
            Preset::Value(text) | Preset::Derived(text) => Some(text),
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

/// The command that signs a token.
pub const TOKEN_JWT: &str = "token jwt";

/// The command that writes the login of Vault's CF method.
pub const TOKEN_VAULT_CF: &str = "token vault-cf";

/// The command that judges a token.
pub const TOKEN_VERIFY: &str = "token verify";

/// The command that logs in to Vault.
pub const TOKEN_VAULT: &str = "token vault";

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
