//! The embedded store: holds in this process, for one gateway alone. Nothing survives a restart.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::event::{Absence, Change, SlotFact, Source};
use crate::hold::{
    ActorId, AddressTag, DeselectAsk, HoldError, Lock, LockAsk, Locked, MAX_LOCKS_PER_CLIENT, Refusal,
    Releaser, Renewal, Renewed, SelectAsk, Selected, Selection, Writer,
};
use crate::picture::Picture;
use crate::slot::{ClientId, Room, Slot, SlotTime};
use crate::store::{HoldStore, Storage, StorageMode, StoreError};

/// Keeps holds in this process.
pub(crate) struct MemoryStore {
    holds: Mutex<Holds>,
    picture: Arc<Picture>,
    lock_ttl: Duration,
    salt: RandomState,
    storage: watch::Sender<Storage>,
}

#[derive(Default)]
struct Holds {
    rooms: HashMap<Room, BTreeMap<SlotTime, SlotHolds>>,
    seq: u64,
    fence: u64,
}

#[derive(Default, Clone)]
struct SlotHolds {
    selection: Option<Selection>,
    lock: Option<Lock>,
}

impl MemoryStore {
    /// An empty store that tells `picture`.
    pub(crate) fn new(picture: Arc<Picture>, lock_ttl: Duration) -> Self {
        let storage = Storage { mode: StorageMode::Memory, writable: true, flowing: true };
        MemoryStore {
            holds: Mutex::default(),
            picture,
            lock_ttl,
            salt: RandomState::new(),
            storage: watch::Sender::new(storage),
        }
    }

    fn tell(
        &self,
        holds: &mut Holds,
        room: Room,
        times: &[SlotTime],
        absence: Absence,
        actor: Option<ActorId>,
    ) {
        holds.seq += 1;
        let slots = holds.rooms.get(&room);
        let facts: SmallVec<[SlotFact; 2]> = times
            .iter()
            .map(|time| {
                let held = slots.and_then(|slots| slots.get(time)).cloned().unwrap_or_default();
                SlotFact { time: *time, selection: held.selection, lock: held.lock, absence }
            })
            .collect();
        self.picture.apply(Change { room, seq: holds.seq, source: Source::Command, actor, facts });
    }

    fn tag(&self, address: Option<IpAddr>) -> Option<AddressTag> {
        address.and_then(|address| self.address_tag(address))
    }
}

impl Holds {
    /// The live holds of a slot, without what is past its deadline.
    fn slot(&mut self, slot: Slot) -> &mut SlotHolds {
        let now = Instant::now();
        let held = self.rooms.entry(slot.room).or_default().entry(slot.time).or_default();
        held.selection.take_if(|selection| selection.deadline <= now);
        held.lock.take_if(|lock| lock.deadline <= now);
        held
    }

    /// Ends the client's selections in this room but the one at `keep`; says which.
    fn end_others(&mut self, room: Room, client: &ClientId, keep: SlotTime) -> SmallVec<[SlotTime; 2]> {
        let slots = self.rooms.entry(room).or_default();
        let others = slots.iter_mut().filter(|(time, held)| **time != keep && held.selected_by(client));
        others
            .map(|(time, held)| {
                held.selection = None;
                *time
            })
            .collect()
    }

    fn forget_empty(&mut self, slot: Slot) {
        if let Some(slots) = self.rooms.get_mut(&slot.room) {
            slots.retain(|_, held| held.selection.is_some() || held.lock.is_some());
            if slots.is_empty() {
                self.rooms.remove(&slot.room);
            }
        }
    }
}

impl SlotHolds {
    fn selected_by(&self, client: &ClientId) -> bool {
        self.selection.as_ref().is_some_and(|selection| selection.client == *client)
    }

    fn locked_by(&self, client: &ClientId) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.client == *client)
    }
}

#[async_trait]
impl HoldStore for MemoryStore {
    async fn select(&self, ask: SelectAsk) -> Result<Selected, HoldError> {
        let address = self.tag(ask.address);
        let mut holds = self.holds.lock();
        let held = holds.slot(ask.slot);
        if held.locked_by(&ask.client) {
            return Ok(Selected::OwnLock);
        }
        if held.lock.is_some()
            || held.selection.as_ref().is_some_and(|selection| selection.client != ask.client)
        {
            return Err(Refusal::SlotLocked.into());
        }
        held.selection = Some(Selection {
            client: ask.client.clone(),
            deadline: Instant::now() + ask.ttl,
            writer: Writer::Gateway { chosen: ask.chosen, address },
        });
        let mut times = holds.end_others(ask.slot.room, &ask.client, ask.slot.time);
        times.push(ask.slot.time);
        self.tell(&mut holds, ask.slot.room, &times, Absence::ByHolder, ask.actor);
        holds.forget_empty(ask.slot);
        Ok(Selected::Selection)
    }

    async fn deselect(&self, ask: DeselectAsk) -> Result<(), HoldError> {
        let mut holds = self.holds.lock();
        let held = holds.slot(ask.slot);
        let mine = |selection: &Selection| match (&ask.by, selection.writer) {
            (Releaser::Client(client), _) => selection.client == *client,
            (Releaser::Address(_), Writer::Php) => true,
            (Releaser::Address(address), Writer::Gateway { address: from, .. }) => {
                from.is_some() && self.tag(*address) == from
            }
        };
        let own_lock = |lock: &Lock| matches!(&ask.by, Releaser::Client(client) if lock.client == *client);
        match (&held.selection, &held.lock) {
            (Some(selection), _) if mine(selection) => held.selection = None,
            (None, None) => {}
            (_, Some(lock)) if own_lock(lock) => return Ok(()),
            _ => return Err(Refusal::NotOwner.into()),
        }
        self.tell(&mut holds, ask.slot.room, &[ask.slot.time], Absence::ByHolder, ask.actor);
        holds.forget_empty(ask.slot);
        Ok(())
    }

    async fn lock(&self, ask: LockAsk) -> Result<Locked, HoldError> {
        let mut holds = self.holds.lock();
        let known = self.picture.slots_of(&ask.client);
        let locks = known.iter().filter(|slot| holds.slot(**slot).locked_by(&ask.client)).count();
        let fence = holds.fence + 1;
        let held = holds.slot(ask.slot);
        if let Some(lock) = held.lock.as_ref().filter(|lock| lock.client == ask.client) {
            return Ok(Locked { ttl: lock.deadline - Instant::now(), fence: lock.fence });
        }
        if held.lock.is_some()
            || held.selection.as_ref().is_some_and(|selection| selection.client != ask.client)
        {
            return Err(Refusal::SlotLocked.into());
        }
        if locks >= MAX_LOCKS_PER_CLIENT {
            return Err(Refusal::TooManyHolds.into());
        }
        held.selection = None;
        held.lock = Some(Lock { client: ask.client, deadline: Instant::now() + self.lock_ttl, fence });
        holds.fence = fence;
        self.tell(&mut holds, ask.slot.room, &[ask.slot.time], Absence::ByHolder, ask.actor);
        Ok(Locked { ttl: self.lock_ttl, fence })
    }

    async fn unlock(&self, ask: LockAsk) -> Result<(), HoldError> {
        let mut holds = self.holds.lock();
        let held = holds.slot(ask.slot);
        match &held.lock {
            None => return Err(Refusal::LockLost.into()),
            Some(lock) if lock.client != ask.client => return Err(Refusal::NotOwner.into()),
            Some(_) => held.lock = None,
        }
        self.tell(&mut holds, ask.slot.room, &[ask.slot.time], Absence::ByHolder, ask.actor);
        holds.forget_empty(ask.slot);
        Ok(())
    }

    async fn renew(&self, renewals: Vec<Renewal>, ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        let mut holds = self.holds.lock();
        let mut renewed = Vec::with_capacity(renewals.len());
        for renewal in renewals {
            let held = holds.slot(renewal.slot);
            if held.selected_by(&renewal.client) {
                if let Some(selection) = &mut held.selection {
                    selection.deadline = Instant::now() + ttl;
                }
                self.tell(&mut holds, renewal.slot.room, &[renewal.slot.time], Absence::Unknown, None);
                renewed.push(Renewed::Kept);
            } else {
                renewed.push(Renewed::Lost);
            }
        }
        Ok(renewed)
    }

    async fn shorten(&self, holders: Vec<(Slot, ClientId)>, ttl: Duration) -> Result<(), StoreError> {
        let mut holds = self.holds.lock();
        for (slot, client) in holders {
            let latest = Instant::now() + ttl;
            if let Some(selection) = holds.slot(slot).selection.as_mut().filter(|held| held.client == client)
            {
                selection.deadline = selection.deadline.min(latest);
                self.tell(&mut holds, slot.room, &[slot.time], Absence::Unknown, None);
            }
        }
        Ok(())
    }

    fn look(&self, slots: &[Slot]) {
        let mut holds = self.holds.lock();
        for slot in slots {
            holds.slot(*slot);
            self.tell(&mut holds, slot.room, &[slot.time], Absence::Unknown, None);
            holds.forget_empty(*slot);
        }
    }

    fn address_tag(&self, address: IpAddr) -> Option<AddressTag> {
        Some(AddressTag(self.salt.hash_one(address)))
    }

    fn storage(&self) -> watch::Receiver<Storage> {
        self.storage.subscribe()
    }

    fn health(&self) -> serde_json::Value {
        serde_json::json!({ "memory": { "status": "ok" } })
    }
}
