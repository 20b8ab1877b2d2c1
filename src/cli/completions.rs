//! Completions for shells, made of the same grammar as the command line.

use clap_complete::Shell;

use super::grammar;
use super::tools::SHELLS;

/// What bash is told beside: behind `run ... --` stands another command.
const BASH_RUN: &str = r#"
    for ((i = 2; i < COMP_CWORD; i++)); do
        if [[ "${COMP_WORDS[1]}" == run && "${COMP_WORDS[i]}" == -- ]]; then
            if ((i + 1 == COMP_CWORD)); then
                COMPREPLY=($(compgen -c -- "${cur}"))
            else
                COMPREPLY=($(compgen -f -- "${cur}"))
            fi
            return 0
        fi
    done
"#;

/// The same for zsh, as one more line for `_arguments`.
const ZSH_RUN: &str = "'*::command:_normal' \\\n";

/// The same line for fish.
const FISH_RUN: &str = "complete -c vestibule -n \"__fish_seen_subcommand_from run; \
    and contains -- -- (commandline -opc)\" -x -a \"(__fish_complete_command)\"\n";

/// What clap does not tell fish: the choices of an argument without an option.
fn fish_shells() -> String {
    let shells = SHELLS.join(" ");
    format!("complete -c vestibule -n \"__fish_seen_subcommand_from completions\" -f -a \"{shells}\"\n")
}

/// The script with which `shell` completes commands, options and choices.
pub fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut grammar::shown(), "vestibule", &mut script);
    let script = String::from_utf8(script).unwrap_or_default();
    match shell {
        Shell::Bash => script.replacen("    opts=\"\"\n", &format!("    opts=\"\"\n{BASH_RUN}"), 1),
        Shell::Zsh => match script.find("\n(run)").and_then(|run| Some(run + script[run..].find("&& ret=0")?)) {
            Some(end) => [&script[..end], ZSH_RUN, &script[end..]].concat(),
            None => script,
        },
        Shell::Fish => script + FISH_RUN + &fish_shells(),
        _ => script,
    }
}
