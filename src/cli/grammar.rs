//! What clap is told: the commands, and for each its rows of the table of options.

use std::ffi::OsString;
use std::fmt::Write;

use clap::builder::{PossibleValuesParser, ValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, ValueHint};

use crate::config::options;
use crate::config::options::{Arity, Opt, POLICY_TEST, TOKEN_JWT, TOKEN_VAULT, TOKEN_VAULT_CF, TOKEN_VERIFY};

const SOURCES: &str = "\
Each option is also a variable (--tls-min: VESTIBULE_TLS_MIN) and a key in the file that
--config names (tls-min). Flag beats variable, variable beats file.";

/// A command's name, and what tells clap of it.
type NamedCommand = (&'static str, fn() -> Command);

/// Each command by its first word, and its grammar, in the order of the help.
const COMMANDS: [NamedCommand; 12] = [
    ("run", run),
    ("proxy", || serving("proxy", "The proxy alone; something else starts the app")),
    ("check", || serving("check", "Read everything, open nothing; one line per finding; exit 0 or 1")),
    ("wait", || command("wait", "Wait until a running proxy is ready; exit 0 or 1")),
    ("health", || command("health", "Ask a running proxy once whether it is ready; exit 0 or 1")),
    ("identity", identity),
    ("policy", policy),
    ("token", token),
    ("issuer", issuer),
    ("completions", completions),
    // Its words are Envoy's, which clap does not read: see `cli::envoy`.
    ("envoy", || Command::new("envoy").about("What Diego starts; also when the program is called as `envoy`")),
    ("demo", || command("demo", "Issuer, small app and proxy on one machine, with commands to try")),
];

/// The whole grammar.
pub(super) fn whole() -> Command {
    vestibule().subcommands(COMMANDS.iter().map(|(_, command)| command()))
}

/// As much of the grammar as it takes to read `argv`: once the first word is a command, clap asks no other. Each option is half
/// a KiB, and what the allocator had to find room for at the start stays in part.
pub(super) fn of_argv(argv: &[OsString]) -> Command {
    let typed = argv.get(1).and_then(|word| COMMANDS.iter().find(|(name, _)| word == name));
    typed.map_or_else(whole, |(_, command)| vestibule().subcommand(command()))
}

/// The program without its commands.
fn vestibule() -> Command {
    Command::new("vestibule")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An mTLS sidecar proxy and container entrypoint, with the instance's own identity")
        .after_help("Try it: vestibule demo. What most need of run: vestibule run -h")
        .max_term_width(100)
        .subcommand_required(true)
        .arg_required_else_help(true)
}

fn run() -> Command {
    serving("run", "Start the app behind the proxy; the container's entrypoint")
        .override_usage("vestibule run [OPTIONS] -- COMMAND [ARG...]")
        // Taken so that it can be refused with a remedy: a command that stands before its `--`.
        .arg(positional("STRAY").num_args(0..))
        .arg(positional("COMMAND").num_args(1..).last(true))
}

fn identity() -> Command {
    command("identity", "What a certificate says")
        .override_usage("vestibule identity [FILE] [--json]")
        .after_help("Without FILE: the certificate that the proxy would serve, $CF_INSTANCE_CERT.")
        .arg(positional("FILE"))
}

fn policy() -> Command {
    Command::new("policy")
        .about("Authorization rules on a dry run")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            serving(POLICY_TEST, "The verdict on a certificate, and the rule that decided; exit 0 or 1")
                .name("test")
                .override_usage("vestibule policy test --peer CERT [OPTIONS]"),
        )
}

fn token() -> Command {
    Command::new("token")
        .about("Prove who this instance is, or check who another one is")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            two_screens(TOKEN_JWT, "Print a JWT that the instance's key has signed")
                .name("jwt")
                .override_usage("vestibule token jwt --audience AUD [OPTIONS]"),
        )
        .subcommand(
            command(TOKEN_VAULT_CF, "Print the login of Vault's CF method, to be posted")
                .name("vault-cf")
                .override_usage("vestibule token vault-cf --role ROLE [OPTIONS]"),
        )
        .subcommand(
            two_screens(TOKEN_VERIFY, "The verdict on a token, and the check that decided; exit 0 or 1")
                .name("verify")
                .override_usage("vestibule token verify --ca PATH --audience AUD [OPTIONS] [TOKEN|-]")
                .after_help("Without TOKEN it is read from stdin: who may list processes sees the arguments of all.")
                .arg(positional("TOKEN")),
        )
        .subcommand(
            two_screens(TOKEN_VAULT, "Log in to Vault or OpenBao; print its token, or keep it in a file")
                .name("vault")
                .override_usage("vestibule token vault --addr URL --role ROLE [OPTIONS]"),
        )
}

fn issuer() -> Command {
    two_screens("issuer", "A development CA that rotates instance credentials as Diego does")
        .override_usage("vestibule issuer [OPTIONS] DIR")
        .arg(positional("DIR").required(true))
}

fn completions() -> Command {
    Command::new("completions")
        .about("Print the completions for bash, zsh or fish")
        .override_usage("vestibule completions SHELL")
        .arg(positional("SHELL").required(true))
}

/// What clap would say if there were no command.
pub(super) fn no_command() -> clap::Error {
    let mut vestibule = whole();
    let help = vestibule.render_help();
    vestibule.error(ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, help)
}

/// The grammar for those who show it: choices are listed, files are told apart from other values, and help is no secret. It is
/// not for reading a command line: clap would judge values that are ours to judge.
pub(super) fn shown() -> Command {
    fn show(command: Command, name: &str) -> Command {
        let option = |arg: &Arg| options::of(name).find(|option| arg.get_id() == option.name);
        command
            .mut_args(|arg| match (arg.get_id().as_str(), option(&arg)) {
                ("COMMAND", _) => arg.hide(false).value_hint(ValueHint::CommandName),
                ("SHELL", _) => arg.hide(false).value_parser(PossibleValuesParser::new(super::tools::SHELLS)),
                ("FILE", _) => arg.hide(false).value_hint(ValueHint::FilePath),
                ("DIR", _) => arg.hide(false).value_hint(ValueHint::DirPath),
                ("TOKEN", _) => arg.hide(false).value_hint(ValueHint::Other),
                (_, Some(Opt { arity: Arity::Switch, .. })) => arg,
                (_, Some(Opt { value: "FILE" | "CERT", .. })) => arg.value_hint(ValueHint::FilePath),
                (_, Some(Opt { value: "PATH", .. })) => arg.value_hint(ValueHint::AnyPath),
                (_, Some(Opt { choices: [], .. })) => arg.value_hint(ValueHint::Other),
                (_, Some(Opt { choices, .. })) => arg.value_parser(PossibleValuesParser::new(choices.iter().copied())),
                _ => arg,
            })
            .mut_subcommands(|inner| {
                // Its own options, which are read elsewhere.
                if inner.get_name() == "envoy" {
                    return inner.args(super::envoy::flags());
                }
                let name = match name {
                    "vestibule" => inner.get_name().to_owned(),
                    outer => format!("{outer} {}", inner.get_name()),
                };
                show(inner, &name)
            })
    }
    show(whole(), "vestibule")
}

fn command(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).args(options::of(name).map(arg))
}

/// A command that takes the options of the proxy.
fn serving(name: &'static str, about: &'static str) -> Command {
    two_screens(name, about).after_help(SOURCES)
}

/// A command with more options than a screen has lines: `-h` shows the common ones, and `--help` all.
///
/// clap's long help gives every option a paragraph, which is the opposite of what we want from it. So the roles are
/// swapped: `--help` is clap's short help, one line an option, and `-h` its long help, from which all options are
/// hidden in favour of our own list.
fn two_screens(name: &'static str, about: &'static str) -> Command {
    let help = |arg: Arg, help: &'static str| arg.help(help).hide_long_help(true);
    let all = help(Arg::new("help").long("help").action(ArgAction::HelpShort), "Print help with all options");
    let common = help(Arg::new("-h").short('h').action(ArgAction::HelpLong), "Print help with the common ones");
    Command::new(name)
        .about(about)
        .disable_help_flag(true)
        .args(options::of(name).map(|option| arg(option).hide_long_help(true)))
        .args([all, common])
        .after_long_help(format!("{}\n--help shows all options.", common_options(name)))
}

/// One line for each common option, as wide as a terminal at most.
fn common_options(command: &str) -> String {
    const WIDTH: usize = 80;
    let mut list = String::new();
    for option in options::of(command).filter(|option| option.common) {
        let mut line = format!("  {:<27}{}", format!("{} {}", option.flag(), option.value), option.help);
        if let Some(default) = option.default_text().map(|text| format!(" [{text}]"))
            && line.len() + default.len() <= WIDTH
        {
            line += &default;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{line}");
    }
    list
}

fn positional(name: &'static str) -> Arg {
    Arg::new(name).value_name(name).value_parser(ValueParser::os_string()).hide(true)
}

fn arg(option: &'static Opt) -> Arg {
    let arg = Arg::new(option.name).long(option.name).help(help(option));
    let arg = match option.group.heading() {
        Some(heading) => arg.help_heading(heading),
        None => arg,
    };
    match option.arity {
        Arity::One => arg.value_name(option.value).value_parser(ValueParser::os_string()),
        Arity::Many => arg.value_name(option.value).value_parser(ValueParser::os_string()).action(ArgAction::Append),
        Arity::Switch => arg.action(ArgAction::SetTrue),
    }
}

/// The sentence, the choices and the default.
fn help(option: &Opt) -> String {
    let mut help = option.help.to_owned();
    if !option.choices.is_empty() {
        help += &format!(": {}", option.choices.join(", "));
    }
    if let Some(default) = option.default_text() {
        help += &format!(" [{default}]");
    }
    help
}
