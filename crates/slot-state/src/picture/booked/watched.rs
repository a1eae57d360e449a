//! Which rooms are watched: those with subscribers, and for a while those that somebody looked at. Anybody may look at
//! any room, so only so many of the latter are kept.
//! Invariant: a room for which there is no place is here as long as somebody looks at it, and no longer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{BookedRoom, BookedRooms, Known};
use crate::picture::Picture;
use crate::slot::Room;

/// Rooms without subscribers that are kept. With more, each look at another room reads it.
pub(super) const MOST_KEPT: usize = 10_000;

/// Somebody looks at a room. What is booked there is known until this is dropped, at least.
#[must_use = "what is booked in the room may be forgotten with it"]
#[derive(Default)]
pub struct Look<'a> {
    /// Where there is no place for the room.
    passing: Option<(&'a Picture, Room)>,
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        if let Some((picture, room)) = self.passing {
            picture.looked_at(room);
        }
    }
}

impl BookedRooms {
    fn new_room(&self) -> BookedRoom {
        let passing = self.kept.load(Ordering::Relaxed) >= MOST_KEPT;
        if !passing {
            self.kept.fetch_add(1, Ordering::Relaxed);
        }
        BookedRoom { passing, ..BookedRoom::default() }
    }
}

impl Picture {
    /// Somebody looks at a room, which is watched from now on. Says what is known of it; what is not known is asked for.
    pub(crate) fn watch_booked(&self, room: Room) -> (Known, Look<'_>) {
        if let Some(kept) = self.keep_booked(room) {
            return kept;
        }
        let watched = self.booked.rooms.entry(room).or_insert_with(|| self.booked.new_room()).downgrade();
        let (known, look) = (watched.known, self.look(room, &watched));
        drop(watched);
        if known == Known::NotYet {
            self.booked.wanted.want(room, Instant::now());
        }
        (known, look)
    }

    /// Somebody looks at a room: if it is watched, it stays so.
    pub(crate) fn keep_booked(&self, room: Room) -> Option<(Known, Look<'_>)> {
        let watched = self.booked.rooms.get(&room)?;
        // A booking made here is not all there is to know of a room.
        (watched.known != Known::NotYet).then(|| (watched.known, self.look(room, &watched)))
    }

    fn look(&self, room: Room, watched: &BookedRoom) -> Look<'_> {
        watched.looked_at.store(self.booked.now(), Ordering::Relaxed);
        if watched.passing {
            watched.lookers.fetch_add(1, Ordering::Relaxed);
        }
        Look { passing: watched.passing.then_some((self, room)) }
    }

    /// One of those who looked at a room for which there is no place does so no more.
    fn looked_at(&self, room: Room) {
        let watcher = self.watcher();
        self.booked.rooms.remove_if(&room, |_, watched| {
            let was_last = watched.lookers.fetch_sub(1, Ordering::Relaxed) == 1;
            was_last && watched.passing && !watcher.is_some_and(|watcher| watcher.is_live(room))
        });
    }

    /// Whether a room is watched: who looks at it makes no work.
    pub(crate) fn is_watched(&self, room: Room) -> bool {
        self.booked.rooms.contains_key(&room)
    }

    /// Whether all of a room's bookings are known.
    pub(crate) fn knows_booked(&self, room: Room) -> bool {
        self.booked.rooms.get(&room).is_some_and(|known| known.known == Known::All)
    }

    /// Waits until a watched room was read or could not be; [`Known::NotYet`] if neither came in time.
    pub(crate) async fn booked_read(&self, room: Room, until: Instant) -> Known {
        loop {
            let mut read = std::pin::pin!(self.booked.read.notified());
            read.as_mut().enable();
            let known = self.booked.rooms.get(&room).map_or(Known::Nothing, |known| known.known);
            if known != Known::NotYet || timeout_at(until, read).await.is_err() {
                return known;
            }
        }
    }

    /// All rooms to be read: those that `live` names, and those that somebody looked at within `lately`. The others
    /// are forgotten.
    pub(crate) fn watched_rooms(&self, live: &[Room], lately: Duration) -> Vec<Room> {
        let BookedRooms { rooms, kept, announced, .. } = &self.booked;
        let now = self.booked.now();
        for room in live {
            rooms.entry(*room).or_default().looked_at.store(now, Ordering::Relaxed);
        }
        announced.forget_old();
        let latest = now.saturating_sub(lately.as_millis() as u64);
        let watcher = self.watcher();
        // `live` may be older than a subscription to a room that stays for it alone.
        let is_live = |room| watcher.as_ref().is_some_and(|watcher| watcher.is_live(room));
        rooms.retain(|room, watched| {
            *watched.lookers.get_mut() > 0
                || if watched.passing { is_live(*room) } else { *watched.looked_at.get_mut() >= latest }
        });
        let rooms: Vec<Room> = rooms.iter().map(|room| *room.key()).collect();
        kept.store(rooms.len().saturating_sub(live.len()), Ordering::Relaxed);
        rooms
    }
}
