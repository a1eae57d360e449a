//! What moves when another store begins to decide, and how MySQL's locks and their copies in Redis are kept alike.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};

use super::switch::{Raise, Record, Store};
use super::{Deciding, Failover};
use crate::hold::{Carried, DeselectAsk, Handover, HoldError, Lock, LockAsk, Releaser, Selection};
use crate::redis::LockKeeper;
use crate::slot::{ClientId, Slot};
use crate::store::{HoldStore, StorageMode, StoreError};

/// Requests wait while holds move, but not longer than this; the rest is made up for afterwards.
const MOVE_WITHIN: Duration = Duration::from_secs(5);
/// How long to try to read the deciding store, where it could not be read in time.
const TRIES: u32 = 20;
/// How long a gateway that follows waits for whoever raised the record.
const RAISER_WITHIN: Duration = Duration::from_millis(1500);
/// Redis may be late a few times in a row.
const MOST_FAILURES: u32 = 3;
/// Between two tries to carry back.
const AGAIN: Duration = Duration::from_millis(50);
/// How long requests wait while it is looked whether something came over that was given up.
const GIVE_UP_WITHIN: Duration = Duration::from_millis(500);
/// When it is looked again: whoever raised the record has carried all, and sweeps show it.
const GIVE_UP_AGAIN: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(900)];
/// How often a gateway that follows looks whether all is carried.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Reads of Redis wait no longer for MySQL than this.
const KEEPER_PATIENCE: Duration = Duration::from_millis(500);

impl Failover {
    /// Raises the record and, if nobody was faster, goes by it. Whoever follows on Redis waits until the record is
    /// there: all is carried before, and nobody gives up what is carried only then.
    pub(super) async fn switch_to(self: &Arc<Self>, record: Record, at: Store) -> Raise {
        if at == Store::Mysql {
            let raise = self.raise(at, record).await;
            if raise == Raise::Raised {
                self.adopt(record, Some(at)).await;
            }
            return raise;
        }
        // MySQL is away.
        let _alone = self.gate.write().await;
        self.forget_selected_again();
        let carried = within(MOVE_WITHIN, self.carry_picture(record)).await;
        let raise = self.raise(at, record).await;
        if raise == Raise::Raised {
            // Another gateway may have carried less meanwhile, and dropped what it did not know.
            let carried = carried.and(within(MOVE_WITHIN, self.copy_known_locks(record)).await);
            self.decide_on_redis(record, carried).await;
        }
        raise
    }

    /// From now on this holds. What is held comes over from the other store as far as it is known. `raised_at`: where
    /// this gateway raised the record, if it did.
    pub(super) async fn adopt(self: &Arc<Self>, record: Record, raised_at: Option<Store>) {
        let _alone = self.gate.write().await;
        self.forget_selected_again();
        if record.mode == Store::Redis {
            let carried = match raised_at {
                // What was written since the first pass.
                Some(_) => within(MOVE_WITHIN, self.carry_back_for_sure(record)).await,
                None => within(MOVE_WITHIN, self.follow_to_redis(record)).await,
            };
            // Where it stands already, that is as good.
            let raised = within(MOVE_WITHIN, self.redis.raise(record)).await;
            return self.decide_on_redis(record, carried.and(raised.map(drop))).await;
        }
        let before = self.now.lock().record;
        let held = self.picture.selections();
        let ours = self.served.lock().of_ours(held.clone());
        let given_up = self.served.lock().given_up().into_iter().collect();
        let handover = Handover {
            ours,
            // Whoever raised the record carries all; the others what their clients hold.
            others: if raised_at.is_some() { held } else { Vec::new() },
            given_up,
            given_back: self.given_back.lock().clone(),
        };
        let began = self.go_by(record);
        let moving = async {
            match before.mode {
                Store::Mysql => Ok(()),
                Store::Redis => self.mysql.take_over(&handover).await,
            }
        };
        let moved = within(MOVE_WITHIN, moving).await;
        self.moved(record, began, moved).await;
    }

    fn go_by(&self, record: Record) -> Instant {
        let began = Instant::now();
        self.redis.believe(record);
        *self.now.lock() = Deciding { record, writable: true, since: Some(began) };
        began
    }

    /// All is carried that could be, and the record is in Redis.
    async fn decide_on_redis(self: &Arc<Self>, record: Record, carried: Result<(), StoreError>) {
        let began = self.go_by(record);
        self.picture.decide(StorageMode::Redis);
        let read = within(MOVE_WITHIN, self.redis.read_anew()).await;
        self.moved(record, began, carried.and(read)).await;
    }

    async fn moved(self: &Arc<Self>, record: Record, began: Instant, moved: Result<(), StoreError>) {
        // Before renewals: what came over of a client's old choice would stand in the way of its new one.
        let _ = timeout(GIVE_UP_WITHIN, self.give_up_again(record)).await;
        let later = self.clone();
        tokio::spawn(async move {
            for pause in GIVE_UP_AGAIN {
                sleep(pause).await;
                later.give_up_again(record).await;
            }
        });
        if let Err(error) = moved {
            let elapsed_ms = began.elapsed().as_millis() as u64;
            tracing::warn!(event = "holds_not_carried", error = %error, elapsed_ms);
            // Whatever could not be carried: from here on the deciding store is shown.
            self.picture.decide(record.mode.into());
            tokio::spawn(self.clone().make_up_for(record));
        }
    }

    /// Another gateway may have carried what it did not know to be given up here.
    async fn give_up_again(&self, record: Record) {
        let given_up = self.served.lock().given_up();
        for (slot, client) in given_up {
            let is_there = self.picture.selection(slot).is_some_and(|held| held.client == client);
            // It may have been selected again just now.
            let is_given_up = self.served.lock().is_given_up(&client, slot);
            if !is_there || !is_given_up || self.now.lock().record != record {
                continue;
            }
            // If it fails, the next time or the selection's own deadline will do.
            let by = Releaser::Client(client);
            let _ = self.store(record.mode).deselect(DeselectAsk { slot, by, actor: None }).await;
        }
    }

    /// What a client selected again, perhaps through another gateway, is not given up any more.
    fn forget_selected_again(&self) {
        let is_back = |client: &ClientId, slot| {
            self.picture.selection(slot).is_some_and(|held: Selection| held.client == *client)
        };
        self.served.lock().forget_given_up(is_back);
    }

    /// Whoever raised this record carries what is held, and then has it in Redis too. If it died of that, or nobody is
    /// at it, this gateway carries.
    async fn follow_to_redis(&self, record: Record) -> Result<(), StoreError> {
        match within(RAISER_WITHIN, self.is_carried(record)).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return self.carry_back_for_sure(record).await,
        }
        // Without the record there, MySQL is away from whoever raised it, and the last locks may be known here alone.
        if self.mysql.record().await.is_ok_and(|there| there >= record) {
            return Ok(());
        }
        self.copy_known_locks(record).await
    }

    /// Waits until the record is in Redis; false if what is there says that nobody is carrying.
    async fn is_carried(&self, record: Record) -> Result<bool, StoreError> {
        let mut failures = 0;
        loop {
            match self.redis.record().await {
                Ok(there) if there >= record => return Ok(true),
                // It was emptied.
                Ok(there) if there.mode == Store::Redis => return Ok(false),
                Ok(_) => failures = 0,
                Err(error) if failures == MOST_FAILURES => return Err(error),
                Err(_) => failures += 1,
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn copy_known_locks(&self, record: Record) -> Result<(), StoreError> {
        self.copy_doubtful(self.picture.locks(), record.epoch).await
    }

    /// Copies locks of which MySQL may know better, once it can be asked.
    async fn copy_doubtful(&self, mut locks: Vec<(Slot, Lock)>, epoch: u64) -> Result<(), StoreError> {
        // Those without a fence are PHP's.
        locks.retain(|(_, lock)| lock.fence > 0);
        self.doubt(&locks);
        self.redis.carry(Carried { selections: Vec::new(), locks }, epoch).await
    }

    /// Shows what the deciding store says, as soon as it can be read. Selections are put back by their holders'
    /// renewals meanwhile; locks that are in Redis are compared with MySQL's.
    async fn make_up_for(self: Arc<Self>, record: Record) {
        for _ in 0..TRIES {
            sleep(Duration::from_secs(1)).await;
            if self.now.lock().record != record {
                return;
            }
            let read = match record.mode {
                Store::Mysql => self.mysql.read_anew().await,
                Store::Redis => self.redis.read_anew().await,
            };
            if read.is_ok() {
                if record.mode == Store::Redis {
                    self.doubt(&self.picture.locks());
                }
                return;
            }
        }
    }

    fn doubt(&self, locks: &[(Slot, Lock)]) {
        self.unproven.lock().extend(locks.iter().map(|(slot, _)| *slot));
    }

    /// Copies to Redis what is known of MySQL, which is away.
    async fn carry_picture(&self, record: Record) -> Result<(), StoreError> {
        let holds = Carried { selections: self.picture.selections(), locks: self.picture.locks() };
        self.doubt(&holds.locks);
        self.carry(holds, record).await
    }

    /// Copies all that MySQL holds to Redis, before Redis decides: once while MySQL takes writes, and what was written
    /// since then when it takes none any more.
    pub(super) async fn carry_back(&self, record: Record) -> Result<(), StoreError> {
        self.carry(self.mysql.holds().await?, record).await
    }

    /// As above, again where it fails.
    async fn carry_back_for_sure(&self, record: Record) -> Result<(), StoreError> {
        loop {
            match self.carry_back(record).await {
                // Elsewhere: another gateway lost patience and saw to it.
                Ok(()) | Err(StoreError::Elsewhere) => return Ok(()),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    async fn carry(&self, holds: Carried, record: Record) -> Result<(), StoreError> {
        let keep = holds.selections.iter().map(|(slot, held)| (*slot, held.client.clone())).collect();
        let fences = holds.locks.iter().map(|(slot, lock)| (*slot, lock.fence)).collect();
        // Old copies first: they would stand in the way of selections.
        let dropped = self.redis.drop_stale(&keep, &fences, record.epoch).await;
        // Locks come over in any case.
        let carried = self.redis.carry(holds, record.epoch).await;
        dropped.and(carried)
    }

    /// Makes Redis' copies like MySQL's locks. Locks just granted or given back are left to whoever is at it. Copies
    /// without a row go only where all must have one: once every lock that Redis granted before this process began,
    /// perhaps alone, is over.
    pub(super) async fn compare_locks(&self) -> Result<(), StoreError> {
        let is_settled =
            |lock: &Lock| self.mysql.is_settled(lock.deadline.saturating_duration_since(Instant::now()));
        let copies = self.picture.locks();
        let rows = self.mysql.locks(None).await?;
        let fences: HashMap<Slot, u64> = rows.iter().map(|(slot, lock)| (*slot, lock.fence)).collect();
        let stale = |(slot, lock): &(Slot, Lock)| {
            is_settled(lock) && self.picture.lock(*slot).is_none_or(|copy| copy.fence < lock.fence)
        };
        let missing: Vec<(Slot, Lock)> = rows.into_iter().filter(stale).collect();
        let slots: Vec<Slot> = missing.iter().map(|(slot, _)| *slot).collect();
        self.copy_locks(missing).await?;
        self.redis.look(&slots);
        let all_have_rows = self.began.elapsed() > self.mysql.lock_ttl();
        let unproven = self.unproven.lock().clone();
        let without_row = |(slot, copy): &&(Slot, Lock)| {
            let is_doubtful = (all_have_rows && is_settled(copy)) || unproven.contains(slot);
            copy.fence > 0 && is_doubtful && fences.get(slot) != Some(&copy.fence)
        };
        let orphans: Vec<(Slot, Lock)> = copies.iter().filter(without_row).cloned().collect();
        self.take_back_released(&orphans).await?;
        self.unproven.lock().retain(|slot| !unproven.contains(slot));
        Ok(())
    }

    async fn copy_locks(&self, locks: Vec<(Slot, Lock)>) -> Result<(), StoreError> {
        if locks.is_empty() {
            return Ok(());
        }
        let epoch = self.now.lock().record.epoch;
        tracing::info!(event = "locks_put_back", storage = "redis", locks = locks.len());
        let copied = locks.clone();
        self.redis.carry(Carried { selections: Vec::new(), locks }, epoch).await?;
        self.take_back_released(&copied).await
    }

    /// Copies whose rows went, perhaps while they were made: their locks have been given back.
    async fn take_back_released(&self, copied: &[(Slot, Lock)]) -> Result<(), StoreError> {
        if copied.is_empty() {
            return Ok(());
        }
        let slots: Vec<Slot> = copied.iter().map(|(slot, _)| *slot).collect();
        let rows = self.mysql.locks(Some(&slots)).await?;
        let rows: HashMap<Slot, u64> = rows.into_iter().map(|(slot, lock)| (slot, lock.fence)).collect();
        for (slot, lock) in copied.iter().filter(|(slot, lock)| rows.get(slot) != Some(&lock.fence)) {
            let ask = LockAsk { slot: *slot, client: lock.client.clone(), actor: None };
            match self.redis.drop_lock(&ask, lock.fence).await {
                Err(HoldError::Store(error)) => return Err(error),
                Ok(()) | Err(HoldError::Refused(_)) => {}
            }
        }
        Ok(())
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, work).await.unwrap_or(Err(StoreError::Timeout))
}

#[async_trait]
impl LockKeeper for Failover {
    async fn put_back(&self, slots: &[Slot], is_emptied: bool) -> bool {
        let put_back = async {
            let locks = self.mysql.locks(Some(slots)).await?;
            let there_are = !locks.is_empty();
            self.copy_locks(locks).await.map(|()| there_are)
        };
        match timeout(KEEPER_PATIENCE, put_back).await {
            Ok(Ok(there_are)) => there_are,
            // MySQL does not say, and what Redis says is worth nothing: what is known here must do.
            _ if is_emptied => {
                let known =
                    self.picture.locks().into_iter().filter(|(slot, _)| slots.contains(slot)).collect();
                let epoch = self.now.lock().record.epoch;
                self.copy_doubtful(known, epoch).await.is_ok()
            }
            // What Redis says must do.
            _ => false,
        }
    }
}
