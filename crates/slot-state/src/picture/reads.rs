//! What the picture shows: served from memory, without asking any store.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::{Entry, Picture};
use crate::hold::{Lock, Selection};
use crate::slot::{ClientId, Room, Slot, SlotTime};
use crate::view::RoomView;

impl Picture {
    /// What everybody may see of a room.
    pub fn view(&self, room: Room) -> RoomView {
        let mut view = RoomView { booked: self.booked_times(room), ..RoomView::default() };
        for (time, entry) in self.rooms.get(&room).iter().flat_map(|slots| slots.iter()) {
            if view.booked.binary_search(time).is_ok() {
                continue;
            }
            if entry.lock.is_some() {
                view.locked.push(*time);
            } else if entry.selection.is_some() {
                view.active.push(*time);
            }
        }
        view
    }

    /// The selection on a slot.
    pub fn selection(&self, slot: Slot) -> Option<Selection> {
        self.rooms.get(&slot.room)?.get(&slot.time)?.selection.clone()
    }

    /// The lock on a slot.
    pub fn lock(&self, slot: Slot) -> Option<Lock> {
        self.rooms.get(&slot.room)?.get(&slot.time)?.lock.clone()
    }

    /// Every selection of a client, over all rooms; what is booked is none any more.
    pub fn selections_of(&self, client: &ClientId) -> Vec<(Slot, Selection)> {
        let slots = self.slots_of(client);
        let own = |slot: Slot| Some((slot, self.selection(slot).filter(|held| held.client == *client)?));
        slots.into_iter().filter(|slot| !self.is_booked(*slot)).filter_map(own).collect()
    }

    /// Every slot a client holds something on.
    pub fn slots_of(&self, client: &ClientId) -> SmallVec<[Slot; 2]> {
        self.clients.get(client).map(|slots| slots.clone()).unwrap_or_default()
    }

    /// Every slot with a hold on it.
    pub fn held_slots(&self) -> Vec<Slot> {
        let held = |(room, slots): (&Room, &BTreeMap<SlotTime, Entry>)| -> Vec<Slot> {
            slots.iter().filter(|(_, entry)| !entry.is_empty()).map(|(time, _)| room.slot(*time)).collect()
        };
        self.rooms.iter().flat_map(|room| held(room.pair())).collect()
    }

    /// Every time in a room with a hold on it.
    pub(crate) fn held_in(&self, room: Room) -> SmallVec<[SlotTime; 4]> {
        let slots = self.rooms.get(&room);
        let held = slots.iter().flat_map(|slots| slots.iter()).filter(|(_, entry)| !entry.is_empty());
        held.map(|(time, _)| *time).collect()
    }

    /// Every selection.
    pub(crate) fn selections(&self) -> Vec<(Slot, Selection)> {
        let held = self.held_slots().into_iter();
        held.filter_map(|slot| Some((slot, self.selection(slot)?))).collect()
    }

    /// Every lock.
    pub(crate) fn locks(&self) -> Vec<(Slot, Lock)> {
        self.held_slots().into_iter().filter_map(|slot| Some((slot, self.lock(slot)?))).collect()
    }

    /// How many selections and locks there are.
    pub fn count(&self) -> (usize, usize) {
        let mut count = (0, 0);
        for room in &self.rooms {
            for entry in room.values() {
                count.0 += usize::from(entry.selection.is_some());
                count.1 += usize::from(entry.lock.is_some());
            }
        }
        count
    }
}
