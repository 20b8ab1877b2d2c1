//! The man page, in the macros of man(7).

use std::fmt::Write;

use vestibule::cli;
use vestibule::config::options;
use vestibule::config::options::{Arity, Opt};
use vestibule::exit::Exit;

const DESCRIPTION: &str = "\
A TLS proxy for one instance of an application. It serves TLS with a certificate and a key that are handed to it as files and replaced while it \
runs, as Cloud Foundry does, and passes plain bytes to the app. As the container's entrypoint (`vestibule run`) it starts the app, forwards signals, \
reaps orphans, drains connections on a stop, and ends with the app's status.

With `CF_INSTANCE_CERT` and `CF_INSTANCE_KEY` set no option is needed: it listens on port 8443 and dials the app at 127.0.0.1, port `$PORT` or 8080.";

const SOURCES: &str = "\
Each option is also a variable (`--tls-min`: `VESTIBULE_TLS_MIN`) and a key in the file that `--config` names (`tls-min`). Flag beats variable, \
variable beats file. All diagnostics are reported in one run. A list is given by commas or by repeating the flag. A duration has a unit: `10s`, `1m 30s`.";

const SIGNALS: [(&str, &str); 3] = [
    ("TERM, INT", "Drain: close the listeners, let connections end, stop the app. A second one skips ahead."),
    ("HUP", "Look at the credentials, client CAs and rules now."),
    ("every other", "`run`: passed on to the app."),
];

const EXAMPLES: [(&str, &str); 5] = [
    ("The app behind TLS, on Cloud Foundry:", "vestibule run -- ./app"),
    ("Elsewhere:", "vestibule run --cert /tls/tls.crt --key /tls/tls.key --app 3000 -- ./app"),
    (
        "Only apps of the same space may come in:",
        "vestibule run --client-ca /etc/clients --allow cf:same:space -- ./app",
    ),
    ("What is wrong here?", "vestibule check"),
    ("Try it on one machine:", "vestibule demo"),
];

pub(super) fn page() -> String {
    let mut page = Page(String::new());
    let mut grammar = cli::grammar();
    grammar.build();
    let about = grammar.get_about().unwrap().to_string();
    page.0 += ".\\\" Written by the program's tests; changes belong into its table of options.\n";
    page.line(&format!(".TH VESTIBULE 1 \"\" \"vestibule {}\" \"User Commands\"", env!("CARGO_PKG_VERSION")));
    page.line(".SH NAME");
    page.line(&format!("vestibule \\- {}", escaped(&about)));

    let commands: Vec<_> = grammar.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect();
    let leaves = commands.iter().flat_map(|command| match command.has_subcommands() {
        true => command.get_subcommands().filter(|inner| inner.get_name() != "help").cloned().collect(),
        false => vec![command.clone()],
    });
    let leaves: Vec<_> = leaves.collect();
    page.line(".SH SYNOPSIS");
    page.line(".nf");
    for command in &leaves {
        let usage = command.clone().render_usage().to_string();
        page.line(&escaped(usage.trim_start_matches("Usage: ")));
    }
    page.line(".fi");
    page.line(".SH DESCRIPTION");
    page.prose(DESCRIPTION);
    page.line(".SH COMMANDS");
    for command in &leaves {
        let name = command.get_bin_name().unwrap().trim_start_matches("vestibule ").to_owned();
        page.tagged(&bold(&name), &format!("{}.", command.get_about().unwrap()));
    }

    page.line(".SH OPTIONS OF RUN, PROXY, CHECK AND POLICY TEST");
    page.prose(SOURCES);
    for (group, members) in super::groups() {
        page.line(&format!(".SS {}", group.heading().unwrap()));
        members.into_iter().for_each(|option| page.option(option));
    }
    page.line(".SH OPTIONS OF THE TOOLS");
    for tool in super::TOOLS {
        let own = super::own(tool);
        if !own.is_empty() {
            page.line(&format!(".SS {tool}"));
            own.into_iter().for_each(|option| page.option(option));
        }
    }

    page.line(".SH ENVIRONMENT");
    page.tagged(&bold("VESTIBULE_*"), "The options. An unknown one is an error.");
    for option in options::OPTIONS {
        if let Some(platform) = option.platform {
            page.tagged(&bold(platform), &format!("Stands for `{}`, where nothing else gives it.", option.flag()));
        }
    }
    page.tagged(&bold("NO_COLOR"), "When set and not empty, text lines have no colour.");
    page.line(".SH SIGNALS");
    SIGNALS.iter().for_each(|(signal, meaning)| page.tagged(&bold(signal), meaning));
    page.line(".SH EXIT STATUS");
    for (number, meaning) in Exit::ALL.map(Exit::explained) {
        page.tagged(&bold(number), &format!("{}.", capitalised(meaning)));
    }
    page.line(".SH EXAMPLES");
    for (when, example) in EXAMPLES {
        page.prose(when);
        page.0 += &format!(".RS\n.nf\n{}\n.fi\n.RE\n", escaped(example));
    }
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        writeln!(self.0, "{line}").unwrap();
    }

    fn prose(&mut self, text: &str) {
        for paragraph in text.split("\n\n") {
            // A heading begins a paragraph by itself.
            if !self.0.lines().last().is_some_and(|line| line.starts_with(".SH")) {
                self.line(".PP");
            }
            self.line(&marked(paragraph));
        }
    }

    fn tagged(&mut self, tag: &str, text: &str) {
        self.0 += &format!(".TP\n{tag}\n{}\n", marked(text));
    }

    fn option(&mut self, option: &Opt) {
        let mut tag = bold(&option.flag());
        if !option.value.is_empty() {
            write!(tag, " \\fI{}\\fR", escaped(option.value)).unwrap();
        }
        let mut text = option.help.to_owned();
        if !option.choices.is_empty() {
            write!(text, ": {}", option.choices.join(", ")).unwrap();
        }
        text += ".";
        if let Some(default) = option.default_text() {
            write!(text, " Default: {default}.").unwrap();
        }
        if option.arity == Arity::Many {
            text += " May be repeated.";
        }
        self.tagged(&tag, &text);
    }
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

/// Text with words between backquotes in bold.
fn marked(text: &str) -> String {
    let mut parts = text.split('`').enumerate();
    let line: String = parts.by_ref().map(|(i, part)| if i % 2 == 1 { bold(part) } else { escaped(part) }).collect();
    // A full stop or an apostrophe in front would make a request of the line.
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

/// What roff takes as it is.
pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('~', "\\(ti").replace('^', "\\(ha")
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
