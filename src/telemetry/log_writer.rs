//! How lines get to stderr while the program serves: by a thread of their own, so that nothing else ever waits for whoever
//! reads them.
//!
//! stderr is shared with the app, so it must not be made non-blocking: the flag belongs to the open file, not to us. A
//! write to a pipe that is full therefore blocks, and only the writer's thread may be blocked. Lines wait in a queue with
//! a bound in bytes; what does not fit is dropped and counted, and the place of the gap is marked by a line of its own.

use std::io::Write;
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use std::{io, mem, panic, thread};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Bytes of lines that wait, those in the writer's hands included.
const QUEUE: usize = 256 * 1024;

/// Bytes of a buffer that is kept when it is empty.
const KEPT: usize = 16 * 1024;

/// Bytes of the thread's stack; of these it touches two pages.
const STACK: usize = 64 * 1024;

/// Writes the line that stands in the place of so many that were dropped.
pub(crate) type Gap = Box<dyn Fn(u64) -> String + Send>;

/// Where all lines go from the start of the thread on; before, or without one, straight to stderr.
static QUEUED: OnceLock<&'static Queue> = OnceLock::new();

/// Lines that did not get to stderr.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that did not get to stderr since the start of the process: nobody read them, or it could not be written to.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Lets a thread write the lines from now on, those of panics too. Where no thread can be had they are written by whoever
/// has something to say, as before.
pub(crate) fn start(gap: Gap) {
    if QUEUED.get().is_some() {
        return;
    }
    // It lives as long as the process.
    let queue: &'static Queue = Box::leak(Box::default());
    let thread = thread::Builder::new().name("vestibule-log".to_owned()).stack_size(STACK);
    if thread.spawn(move || queue.write_for_ever(&io::stderr(), &gap)).is_ok() && QUEUED.set(queue).is_ok() {
        panic::set_hook(Box::new(|panic| write(panic_text(panic).as_bytes())));
    }
}

/// What the standard library says of a panic, whose own hook would wait for stderr.
fn panic_text(panic: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    format!("thread '{}' {panic}\n", thread.name().unwrap_or("<unnamed>"))
}

/// Writes `lines`, each with its end, or drops them where too many wait.
pub(crate) fn write(lines: &[u8]) {
    match QUEUED.get() {
        Some(queue) => queue.push(lines),
        // Nothing is left to say it to.
        None => drop(io::stderr().write_all(lines)),
    }
}

/// Waits until all lines are written, for `limit` at most.
pub(crate) fn flush(limit: Duration) {
    if let Some(queue) = QUEUED.get() {
        queue.flush(limit);
    }
}

/// stderr, for the log's layer, which hands over whole lines.
pub(crate) struct QueueWriter;

impl Write for QueueWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        write(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<QueuedLines>,
    /// Something waits.
    filled: Condvar,
    /// Nothing does.
    emptied: Condvar,
}

#[derive(Default)]
struct QueuedLines {
    lines: Vec<u8>,
    /// Bytes in the writer's hands.
    taken: usize,
    /// Lines that came since `lines` was full. As long as there are any, all others are dropped too: so there is one gap,
    /// and it is behind `lines`.
    dropped: u64,
}

impl QueuedLines {
    /// Whether there is nothing to be written, a word about a gap included.
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueuedLines> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, lines: &[u8]) {
        let mut waiting = self.lock();
        if waiting.dropped > 0 || waiting.taken + waiting.lines.len() + lines.len() > QUEUE {
            waiting.dropped += count(lines);
            DROPPED.fetch_add(count(lines), Ordering::Relaxed);
            drop(waiting);
            // With nothing else to write there is still the gap to be told of.
            self.filled.notify_one();
            return;
        }
        waiting.lines.extend_from_slice(lines);
        drop(waiting);
        self.filled.notify_one();
    }

    fn flush(&self, limit: Duration) {
        let is_busy = |waiting: &mut QueuedLines| waiting.taken > 0 || !waiting.is_empty();
        // That the time is over is as good an end as any.
        drop(self.emptied.wait_timeout_while(self.lock(), limit, is_busy));
    }

    fn write_for_ever(&self, to: &impl AsFd, gap: &Gap) {
        let mut lines = Vec::new();
        loop {
            let dropped = self.take(&mut lines);
            if let Err(left) = write_all(to, &lines) {
                DROPPED.fetch_add(count(left), Ordering::Relaxed);
            }
            if dropped > 0 {
                // The counter has them as well.
                let _ = write_all(to, gap(dropped).as_bytes());
            }
        }
    }

    /// Waits for lines, and swaps them for `lines`, which have been written. Gives how many are missing behind them.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        lines.clear();
        lines.shrink_to(KEPT);
        let mut waiting = self.lock();
        waiting.taken = 0;
        if waiting.is_empty() {
            self.emptied.notify_all();
        }
        waiting = self.filled.wait_while(waiting, |waiting| waiting.is_empty()).unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut waiting.lines, lines);
        waiting.taken = lines.len();
        mem::take(&mut waiting.dropped)
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
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

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::{Arc, mpsc};
    use std::thread;

    /// The first line that is dropped may find nothing else waiting, as all of it is in the writer's hands.
    #[test]
    fn a_gap_behind_which_nothing_waits_is_told_of_and_lines_go_on() {
        let queue = Arc::new(Queue::default());
        let line = |length: usize| [&vec![b'x'; length - 1][..], b"\n"].concat();
        queue.push(&line(QUEUE - 10));
        let mut lines = Vec::new();
        assert_eq!((queue.take(&mut lines), lines.len()), (0, QUEUE - 10));
        queue.push(&line(100));
        let (told, heard) = mpsc::channel();
        let writer = Arc::clone(&queue);
        thread::spawn(move || {
            let dropped = writer.take(&mut lines);
            told.send((dropped, lines.len())).unwrap();
            writer.take(&mut lines);
            told.send((0, lines.len())).unwrap();
        });
        let patience = Duration::from_secs(20);
        assert_eq!(heard.recv_timeout(patience).unwrap(), (1, 0));
        queue.push(&line(100));
        assert_eq!(heard.recv_timeout(patience).unwrap(), (0, 100));
    }

    #[test]
    fn a_line_that_never_fits_is_a_gap_and_not_the_end_of_the_log() {
        let queue = Arc::new(Queue::default());
        let (told, heard) = mpsc::channel();
        let writer = Arc::clone(&queue);
        thread::spawn(move || {
            let mut lines = Vec::new();
            told.send((writer.take(&mut lines), lines.len())).unwrap();
        });
        queue.push(&[&vec![b'x'; QUEUE][..], b"\n"].concat());
        assert_eq!(heard.recv_timeout(Duration::from_secs(20)).unwrap(), (1, 0));
    }
}
