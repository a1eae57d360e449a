//! What one client must believe it has selected, derived from nothing but the frames it received, in their order.

use std::collections::HashMap;

use serde_json::Value;
use support::{Page, Room};

/// A request that is under way or answered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) command: &'static str,
    pub(crate) room: Room,
    pub(crate) time: String,
}

/// The requests of one connection, by id.
pub(crate) type Requests = HashMap<String, Request>;

/// By room the time this connection's client has selected, as far as the connection was told.
/// Rooms in which it never selected are not there; `None` means that it knows it has nothing.
pub(crate) fn selections_told(page: &Page, requests: &Requests) -> HashMap<Room, Option<String>> {
    let mut told: HashMap<Room, Option<String>> = HashMap::new();
    for (_, text) in page.frames() {
        let frame: Value = serde_json::from_str(&text).expect("the page has parsed it");
        match frame["type"].as_str() {
            Some("ok") => {
                let request = frame["id"].as_str().and_then(|id| requests.get(id));
                if let Some(request) = request {
                    on_ok(&mut told, request, frame["status"].as_str().unwrap_or_default());
                }
            }
            Some("released") if frame["hold"] == "selection" => {
                let room = Room::of_frame(&frame).expect("a room");
                if let Some(selected) = told.get_mut(&room) {
                    selected.take_if(|time| frame["time"] == time.as_str());
                }
            }
            _ => {}
        }
    }
    told
}

fn on_ok(told: &mut HashMap<Room, Option<String>>, request: &Request, status: &str) {
    match (request.command, status) {
        ("select", "selected") => {
            told.insert(request.room.clone(), Some(request.time.clone()));
        }
        // The slot's selection was let go, or became the lock.
        ("deselect", _) | ("lock", "locked") => {
            if let Some(selected) = told.get_mut(&request.room) {
                selected.take_if(|time| *time == request.time);
            }
        }
        _ => {}
    }
}
