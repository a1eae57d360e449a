//! The embedded store: holds in this process, for one gateway alone. Nothing survives a restart.

mod bookings;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::booking::{BookError, Booking, NewBooking};
use crate::event::{Absence, Change, SlotFact, Source};
use crate::hold::{
    ActorId, AddressTag, Chosen, DeselectAsk, HoldError, Lock, LockAsk, Locked, MAX_LOCKS_PER_CLIENT,
    Refusal, Releaser, Renewal, Renewed, SelectAsk, Selected, Selection, Writer,
};
use crate::pen::Pen;
use crate::slot::{ClientId, Room, Slot, SlotTime};
use crate::store::{HoldStore, Storage, StorageMode, StoreError};
use bookings::Ledger;

/// Keeps holds in this process.
pub(crate) struct MemoryStore {
    holds: Mutex<Holds>,
    picture: Pen,
    lock_ttl: Duration,
    salt: RandomState,
    storage: watch::Sender<Storage>,
}

#[derive(Default)]
struct Holds {
    rooms: HashMap<Room, BTreeMap<SlotTime, SlotHolds>>,
    seq: u64,
    fence: u64,
    bookings: Ledger,
}

#[derive(Default, Clone)]
struct SlotHolds {
    selection: Option<Selection>,
    lock: Option<Lock>,
}

impl MemoryStore {
    /// An empty store that tells `picture`.
    pub(crate) fn new(picture: Pen, lock_ttl: Duration) -> Self {
        let storage = Storage { mode: StorageMode::Memory, writable: true, flowing: true };
        MemoryStore {
            holds: Mutex::default(),
            picture,
            lock_ttl,
            salt: RandomState::new(),
            storage: watch::Sender::new(storage),
        }
    }

    /// Tells the picture how these slots of a room are now; what is gone from them, went as they say.
    fn tell(
        &self,
        holds: &mut Holds,
        room: Room,
        times: impl IntoIterator<Item = (SlotTime, Absence)>,
        actor: Option<ActorId>,
    ) {
        holds.seq += 1;
        let fact = |(time, absence)| {
            let SlotHolds { selection, lock } = holds.live(room.slot(time));
            SlotFact { time, selection, lock, absence }
        };
        let facts = times.into_iter().map(fact).collect();
        self.picture.apply(Change { room, seq: holds.seq, source: Source::Command, actor, facts });
    }

    fn tag(&self, address: Option<IpAddr>) -> Option<AddressTag> {
        address.and_then(|address| self.address_tag(address))
    }
}

impl Holds {
    /// What is on a slot, without what is past its deadline.
    fn live(&self, slot: Slot) -> SlotHolds {
        let now = Instant::now();
        let mut held =
            self.rooms.get(&slot.room).and_then(|slots| slots.get(&slot.time)).cloned().unwrap_or_default();
        held.selection.take_if(|selection| selection.deadline <= now);
        held.lock.take_if(|lock| lock.deadline <= now);
        held
    }

    /// Keeps what is on a slot now; nothing is kept of an empty one.
    fn put(&mut self, slot: Slot, held: SlotHolds) {
        if held.selection.is_some() || held.lock.is_some() {
            self.rooms.entry(slot.room).or_default().insert(slot.time, held);
        } else if let Some(slots) = self.rooms.get_mut(&slot.room) {
            slots.remove(&slot.time);
            if slots.is_empty() {
                self.rooms.remove(&slot.room);
            }
        }
    }

    /// The client's other selections in the room of `slot`.
    fn others(&self, slot: Slot, client: &ClientId) -> SmallVec<[SlotTime; 2]> {
        let times = self.rooms.get(&slot.room).into_iter().flat_map(BTreeMap::keys).copied();
        times
            .filter(|time| *time != slot.time && self.live(slot.room.slot(*time)).selected_by(client))
            .collect()
    }
}

impl SlotHolds {
    fn selected_by(&self, client: &ClientId) -> bool {
        self.selection.as_ref().is_some_and(|selection| selection.client == *client)
    }

    fn locked_by(&self, client: &ClientId) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.client == *client)
    }

    fn free_for(&self, client: &ClientId) -> bool {
        self.lock.is_none() && (self.selection.is_none() || self.selected_by(client))
    }
}

#[async_trait]
impl HoldStore for MemoryStore {
    async fn select(&self, ask: SelectAsk) -> Result<Selected, HoldError> {
        let SelectAsk { slot, client, .. } = ask;
        let writer = Writer::Gateway { chosen: ask.chosen, address: self.tag(ask.address) };
        let mut holds = self.holds.lock();
        holds.bookings.check_free(slot)?;
        let mut held = holds.live(slot);
        if held.locked_by(&client) {
            return Ok(Selected::OwnLock);
        }
        if !held.free_for(&client) {
            return Err(Refusal::SlotLocked.into());
        }
        let others = holds.others(slot, &client);
        for time in &others {
            let other = slot.room.slot(*time);
            let left = SlotHolds { selection: None, ..holds.live(other) };
            holds.put(other, left);
        }
        held.selection = Some(Selection { client, deadline: Instant::now() + ask.ttl, writer });
        holds.put(slot, held);
        // If the slot had another holder in the picture, that one's time had passed.
        let ended = others.into_iter().map(|time| (time, Absence::ByHolder));
        self.tell(&mut holds, slot.room, ended.chain([(slot.time, Absence::Unknown)]), ask.actor);
        Ok(Selected::Selection)
    }

    async fn deselect(&self, ask: DeselectAsk) -> Result<(), HoldError> {
        let mut holds = self.holds.lock();
        let held = holds.live(ask.slot);
        let mine = |selection: &Selection| match (&ask.by, selection.writer) {
            (Releaser::Client(client), _) => selection.client == *client,
            (Releaser::Address(_), Writer::Php) => true,
            (Releaser::Address(address), Writer::Gateway { address: from, .. }) => {
                from.is_some() && self.tag(*address) == from
            }
        };
        let own_lock = |lock: &Lock| matches!(&ask.by, Releaser::Client(client) if lock.client == *client);
        match (&held.selection, &held.lock) {
            (Some(selection), _) if mine(selection) => {}
            (None, None) => return Ok(()),
            (_, Some(lock)) if own_lock(lock) => return Ok(()),
            _ => return Err(Refusal::NotOwner.into()),
        }
        holds.put(ask.slot, SlotHolds { selection: None, ..held });
        self.tell(&mut holds, ask.slot.room, [(ask.slot.time, Absence::ByHolder)], ask.actor);
        Ok(())
    }

    async fn lock(&self, ask: LockAsk) -> Result<Locked, HoldError> {
        let LockAsk { slot, client, actor } = ask;
        let mut holds = self.holds.lock();
        holds.bookings.check_free(slot)?;
        let held = holds.live(slot);
        if let Some(lock) = held.lock.as_ref().filter(|lock| lock.client == client) {
            return Ok(Locked { ttl: lock.deadline - Instant::now(), fence: lock.fence });
        }
        if !held.free_for(&client) {
            return Err(Refusal::SlotLocked.into());
        }
        let known = self.picture.slots_of(&client);
        if known.iter().filter(|slot| holds.live(**slot).locked_by(&client)).count() >= MAX_LOCKS_PER_CLIENT {
            return Err(Refusal::TooManyHolds.into());
        }
        holds.fence += 1;
        let (fence, ttl) = (holds.fence, self.lock_ttl);
        let lock = Some(Lock { client, deadline: Instant::now() + ttl, fence });
        holds.put(slot, SlotHolds { selection: None, lock });
        self.tell(&mut holds, slot.room, [(slot.time, Absence::Unknown)], actor);
        Ok(Locked { ttl, fence })
    }

    async fn unlock(&self, ask: LockAsk) -> Result<(), HoldError> {
        let mut holds = self.holds.lock();
        let held = holds.live(ask.slot);
        match &held.lock {
            Some(lock) if lock.client == ask.client => {}
            None if held.free_for(&ask.client) => return Err(Refusal::LockLost.into()),
            _ => return Err(Refusal::NotOwner.into()),
        }
        holds.put(ask.slot, SlotHolds { lock: None, ..held });
        self.tell(&mut holds, ask.slot.room, [(ask.slot.time, Absence::ByHolder)], ask.actor);
        Ok(())
    }

    async fn confirm(&self, ask: NewBooking) -> Result<Booking, BookError> {
        let mut holds = self.holds.lock();
        let held = holds.live(ask.slot);
        let (booking, is_new) = holds.bookings.book(&ask, &held)?;
        if is_new {
            // First the booking: it hides the holds that go with it.
            self.picture.add_booked(ask.slot, booking.clone(), ask.actor);
            holds.put(ask.slot, SlotHolds::default());
            self.tell(&mut holds, ask.slot.room, [(ask.slot.time, Absence::ByHolder)], ask.actor);
        }
        Ok(booking)
    }

    async fn renew(&self, renewals: Vec<Renewal>, ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        let mut holds = self.holds.lock();
        let mut renewed = Vec::with_capacity(renewals.len());
        for Renewal { slot, client, put_back, address } in renewals {
            let mut held = holds.live(slot);
            let deadline = Instant::now() + ttl;
            let outcome = match &mut held.selection {
                Some(selection) if selection.client == client => {
                    selection.deadline = deadline;
                    Renewed::Kept
                }
                None if held.lock.is_some() => Renewed::Lost,
                None if !holds.others(slot, &client).is_empty() => Renewed::Superseded,
                None if put_back => {
                    let address = self.tag(address);
                    let writer = Writer::Gateway { chosen: Chosen::Explicitly, address };
                    held.selection = Some(Selection { client, deadline, writer });
                    Renewed::PutBack
                }
                _ => Renewed::Lost,
            };
            if matches!(outcome, Renewed::Kept | Renewed::PutBack) {
                holds.put(slot, held);
            }
            self.tell(&mut holds, slot.room, [(slot.time, Absence::Unknown)], None);
            renewed.push(outcome);
        }
        Ok(renewed)
    }

    async fn shorten(&self, holders: Vec<(Slot, ClientId)>, ttl: Duration) -> Result<(), StoreError> {
        let mut holds = self.holds.lock();
        let latest = Instant::now() + ttl;
        for (slot, client) in holders {
            let mut held = holds.live(slot);
            if let Some(selection) = held.selection.as_mut().filter(|selection| selection.client == client) {
                selection.deadline = selection.deadline.min(latest);
                holds.put(slot, held);
                self.tell(&mut holds, slot.room, [(slot.time, Absence::Unknown)], None);
            }
        }
        Ok(())
    }

    fn look(&self, slots: &[Slot]) {
        let mut holds = self.holds.lock();
        for slot in slots {
            let held = holds.live(*slot);
            holds.put(*slot, held);
            self.tell(&mut holds, slot.room, [(slot.time, Absence::Unknown)], None);
        }
    }

    fn address_tag(&self, address: IpAddr) -> Option<AddressTag> {
        Some(AddressTag(self.salt.hash_one(address.to_canonical())))
    }

    fn storage(&self) -> watch::Receiver<Storage> {
        self.storage.subscribe()
    }

    fn health(&self) -> serde_json::Value {
        serde_json::json!({ "memory": { "status": "ok" } })
    }
}
