//! Which lines of the log are left out where they come in floods, and the line that counts them. Asked by `logging` for
//! each event, told of each second by `pulse`. Invariant: lines written and lines counted as left out are all there
//! were; what is not named here is never left out.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use tracing::Event;
use tracing::field::{Field, Visit};

/// Of each kind so many lines are written in a second.
pub(super) const LINES_PER_SECOND: u64 = 10;
/// Events that somebody outside can cause as often as he likes, or that each request causes while a store is away.
const FLOODING: [&str; 11] = [
    "accept_failed",
    "bookings_unread",
    "booking_failed",
    "http_connection_failed",
    "lock_failed",
    "poll_not_renewed",
    "renewal_failed",
    "request_refused",
    "tls_handshake_failed",
    "upgrade_failed",
    "wordpress_not_asked",
];

/// Lines of this process that were left out.
pub(super) static LEFT_OUT: LazyLock<Counter> = LazyLock::new(Counter::default);

static SECOND: Second = Second([const { AtomicU64::new(0) }; FLOODING.len()]);

/// How many events of each kind there were in this second.
struct Second([AtomicU64; FLOODING.len()]);

impl Second {
    fn is_left_out(&self, code: &str) -> bool {
        let Some(kind) = FLOODING.iter().position(|known| *known == code) else { return false };
        self.0[kind].fetch_add(1, Ordering::Relaxed) >= LINES_PER_SECOND
    }

    /// Begins the next second; of which kinds how many were left out in the last.
    fn end(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = FLOODING.iter().zip(&self.0);
        counts.filter_map(|(kind, count)| {
            let left_out = count.swap(0, Ordering::Relaxed).saturating_sub(LINES_PER_SECOND);
            (left_out > 0).then_some((*kind, left_out))
        })
    }
}

/// Whether this event is one too many.
pub(super) fn is_left_out(event: &Event<'_>) -> bool {
    let mut judge = Judge(false);
    event.record(&mut judge);
    judge.0
}

/// Says in one line for each kind how many were left out since this was called last: every second, and at the end.
pub(crate) fn tell() {
    for (of, dropped) in SECOND.end() {
        LEFT_OUT.inc_by(dropped);
        tracing::warn!(
            event = "log_sampled",
            of,
            dropped,
            "too many lines of this kind came within a second"
        );
    }
}

/// Looks for the event's code alone.
struct Judge(bool);

impl Visit for Judge {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.0 = SECOND.is_left_out(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_floods_is_left_out_beyond_the_rate_and_counted_and_the_next_second_begins_anew() {
        let second = Second([const { AtomicU64::new(0) }; FLOODING.len()]);
        for _ in 0..3 {
            let written = (0..1_000).filter(|_| !second.is_left_out("request_refused")).count() as u64;
            assert_eq!(written, LINES_PER_SECOND);
            assert_eq!(second.end().collect::<Vec<_>>(), [("request_refused", 1_000 - LINES_PER_SECOND)]);
        }
        assert_eq!(second.end().count(), 0);
    }

    #[test]
    fn what_operators_must_see_is_never_left_out() {
        let second = Second([const { AtomicU64::new(0) }; FLOODING.len()]);
        for code in [
            "listening",
            "stopped",
            "store_down",
            "storage_switched",
            "slot_selected",
            "booking_confirmed",
            "panic",
        ] {
            assert!((0..1_000).all(|_| !second.is_left_out(code)), "{code}");
        }
        assert_eq!(second.end().count(), 0);
    }
}
