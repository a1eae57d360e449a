//! The booked slots of the rooms that somebody looked at lately. Kept beside the holds: they live in one place,
//! whichever store decides about holds, and a slot that is booked shows no hold.
//! Invariant: a room is here exactly as long as it is watched, that is, read again and again; which is, says `watched`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Picture;
use super::wanted::Wanted;
use crate::booking::{AppointmentRef, Booking};
use crate::event::{EndReason, HoldEnded};
use crate::hold::{ActorId, HoldKind};
use crate::slot::{ClientId, Room, Slot, SlotTime};
use announced::Announced;
pub use watched::Look;

/// The bookings of one room; several on one slot only where something else than this program made them.
pub(crate) type BookedSlots = BTreeMap<SlotTime, SmallVec<[Booking; 1]>>;

/// Hints that come together make one reading.
const GATHER: Duration = Duration::from_millis(10);
/// However many hints come, a room is not read for them more often than this.
const PAUSE: Duration = Duration::from_millis(250);

/// How much is known of what is booked in a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is yet to be read for the first time.
    #[default]
    NotYet,
    /// It could not be read so far.
    Nothing,
    /// All of it, as of the last reading.
    All,
}

/// What happened in a room, for who keeps copies of what can be booked there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RoomNews {
    /// It was read for the first time.
    Read,
    /// Something was locked or released.
    Locked,
    /// Something was booked or cancelled.
    Booked,
}

/// A hold on a slot that turned out to be booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadHold {
    pub(crate) slot: Slot,
    pub(crate) client: ClientId,
    pub(crate) kind: HoldKind,
}

/// All rooms that are watched.
pub(super) struct BookedRooms {
    rooms: DashMap<Room, BookedRoom>,
    /// Of these, the ones without subscribers, as of the last sweep, and those that came since.
    kept: AtomicUsize,
    /// Numbers what this process books.
    seq: AtomicU64,
    began: Instant,
    wanted: Wanted,
    /// Rooms were read, or could not be.
    read: Notify,
    under_way: Mutex<HashMap<Slot, UnderWay>>,
    announced: Announced,
    /// What happened since the last question; unless nobody asks.
    news: Mutex<Option<Vec<(Room, RoomNews)>>>,
    news_came: Notify,
}

impl Default for BookedRooms {
    fn default() -> Self {
        BookedRooms {
            rooms: DashMap::new(),
            kept: AtomicUsize::new(0),
            seq: AtomicU64::new(0),
            began: Instant::now(),
            wanted: Wanted::default(),
            read: Notify::new(),
            under_way: Mutex::default(),
            announced: Announced::default(),
            news: Mutex::default(),
            news_came: Notify::new(),
        }
    }
}

#[derive(Default)]
struct BookedRoom {
    /// Of the last booking made here.
    seq: u64,
    slots: BookedSlots,
    known: Known,
    /// In milliseconds since [`BookedRooms::began`].
    looked_at: AtomicU64,
    /// When a hint last had it read, or will.
    hinted_at: Option<Instant>,
    /// There was no place for it: it goes with the last of those who look at it.
    passing: bool,
    /// Who look at it now, where it is passing.
    lookers: AtomicU32,
}

/// Requests of this process that are about to book a slot.
#[derive(Default)]
struct UnderWay {
    requests: usize,
    /// A reading said something about it meanwhile, which was passed over.
    passed_over: bool,
}

/// This process is about to book a slot. Until this is dropped, what a reading says of that slot waits: the request
/// itself knows more, as whose doing the booking is.
pub(crate) struct BookingUnderWay<'a> {
    picture: &'a Picture,
    slot: Slot,
}

impl Drop for BookingUnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.picture.booked.under_way.lock();
        let Some(requests) = under_way.get_mut(&self.slot) else { return };
        requests.requests -= 1;
        let passed_over = requests.passed_over;
        if requests.requests == 0 {
            under_way.remove(&self.slot);
        }
        drop(under_way);
        // Refused, or nobody knows: what stands there is yet to be seen.
        if passed_over || !self.picture.is_booked(self.slot) {
            self.picture.doubt_booked(self.slot.room);
        }
    }
}

impl BookedRooms {
    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}

impl Picture {
    /// Waits for watched rooms that must be read before it is their turn anyway.
    pub(crate) async fn booked_wanted(&self) -> Vec<Room> {
        self.booked.wanted.due().await
    }

    /// Somebody says that bookings in this room changed. Anybody may say so: where nobody looks, nobody listens.
    pub(crate) fn doubt_booked(&self, room: Room) {
        let Some(mut known) = self.booked.rooms.get_mut(&room) else { return };
        let now = Instant::now();
        let at = match known.hinted_at {
            Some(pending) if pending > now => pending,
            Some(last) => (last + PAUSE).max(now + GATHER),
            None => now + GATHER,
        };
        known.hinted_at = Some(at);
        drop(known);
        self.booked.wanted.want(room, at);
    }

    /// Bookings may have changed in any room.
    pub(crate) fn doubt_all_booked(&self) {
        let rooms: Vec<Room> = self.booked.rooms.iter().map(|room| *room.key()).collect();
        rooms.into_iter().for_each(|room| self.doubt_booked(room));
    }

    /// Take this before bookings are read, and hand it to [`Picture::set_booked`].
    pub(crate) fn before_reading_booked(&self) -> u64 {
        self.booked.seq.load(Ordering::Acquire)
    }

    /// All bookings of a room as they were read, one reading at a time. What this process booked since `begun` makes
    /// the reading worthless: it is repeated. Returns the holds on what turned out to be booked.
    pub(crate) fn set_booked(
        &self,
        room: Room,
        begun: u64,
        mut slots: BookedSlots,
    ) -> SmallVec<[DeadHold; 2]> {
        let came: SmallVec<[SlotTime; 2]> = {
            let Some(mut known) = self.booked.rooms.get_mut(&room) else { return SmallVec::new() };
            if known.seq > begun {
                drop(known);
                self.doubt_booked(room);
                return SmallVec::new();
            }
            self.pass_over_what_is_under_way(room, &known.slots, &mut slots);
            let before = std::mem::replace(&mut known.known, Known::All);
            let is_news = known.slots != slots;
            if before != Known::All {
                if !known.passing {
                    self.add_room_news(room, RoomNews::Read);
                }
            } else if is_news {
                self.add_room_news(room, RoomNews::Booked);
            }
            if !is_news {
                return SmallVec::new();
            }
            let came = slots.keys().filter(|time| !known.slots.contains_key(time)).copied().collect();
            known.slots = slots;
            came
        };
        let mut dead = SmallVec::new();
        for slot in came.into_iter().map(|time| room.slot(time)) {
            let holds = self.end_by_booking(slot, None);
            // Whoever announced it took them back itself.
            if !self.booked.announced.contains(slot) {
                dead.extend(holds);
            }
        }
        self.tell_room_changed(room);
        dead
    }

    /// These rooms were to be read: what could be read has been set.
    pub(crate) fn booked_were_read(&self, rooms: &[Room], could_be: bool) {
        for room in rooms.iter().filter(|_| !could_be) {
            if let Some(mut room) = self.booked.rooms.get_mut(room)
                && room.known == Known::NotYet
            {
                room.known = Known::Nothing;
            }
        }
        self.booked.read.notify_waiters();
    }

    fn pass_over_what_is_under_way(&self, room: Room, known: &BookedSlots, slots: &mut BookedSlots) {
        let mut under_way = self.booked.under_way.lock();
        for (slot, requests) in under_way.iter_mut().filter(|(slot, _)| slot.room == room) {
            if known.get(&slot.time) == slots.get(&slot.time) {
                continue;
            }
            requests.passed_over = true;
            match known.get(&slot.time) {
                Some(bookings) => _ = slots.insert(slot.time, bookings.clone()),
                None => _ = slots.remove(&slot.time),
            }
        }
    }

    /// Call before this process books a slot, and drop when the picture has the outcome.
    pub(crate) fn booking_under_way(&self, slot: Slot) -> BookingUnderWay<'_> {
        self.booked.under_way.lock().entry(slot).or_default().requests += 1;
        BookingUnderWay { picture: self, slot }
    }

    /// This process booked a slot. The room is watched for a while.
    pub(crate) fn add_booked(&self, slot: Slot, booking: Booking, actor: Option<ActorId>) {
        let seq = self.booked.seq.fetch_add(1, Ordering::AcqRel) + 1;
        let came = {
            let mut known = self.booked.rooms.entry(slot.room).or_default();
            known.seq = seq;
            known.passing = false;
            known.looked_at.store(self.booked.now(), Ordering::Relaxed);
            let bookings = known.slots.entry(slot.time).or_default();
            let came = bookings.is_empty();
            if !bookings.contains(&booking) {
                bookings.push(booking);
            }
            came
        };
        self.add_room_news(slot.room, RoomNews::Booked);
        if came {
            // What becomes of the holds is for whoever books.
            self.end_by_booking(slot, actor);
            self.tell_room_changed(slot.room);
        }
    }

    /// From now on news of rooms are kept for [`Picture::room_news`].
    pub(crate) fn keep_room_news(&self) {
        self.booked.news.lock().get_or_insert_default();
    }

    /// Waits for news of rooms, and takes them all.
    pub(crate) async fn room_news(&self) -> Vec<(Room, RoomNews)> {
        loop {
            let news = self.take_room_news();
            if !news.is_empty() {
                return news;
            }
            self.booked.news_came.notified().await;
        }
    }

    /// What news there are by now.
    pub(crate) fn take_room_news(&self) -> Vec<(Room, RoomNews)> {
        self.booked.news.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn add_room_news(&self, room: Room, what: RoomNews) {
        if let Some(news) = self.booked.news.lock().as_mut() {
            news.push((room, what));
            self.booked.news_came.notify_one();
        }
    }

    /// The booked times of a room.
    pub(crate) fn booked_times(&self, room: Room) -> Vec<SlotTime> {
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

    /// Holders hear that their slot was booked. Returns their holds.
    fn end_by_booking(&self, slot: Slot, actor: Option<ActorId>) -> SmallVec<[DeadHold; 2]> {
        let selection = self.selection(slot).map(|held| (HoldKind::Selection, held.client));
        let lock = self.lock(slot).map(|held| (HoldKind::Lock, held.client));
        let dead: SmallVec<[DeadHold; 2]> =
            selection.into_iter().chain(lock).map(|(kind, client)| DeadHold { slot, client, kind }).collect();
        if let Some(watcher) = self.watcher() {
            for DeadHold { client, kind, .. } in &dead {
                let (client, kind, late) = (client.clone(), *kind, Duration::ZERO);
                watcher.hold_ended(HoldEnded { slot, client, kind, why: EndReason::Booked, actor, late });
            }
        }
        dead
    }

    fn tell_room_changed(&self, room: Room) {
        if let Some(watcher) = self.watcher() {
            watcher.room_changed(room);
        }
    }
}

mod announced;
#[cfg(test)]
mod tests;
mod watched;
