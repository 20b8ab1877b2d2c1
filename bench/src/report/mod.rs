//! What came of a run: tables and goals as Markdown, and a plot.

pub(crate) mod goals;
pub(crate) mod machine;
pub(crate) mod results;
mod svg;
pub(crate) mod table;

use std::fmt::Write;

use crate::measures::Measure;
use goals::Goal;
use machine::Machine;
use results::Results;

/// All that there is to say about a run.
pub(crate) struct Report {
    /// What kind of report it is.
    pub(crate) form: &'static Form,
    /// What it ran on.
    pub(crate) machine: Machine,
    /// Who ran on which CPU.
    pub(crate) places: String,
    /// Peers with their versions.
    pub(crate) versions: Vec<(String, String)>,
    /// Peers that were not installed.
    pub(crate) missing: Vec<&'static str>,
    /// Which form of the run, and how often.
    pub(crate) how: String,
    /// What was measured.
    pub(crate) measures: Vec<&'static Measure>,
    /// What came of it.
    pub(crate) results: Results,
}

/// What is the same in all reports of one kind.
pub(crate) struct Form {
    /// The file that it is written to.
    pub(crate) file: &'static str,
    /// Its heading.
    pub(crate) title: &'static str,
    /// How the figures came about.
    pub(crate) notes: &'static str,
    /// What is aimed for.
    pub(crate) goals: &'static [Goal],
}

/// For connections that come in.
pub(crate) const INBOUND: Form = Form {
    file: "RESULTS.md",
    title: "Results",
    notes: "\
CPU is user and system time of the measured process, of all its threads and of its children, from the kernel's own accounting; latencies and starts are wall time.
Each sample is of a fresh process with one worker (*two-threads*: two); in each round every measure is taken of one peer after the other.
The client offers TLS 1.3, X25519 and AES-128-GCM and nothing else.
A new connection is: accepted, shaken hands on, one small request answered, closed by both sides.
Memory is resident memory; where a peer has a parent and a worker, pages that they share count once.
Idle memory is that of a copy of the program that was dropped from the page cache before, so that this start read it from the disk, with no other process of it; beside it stands that of a copy that was written in one go just before.
*proxy-http*, *proxy-outbound* and *run...* are vestibule with more configured, *run* without the app that it starts.
A cell is the median of the rounds, with the smallest and the largest in parentheses; a ratio is the median of the ratios within each round.
Absolute figures hold for this machine and hour; ratios travel further.",
    goals: goals::INBOUND,
};

/// For what an app dials.
pub(crate) const OUTBOUND: Form = Form {
    file: "OUTBOUND.md",
    title: "Outbound: a proxy speaks mutual TLS for the app",
    notes: "\
Client → measured process → server; plaintext to the process, mutual TLS 1.3 behind it (RSA-2048 on both sides, X25519, AES-128-GCM).
The server is the same for all: the app of this crate, in TLS by rustls.
All verify it by CA and by one identity.
CPU is user and system time of the measured process, of all its threads, from the kernel's own accounting; rates, latencies and starts are wall time, and client and server share the machine with the process, so that a rate says less than a cost.
Each sample is of a fresh process with one worker; in each round every measure is taken of one peer after the other.
A new connection is: accepted, dialled, shaken hands on, one small request answered, closed by both sides; the server has counted which handshakes were resumed.
What a proxy adds is the difference to the same client in mutual TLS with the same server, seconds before.
An idle connection is one that has had a request.
Memory is resident memory.
*relay* is the floor: plaintext on both sides, before the same app without TLS.
*http1*, *envoy-http1* and *forward-proxy* read requests and send them one by one over connections that are kept: new connections of a client are none to the server there.
A cell is the median of the rounds, with the smallest and the largest in parentheses; a ratio is the median of the ratios within each round.
Absolute figures hold for this machine and hour; ratios travel further.
What is missed, and why: [performance](../docs/performance.md#outbound).",
    goals: goals::OUTBOUND,
};

/// For requests that come in.
pub(crate) const HTTP: Form = Form {
    file: "HTTP.md",
    title: "HTTP mode: requests are read, judged and sent on",
    notes: "\
Client → measured process → app: TLS 1.3 (RSA-2048, X25519, AES-128-GCM) to the process, HTTP/1.1 in plaintext over kept connections behind it.
*vestibule* is HTTP mode at its defaults, *tcp-mode* the same program as it is without `--mode http`: it carries bytes and reads none.
envoy is its HTTP connection manager, haproxy `mode http`, nginx `proxy_pass` with 64 kept connections; none of the three writes an access log.
CPU is user and system time of the measured process, of all its threads and of its children, from the kernel's own accounting; handshakes are over before it is read.
Each sample is of a fresh process with one worker; in each round every measure is taken of one peer after the other.
What a proxy adds to a latency is the difference to the same client in mutual TLS with the same app, seconds before.
A body goes over one connection, in HTTP/2 one stream, with windows of 4 MiB.
Memory of a connection is resident memory that came on top of idle, a moment after its one request, and 6 s later, when connections to the app that nothing is asked over have gone in vestibule.
A cell is the median of the rounds, with the smallest and the largest in parentheses; a ratio is the median of the ratios within each round.
Absolute figures hold for this machine and hour; ratios travel further.
What is missed, and why: [performance](../docs/performance.md#http-mode).",
    goals: goals::HTTP,
};

impl Report {
    /// The whole report.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n", self.form.title);
        let peers: Vec<_> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\n", self.machine);
        let _ = writeln!(text, "{}; {}. {}.\n", self.how, self.places, peers.join(", "));
        if !self.missing.is_empty() {
            let _ = writeln!(text, "Not installed, and skipped: {}.\n", self.missing.join(", "));
        }
        let _ = writeln!(text, "{}\n", self.form.notes);
        let mut families: Vec<&str> = self.measures.iter().map(|measure| measure.family).collect();
        families.dedup();
        for family in families {
            let figures =
                self.measures.iter().filter(|measure| measure.family == family).flat_map(|measure| measure.figures);
            let table = table::family(&self.results, &figures.collect::<Vec<_>>());
            let _ = writeln!(text, "## {family}\n\n{table}");
        }
        let goals = goals::table(&self.results, self.form.goals, self.machine.has_ifma);
        if !goals.is_empty() {
            let _ = writeln!(text, "## Goals\n\n{goals}");
        }
        if !self.results.failures().is_empty() {
            let _ = writeln!(text, "## Failures\n");
            for failure in self.results.failures() {
                let _ = writeln!(text, "- {failure}");
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    /// A plot of the figures that matter most.
    pub(crate) fn svg(&self) -> String {
        svg::plot(&self.results, &self.machine.to_string())
    }
}
