//! Making bookings: one transaction, whose first row says that this request is being answered and with what. Whoever
//! comes with the same key waits for it; who lost the connection while committing looks for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mysql_async::{Params, Row};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::MySqlStore;
use super::appointments::{Appointments, not_storable};
use super::link::{Trouble, Work, take};
use super::queries::{FORGOTTEN_AT_ONCE, slot_params};
use super::sheet::Sheet;
use crate::booking::{BookError, BookRefusal, Booking, NewBooking};
use crate::event::{Absence, Observation, Source};
use crate::fail_point::fail_point;
use crate::store::StoreError;

/// How long to look for what became of a commit. The server ends a transaction that nobody speaks for after three
/// seconds: see `link`.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
/// The longest one look may take: longer than a lock is waited for.
const SETTLE_LOOK: Duration = Duration::from_millis(1500);
/// Between two looks, or two tries when others are in the way; the longest.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a booking is tried again whose commit turned out not to have happened.
const TRIES: u32 = 3;
/// A key is good for so long.
const KEYS_LIVE: Duration = Duration::from_secs(24 * 3600);
/// How often old keys are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// A booking, and whether this request made it.
#[derive(Debug)]
pub(crate) struct Booked {
    pub(crate) booking: Booking,
    pub(crate) is_new: bool,
}

/// Why there is no booking.
#[derive(Debug)]
pub(crate) enum BookFault {
    /// For this reason, or nobody knows because of it.
    Book(BookError),
    /// The commit was sent and not answered: see [`MySqlStore::settle`].
    InDoubt,
}

/// Why a transaction failed.
enum Fault {
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
type Tried = (Result<Booked, BookRefusal>, Option<Sheet>);

impl MySqlStore {
    /// Books a slot, and finds out what became of it.
    pub(super) async fn book_for_sure(&self, ask: &NewBooking) -> Result<Booking, BookError> {
        let _under_way = self.picture.booking_under_way(ask.slot);
        let mut tried = 1;
        loop {
            match self.book(ask, true).await {
                Ok(booked) => return Ok(booked.booking),
                Err(BookFault::Book(error)) => return Err(error),
                Err(BookFault::InDoubt) => {}
            }
            match self.settle(ask).await? {
                Some(booked) => return Ok(booked.booking),
                None if tried < TRIES => tried += 1,
                None => return Err(StoreError::Timeout.into()),
            }
        }
    }

    /// Books a slot. With `selections_here` those in the database stand in the way; else those in the picture, and what
    /// becomes of them is for whoever keeps them.
    pub(crate) async fn book(&self, ask: &NewBooking, selections_here: bool) -> Result<Booked, BookFault> {
        let rooms = [ask.slot.room];
        let in_hand = self.take_in_hand(&rooms, self.link.until()).await;
        let _in_hand = in_hand.map_err(|error| BookFault::Book(error.into()))?;
        // Not counting the time for which others of this process were served.
        let (started, until) = (Instant::now(), self.link.until());
        let mut pause = Duration::from_millis(1);
        let mut is_table_known = true;
        let (outcome, sheet) = loop {
            let trouble = match self.try_to_book(ask, selections_here, until).await {
                Ok(tried) => break tried,
                Err(Fault::InCommit) => return Err(BookFault::InDoubt),
                Err(Fault::Before(trouble)) => trouble,
            };
            match trouble {
                Trouble::Conflict | Trouble::Duplicate if Instant::now() + pause < until => {
                    sleep(pause).await;
                    pause = PAUSE.min(pause * 2);
                }
                Trouble::NoTable(_) if is_table_known => {
                    self.forget_appointments();
                    is_table_known = false;
                }
                trouble => {
                    self.look_if_here(ask, selections_here);
                    return Err(BookFault::Book(self.failed(trouble).into()));
                }
            }
        };
        self.picture.observe(Observation::StoreTime(started.elapsed()));
        if let Ok(Booked { booking, is_new: true }) = &outcome {
            // First the booking: it hides the holds that go with it.
            self.picture.add_booked(ask.slot, booking.clone(), ask.actor);
        }
        if let Some(sheet) = sheet {
            let source = (Source::Command, self.next_seq());
            self.tell(&sheet, &rooms, source, ask.actor, Absence::Unknown, &[ask.slot]);
        }
        outcome.map_err(|refusal| BookFault::Book(refusal.into()))
    }

    /// What became of a booking whose commit was not answered; `None` if nothing did. An error: nobody can say, and the
    /// same key again will tell.
    pub(crate) async fn settle(&self, ask: &NewBooking) -> Result<Option<Booked>, StoreError> {
        let until = Instant::now() + SETTLE_WITHIN;
        let key = key_params(ask);
        let row = loop {
            let look = until.min(Instant::now() + SETTLE_LOOK);
            // A locking read: while the transaction lives, its row holds this up.
            match self.link.ask_afresh(&self.queries.final_answer, key.clone(), look).await {
                Ok(row) => break row,
                Err(_) if Instant::now() + PAUSE < until => sleep(PAUSE).await,
                Err(trouble) => return Err(self.failed(trouble)),
            }
        };
        tracing::info!(event = "commit_read_back", storage = "mysql", booked = row.is_some());
        self.look_if_here(ask, true);
        let Some(row) = row else { return Ok(None) };
        match first_answer(row, ask).map_err(|trouble| self.failed(trouble))? {
            Ok(booking) => {
                self.picture.add_booked(ask.slot, booking.clone(), ask.actor);
                Ok(Some(Booked { booking, is_new: true }))
            }
            // Another request was faster with this key; the next try says so.
            Err(_) => Ok(None),
        }
    }

    /// Forgets old keys, for ever.
    pub(super) async fn keep_idempotency(self: Arc<Self>) {
        let mut ticks = interval(FORGET_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            while let Ok(FORGOTTEN_AT_ONCE..) = self.forget_old_keys().await {}
        }
    }

    async fn forget_old_keys(&self) -> Result<u64, Trouble> {
        let mut work = self.link.begin(self.link.until()).await?;
        let forgotten = work.run(&self.queries.forget_keys, (KEYS_LIVE.as_millis() as u64,)).await?;
        work.commit().await?;
        Ok(forgotten)
    }

    fn look_if_here(&self, ask: &NewBooking, selections_here: bool) {
        if selections_here {
            crate::store::HoldStore::look(self, &[ask.slot]);
        }
    }

    async fn try_to_book(
        &self,
        ask: &NewBooking,
        selections_here: bool,
        until: Instant,
    ) -> Result<Tried, Fault> {
        let Some(appointments) = self.appointments(until).await? else {
            return Err(Trouble::NoTable("there is no table of appointments".to_owned()).into());
        };
        let mut work = self.link.begin(until).await?;
        if selections_here {
            self.check_epoch(&mut work).await?;
        } else {
            self.check_elsewhere(&mut work).await?;
        }
        fail_point("confirm:begun").await;
        if let Some(first) = self.take_key(&mut work, ask).await? {
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
            for room in sheet.touched.clone() {
                self.write(&mut work, sheet, room).await?;
            }
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
        ask: &NewBooking,
    ) -> Result<Option<Result<Booking, BookRefusal>>, Trouble> {
        let (client, key) = key_params(ask);
        let request = (&client, key.clone(), ask.fingerprint().to_vec());
        match work.run(&self.queries.insert_key, request).await {
            Ok(_) => Ok(None),
            Err(Trouble::Duplicate) => match work.row(&self.queries.first_answer, (client, key)).await? {
                Some(row) => first_answer(row, ask).map(Some),
                // Forgotten at this moment.
                None => Err(Trouble::Conflict),
            },
            Err(trouble) => Err(trouble),
        }
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
                return Err(Trouble::Store(StoreError::Refusing(why)));
            }
            Err(Trouble::Duplicate) => return Ok(Err(BookRefusal::SlotBooked)),
            Err(Trouble::Value { column: Some(column), code }) => return unfit(column, code).map(Err),
            Err(trouble) => return Err(trouble),
        };
        if !appointments.is_guarded {
            // Others that looked before our row was there may have come between.
            let (employee, begins, ends) = Appointments::slot_params(ask.slot);
            if work.row(&appointments.taken_by_others, (employee, begins, ends, id)).await?.is_some() {
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

/// A refusal that names the field, if it is one of the customer's.
fn unfit(column: String, code: u16) -> Result<BookRefusal, Trouble> {
    let field = ["name", "email", "phone", "notes", "service_id"].into_iter().find(|name| *name == column);
    match field {
        Some(field) => Ok(BookRefusal::Invalid(BTreeMap::from([(field, not_storable(field))]))),
        None => Err(Trouble::Value { column: Some(column), code }),
    }
}

/// What tells a request's key from all others.
fn key_params(ask: &NewBooking) -> (String, Vec<u8>) {
    (ask.client.to_string(), Sha256::digest(ask.key.as_str()).to_vec())
}

/// What came of the first request with this key; refused if it was for something else.
fn first_answer(mut row: Row, ask: &NewBooking) -> Result<Result<Booking, BookRefusal>, Trouble> {
    let request: Vec<u8> = take(&mut row, 0)?;
    let (appointment_id, strong_id): (u64, String) = (take(&mut row, 1)?, take(&mut row, 2)?);
    let is_same = request == ask.fingerprint();
    Ok(if is_same { Ok(Booking { appointment_id, strong_id }) } else { Err(BookRefusal::OtherData) })
}

/// What WordPress is told of a booking.
fn payload(ask: &NewBooking, booking: &Booking) -> String {
    let customer = &ask.customer;
    serde_json::json!({
        "appointment_id": booking.appointment_id,
        "strong_id": booking.strong_id,
        "date": ask.slot.room.date.to_string(),
        "time": ask.slot.time.to_string(),
        "employee_id": ask.slot.room.employee_id.get(),
        "service_id": ask.service_id,
        "name": customer.name,
        "email": customer.email,
        "phone": customer.phone,
        "notes": customer.notes,
    })
    .to_string()
}
