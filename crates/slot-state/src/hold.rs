//! Selections and locks: what is held, what may be asked of a store, and what it answers.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::slot::{ClientId, Slot};
use crate::store::StoreError;

/// The most locks one client may have at a time, over all rooms.
pub const MAX_LOCKS_PER_CLIENT: usize = 3;

/// Names one connection of this process, so that an act is not reported back to where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ActorId(pub u64);

/// A soft hold: somebody is choosing this slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Whose it is.
    pub client: ClientId,
    /// When it ends unless renewed, by this process' clock.
    pub deadline: Instant,
    /// Who wrote it.
    pub writer: Writer,
}

/// Who wrote a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The WordPress plugin, or anybody else who knows the key format. It lives as long as its TTL says.
    Php,
    /// A gateway, for somebody who chose in this way from this address.
    Gateway {
        /// How it was chosen.
        chosen: Chosen,
        /// From where, if known.
        address: Option<AddressTag>,
    },
}

/// How a selection came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// By a request that asked for it.
    Explicitly,
    /// By a poll that named the time; gives way to an explicit choice.
    ByPoll,
}

/// A hard hold during checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The only one who may release it.
    pub client: ClientId,
    /// When it ends, by this process' clock. Locking again does not move it.
    pub deadline: Instant,
    /// Rises with every lock granted; 0 where a foreign writer gave none.
    pub fence: u64,
}

/// A network address, hashed with a salt that the gateways of one store share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressTag(pub u64);

impl AddressTag {
    /// The tag of an address, however it is spelled.
    pub(crate) fn of(address: IpAddr, salt: &str) -> Option<Self> {
        let digest =
            Sha256::new().chain_update(salt).chain_update(address.to_canonical().to_string()).finalize();
        digest.first_chunk().map(|bytes| AddressTag(u64::from_be_bytes(*bytes)))
    }
}

impl fmt::Display for AddressTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A selection or a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldKind {
    /// A soft hold.
    Selection,
    /// A hard hold.
    Lock,
}

impl HoldKind {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldKind::Selection => "selection",
            HoldKind::Lock => "lock",
        }
    }
}

/// Asks for a selection. The client's other selection in the room ends in the same atomic step.
#[derive(Debug, Clone)]
pub struct SelectAsk {
    /// What.
    pub slot: Slot,
    /// For whom.
    pub client: ClientId,
    /// For how long.
    pub ttl: Duration,
    /// In which way.
    pub chosen: Chosen,
    /// From where.
    pub address: Option<IpAddr>,
    /// On which connection.
    pub actor: Option<ActorId>,
}

/// A granted [`SelectAsk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// The slot is selected for the time asked.
    Selection,
    /// The client has the slot locked already, which is more; nothing was changed.
    OwnLock,
}

/// Asks to release a selection.
#[derive(Debug, Clone)]
pub struct DeselectAsk {
    /// What.
    pub slot: Slot,
    /// Who asks.
    pub by: Releaser,
    /// On which connection.
    pub actor: Option<ActorId>,
}

/// Who asks for a release.
#[derive(Debug, Clone)]
pub enum Releaser {
    /// A client, which may release its own.
    Client(ClientId),
    /// Somebody nameless: may release what was selected from this address, and what PHP wrote.
    Address(Option<IpAddr>),
}

/// Asks for or gives back a lock.
#[derive(Debug, Clone)]
pub struct LockAsk {
    /// What.
    pub slot: Slot,
    /// For whom.
    pub client: ClientId,
    /// On which connection.
    pub actor: Option<ActorId>,
}

/// A granted lock: new, or the one the client has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked {
    /// The time left.
    pub ttl: Duration,
    /// The lock's fence.
    pub fence: u64,
}

/// Asks that a selection live on because its client does.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// What.
    pub slot: Slot,
    /// Whose.
    pub client: ClientId,
    /// Whether to put it back if it is gone: true only if it went with the store, not by anybody's act.
    pub put_back: bool,
    /// From where the client is connected.
    pub address: Option<IpAddr>,
}

/// What became of a [`Renewal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// It was there and lives on.
    Kept,
    /// It was gone and is there again.
    PutBack,
    /// It is gone, or somebody else's.
    Lost,
    /// The client has a newer selection in the room; this one was ended.
    Superseded,
    /// The store could not say; it may have lived on or not.
    Unknown,
}

/// Why a store said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody else has it selected or locked.
    #[error("Slot is already locked")]
    SlotLocked,
    /// It is booked.
    #[error("Slot already booked")]
    SlotBooked,
    /// The hold is somebody else's.
    #[error("This slot is held by somebody else")]
    NotOwner,
    /// There is no such lock (any more).
    #[error("The lock on this slot has ended")]
    LockLost,
    /// The client has [`MAX_LOCKS_PER_CLIENT`] locks.
    #[error("Too many locked slots; release one first")]
    TooManyHolds,
}

/// A request that was not granted.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store could not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a gateway knows when MySQL begins to decide.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handover {
    /// Selections of clients that this gateway serves.
    pub(crate) ours: Vec<(Slot, Selection)>,
    /// Other selections.
    pub(crate) others: Vec<(Slot, Selection)>,
    /// What clients gave up here lately.
    pub(crate) given_up: HashSet<(Slot, ClientId)>,
    /// Locks whose holders give them back at this moment, and are not told that they lost them.
    pub(crate) given_back: Vec<LockAsk>,
}

/// Holds on their way from one store to another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Carried {
    /// The selections, until their deadlines.
    pub(crate) selections: Vec<(Slot, Selection)>,
    /// The locks.
    pub(crate) locks: Vec<(Slot, Lock)>,
}
