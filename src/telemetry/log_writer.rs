//! How lines get to stderr while the program serves: by a thread of their own, so that nothing else ever waits for whoever
//! reads them.
//!
//! stderr is shared with the app, so it must not be made non-blocking: the flag belongs to the open file, not to us. A
//! write to a pipe that is full therefore blocks, and only the writer's thread may be blocked. Lines wait in a queue with
//! a bound in bytes; what does not fit, or cannot be written, is dropped and counted, and the place of the gap is marked by a line of its
//! own.
//!
//! A line is written at once. Where they come one upon the other, as those of requests do, several are gathered for each
//! write: to wake the thread for each would cost more than to make the line.

mod output;

use std::io::Write;
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{io, mem, panic, thread};

pub(crate) use output::DropNotice;
use output::{LineOutput, count};

/// Bytes of lines that wait, those in the writer's hands included.
const QUEUE: usize = 256 * 1024;

/// Bytes of a buffer that is kept when it is empty.
const KEPT: usize = 16 * 1024;

/// Lines are gathered once the thread was woken twice within this time...
const RAPID: Duration = Duration::from_millis(20);

/// ...for so long...
const GATHERING: Duration = Duration::from_millis(5);

/// ...or until there are so many bytes of them.
const GATHERED: usize = 32 * 1024;

/// Bytes of the thread's stack; of these it touches two pages.
const STACK: usize = 64 * 1024;

/// Where all lines go from the start of the thread on; before, or without one, straight to stderr.
static QUEUED: OnceLock<&'static Queue> = OnceLock::new();

/// Lines that did not get to stderr.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Whoever has a line does not wait for whoever reads it, though there is no thread yet.
static NEVER_WAITS: AtomicBool = AtomicBool::new(false);

/// Lines that did not get to stderr since the start of the process: nobody read them, or it could not be written to.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Lets a thread write the lines from now on, those of panics too. Where no thread can be had they are written by whoever
/// has something to say, as before.
pub(crate) fn start(gap: DropNotice) {
    if QUEUED.get().is_some() {
        return;
    }
    // It lives as long as the process.
    let queue: &'static Queue = Box::leak(Box::default());
    // What there was no room for before is behind the lines that went straight.
    queue.lock().dropped = dropped_lines();
    let thread = thread::Builder::new().name("vestibule-log".to_owned()).stack_size(STACK);
    if thread.spawn(move || queue.write_for_ever(&io::stderr(), &gap)).is_ok() && QUEUED.set(queue).is_ok() {
        panic::set_hook(Box::new(|panic| write(panic_text(panic).as_bytes())));
    }
}

/// Has lines that stderr does not take at once dropped and counted from now on, until there is the thread: nobody hears a signal yet, and whoever
/// waited then could be killed and nothing else.
pub(crate) fn never_wait() {
    NEVER_WAITS.store(true, Ordering::Relaxed);
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
        None if NEVER_WAITS.load(Ordering::Relaxed) && !output::has_room(&io::stderr()) => {
            DROPPED.fetch_add(count(lines), Ordering::Relaxed);
        }
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
    /// Those who wait until all is written.
    flushing: usize,
    writer: Writer,
}

/// The state of the thread that writes lines.
#[derive(Default, PartialEq)]
enum Writer {
    /// It writes, and will look again by itself.
    #[default]
    Busy,
    /// It gathers lines.
    Gathering,
    /// It waits for any line.
    Waiting,
}

impl QueuedLines {
    /// Whether there is nothing to be written, a word about a gap included.
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }

    /// Whether what there is is to be written now, however much more may come.
    fn is_pressing(&self) -> bool {
        self.lines.len() >= GATHERED || self.dropped > 0 || self.flushing > 0
    }

    /// Whether the thread has to be woken for what has come.
    fn is_waited_for(&self) -> bool {
        match self.writer {
            Writer::Busy => false,
            Writer::Gathering => self.is_pressing(),
            Writer::Waiting => true,
        }
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
            // With nothing else to write there is still the gap to be told of.
            waiting.dropped += count(lines);
            DROPPED.fetch_add(count(lines), Ordering::Relaxed);
        } else {
            waiting.lines.extend_from_slice(lines);
        }
        // Once is enough: whoever is woken is at work.
        let wake = waiting.is_waited_for();
        if wake {
            waiting.writer = Writer::Busy;
        }
        drop(waiting);
        if wake {
            self.filled.notify_one();
        }
    }

    fn flush(&self, limit: Duration) {
        let mut waiting = self.lock();
        waiting.flushing += 1;
        self.filled.notify_one();
        let is_busy = |waiting: &mut QueuedLines| waiting.taken > 0 || !waiting.is_empty();
        // That the time is over is as good an end as any.
        let (mut waiting, _) =
            self.emptied.wait_timeout_while(waiting, limit, is_busy).unwrap_or_else(PoisonError::into_inner);
        waiting.flushing -= 1;
    }

    fn write_for_ever(&self, to: &impl AsFd, gap: &DropNotice) {
        let (mut lines, mut woken, mut output) = (Vec::new(), None, LineOutput::new(to, gap));
        loop {
            // The counter has these already.
            let dropped = self.take(&mut lines, &mut woken);
            DROPPED.fetch_add(output.write(&lines), Ordering::Relaxed);
            output.skip(dropped);
        }
    }

    /// Waits for lines, and swaps them for `lines`, which have been written. Gives how many are missing behind them. `woken`: when
    /// this last found some, and whether that was soon behind the time before.
    fn take(&self, lines: &mut Vec<u8>, woken: &mut Option<(Instant, bool)>) -> u64 {
        lines.clear();
        lines.shrink_to(KEPT);
        let mut waiting = self.lock();
        waiting.taken = 0;
        if waiting.is_empty() {
            self.emptied.notify_all();
        }
        if woken.is_some_and(|(_, is_rapid)| is_rapid) {
            waiting.writer = Writer::Gathering;
            let gathered = self.filled.wait_timeout_while(waiting, GATHERING, |waiting| !waiting.is_pressing());
            waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.writer = Writer::Waiting;
        waiting = self.filled.wait_while(waiting, |waiting| waiting.is_empty()).unwrap_or_else(PoisonError::into_inner);
        waiting.writer = Writer::Busy;
        let now = Instant::now();
        *woken = Some((now, woken.is_some_and(|(before, _)| now.duration_since(before) < RAPID)));
        mem::swap(&mut waiting.lines, lines);
        waiting.taken = lines.len();
        mem::take(&mut waiting.dropped)
    }
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
        assert_eq!((queue.take(&mut lines, &mut None), lines.len()), (0, QUEUE - 10));
        queue.push(&line(100));
        let (told, heard) = mpsc::channel();
        let writer = Arc::clone(&queue);
        thread::spawn(move || {
            let dropped = writer.take(&mut lines, &mut None);
            told.send((dropped, lines.len())).unwrap();
            writer.take(&mut lines, &mut None);
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
            told.send((writer.take(&mut lines, &mut None), lines.len())).unwrap();
        });
        queue.push(&[&vec![b'x'; QUEUE][..], b"\n"].concat());
        assert_eq!(heard.recv_timeout(Duration::from_secs(20)).unwrap(), (1, 0));
    }

    /// Of which the first is written at once, and no later one waits for ever.
    #[test]
    fn lines_that_come_one_upon_the_other_are_gathered_and_a_flush_ends_the_gathering() {
        let queue = Arc::new(Queue::default());
        let (told, heard) = mpsc::channel();
        let writer = Arc::clone(&queue);
        thread::spawn(move || {
            let (mut lines, mut woken) = (Vec::new(), None);
            loop {
                // As if the thread were always woken in haste.
                woken = woken.map(|(at, _)| (at, true));
                let _ = writer.take(&mut lines, &mut woken);
                if told.send(lines.len()).is_err() {
                    return;
                }
            }
        });
        let patience = Duration::from_secs(20);
        queue.push(b"first\n");
        assert_eq!(heard.recv_timeout(patience).unwrap(), 6);
        let mut written = 0;
        for _ in 0..100 {
            queue.push(b"more\n");
        }
        while written < 500 {
            written += heard.recv_timeout(patience).unwrap();
        }
        queue.push(&[b'x'; GATHERED]);
        queue.flush(patience);
        assert_eq!(heard.recv_timeout(patience).unwrap(), GATHERED);
        assert!(queue.lock().is_empty());
    }
}
