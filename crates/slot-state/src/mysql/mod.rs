//! MySQL or MariaDB: the store that remembers. Selections stand in WordPress' transients, one row a room, locks in a
//! table of their own. What others change is found by sweeping: all holds of the site, in two statements.

mod agreement;
mod appointments;
mod binlog;
mod booked;
mod bookings;
mod catalogue;
mod examine;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod guard;
mod in_hand;
mod link;
mod locks;
mod migrate;
mod outbox;
mod php;
mod queries;
mod rooms;
mod schema;
mod settings;
mod sheet;
mod sweep;
mod tables;
mod transients;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use mysql_async::UrlError;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::booking::{BookError, Booking, NewBooking};
use crate::hold::{
    AddressTag, Chosen, DeselectAsk, HoldError, LockAsk, Locked, Refusal, Releaser, Renewal, Renewed,
    SelectAsk, Selected,
};
use crate::pen::Pen;
use crate::slot::{ClientId, Room, Slot};
use crate::store::{HoldStore, Storage, StorageMode, StoreError};
use appointments::{Known, possible_names};
use binlog::Following;
use booked::Unreadable;
use in_hand::Hands;
use link::Link;
pub use link::check_mysql_url;
use queries::Queries;
use rooms::Decided;
pub(crate) use settings::SiteSettings;
use sheet::{FirstSeen, Sheet};
use transients::{Ours, Stored};

pub(crate) use bookings::{BookFault, Booked};
pub use examine::{MySqlReport, examine_mysql};
pub(crate) use locks::Made;
pub use migrate::{ChangeOutcome, MigrateError, Migration, MigrationReport, TableChange, Warning, migrate};
pub use outbox::{Backlog, Outbox, Untold};

/// How to reach the database, and how to use it.
#[derive(Debug, Clone)]
pub struct MySqlConfig {
    /// `mysql://user:password@host:port/database`.
    pub url: String,
    /// What the site's tables begin with.
    pub table_prefix: String,
    /// Where bookings are; if not named, where AppointEase has them.
    pub appointments_table: Option<String>,
    /// The longest a request may take, all its statements together.
    pub command_timeout: Duration,
    /// How often others' changes are looked for.
    pub sweep_every: Duration,
}

/// Keeps holds in MySQL.
pub(crate) struct MySqlStore {
    link: Link,
    queries: Queries,
    picture: Pen,
    lock_ttl: Duration,
    alone: bool,
    /// Whether our tables are there has been looked at.
    tables_seen: AtomicBool,
    /// What they lack.
    tables_lack: RwLock<Option<String>>,
    sweep_every: Duration,
    /// Of its last sweep the log says that it failed.
    down_is_said: AtomicBool,
    /// This process' name in the rows it writes.
    gateway: String,
    /// The storage epoch believed in.
    epoch: AtomicU64,
    /// Numbers what this process learns, in order: see [`crate::event::Source`].
    seq: AtomicU64,
    hands: Hands,
    first_seen: FirstSeen,
    /// What the site's tables begin with.
    prefix: String,
    /// The names that the table of appointments may have, and what is known of it.
    appointments_names: [String; 2],
    appointments: Known,
    following: Following,
    unreadable: Unreadable,
    /// The site's: of the year in a booking's name.
    zone: RwLock<TimeZone>,
    salt: Mutex<Option<String>>,
    storage: watch::Sender<Storage>,
    error: Mutex<Option<String>>,
    /// Rooms to be looked at before the next sweep.
    due: Mutex<BTreeSet<Slot>>,
    look: Notify,
    /// One sweep at a time, and none while holds come over.
    sweeping: tokio::sync::Mutex<()>,
    /// A booking was made here.
    outbox_grew: Notify,
}

impl MySqlStore {
    /// Opens the store; one that is away does not stop this. `alone`: there is no Redis to step in for. An error says
    /// what is wrong with the address.
    pub(crate) fn open(
        config: &MySqlConfig,
        alone: bool,
        picture: Pen,
        lock_ttl: Duration,
        zone: TimeZone,
        tasks: &mut JoinSet<()>,
    ) -> Result<Arc<Self>, UrlError> {
        let storage = Storage { mode: StorageMode::Mysql, writable: false, flowing: false };
        let store = Arc::new(MySqlStore {
            link: Link::new(&config.url, config.command_timeout)?,
            queries: Queries::new(&config.table_prefix),
            picture,
            lock_ttl,
            alone,
            tables_seen: AtomicBool::new(false),
            tables_lack: RwLock::default(),
            sweep_every: config.sweep_every,
            down_is_said: AtomicBool::new(false),
            gateway: format!("{:016x}", rand::random::<u64>()),
            epoch: AtomicU64::new(0),
            seq: AtomicU64::new(1),
            hands: Hands::default(),
            first_seen: FirstSeen::default(),
            prefix: config.table_prefix.clone(),
            appointments_names: possible_names(&config.table_prefix, config.appointments_table.as_deref()),
            appointments: Known::default(),
            following: Following::default(),
            unreadable: Unreadable::default(),
            zone: RwLock::new(zone),
            salt: Mutex::default(),
            storage: watch::Sender::new(storage),
            error: Mutex::default(),
            due: Mutex::default(),
            look: Notify::new(),
            sweeping: tokio::sync::Mutex::default(),
            outbox_grew: Notify::new(),
        });
        let migration = migrate::Migration {
            url: config.url.clone(),
            table_prefix: config.table_prefix.clone(),
            appointments_table: config.appointments_table.clone(),
            guard_bookings: false,
        };
        tasks.spawn(store.clone().keep_tables(migration));
        tasks.spawn(store.clone().keep_appointments_known());
        tasks.spawn(store.clone().keep_idempotency());
        tasks.spawn(store.clone().keep_sweeping());
        tasks.spawn(store.clone().keep_following());
        Ok(store)
    }

    fn tag(&self, address: Option<IpAddr>) -> Option<AddressTag> {
        address.and_then(|address| self.address_tag(address))
    }

    /// A selection as this process writes it.
    fn written(
        &self,
        sheet: &Sheet,
        client: ClientId,
        ttl: Duration,
        (chosen, address): (Chosen, Option<AddressTag>),
        since: Option<i64>,
    ) -> Stored {
        let seconds = sheet.now / 1000;
        let ours = Ours {
            expires_at: sheet.now + i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2),
            chosen,
            address,
            gateway: self.gateway.clone(),
            epoch: self.epoch.load(Ordering::Relaxed),
        };
        Stored::new(client, seconds, since.unwrap_or(seconds), ours)
    }

    /// After an error nobody knows whether the request was carried out: look.
    fn uncertain(&self, slot: Slot, error: StoreError) -> HoldError {
        self.look(&[slot]);
        error.into()
    }
}

/// What a renewal finds.
fn renew_one(store: &MySqlStore, sheet: &mut Sheet, renewal: &Renewal, ttl: Duration) -> Renewed {
    let slot = renewal.slot;
    let explicit =
        |stored: &Stored| stored.ours.as_ref().is_some_and(|ours| ours.chosen == Chosen::Explicitly);
    let others = sheet.others(slot, &renewal.client);
    match sheet.selection(slot).cloned() {
        Some(held) if held.client == renewal.client => {
            let Some(ours) = &held.ours else { return Renewed::Kept };
            let newer = others.iter().filter_map(|other| sheet.selection(*other));
            if newer.into_iter().any(|other| explicit(other) && other.since > held.since) {
                sheet.remove(slot);
                return Renewed::Superseded;
            }
            let how = (ours.chosen, ours.address);
            let Stored { timestamp, ours, .. } = store.written(sheet, held.client.clone(), ttl, how, None);
            let mut kept = held;
            (kept.timestamp, kept.ours) = (timestamp, ours);
            sheet.put(slot, kept);
            Renewed::Kept
        }
        None if sheet.locks.contains_key(&slot) || store.picture.is_booked(slot) => Renewed::Lost,
        None if !others.is_empty() => Renewed::Superseded,
        None if renewal.put_back => {
            let how = (Chosen::Explicitly, store.tag(renewal.address));
            sheet.put(slot, store.written(sheet, renewal.client.clone(), ttl, how, None));
            Renewed::PutBack
        }
        _ => Renewed::Lost,
    }
}

#[async_trait]
impl HoldStore for MySqlStore {
    async fn select(&self, ask: SelectAsk) -> Result<Selected, HoldError> {
        let SelectAsk { slot, client, chosen, .. } = &ask;
        if self.picture.is_booked(*slot) {
            return Err(Refusal::SlotBooked.into());
        }
        let address = self.tag(ask.address);
        let decide = |sheet: &mut Sheet| {
            if let Some(lock) = sheet.locks.get(slot) {
                return if lock.client == *client {
                    Decided::leave(Ok(Selected::OwnLock))
                } else {
                    Decided::leave(Err(Refusal::SlotLocked))
                };
            }
            let held = sheet.selection(*slot).cloned();
            if held.as_ref().is_some_and(|held| held.client != *client) {
                return Decided::leave(Err(Refusal::SlotLocked));
            }
            let others = sheet.others(*slot, client);
            let by_hand = |other: &Slot| {
                let ours = sheet.selection(*other).and_then(|stored| stored.ours.as_ref());
                ours.is_some_and(|ours| ours.chosen == Chosen::Explicitly)
            };
            // A poll may not know of a newer choice on another gateway; it ends none.
            if *chosen == Chosen::ByPoll && others.iter().any(by_hand) {
                return Decided::leave(Err(Refusal::SlotLocked));
            }
            others.iter().for_each(|other| sheet.remove(*other));
            let since = held.map(|held| held.since);
            sheet.put(*slot, self.written(sheet, client.clone(), ask.ttl, (*chosen, address), since));
            Decided::giving_up(Ok(Selected::Selection), others.into_iter().collect())
        };
        let outcome = self.change(&[slot.room], ask.actor, decide).await;
        Ok(outcome.map_err(|error| self.uncertain(*slot, error))??)
    }

    async fn deselect(&self, ask: DeselectAsk) -> Result<(), HoldError> {
        let slot = ask.slot;
        let from = match &ask.by {
            Releaser::Address(address) => self.tag(*address),
            Releaser::Client(_) => None,
        };
        let decide = |sheet: &mut Sheet| {
            let mine = sheet.selection(slot).map(|held| match (&ask.by, &held.ours) {
                (Releaser::Client(client), _) => held.client == *client,
                (Releaser::Address(_), None) => true,
                (Releaser::Address(_), Some(ours)) => from.is_some() && ours.address == from,
            });
            let locked = sheet.locks.get(&slot);
            let own_lock =
                locked.map(|lock| matches!(&ask.by, Releaser::Client(client) if lock.client == *client));
            match (mine, own_lock) {
                (Some(true), _) => {
                    sheet.remove(slot);
                    Decided::giving_up(Ok(()), vec![slot])
                }
                (None, None) | (_, Some(true)) => Decided::leave(Ok(())),
                _ => Decided::leave(Err(Refusal::NotOwner)),
            }
        };
        let outcome = self.change(&[slot.room], ask.actor, decide).await;
        Ok(outcome.map_err(|error| self.uncertain(slot, error))??)
    }

    async fn lock(&self, ask: LockAsk) -> Result<Locked, HoldError> {
        self.grant(&ask, true, &mut None).await.map(|(locked, _)| locked)
    }

    async fn unlock(&self, ask: LockAsk) -> Result<(), HoldError> {
        self.release(&ask).await
    }

    async fn confirm(&self, ask: NewBooking) -> Result<Booking, BookError> {
        self.book_for_sure(&ask).await
    }

    async fn renew(&self, renewals: Vec<Renewal>, ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        let rooms: BTreeSet<Room> = renewals.iter().map(|renewal| renewal.slot.room).collect();
        let rooms: Vec<Room> = rooms.into_iter().collect();
        let decide = |sheet: &mut Sheet| {
            let outcomes: Vec<Renewed> =
                renewals.iter().map(|renewal| renew_one(self, sheet, renewal, ttl)).collect();
            let superseded = renewals.iter().zip(&outcomes).filter(|(_, out)| **out == Renewed::Superseded);
            let given_up = superseded.map(|(renewal, _)| renewal.slot).collect();
            Decided::giving_up(outcomes, given_up)
        };
        let renewed = self.change(&rooms, None, decide).await;
        renewed.inspect_err(|_| self.look(&renewals.iter().map(|renewal| renewal.slot).collect::<Vec<_>>()))
    }

    async fn shorten(&self, holders: Vec<(Slot, ClientId)>, ttl: Duration) -> Result<(), StoreError> {
        let rooms: BTreeSet<Room> = holders.iter().map(|(slot, _)| slot.room).collect();
        let rooms: Vec<Room> = rooms.into_iter().collect();
        let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2);
        let decide = |sheet: &mut Sheet| {
            for (slot, client) in &holders {
                let Some(mut held) = sheet.selection(*slot).cloned() else { continue };
                let latest = sheet.now + ttl;
                // Only what this gateway was the last to renew: its client may be back on another one already.
                if held.client == *client
                    && let Some(ours) = &mut held.ours
                    && ours.gateway == self.gateway
                    && ours.expires_at > latest
                {
                    ours.expires_at = latest;
                    sheet.put(*slot, held);
                }
            }
            Decided::leave(())
        };
        self.change(&rooms, None, decide).await
    }

    fn look(&self, slots: &[Slot]) {
        if !slots.is_empty() {
            self.due.lock().extend(slots);
            self.look.notify_one();
        }
    }

    fn address_tag(&self, address: IpAddr) -> Option<AddressTag> {
        AddressTag::of(address, self.salt.lock().as_deref()?)
    }

    fn storage(&self) -> watch::Receiver<Storage> {
        self.storage.subscribe()
    }

    fn health(&self) -> serde_json::Value {
        let error = self.error.lock().clone();
        let is_swept = self.picture.is_decided_by(StorageMode::Mysql) && self.storage.borrow().flowing;
        serde_json::json!({ "mysql": {
            "status": if error.is_none() && self.tables_seen.load(Ordering::Relaxed) { "ok" } else { "away" },
            "events": if is_swept { "swept" } else { "not_swept" },
            "error": error,
            "tables_lack": *self.tables_lack.read(),
            "bookings": self.bookings_health(),
        }})
    }
}
