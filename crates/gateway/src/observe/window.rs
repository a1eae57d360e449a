//! How long something took lately: filled where time is measured, read by the dashboard once a second.
//! Invariant: measuring costs one short lock and no allocation; what is read covers the last minute, 5 s more
//! or less.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// What a reading covers, give or take a slice.
pub const COVERS: Duration = Duration::from_secs(60);
/// [`Window::turn`] is to be called this often.
pub const SLICE: Duration = Duration::from_secs(5);
const FULL_SLICES: usize = (COVERS.as_secs() / SLICE.as_secs()) as usize;
/// From 1 µs to a minute in steps of a tenth at most: 1.4 KiB a slice.
const LONGEST_MICROS: u64 = 60_000_000;
const DIGITS: u8 = 1;

/// The times of the last minute.
#[derive(Default)]
pub struct Window {
    current: Mutex<Slice>,
    /// The newest last. Apart from `current`, so that nobody who measures waits for a reader.
    full: Mutex<VecDeque<Slice>>,
}

#[derive(Clone)]
struct Slice {
    micros: Histogram<u32>,
    sum: Duration,
    refused: u32,
    failed: u32,
}

/// How what was measured ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As asked.
    Well,
    /// With a no that is part of the business, as a slot that another has.
    Refused,
    /// With a trouble of this server or its stores.
    Failed,
}

/// What the window shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// How many were measured.
    pub count: u64,
    /// `null` where there was none.
    pub average_ms: Option<f64>,
    /// 99 of 100 took no longer; at most a tenth too high. `null` where there was none.
    pub p99_ms: Option<f64>,
    /// How many were refused.
    pub refused: u64,
    /// How many failed.
    pub failed: u64,
}

impl Default for Slice {
    fn default() -> Self {
        let micros =
            Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).expect("these bounds are in order");
        Slice { micros, sum: Duration::ZERO, refused: 0, failed: 0 }
    }
}

impl Slice {
    fn add(&mut self, other: &Slice) {
        // Fails only where the other's values do not fit, and all slices have the same bounds.
        let _ = self.micros.add(&other.micros);
        self.sum += other.sum;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

impl Window {
    /// Notes one that took so long.
    pub fn note(&self, took: Duration, ending: Ending) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST_MICROS);
        let mut current = self.current.lock();
        current.micros.saturating_record(micros.max(1));
        current.sum += took;
        match ending {
            Ending::Well => {}
            Ending::Refused => current.refused += 1,
            Ending::Failed => current.failed += 1,
        }
    }

    /// Begins a new slice, and forgets what is older than the window.
    pub fn turn(&self) {
        let new = Slice::default();
        let ended = std::mem::replace(&mut *self.current.lock(), new);
        let mut full = self.full.lock();
        full.push_back(ended);
        if full.len() > FULL_SLICES {
            full.pop_front();
        }
    }

    /// What it shows now.
    pub fn read(&self) -> Reading {
        Self::read_all([self])
    }

    /// What several show together.
    pub fn read_all<'a>(windows: impl IntoIterator<Item = &'a Window>) -> Reading {
        let mut all = Slice::default();
        for window in windows {
            let current = window.current.lock().clone();
            all.add(&current);
            window.full.lock().iter().for_each(|slice| all.add(slice));
        }
        let count = all.micros.len();
        let is_any = count > 0;
        Reading {
            count,
            average_ms: is_any.then(|| rounded_ms(all.sum.as_secs_f64() * 1e3 / count as f64)),
            p99_ms: is_any.then(|| rounded_ms(all.micros.value_at_quantile(0.99) as f64 / 1e3)),
            refused: all.refused.into(),
            failed: all.failed.into(),
        }
    }
}

/// To the microsecond: more digits say nothing.
pub fn rounded_ms(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn average_and_p99_are_of_what_was_noted() {
        let window = Window::default();
        assert_eq!(window.read(), Reading::default());
        (0..99).for_each(|_| window.note(ms(2), Ending::Well));
        window.note(ms(400), Ending::Refused);
        let reading = window.read();
        assert_eq!((reading.count, reading.refused, reading.failed), (100, 1, 0));
        assert_eq!(reading.average_ms, Some(5.98));
        let p99 = reading.p99_ms.unwrap();
        assert!((2.0..2.2).contains(&p99), "{p99}");
        (0..10).for_each(|_| window.note(ms(400), Ending::Failed));
        let p99 = window.read().p99_ms.unwrap();
        assert!((400.0..440.0).contains(&p99), "{p99}");
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let window = Window::default();
        window.note(ms(400), Ending::Well);
        (0..FULL_SLICES).for_each(|_| window.turn());
        assert_eq!(window.read().count, 1);
        window.turn();
        assert_eq!(window.read(), Reading::default());
    }

    #[test]
    fn times_beyond_the_bounds_are_counted_at_them() {
        let window = Window::default();
        window.note(Duration::ZERO, Ending::Well);
        window.note(Duration::from_secs(86_400), Ending::Well);
        assert_eq!(window.read().count, 2);
        assert!(window.read().p99_ms.unwrap() >= 60_000.0);
    }

    #[test]
    fn several_windows_are_read_as_one() {
        let (one, other) = (Window::default(), Window::default());
        one.note(ms(1), Ending::Well);
        other.note(ms(3), Ending::Failed);
        let both = Window::read_all([&one, &other]);
        assert_eq!((both.count, both.average_ms, both.failed), (2, Some(2.0), 1));
    }
}
