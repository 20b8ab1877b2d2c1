//! The manual that is derived from the program: reference, man page and completions.
//!
//! After a change to the options `UPDATE_DOCS=1 cargo test --test it manual` writes them anew.

mod man;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use clap_complete::Shell;
use vestibule::cli;
use vestibule::config::options;
use vestibule::config::options::{Group, Opt, Preset};
use vestibule::exit::Exit;

use crate::support::machine::lacks;
use crate::support::sidecar::VESTIBULE;

const MAN: &str = "docs/man/vestibule.1";
const BASH: &str = "completions/vestibule.bash";
const ZSH: &str = "completions/_vestibule";
const FISH: &str = "completions/vestibule.fish";

/// What `run`, `proxy`, `check` and `policy test` have in common.
const SERVING: &str = "run";

/// Those with options of their own.
const TOOLS: [&str; 11] = [
    "check",
    "wait",
    "health",
    "identity",
    "policy test",
    "token jwt",
    "token verify",
    "token vault-cf",
    "token vault",
    "issuer",
    "demo",
];

/// Compares a file with `expected`, or writes it.
#[track_caller]
fn hold(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, expected).unwrap();
    } else {
        let found = fs::read_to_string(file).unwrap_or_default();
        assert!(found == expected, "{path} is stale: UPDATE_DOCS=1 cargo test --test it manual writes it anew");
    }
}

/// The options of `tool` that it does not share with the others.
fn own(tool: &str) -> Vec<&'static Opt> {
    let all: Vec<_> = options::of(SERVING).collect();
    options::of(tool).filter(|option| !all.contains(option)).collect()
}

/// The options that serving commands share, by their headings.
fn groups() -> Vec<(Group, Vec<&'static Opt>)> {
    let mut groups: Vec<(Group, Vec<&Opt>)> = Vec::new();
    for option in options::of(SERVING) {
        match groups.last_mut() {
            Some((group, members)) if *group == option.group => members.push(option),
            _ => groups.push((option.group, vec![option])),
        }
    }
    groups
}

fn table(options: &[&Opt]) -> String {
    let mut table = "| flag | variable | key in the file | default | meaning |\n|---|---|---|---|---|\n".to_owned();
    for option in options {
        let flag = format!("{} {}", option.flag(), option.value);
        let code = |text: Option<String>| text.map_or_else(|| "none".to_owned(), |text| format!("`{text}`"));
        let (variable, key) = (code(option.variable()), code(option.key().map(str::to_owned)));
        let mut default = match option.default {
            Preset::Value(value) => format!("`{value}`"),
            Preset::Derived(words) => words.to_owned(),
            Preset::None => "none".to_owned(),
        };
        if let Some(platform) = option.platform {
            default = format!("`${platform}`, or {default}");
        }
        let choices = option.choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
        let help = match option.commands.contains(&SERVING) && !option.commands.contains(&"proxy") {
            true => format!("{} (not for `proxy`)", option.help),
            false => option.help.to_owned(),
        };
        let meaning = if choices.is_empty() { help } else { format!("{help}: {choices}") };
        writeln!(table, "| `{}` | {variable} | {key} | {default} | {meaning} |", flag.trim()).unwrap();
    }
    table
}

#[test]
fn every_option_is_in_the_reference() {
    let mut page = "# Options\n\n\
        Written by the program's tests from its own table; [configuration](../configuration.md) says where a value comes from, how it is\n\
        written, and more about some of them.\n\n\
        ## `run`, `proxy`, `check` and `policy test`\n"
        .to_owned();
    for (group, members) in groups() {
        write!(page, "\n### {}\n\n{}", group.heading().unwrap(), table(&members)).unwrap();
    }
    page += "\n## Tools\n\nThose in the first table as far as they are not repeated here: `check` and `policy test` take all of them, \
        `wait` and `health` take\n`--admin` and `--config`, `token jwt`, `token vault-cf` and `token vault` take \
        `--cert`, `--key` and `--config`.\n";
    for tool in TOOLS {
        let own = own(tool);
        if !own.is_empty() {
            write!(page, "\n### {tool}\n\n{}", table(&own)).unwrap();
        }
    }
    hold("docs/reference/options.md", &page);
}

#[test]
fn every_command_is_known_to_the_manual() {
    let grammar = cli::grammar();
    for command in grammar.get_subcommands().flat_map(leaves) {
        let own = own(&command).len();
        assert!(own == 0 || TOOLS.contains(&command.as_str()), "{command} has options that no page lists");
    }
}

/// The commands that do something: `run`, and `policy test` for `policy`.
fn leaves(command: &clap::Command) -> Vec<String> {
    let name = command.get_name();
    match command.has_subcommands() {
        true => command.get_subcommands().map(|inner| format!("{name} {}", inner.get_name())).collect(),
        false => vec![name.to_owned()],
    }
}

#[test]
fn every_exit_status_is_in_the_reference() {
    let mut page = "# Exit statuses\n\nWritten by the program's tests from its own list.\n\n\
        | status | meaning |\n|---|---|\n"
        .to_owned();
    for (number, meaning) in Exit::ALL.map(Exit::explained) {
        writeln!(page, "| {number} | {meaning} |").unwrap();
    }
    hold("docs/reference/exit-statuses.md", &page);
}

#[test]
fn the_man_page_is_that_of_the_program_and_can_be_read() {
    let page = man::page();
    hold(MAN, &page);
    // Those of a table in the file alone are in configuration.md.
    for option in options::OPTIONS.iter().filter(|option| option.scope != options::Scope::Table) {
        assert!(page.contains(&format!("\\fB{}\\fR", man::escaped(&option.flag()))), "{}", option.name);
    }
    // As `man` shows it: without a complaint, and with every heading.
    let Ok(shown) = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-P-cbou", MAN]).current_dir(root()).output()
    else {
        return lacks("groff");
    };
    assert_eq!(String::from_utf8_lossy(&shown.stderr), "");
    let shown = String::from_utf8(shown.stdout).unwrap();
    for said in
        ["SYNOPSIS", "vestibule run [OPTIONS] -- COMMAND [ARG...]", "--drain-timeout", "EXIT STATUS", "EXAMPLES"]
    {
        assert!(shown.contains(said), "{said}");
    }
}

#[test]
fn the_completions_are_those_of_the_program() {
    for (shell, path) in [(Shell::Bash, BASH), (Shell::Zsh, ZSH), (Shell::Fish, FISH)] {
        let script = cli::completions::script(shell);
        hold(path, &script);
        let name = shell.to_string();
        let output = Command::new(VESTIBULE).args(["completions", &name]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), script);
    }
}

#[test]
fn bash_completes_commands_options_and_choices() {
    let complete = |words: &str| {
        let script = format!(
            "set -eu; source {BASH}; complete -p vestibule >/dev/null\n\
             COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()\n\
             _vestibule vestibule \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n\
             echo \"${{COMPREPLY[*]}}\""
        );
        let output = Command::new("bash").args(["--norc", "-c", &script]).current_dir(root()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("vestibule pro"), "proxy");
    assert_eq!(complete("vestibule run --drain-d"), "--drain-delay");
    assert_eq!(complete("vestibule proxy --log-format ''"), "json text lager");
    assert_eq!(complete("vestibule policy test --pe"), "--peer");
    assert_eq!(complete("vestibule issuer --key rsa-3"), "rsa-3072");
    assert_eq!(complete("vestibule completions z"), "zsh");
    assert_eq!(complete("vestibule envoy --config-p"), "--config-path");
    // Behind the two dashes stands a command of its own.
    assert!(complete("vestibule run --hide-key -- vestibule-no-such").is_empty());
    assert!(complete("vestibule run -- ba").split(' ').any(|word| word == "bash"));
}

#[test]
fn zsh_and_fish_read_their_completions() {
    for (shell, args) in [("zsh", vec!["-n", ZSH]), ("fish", vec!["--no-execute", FISH])] {
        match Command::new(shell).args(args).current_dir(root()).output() {
            Ok(read) => assert!(read.status.success() && read.stderr.is_empty(), "{shell}: {read:?}"),
            Err(_) => lacks(shell),
        }
    }
    let ask = format!("source {FISH}; complete -C 'vestibule proxy --log-format '");
    if let Ok(completed) = Command::new("fish").args(["--no-config", "-c", &ask]).current_dir(root()).output() {
        let completed = String::from_utf8(completed.stdout).unwrap();
        assert_eq!(completed.split_whitespace().collect::<Vec<_>>(), ["json", "lager", "text"]);
    }
    let ask = format!("source {FISH}; complete -C 'vestibule completions '");
    if let Ok(completed) = Command::new("fish").args(["--no-config", "-c", &ask]).current_dir(root()).output() {
        let completed = String::from_utf8(completed.stdout).unwrap();
        assert_eq!(completed.split_whitespace().collect::<Vec<_>>(), ["bash", "fish", "zsh"]);
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
