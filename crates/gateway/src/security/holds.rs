//! How many slots one address may hold at a time, selected or locked, over all its clients.
//! Asked by `commands` before a hold is granted. Invariant: a place lasts as long as the picture shows its hold: whatever
//! ends that gives the place back, and what failed never had one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use slot_state::{ClientId, Picture, Slot};
use smallvec::SmallVec;

use super::address::ClientAddress;
use super::limits::AddressKey;
use super::rates::Every;

/// How often addresses are forgotten that hold nothing any more.
const FORGET_EVERY: Duration = Duration::from_secs(10);

/// The holds that were made through this gateway, by the address that asked for them.
pub struct Holds {
    most: AtomicU32,
    by_address: DashMap<AddressKey, SmallVec<[Place; 1]>>,
    forget: Every,
}

/// A slot that an address holds, or is about to.
struct Place {
    slot: Slot,
    client: ClientId,
    /// Requests under way for it, whose outcome the picture cannot show yet.
    asked: u32,
}

impl Place {
    fn is_taken(&self, picture: &Picture) -> bool {
        self.asked > 0 || holds(picture, &self.client, self.slot)
    }
}

/// Whether the client has the slot selected or locked.
fn holds(picture: &Picture, client: &ClientId, slot: Slot) -> bool {
    let selects = || picture.selection(slot).is_some_and(|selection| selection.client == *client);
    !picture.is_booked(slot) && (has_locked(picture, client, slot) || selects())
}

fn has_locked(picture: &Picture, client: &ClientId, slot: Slot) -> bool {
    picture.lock(slot).is_some_and(|lock| lock.client == *client)
}

/// A request under way; dropped when it is answered, with the place where it came to nothing.
#[must_use]
pub struct Asking<'a> {
    holds: &'a Holds,
    of: Option<(AddressKey, Slot, ClientId)>,
}

/// The address holds as many slots as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A selection: the client's other one in the room ends with it.
    Selection,
    /// A lock.
    Lock,
}

impl Holds {
    /// Nobody holds anything. `most` = 0: no limit.
    pub(super) fn new(most: u32) -> Self {
        Self { most: AtomicU32::new(most), by_address: DashMap::new(), forget: Every::new(FORGET_EVERY) }
    }

    pub(super) fn change(&self, most: u32) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Takes a place for a hold, unless the address has none left. What the client holds already it may go on holding.
    pub fn ask(
        &self,
        address: ClientAddress,
        client: &ClientId,
        slot: Slot,
        wanted: Wanted,
        picture: &Picture,
    ) -> Result<Asking<'_>, TooMany> {
        let most = self.most.load(Ordering::Relaxed) as usize;
        let Some(key) = address.countable().map(AddressKey::from).filter(|_| most > 0) else {
            return Ok(Asking { holds: self, of: None });
        };
        if self.forget.is_due() {
            self.by_address.retain(|_, places| {
                places.retain(|place| place.is_taken(picture));
                !places.is_empty()
            });
        }
        let gives_up = |place: &Place| {
            wanted == Wanted::Selection
                && place.client == *client
                && place.slot.room == slot.room
                && !has_locked(picture, client, place.slot)
        };
        let goes_on = || match wanted {
            Wanted::Selection => holds(picture, client, slot),
            Wanted::Lock => has_locked(picture, client, slot),
        };
        // Never the other way round: whoever has the picture's locks does not come here.
        let mut places = self.by_address.entry(key).or_default();
        if places.len() >= most {
            places.retain(|place| place.is_taken(picture));
        }
        match places.iter_mut().find(|place| place.slot == slot && place.client == *client) {
            Some(place) => place.asked += 1,
            None => {
                if places.iter().filter(|place| !gives_up(place)).count() >= most && !goes_on() {
                    return Err(TooMany);
                }
                places.push(Place { slot, client: client.clone(), asked: 1 });
            }
        }
        Ok(Asking { holds: self, of: Some((key, slot, client.clone())) })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let Some((key, slot, client)) = self.of.take() else { return };
        let Some(mut places) = self.holds.by_address.get_mut(&key) else { return };
        if let Some(place) = places.iter_mut().find(|place| place.slot == slot && place.client == client) {
            place.asked = place.asked.saturating_sub(1);
        }
    }
}
