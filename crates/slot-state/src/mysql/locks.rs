//! Locks: unique rows, so that whatever else fails, a slot has one at most. Their fences rise over all of the site.

use std::time::Duration;

use tokio::time::Instant;

use super::MySqlStore;
use super::link::{Trouble, Work, take};
use super::queries::slot_params;
use super::rooms::insist;
use super::sheet::{LockRow, Sheet};
use crate::event::{Absence, Source};
use crate::hold::{HoldError, LockAsk, Locked, MAX_LOCKS_PER_CLIENT, Refusal};
use crate::slot::{ClientId, Slot};
use crate::store::StoreError;

/// A lock younger than this may still be on its way: row first, copy second.
const SETTLED: Duration = Duration::from_secs(3);

/// What tells the row that a request made from all others, and from the same row once [`MySqlStore::keep`] has marked it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    fence: u64,
    /// In milliseconds since 1970.
    deadline: i64,
}

impl LockRow {
    fn made(&self) -> Made {
        Made { fence: self.fence, deadline: self.deadline }
    }

    /// The time left at `now`, in milliseconds since 1970.
    pub(super) fn left(&self, now: i64) -> Duration {
        Duration::from_millis(u64::try_from(self.deadline - now).unwrap_or(0))
    }
}

impl MySqlStore {
    /// Grants a lock, or says why not. With `selections_here` those in the database count; else they are elsewhere,
    /// and whoever keeps them says whether they stand in the way. `made`: the row that this request made or may have
    /// made. Says too whether the lock's row is that one.
    #[cfg_attr(feature = "spans", tracing::instrument(name = "mysql", skip_all))]
    pub(crate) async fn grant(
        &self,
        ask: &LockAsk,
        selections_here: bool,
        made: &mut Option<Made>,
    ) -> Result<(Locked, bool), HoldError> {
        let (slot, rooms) = (ask.slot, [ask.slot.room]);
        // A crowd is served one after the other: patience here is no statement's.
        let _in_hand = self.take_in_hand(&rooms, self.link.until() + self.link.deadline()).await?;
        let until = self.link.until();
        if self.is_surely_taken(slot, until).await {
            return Err(Refusal::SlotBooked.into());
        }
        let granted = insist!(self, async {
            let tried = self.try_grant(ask, selections_here, made, until).await;
            tried.inspect_err(|trouble| report(slot, trouble))
        });
        let (outcome, sheet) = granted.map_err(|error| self.uncertain(slot, error))?;
        if outcome == Err(Refusal::SlotBooked) && !self.picture.is_booked(slot) {
            self.picture.doubt_booked(slot.room);
        }
        if selections_here {
            let source = (Source::Command, self.next_seq());
            self.tell(&sheet, &rooms, source, ask.actor, Absence::Unknown, &[]);
        }
        Ok(outcome?)
    }

    async fn try_grant(
        &self,
        ask: &LockAsk,
        selections_here: bool,
        made: &mut Option<Made>,
        until: Instant,
    ) -> Result<(Result<(Locked, bool), Refusal>, Sheet), Trouble> {
        let LockAsk { slot, client, .. } = ask;
        self.check_tables()?;
        let appointments = self.appointments(until).await?;
        let mut work = self.link.begin(until).await?;
        let mut sheet = if selections_here {
            self.check_epoch(&mut work).await?;
            // A room without a row cannot be held against a selection that comes meanwhile.
            let name = super::transients::option_name(slot.room);
            work.run(&self.queries.ensure_transient, (name,)).await?;
            self.read_for_update(&mut work, &[slot.room]).await?
        } else {
            self.check_elsewhere(&mut work).await?;
            self.read_lock(&mut work, *slot).await?
        };
        if let Some(lock) = sheet.locks.get(slot) {
            if lock.client != *client {
                return Ok((Err(Refusal::SlotLocked), sheet));
            }
            let locked = Locked { ttl: lock.left(sheet.now), fence: lock.fence };
            let is_own = *made == Some(lock.made());
            if self.is_taken(&mut work, appointments.as_deref(), *slot).await? {
                return Ok((Err(Refusal::SlotBooked), sheet));
            }
            if selections_here {
                // Nobody else is asked: it is granted. Whoever made it for another store may be about to take it back.
                self.mark(&mut work, *slot).await?;
                work.commit().await?;
            }
            return Ok((Ok((locked, is_own)), sheet));
        }
        if sheet.selection(*slot).is_some_and(|held| held.client != *client) {
            return Ok((Err(Refusal::SlotLocked), sheet));
        }
        let row = self.insert(&mut work, *slot, client, sheet.now).await?;
        // With this one, and only now: what the client was granted at the same time was committed before the fence rose.
        if self.locks_of(&mut work, client, sheet.now).await? > MAX_LOCKS_PER_CLIENT {
            return Ok((Err(Refusal::TooManyHolds), sheet));
        }
        // After the row is there: who books has one too, and what this one waited for is booked by now.
        if self.is_taken(&mut work, appointments.as_deref(), *slot).await? {
            return Ok((Err(Refusal::SlotBooked), sheet));
        }
        sheet.remove(*slot);
        self.write(&mut work, &sheet).await?;
        // Before it is known: a commit that is not answered may have been made.
        *made = Some(row.made());
        work.commit().await?;
        let locked = Locked { ttl: row.left(sheet.now), fence: row.fence };
        sheet.locks.insert(*slot, row);
        Ok((Ok((locked, true)), sheet))
    }

    /// Takes away again a row that was made in vain, whichever store decides by now; unless somebody else was told that
    /// it is granted.
    pub(crate) async fn take_back(&self, slot: Slot, made: Made) -> Result<(), StoreError> {
        let answer = async {
            let mut work = self.link.begin(self.link.until()).await?;
            let (date, time, employee) = slot_params(slot);
            let row = (date, time, employee, made.fence, made.deadline);
            work.run(&self.queries.take_back_lock, row).await?;
            work.commit().await
        };
        answer.await.map_err(|trouble| self.failed(trouble))
    }

    /// Before a lock is granted whose row another request made: that one takes it back no more. False if there is no such
    /// row: it was taken back already, given back, or is over.
    pub(crate) async fn keep(&self, ask: &LockAsk, fence: u64) -> Result<bool, StoreError> {
        let answer = async {
            let mut work = self.link.begin(self.link.until()).await?;
            let rows = self.read_lock(&mut work, ask.slot).await?;
            let is_there =
                rows.locks.get(&ask.slot).is_some_and(|row| row.client == ask.client && row.fence == fence);
            if is_there {
                self.mark(&mut work, ask.slot).await?;
            }
            work.commit().await?;
            Ok(is_there)
        };
        answer.await.map_err(|trouble| self.failed(trouble))
    }

    /// Makes the row in hand another than its maker made: its lock ends a millisecond earlier.
    async fn mark(&self, work: &mut Work, slot: Slot) -> Result<(), Trouble> {
        work.run(&self.queries.mark_lock, slot_params(slot)).await.map(drop)
    }

    /// Whether a lock with this time left is so old that what is to become of it has become of it.
    pub(crate) fn is_settled(&self, left: Duration) -> bool {
        left + SETTLED < self.lock_ttl
    }

    /// Where Redis keeps the selections: takes the row of a lock away that is given back. Says which fence it had.
    pub(crate) async fn revoke(&self, ask: &LockAsk) -> Result<Option<u64>, StoreError> {
        let answer = async {
            let mut work = self.link.begin(self.link.until()).await?;
            self.check_elsewhere(&mut work).await?;
            let rows = self.read_lock(&mut work, ask.slot).await?;
            let own = rows.locks.get(&ask.slot).filter(|row| row.client == ask.client);
            if own.is_some() {
                work.run(&self.queries.delete_lock, slot_params(ask.slot)).await?;
            }
            work.commit().await?;
            Ok(own.map(|row| row.fence))
        };
        answer.await.map_err(|trouble| self.failed(trouble))
    }

    /// The row of one slot, held until the transaction ends.
    pub(super) async fn read_lock(&self, work: &mut Work, slot: Slot) -> Result<Sheet, Trouble> {
        let rows = work.rows(&self.queries.lock_for_update(), slot_params(slot)).await?;
        let now = self.now(work).await?;
        self.sheet(now, Vec::new(), rows)
    }

    async fn locks_of(&self, work: &mut Work, client: &ClientId, now: i64) -> Result<usize, Trouble> {
        let counted = work.row(&self.queries.locks_of_client, (client.as_str(), now)).await?;
        counted.map_or(Ok(0), |mut row| take::<u64>(&mut row, 0).map(|count| count as usize))
    }

    async fn insert(
        &self,
        work: &mut Work,
        slot: Slot,
        client: &ClientId,
        now: i64,
    ) -> Result<LockRow, Trouble> {
        // What is there still is over.
        let (date, time, employee) = slot_params(slot);
        work.run(&self.queries.delete_dead_lock, (date, time, employee, now)).await?;
        work.run(&self.queries.raise_fence, (now,)).await?;
        let Some(mut row) = work.row(&self.queries.fence, ()).await? else {
            return Err(Trouble::no_table("the storage table has no fence"));
        };
        let fence: u64 = take(&mut row, 0)?;
        let deadline = now + i64::try_from(self.lock_ttl.as_millis()).unwrap_or(i64::MAX / 2);
        let (date, time, employee) = slot_params(slot);
        // The plugin's column has whole seconds: the one that begins after the deadline.
        let (ends, began) = ((deadline + 999) / 1000, now / 1000);
        work.run(
            &self.queries.insert_lock,
            (date, time, employee, client.as_str(), ends, began, fence, deadline),
        )
        .await?;
        Ok(LockRow { client: client.clone(), deadline, fence })
    }

    /// Gives a lock back.
    #[cfg_attr(feature = "spans", tracing::instrument(name = "mysql", skip_all))]
    pub(super) async fn release(&self, ask: &LockAsk) -> Result<(), HoldError> {
        let until = self.link.until();
        let (slot, rooms) = (ask.slot, [ask.slot.room]);
        let _in_hand = self.take_in_hand(&rooms, until).await?;
        let released = insist!(self, self.try_release(ask, until));
        let (outcome, sheet) = released.map_err(|error| self.uncertain(slot, error))?;
        let source = (Source::Command, self.next_seq());
        self.tell(&sheet, &rooms, source, ask.actor, Absence::Unknown, &[slot]);
        Ok(outcome?)
    }

    async fn try_release(
        &self,
        ask: &LockAsk,
        until: Instant,
    ) -> Result<(Result<(), Refusal>, Sheet), Trouble> {
        let mut work = self.link.begin(until).await?;
        self.check_epoch(&mut work).await?;
        let mut sheet = self.read_for_update(&mut work, &[ask.slot.room]).await?;
        let outcome = match (sheet.locks.get(&ask.slot), sheet.selection(ask.slot)) {
            (Some(lock), _) if lock.client == ask.client => Ok(()),
            (Some(_), _) => Err(Refusal::NotOwner),
            (None, Some(held)) if held.client != ask.client => Err(Refusal::NotOwner),
            (None, _) => Err(Refusal::LockLost),
        };
        if outcome.is_ok() {
            work.run(&self.queries.delete_lock, slot_params(ask.slot)).await?;
            work.commit().await?;
            sheet.locks.remove(&ask.slot);
        }
        Ok((outcome, sheet))
    }
}

/// A refusal that trying again does not change would be seen by nobody: the client is told that the store is away. What the
/// database says of a missing column names no more than that; what else it says may name anybody.
fn report(slot: Slot, trouble: &Trouble) {
    let (code, reason) = match trouble {
        Trouble::NoTable { why, code: Some(code) } => (code, why.as_str()),
        Trouble::Refused { code, .. } => (code, "its manual says what this error number means"),
        _ => return,
    };
    let (date, employee_id) = (slot.room.date, slot.room.employee_id.get());
    tracing::warn!(
        event = "lock_failed", storage = "mysql", code, reason, %date, employee_id, time = %slot.time,
        "the database refuses locks; `slotcast migrate --dry-run` and `slotcast doctor` say what they need"
    );
}
