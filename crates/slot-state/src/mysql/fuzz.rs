//! What must hold for any bytes that stand in WordPress' tables.

use std::collections::HashMap;

use super::php::{self, MAX_DEPTH, Value};
use super::settings::SiteSettings;
use super::transients::RoomSelections;
use crate::bookings::{Calendar, Grid};
use crate::slot::SlotTime;

/// PHP's `serialize()`, and the transient of a room in it: what is read at all is written in a way that reads
/// the same, and nothing in a room's transient is lost.
pub(crate) fn php(text: &[u8]) {
    match php::parse(text) {
        Err(error) => assert!(error.at <= text.len(), "{error}"),
        Ok(value) => {
            assert!(depth(&value) <= MAX_DEPTH);
            let written = php::encode(&value);
            let again = php::parse(&written).unwrap_or_else(|error| panic!("{}: {error}", shown(&written)));
            assert_eq!(shown(&php::encode(&again)), shown(&written), "from {}", shown(text));
        }
    }
    if let Ok(selections) = RoomSelections::parse(text) {
        let written = selections.encode();
        assert_eq!(sorted(&written), sorted(text), "from {}", shown(text));
        assert_eq!(selections.is_empty(), written == b"a:0:{}");
        for stored in selections.entries.values() {
            assert!(stored.client.as_str().len() <= crate::ClientId::MAX_LEN);
        }
    }
}

/// AppointEase's settings: hours that are hours, or a complaint.
pub(crate) fn site_options(text: &[u8]) {
    let [start, end] =
        [9 * 60, 17 * 60].map(|minutes| SlotTime::from_minutes(minutes).unwrap_or(SlotTime::FIRST));
    let calendar = Calendar::always_open(jiff::tz::TimeZone::UTC, Grid { start, end, step: 30 });
    let mut settings = SiteSettings { calendar, complaints: Vec::new() };
    settings.read_opening(&HashMap::from([(super::settings::OPTIONS.to_owned(), text.to_vec())]));
    let grid = &settings.calendar.grid;
    assert!(grid.start < grid.end && (1..=24 * 60).contains(&grid.step), "{grid:?}");
    if let Some(days) = &settings.calendar.closings.working_days {
        assert!(days.len() <= 7, "{days:?}");
    }
    assert!(settings.complaints.iter().all(|complaint| !complaint.is_empty() && complaint.len() < 1000));
}

/// Bytes for people to read.
pub(super) fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(entries) => 1 + entries.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        _ => 0,
    }
}

/// The entries of an array, in an order that is not the array's.
fn sorted(text: &[u8]) -> Vec<String> {
    let Ok(Value::Array(array)) = php::parse(text) else { panic!("{} is no array", shown(text)) };
    let mut entries: Vec<_> = array.iter().map(|entry| format!("{entry:?}")).collect();
    entries.sort();
    entries
}
