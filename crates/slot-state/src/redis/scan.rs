//! Walking over all our keys, page by page.

use std::collections::HashSet;

use redis::Value;

use super::{RedisStore, keys};
use crate::event::Observation;
use crate::slot::Slot;
use crate::store::StoreError;

/// Keys Redis walks in one step.
const COUNT: usize = 1000;

impl RedisStore {
    /// Every slot that a selection's or lock's key names. Reads every page until cursor 0: an empty page says nothing
    /// about the next.
    pub(super) async fn scan(&self) -> Result<HashSet<Slot>, StoreError> {
        let mut slots = HashSet::new();
        let mut cursor: u64 = 0;
        loop {
            let mut page = redis::cmd("SCAN");
            page.arg(cursor).arg("MATCH").arg("appointease_*").arg("COUNT").arg(COUNT);
            let answer = async |mut connection| page.query_async(&mut connection).await;
            let (next, found): (u64, Vec<Value>) = self.scripts.link.within_deadline(answer).await?;
            for key in found {
                let Ok(key) = redis::from_redis_value::<String>(key) else { continue };
                match keys::parse_slot(&key) {
                    Some(slot) => _ = slots.insert(slot),
                    None if key.starts_with(keys::ACTIVE) || key.starts_with(keys::LOCK) => {
                        self.picture.observe(Observation::ForeignSkipped);
                    }
                    None => {}
                }
            }
            if next == 0 {
                return Ok(slots);
            }
            cursor = next;
        }
    }
}
