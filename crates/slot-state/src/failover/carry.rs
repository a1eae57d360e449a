//! What moves when another store begins to decide, and how MySQL's locks and their copies in Redis are kept alike.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};

use super::switch::{Record, Store};
use super::{Deciding, Failover};
use crate::hold::{Carried, DeselectAsk, HoldError, Lock, LockAsk, Releaser, Selection};
use crate::redis::LockKeeper;
use crate::slot::{ClientId, Slot};
use crate::store::{HoldStore, StorageMode, StoreError};

/// Requests wait while holds move, but not longer than this; the rest is made up for afterwards.
const MOVE_WITHIN: Duration = Duration::from_secs(5);
/// A selection renewed here within this is one of this gateway's pages: two renewals may have failed.
const RENEWED_WITHIN: Duration = Duration::from_secs(6);
/// How long to try again what could not be carried back in time.
const TRIES: u32 = 20;
/// Reads of Redis wait no longer for MySQL than this.
const KEEPER_PATIENCE: Duration = Duration::from_millis(500);
/// A lock younger than this may still be on its way: row first, copy second.
const SETTLED: Duration = Duration::from_secs(3);

impl Failover {
    /// From now on this holds. What is held comes over from the other store as far as it is known. `raised_at`: where
    /// this gateway raised the record, if it did.
    pub(super) async fn adopt(self: &Arc<Self>, record: Record, raised_at: Option<Store>) {
        let _alone = self.gate.write().await;
        let began = Instant::now();
        let before = self.now.lock().record;
        let held = self.picture.selections();
        self.redis.believe(record);
        *self.now.lock() = Deciding { record, writable: true, since: Some(began) };
        let moving = async {
            match record.mode {
                Store::Mysql if before.mode == Store::Mysql => Ok(()),
                Store::Mysql if raised_at.is_some() => self.mysql.take_over(&held).await,
                // Whoever raised the record carries all; the others what they renew.
                Store::Mysql => self.mysql.take_over(&self.renewed_lately(held)).await,
                Store::Redis => self.move_to_redis(record, held, raised_at).await,
            }
        };
        if let Err(error) = timeout(MOVE_WITHIN, moving).await.unwrap_or(Err(StoreError::Timeout)) {
            let elapsed_ms = began.elapsed().as_millis() as u64;
            tracing::warn!(event = "holds_not_carried", error = %error, elapsed_ms);
            // Whatever could not be carried: from here on the deciding store is shown.
            self.picture.decide(record.mode.into());
            tokio::spawn(self.clone().make_up_for(record, raised_at));
        }
    }

    fn renewed_lately(&self, mut held: Vec<(Slot, Selection)>) -> Vec<(Slot, Selection)> {
        let renewed = self.renewed.lock();
        held.retain(|(slot, held)| {
            let last = renewed.get(&(*slot, held.client.clone()));
            last.is_some_and(|last| last.elapsed() < RENEWED_WITHIN)
        });
        held
    }

    async fn move_to_redis(
        &self,
        record: Record,
        held: Vec<(Slot, Selection)>,
        raised_at: Option<Store>,
    ) -> Result<(), StoreError> {
        let carried = self.carry_over(record, held, raised_at).await;
        self.picture.decide(StorageMode::Redis);
        carried.and(self.redis.read_anew().await)
    }

    async fn carry_over(
        &self,
        record: Record,
        held: Vec<(Slot, Selection)>,
        raised_at: Option<Store>,
    ) -> Result<(), StoreError> {
        let _ = self.redis.raise(record).await?;
        match raised_at {
            // What was written since the first pass.
            Some(Store::Mysql) => self.carry_back_again(record).await,
            // MySQL is away: what is known of it.
            Some(Store::Redis) => {
                let locks = self.picture.locks();
                self.unproven.lock().extend(locks.iter().map(|(slot, _)| *slot));
                self.carry(Carried { selections: held, locks }, &[], record).await.map(drop)
            }
            None => Ok(()),
        }
    }

    /// Tries again what could not be carried, as long as nothing else is decided on. Its holders' renewals put back
    /// selections meanwhile.
    async fn make_up_for(self: Arc<Self>, record: Record, raised_at: Option<Store>) {
        for _ in 0..TRIES {
            sleep(Duration::from_secs(1)).await;
            if self.now.lock().record != record {
                return;
            }
            let done = match (record.mode, raised_at) {
                (Store::Mysql, _) => self.mysql.read_anew().await,
                (Store::Redis, Some(Store::Mysql)) => self.carry_back_again(record).await,
                (Store::Redis, _) => self.redis.read_anew().await,
            };
            if done.is_ok() {
                return;
            }
        }
    }

    /// Copies all that MySQL holds to Redis, before Redis decides.
    pub(super) async fn carry_back(&self, record: Record) -> Result<(), StoreError> {
        let holds = self.mysql.holds().await?;
        let first = holds.selections.iter().map(|(slot, held)| (*slot, held.client.clone())).collect();
        *self.first_pass.lock() = first;
        self.carry(holds, &[], record).await.map(drop)
    }

    /// The second pass: what was given up on MySQL since the first goes again, then what was taken comes over.
    async fn carry_back_again(&self, record: Record) -> Result<(), StoreError> {
        let holds = self.mysql.holds().await?;
        let first = self.first_pass.lock().clone();
        let still: HashSet<(Slot, &ClientId)> =
            holds.selections.iter().map(|(slot, held)| (*slot, &held.client)).collect();
        for (slot, client) in first.iter().filter(|(slot, client)| !still.contains(&(*slot, client))) {
            let by = Releaser::Client(client.clone());
            match self.redis.deselect(DeselectAsk { slot: *slot, by, actor: None }).await {
                Err(HoldError::Store(error)) => return Err(error),
                Ok(()) | Err(HoldError::Refused(_)) => {}
            }
        }
        // What the first pass copied may have been given up in Redis by now: it is not copied again.
        let copied = self.carry(holds, &first, record).await?;
        self.first_pass.lock().clear();
        self.take_back_released(&copied).await
    }

    /// Selections in `there` are in Redis already.
    async fn carry(
        &self,
        mut holds: Carried,
        there: &[(Slot, ClientId)],
        record: Record,
    ) -> Result<Vec<(Slot, Lock)>, StoreError> {
        let keep: HashSet<Slot> = holds.selections.iter().map(|(slot, _)| *slot).collect();
        let fences: HashMap<Slot, u64> = holds.locks.iter().map(|(slot, lock)| (*slot, lock.fence)).collect();
        // Old copies first: they would stand in the way of selections.
        self.redis.drop_stale(&keep, &fences, record.epoch).await?;
        let there: HashSet<(Slot, &ClientId)> = there.iter().map(|(slot, client)| (*slot, client)).collect();
        holds.selections.retain(|(slot, held)| !there.contains(&(*slot, &held.client)));
        let locks = holds.locks.clone();
        self.redis.carry(holds, record.epoch).await?;
        Ok(locks)
    }

    /// Makes Redis' copies like MySQL's locks. Locks just granted or given back are left to whoever is at it. Copies
    /// without a row go only where all must have one: once every lock that Redis granted before this process began,
    /// perhaps alone, is over.
    pub(super) async fn compare_locks(&self) -> Result<(), StoreError> {
        let lock_ttl = self.mysql.lock_ttl();
        let is_settled = |lock: &Lock| {
            let left = lock.deadline.saturating_duration_since(Instant::now());
            left + SETTLED < lock_ttl
        };
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
        let all_have_rows = self.began.elapsed() > lock_ttl;
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
            match self.redis.drop_lock(&ask).await {
                Err(HoldError::Store(error)) => return Err(error),
                Ok(()) | Err(HoldError::Refused(_)) => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl LockKeeper for Failover {
    async fn put_back(&self, slots: &[Slot]) -> bool {
        let put_back = async {
            let locks = self.mysql.locks(Some(slots)).await?;
            let there_are = !locks.is_empty();
            self.copy_locks(locks).await.map(|()| there_are)
        };
        // Where MySQL does not say, what Redis says must do.
        matches!(timeout(KEEPER_PATIENCE, put_back).await, Ok(Ok(true)))
    }
}
