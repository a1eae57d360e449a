//! Time as all threads of a run share it: a clock, the moments at which changes were sent, and histograms of what passed
//! since. Microseconds everywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::report::Latency;
use crate::view::SLOTS;

/// Latencies above are recorded as this much.
const LONGEST_US: u64 = 120_000_000;

/// Microseconds since the run began; zero means never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn now_us(self) -> u64 {
        self.0.elapsed().as_micros() as u64 + 1
    }
}

/// When each slot of each room was last asked for.
#[derive(Debug)]
pub(crate) struct Stamps(Vec<AtomicU64>);

impl Stamps {
    pub(crate) fn new(rooms: usize) -> Arc<Stamps> {
        Arc::new(Stamps((0..rooms * SLOTS).map(|_| AtomicU64::new(0)).collect()))
    }

    pub(crate) fn set(&self, room: usize, slot: usize, now_us: u64) {
        self.0[room * SLOTS + slot].store(now_us, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, room: usize, slot: usize) -> u64 {
        self.0[room * SLOTS + slot].load(Ordering::Relaxed)
    }
}

/// A latency histogram in microseconds, three digits exact.
#[derive(Debug)]
pub(crate) struct Timings(Histogram<u64>);

impl Timings {
    pub(crate) fn new() -> Timings {
        Timings(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("constant bounds are valid"))
    }

    pub(crate) fn record(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    /// `None` while nothing was recorded.
    pub(crate) fn latency(&self) -> Option<Latency> {
        (!self.0.is_empty()).then(|| Latency {
            count: self.0.len(),
            p50_us: self.0.value_at_quantile(0.5),
            p99_us: self.0.value_at_quantile(0.99),
            max_us: self.0.max(),
        })
    }
}
