//! What `check` says: how bad, about what, and what helps.

use std::fmt;

use serde::Serialize;
use strum::VariantArray;

use crate::commands::text;
use crate::diagnostics::{LONGEST_LINE, bounded};
use crate::exit::Exit;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// It does not work, or clients will refuse it.
    Problem,
    /// It works, and may not for long, or not for everybody.
    Warning,
    /// Looked at, and good.
    Ok,
}

/// What was looked at. A closed set: scripts choose by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    /// Flags, variables and the file.
    Configuration,
    /// The two files, and whether they belong together.
    Certificate,
    /// The certificates behind the leaf.
    Chain,
    /// The dates.
    Validity,
    /// This machine's clock.
    Clock,
    /// What Cloud Foundry wrote into the subject.
    Identity,
    /// The platform's sign that the instance is about to stop.
    Retirement,
    /// The CAs that vouch for clients.
    ClientCa,
    /// What these CAs have taken back.
    Crl,
    /// Who may come in.
    Rules,
    /// How the files came into the container.
    Mount,
    /// The kernel's file events.
    Inotify,
    /// The addresses that clients dial.
    Listen,
    /// The address at which health is asked for.
    Admin,
    /// The app.
    App,
    /// How requests are served.
    Http,
    /// What the router in front of us does.
    Route,
    /// Whom the app dials through us.
    Outbound,
    /// What is written for the app, and what follows a rotation.
    Files,
    /// Where the app asks for tokens.
    Tokens,
    /// What the app's environment refers to.
    Secrets,
    /// The limit on open descriptors.
    Descriptors,
    /// The container's memory.
    Memory,
    /// Worker threads.
    Threads,
    /// How the proxy's own process is fenced in.
    Sandbox,
    /// How long connections last.
    Timeouts,
    /// The time that a stop may take.
    Drain,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) subject: Subject,
    /// What is so.
    pub(super) message: String,
    /// What to do about it; nothing where it is good.
    pub(super) help: Option<String>,
}

/// The findings of one `check`, in the order in which they were made.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings(Vec<Finding>);

/// What `--json` prints.
#[derive(Serialize)]
struct CheckReport<'a> {
    ok: bool,
    findings: &'a [Finding],
}

impl Findings {
    pub(super) fn problem(&mut self, subject: Subject, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Problem, subject, message.into(), Some(help.into()));
    }

    pub(super) fn warning(&mut self, subject: Subject, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Warning, subject, message.into(), Some(help.into()));
    }

    pub(super) fn ok(&mut self, subject: Subject, message: impl Into<String>) {
        self.note(Severity::Ok, subject, message.into(), None);
    }

    fn note(&mut self, severity: Severity, subject: Subject, message: String, help: Option<String>) {
        let message = bounded(LONGEST_LINE, format_args!("{message}"));
        self.0.push(Finding { severity, subject, message, help });
    }

    /// Warnings do not count.
    pub(super) fn exit(&self) -> Exit {
        if self.0.iter().any(|finding| finding.severity == Severity::Problem) { Exit::Findings } else { Exit::Success }
    }

    /// One line for each.
    pub(super) fn to_text(&self) -> String {
        self.0.iter().map(|finding| format!("{finding}\n")).collect()
    }

    /// Where the manual has more of what is not good: one line for each subject.
    pub(super) fn see_also(&self) -> String {
        let mut text = String::new();
        let mut subjects = Vec::new();
        for finding in self.0.iter().filter(|finding| finding.severity != Severity::Ok) {
            if !subjects.contains(&finding.subject) {
                subjects.push(finding.subject);
                text += &format!(
                    "{:<8} {:<13} docs/troubleshooting.md#check-{}\n",
                    "see", finding.subject, finding.subject
                );
            }
        }
        text
    }

    /// One object.
    ///
    /// # Errors
    /// Never: there are only strings in it.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        let document = CheckReport { ok: self.exit() == Exit::Success, findings: &self.0 };
        serde_json::to_string_pretty(&document).map(|text| text + "\n")
    }
}

/// One line, whatever stands in the names of files and in certificates.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = match &self.help {
            Some(help) => format!("{}; {help}", self.message),
            None => self.message.clone(),
        };
        write!(f, "{:<8} {:<13} {}", self.severity, self.subject, text::one_line(&said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_aligned_line_whatever_stands_in_it() {
        let mut found = Findings::default();
        found.ok(Subject::Configuration, "good");
        found.problem(Subject::Certificate, "a\nb\u{1b}[31m", "write c");
        assert_eq!(found.to_text(), "ok       configuration good\nproblem  certificate   a\\nb\\u{1b}[31m; write c\n");
    }

    #[test]
    fn what_is_not_good_is_led_to_its_row_in_the_manual_and_each_subject_has_one() {
        let mut found = Findings::default();
        found.ok(Subject::Configuration, "good");
        found.problem(Subject::Certificate, "a", "b");
        found.warning(Subject::Crl, "a", "b");
        found.warning(Subject::Certificate, "c", "d");
        let certificate = "see      certificate   docs/troubleshooting.md#check-certificate\n";
        assert_eq!(
            found.see_also(),
            format!("{certificate}see      crl           docs/troubleshooting.md#check-crl\n")
        );

        let manual = include_str!("../../../docs/troubleshooting.md");
        for subject in Subject::VARIANTS {
            assert!(manual.contains(&format!("| <a id=\"check-{subject}\"></a>`{subject}` |")), "{subject}");
        }
    }

    #[test]
    fn only_a_problem_makes_the_status_1() {
        let mut found = Findings::default();
        assert_eq!(found.exit(), Exit::Success);
        found.warning(Subject::App, "a", "b");
        assert_eq!(found.exit(), Exit::Success);
        found.problem(Subject::App, "a", "b");
        assert_eq!(found.exit(), Exit::Findings);
    }

    #[test]
    fn the_object_names_every_part_of_a_finding() {
        let mut found = Findings::default();
        found.warning(Subject::App, "a", "b");
        found.ok(Subject::Threads, "c");
        let object: serde_json::Value = serde_json::from_str(&found.to_json().unwrap()).unwrap();
        let expected = serde_json::json!({ "ok": true, "findings": [
            { "severity": "warning", "subject": "app", "message": "a", "help": "b" },
            { "severity": "ok", "subject": "threads", "message": "c", "help": null },
        ]});
        assert_eq!(object, expected);
    }

    #[test]
    fn a_subject_has_one_name_in_text_and_in_json() {
        for subject in [Subject::Configuration, Subject::Crl, Subject::Inotify, Subject::Descriptors, Subject::Drain] {
            assert_eq!(serde_json::json!(subject), subject.to_string());
        }
    }
}
