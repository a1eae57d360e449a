//! The live picture of all holds with their deadlines: serves every read, tells the watcher who changed.
//! Stores write facts into it; facts may come twice or late and change nothing then.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::RwLock;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::due::DueQueue;
use crate::event::{Absence, Change, EndReason, HoldEnded, Observation, SlotFact, Source, Watcher};
use crate::hold::{ActorId, HoldKind, Lock, LockAsk, Selection};
use crate::slot::{ClientId, Room, Slot, SlotTime};
use crate::store::{Storage, StorageMode};
use booked::BookedRooms;
pub use booked::Look;
pub(crate) use booked::{BookedSlots, DeadHold, Known, RoomNews};

/// How long an empty slot's sequence number is kept, so that a late answer does not bring back what is gone.
/// Longer than any command's deadline.
const REMEMBER_EMPTY: Duration = Duration::from_secs(5);

/// All holds of the site, as far as known.
#[derive(Default)]
pub struct Picture {
    rooms: DashMap<Room, BTreeMap<SlotTime, Entry>>,
    clients: DashMap<ClientId, SmallVec<[Slot; 2]>>,
    due: DueQueue,
    booked: BookedRooms,
    watcher: OnceLock<Weak<dyn Watcher>>,
    /// Which store's facts count.
    decided_by: RwLock<Option<StorageMode>>,
}

struct Entry {
    seq: u64,
    selection: Option<Selection>,
    lock: Option<Lock>,
    touched: Instant,
    scheduled: Option<Instant>,
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.selection.is_none() && self.lock.is_none()
    }

    /// When this entry must be looked at next.
    fn next_deadline(&self) -> Instant {
        let selection = self.selection.as_ref().map(|selection| selection.deadline);
        let lock = self.lock.as_ref().map(|lock| lock.deadline);
        match (selection, lock) {
            (Some(one), Some(other)) => one.min(other),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => self.touched + REMEMBER_EMPTY,
        }
    }

    fn holders(&self) -> impl Iterator<Item = &ClientId> {
        let lock = self.lock.as_ref().map(|lock| &lock.client);
        self.selection.as_ref().map(|selection| &selection.client).into_iter().chain(lock)
    }
}

impl Picture {
    /// Names who is told of changes. Only the first call counts.
    pub fn watch(&self, watcher: Weak<dyn Watcher>) {
        let _ = self.watcher.set(watcher);
    }

    /// Whoever is told of changes.
    pub(crate) fn watcher(&self) -> Option<Arc<dyn Watcher>> {
        self.watcher.get()?.upgrade()
    }

    pub(crate) fn observe(&self, observation: Observation) {
        if let Some(watcher) = self.watcher() {
            watcher.observed(observation);
        }
    }

    pub(crate) fn storage_changed(&self, storage: Storage) {
        if let Some(watcher) = self.watcher() {
            watcher.storage_changed(storage);
        }
    }

    /// From now on the facts of this store count, and of no other; the numbers of the one before say nothing any more.
    pub(crate) fn decide(&self, store: StorageMode) {
        *self.decided_by.write() = Some(store);
        self.forget_sequence();
    }

    /// Whether this store's facts count.
    pub(crate) fn is_decided_by(&self, store: StorageMode) -> bool {
        *self.decided_by.read() == Some(store)
    }

    /// Takes in what became true. Returns how many slots look different now to those who watch.
    pub(crate) fn apply(&self, store: StorageMode, change: Change) -> usize {
        if !self.is_decided_by(store) {
            return 0;
        }
        let watcher = self.watcher();
        let now = Instant::now();
        let mut slots = self.rooms.entry(change.room).or_default();
        // Again under the room's lock: the number of what slips in before another store decides is forgotten.
        if !self.is_decided_by(store) {
            return 0;
        }
        let chosen_anew: SmallVec<[ClientId; 2]> =
            change.facts.iter().filter_map(|fact| Some(fact.selection.as_ref()?.client.clone())).collect();
        let mut changed = 0;
        for fact in change.facts {
            let slot = change.room.slot(fact.time);
            let entry = slots.entry(fact.time).or_insert_with(|| Entry::unknown(now));
            let newer = match change.source {
                Source::Command => change.seq > entry.seq,
                Source::Read => change.seq >= entry.seq,
            };
            if newer {
                entry.seq = change.seq;
                let ending = Ending { slot, actor: change.actor, now, chosen_anew: &chosen_anew };
                changed += usize::from(self.replace(entry, fact, &ending, watcher.as_deref()));
            }
        }
        if changed > 0
            && let Some(watcher) = watcher
        {
            watcher.room_changed(change.room);
        }
        changed
    }

    /// Puts `fact` in the place of what `entry` said; true if others can see the difference.
    fn replace(
        &self,
        entry: &mut Entry,
        fact: SlotFact,
        ending: &Ending<'_>,
        watcher: Option<&dyn Watcher>,
    ) -> bool {
        let before: SmallVec<[ClientId; 2]> = entry.holders().cloned().collect();
        let shown_before = (entry.selection.is_some(), entry.lock.is_some());
        let old_selection = std::mem::replace(&mut entry.selection, fact.selection);
        let old_lock = std::mem::replace(&mut entry.lock, fact.lock);
        entry.touched = ending.now;
        self.schedule(entry, ending.slot);
        self.reindex(&before, entry, ending.slot);
        if let Some(watcher) = watcher {
            let locked_by_itself =
                |client: &ClientId| entry.lock.as_ref().is_some_and(|lock| lock.client == *client);
            let selected_by = entry.selection.as_ref().map(|selection| &selection.client);
            // Of what is booked, holders have heard.
            let is_booked = self.is_booked(ending.slot);
            if let Some(old) = old_selection
                && !is_booked
                && selected_by != Some(&old.client)
                && !locked_by_itself(&old.client)
            {
                watcher.hold_ended(ending.of(
                    HoldKind::Selection,
                    old.client,
                    old.deadline,
                    fact.absence,
                    selected_by,
                ));
            }
            if let Some(old) = old_lock
                && !is_booked
                && !locked_by_itself(&old.client)
            {
                let next = entry.lock.as_ref().map(|lock| &lock.client);
                watcher.hold_ended(ending.of(HoldKind::Lock, old.client, old.deadline, fact.absence, next));
            }
            if let Some(selection) = &entry.selection {
                watcher.selected(ending.slot, selection);
            }
        }
        if shown_before.1 != entry.lock.is_some() {
            self.add_room_news(ending.slot.room, RoomNews::Locked);
        }
        // What is booked, looks the same whatever is held there.
        shown_before != (entry.selection.is_some(), entry.lock.is_some()) && !self.is_booked(ending.slot)
    }

    fn schedule(&self, entry: &mut Entry, slot: Slot) {
        let next = entry.next_deadline();
        if entry.scheduled.is_none_or(|scheduled| next < scheduled) {
            entry.scheduled = Some(next);
            self.due.schedule(next, slot);
        }
    }

    fn reindex(&self, before: &[ClientId], entry: &Entry, slot: Slot) {
        for client in before.iter().filter(|client| !entry.holders().any(|holder| holder == *client)) {
            self.clients.remove_if_mut(client, |_, slots| {
                slots.retain(|held| *held != slot);
                slots.is_empty()
            });
        }
        for client in entry.holders().filter(|client| !before.contains(client)) {
            let mut slots = self.clients.entry(client.clone()).or_default();
            if !slots.contains(&slot) {
                slots.push(slot);
            }
        }
    }

    /// Waits for slots whose deadline has come: the store must look at them. Forgets the empty ones itself.
    pub(crate) async fn due(&self) -> Vec<Slot> {
        loop {
            let popped = self.due.due().await;
            let now = Instant::now();
            let due: Vec<Slot> = popped
                .into_iter()
                .filter(|(at, slot)| self.is_due(*at, *slot, now))
                .map(|(_, slot)| slot)
                .collect();
            if !due.is_empty() {
                return due;
            }
        }
    }

    fn is_due(&self, at: Instant, slot: Slot, now: Instant) -> bool {
        let Some(mut slots) = self.rooms.get_mut(&slot.room) else { return false };
        let Some(entry) = slots.get_mut(&slot.time) else { return false };
        if entry.scheduled != Some(at) {
            return false;
        }
        entry.scheduled = None;
        if entry.next_deadline() > now {
            self.schedule(entry, slot);
            return false;
        }
        if !entry.is_empty() {
            return true;
        }
        slots.remove(&slot.time);
        drop(slots);
        self.rooms.remove_if(&slot.room, |_, slots| slots.is_empty());
        false
    }

    /// Ends what is past its deadline in these slots: the store could not be asked.
    pub(crate) fn expire(&self, store: StorageMode, slots: &[Slot]) {
        if !self.is_decided_by(store) {
            return;
        }
        let (now, watcher) = (Instant::now(), self.watcher());
        for slot in slots {
            let Some(mut slots) = self.rooms.get_mut(&slot.room) else { continue };
            let Some(entry) = slots.get_mut(&slot.time) else { continue };
            let fact = SlotFact {
                time: slot.time,
                selection: entry.selection.clone().filter(|selection| selection.deadline > now),
                lock: entry.lock.clone().filter(|lock| lock.deadline > now),
                absence: Absence::Unknown,
            };
            let ending = Ending { slot: *slot, actor: None, now, chosen_anew: &[] };
            if self.replace(entry, fact, &ending, watcher.as_deref())
                && let Some(watcher) = &watcher
            {
                watcher.room_changed(slot.room);
            }
        }
    }

    /// A lock was given back for certain, though the store that shows it failed to say so.
    pub(crate) fn give_up_lock(&self, given: &LockAsk) {
        let LockAsk { slot, client, actor } = given;
        let (slot, actor, now, watcher) = (*slot, *actor, Instant::now(), self.watcher());
        let Some(mut slots) = self.rooms.get_mut(&slot.room) else { return };
        let Some(entry) = slots.get_mut(&slot.time) else { return };
        if entry.lock.as_ref().is_some_and(|lock| lock.client == *client) {
            let selection = entry.selection.clone();
            let fact = SlotFact { time: slot.time, selection, lock: None, absence: Absence::ByHolder };
            self.replace(entry, fact, &Ending { slot, actor, now, chosen_anew: &[] }, watcher.as_deref());
            watcher.iter().for_each(|watcher| watcher.room_changed(slot.room));
        }
    }

    /// A selection was renewed by command `seq` and lives until then, unless something newer is known. Says whether
    /// it is shown at all. Does not count as news about the slot: nothing was learnt about a lock beside it.
    pub(crate) fn prolong(
        &self,
        store: StorageMode,
        slot: Slot,
        client: &ClientId,
        deadline: Instant,
        seq: u64,
    ) -> bool {
        let Some(mut slots) = self.rooms.get_mut(&slot.room) else { return false };
        let Some(entry) = slots.get_mut(&slot.time) else { return false };
        let Some(selection) = entry.selection.as_mut().filter(|held| held.client == *client) else {
            return false;
        };
        if seq > entry.seq && self.is_decided_by(store) {
            selection.deadline = deadline;
            self.schedule(entry, slot);
        }
        true
    }

    /// The number of the newest fact about a slot.
    pub(crate) fn seq(&self, slot: Slot) -> u64 {
        self.rooms.get(&slot.room).and_then(|slots| Some(slots.get(&slot.time)?.seq)).unwrap_or(0)
    }

    /// Forgets all sequence numbers: the store that made them is gone, another begins its own.
    pub(crate) fn forget_sequence(&self) {
        for mut room in self.rooms.iter_mut() {
            room.values_mut().for_each(|entry| entry.seq = 0);
        }
    }
}

impl Entry {
    fn unknown(now: Instant) -> Self {
        Entry { seq: 0, selection: None, lock: None, touched: now, scheduled: None }
    }
}

/// A deadline that a store counts may be this much earlier than the picture's, which counts from the answer.
const CLOCKS_APART: Duration = Duration::from_millis(250);

/// What the holds that end in one slot have in common.
struct Ending<'a> {
    slot: Slot,
    actor: Option<ActorId>,
    now: Instant,
    chosen_anew: &'a [ClientId],
}

impl Ending<'_> {
    fn of(
        &self,
        kind: HoldKind,
        client: ClientId,
        deadline: Instant,
        absence: Absence,
        next: Option<&ClientId>,
    ) -> HoldEnded {
        let why = if absence == Absence::ByHolder {
            EndReason::Superseded
        } else if absence == Absence::ByBooking {
            EndReason::Booked
        } else if absence == Absence::WithStore && next.is_none() {
            EndReason::Vanished
        } else if deadline <= self.now || next.is_none() && deadline <= self.now + CLOCKS_APART {
            EndReason::Expired
        } else if next.is_some() {
            EndReason::Lost
        } else if kind == HoldKind::Selection && self.chosen_anew.contains(&client) {
            EndReason::Superseded
        } else {
            EndReason::Lost
        };
        let late = match why {
            EndReason::Expired => self.now.saturating_duration_since(deadline),
            _ => Duration::ZERO,
        };
        HoldEnded { slot: self.slot, client, kind, why, actor: self.actor, late }
    }
}

mod booked;
mod reads;
#[cfg(test)]
mod tests;
mod wanted;
