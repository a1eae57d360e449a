//! The trait of a store of holds; its documentation is the contract of every backend, and the
//! conformance suite in `tests/conformance.rs` its proof.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::watch;

use crate::booking::{BookError, Booking, NewBooking};
use crate::hold::{
    AddressTag, DeselectAsk, HoldError, LockAsk, Locked, Renewal, Renewed, SelectAsk, Selected,
};
use crate::slot::{ClientId, Slot};

/// This many renewals are asked for at once, at most. A store makes them one script call or one transaction; both are
/// short then, and so is the wait of a change of store for what was begun.
pub const RENEWALS_AT_ONCE: usize = 64;

/// Keeps selections and locks, and makes bookings.
///
/// Every change is atomic. Before a method that changes something returns `Ok`, the picture that the store was
/// opened with shows the change; changes by others reach it as the store learns of them. A method that returns a
/// [`StoreError`] may or may not have changed something: the store looks again and the picture follows.
///
/// | | free | own selection | own lock | another's hold |
/// | --- | --- | --- | --- | --- |
/// | select | granted, other selection in the room ends | renewed | [`Selected::OwnLock`] | refused `SlotLocked` |
/// | deselect | granted | granted | granted, lock stays | refused `NotOwner` |
/// | lock | granted | granted, selection becomes the lock | granted: same fence, time left | refused `SlotLocked` |
/// | unlock | refused `LockLost` | refused `LockLost` | granted | refused `NotOwner` |
/// | confirm | booked | booked | booked | refused `SlotLocked` |
///
/// A booked slot is refused as such; the same key again gets the first answer, with other data `OtherData`. With a
/// booking its client's hold on the slot goes, and the picture shows both as one change.
#[async_trait]
pub trait HoldStore: Send + Sync + 'static {
    /// Selects a slot.
    async fn select(&self, ask: SelectAsk) -> Result<Selected, HoldError>;

    /// Releases a selection; releasing what is not there is granted.
    async fn deselect(&self, ask: DeselectAsk) -> Result<(), HoldError>;

    /// Locks a slot. The fence is higher than every fence granted before.
    async fn lock(&self, ask: LockAsk) -> Result<Locked, HoldError>;

    /// Releases a lock.
    async fn unlock(&self, ask: LockAsk) -> Result<(), HoldError>;

    /// Books a slot for good.
    async fn confirm(&self, ask: NewBooking) -> Result<Booking, BookError>;

    /// Renews up to [`RENEWALS_AT_ONCE`] selections for another `ttl`; answers in the order asked.
    async fn renew(&self, renewals: Vec<Renewal>, ttl: Duration) -> Result<Vec<Renewed>, StoreError>;

    /// Leaves these selections `ttl` at most, where this gateway was the last to renew them.
    async fn shorten(&self, holders: Vec<(Slot, ClientId)>, ttl: Duration) -> Result<(), StoreError>;

    /// Looks at these slots again soon and tells the picture; what is due and cannot be read, ends.
    fn look(&self, slots: &[Slot]);

    /// The salted hash of an address, the same on every gateway; `None` before the salt is known.
    fn address_tag(&self, address: IpAddr) -> Option<AddressTag>;

    /// Which store decides, and how it is; changes as that changes.
    fn storage(&self) -> watch::Receiver<Storage>;

    /// Its parts with their state, for `/health`.
    fn health(&self) -> serde_json::Value;
}

/// Which store decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageMode {
    /// Redis, the primary.
    Redis,
    /// MySQL or MariaDB, the fallback.
    Mysql,
    /// Inside this process, for one gateway alone.
    Memory,
}

impl StorageMode {
    /// All there are.
    pub const ALL: [StorageMode; 3] = [StorageMode::Redis, StorageMode::Mysql, StorageMode::Memory];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            StorageMode::Redis => "redis",
            StorageMode::Mysql => "mysql",
            StorageMode::Memory => "memory",
        }
    }
}

/// What is known of the deciding store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Which one.
    pub mode: StorageMode,
    /// It takes writes. If not, the picture may be stale.
    pub writable: bool,
    /// Changes by others arrive by themselves, proven by a probe that made the round trip.
    pub flowing: bool,
}

impl Storage {
    /// `redis_status` on the wire.
    pub fn redis_status(self) -> &'static str {
        if self.mode == StorageMode::Redis && self.writable { "available" } else { "unavailable" }
    }

    /// Nobody can say whether the picture is still true.
    pub fn stale(self) -> bool {
        !self.writable
    }
}

/// A store that did not answer as it should. Whether the request was carried out is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No answer in time.
    #[error("the store did not answer in time")]
    Timeout,
    /// No connection.
    #[error("the store cannot be reached: {0}")]
    Away(String),
    /// It answered, but takes no writes (read-only replica, out of memory, loading).
    #[error("the store takes no writes: {0}")]
    Refusing(String),
    /// Another store decides now.
    #[error("another store decides now")]
    Elsewhere,
    /// It answered something this program does not understand.
    #[error("the store answered strangely: {0}")]
    Strange(String),
}

impl StoreError {
    /// All that [`Self::kind`] says.
    pub const KINDS: [&str; 5] = ["timeout", "away", "refusing", "elsewhere", "strange"];

    /// A short stable name for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            StoreError::Timeout => "timeout",
            StoreError::Away(_) => "away",
            StoreError::Refusing(_) => "refusing",
            StoreError::Elsewhere => "elsewhere",
            StoreError::Strange(_) => "strange",
        }
    }
}
