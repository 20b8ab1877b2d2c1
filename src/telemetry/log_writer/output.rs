//! Where lines end up: whole, or missing and counted.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Writes the line that stands in the place of so many that were dropped.
pub(crate) type DropNotice = Box<dyn Fn(u64) -> String + Send>;

/// A file that lines are written to, which may take a part of one, or nothing for a while, as on a disk that is full.
pub(super) struct LineOutput<'a, F> {
    to: &'a F,
    gap: &'a DropNotice,
    /// Lines that did not get there since the last one that did.
    missing: u64,
    /// What it took last is not a whole line.
    is_cut: bool,
}

impl<'a, F: AsFd> LineOutput<'a, F> {
    pub(super) fn new(to: &'a F, gap: &'a DropNotice) -> Self {
        Self { to, gap, missing: 0, is_cut: false }
    }

    /// Writes `lines`, however long it takes, behind a word about those that are missing before them. Gives how many could not be written.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        let lost = if self.tell_gap() { self.write_all(lines).map_or_else(count, |()| 0) } else { count(lines) };
        self.missing += lost;
        lost
    }

    /// So many lines are missing here.
    pub(super) fn skip(&mut self, lines: u64) {
        self.missing += lines;
        self.tell_gap();
    }

    /// Says how many are missing, if any are; whether it is said.
    fn tell_gap(&mut self) -> bool {
        let is_told = self.missing == 0 || self.write_all((self.gap)(self.missing).as_bytes()).is_ok();
        if is_told {
            self.missing = 0;
        }
        is_told
    }

    /// Writes `text`, from the beginning of a line on; what is left of it where that cannot be.
    fn write_all<'t>(&mut self, text: &'t [u8]) -> Result<(), &'t [u8]> {
        if self.is_cut && !text.is_empty() {
            write_all(self.to, b"\n").map_err(|_| text)?;
            self.is_cut = false;
        }
        write_all(self.to, text).inspect_err(|left| {
            let written = &text[..text.len() - left.len()];
            self.is_cut = written.last().is_some_and(|last| *last != b'\n');
        })
    }
}

/// Writes all of `lines`, however long it takes; what is left of them where that cannot be.
fn write_all<'a>(to: &impl AsFd, mut lines: &'a [u8]) -> Result<(), &'a [u8]> {
    while !lines.is_empty() {
        match rustix::io::write(to, lines) {
            Ok(written) => lines = &lines[written..],
            Err(Errno::INTR) => {}
            // The app has made the file that we share non-blocking, as Node.js does with pipes.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(to, PollFlags::OUT)], None)),
            Err(_) => return Err(lines),
        }
    }
    Ok(())
}

/// How many lines there are.
pub(super) fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Whether `to` takes a line, of 4 KiB at most, without a wait (pipe(7)).
pub(super) fn has_room(to: &impl AsFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(to, PollFlags::OUT)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}
