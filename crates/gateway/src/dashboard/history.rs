//! The last ten minutes, a row a second, so that a page that is opened now shows them at once.
//! Filled by `gather`. Invariant: bounded, a few dozen bytes a row, whether anybody looks or not.

use std::collections::VecDeque;
use std::time::Duration;

use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use super::status::Status;

/// How far back it goes.
pub(super) const COVERS: Duration = Duration::from_secs(600);
/// The numbers of a row, in their order.
const NAMES: [&str; 13] = [
    "selections",
    "locks",
    "hit_rate",
    "average_ms",
    "p99_ms",
    "connections",
    "rooms",
    "event_lag_ms",
    "expiry_lag_ms",
    "deliveries",
    "requests",
    "polls",
    "store_ms",
];

/// One look.
#[derive(Clone, Copy)]
pub(super) struct Row {
    at: i64,
    store: &'static str,
    /// Not a number where there was nothing to measure.
    values: [f32; NAMES.len()],
    /// Since the start.
    answers: u64,
    cached: u64,
}

/// The rows, the newest last.
#[derive(Default)]
pub(super) struct History(VecDeque<Row>);

impl Row {
    pub(super) fn of(status: &Status, answers: u64, cached: u64) -> Self {
        let ms = |ms: Option<f64>| ms.unwrap_or(f64::NAN) as f32;
        let count = |count: u64| count as f32;
        let store = match &*status.storage.mode {
            _ if status.storage.stale => "away",
            "redis" => "redis",
            "mysql" => "mysql",
            _ => "memory",
        };
        let values = [
            count(status.selections),
            count(status.locks),
            ms(status.availability.hit_rate),
            ms(status.responses.average_ms),
            ms(status.responses.p99_ms),
            count(status.connections),
            count(status.rooms),
            ms(status.event_lag.p99_ms),
            ms(status.expiry_lag.p99_ms),
            status.rates.deliveries as f32,
            status.rates.requests as f32,
            status.rates.polls as f32,
            ms(status.store_round_trip.p99_ms),
        ];
        Row { at: status.at, store, values, answers, cached }
    }
}

impl History {
    pub(super) fn push(&mut self, row: Row) {
        let oldest = row.at - COVERS.as_millis() as i64;
        // A clock that was set back would leave rows of the future for long.
        self.0.retain(|old| old.at >= oldest && old.at < row.at);
        self.0.push_back(row);
    }

    /// Answers about availability, in all and from the cache, before the time that the rows cover.
    pub(super) fn answers_before(&self, now: i64) -> (u64, u64) {
        let oldest = now - COVERS.as_millis() as i64;
        let is_full = |row: &&Row| row.at <= oldest + 2_000;
        self.0.front().filter(is_full).map_or((0, 0), |row| (row.answers, row.cached))
    }
}

/// `[at, store, …]`
impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_seq(Some(self.values.len() + 2))?;
        row.serialize_element(&self.at)?;
        row.serialize_element(self.store)?;
        for value in self.values {
            // What is not a number becomes null.
            row.serialize_element(&value)?;
        }
        row.end()
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut history = serializer.serialize_struct("History", 3)?;
        history.serialize_field("covers_ms", &(COVERS.as_millis() as u64))?;
        history.serialize_field("names", &NAMES)?;
        history.serialize_field("rows", &self.0)?;
        history.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at_secs: i64) -> Row {
        let (answers, cached) = (at_secs as u64, 0);
        Row { at: at_secs * 1000, store: "redis", values: [f32::NAN; NAMES.len()], answers, cached }
    }

    #[test]
    fn it_keeps_ten_minutes() {
        let mut history = History::default();
        (0..5_000).for_each(|at| history.push(row(at)));
        assert_eq!(history.0.len(), 601);
        assert_eq!(history.answers_before(4_999_000), (4_399, 0));
    }

    #[test]
    fn a_young_gateways_answers_all_count() {
        let mut history = History::default();
        (100..200).for_each(|at| history.push(row(at)));
        assert_eq!(history.answers_before(200_000), (0, 0));
    }

    #[test]
    fn a_clock_set_back_leaves_no_rows_of_the_future() {
        let mut history = History::default();
        (1_000..1_100).for_each(|at| history.push(row(at)));
        history.push(row(900));
        assert_eq!(history.0.len(), 1);
    }

    #[test]
    fn a_row_is_an_array_with_null_for_nothing() {
        let mut history = History::default();
        history.push(row(1));
        let json = serde_json::to_value(&history).unwrap();
        assert_eq!(json["rows"][0][0], 1000);
        assert_eq!(json["rows"][0][1], "redis");
        assert_eq!(json["rows"][0][2], serde_json::Value::Null);
        assert_eq!(json["names"].as_array().unwrap().len() + 2, json["rows"][0].as_array().unwrap().len());
    }
}
