//! Bookings that other gateways say they made. Until they are read here, the holds that went with them stay in the
//! picture, so that nobody sees their slots free in between. The Redis store tells of them; its reader waits for them.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Picture;
use crate::slot::Slot;

/// The longest a booking is waited for: it may be cancelled by now, or not be there at all.
const WAIT: Duration = Duration::from_secs(1);

/// When which booking was announced.
#[derive(Default)]
pub(super) struct Announced(Mutex<HashMap<Slot, Instant>>);

impl Announced {
    pub(super) fn forget_old(&self) {
        self.0.lock().retain(|_, at| at.elapsed() < WAIT);
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.0.lock().get(&slot).is_some_and(|at| at.elapsed() < WAIT)
    }
}

impl Picture {
    /// Somebody says that it booked this slot and takes back what is held there: the room is read soon.
    pub(crate) fn announce_booked(&self, slot: Slot) {
        // Where bookings are not read, none can be waited for.
        if self.knows_booked(slot.room) && !self.is_booked(slot) {
            let mut announced = self.booked.announced.0.lock();
            let at = announced.entry(slot).or_insert_with(Instant::now);
            if at.elapsed() >= WAIT {
                *at = Instant::now();
            }
        }
        self.doubt_booked(slot.room);
    }

    /// Whether this slot is about to be shown as booked, so that what is held there is to be shown until then. If the
    /// reason to look there came at `since`, no longer than that and a second: anybody may announce anything.
    pub(crate) fn awaits_booking(&self, slot: Slot, since: Instant) -> bool {
        since.elapsed() < WAIT && self.booked.announced.contains(slot) && !self.is_booked(slot)
    }
}
