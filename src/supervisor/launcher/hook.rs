//! The program of `--on-rotation`, started by a process outside of the sandbox, each time that it is asked for.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{LaunchJob, start, start_fault};
use crate::exit::{Exit, Fault};
use crate::supervisor::programs::ProgramOutcome;
use crate::supervisor::{AppExitStatus, PROXY_VARIABLE, Programs, Reaper};

/// The longest request or reply, in bytes.
const LARGEST: u64 = 4096;

/// For a reply, beyond the time that the program has.
const REPLY_GRACE: Duration = Duration::from_secs(5);

/// The process that starts the program.
#[derive(Debug)]
pub struct HookLauncher {
    /// Not tokio's yet: it is there before any runtime that serves.
    socket: std::os::unix::net::UnixStream,
    /// Once it was used.
    asked: Mutex<Option<BufReader<UnixStream>>>,
}

/// What the program is told of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRequest {
    /// The number of the pair's generation.
    pub generation: u64,
    /// When the pair ends, in seconds since 1970. No text: whoever has taken over the proxy could have the program told anything by that.
    pub not_after: Option<u64>,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HookReply {
    Exited(u8),
    Killed(u8),
    TimedOut,
    NotStarted(String),
}

impl HookRequest {
    /// `program` with `args`, which is told of it. Nobody types for it; what it says goes where the app's words go.
    pub fn command(&self, program: &OsStr, args: &[OsString]) -> Command {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).env("INSTANCE_GENERATION", self.generation.to_string());
        // The app may look into whatever runs by its user.
        command.env_remove(PROXY_VARIABLE);
        let end = self.not_after.and_then(|end| Timestamp::from_second(i64::try_from(end).ok()?).ok());
        if let Some(end) = end {
            command.env("INSTANCE_NOT_AFTER", format!("{end:.0}"));
        }
        command
    }
}

impl HookLauncher {
    /// Starts the process that will start `program` with `args`.
    ///
    /// # Errors
    /// [`Exit::Internal`].
    pub fn start(program: &str, args: &[String]) -> Result<Self, Fault> {
        let mut words = vec![OsStr::new(program)];
        words.extend(args.iter().map(OsStr::new));
        // Whoever reaps children reaps it too: it ends with the socket, and nobody waits for it.
        let (_, socket) = start(LaunchJob::Hook, &words, |_| ())
            .map_err(|error| start_fault("the program of --on-rotation", &error))?;
        socket.set_nonblocking(true).map_err(|error| Fault::new(Exit::Internal, error.to_string()))?;
        Ok(Self { socket, asked: Mutex::default() })
    }

    /// Has it run the program, for `limit` at most.
    pub async fn run(&self, request: &HookRequest, limit: Duration) -> ProgramOutcome {
        let mut asked = self.asked.lock().await;
        let replied = timeout(limit + REPLY_GRACE, async {
            let stream = match &mut *asked {
                Some(stream) => stream,
                None => asked.insert(BufReader::new(UnixStream::from_std(self.socket.try_clone()?)?)),
            };
            let mut line = serde_json::to_vec(request)?;
            line.push(b'\n');
            stream.write_all(&line).await?;
            let mut reply = Vec::new();
            stream.take(LARGEST).read_until(b'\n', &mut reply).await?;
            serde_json::from_slice(&reply).map_err(io::Error::from)
        });
        match replied.await {
            Ok(Ok(HookReply::Exited(code))) => ProgramOutcome::Ended(AppExitStatus::Exited(code)),
            Ok(Ok(HookReply::Killed(signal))) => ProgramOutcome::Ended(AppExitStatus::Killed(signal)),
            Ok(Ok(HookReply::TimedOut)) => ProgramOutcome::TimedOut,
            Ok(Ok(HookReply::NotStarted(why))) => ProgramOutcome::NotStarted(why),
            Ok(Err(error)) => {
                let what = format!("the process that starts it does not answer ({error}); a restart brings it back");
                ProgramOutcome::NotStarted(what)
            }
            Err(_) => ProgramOutcome::TimedOut,
        }
    }
}

/// Starts the program of `words` whenever the proxy at the other end of `socket` asks for it, and gives it `limit` each time, in a process that was started for it: see [`HookLauncher`].
/// Must be called within a runtime without threads of its own; ends with the socket.
///
/// # Errors
/// Nobody is there to be told.
pub async fn launch_hooks(
    socket: std::os::unix::net::UnixStream,
    words: &[OsString],
    limit: Duration,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut stream = BufReader::new(UnixStream::from_std(socket)?);
    let Some((program, args)) = words.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let reaper = Reaper::without_app().map_err(|fault| io::Error::other(fault.message()))?;
    let programs = reaper.programs();
    tokio::spawn(reaper.run());
    loop {
        let mut line = Vec::new();
        (&mut stream).take(LARGEST).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        let request: HookRequest = serde_json::from_slice(&line)?;
        let mut command = request.command(program, args);
        let outcome = tokio::select! {
            outcome = run(&programs, &mut command, limit) => outcome,
            // No more requests come while one is answered: the proxy is gone, and the program goes with it.
            _ = stream.fill_buf() => return Ok(()),
        };
        let reply = match outcome {
            ProgramOutcome::Ended(AppExitStatus::Exited(code)) => HookReply::Exited(code),
            ProgramOutcome::Ended(AppExitStatus::Killed(signal)) => HookReply::Killed(signal),
            ProgramOutcome::TimedOut => HookReply::TimedOut,
            ProgramOutcome::NotStarted(why) => HookReply::NotStarted(why),
        };
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
    }
}

async fn run(programs: &Programs, command: &mut Command, limit: Duration) -> ProgramOutcome {
    match programs.start(command) {
        Ok(program) => program.outcome(limit).await,
        Err(error) => ProgramOutcome::NotStarted(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program is told by the request `line`, if that is one.
    fn told(line: &str) -> Option<Option<OsString>> {
        let request: HookRequest = serde_json::from_str(line).ok()?;
        let command = request.command(OsStr::new("true"), &[]);
        let end = command.get_envs().find(|(name, _)| *name == "INSTANCE_NOT_AFTER");
        Some(end.and_then(|(_, value)| value.map(OsStr::to_owned)))
    }

    #[test]
    fn the_program_is_not_given_the_password_of_a_proxy() {
        let command = HookRequest { generation: 2, not_after: None }.command(OsStr::new("true"), &[]);
        assert!(command.get_envs().any(|change| change == (OsStr::new(PROXY_VARIABLE), None)));
    }

    #[test]
    fn the_end_of_the_pair_is_a_time_whatever_a_request_says() {
        let at = |not_after: &str| told(&format!(r#"{{"generation":2,"not_after":{not_after}}}"#));
        assert_eq!(at("1700000000"), Some(Some("2023-11-14T22:13:20Z".into())));
        assert_eq!((at("null"), at("18446744073709551615"), at("999999999999")), (Some(None), Some(None), Some(None)));
        for other in [r#""2023-11-14T22:13:20Z""#, r#""x\n$(id)""#, "-1", "1.5"] {
            assert_eq!(at(other), None, "{other}");
        }
    }
}
