//! Bookings in this process: gone with it.

use std::collections::HashMap;

use jiff::{Timestamp, tz::TimeZone};

use super::SlotHolds;
use crate::booking::{BookRefusal, Booking, IdempotencyKey, NewBooking};
use crate::hold::Refusal;
use crate::slot::{ClientId, Slot};

/// What is booked, and by which requests.
#[derive(Default)]
pub(super) struct Ledger {
    booked: HashMap<Slot, Booking>,
    made: HashMap<(ClientId, IdempotencyKey), ([u8; 32], Booking)>,
}

impl Ledger {
    /// An error if the slot is booked.
    pub(super) fn check_free(&self, slot: Slot) -> Result<(), Refusal> {
        if self.booked.contains_key(&slot) { Err(Refusal::SlotBooked) } else { Ok(()) }
    }

    /// Books a slot on which stands what `held` says. Says too whether the booking is new.
    pub(super) fn book(
        &mut self,
        ask: &NewBooking,
        held: &SlotHolds,
    ) -> Result<(Booking, bool), BookRefusal> {
        let request = (ask.client.clone(), ask.key.clone());
        if let Some((fingerprint, booking)) = self.made.get(&request) {
            let same = *fingerprint == ask.fingerprint();
            return if same { Ok((booking.clone(), false)) } else { Err(BookRefusal::OtherData) };
        }
        if self.booked.contains_key(&ask.slot) {
            return Err(BookRefusal::SlotBooked);
        }
        match &held.lock {
            Some(lock) if lock.client != ask.client => return Err(BookRefusal::SlotLocked),
            Some(lock) if ask.fence.is_some_and(|fence| fence != lock.fence) => {
                return Err(BookRefusal::LockLost);
            }
            None if !held.free_for(&ask.client) => return Err(BookRefusal::SlotLocked),
            _ => {}
        }
        let year = Timestamp::now().to_zoned(TimeZone::UTC).year();
        let booking = Booking::new(self.made.len() as u64 + 1, year);
        self.booked.insert(ask.slot, booking.clone());
        self.made.insert(request, (ask.fingerprint(), booking.clone()));
        Ok((booking, true))
    }
}
