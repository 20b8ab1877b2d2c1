//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// What Vestibule and its peers cost, measured in one run on one machine.
#[derive(Debug, Parser)]
#[command(name = "bench", version, max_term_width = 120)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Task,
}

/// The commands. The last five are what the driver starts itself as.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Measure, print the tables, and write RESULTS.md and RESULTS.svg
    Run(RunArgs),
    /// The same for outbound: what it costs an app to let a proxy speak mutual TLS for it; writes OUTBOUND.md
    Outbound(RunArgs),
    /// The same for HTTP mode, over HTTP/1.1 and HTTP/2; writes HTTP.md
    Http(RunArgs),
    /// Count the instructions of a handshake and of the relay under valgrind
    Callgrind(CallgrindArgs),
    /// Envoy and vestibule side by side with Diego's files; writes DIFFERENTIAL.md, and fails on a difference that nobody expects
    Differential(DifferentialArgs),
    /// Stop and start instances under load, behind a client that retries as gorouter does; writes ROLLING.md
    Rolling(RollingArgs),
    /// Floods of strangers in a memory control group, beside established traffic; writes FLOOD.md, and fails if any does harm
    Flood(FloodArgs),
    /// Name the measures, and the peers that are installed
    List,
    /// The app: small answers, many bytes down, many bytes up
    #[command(hide = true)]
    App {
        /// The folder of its pair and of its clients' CA.
        credentials: PathBuf,
    },
    /// The app of an instance, until TERM
    #[command(hide = true)]
    Web {
        /// Where it listens [default: $PORT].
        #[arg(long)]
        port: Option<u16>,
    },
    /// New connections, one after the other, until stdin ends; then writes how many
    #[command(hide = true)]
    Storm {
        /// Whom to dial.
        server: SocketAddr,
    },
    /// The floor: a relay without TLS
    #[command(hide = true)]
    Relay {
        /// Where clients dial.
        listen: SocketAddr,
        /// The app.
        app: SocketAddr,
    },
    /// Become another program that ends with its parent, on a CPU of its own
    #[command(hide = true)]
    Exec {
        /// The parent; when it is gone already, nothing is started.
        #[arg(long)]
        parent: i32,
        /// The CPU to stay on.
        #[arg(long)]
        cpu: Option<usize>,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
}

/// What `run`, `outbound` and `http` are told.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Shorter samples and fewer of them: under three minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only the measures whose name begins so; may be repeated. Nothing is written then
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Only these peers, by name; vestibule is always there. Nothing is written then
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) peers: Option<Vec<String>>,
    /// How often each sample is taken [default: 5, quick: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: Option<u32>,
    /// Another build of vestibule to measure beside this one; may be repeated
    #[arg(long, value_name = "NAME=PATH", value_parser = named_path)]
    pub(crate) also: Vec<(String, PathBuf)>,
    /// Leave it to the kernel which CPU each process runs on
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// The folder for what is written, also for a run of some measures only [default: bench/]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Where the product comes from.
    #[command(flatten)]
    pub(crate) product: ProductArgs,
}

/// What `callgrind` is told.
#[derive(Debug, Args)]
pub(crate) struct CallgrindArgs {
    /// Where the product comes from.
    #[command(flatten)]
    pub(crate) product: ProductArgs,
}

/// What `differential` is told.
#[derive(Debug, Args)]
pub(crate) struct DifferentialArgs {
    /// Only the cases whose name begins so; may be repeated. Nothing is written then
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Where the product comes from.
    #[command(flatten)]
    pub(crate) product: ProductArgs,
}

impl DifferentialArgs {
    /// Whether the case called `name` is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|it| name.starts_with(it.as_str()))
    }
}

/// What `rolling` is told.
#[derive(Debug, Args)]
pub(crate) struct RollingArgs {
    /// How often an instance is stopped; each takes about three seconds
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) stops: usize,
    /// Requests a second
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) rate: u32,
    /// Seconds between the retirement pair and TERM to the app; Diego waits for 5
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) pause: f64,
    /// Only these: drop-in, envoy, run. Nothing is written then
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Where the product comes from.
    #[command(flatten)]
    pub(crate) product: ProductArgs,
}

impl RollingArgs {
    /// Between the retirement pair and TERM to the app; none for what is no time.
    pub(crate) fn pause(&self) -> Duration {
        Duration::try_from_secs_f64(self.pause).unwrap_or_default()
    }

    /// Whether the kind of instance called `name` is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|it| it == name)
    }
}

/// What `flood` is told.
#[derive(Debug, Args)]
pub(crate) struct FloodArgs {
    /// The memory limit of the control group, in MiB
    #[arg(long, default_value_t = 32, value_name = "MIB", value_parser = clap::value_parser!(u64).range(8..=65536))]
    pub(crate) memory: u64,
    /// Connections of each flood
    #[arg(long, default_value_t = 600, value_name = "N")]
    pub(crate) connections: usize,
    /// Only the floods whose name begins so; may be repeated. Nothing is written then
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Where the product comes from.
    #[command(flatten)]
    pub(crate) product: ProductArgs,
}

impl FloodArgs {
    /// Whether the flood called `name` is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|it| name.starts_with(it.as_str()))
    }
}

/// Where the product comes from.
#[derive(Debug, Args)]
pub(crate) struct ProductArgs {
    /// Measure this binary of vestibule, instead of building the one of this tree
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
}

fn named_path(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write it as NAME=PATH")?;
    Ok((name.to_owned(), PathBuf::from(path)))
}
