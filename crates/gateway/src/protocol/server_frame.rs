//! What the server says: one enum, tagged as on the wire.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use slot_state::{Availability, Room, RoomView, SlotTime, Storage, ViewDiff};

use super::booking::WrongFields;
use super::frame;

/// A frame for a browser; see PROTOCOL.md.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ServerFrame<'a> {
    Welcome {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Value>,
        client_id: &'a str,
        storage_mode: &'static str,
        redis_status: &'static str,
        /// Seconds.
        selection_ttl: u64,
        /// Seconds.
        lock_ttl: u64,
        /// Unix seconds.
        server_time: i64,
        version: &'static str,
    },
    Snapshot {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Value>,
        #[serde(flatten)]
        room: RoomName,
        epoch: u64,
        rev: u64,
        #[serde(flatten)]
        view: &'a RoomView,
        #[serde(flatten)]
        storage: StorageName,
        /// The slot of the appointment that this subscriber asked to leave out of `booked`.
        #[serde(skip_serializing_if = "Option::is_none")]
        own_booking: Option<SlotTime>,
    },
    Diff {
        #[serde(flatten)]
        room: RoomName,
        epoch: u64,
        rev: u64,
        #[serde(flatten)]
        diff: &'a ViewDiff,
    },
    Storage {
        #[serde(flatten)]
        storage: StorageName,
    },
    Released {
        #[serde(flatten)]
        room: RoomName,
        time: SlotTime,
        hold: &'static str,
        reason: &'static str,
    },
    Ok {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Value>,
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        storage: Option<&'static str>,
        /// Seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        fence: Option<u64>,
    },
    #[serde(rename = "ok")]
    Booked {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Value>,
        status: &'static str,
        appointment_id: u64,
        strong_id: &'a str,
    },
    Availability {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Value>,
        #[serde(flatten)]
        room: RoomName,
        unavailable: Unavailable<'a>,
        /// Why the whole day is closed.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
        booked: &'a [SlotTime],
        locked: &'a [SlotTime],
        storage: &'static str,
        cached: bool,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Value>,
        code: &'static str,
        message: &'a str,
        /// Free times instead of the one that is taken.
        #[serde(skip_serializing_if = "Option::is_none")]
        suggested: Option<&'a [SlotTime]>,
        /// What is wrong with which field of a booking.
        #[serde(skip_serializing_if = "Option::is_none")]
        fields: Option<&'a WrongFields>,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Value>,
    },
    Goodbye {
        reconnect_in_ms: u64,
    },
}

/// What cannot be booked: some times, or `"all"`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Unavailable<'a> {
    /// These.
    Times(&'a [SlotTime]),
    /// The day is closed; always [`ALL`].
    Day(&'static str),
}

/// Everything, to a client that asks what is unavailable.
pub const ALL: &str = "all";

impl<'a> From<&'a Availability> for Unavailable<'a> {
    fn from(availability: &'a Availability) -> Self {
        match availability.closed {
            None => Unavailable::Times(&availability.unavailable),
            Some(_) => Unavailable::Day(ALL),
        }
    }
}

/// A room as frames name it.
#[derive(Debug, Serialize)]
pub struct RoomName {
    date: String,
    employee_id: u32,
}

impl From<Room> for RoomName {
    fn from(room: Room) -> Self {
        RoomName { date: room.date.to_string(), employee_id: room.employee_id.get() }
    }
}

/// The storage state as frames name it.
#[derive(Debug, Serialize)]
pub struct StorageName {
    storage_mode: &'static str,
    redis_status: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

impl From<Storage> for StorageName {
    fn from(storage: Storage) -> Self {
        StorageName {
            storage_mode: storage.mode.as_str(),
            redis_status: storage.redis_status(),
            stale: storage.stale(),
        }
    }
}

impl ServerFrame<'_> {
    /// The whole WebSocket frame.
    pub fn encode(&self) -> Bytes {
        // Nothing in here can fail to serialize: no maps with odd keys, no foreign types.
        frame::text(&serde_json::to_vec(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slot_state::{ListDiff, StorageMode};

    fn room() -> Room {
        Room { date: "2026-12-01".parse().expect("a date"), employee_id: "7".parse().expect("an employee") }
    }

    fn json(frame: &ServerFrame<'_>) -> String {
        serde_json::to_string(frame).expect("serializes")
    }

    #[test]
    fn a_diff_names_only_the_lists_that_changed() {
        let time = "10:00".parse().expect("a time");
        let diff =
            ViewDiff { active: Some(ListDiff { add: vec![time], remove: vec![] }), ..ViewDiff::default() };
        assert_eq!(
            json(&ServerFrame::Diff { room: room().into(), epoch: 5, rev: 2, diff: &diff }),
            r#"{"type":"diff","date":"2026-12-01","employee_id":7,"epoch":5,"rev":2,"active":{"add":["10:00"],"remove":[]}}"#
        );
    }

    #[test]
    fn a_snapshot_carries_all_lists_and_says_stale_only_if_it_is() {
        let mut storage = Storage { mode: StorageMode::Redis, writable: true, flowing: true };
        let view = RoomView::default();
        let snapshot = |storage: Storage| {
            json(&ServerFrame::Snapshot {
                id: None,
                room: room().into(),
                epoch: 5,
                rev: 0,
                view: &view,
                storage: storage.into(),
                own_booking: None,
            })
        };
        assert_eq!(
            snapshot(storage),
            r#"{"type":"snapshot","date":"2026-12-01","employee_id":7,"epoch":5,"rev":0,"active":[],"locked":[],"booked":[],"storage_mode":"redis","redis_status":"available"}"#
        );
        storage.writable = false;
        assert!(snapshot(storage).ends_with(r#""redis_status":"unavailable","stale":true}"#));
    }
}
