//! Rooms that are to be read, and when: a queue in which every room stands once, with the earliest time it was
//! wanted for.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::slot::Room;

/// The queue.
#[derive(Default)]
pub(super) struct Wanted {
    rooms: Mutex<HashMap<Room, Instant>>,
    sooner: Notify,
}

impl Wanted {
    /// Has a room come up at `at`.
    pub(super) fn want(&self, room: Room, at: Instant) {
        let mut rooms = self.rooms.lock();
        let earliest = rooms.entry(room).or_insert(at);
        *earliest = at.min(*earliest);
        drop(rooms);
        self.sooner.notify_one();
    }

    /// Waits until a room comes up, and takes all that do.
    pub(super) async fn due(&self) -> Vec<Room> {
        loop {
            let next = self.rooms.lock().values().min().copied();
            let now = Instant::now();
            match next {
                Some(at) if at <= now => {
                    let mut rooms = self.rooms.lock();
                    return rooms.extract_if(|_, at| *at <= now).map(|(room, _)| room).collect();
                }
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }
}
