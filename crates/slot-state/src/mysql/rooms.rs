//! Changes of rooms: one transaction that reads what is there under lock, decides, and writes what changed.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use mysql_async::{Params, Value};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::MySqlStore;
use super::in_hand::InHand;
use super::link::{Trouble, Work, take};
use super::queries::room_params;
use super::sheet::{Sheet, TRANSIENT_TTL};
use super::transients::{option_name, timeout_name};
use crate::event::{Absence, Change, Observation, SlotFact, Source};
use crate::hold::ActorId;
use crate::slot::{Room, Slot, SlotTime};
use crate::store::{StorageMode, StoreError};

/// How often a transaction is tried again when others are in its way.
pub(super) const ATTEMPTS: u64 = 6;

/// Tries a transaction again while others are in its way. A macro, since a closure that borrows cannot be sent.
macro_rules! insist {
    ($store:expr, $attempt:expr) => {{
        let started = tokio::time::Instant::now();
        let mut tried = 1;
        loop {
            match $attempt.await {
                Err(Trouble::Conflict | Trouble::Duplicate) if tried < super::rooms::ATTEMPTS => {
                    tokio::time::sleep(std::time::Duration::from_millis(tried)).await;
                    tried += 1;
                }
                Err(trouble) => break Err($store.failed(trouble)),
                Ok(done) => {
                    $store.picture.observe(crate::event::Observation::StoreTime(started.elapsed()));
                    break Ok(done);
                }
            }
        }
    }};
}
pub(super) use insist;

/// What was decided about rooms.
pub(super) struct Decided<R> {
    pub(super) outcome: R,
    /// Selections that their holder gave up by it.
    pub(super) given_up: Vec<Slot>,
    /// How others went that are not there.
    pub(super) absence: Absence,
}

impl<R> Decided<R> {
    /// Nobody gave anything up.
    pub(super) fn leave(outcome: R) -> Self {
        Self::giving_up(outcome, Vec::new())
    }

    /// By this their holder gave these up.
    pub(super) fn giving_up(outcome: R, given_up: Vec<Slot>) -> Self {
        Decided { outcome, given_up, absence: Absence::Unknown }
    }
}

impl MySqlStore {
    /// Lets `decide` change what stands about these rooms (sorted), and tells the picture. `decide` may be called more
    /// than once, each time with what is there then.
    #[cfg_attr(feature = "spans", tracing::instrument(name = "mysql", skip_all))]
    pub(super) async fn change<R>(
        &self,
        rooms: &[Room],
        actor: Option<ActorId>,
        mut decide: impl FnMut(&mut Sheet) -> Decided<R>,
    ) -> Result<R, StoreError> {
        let until = self.link.until();
        let _in_hand = self.take_in_hand(rooms, until).await?;
        let (decided, sheet) = insist!(self, self.try_change(rooms, until, &mut decide))?;
        let seq = self.next_seq();
        self.tell(&sheet, rooms, (Source::Command, seq), actor, decided.absence, &decided.given_up);
        Ok(decided.outcome)
    }

    /// The number of what was just learnt.
    pub(super) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::AcqRel) + 1
    }

    async fn try_change<R>(
        &self,
        rooms: &[Room],
        until: Instant,
        decide: &mut impl FnMut(&mut Sheet) -> Decided<R>,
    ) -> Result<(Decided<R>, Sheet), Trouble> {
        let mut work = self.link.begin(until).await?;
        self.check_epoch(&mut work).await?;
        let mut sheet = self.read_for_update(&mut work, rooms).await?;
        let missing: Vec<Room> =
            rooms.iter().filter(|room| !sheet.rooms.contains_key(room)).copied().collect();
        let mut decided = decide(&mut sheet);
        if missing.iter().any(|room| sheet.touched.contains(room)) {
            // Only a row can be held against others: make it, and see what is there then.
            for room in missing.iter().filter(|room| sheet.touched.contains(room)) {
                work.run(&self.queries.ensure_transient, (option_name(*room),)).await?;
            }
            sheet = self.read_for_update(&mut work, rooms).await?;
            decided = decide(&mut sheet);
        }
        self.write(&mut work, &sheet).await?;
        work.commit().await?;
        Ok((decided, sheet))
    }

    /// Only one change of a room at a time comes from this process.
    pub(super) async fn take_in_hand(
        &self,
        rooms: &[Room],
        until: Instant,
    ) -> Result<SmallVec<[InHand<'_>; 1]>, StoreError> {
        let mut in_hand = SmallVec::new();
        for room in rooms {
            in_hand.push(self.hands.take(*room, until).await?);
        }
        Ok(in_hand)
    }

    /// Counts what went wrong.
    pub(super) fn failed(&self, trouble: Trouble) -> StoreError {
        let error = StoreError::from(trouble);
        self.picture.observe(Observation::StoreError(error.kind()));
        error
    }

    /// Refuses when another store decides; follows a newer epoch of this one. Until the transaction ends nobody can
    /// raise the epoch.
    pub(super) async fn check_epoch(&self, work: &mut Work) -> Result<(), Trouble> {
        let Some(mut row) = work.rows_if_any(&self.queries.agreement, ()).await?.pop() else {
            let missing = || Trouble::no_table("the storage table is missing or empty");
            return if self.alone { Ok(()) } else { Err(missing()) };
        };
        let (mode, epoch): (String, u64) = (take(&mut row, 0)?, take(&mut row, 1)?);
        // Empty: the first sweep is about to say who decides, and without Redis it can be nobody else.
        if mode != StorageMode::Mysql.as_str() && !(self.alone && mode.is_empty()) {
            return Err(Trouble::Store(StoreError::Elsewhere));
        }
        self.epoch.store(epoch, Ordering::Relaxed);
        Ok(())
    }

    /// Refuses where MySQL has stepped in for Redis.
    pub(super) async fn check_elsewhere(&self, work: &mut Work) -> Result<(), Trouble> {
        match self.check_epoch(work).await {
            Err(Trouble::Store(StoreError::Elsewhere)) => Ok(()),
            Ok(()) => Err(Trouble::Store(StoreError::Elsewhere)),
            other => other,
        }
    }

    /// These rooms, locked until the transaction ends, and the locks in them.
    pub(super) async fn read_for_update(&self, work: &mut Work, rooms: &[Room]) -> Result<Sheet, Trouble> {
        // A few lengths only, so that few statements are prepared; naming a room twice changes nothing.
        let length = rooms.len().next_power_of_two();
        let last = rooms.last().copied();
        let padded = || rooms.iter().copied().chain(last.into_iter().cycle()).take(length);
        let names: Vec<Value> =
            padded().flat_map(|room| [option_name(room), timeout_name(room)]).map(Value::from).collect();
        let options =
            work.rows(&self.queries.transients_for_update(length), Params::Positional(names)).await?;
        let named: Vec<Value> = padded().flat_map(room_params).collect();
        let locks = work.rows_if_any(&self.queries.locks_in(length), Params::Positional(named)).await?;
        let now = self.now(work).await?;
        self.sheet(now, options, locks)
    }

    pub(super) fn sheet(
        &self,
        now: i64,
        options: Vec<mysql_async::Row>,
        locks: Vec<mysql_async::Row>,
    ) -> Result<Sheet, Trouble> {
        let sheet = Sheet::read(now, options, locks, &self.first_seen)?;
        (0..sheet.unreadable).for_each(|_| self.picture.observe(Observation::ForeignSkipped));
        Ok(sheet)
    }

    /// The database's clock.
    pub(super) async fn now(&self, work: &mut Work) -> Result<i64, Trouble> {
        match work.row(&self.queries.now, ()).await? {
            Some(mut row) => take(&mut row, 0),
            None => Err(Trouble::Store(StoreError::Strange("no clock".to_owned()))),
        }
    }

    /// Writes back what was changed, whatever the number of rooms in one statement.
    pub(super) async fn write(&self, work: &mut Work, sheet: &Sheet) -> Result<(), Trouble> {
        let ends = sheet.now / 1000 + i64::try_from(TRANSIENT_TTL.as_secs()).unwrap_or_default();
        let mut rows: Vec<[Value; 2]> = Vec::with_capacity(sheet.touched.len() * 2);
        for room in &sheet.touched {
            let (name, timeout) = (option_name(*room), timeout_name(*room));
            match sheet.rooms.get(room).filter(|selections| !selections.is_empty()) {
                // The timeout first, as WordPress does it.
                Some(selections) => rows.extend([
                    [timeout.into(), ends.to_string().into()],
                    [name.into(), selections.encode().into()],
                ]),
                None => _ = work.run(&self.queries.delete_options, (name, timeout)).await?,
            }
        }
        let Some(last) = rows.last().cloned() else { return Ok(()) };
        // Of a few lengths only, so that few statements are prepared; writing a row twice changes nothing.
        let length = rows.len().next_power_of_two();
        rows.resize(length, last);
        let params = Params::Positional(rows.into_iter().flatten().collect());
        work.run(&self.queries.put_options(length), params).await.map(drop)
    }

    /// Whether a hold is gone before its time.
    fn went_early(&self, room: Room, fact: &SlotFact) -> bool {
        let (slot, now) = (room.slot(fact.time), Instant::now());
        let lives = || {
            self.picture.lock(slot).is_some_and(|held| held.deadline > now)
                || self.picture.selection(slot).is_some_and(|held| held.deadline > now)
        };
        fact.selection.is_none() && fact.lock.is_none() && lives()
    }

    /// Tells the picture all that a sheet says about these rooms.
    pub(super) fn tell(
        &self,
        sheet: &Sheet,
        rooms: &[Room],
        (source, seq): (Source, u64),
        actor: Option<ActorId>,
        absence: Absence,
        given_up: &[Slot],
    ) -> usize {
        let mut changed = 0;
        for room in rooms {
            // What a command under way does there, it will tell itself, and whose doing it is.
            if source == Source::Read && self.hands.has(*room) {
                continue;
            }
            let mut times: BTreeSet<SlotTime> = sheet.held_in(*room);
            times.extend(self.picture.held_in(*room));
            let absence = |slot: Slot| if given_up.contains(&slot) { Absence::ByHolder } else { absence };
            let facts =
                times.into_iter().map(|time| room.slot(time)).map(|slot| sheet.fact(slot, absence(slot)));
            let facts: SmallVec<[SlotFact; 2]> = facts.collect();
            if source == Source::Read && facts.iter().any(|fact| self.went_early(*room, fact)) {
                // With a booking, perhaps.
                self.picture.doubt_booked(*room);
            }
            changed += self.picture.apply(Change { room: *room, seq, source, actor, facts });
        }
        changed
    }
}
