//! Locks: granted here where Redis alone decides, else copies of what MySQL granted. Copies keep MySQL's fence and time.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{RedisStore, empty, keys, millis};
use crate::event::{Absence, SlotFact};
use crate::hold::{HoldError, Lock, LockAsk, Locked, MAX_LOCKS_PER_CLIENT};
use crate::store::HoldStore;

impl RedisStore {
    /// Copies a lock that MySQL granted. Refused where another client has selected the slot, or has a lock there that is
    /// PHP's or newer. A copy that is there gets the time left; a newer one of the same client stays.
    pub(crate) async fn copy_lock(&self, ask: &LockAsk, lock: &Locked) -> Result<(), HoldError> {
        self.grant(ask, Some(lock)).await.map(drop)
    }

    /// Removes the copy of a lock that MySQL has released; refused as an unlock is. The copy of a newer one stays: that
    /// was granted meanwhile.
    pub(crate) async fn drop_lock(&self, ask: &LockAsk, fence: u64) -> Result<(), HoldError> {
        self.release(ask, Some(fence)).await
    }

    /// Locks a slot, or copies the lock that was granted elsewhere.
    pub(super) async fn grant(&self, ask: &LockAsk, granted: Option<&Locked>) -> Result<Locked, HoldError> {
        let LockAsk { slot, client, actor } = ask;
        let slot = *slot;
        let keys = [keys::active(slot), keys::lock(slot), keys::user(client, slot.room), keys::locks(client)];
        let (time, room) = (slot.time.to_string(), keys::room_suffix(slot.room));
        let ttl = millis(granted.map_or(self.lock_ttl, |granted| granted.ttl));
        let most = MAX_LOCKS_PER_CLIENT.to_string();
        let fence = granted.map(|granted| granted.fence.to_string()).unwrap_or_default();
        let args = [client.as_str(), &time, &room, keys::LOCK, &ttl, &most, &fence];
        let _under_way = self.reader.command(slot.room);
        let mut reply = self.run(&self.scripts.sources.lock, slot, &keys, &args).await?;
        let fresh = match reply.word.as_str() {
            "ok" => true,
            "own_lock" => false,
            other => return Err(self.refused(slot, other)),
        };
        let left: i64 = reply.next()?;
        let fence: u64 = reply.next()?;
        let ttl = u64::try_from(left).map_or(self.lock_ttl, Duration::from_millis);
        if fresh {
            let lock = Some(Lock { client: client.clone(), deadline: Instant::now() + ttl, fence });
            let fact = SlotFact { time: slot.time, selection: None, lock, absence: Absence::Unknown };
            self.tell(reply.seq, SmallVec::from_iter([fact]), slot, *actor);
        } else if self.picture.lock(slot).is_none() {
            self.look(&[slot]);
        }
        Ok(Locked { ttl, fence })
    }

    /// Gives a lock back; with `newest` only one whose fence is no higher.
    pub(super) async fn release(&self, ask: &LockAsk, newest: Option<u64>) -> Result<(), HoldError> {
        let slot = ask.slot;
        let keys = [keys::active(slot), keys::lock(slot), keys::locks(&ask.client)];
        let newest = newest.map(|fence| fence.to_string()).unwrap_or_default();
        let args = [ask.client.as_str(), &keys::suffix(slot), &newest];
        let _under_way = self.reader.command(slot.room);
        let reply = self.run(&self.scripts.sources.unlock, slot, &keys, &args).await?;
        match reply.word.as_str() {
            "ok" => self.tell(reply.seq, SmallVec::from_iter([empty(slot)]), slot, ask.actor),
            "look" => self.look_after(slot, ask.actor).await?,
            other => return Err(self.refused(slot, other)),
        }
        Ok(())
    }
}
