//! The words of the switch: what it learns and what it says. Built and read by the failover store.

use std::time::Duration;

use crate::store::{StorageMode, StoreError};

/// A store that can decide, and so a storage mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Store {
    Redis,
    Mysql,
}

impl Store {
    /// The one that steps in for this one.
    pub(crate) fn other(self) -> Store {
        match self {
            Store::Redis => Store::Mysql,
            Store::Mysql => Store::Redis,
        }
    }
}

impl From<Store> for StorageMode {
    fn from(store: Store) -> StorageMode {
        match store {
            Store::Redis => StorageMode::Redis,
            Store::Mysql => StorageMode::Mysql,
        }
    }
}

/// What stands in both stores: who decides, and since which epoch. The greater one is right; at equal epochs, which
/// only a hand in the database can bring about, that is `mysql`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Record {
    pub(crate) epoch: u64,
    pub(crate) mode: Store,
}

impl Record {
    /// How a store without a record (new, flushed) is reported: anything is right against it.
    #[cfg(test)]
    #[cfg(test)]
    pub(crate) const NONE: Record = Record { epoch: 0, mode: Store::Redis };
    /// What a gateway with Redis believes before it has read anything.
    pub(super) const FIRST: Record = Record { epoch: 1, mode: Store::Redis };
    /// The same without Redis.
    pub(super) const FIRST_WITHOUT_REDIS: Record = Record { epoch: 2, mode: Store::Mysql };

    pub(super) fn next(self) -> Record {
        Record { epoch: self.epoch + 1, mode: self.mode.other() }
    }
}

/// How a request on a store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// No answer in time, or none that makes sense: may be the fault of this one request.
    Timeout,
    /// No connection, or no writes taken: proof.
    Away,
}

impl From<&StoreError> for Failure {
    fn from(error: &StoreError) -> Failure {
        match error {
            StoreError::Away(_) | StoreError::Refusing(_) => Failure::Away,
            _ => Failure::Timeout,
        }
    }
}

/// How raising the record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raise {
    /// The record asked for is in the store now.
    Raised,
    /// A record of the same or a greater epoch was there already: this one.
    Beaten(Record),
    /// The store failed; whether the record was raised is unknown.
    Failed,
}

/// A row of the gateways table.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// Seen lately, by the database's clock.
    pub(crate) alive: bool,
    /// How long it finds Redis healthy on end; `None`: it does not.
    pub(crate) redis_healthy_for: Option<Duration>,
}

/// What the switch learns.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A probe ended: every 250 ms each, and at once when asked for. `None`: it failed, its deadline included. Good for
    /// Redis means that it took a write. A store that refused a request over its epoch is fed in here too.
    Seen { store: Store, record: Option<Record> },
    /// A request failed on a store.
    Failed { store: Store, failure: Failure },
    /// The answer to [`Output::SwitchTo`], exactly one for each.
    Raised(Raise),
    /// The gateways table was read: every 500 ms, this gateway's own row among them.
    Peers(Vec<Peer>),
    /// The answer to [`Output::CarryBack`], exactly one for each: all is copied, or not.
    CarriedBack(bool),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Change the record in `at` to this one, where the epoch there is lower, and answer [`Input::Raised`]. Requests
    /// that failed wait for that, then carry on where [`Switch::record`](super::Switch::record) says.
    SwitchTo { record: Record, at: Store },
    /// Another gateway changed the mode or epoch: this holds from now on.
    Follow(Record),
    /// Write this record to the store, where a lower one is. No answer; it is asked for again until it worked.
    Restore { store: Store, record: Record },
    /// Copy the holds to Redis under this record's epoch, which is not in force yet, and answer
    /// [`Input::CarriedBack`].
    CarryBack(Record),
    /// Probe the store now, out of turn. The request that timed out waits for that and is then tried once more where
    /// [`Switch::record`](super::Switch::record) says.
    Probe(Store),
}
