//! Carries holds from MySQL back to Redis, and removes what MySQL knows better: under an epoch that is to come, as
//! long as it is not in force in Redis. The picture learns of it when everything is read anew.

use std::collections::HashMap;
use std::time::Duration;

use redis::Script;
use tokio::time::Instant;

use super::value::chosen_word;
use super::{RedisStore, keys, millis};
use crate::hold::{Carried, Lock, Selection, Writer};
use crate::slot::{ClientId, Slot};
use crate::store::StoreError;

/// Slots in one script call: keeps the call around a millisecond.
const BATCH: usize = 100;

impl RedisStore {
    /// Writes these with the time they have left. A selection gives way to whatever holds its slot, but for what a
    /// gateway wrote under an older epoch; to a lock gives way what stands there, but for the copy of a newer one.
    /// [`StoreError::Elsewhere`] if the record in Redis is past `epoch`; for selections also if it has come.
    pub(crate) async fn carry(&self, holds: Carried, epoch: u64) -> Result<(), StoreError> {
        for batch in holds.locks.chunks(BATCH) {
            self.carry_locks(batch, epoch).await?;
        }
        for batch in holds.selections.chunks(BATCH) {
            self.carry_selections(batch, epoch).await?;
        }
        Ok(())
    }

    async fn carry_selections(&self, batch: &[(Slot, Selection)], epoch: u64) -> Result<(), StoreError> {
        let now = Instant::now();
        let (mut keys, mut args) = (Vec::new(), vec![keys::USER.to_owned()]);
        for (slot, selection) in batch {
            let Some(ttl) = left(selection.deadline, now) else { continue };
            let (chosen, address) = match selection.writer {
                Writer::Php => ("", None),
                Writer::Gateway { chosen, address } => (chosen_word(chosen), address),
            };
            let (client, room) = (&selection.client, slot.room);
            keys.extend([keys::active(*slot), keys::lock(*slot), keys::user(client, room)]);
            args.extend([client.to_string(), slot.time.to_string(), keys::user_suffix(room), millis(ttl)]);
            args.extend([chosen.to_owned(), address.map(|tag| tag.to_string()).unwrap_or_default()]);
        }
        self.call_on(&self.scripts.sources.carry_selections, epoch, &keys, &args).await
    }

    async fn carry_locks(&self, batch: &[(Slot, Lock)], epoch: u64) -> Result<(), StoreError> {
        let now = Instant::now();
        let (mut keys, mut args) = (Vec::new(), vec![keys::USER.to_owned()]);
        for (slot, lock) in batch {
            let Some(ttl) = left(lock.deadline, now) else { continue };
            keys.extend([keys::active(*slot), keys::lock(*slot), keys::locks(&lock.client)]);
            args.extend([lock.client.to_string(), slot.time.to_string(), keys::room_suffix(slot.room)]);
            args.extend([keys::user_suffix(slot.room), millis(ttl), lock.fence.to_string()]);
        }
        self.call_on(&self.scripts.sources.carry_locks, epoch, &keys, &args).await
    }

    /// Removes what gateways wrote and MySQL does not have: selections that are not in `keep`; locks without a row or
    /// with a lower fence than their row's, which `locks` has by slot.
    pub(crate) async fn drop_stale(
        &self,
        keep: &HashMap<Slot, ClientId>,
        locks: &HashMap<Slot, u64>,
        epoch: u64,
    ) -> Result<(), StoreError> {
        let slots: Vec<Slot> = self.scan().await?.into_iter().collect();
        for batch in slots.chunks(BATCH) {
            let (mut keys, mut args) = (Vec::new(), vec![keys::USER.to_owned()]);
            for slot in batch {
                keys.extend([keys::active(*slot), keys::lock(*slot)]);
                let row = locks.get(slot).map(u64::to_string).unwrap_or_default();
                let holder = keep.get(slot).map(ClientId::to_string).unwrap_or_default();
                args.extend([slot.time.to_string(), keys::user_suffix(slot.room), holder, row]);
            }
            self.call_on(&self.scripts.sources.drop_stale, epoch, &keys, &args).await?;
        }
        Ok(())
    }

    async fn call_on(
        &self,
        script: &Script,
        epoch: u64,
        keys: &[String],
        args: &[String],
    ) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.scripts.call_under(epoch, script, keys, &args).await.map(drop)
    }
}

/// The time left, if any.
fn left(deadline: Instant, now: Instant) -> Option<Duration> {
    deadline.checked_duration_since(now).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests;
