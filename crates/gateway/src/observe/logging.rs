//! The log: one JSON object a line, or lines for eyes on a terminal; set up once by `cli`, written to by everybody.
//! Callers write `tracing::info!(event = "slot_selected", date = %date, client = %ClientTag::of(id), "optional message")`.
//! Invariant: an event is one line whatever its fields hold, and writing it never waits for whoever reads the log.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

use super::log_line::Line;
use super::log_writer::{self, LogGuard};
use super::sampling;
use crate::config::{Log, LogFormat, LogLevels};

/// A line's buffer is kept between lines, but not one that a huge line has grown.
const KEPT_BUFFER: usize = 4 * 1024;
/// slotcast's own crates, to which the bare level applies.
const OWN_CRATES: [&str; 2] = ["slotcast", "slot_state"];

/// Starts the log of this process, and makes panics part of it.
///
/// Everything goes to standard output: it is all `serve` says there, so `| jq`, `>> file`, systemd and containers take it as
/// it is; standard error is left to what goes wrong before there is a log. A thread of its own writes: a pipe nobody
/// reads would otherwise stop the threads that serve browsers.
///
/// Levels can be changed later by the switch.
pub fn init(log: &Log) -> io::Result<(LogGuard, LevelSwitch)> {
    let terminal = std::io::stdout().is_terminal();
    let format = format_for(log, terminal);
    let (writer, guard) = log_writer::start(std::io::stdout())?;
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let write = move |line: &str| writer.write(line);
    let (levels, switch) = reload::Layer::new(filter(&log.level));
    let layer = LineLayer { format, colours, write }.with_filter(levels);
    let subscriber = tracing_subscriber::registry().with(layer);
    #[cfg(feature = "otel")]
    let subscriber = {
        let own = OWN_CRATES.map(|name| (name, LevelFilter::INFO));
        let spans = super::traces::layer().map_err(io::Error::other)?;
        subscriber.with(spans.with_filter(Targets::new().with_targets(own)))
    };
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    log_panics();
    Ok((guard, LevelSwitch(switch)))
}

/// Changes what is worth a line.
pub struct LevelSwitch(reload::Handle<Targets, Registry>);

impl LevelSwitch {
    /// From the next line on.
    pub fn set(&self, levels: &LogLevels) {
        if let Err(error) = self.0.reload(filter(levels)) {
            tracing::error!(event = "log_level_unchanged", error = %error);
        }
    }
}

fn format_for(log: &Log, terminal: bool) -> LogFormat {
    log.format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json })
}

/// Libraries only warn, unless named: at `debug` they would drown what slotcast says.
fn filter(levels: &LogLevels) -> Targets {
    let own = OWN_CRATES.map(|name| (name.to_owned(), levels.base));
    let named = levels.modules.iter().cloned();
    Targets::new().with_default(levels.base.min(LevelFilter::WARN)).with_targets(own.into_iter().chain(named))
}

/// A panic as one line of the log instead of several on standard error.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without a text");
        let backtrace = captured.then(|| backtrace.to_string());
        tracing::error!(event = "panic", location, backtrace, "{message}");
    }));
}

struct LineLayer<W> {
    format: LogFormat,
    colours: bool,
    write: W,
}

impl<S, W> Layer<S> for LineLayer<W>
where
    S: Subscriber,
    W: Fn(&str) + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if sampling::is_left_out(event) {
            return;
        }
        thread_local! {
            static LINE: RefCell<Line> = RefCell::default();
        }
        let write = |line: &mut Line| {
            let text = match self.format {
                LogFormat::Json => line.json(event),
                LogFormat::Pretty => line.pretty(event, self.colours),
            };
            (self.write)(text);
            line.shrink_to(KEPT_BUFFER);
        };
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => write(&mut line),
            // A field's own formatting logged something.
            Err(_) => write(&mut Line::default()),
        });
    }
}

/// Stands for a client in the log: eight hex digits, the same for one client as long as this process lives, and without
/// its random key no way back to the id.
#[derive(Clone, Copy)]
pub struct ClientTag<'a>(&'a str);

impl<'a> ClientTag<'a> {
    /// Costs nothing until it is printed.
    pub fn of(client_id: &'a str) -> Self {
        Self(client_id)
    }
}

impl fmt::Display for ClientTag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SipHash under a key from the system's randomness.
        static KEY: OnceLock<RandomState> = OnceLock::new();
        let hash = KEY.get_or_init(RandomState::new).hash_one(self.0);
        write!(f, "{:08x}", hash >> 32)
    }
}

impl fmt::Debug for ClientTag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[path = "logging_tests.rs"]
mod tests;
