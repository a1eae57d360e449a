//! What a picture told its watcher, in order.

use std::sync::{Mutex, MutexGuard};

use slot_state::{EndReason, HoldEnded, Observation, Room, Selection, Slot, Storage, Watcher};
use support::eventually;

use super::SOON;

/// Remembers everything.
#[derive(Default)]
pub(crate) struct Heard(Mutex<All>);

#[derive(Default)]
struct All {
    rooms: Vec<Room>,
    ended: Vec<HoldEnded>,
    read_anew: usize,
    storage: Vec<(Storage, usize)>,
    observed: Vec<Observation>,
    live: Vec<Room>,
}

impl Heard {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// How often this room was said to have changed.
    pub(crate) fn changes(&self, room: Room) -> usize {
        self.all().rooms.iter().filter(|changed| **changed == room).count()
    }

    /// All holds that ended on this slot.
    pub(crate) fn endings(&self, slot: Slot) -> Vec<HoldEnded> {
        self.all().ended.iter().filter(|ended| ended.slot == slot).cloned().collect()
    }

    /// Why the holds on this slot ended.
    pub(crate) fn reasons(&self, slot: Slot) -> Vec<EndReason> {
        self.endings(slot).into_iter().map(|ended| ended.why).collect()
    }

    /// Somebody looks at this room all the time.
    pub(crate) fn go_live(&self, room: Room) {
        self.all().live.push(room);
    }

    /// Nobody looks at any room all the time.
    pub(crate) fn go_quiet(&self) {
        self.all().live.clear();
    }

    /// How often everything was read anew.
    pub(crate) fn read_anew(&self) -> usize {
        self.all().read_anew
    }

    /// How the store was said to be, each time with how often everything had been read anew by then.
    pub(crate) fn storage(&self) -> Vec<(Storage, usize)> {
        self.all().storage.clone()
    }

    /// How many observations are of this kind.
    pub(crate) fn count(&self, kind: impl Fn(&Observation) -> bool) -> usize {
        self.all().observed.iter().filter(|observation| kind(observation)).count()
    }

    /// Waits for the first hold to end on this slot.
    pub(crate) async fn ended(&self, slot: Slot) -> HoldEnded {
        eventually("the hold ends", SOON, async || self.endings(slot).into_iter().next()).await
    }
}

impl Watcher for Heard {
    fn room_changed(&self, room: Room) {
        self.all().rooms.push(room);
    }

    fn selected(&self, _: Slot, _: &Selection) {}

    fn hold_ended(&self, ended: HoldEnded) {
        self.all().ended.push(ended);
    }

    fn live_rooms(&self) -> Vec<Room> {
        self.all().live.clone()
    }

    fn is_live(&self, room: Room) -> bool {
        self.all().live.contains(&room)
    }

    fn read_anew(&self) {
        self.all().read_anew += 1;
    }

    fn storage_changed(&self, storage: Storage) {
        let mut all = self.all();
        let read_anew = all.read_anew;
        all.storage.push((storage, read_anew));
    }

    fn observed(&self, observation: Observation) {
        self.all().observed.push(observation);
    }
}
