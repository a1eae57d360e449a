//! The transaction that makes a booking. What it locks, in this order: the request's key, the room's selections where
//! they are here, the slot's lock, the slot itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mysql_async::Params;
use tokio::time::Instant;

use super::super::MySqlStore;
use super::super::appointments::{Appointments, not_storable};
use super::super::link::{DUPLICATE, Trouble, Work};
use super::super::queries::slot_params;
use super::super::sheet::Sheet;
use super::{Booked, First, key_params};
use crate::booking::{BookRefusal, Booking, NewBooking};
use crate::fail_point::fail_point;

/// Why a transaction failed.
pub(super) enum Fault {
    /// Nothing has changed.
    Before(Trouble),
    /// Nobody knows.
    InCommit,
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Fault::Before(trouble)
    }
}

/// What was found out about a request: the answer, and the room where holds on it stand here.
pub(super) type Tried = (Result<Booked, BookRefusal>, Option<Sheet>);

impl MySqlStore {
    /// One try, which must be committed by `until`.
    pub(super) async fn try_to_book(
        &self,
        ask: &NewBooking,
        selections_here: bool,
        until: Instant,
    ) -> Result<Tried, Fault> {
        self.check_tables()?;
        let Some(appointments) = self.appointments(until).await? else {
            let why = format!(
                "there is no table {}: AppointEase makes it where it is activated; `slotcast doctor` says what to do",
                self.appointments_names[0]
            );
            return Err(Trouble::no_table(why).into());
        };
        if !appointments.is_transactional {
            let why = format!("{} knows no transactions", appointments.table);
            return Err(Trouble::no_table(why).into());
        }
        let mut work = self.link.begin(until).await?;
        if selections_here {
            self.check_epoch(&mut work).await?;
        } else {
            self.check_elsewhere(&mut work).await?;
        }
        fail_point("confirm:begun").await;
        if let Some(first) = self.take_key(&mut work, &appointments, ask).await? {
            return Ok((first.map(|booking| Booked { booking, is_new: false }), None));
        }
        fail_point("confirm:keyed").await;
        let unfit = appointments.unfit(ask);
        if !unfit.is_empty() {
            return Ok((Err(BookRefusal::Invalid(unfit)), None));
        }
        let (mut sheet, now) = match self.take_slot(&mut work, ask, selections_here).await? {
            Ok(taken) => taken,
            Err((refusal, sheet)) => return Ok((Err(refusal), sheet)),
        };
        fail_point("confirm:held").await;
        if self.is_taken(&mut work, Some(&appointments), ask.slot).await? {
            return Ok((Err(BookRefusal::SlotBooked), sheet));
        }
        let id = match self.insert_appointment(&mut work, &appointments, ask).await? {
            Ok(id) => id,
            Err(refusal) => return Ok((Err(refusal), sheet)),
        };
        fail_point("confirm:inserted").await;
        let booking = Booking::new(id, self.year(now));
        if appointments.has("strong_id") {
            work.run(&appointments.name, (&booking.strong_id, id)).await?;
        }
        fail_point("confirm:named").await;
        work.run(&self.queries.delete_lock, slot_params(ask.slot)).await?;
        if let Some(sheet) = &mut sheet {
            sheet.remove(ask.slot);
            sheet.locks.remove(&ask.slot);
            self.write(&mut work, sheet).await?;
        }
        fail_point("confirm:released").await;
        work.run(&self.queries.insert_outbox, (id, payload(ask, &booking))).await?;
        fail_point("confirm:told").await;
        let (client, key) = key_params(ask);
        work.run(&self.queries.keep_answer, (id, &booking.strong_id, client, key)).await?;
        fail_point("confirm:answered").await;
        match work.commit().await {
            Ok(()) => {}
            Err(Trouble::Conflict) => return Err(Trouble::Conflict.into()),
            Err(_) => return Err(Fault::InCommit),
        }
        fail_point("confirm:committed").await;
        Ok((Ok(Booked { booking, is_new: true }), sheet))
    }

    /// Makes this request the one that answers for its key until the transaction ends; if the key was used before, what
    /// came of it.
    async fn take_key(
        &self,
        work: &mut Work,
        appointments: &Appointments,
        ask: &NewBooking,
    ) -> Result<Option<Result<Booking, BookRefusal>>, Trouble> {
        let (client, key) = key_params(ask);
        let request = || (client.clone(), key.clone(), ask.fingerprint().to_vec());
        match work.run(&self.queries.insert_key, request()).await {
            Ok(_) => return Ok(None),
            Err(Trouble::Duplicate) => {}
            Err(trouble) => return Err(trouble),
        }
        let Some(row) = work.row(&self.queries.first_answer, (&client, key.clone())).await? else {
            // Forgotten at this moment.
            return Err(Trouble::Conflict);
        };
        let first = First::read(row, ask)?;
        // Whatever else the form says by now: its page cannot choose another key.
        if ask.key.is_of_form() && !stands(work, appointments, ask, &first.booking).await? {
            work.run(&self.queries.forget_key, (&client, key.clone())).await?;
            // A second one that came to the same conclusion waits here, and meets the first one's answer.
            work.run(&self.queries.insert_key, request()).await?;
            return Ok(None);
        }
        Ok(Some(first.answer()))
    }

    /// Makes this transaction the only one of ours that may do anything to the slot, if nothing of others stands in the
    /// way. Says also what the time is.
    #[allow(clippy::type_complexity, reason = "named, it would say less")]
    async fn take_slot(
        &self,
        work: &mut Work,
        ask: &NewBooking,
        selections_here: bool,
    ) -> Result<Result<(Option<Sheet>, i64), (BookRefusal, Option<Sheet>)>, Trouble> {
        let NewBooking { slot, client, .. } = ask;
        let mut sheet = None;
        if selections_here {
            sheet = Some(self.read_for_update(work, &[slot.room]).await?);
        }
        let row = self.read_lock(work, *slot).await?;
        if let Some(sheet) = &mut sheet {
            // Newer than what was read first: it may have been waited for.
            sheet.locks.remove(slot);
            sheet.locks.extend(row.locks.clone());
        }
        let refusal = match row.locks.get(slot) {
            Some(lock) if lock.client != *client => Some(BookRefusal::SlotLocked),
            Some(lock) if ask.fence.is_some_and(|fence| fence != lock.fence) => Some(BookRefusal::LockLost),
            // May be taken back yet, for what another holds elsewhere. Who names its fence was told of it.
            Some(lock)
                if sheet.is_none()
                    && ask.fence.is_none()
                    && !self.is_settled(lock.left(row.now))
                    && self.is_shown_held(ask) =>
            {
                Some(BookRefusal::SlotLocked)
            }
            Some(_) => return Ok(Ok((sheet, row.now))),
            None => {
                let is_in_the_way = match &sheet {
                    Some(sheet) => sheet.selection(*slot).is_some_and(|held| held.client != *client),
                    None => self.is_shown_held(ask),
                };
                is_in_the_way.then_some(BookRefusal::SlotLocked)
            }
        };
        if let Some(refusal) = refusal {
            return Ok(Err((refusal, sheet)));
        }
        // Nobody ever sees this row. Whoever wants the slot too waits for it, and finds the booking then.
        let (date, time, employee) = slot_params(*slot);
        work.run(&self.queries.delete_dead_lock, (date, time, employee, row.now)).await?;
        work.run(&self.queries.insert_stand_in, slot_params(*slot)).await?;
        Ok(Ok((sheet, row.now)))
    }

    /// Whether others hold the slot where another store keeps selections. Of locks it has copies; those without a fence
    /// are PHP's, and have no row.
    fn is_shown_held(&self, ask: &NewBooking) -> bool {
        let now = Instant::now();
        let selection = self.picture.selection(ask.slot);
        let lock = self.picture.lock(ask.slot);
        selection.is_some_and(|held| held.client != ask.client && held.deadline > now)
            || lock.is_some_and(|held| held.fence == 0 && held.client != ask.client && held.deadline > now)
    }

    async fn insert_appointment(
        &self,
        work: &mut Work,
        appointments: &Appointments,
        ask: &NewBooking,
    ) -> Result<Result<u64, BookRefusal>, Trouble> {
        // Unique, in case names must be; as long as the name that replaces it.
        let stand_in = format!("{:015x}", rand::random::<u64>() >> 4);
        let (statement, values) = appointments.insert(ask, &stand_in, true);
        let mut inserted = work.insert(&statement, Params::Positional(values)).await;
        if matches!(inserted, Err(Trouble::Duplicate)) {
            // The slot is booked, or another client had the same key.
            let (without_key, values) = appointments.insert(ask, &stand_in, false);
            if without_key != statement {
                inserted = work.insert(&without_key, Params::Positional(values)).await;
            }
        }
        let id = match inserted {
            Ok(Some(id)) => id,
            Ok(None) => {
                let why = format!("{} gives its rows no number", appointments.table);
                return Err(Trouble::no_table(why));
            }
            Err(Trouble::Duplicate) => {
                let (employee, begins, _) = Appointments::slot_params(ask.slot);
                if work.row(&appointments.any, (employee, begins)).await?.is_some() {
                    return Ok(Err(BookRefusal::SlotBooked));
                }
                // A unique key of the site's own, on something that others have too: no other time would do either.
                let why = "a unique key of the site's own is in the way".to_owned();
                return Err(Trouble::Refused { why, code: DUPLICATE });
            }
            Err(Trouble::Value { column: Some(column), code }) => return unfit(column, code).map(Err),
            Err(trouble) => return Err(trouble),
        };
        if !appointments.is_guarded {
            // Others that looked before our row was there may have come between.
            let (employee, begins, _) = Appointments::slot_params(ask.slot);
            if work.row(&appointments.taken_by_others, (employee, begins, id)).await?.is_some() {
                return Ok(Err(BookRefusal::SlotBooked));
            }
        }
        Ok(Ok(id))
    }

    /// The year it is at the site.
    fn year(&self, now: i64) -> i16 {
        let now = Timestamp::from_millisecond(now).unwrap_or_else(|_| Timestamp::now());
        now.to_zoned(self.zone.read().clone()).year()
    }
}

/// Whether this is still the booking of that slot.
async fn stands(
    work: &mut Work,
    appointments: &Appointments,
    ask: &NewBooking,
    booking: &Booking,
) -> Result<bool, Trouble> {
    let (employee, begins, ends) = Appointments::slot_params(ask.slot);
    let params = (employee, begins, ends, booking.appointment_id);
    Ok(work.row(&appointments.stands, params).await?.is_some())
}

/// A refusal that names the field, if it is one of the customer's.
fn unfit(column: String, code: u16) -> Result<BookRefusal, Trouble> {
    let field = ["name", "email", "phone", "notes", "service_id"].into_iter().find(|name| *name == column);
    match field {
        Some(field) => Ok(BookRefusal::Invalid(BTreeMap::from([(field, not_storable(field))]))),
        None => Err(Trouble::Value { column: Some(column), code }),
    }
}

/// What WordPress is told of a booking: where to find it. Whose it is, is in its row alone.
fn payload(ask: &NewBooking, booking: &Booking) -> String {
    serde_json::json!({
        "strong_id": booking.strong_id,
        "date": ask.slot.room.date.to_string(),
        "time": ask.slot.time.to_string(),
        "employee_id": ask.slot.room.employee_id.get(),
    })
    .to_string()
}
