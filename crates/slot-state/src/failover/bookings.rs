//! Making bookings where there are two stores: MySQL books whichever of them decides; where Redis does, what is held
//! there goes afterwards.

use std::sync::Arc;

use super::{Failover, Store, TRIES};
use crate::booking::{BookError, Booking, NewBooking};
use crate::fail_point::fail_point;
use crate::mysql::{BookFault, Booked};
use crate::store::StoreError;

impl Failover {
    pub(super) async fn confirm_to_the_end(self: Arc<Self>, ask: NewBooking) -> Result<Booking, BookError> {
        let _under_way = self.picture.booking_under_way(ask.slot);
        let mut tries = 1;
        loop {
            let (mode, booked) = {
                let _begun = self.gate.read().await;
                let mode = self.deciding();
                let booked = self.mysql.book(&ask, mode == Store::Mysql).await;
                if let Ok(booked) = &booked {
                    self.clear_holds(mode, &ask, booked).await;
                }
                (mode, booked)
            };
            match booked {
                Ok(booked) => return Ok(booked.booking),
                // Another store decides, so other selections stand in the way. Nothing else is better elsewhere: there
                // is no booking without MySQL.
                Err(BookFault::Book(BookError::Store(error @ StoreError::Elsewhere))) => {
                    if tries == TRIES || !self.met(mode, mode, &error).await {
                        return Err(error.into());
                    }
                }
                Err(BookFault::Book(error)) => return Err(error),
                Err(BookFault::InDoubt) => {
                    // Takes long: a change of store need not wait for it.
                    if let Some(booked) = self.mysql.settle(&ask).await? {
                        let _begun = self.gate.read().await;
                        self.clear_holds(self.deciding(), &ask, &booked).await;
                        return Ok(booked.booking);
                    }
                    if tries == TRIES {
                        return Err(StoreError::Timeout.into());
                    }
                }
            }
            tries += 1;
        }
    }

    /// Removes from Redis what was held on a slot that was booked just now. If it fails, that ends by its time, and
    /// until then the booking hides it.
    async fn clear_holds(&self, mode: Store, ask: &NewBooking, booked: &Booked) {
        if mode != Store::Redis || !booked.is_new {
            return;
        }
        if let Err(error) = self.redis.clear_booked(ask.slot, ask.actor).await {
            tracing::warn!(event = "holds_not_cleared", storage = "redis", error = %error);
        }
        fail_point("confirm:cleared").await;
    }
}
