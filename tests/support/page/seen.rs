//! Everything a page received, sorted by what it is for; and the breaches of the protocol found in it.

use std::collections::HashMap;

use serde_json::Value;
use tokio::time::Instant;

use crate::{LiveView, Room};

/// The last frames a failing test prints.
const TAIL: usize = 12;

/// What one connection received so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) rooms: HashMap<Room, LiveView>,
    pub(super) replies: HashMap<String, Value>,
    pub(super) released: Vec<Value>,
    pub(super) storage: Vec<Value>,
    pub(super) goodbye: Vec<Value>,
    pub(super) legacy: Vec<Value>,
    pub(super) errors_without_id: Vec<Value>,
    pub(super) frames: Vec<(Instant, String)>,
    /// Requests to leave a room, by id: from the answer on, the room is silent.
    pub(super) leaving: HashMap<String, Room>,
    /// `Some` once the connection has ended, with the close code if there was one.
    pub(super) closed: Option<Option<u16>>,
    breaches: Vec<String>,
}

impl Seen {
    /// Takes in the next text frame.
    pub(super) fn on_text(&mut self, text: &str) {
        self.frames.push((Instant::now(), text.to_owned()));
        if let Err(breach) = self.sort_in(text) {
            self.breaches.push(format!("{breach}\n  in {text}"));
        }
    }

    /// Panics where a frame broke the protocol.
    pub(super) fn assert_no_breach(&self) {
        assert!(self.breaches.is_empty(), "the protocol was broken: {}", self.breaches.join("\n"));
    }

    /// Takes the breaches found so far, for a test that reports them itself.
    pub(super) fn take_breaches(&mut self) -> Vec<String> {
        std::mem::take(&mut self.breaches)
    }

    /// The last frames, for the output of a failing test.
    pub(super) fn tail(&self) -> String {
        let last = &self.frames[self.frames.len().saturating_sub(TAIL)..];
        let lines: Vec<&str> = last.iter().map(|(_, text)| text.as_str()).collect();
        format!("last frames received:\n{}", lines.join("\n"))
    }

    fn sort_in(&mut self, text: &str) -> Result<(), String> {
        let frame: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !frame.is_object() {
            return Err("not a JSON object".into());
        }
        let id = frame.get("id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        match frame.get("type").and_then(Value::as_str) {
            None => self.legacy.push(frame.clone()),
            Some("snapshot") => {
                let room = Room::of_frame(&frame).ok_or("a snapshot of no room")?;
                let live = LiveView::from_snapshot(&frame, self.rooms.get(&room))?;
                self.rooms.insert(room, live);
            }
            Some("diff") => {
                let room = Room::of_frame(&frame).ok_or("a diff of no room")?;
                self.rooms.get_mut(&room).ok_or("a diff of a room not subscribed")?.apply(&frame)?;
            }
            Some("released") => {
                check_word(&frame, "hold", &["selection", "lock"])?;
                check_word(&frame, "reason", &["expired", "superseded", "lost", "booked"])?;
                self.released.push(frame.clone());
            }
            Some("storage") => self.storage.push(frame.clone()),
            Some("goodbye") => self.goodbye.push(frame.clone()),
            Some("error") if id.is_none() => self.errors_without_id.push(frame.clone()),
            Some("welcome" | "ok" | "error" | "pong" | "availability") => {}
            Some(other) => return Err(format!("a frame of unknown type {other}")),
        }
        if let Some(id) = id {
            if let Some(room) = self.leaving.remove(&id) {
                self.rooms.remove(&room);
            }
            if self.replies.insert(id, frame).is_some() {
                return Err("a request was answered twice".into());
            }
        }
        Ok(())
    }
}

fn check_word(frame: &Value, field: &str, words: &[&str]) -> Result<(), String> {
    let word = frame.get(field).and_then(Value::as_str).unwrap_or_default();
    if words.contains(&word) { Ok(()) } else { Err(format!("{field} is {word:?}")) }
}
