//! One change of a room at a time comes from this process: the others would only wait for its row in the database.
//! Invariant: a room that nobody changes takes no memory, however many rooms anybody names.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use crate::slot::Room;
use crate::store::StoreError;

/// The rooms that are being changed.
#[derive(Default)]
pub(super) struct Hands(DashMap<Room, Arc<Mutex<()>>>);

/// A room in hand, or waited for, until this is dropped.
pub(super) struct InHand<'a> {
    hands: &'a Hands,
    room: Room,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Hands {
    /// Waits until nobody else of this process changes the room.
    pub(super) async fn take(&self, room: Room, until: Instant) -> Result<InHand<'_>, StoreError> {
        let mut in_hand = InHand { hands: self, room, guard: None };
        let hand = self.0.entry(room).or_default().clone();
        let guard = timeout_at(until, hand.lock_owned()).await.map_err(|_| StoreError::Timeout)?;
        in_hand.guard = Some(guard);
        Ok(in_hand)
    }

    /// Whether somebody changes the room.
    pub(super) fn has(&self, room: Room) -> bool {
        self.0.get(&room).is_some_and(|hand| hand.try_lock().is_err())
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.guard = None;
        self.hands.0.remove_if(&self.room, |_, hand| Arc::strong_count(hand) == 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    use crate::slot::{EmployeeId, parse_date};

    fn room(number: u64) -> Room {
        let date = parse_date("2031-03-09").expect("a date");
        Room { date, employee_id: EmployeeId::new(number).expect("an employee") }
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_is_in_one_hand_and_in_memory_only_while_it_is_or_somebody_waits() {
        let hands = Hands::default();
        let soon = || Instant::now() + Duration::from_secs(1);
        let first = hands.take(room(7), soon()).await.expect("free");
        let other = hands.take(room(8), soon()).await.expect("another room");
        assert!(hands.has(room(7)));
        assert!(hands.take(room(7), soon()).await.is_err(), "waits in vain");
        let waits = async { hands.take(room(7), soon()).await.is_ok() };
        let (second, ()) = tokio::join!(waits, async move { drop(first) });
        assert!(second, "it is the next one's");
        drop(other);
        assert!(!hands.has(room(7)));
        assert!(hands.0.is_empty(), "{:?}", hands.0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_for_a_room_leaves_nothing_behind() {
        let hands = Hands::default();
        let first = hands.take(room(7), Instant::now()).await.expect("free");
        let waits = hands.take(room(7), Instant::now() + Duration::from_secs(1));
        let let_go = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(first);
        };
        let _ = tokio::join!(async { drop(waits.await) }, let_go);
        assert!(hands.0.is_empty(), "{:?}", hands.0);
    }
}
