//! The app, started by a process outside of the sandbox, with secrets that are resolved within it.
//!
//! The process ends once the app is there. So the app falls to us, who adopt orphans, and is our child as any other is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::process::Child;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::{LaunchJob, start, start_fault};
use crate::exit::{Exit, Fault};
use crate::secret::SecretValue;
use crate::supervisor::AppCommand;

/// More than any kernel takes for arguments and environment together, in bytes.
const LARGEST: u64 = 16 << 20;

/// The process that will start the app.
#[derive(Debug)]
pub struct AppLauncher {
    child: Child,
    socket: UnixStream,
}

/// How the app ended, as the launcher reports it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LaunchReply {
    /// The app is there, under this number.
    Started(i32),
    /// It is not.
    Failed {
        /// A shell's number for it; `None`: the system's fault.
        status: Option<u8>,
        message: String,
        help: Option<String>,
    },
}

impl AppLauncher {
    /// Starts the process that will start the app of `command`, whose secrets are not known yet.
    ///
    /// # Errors
    /// [`Exit::Internal`].
    pub fn start(command: &AppCommand) -> Result<Self, Fault> {
        let mut words = vec![command.program.as_os_str()];
        words.extend(command.args.iter().map(OsString::as_os_str));
        let adjust = |launcher: &mut std::process::Command| {
            launcher.envs(command.env_set.iter().map(|(name, value)| (name, value)));
            for name in &command.env_remove {
                launcher.env_remove(name);
            }
        };
        let (child, socket) = start(LaunchJob::App, &words, adjust).map_err(|error| failed(&error))?;
        send_stdin(&socket).map_err(|error| failed(&error))?;
        Ok(Self { child, socket })
    }

    /// Has it start the app, with what else `command` says of its environment. It blocks until the app is there, and is ours.
    ///
    /// # Errors
    /// As [`App::spawn`](crate::supervisor::App::spawn).
    pub(in crate::supervisor) fn launch(mut self, command: &AppCommand) -> Result<Pid, Fault> {
        let mut reply = Vec::new();
        let told = self
            .socket
            .write_all(environment(command).bytes())
            .and_then(|()| self.socket.shutdown(Shutdown::Write))
            .and_then(|()| self.socket.read_to_end(&mut reply).map(drop));
        // Once it has ended the app is an orphan, and so our child.
        let ended = self.child.wait();
        told.and(ended.map(drop)).map_err(|error| failed(&error))?;
        match serde_json::from_slice(&reply) {
            Ok(LaunchReply::Started(number)) => Pid::from_raw(number).ok_or_else(gone),
            Ok(LaunchReply::Failed { status, message, help }) => {
                let fault = Fault::new(status.map_or(Exit::Internal, Exit::App), message);
                Err(match help {
                    Some(help) => fault.with_help(help),
                    None => fault,
                })
            }
            Err(_) => Err(gone()),
        }
    }
}

/// Whoever gives up before the app was started has no use for the process.
impl Drop for AppLauncher {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Starts the app of `words` once the proxy at the other end of `socket` says so, in a process that was started for it: see [`AppLauncher`].
///
/// # Errors
/// The proxy is gone, or has given up. Nobody is there to be told.
pub fn launch_app(mut socket: UnixStream, words: &[OsString]) -> io::Result<()> {
    let stdin = receive_stdin(&socket)?;
    let mut text = SecretValue::new(Vec::new());
    let mut piece = [0; 8192];
    loop {
        match socket.read(&mut piece)? {
            0 => break,
            read if (text.bytes().len() + read) as u64 > LARGEST => return Err(io::ErrorKind::InvalidData.into()),
            read => text.push(&piece[..read]),
        }
    }
    let Some((program, args)) = words.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut command = AppCommand::new(program.clone(), args.iter().cloned());
    // Where it ends early the proxy is gone, and the app is not wanted any more.
    read_environment(text.bytes(), &mut command).ok_or(io::ErrorKind::UnexpectedEof)?;
    command.stdin = Some(stdin);
    let reply = match command.start() {
        Ok(pid) => LaunchReply::Started(pid.as_raw_nonzero().get()),
        Err(fault) => {
            let status = match fault.exit {
                Exit::App(status) => Some(status),
                _ => None,
            };
            let line = fault.errors().first().cloned();
            let (message, help) = line.map(|line| (line.message, line.help)).unwrap_or_default();
            LaunchReply::Failed { status, message, help }
        }
    };
    socket.write_all(&serde_json::to_vec(&reply)?)
}

/// `NAME=VALUE` for what is set and `NAME` for what is taken out, each with a NUL behind it, which neither can have in it; and one NUL more.
fn environment(command: &AppCommand) -> SecretValue {
    let is_set = |name: &OsString| command.env_set.iter().any(|(set, _)| set == name);
    let mut text = SecretValue::new(Vec::new());
    for (name, value) in command.env_secret.iter().filter(|(name, _)| !is_set(name)) {
        text.push(name.as_bytes());
        text.push(b"=");
        text.push(value.bytes());
        text.push(b"\0");
    }
    for name in &command.env_remove {
        text.push(name.as_bytes());
        text.push(b"\0");
    }
    text.push(b"\0");
    text
}

/// The other way round; `None`: it is cut off.
fn read_environment(text: &[u8], command: &mut AppCommand) -> Option<()> {
    let entries = text.strip_suffix(b"\0")?;
    if entries.is_empty() {
        return Some(());
    }
    for entry in entries.strip_suffix(b"\0")?.split(|byte| *byte == 0) {
        match entry.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                let name = OsStr::from_bytes(&entry[..at]).to_owned();
                command.env_secret.push((name, SecretValue::new(entry[at + 1..].to_vec())));
            }
            None => command.env_remove.push(OsString::from_vec(entry.to_vec())),
        }
    }
    Some(())
}

/// The app's stdin is ours, and that of the process is the socket.
fn send_stdin(socket: &UnixStream) -> io::Result<()> {
    let stdin = io::stdin();
    let descriptors = [stdin.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_stdin(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut mark = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut mark)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn failed(error: &io::Error) -> Fault {
    start_fault("the app", error)
}

fn gone() -> Fault {
    Fault::new(Exit::Internal, "the process that starts the app has ended before it did")
        .with_help("see whether memory is short, or try --sandbox off")
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::mem;

    /// What is set, and what is removed.
    type ReadEnvironment = (Vec<(OsString, Vec<u8>)>, Vec<OsString>);

    fn read(text: &[u8]) -> Option<ReadEnvironment> {
        let mut command = AppCommand::default();
        read_environment(text, &mut command)?;
        let set = mem::take(&mut command.env_secret).into_iter();
        Some((set.map(|(name, value)| (name, value.bytes().to_vec())).collect(), mem::take(&mut command.env_remove)))
    }

    #[test]
    fn the_environment_comes_as_it_was_sent() {
        let value = |bytes: &[u8]| SecretValue::new(bytes.to_vec());
        let command = AppCommand {
            env_set: vec![("PORT".into(), "1".into())],
            env_secret: vec![
                ("A".into(), value(b"b=c\n")),
                ("EMPTY".into(), value(b"")),
                ("PORT".into(), value(b"2")),
                ("ODD".into(), value(&[0xff, b'='])),
            ],
            env_remove: vec!["GONE".into()],
            ..AppCommand::default()
        };
        let (set, removed) = read(environment(&command).bytes()).unwrap();
        let names: Vec<_> = set.iter().map(|(name, value)| (name.to_str().unwrap(), value.as_slice())).collect();
        // What is set without a secret comes first, and stands on the way there already.
        assert_eq!(names, [("A", &b"b=c\n"[..]), ("EMPTY", b""), ("ODD", &[0xff, b'='])]);
        assert_eq!(removed, ["GONE"]);
        assert_eq!(read(environment(&AppCommand::default()).bytes()), Some((vec![], vec![])));
    }

    #[test]
    fn an_environment_that_is_cut_off_starts_nothing() {
        let command = AppCommand { env_secret: vec![("A".into(), "x".into())], ..AppCommand::default() };
        let whole = environment(&command);
        for length in 0..whole.bytes().len() {
            assert_eq!(read(&whole.bytes()[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_descriptor_goes_over_the_socket() {
        let (one, other) = UnixStream::pair().unwrap();
        send_stdin(&one).unwrap();
        let received = receive_stdin(&other).unwrap();
        let identity = |of: &dyn Fn() -> rustix::io::Result<rustix::fs::Stat>| {
            of().map(|stat| (stat.st_dev, stat.st_ino)).unwrap()
        };
        assert_eq!(identity(&|| rustix::fs::fstat(&received)), identity(&|| rustix::fs::fstat(io::stdin())));
        drop(one);
        assert!(receive_stdin(&other).is_err());
    }
}
