//! Locks where there are two stores: the row in MySQL decides, Redis has a copy.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Failover, Store, TRIES};
use crate::hold::{HoldError, LockAsk, Locked, Refusal};
use crate::store::HoldStore;

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

/// What a request for a lock knows of its row.
struct Row {
    began: Instant,
    /// A grant was not answered.
    in_doubt: bool,
    /// This request made it.
    is_new: bool,
}

impl Row {
    fn new() -> Self {
        Row { began: Instant::now(), in_doubt: false, is_new: false }
    }
}

impl Failover {
    pub(super) async fn lock_to_the_end(self: Arc<Self>, ask: LockAsk) -> Result<Locked, HoldError> {
        let mut row = Row::new();
        on_both!(self => self.lock_through(&ask, &mut row))
    }

    pub(super) async fn unlock_to_the_end(self: Arc<Self>, ask: LockAsk) -> Result<(), HoldError> {
        let mut revoked = false;
        let unlocked = on_both!(self => self.unlock_through(&ask, &mut revoked));
        self.given_back.lock().retain(|given| (given.slot, &given.client) != (ask.slot, &ask.client));
        unlocked
    }

    /// Row first, copy second. `row`: what earlier tries of this request did.
    async fn lock_through(&self, ask: &LockAsk, row: &mut Row) -> Result<Locked, (Store, HoldError)> {
        let in_mysql = |error| (Store::Mysql, error);
        if self.deciding() == Store::Mysql {
            let locked = self.mysql.lock(ask.clone()).await.map_err(in_mysql)?;
            self.served.lock().gave_up(&ask.client, ask.slot);
            return Ok(locked);
        }
        let granted = self.mysql.grant(ask, false).await;
        row.in_doubt |= matches!(granted, Err(HoldError::Store(_)));
        let (locked, made) = granted.map_err(in_mysql)?;
        // One as young as this request was made by it.
        let is_young = locked.ttl + row.began.elapsed() >= self.mysql.lock_ttl();
        row.is_new |= made || (row.in_doubt && is_young);
        match self.redis.copy_lock(ask, &locked).await {
            Ok(()) => {
                self.served.lock().gave_up(&ask.client, ask.slot);
                Ok(locked)
            }
            // The row stood before; what PHP put in the way of its copy is PHP's to explain.
            Err(HoldError::Refused(_)) if !row.is_new => Ok(locked),
            Err(error) => {
                // Not granted: the row must not stand, least of all in the way of a selection that moves to MySQL.
                if row.is_new {
                    let taken_back = self.mysql.take_back(ask.slot, locked.fence).await;
                    taken_back.map_err(|error| in_mysql(error.into()))?;
                    // What is there at the next try may be another request's.
                    *row = Row::new();
                }
                Err((Store::Redis, error))
            }
        }
    }

    /// `revoked`: the row went, perhaps in an earlier try.
    async fn unlock_through(&self, ask: &LockAsk, revoked: &mut bool) -> Result<(), (Store, HoldError)> {
        let released = match self.deciding() {
            Store::Mysql => self.mysql.unlock(ask.clone()).await.map_err(|error| (Store::Mysql, error)),
            Store::Redis => {
                let revoking = self.mysql.revoke(ask).await.inspect_err(|_| {
                    // The row may be gone and its copy not.
                    self.unproven.lock().insert(ask.slot);
                });
                *revoked |= revoking.map_err(|error| (Store::Mysql, error.into()))?;
                self.redis.drop_lock(ask).await.map_err(|error| (Store::Redis, error))
            }
        };
        match released {
            // It was this client's until then; what is there now came after.
            Err((_, HoldError::Refused(Refusal::LockLost | Refusal::NotOwner))) if *revoked => Ok(()),
            Err((Store::Redis, HoldError::Store(error))) if *revoked => {
                self.picture.give_up_lock(ask);
                // A Redis that can be read shows it again.
                self.given_back.lock().push(ask.clone());
                Err((Store::Redis, error.into()))
            }
            other => other,
        }
    }
}
