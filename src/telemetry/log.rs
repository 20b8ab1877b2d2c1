//! The log: which lines are written, and where to. Always stderr; stdout is the app's. How a line looks is in
//! [`super::format`].

use std::sync::atomic::{AtomicU8, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber, callsite};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use super::format::LineFormat;
use super::log_writer;
use crate::config::{Log, LogLevel};

/// Starts logging for the process, by a thread that writes the lines, so that nobody waits for their reader; to be ended
/// with `log_writer::flush`. Called once; of a second call only the level counts.
pub fn start_logging(log: &Log) {
    start_log_thread(log);
    write_lines(log);
}

/// Starts the thread that writes the lines, in a process that logs already: until then whoever has a line writes it.
pub fn start_log_thread(log: &Log) {
    let gap = LineFormat::of(log.format);
    log_writer::start(Box::new(move |dropped| gap.gap(dropped)));
}

/// As [`start_logging`], but for the thread: it is to be started by [`start_log_thread`], within the sandbox. Until then a line that stderr has no
/// room for is dropped.
pub fn start_logging_without_thread(log: &Log) {
    log_writer::never_wait();
    write_lines(log);
}

/// Has the lines of `log` written.
fn write_lines(log: &Log) {
    let (form, level) = (LineFormat::of(log.format), log.level);
    // Only a second call fails: then the first one's settings stay.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines(form, level)));
}

/// As [`start_logging`], with another reader of the events beside the log. What that one sees is for its own filter to
/// say, not for the log's level.
pub fn start_logging_beside(log: &Log, reader: impl Layer<Registry> + Send + Sync) {
    let _ = tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(reader).with(lines(LineFormat::of(log.format), log.level)),
    );
}

/// The least severe level that is written now.
pub fn log_level() -> LogLevel {
    let level = LEVEL.load(Ordering::Relaxed);
    LogLevel::from_repr(level).unwrap_or(LogLevel::Info)
}

/// Writes lines down to `level` from now on.
pub fn change_log_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    // Each place in the code that may write a line remembers whether it does; it is asked anew.
    callsite::rebuild_interest_cache();
}

fn lines<S>(form: LineFormat, level: LogLevel) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    change_log_level(level);
    tracing_subscriber::fmt::layer().with_writer(|| log_writer::QueueWriter).event_format(form).with_filter(Threshold)
}

/// The number of the least severe level that is written.
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

/// Lets through what is at least as severe as [`LEVEL`]. It is asked when the level changes, not for each line: what is not
/// written costs one relaxed load, of tracing's own copy of the level.
struct Threshold;

/// What is said by us. Libraries have something to say of each packet or frame that they get, so that whoever sends those would fill the
/// log, past every limiter. What comes of it is said by us, once; theirs is for whoever looks closer.
const OURS: &str = env!("CARGO_PKG_NAME");

impl Threshold {
    fn passes(metadata: &Metadata<'_>) -> bool {
        let level = log_level();
        *metadata.level() <= filter(level) && !is_kept_back(metadata, level)
    }
}

fn is_kept_back(metadata: &Metadata<'_>, level: LogLevel) -> bool {
    filter(level) < LevelFilter::DEBUG && !metadata.target().starts_with(OURS)
}

impl<S> Filter<S> for Threshold {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        Self::passes(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::passes(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(filter(log_level()))
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::format::tests::SharedOutput;

    #[test]
    fn what_libraries_say_of_each_packet_is_for_whoever_looks_closer() {
        let passes = |level| {
            let sink = SharedOutput::default();
            let writer = sink.clone();
            let asked = tracing_subscriber::filter::filter_fn(move |metadata| {
                *metadata.level() <= filter(level) && !is_kept_back(metadata, level)
            });
            let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_filter(asked);
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::warn!(target: "hickory_net::udp::udp_client_stream", "theirs");
                tracing::error!(target: "h2::proto::ping_pong", "theirs");
                tracing::warn!(target: "vestibule::outbound", "ours");
            });
            let text = sink.take();
            (text.contains("theirs"), text.contains("ours"))
        };
        assert_eq!(passes(LogLevel::Warn), (false, true));
        assert_eq!(passes(LogLevel::Info), (false, true));
        assert_eq!(passes(LogLevel::Debug), (true, true));
    }

    #[test]
    fn the_default_is_info_and_a_change_is_asked_of_every_place_anew() {
        assert_eq!(log_level(), LogLevel::Info);
        let sink = SharedOutput::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_filter(Threshold);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            // One place each, asked several times. Other tests have subscribers of their own at the same time, so what counts is what
            // was written.
            let written = || {
                tracing::debug!("debug line");
                tracing::error!("error line");
                let text = sink.take();
                (text.contains("debug line"), text.contains("error line"))
            };
            assert_eq!(written(), (false, true));
            change_log_level(LogLevel::Debug);
            assert_eq!((written(), log_level()), ((true, true), LogLevel::Debug));
            change_log_level(LogLevel::Off);
            assert_eq!(written(), (false, false));
            change_log_level(LogLevel::Info);
            assert_eq!(written(), (false, true));
        });
    }
}
