//! What the gateway did last, for the dashboard: a short list, and the times of each kind over the last
//! minute. Filled by `commands`, where requests are carried out. Invariant: nothing here says who asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use slot_state::{Room, SlotTime};

use super::window::{Ending, Reading, Window};

/// How many are listed.
pub const LISTED: usize = 100;
/// Of polls one in this time is listed: a few hundred pages that poll would leave nothing else to see.
const POLL_EVERY_MS: i64 = 1_000;

/// Polls are a kind of their own: they are many, and most are answered from memory, so that together with the
/// others they would hide a store that is slow.
pub const POLL: &str = "poll";
/// The kinds of requests, named as in the log and the metrics, in the order in which a visitor comes to them.
pub const KINDS: [&str; 7] = ["select", "deselect", "lock", "unlock", "confirm", "availability", POLL];

/// One request that was carried out.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// When it was answered.
    pub at: Timestamp,
    /// Its kind's name.
    pub what: &'static str,
    /// Where.
    pub room: Room,
    /// Which slot, if it was about one.
    pub time: Option<SlotTime>,
    /// The store that was asked; `None` for what memory answered.
    pub store: Option<&'static str>,
    /// How long it took.
    pub took: Duration,
    /// `ok`, `cached`, or the error's code.
    pub outcome: &'static str,
}

/// The last requests, and how long they took.
#[derive(Default)]
pub struct Operations {
    listed: Mutex<VecDeque<Operation>>,
    windows: [Window; KINDS.len()],
    requests: AtomicU64,
    polls: AtomicU64,
    last_poll_ms: AtomicI64,
}

impl Operations {
    /// Notes one.
    pub fn note(&self, operation: Operation) {
        let is_poll = operation.what == POLL;
        let total = if is_poll { &self.polls } else { &self.requests };
        total.fetch_add(1, Ordering::Relaxed);
        if let Some(index) = KINDS.iter().position(|kind| *kind == operation.what) {
            self.windows[index].note(operation.took, ending(operation.outcome));
        }
        if is_poll && !self.is_polls_turn(operation.at.as_millisecond()) {
            return;
        }
        let mut listed = self.listed.lock();
        if listed.len() == LISTED {
            listed.pop_front();
        }
        listed.push_back(operation);
    }

    fn is_polls_turn(&self, now_ms: i64) -> bool {
        let last = self.last_poll_ms.load(Ordering::Relaxed);
        // Backwards goes a clock that was set.
        let is_due = now_ms - last >= POLL_EVERY_MS || now_ms < last;
        is_due
            && self.last_poll_ms.compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The last ones, the newest first.
    pub fn listed(&self) -> Vec<Operation> {
        self.listed.lock().iter().rev().copied().collect()
    }

    /// Each kind and how it went in the last minute.
    pub fn by_kind(&self) -> impl Iterator<Item = (&'static str, Reading)> + '_ {
        KINDS.iter().zip(&self.windows).map(|(kind, window)| (*kind, window.read()))
    }

    /// All but polls together.
    pub fn requests(&self) -> Reading {
        let windows = KINDS.iter().zip(&self.windows).filter(|(kind, _)| **kind != POLL);
        Window::read_all(windows.map(|(_, window)| window))
    }

    /// How many there were since the start: requests but polls, and polls.
    pub fn totals(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.polls.load(Ordering::Relaxed))
    }

    /// To be called every [`super::window::SLICE`].
    pub fn turn(&self) {
        self.windows.iter().for_each(Window::turn);
    }
}

fn ending(outcome: &str) -> Ending {
    match outcome {
        "ok" | "cached" => Ending::Well,
        "store_unavailable" | "internal" => Ending::Failed,
        _ => Ending::Refused,
    }
}

/// What was measured lately, beside what `Metrics` counts for ever.
#[derive(Default)]
pub struct Recent {
    /// What was done, and how long it took.
    pub operations: Operations,
    /// From a store's event to the picture showing it.
    pub event_lag: Window,
    /// From a hold's deadline to the picture showing its end.
    pub expiry_lag: Window,
    /// Round trips to the store.
    pub store_time: Window,
}

impl Recent {
    /// To be called every [`super::window::SLICE`].
    pub fn turn(&self) {
        self.operations.turn();
        [&self.event_lag, &self.expiry_lag, &self.store_time].into_iter().for_each(Window::turn);
    }
}

#[cfg(test)]
mod tests {
    use slot_state::{EmployeeId, parse_date};

    use super::*;

    fn operation(what: &'static str, at_ms: i64, outcome: &'static str) -> Operation {
        let room = Room { date: parse_date("2031-03-09").unwrap(), employee_id: EmployeeId::new(7).unwrap() };
        let at = Timestamp::from_millisecond(at_ms).unwrap();
        Operation { at, what, room, time: None, store: None, took: Duration::from_millis(1), outcome }
    }

    #[test]
    fn the_last_hundred_are_listed_newest_first() {
        let operations = Operations::default();
        (0..250).for_each(|at| operations.note(operation("select", at, "ok")));
        let listed: Vec<i64> = operations.listed().iter().map(|one| one.at.as_millisecond()).collect();
        assert_eq!(listed, (150..250).rev().collect::<Vec<_>>());
        assert_eq!(operations.totals(), (250, 0));
    }

    #[test]
    fn polls_are_all_counted_and_one_a_second_is_listed() {
        let operations = Operations::default();
        (0..3_000).for_each(|at| operations.note(operation(POLL, 10_000 + at, "ok")));
        assert_eq!(operations.listed().len(), 3);
        assert_eq!(operations.totals(), (0, 3_000));
        assert_eq!(operations.requests().count, 0);
        let polls = operations.by_kind().find(|(kind, _)| *kind == POLL).unwrap().1;
        assert_eq!(polls.count, 3_000);
    }

    #[test]
    fn a_refusal_is_told_from_a_failure() {
        let operations = Operations::default();
        for outcome in ["ok", "cached", "slot_locked", "rate_limited", "store_unavailable"] {
            operations.note(operation("lock", 0, outcome));
        }
        let all = operations.requests();
        assert_eq!((all.count, all.refused, all.failed), (5, 2, 1));
    }
}
