//! What the gateways agree on, as it stands in the database: which store decides, and who is alive to see it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mysql_async::{Params, Row};
use tokio::time::Instant;

use super::MySqlStore;
use super::link::{Trouble, Work, take};
use super::queries::room_params;
use super::rooms::Decided;
use super::sheet::Sheet;
use crate::event::Absence;
use crate::failover::{Peer, Record, Store};
use crate::hold::{Carried, Handover, Lock, Selection, Writer};
use crate::slot::{ClientId, Room, Slot};
use crate::store::{StorageMode, StoreError};

/// A gateway that has not been seen for so long is not waited for.
const ALIVE_WITHIN_MS: u64 = 2_000;
/// Nor remembered after so long.
const FORGET_AFTER_MS: u64 = 3_600_000;
/// The longest a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Rooms carried in one transaction.
const CARRY_ROOMS: usize = 32;

impl MySqlStore {
    /// Shows that this gateway is alive, proves thereby that writes are taken, and reads what the others wrote.
    pub(crate) async fn probe(
        &self,
        name: &str,
        redis_healthy_for: Option<Duration>,
    ) -> Result<(Record, Vec<Peer>), StoreError> {
        let until = Instant::now() + PROBE_TIMEOUT.min(self.link.deadline());
        let answer = async {
            let mut work = self.link.begin(until).await?;
            let now = self.now(&mut work).await?.unsigned_abs();
            let since = redis_healthy_for.map(|healthy| now.saturating_sub(healthy.as_millis() as u64));
            work.run(&self.queries.beat, (name, now, since, env!("CARGO_PKG_VERSION"))).await?;
            let record = self.read_record(&mut work).await?;
            let rows = work.rows(&self.queries.gateways, ()).await?;
            let peers: Result<Vec<(Peer, u64)>, Trouble> =
                rows.into_iter().map(|row| peer(row, now)).collect();
            let peers = peers?;
            if peers.iter().any(|(_, silent)| *silent > FORGET_AFTER_MS) {
                work.run(&self.queries.forget_gateways, (now.saturating_sub(FORGET_AFTER_MS),)).await?;
            }
            work.commit().await?;
            Ok((record, peers.into_iter().map(|(peer, _)| peer).collect()))
        };
        let answer: Result<_, StoreError> = answer.await.map_err(|trouble: Trouble| trouble.into());
        *self.error.lock() = answer.as_ref().err().map(ToString::to_string);
        answer
    }

    /// What is agreed on.
    pub(crate) async fn record(&self) -> Result<Record, StoreError> {
        let until = Instant::now() + PROBE_TIMEOUT.min(self.link.deadline());
        let answer = async {
            let mut work = self.link.begin(until).await?;
            let record = self.read_record(&mut work).await?;
            work.commit().await?;
            Ok(record)
        };
        answer.await.map_err(|trouble: Trouble| trouble.into())
    }

    async fn read_record(&self, work: &mut Work) -> Result<Record, Trouble> {
        let Some(mut row) = work.row(&self.queries.agreement_now, ()).await? else {
            return Err(Trouble::no_table("the storage table is empty"));
        };
        let (mode, epoch): (String, u64) = (take(&mut row, 0)?, take(&mut row, 1)?);
        Ok(Record { epoch, mode: if mode == "mysql" { Store::Mysql } else { Store::Redis } })
    }

    /// Writes this record, if a lower one is there; else answers what is.
    pub(crate) async fn raise(&self, record: Record) -> Result<Result<(), Record>, StoreError> {
        let answer = async {
            let mut work = self.link.begin(self.link.until()).await?;
            let mode = crate::store::StorageMode::from(record.mode).as_str();
            let raised = work.run(&self.queries.raise, (mode, record.epoch, record.epoch)).await?;
            let there = self.read_record(&mut work).await?;
            work.commit().await?;
            Ok(if raised > 0 { Ok(()) } else { Err(there) })
        };
        answer.await.map_err(|trouble: Trouble| trouble.into())
    }

    /// The salt of address tags is that of Redis, where both are used.
    pub(crate) async fn take_salt(&self, salt: &str) -> Result<(), StoreError> {
        if self.salt.lock().as_deref() == Some(salt) {
            return Ok(());
        }
        let answer = async {
            let mut work = self.link.begin(self.link.until()).await?;
            work.run(&self.queries.take_salt, (salt,)).await?;
            work.commit().await
        };
        answer.await.map_err(StoreError::from)?;
        *self.salt.lock() = Some(salt.to_owned());
        Ok(())
    }

    /// Everything that is held.
    pub(crate) async fn holds(&self) -> Result<Carried, StoreError> {
        let sheet = self.read_all().await.map_err(|trouble| self.failed(trouble))?;
        let mut carried = Carried::default();
        let rooms: Vec<Room> = sheet.rooms.keys().copied().collect();
        for room in rooms {
            for time in sheet.rooms.get(&room).into_iter().flat_map(|selections| selections.entries.keys()) {
                let slot = room.slot(*time);
                let selection = sheet.fact(slot, Absence::Unknown).selection;
                carried.selections.extend(selection.map(|selection| (slot, selection)));
            }
        }
        for slot in sheet.locks.keys() {
            let lock = sheet.fact(*slot, Absence::Unknown).lock;
            carried.locks.extend(lock.map(|lock| (*slot, lock)));
        }
        Ok(carried)
    }

    /// The locks on these slots; all of the site's where none are named.
    pub(crate) async fn locks(&self, slots: Option<&[Slot]>) -> Result<Vec<(Slot, Lock)>, StoreError> {
        let answer = async {
            let mut work = self.link.begin(self.link.until()).await?;
            let now = self.now(&mut work).await?;
            let rows = match slots {
                None => work.rows(&self.queries.all_locks, ()).await?,
                Some(slots) => {
                    let rooms = slots.iter().flat_map(|slot| room_params(slot.room)).collect();
                    work.rows(&self.queries.locks_in(slots.len()), Params::Positional(rooms)).await?
                }
            };
            let sheet = self.sheet(now, Vec::new(), rows)?;
            if sheet.dead_locks > 0 {
                work.run(&self.queries.delete_dead_locks, (now,)).await?;
            }
            work.commit().await?;
            Ok(sheet)
        };
        let sheet = answer.await.map_err(|trouble| self.failed(trouble))?;
        let wanted = |slot: &&Slot| slots.is_none_or(|slots| slots.contains(slot));
        let lock = |slot: &Slot| Some((*slot, sheet.fact(*slot, Absence::Unknown).lock?));
        Ok(sheet.locks.keys().filter(wanted).filter_map(lock).collect())
    }

    /// Begins to decide: what stood here from an earlier time is removed, what is held elsewhere is put where nobody has
    /// anything, for the time it has left, and the picture is told all.
    pub(crate) async fn take_over(&self, handover: &Handover) -> Result<(), StoreError> {
        // A sweep would tell of what has not come over yet.
        let _no_sweep = self.sweeping.lock().await;
        self.picture.decide(StorageMode::Mysql);
        handover.given_back.iter().for_each(|given| self.picture.give_up_lock(given));
        let carried = self.carry(handover).await;
        carried.and(self.read_everything().await)
    }

    async fn carry(&self, handover: &Handover) -> Result<(), StoreError> {
        let sheet = self.read_all().await.map_err(|trouble| self.failed(trouble))?;
        let epoch = self.epoch.load(Ordering::Relaxed);
        let mut by_room: BTreeMap<Room, Vec<_>> = BTreeMap::new();
        for held in handover.ours.iter().chain(&handover.others) {
            by_room.entry(held.0.room).or_default().push(held);
        }
        let older = sheet.rooms.iter().filter(|(_, room)| room.is_older(epoch));
        older.for_each(|(room, _)| _ = by_room.entry(*room).or_default());
        let rooms: Vec<Room> = by_room.keys().copied().collect();
        for some in rooms.chunks(CARRY_ROOMS) {
            let decide = |sheet: &mut Sheet| {
                for room in some {
                    sheet.drop_older(*room, epoch);
                    for (slot, selection) in by_room.get(room).into_iter().flatten() {
                        self.put_carried(sheet, *slot, selection, &handover.given_up);
                    }
                }
                // What is not here did not come over; nobody took it away.
                Decided { absence: Absence::WithStore, ..Decided::leave(()) }
            };
            self.change(some, None, decide).await?;
        }
        Ok(())
    }

    /// How long a lock lasts.
    pub(crate) fn lock_ttl(&self) -> Duration {
        self.lock_ttl
    }

    fn put_carried(
        &self,
        sheet: &mut Sheet,
        slot: Slot,
        selection: &Selection,
        given_up: &HashSet<(Slot, ClientId)>,
    ) {
        let left = selection.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || sheet.locks.contains_key(&slot) {
            return;
        }
        if let Some(mut held) = sheet.selection(slot).cloned() {
            // Another gateway carried it before, which did not know of its last renewals.
            let ends = sheet.now + i64::try_from(left.as_millis()).unwrap_or(i64::MAX / 2);
            if held.client == selection.client
                && let Some(ours) = &mut held.ours
                && ours.expires_at < ends
            {
                ours.expires_at = ends;
                sheet.put(slot, held);
            }
            return;
        }
        for other in sheet.others(slot, &selection.client) {
            if !given_up.contains(&(other, selection.client.clone())) {
                // A client that chose again since then has another selection here.
                return;
            }
            // Another gateway carried it, which did not know.
            sheet.remove(other);
        }
        let how = match selection.writer {
            Writer::Gateway { chosen, address } => (chosen, address),
            Writer::Php => (crate::hold::Chosen::Explicitly, None),
        };
        sheet.put(slot, self.written(sheet, selection.client.clone(), left, how, None));
    }
}

fn peer(mut row: Row, now: u64) -> Result<(Peer, u64), Trouble> {
    let (name, alive): (String, u64) = (take(&mut row, 0)?, take(&mut row, 1)?);
    let since: Option<u64> = take(&mut row, 2)?;
    // A row from the future was written before the clock was set back.
    let silent = now.abs_diff(alive);
    let redis_healthy_for = since.map(|since| Duration::from_millis(now.saturating_sub(since)));
    Ok((Peer { name, alive: silent < ALIVE_WITHIN_MS, redis_healthy_for }, silent))
}
