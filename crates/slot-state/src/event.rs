//! Facts that stores tell the picture, and what the picture tells its watcher.

use std::time::Duration;

use smallvec::SmallVec;

use crate::hold::{ActorId, HoldKind, Lock, Selection};
use crate::slot::{ClientId, Room, Slot, SlotTime};
use crate::store::{Storage, StorageMode};

/// Facts about one room that became true together, and are shown together.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Where.
    pub room: Room,
    /// The store's sequence number as of which the facts hold. See [`Source`].
    pub seq: u64,
    /// How the store came to know.
    pub source: Source,
    /// The connection whose request this is.
    pub actor: Option<ActorId>,
    /// The facts, at most one a slot.
    pub facts: SmallVec<[SlotFact; 2]>,
}

/// How a change came to be known. A store numbers its commands upwards; a read carries the number of the last
/// command it saw, so a fact that is older than what the picture has can be told and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The outcome of a command, which made the number.
    Command,
    /// A look at the store; one look at a time.
    Read,
}

/// The whole truth about one slot.
#[derive(Debug, Clone)]
pub(crate) struct SlotFact {
    /// Which slot.
    pub time: SlotTime,
    /// The selection on it.
    pub selection: Option<Selection>,
    /// The lock on it.
    pub lock: Option<Lock>,
    /// If a hold is gone: how.
    pub absence: Absence,
}

/// How a hold that is not there any more went, as far as the store can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Absence {
    /// Its holder gave it up: deselected, unlocked, chose another.
    ByHolder,
    /// It went with the store: flushed, evicted, restarted.
    WithStore,
    /// With the booking of its slot, on another gateway.
    ByBooking,
    /// By its deadline, or by another writer.
    Unknown,
}

/// A hold ended that the picture showed.
#[derive(Debug, Clone)]
pub struct HoldEnded {
    /// Where.
    pub slot: Slot,
    /// Whose it was.
    pub client: ClientId,
    /// What it was.
    pub kind: HoldKind,
    /// Why it ended.
    pub why: EndReason,
    /// The connection whose request ended it.
    pub actor: Option<ActorId>,
    /// How long after its deadline this was noticed; zero unless it expired.
    pub late: Duration,
}

/// Why a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Its deadline passed.
    Expired,
    /// Its holder gave it up or chose anew, perhaps elsewhere.
    Superseded,
    /// Another writer removed or overwrote it.
    Lost,
    /// It went with the store; its holder's gateway may put it back.
    Vanished,
    /// The slot was booked.
    Booked,
}

impl EndReason {
    /// All there are.
    pub const ALL: [EndReason; 5] =
        [EndReason::Expired, EndReason::Superseded, EndReason::Lost, EndReason::Vanished, EndReason::Booked];

    /// A short stable name for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::Expired => "expired",
            EndReason::Superseded => "superseded",
            EndReason::Lost => "lost",
            EndReason::Vanished => "vanished",
            EndReason::Booked => "booked",
        }
    }
}

/// Something worth counting.
#[derive(Debug, Clone, Copy)]
pub enum Observation {
    /// From the arrival of a hint to the picture showing what it hinted at.
    EventLag(Duration),
    /// One script's or command's round trip.
    StoreTime(Duration),
    /// A store that was well is not any more: away, or it takes no writes.
    StoreDown(StorageMode),
    /// A store did not answer well; the kind.
    StoreError(&'static str),
    /// The database refuses a booking for good, with an error of this number; 0 where slotcast itself sees why.
    BookingFailed(u16),
    /// A value under one of our keys that cannot be read was passed over.
    ForeignSkipped,
    /// The periodic comparison found and repaired this many slots.
    Repaired(usize),
    /// Everything was read anew.
    Resync,
}

/// Is told what changes. Called under the picture's locks: must be quick, must not call the picture.
pub trait Watcher: Send + Sync + 'static {
    /// The view of this room may have changed.
    fn room_changed(&self, room: Room);
    /// A selection is there, anew or still, as it has just been made or read.
    fn selected(&self, slot: Slot, selection: &Selection);
    /// A hold ended.
    fn hold_ended(&self, ended: HoldEnded);
    /// Rooms that somebody looks at all the time. Not called under any lock of the picture's.
    fn live_rooms(&self) -> Vec<Room>;
    /// Whether this is one of them.
    fn is_live(&self, room: Room) -> bool;
    /// The state of all rooms has been read anew; what was told before may have gaps.
    fn read_anew(&self);
    /// The deciding store changed, or how it is.
    fn storage_changed(&self, storage: Storage);
    /// Something to count.
    fn observed(&self, observation: Observation);
}
