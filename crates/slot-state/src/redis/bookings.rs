//! What becomes of the keys of a slot that was booked.

use smallvec::SmallVec;

use super::{RedisStore, empty, keys};
use crate::hold::ActorId;
use crate::slot::Slot;
use crate::store::StoreError;

impl RedisStore {
    /// Removes whatever is held on a slot, and what was known of its room's availability; tells the other gateways.
    pub(crate) async fn clear_booked(&self, slot: Slot, actor: Option<ActorId>) -> Result<(), StoreError> {
        let keys = [keys::active(slot), keys::lock(slot), keys::availability(slot.room)];
        let (time, suffix, user) = (slot.time.to_string(), keys::suffix(slot), keys::user_suffix(slot.room));
        let args = [time.as_str(), &suffix, keys::USER, &user, keys::LOCKS];
        let _under_way = self.reader.command(slot.room);
        let reply = self.scripts.call(&self.scripts.sources.book, &keys, &args).await?;
        self.tell(reply.seq, SmallVec::from_iter([empty(slot)]), slot, actor);
        Ok(())
    }
}
