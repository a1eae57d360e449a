//! Making bookings: one transaction, whose first row says that this request is being answered and with what. Whoever
//! comes with the same key waits for it; who lost the connection while committing looks for it.

mod transaction;

use std::sync::Arc;
use std::time::Duration;

use mysql_async::Row;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::MySqlStore;
use super::link::{Trouble, take};
use super::queries::FORGOTTEN_AT_ONCE;
use crate::booking::{BookError, BookRefusal, Booking, NewBooking};
use crate::event::{Absence, Observation, Source};
use crate::store::StoreError;
use transaction::Fault;

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

impl MySqlStore {
    /// Books a slot, and finds out what became of it.
    #[cfg_attr(feature = "spans", tracing::instrument(name = "mysql", skip_all))]
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
        // A crowd is served one after the other: patience here is no statement's.
        let in_hand = self.take_in_hand(&rooms, self.link.until() + self.link.deadline()).await;
        let _in_hand = in_hand.map_err(|error| BookFault::Book(error.into()))?;
        let (started, until) = (Instant::now(), self.link.until());
        // For the key of a form it matters by which booking.
        if !ask.key.is_of_form() && self.is_surely_taken(ask.slot, until).await {
            return self.answer_too_late(ask, until).await.map_err(BookFault::Book);
        }
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
                Trouble::NoTable { .. } if is_table_known => {
                    self.forget_appointments();
                    is_table_known = false;
                }
                trouble => {
                    self.report(ask, &trouble);
                    self.look_if_here(ask, selections_here);
                    return Err(BookFault::Book(self.failed(trouble).into()));
                }
            }
        };
        self.picture.observe(Observation::StoreTime(started.elapsed()));
        if let Ok(Booked { booking, is_new: true }) = &outcome {
            // First the booking: it hides the holds that go with it.
            self.picture.add_booked(ask.slot, booking.clone(), ask.actor);
            self.outbox_grew.notify_one();
        }
        if let Some(sheet) = sheet {
            let source = (Source::Command, self.next_seq());
            self.tell(&sheet, &rooms, source, ask.actor, Absence::Unknown, &[ask.slot]);
        }
        outcome.map_err(|refusal| BookFault::Book(refusal.into()))
    }

    /// The slot is booked: by this request before, or by another.
    async fn answer_too_late(&self, ask: &NewBooking, until: Instant) -> Result<Booked, BookError> {
        let answer = async {
            let row = self.link.ask(&self.queries.first_answer, key_params(ask), until).await?;
            row.map_or(Ok(Err(BookRefusal::SlotBooked)), |row| Ok(First::read(row, ask)?.answer()))
        };
        let booking = answer.await.map_err(|trouble: Trouble| self.failed(trouble))??;
        Ok(Booked { booking, is_new: false })
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
        match First::read(row, ask).map_err(|trouble| self.failed(trouble))?.answer() {
            Ok(booking) => {
                self.picture.add_booked(ask.slot, booking.clone(), ask.actor);
                self.outbox_grew.notify_one();
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

    /// A refusal that trying again does not change would be seen by nobody: the customer is told that the store is away.
    /// Of the database's own words nothing is said: they may quote what the customer wrote.
    fn report(&self, ask: &NewBooking, trouble: &Trouble) {
        let (code, reason) = match trouble {
            Trouble::Value { column, code } => {
                // A message may quote a customer who writes like a message.
                let known = self.known_appointments();
                let is_column = |name: &&str| known.is_some_and(|appointments| appointments.has(name));
                let column = column.as_deref().filter(is_column).unwrap_or("it does not name");
                (*code, format!("a value does not fit the column {column}"))
            }
            Trouble::Refused { code, .. } | Trouble::NoTable { code: Some(code), .. } => {
                (*code, "the database refuses it; its manual says what this error number means".to_owned())
            }
            Trouble::NoTable { why, code: None } => (0, why.clone()),
            Trouble::Conflict | Trouble::Duplicate | Trouble::Store(_) => return,
        };
        self.picture.observe(Observation::BookingFailed(code));
        let (date, employee_id) = (ask.slot.room.date, ask.slot.room.employee_id.get());
        tracing::warn!(
            event = "booking_failed", storage = "mysql", code, reason, %date, employee_id, time = %ask.slot.time,
            "such bookings cannot be made until that is mended"
        );
    }

    fn look_if_here(&self, ask: &NewBooking, selections_here: bool) {
        if selections_here {
            crate::store::HoldStore::look(self, &[ask.slot]);
        }
    }
}

/// What tells a request's key from all others.
fn key_params(ask: &NewBooking) -> (String, Vec<u8>) {
    (ask.client.to_string(), Sha256::digest(ask.key.as_str()).to_vec())
}

/// What came of the first request with a key.
struct First {
    booking: Booking,
    /// It asked for the same.
    is_same: bool,
}

impl First {
    fn read(mut row: Row, ask: &NewBooking) -> Result<Self, Trouble> {
        let request: Vec<u8> = take(&mut row, 0)?;
        let (appointment_id, strong_id): (u64, String) = (take(&mut row, 1)?, take(&mut row, 2)?);
        let is_same = request == ask.fingerprint();
        Ok(First { booking: Booking { appointment_id, strong_id }, is_same })
    }

    /// To whoever comes with the key again.
    fn answer(self) -> Result<Booking, BookRefusal> {
        if self.is_same { Ok(self.booking) } else { Err(BookRefusal::OtherData) }
    }
}
