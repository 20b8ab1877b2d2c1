//! The table of all cases, and which differences are expected.

use std::fmt::Write;

use super::{Seen, expected};
use crate::report::machine::Machine;
use crate::report::table;

/// What comes of a comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Both alike.
    Same,
    /// They differ as we say that they do, for this reason.
    Expected(&'static str),
    /// They differ.
    Differs,
}

/// One line of the table.
pub(super) struct Row {
    case: String,
    envoy: String,
    vestibule: String,
    /// What comes of it.
    pub(super) verdict: Verdict,
}

/// The lines of the case `name`.
pub(super) fn rows(name: &str, envoy: Seen, vestibule: Seen) -> Vec<Row> {
    const MISSING: &str = "(not noted)";
    let mut theirs = envoy.0;
    let mut rows = Vec::new();
    let mut row = |line: &str, envoy: String, vestibule: String| {
        let case = format!("{name}: {line}");
        let verdict = expected::judge(&case, &envoy, &vestibule);
        rows.push(Row { case, envoy, vestibule, verdict });
    };
    for (line, vestibule) in vestibule.0 {
        let at = theirs.iter().position(|(it, _)| *it == line);
        row(&line, at.map_or_else(|| MISSING.to_owned(), |at| theirs.remove(at).1), vestibule);
    }
    theirs.into_iter().for_each(|(line, envoy)| row(&line, envoy, MISSING.to_owned()));
    rows
}

/// DIFFERENTIAL.md.
pub(super) fn markdown(machine: &Machine, envoy: &str, rows: &[Row]) -> String {
    let mut table = vec![["case", "Envoy", "vestibule", "verdict"].map(str::to_owned).to_vec()];
    let mut reasons: Vec<&str> = Vec::new();
    for row in rows {
        let verdict = match row.verdict {
            Verdict::Same => "same".to_owned(),
            Verdict::Differs => "**DIFFERS**".to_owned(),
            Verdict::Expected(reason) => {
                let at = reasons.iter().position(|it| *it == reason).unwrap_or_else(|| {
                    reasons.push(reason);
                    reasons.len() - 1
                });
                format!("differs ({})", at + 1)
            }
        };
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        table.push(vec![cell(&row.case), cell(&row.envoy), cell(&row.vestibule), verdict]);
    }
    let count = |wanted: fn(&Verdict) -> bool| rows.iter().filter(|row| wanted(&row.verdict)).count();
    let mut text = format!(
        "# Envoy and Vestibule with Diego's files\n\n{machine}; Envoy {envoy}\n\n{} observations: {} the same, {} that differ for a reason given below, {} that differ \
         for none. See [README.md](README.md).\n\n{}",
        rows.len(),
        count(|it| *it == Verdict::Same),
        count(|it| matches!(it, Verdict::Expected(_))),
        count(|it| *it == Verdict::Differs),
        table::of_text(&table)
    );
    if !reasons.is_empty() {
        text += "\n## Why they differ\n\n";
        for (at, reason) in reasons.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}. {reason}", at + 1);
        }
    }
    text
}
