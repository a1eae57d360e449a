//! Locks where there are two stores: the row in MySQL decides, Redis has a copy.

use std::sync::Arc;

use super::{Failover, Store, TRIES};
use crate::hold::{HoldError, LockAsk, Locked, Refusal};
use crate::mysql::Made;
use crate::store::{HoldStore, StoreError};

/// Locks involve both stores; an error says which one failed.
macro_rules! on_both {
    ($self:ident => $request:expr) => {{
        let mut tries = 1;
        loop {
            let (mode, outcome) = {
                let _begun = $self.gate.read().await;
                ($self.deciding(), $request.await)
            };
            let Err((store, error)) = outcome else { break outcome.map_err(|(_, error)| error) };
            let HoldError::Store(failure) = &error else { break Err(error) };
            if tries < TRIES && $self.met(mode, store, failure).await {
                tries += 1;
            } else {
                break Err(error);
            }
        }
    }};
}

/// As often as another request of the client took away what this one was about to grant, it begins anew.
const ANEW: u32 = 3;

impl Failover {
    pub(super) async fn lock_to_the_end(self: Arc<Self>, ask: LockAsk) -> Result<Locked, HoldError> {
        let mut made = None;
        on_both!(self => self.lock_through(&ask, &mut made))
    }

    pub(super) async fn unlock_to_the_end(self: Arc<Self>, ask: LockAsk) -> Result<(), HoldError> {
        let mut revoked = None;
        let unlocked = on_both!(self => self.unlock_through(&ask, &mut revoked));
        self.given_back.lock().retain(|given| (given.slot, &given.client) != (ask.slot, &ask.client));
        unlocked
    }

    /// `made`: the row that an earlier try of this request made or may have made.
    async fn lock_through(
        &self,
        ask: &LockAsk,
        made: &mut Option<Made>,
    ) -> Result<Locked, (Store, HoldError)> {
        if self.deciding() == Store::Mysql {
            let locked = self.mysql.lock(ask.clone()).await.map_err(|error| (Store::Mysql, error))?;
            self.served.lock().gave_up(&ask.client, ask.slot);
            return Ok(locked);
        }
        for _ in 0..ANEW {
            if let Some(locked) = self.lock_in_both(ask, made).await? {
                self.served.lock().gave_up(&ask.client, ask.slot);
                return Ok(locked);
            }
        }
        Err((Store::Mysql, Refusal::SlotLocked.into()))
    }

    /// Row first, copy second; where the copy is refused, the row goes again. In between the same client may ask again,
    /// from another tab or through another gateway, and finds a row of which nobody knows yet whether it stays. Invariant:
    /// whoever was told of a lock has its row. So a row is taken back by the request that made it alone, and as it
    /// made it; and any other request marks it before it grants it. Of the two, MySQL lets one be first, however long
    /// either process stood still before: no clock is asked. `None`: the row went first.
    async fn lock_in_both(
        &self,
        ask: &LockAsk,
        made: &mut Option<Made>,
    ) -> Result<Option<Locked>, (Store, HoldError)> {
        let in_mysql = |error: StoreError| (Store::Mysql, error.into());
        let granted = self.mysql.grant(ask, false, made).await;
        let (locked, is_own) = granted.map_err(|error| (Store::Mysql, error))?;
        let copied = self.redis.copy_lock(ask, &locked).await;
        match copied {
            Ok(()) if is_own => return Ok(Some(locked)),
            Ok(()) => {}
            Err(error) if is_own => {
                // Not granted: the row must not stand, least of all in the way of a selection that moves to MySQL.
                if let Some(made) = *made {
                    self.unproven.lock().insert(ask.slot);
                    self.mysql.take_back(ask.slot, made).await.map_err(in_mysql)?;
                }
                // What is there at the next try may be another request's.
                *made = None;
                return Err((Store::Redis, error));
            }
            // The row has stood for long; what PHP put in the way of its copy is PHP's to explain. A younger one is its
            // maker's, who is refused the same and takes it back.
            Err(HoldError::Refused(_)) if self.mysql.is_settled(locked.ttl) => {}
            Err(error) => return Err((Store::Redis, error)),
        }
        let kept = self.mysql.keep(ask, locked.fence).await;
        if kept == Ok(true) {
            return Ok(Some(locked));
        }
        // Without a row there is to be no copy; if it cannot be removed now, the next comparison does it.
        self.unproven.lock().insert(ask.slot);
        kept.map_err(in_mysql)?;
        let _ = self.redis.drop_lock(ask, locked.fence).await;
        Ok(None)
    }

    /// `revoked`: the fence of the row that went, perhaps in an earlier try.
    async fn unlock_through(
        &self,
        ask: &LockAsk,
        revoked: &mut Option<u64>,
    ) -> Result<(), (Store, HoldError)> {
        let released = match self.deciding() {
            Store::Mysql => self.mysql.unlock(ask.clone()).await.map_err(|error| (Store::Mysql, error)),
            Store::Redis => {
                // Without a row, what was shown before MySQL was asked is meant: what comes later has a row.
                let shown = self.picture.lock(ask.slot).map_or(0, |lock| lock.fence);
                // Once a row went, the next one is that of a newer lock.
                if revoked.is_none() {
                    let revoking = self.mysql.revoke(ask).await.inspect_err(|_| {
                        // The row may be gone and its copy not.
                        self.unproven.lock().insert(ask.slot);
                    });
                    *revoked = revoking.map_err(|error| (Store::Mysql, error.into()))?;
                }
                let dropped = self.redis.drop_lock(ask, revoked.unwrap_or(shown)).await;
                dropped.map_err(|error| (Store::Redis, error))
            }
        };
        match released {
            // It was this client's until then; what is there now came after.
            Err((_, HoldError::Refused(Refusal::LockLost | Refusal::NotOwner))) if revoked.is_some() => {
                // Unless it is a copy that never had this row: the next comparison knows.
                self.unproven.lock().insert(ask.slot);
                Ok(())
            }
            Err((Store::Redis, HoldError::Store(error))) if revoked.is_some() => {
                self.picture.give_up_lock(ask);
                // A Redis that can be read shows it again.
                self.given_back.lock().push(ask.clone());
                Err((Store::Redis, error.into()))
            }
            other => other,
        }
    }
}
