//! The availability cache: what was booked in a room when somebody asked. WordPress' plugin keeps its own answers under
//! the same keys; those say nothing to us, and ours look like them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{RedisStore, keys, millis};
use crate::bookings::Availability;
use crate::slot::{Room, SlotTime};
use crate::store::StoreError;

/// Rooms dropped in one command.
const BATCH: usize = 256;

#[derive(Serialize)]
struct Kept<'a> {
    unavailable: &'a [SlotTime],
    booking_details: BTreeMap<String, Details>,
    booked: &'a [SlotTime],
}

#[derive(Serialize)]
struct Details {
    status: &'static str,
}

/// What is ours in it.
#[derive(Deserialize)]
struct Found {
    booked: Vec<String>,
}

impl RedisStore {
    /// What was booked in a room, if that is kept. Where Redis does not decide, nothing is.
    pub(crate) async fn cached_booked(&self, room: Room) -> Option<Vec<SlotTime>> {
        if !self.storage.borrow().writable {
            return None;
        }
        let mut command = redis::cmd("GET");
        command.arg(keys::availability(room));
        let answer = async |mut connection| command.query_async(&mut connection).await;
        let value: Option<Vec<u8>> = self.scripts.link.within_deadline(answer).await.ok()?;
        kept_booked(&value?)
    }

    /// Keeps answers.
    pub(crate) async fn cache_availability(
        &self,
        answers: &[(Room, Availability)],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        for answers in answers.chunks(BATCH) {
            let mut commands = redis::pipe();
            for (room, answer) in answers {
                commands
                    .cmd("SET")
                    .arg(keys::availability(*room))
                    .arg(value(answer))
                    .arg("PX")
                    .arg(millis(ttl));
            }
            let answer = async |mut connection| commands.query_async::<()>(&mut connection).await;
            self.scripts.link.within_deadline(answer).await?;
        }
        Ok(())
    }

    /// Drops what is kept of these rooms, whoever decides.
    pub(crate) async fn drop_availability(&self, rooms: &[Room]) -> Result<(), StoreError> {
        for rooms in rooms.chunks(BATCH) {
            let mut command = redis::cmd("DEL");
            rooms.iter().for_each(|room| _ = command.arg(keys::availability(*room)));
            let answer = async |mut connection| command.query_async::<()>(&mut connection).await;
            self.scripts.link.within_deadline(answer).await?;
        }
        Ok(())
    }
}

/// What was booked, where the value is ours.
pub(super) fn kept_booked(value: &[u8]) -> Option<Vec<SlotTime>> {
    let found: Found = serde_json::from_slice(value).ok()?;
    found.booked.iter().map(|time| time.parse().ok()).collect()
}

pub(super) fn value(answer: &Availability) -> String {
    let booked = answer.booked.iter().map(|time| (time.to_string(), Details { status: "confirmed" }));
    let locked = answer.locked.iter().map(|time| (time.to_string(), Details { status: "locked" }));
    let kept = Kept {
        unavailable: &answer.unavailable,
        booking_details: booked.chain(locked).collect(),
        booked: &answer.booked,
    };
    serde_json::to_string(&kept).unwrap_or_default()
}
