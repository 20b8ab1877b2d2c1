//! Signals: passed on to the app, or requests of the process.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::{fs, io};

use nix::sys::signal::SigSet;
use tokio::signal::unix;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;

use super::App;
use super::terminal::Terminal;
use crate::lifecycle::ControlRequest;
use crate::signal::{Signal, SignalMap};

/// The signals that we listen for, from the moment this is made until the process ends.
///
/// A signal that was ignored when we were started stays ignored, for us and for the app (`nohup`, `command &` in a
/// script), as in a shell. One that was blocked is heard after [`Signals::unblock`].
/// Two of the same kind that arrive together may be seen as one, as the kernel itself does.
#[derive(Debug)]
pub struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
    requests: Option<mpsc::Receiver<ControlRequest>>,
    /// What the app gets in place of what; without an app, nothing.
    map: SignalMap,
}

impl Signals {
    /// Handles what the kernel sends to whoever goes beyond its own limits (setrlimit(2)), which ends the process by default. So a write beyond the
    /// limit of a file's size (XFSZ; `ulimit -f`) fails (EFBIG), as one to a full disk does, and we go on up to the hard limit of CPU time
    /// (XCPU; `ulimit -t`). Handled rather than ignored or blocked, since what we start would inherit both.
    pub fn outlive_limits() {
        let ignored = ignored();
        for signal in [Signal::XFSZ, Signal::XCPU].into_iter().filter(|signal| !is_in(ignored, *signal)) {
            // Nobody asks whether it has come. Where there can be no handler, it is as it was.
            let _ = signal_hook::flag::register(signal.number(), Arc::default());
        }
    }

    /// Unblocks what was blocked when we were started, which would never be heard. To be called before there is another
    /// thread: each takes the mask of the one that starts it.
    pub fn unblock() {
        // The kernel has no reason to refuse an empty mask.
        let _ = SigSet::empty().thread_set_mask();
    }

    /// Everything that can be forwarded to an app, which gets it as `map` rewrites it. To be called before [`App::spawn`], within a
    /// runtime.
    ///
    /// On a terminal TTIN and TTOU are left to the kernel; elsewhere some servers count their workers with them.
    ///
    /// # Errors
    /// The kernel's or the runtime's, when a handler cannot be set.
    pub fn for_run(map: &SignalMap) -> io::Result<Self> {
        let on_terminal = Terminal::open().is_some();
        let by_kernel = |signal: &Signal| on_terminal && signal.is_about_the_terminal();
        let signals = Self::listen(Signal::forwardable().filter(|signal| !by_kernel(signal)))?;
        Ok(Self { map: map.clone(), ..signals })
    }

    /// TERM, INT and HUP; for a proxy without an app.
    ///
    /// # Errors
    /// The kernel's or the runtime's, when a handler cannot be set.
    pub fn for_proxy() -> io::Result<Self> {
        Self::listen([Signal::TERM, Signal::INT, Signal::HUP].into_iter())
    }

    /// Everything else that ends a process and that somebody may send: for one that has something to remove at its end.
    ///
    /// # Errors
    /// The kernel's or the runtime's, when a handler cannot be set.
    pub fn for_cleanup() -> io::Result<Self> {
        Self::listen([Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2].into_iter())
    }

    /// Says which of the signals that are for us were ignored when we were started: whoever sends one of them waits in vain.
    pub fn log_ignored() {
        let ignored = ignored();
        let ours = [Signal::TERM, Signal::INT, Signal::HUP].into_iter().filter(|signal| is_in(ignored, *signal));
        let ours: Vec<_> = ours.map(|signal| signal.to_string()).collect();
        if !ours.is_empty() {
            let signals = ours.join(", ");
            tracing::info!(signals, "signals stay ignored (inherited SIG_IGN), as in the background of a script");
        }
    }

    /// No signals but `requests`: those of this process are sent by tests beside the one that asks.
    #[cfg(test)]
    pub(crate) fn only_requests(requests: mpsc::Receiver<ControlRequest>) -> Self {
        Self { streams: Vec::new(), requests: Some(requests), map: SignalMap::default() }
    }

    /// Waits for one of the signals. Cancel safe.
    pub async fn any(&mut self) {
        self.next().await;
    }

    fn listen(signals: impl Iterator<Item = Signal>) -> io::Result<Self> {
        let ignored = ignored();
        let heard = signals.filter(|signal| !is_in(ignored, *signal));
        let stream = |signal: Signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.number()))?));
        Ok(Self { streams: heard.map(stream).collect::<io::Result<_>>()?, requests: None, map: SignalMap::default() })
    }

    /// Hears `requests` too from now on.
    pub fn add_requests(&mut self, requests: mpsc::Receiver<ControlRequest>) {
        self.requests = Some(requests);
    }

    /// Passes signals on to `app` until there is one that stands for a request, or a request has come by another way. TERM, INT and what
    /// the app gets in place of TERM have not been sent to it: the caller knows when its time comes. A reload has, as HUP. Cancel safe.
    ///
    /// Without an app that could be told, what it would get as TERM or INT asks us to stop as well.
    ///
    /// To be called again until the app has ended, while draining too: nothing is forwarded in between.
    pub async fn next_request(&mut self, app: Option<&App>) -> ControlRequest {
        loop {
            let signal = match self.next().await {
                SignalEvent::Signal(signal) => signal,
                SignalEvent::Request(ControlRequest::Reload) => Signal::HUP,
                SignalEvent::Request(ControlRequest::Stop) => return ControlRequest::Stop,
            };
            if is_stop(signal) || self.stands_for_term(signal) || app.is_none() && self.is_stop_for_the_app(signal) {
                return ControlRequest::Stop;
            }
            match app.and_then(|app| app.signal(signal)) {
                // It ends an app that has no handler for it, and a reload by the admin listener is such a signal too.
                Some(sent) if signal == Signal::HUP => tracing::info!(signal = %sent, "signal forwarded to app"),
                Some(sent) => tracing::debug!(signal = %sent, "signal forwarded to app"),
                None => {}
            }
            if signal == Signal::HUP {
                return ControlRequest::Reload;
            }
        }
    }

    /// Whether the app gets `signal` in place of TERM. Then the signal asks the two of us to stop, whoever sends it: as `docker stop` does
    /// with the STOPSIGNAL of the app's image, which is QUIT for nginx.
    fn stands_for_term(&self, signal: Signal) -> bool {
        self.map.rewrite(Signal::TERM) == Some(signal)
    }

    /// Whether the app would be told to stop in place of `signal`.
    fn is_stop_for_the_app(&self, signal: Signal) -> bool {
        self.map.rewrite(signal).is_some_and(is_stop)
    }

    async fn next(&mut self) -> SignalEvent {
        poll_fn(|context| {
            let arrived = self.streams.iter_mut().find_map(|(signal, stream)| {
                stream.poll_recv(context).is_ready().then_some(SignalEvent::Signal(*signal))
            });
            let arrived = arrived.or_else(|| match self.requests.as_mut()?.poll_recv(context) {
                Poll::Ready(requested) => requested.map(SignalEvent::Request),
                Poll::Pending => None,
            });
            arrived.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn is_stop(signal: Signal) -> bool {
    signal == Signal::TERM || signal == Signal::INT
}

/// What has come.
enum SignalEvent {
    Signal(Signal),
    Request(ControlRequest),
}

/// The signals that are ignored, bit n-1 for signal n.
fn ignored() -> u64 {
    mask(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "SigIgn:")
}

fn is_in(mask: u64, signal: Signal) -> bool {
    mask & (1 << (signal.number() - 1)) != 0
}

/// The signals in one of this process's masks, bit n-1 for signal n, from `/proc/self/status` (proc_pid_status(5)).
fn mask(status: &str, name: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix(name));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_and_blocked_signals_are_read_from_the_kernels_masks() {
        let status = "SigBlk:\t00000000000000ff\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!((mask(status, "SigIgn:"), mask(status, "SigBlk:")), (0x1001, 0xff));
        assert_eq!(mask("", "SigIgn:"), 0);
        assert_eq!(mask("SigIgn:\tzzz", "SigIgn:"), 0);
    }

    #[tokio::test]
    async fn a_proxy_hears_the_first_stop_and_the_second_and_requests_beside_signals() {
        let mut signals = Signals::for_proxy().unwrap();
        let me = rustix::process::getpid();

        rustix::process::kill_process(me, rustix::process::Signal::HUP).unwrap();
        assert_eq!(signals.next_request(None).await, ControlRequest::Reload);
        rustix::process::kill_process(me, rustix::process::Signal::TERM).unwrap();
        assert_eq!(signals.next_request(None).await, ControlRequest::Stop);
        rustix::process::kill_process(me, rustix::process::Signal::INT).unwrap();
        assert_eq!(signals.next_request(None).await, ControlRequest::Stop);

        let (sender, requests) = mpsc::channel(1);
        signals.add_requests(requests);
        sender.send(ControlRequest::Reload).await.unwrap();
        assert_eq!(signals.next_request(None).await, ControlRequest::Reload);
        sender.send(ControlRequest::Stop).await.unwrap();
        assert_eq!(signals.next_request(None).await, ControlRequest::Stop);
        // Nobody can ask any more; signals are heard all the same.
        drop(sender);
        rustix::process::kill_process(me, rustix::process::Signal::HUP).unwrap();
        assert_eq!(signals.next_request(None).await, ControlRequest::Reload);
    }
}
