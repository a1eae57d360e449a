//! Finding what others changed, and what is over: all transients and locks of the site in two statements, every
//! `sweep_ms`; between them the slots that are due.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mysql_async::{Params, Value};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::MySqlStore;
use super::link::{Trouble, take};
use super::queries::room_params;
use super::sheet::Sheet;
use super::transients::{option_name, timeout_name};
use crate::event::{Absence, Observation, Source};
use crate::slot::{Room, Slot};
use crate::store::{Storage, StorageMode, StoreError};

/// Rooms looked at in one statement; with more, everything is read.
const MOST_ROOMS: usize = 256;
/// How long what is past its deadline is shown while the database is asked.
const EXPIRY_PATIENCE: Duration = Duration::from_millis(100);

impl MySqlStore {
    /// Sweeps for ever.
    pub(super) async fn keep_sweeping(self: Arc<Self>) {
        let mut ticks = interval(self.sweep_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let all = tokio::select! {
                _ = ticks.tick() => true,
                () = self.look.notified() => false,
            };
            let _one_at_a_time = self.sweeping.lock().await;
            // Where Redis decides, what is here says nothing about who holds what.
            if !self.picture.is_decided_by(StorageMode::Mysql) {
                self.due.lock().clear();
                continue;
            }
            let due = std::mem::take(&mut *self.due.lock());
            let rooms: BTreeSet<Room> = due.iter().map(|slot| slot.room).collect();
            let sweeping = async {
                if all || rooms.is_empty() || rooms.len() > MOST_ROOMS {
                    self.sweep(Absence::Unknown).await
                } else {
                    self.look_at(&rooms.into_iter().collect::<Vec<_>>()).await
                }
            };
            let swept = self.meanwhile_expire(&due, sweeping).await;
            if swept.is_err() {
                self.picture.expire(&due.into_iter().collect::<Vec<Slot>>());
            }
            self.note(swept.map_err(|trouble| self.failed(trouble)).err());
        }
    }

    /// A database that does not answer soon holds up no deadline: neither those of the slots that are asked about, nor
    /// those that come while they are.
    async fn meanwhile_expire(
        &self,
        due: &BTreeSet<Slot>,
        sweeping: impl Future<Output = Result<(), Trouble>>,
    ) -> Result<(), Trouble> {
        tokio::pin!(sweeping);
        loop {
            match timeout(EXPIRY_PATIENCE, &mut sweeping).await {
                Ok(swept) => return swept,
                Err(_) => {
                    let slots: Vec<Slot> = due.union(&self.due.lock()).copied().collect();
                    self.picture.expire(&slots);
                }
            }
        }
    }

    /// Reads everything and tells the picture, after this store began to decide: what is not here, did not come over.
    pub(crate) async fn read_anew(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.sweeping.lock().await;
        self.read_everything().await
    }

    pub(super) async fn read_everything(&self) -> Result<(), StoreError> {
        let swept = self.sweep(Absence::WithStore).await.map_err(|trouble| self.failed(trouble));
        self.note(swept.clone().err());
        swept
    }

    /// All holds of the site.
    pub(super) async fn read_all(&self) -> Result<Sheet, Trouble> {
        let mut work = self.link.begin(self.link.until()).await?;
        match self.learn_agreement(&mut work).await {
            // Without our tables there are no locks and no agreement, but selections.
            Err(Trouble::NoTable { .. }) if self.alone => {}
            other => other?,
        }
        let now = self.now(&mut work).await?;
        let options = work.rows(&self.queries.all_transients, ()).await?;
        let locks = work.rows_if_any(&self.queries.all_locks, ()).await?;
        work.commit().await?;
        self.sheet(now, options, locks)
    }

    async fn sweep(&self, absence: Absence) -> Result<(), Trouble> {
        let seq = self.seq.load(Ordering::Acquire);
        let sheet = self.read_all().await?;
        let mut rooms: BTreeSet<Room> = sheet.rooms.keys().copied().collect();
        rooms.extend(sheet.locks.keys().map(|slot| slot.room));
        rooms.extend(self.picture.held_slots().into_iter().map(|slot| slot.room));
        let rooms: Vec<Room> = rooms.into_iter().collect();
        self.tell(&sheet, &rooms, (Source::Read, seq), None, absence, &[]);
        self.first_seen.forget_old(Instant::now());
        if let Err(trouble) = self.clean(&sheet).await {
            // Another gateway is at it, or the next sweep will do.
            tracing::debug!(event = "not_cleaned", storage = "mysql", error = %StoreError::from(trouble));
        }
        Ok(())
    }

    async fn look_at(&self, rooms: &[Room]) -> Result<(), Trouble> {
        let seq = self.seq.load(Ordering::Acquire);
        let mut work = self.link.begin(self.link.until()).await?;
        let names = rooms.iter().flat_map(|room| [option_name(*room), timeout_name(*room)]);
        let names: Vec<Value> = names.map(Value::from).collect();
        let now = self.now(&mut work).await?;
        let options = work.rows(&self.queries.transients(rooms.len()), Params::Positional(names)).await?;
        let named: Vec<Value> = rooms.iter().copied().flat_map(room_params).collect();
        let locks = work.rows_if_any(&self.queries.locks_in(rooms.len()), Params::Positional(named)).await?;
        work.commit().await?;
        let sheet = self.sheet(now, options, locks)?;
        self.tell(&sheet, rooms, (Source::Read, seq), None, Absence::Unknown, &[]);
        Ok(())
    }

    /// Mode, epoch and salt; the first gateway makes the salt.
    async fn learn_agreement(&self, work: &mut super::link::Work) -> Result<(), Trouble> {
        if self.salt.lock().is_none() {
            let salt = format!("{:032x}", rand::random::<u128>());
            work.run(&self.queries.set_salt, (salt,)).await?;
        }
        let Some(mut row) = work.row(&self.queries.agreement_now, ()).await? else {
            return Err(Trouble::no_table("the storage table is empty"));
        };
        let (mode, epoch): (String, u64) = (take(&mut row, 0)?, take(&mut row, 1)?);
        self.epoch.store(epoch, Ordering::Relaxed);
        let salt: Option<String> = take(&mut row, 2)?;
        *self.salt.lock() = salt.filter(|salt| !salt.is_empty());
        if self.alone && mode != StorageMode::Mysql.as_str() {
            // There was a Redis once. Epochs of MySQL are even: see `failover::switch`.
            let epoch = epoch + 2 - epoch % 2;
            work.run(&self.queries.raise, (StorageMode::Mysql.as_str(), epoch, epoch)).await?;
        }
        Ok(())
    }

    /// Removes rows that say nothing any more: rooms without a live selection, locks that are over.
    async fn clean(&self, sheet: &Sheet) -> Result<(), Trouble> {
        if sheet.is_clean() {
            return Ok(());
        }
        let mut work = self.link.begin(self.link.until()).await?;
        for (room, value) in &sheet.over {
            // Only if it still says what was read.
            if work.run(&self.queries.delete_transient, (option_name(*room), value.clone())).await? > 0 {
                work.run(&self.queries.delete_options, (option_name(*room), timeout_name(*room))).await?;
            }
        }
        if sheet.dead_locks > 0 {
            work.run(&self.queries.delete_dead_locks, (sheet.now,)).await?;
        }
        work.commit().await
    }

    /// Says how the store is.
    fn note(&self, error: Option<StoreError>) {
        let before = *self.storage.borrow();
        *self.error.lock() = error.as_ref().map(ToString::to_string);
        let well = error.is_none() && self.tables_seen.load(Ordering::Acquire);
        let now = Storage { mode: StorageMode::Mysql, writable: well, flowing: well };
        let was_said = self.down_is_said.swap(error.is_some(), Ordering::Relaxed);
        if before != now {
            self.storage.send_replace(now);
        } else if error.is_none() || was_said {
            return;
        }
        match &error {
            Some(error) => {
                if self.alone {
                    self.picture.observe(Observation::StoreDown(StorageMode::Mysql));
                }
                tracing::warn!(event = "store_down", storage = "mysql", error = %error);
            }
            None => tracing::info!(event = "store_up", storage = "mysql"),
        }
        if before != now {
            self.picture.storage_changed(now);
        }
    }
}
