//! What a customer fills in, and looking for it where it must not be.

use serde_json::{Value, json};

use crate::{Page, Reply, Room};

/// The customer of [`Room::booking`]: words that must never leave the gateway again.
pub const CUSTOMER_WORDS: [&str; 4] = ["Zebedee", "zebedee@example.com", "555-0199", "Wheelchair"];

impl Room {
    /// A whole booking of a slot, as the body of a request.
    pub fn booking(&self, time: &str, key: &str) -> Value {
        let [name, email, phone, notes] = CUSTOMER_WORDS;
        json!({
            "date": self.date, "employee_id": self.employee_id, "time": time, "idempotency_key": key,
            "name": name, "email": email, "phone": phone, "notes": notes, "service_id": 1
        })
    }

    /// A `confirm` frame for a slot.
    pub fn confirm_frame(&self, time: &str, key: &str) -> Value {
        let mut frame = self.booking(time, key);
        frame["type"] = json!("confirm");
        frame
    }
}

impl Page {
    /// Books a slot.
    pub async fn confirm(&self, room: &Room, time: &str, key: &str) -> Reply {
        self.ask(room.confirm_frame(time, key)).await
    }

    /// Waits until exactly these times are booked in the room.
    pub async fn eventually_booked(&self, room: &Room, times: &[&str]) {
        let what = format!("booked is {times:?}");
        self.eventually_shows(room, &what, |view| view.booked.iter().eq(times)).await;
    }
}
