//! The booked slots of the rooms that somebody looked at lately. Kept beside the holds: they live in one place,
//! whichever store decides about holds, and a slot that is booked shows no hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use smallvec::SmallVec;

use super::Picture;
use crate::booking::{AppointmentRef, Booking};
use crate::event::{EndReason, HoldEnded};
use crate::hold::{ActorId, HoldKind};
use crate::slot::{Room, Slot, SlotTime};

/// The bookings of one room; several on one slot only where something else than this program made them.
pub(crate) type BookedSlots = BTreeMap<SlotTime, SmallVec<[Booking; 1]>>;

/// All rooms whose bookings are known.
#[derive(Default)]
pub(super) struct BookedRooms {
    rooms: DashMap<Room, BookedRoom>,
    /// Numbers what this process books.
    seq: AtomicU64,
}

#[derive(Default)]
struct BookedRoom {
    /// Of the last booking made here.
    seq: u64,
    slots: BookedSlots,
}

impl Picture {
    /// Take this before bookings are read, and hand it to [`Picture::set_booked`].
    pub(crate) fn before_reading_booked(&self) -> u64 {
        self.booked.seq.load(Ordering::Acquire)
    }

    /// All bookings of a room as they were read; true if that is news. What this process booked since `begun` makes
    /// the reading worthless: it is dropped, and must be repeated.
    pub(crate) fn set_booked(&self, room: Room, begun: u64, slots: BookedSlots) -> bool {
        let came: SmallVec<[SlotTime; 2]> = {
            let mut known = self.booked.rooms.entry(room).or_default();
            if known.seq > begun || known.slots == slots {
                return false;
            }
            let came = slots.keys().filter(|time| !known.slots.contains_key(time)).copied().collect();
            known.slots = slots;
            came
        };
        came.into_iter().for_each(|time| self.end_by_booking(room.slot(time), None));
        self.tell_room_changed(room);
        true
    }

    /// This process booked a slot.
    pub(crate) fn add_booked(&self, slot: Slot, booking: Booking, actor: Option<ActorId>) {
        let seq = self.booked.seq.fetch_add(1, Ordering::AcqRel) + 1;
        let came = {
            let mut known = self.booked.rooms.entry(slot.room).or_default();
            known.seq = seq;
            let bookings = known.slots.entry(slot.time).or_default();
            let came = bookings.is_empty();
            if !bookings.contains(&booking) {
                bookings.push(booking);
            }
            came
        };
        if came {
            self.end_by_booking(slot, actor);
            self.tell_room_changed(slot.room);
        }
    }

    /// Nobody looks at this room any more: what is known of it grows old.
    pub(crate) fn forget_booked(&self, room: Room) {
        self.booked.rooms.remove(&room);
    }

    /// The booked times of a room.
    pub(super) fn booked_times(&self, room: Room) -> Vec<SlotTime> {
        self.booked.rooms.get(&room).map(|known| known.slots.keys().copied().collect()).unwrap_or_default()
    }

    /// Whether a slot is booked, as far as known.
    pub fn is_booked(&self, slot: Slot) -> bool {
        self.booked.rooms.get(&slot.room).is_some_and(|known| known.slots.contains_key(&slot.time))
    }

    /// The slot of this appointment, if it is in this room and the only one there.
    pub fn own_booking(&self, room: Room, appointment: &AppointmentRef) -> Option<SlotTime> {
        let is_it = |booking: &Booking| match appointment {
            AppointmentRef::Number(id) => booking.appointment_id == *id,
            AppointmentRef::StrongId(strong_id) => booking.strong_id == *strong_id,
        };
        let known = self.booked.rooms.get(&room)?;
        known.slots.iter().find(|(_, bookings)| bookings.iter().all(is_it)).map(|(time, _)| *time)
    }

    /// Holders hear that their slot was booked; what else becomes of the holds is nothing to them.
    fn end_by_booking(&self, slot: Slot, actor: Option<ActorId>) {
        let Some(watcher) = self.watcher() else { return };
        let selection = self.selection(slot).map(|held| (HoldKind::Selection, held.client));
        let lock = self.lock(slot).map(|held| (HoldKind::Lock, held.client));
        for (kind, client) in selection.into_iter().chain(lock) {
            let late = std::time::Duration::ZERO;
            watcher.hold_ended(HoldEnded { slot, client, kind, why: EndReason::Booked, actor, late });
        }
    }

    fn tell_room_changed(&self, room: Room) {
        if let Some(watcher) = self.watcher() {
            watcher.room_changed(room);
        }
    }
}
