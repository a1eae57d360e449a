//! Requests about bookings: what is there to see, whether a slot may be held at all, and the booking itself.

use slot_state::{
    AppointmentRef, Availability, BookError, BookRefusal, Booking, ClientId, Look, NewBooking, Refusal, Room,
    RoomView, Slot, StorageMode,
};
use tokio::time::Instant;

use super::{Commands, Done, Origin};
use crate::observe::metrics::KindLabel;
use crate::protocol::booking::{BookingForm, WrongFields};
use crate::protocol::error::RequestError;

/// What is said of a slot whose time is over.
const PAST: &str = "This time has passed";

impl Commands {
    /// Has the bookings of a room read, where nobody looked at it lately: call before it is shown, and keep what this
    /// returns until it was. Of such rooms an address may look at so many a second. What cannot be read is not shown
    /// until it can.
    pub async fn look_at(&self, origin: Origin, room: Room) -> Result<Look<'_>, RequestError> {
        self.check_new_room(origin, room)?;
        Ok(self.look_to_change(room).await)
    }

    /// The same for who is about to change something there, which is counted elsewhere.
    async fn look_to_change(&self, room: Room) -> Look<'_> {
        self.bookings.look_at(room).await.unwrap_or_else(|error| {
            let employee_id = room.employee_id.get();
            tracing::debug!(event = "bookings_unread", date = %room.date, employee_id, error = %error);
            Look::default()
        })
    }

    fn check_new_room(&self, origin: Origin, room: Room) -> Result<(), RequestError> {
        let may = self.bookings.is_watched(room) || self.limits.check_new_room(origin.address);
        if may { Ok(()) } else { Err(RequestError::RateLimited) }
    }

    /// What a room looks like to somebody who may be about to move this appointment.
    pub async fn view(
        &self,
        origin: Origin,
        room: Room,
        exclude: Option<&AppointmentRef>,
    ) -> Result<RoomView, RequestError> {
        let _look = self.look_at(origin, room).await?;
        let mut view = self.picture.view(room);
        if let Some(own) = exclude.and_then(|appointment| self.picture.own_booking(room, appointment)) {
            view.booked.retain(|time| *time != own);
        }
        Ok(view)
    }

    /// What can be booked in a room.
    #[cfg_attr(feature = "otel", tracing::instrument(skip_all, fields(date = %room.date)))]
    pub async fn availability(&self, origin: Origin, room: Room) -> Result<Availability, RequestError> {
        let started = Instant::now();
        let availability = match self.bookings.known_availability(room).await {
            Some(known) => Ok(known),
            None => match self.check_new_room(origin, room) {
                Ok(()) => self.bookings.read_availability(room).await.map_err(RequestError::from),
                Err(error) => Err(error),
            },
        };
        let outcome = availability.as_ref().map_or_else(RequestError::code, |_| "ok");
        self.metrics.count_request("availability", outcome);
        let (said, store) = match &availability {
            // The cache is in Redis, or else in this process, as is everything where there is no database.
            Ok(Availability { cached: true, .. }) => {
                let is_redis = |mode: &StorageMode| {
                    *mode == StorageMode::Redis && self.bookings_in == StorageMode::Mysql
                };
                ("cached", Some(self.storage().mode).filter(is_redis))
            }
            _ => (outcome, Some(self.bookings_in)),
        };
        self.note("availability", room, None, store.map(StorageMode::as_str), started.elapsed(), said);
        if let Ok(Availability { cached, .. }) = availability {
            let kind = if cached { "cached" } else { "read" };
            self.metrics.availability.get_or_create(&KindLabel { kind }).inc();
        }
        availability
    }

    /// An error where nobody can hold this slot, whoever asks.
    pub(super) async fn check_open(&self, slot: Slot) -> Result<(), RequestError> {
        let _look = self.look_to_change(slot.room).await;
        if self.picture.is_booked(slot) {
            return Err(Refusal::SlotBooked.into());
        }
        if self.bookings.calendar().is_closed(slot) { Err(RequestError::SlotClosed) } else { Ok(()) }
    }

    /// Books a slot for good. `form` is what the request says besides, as far as it makes sense.
    #[cfg_attr(feature = "otel", tracing::instrument(skip_all, fields(time = %slot.time, outcome)))]
    pub async fn confirm<'a>(
        &self,
        origin: Origin,
        client: &'a ClientId,
        slot: Slot,
        form: Result<BookingForm, WrongFields>,
    ) -> Done<'a, Booking> {
        let started = Instant::now();
        let outcome = match self.check_rate(Some(client), origin) {
            Ok(()) => self.book(origin, client, slot, form).await,
            Err(error) => Err(error),
        };
        if outcome.is_ok() {
            self.presence.gave_up(client, slot, started);
        }
        self.finish("confirm", "booking_confirmed", started, client.as_str(), slot, outcome)
    }

    async fn book(
        &self,
        origin: Origin,
        client: &ClientId,
        slot: Slot,
        form: Result<BookingForm, WrongFields>,
    ) -> Result<Booking, RequestError> {
        let _look = self.look_to_change(slot.room).await;
        let calendar = self.bookings.calendar();
        // Whoever booked it and asks again is told so by the store, however late it is by now.
        let is_booked = self.picture.is_booked(slot);
        let BookingForm { key, fence, customer, service_id } = match form {
            Ok(form) if is_booked || !calendar.is_past(slot) => form,
            form => {
                let mut wrong = form.err().unwrap_or_default();
                if !is_booked && calendar.is_past(slot) {
                    wrong.insert("time", PAST.to_owned());
                }
                return Err(wrong.into());
            }
        };
        if !is_booked && calendar.is_closed(slot) {
            return Err(RequestError::SlotClosed);
        }
        let (client, actor) = (client.clone(), origin.actor);
        let ask = NewBooking { slot, client, key, fence, customer, service_id, actor };
        self.store.confirm(ask).await.map_err(|error| match error {
            BookError::Refused(refusal) => {
                let taken = matches!(refusal, BookRefusal::SlotLocked | BookRefusal::SlotBooked);
                let suggested = if taken { self.bookings.suggestions(slot) } else { Vec::new() };
                RequestError::NotBooked(refusal, suggested)
            }
            BookError::Store(error) => error.into(),
        })
    }
}
