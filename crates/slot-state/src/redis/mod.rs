//! The Redis store: every change one atomic script, changes by others by notification, one picture of all holds.
//! WordPress' plugin writes the same keys at any moment; its writes are seen, read and shown like our own.

mod agreement;
mod availability;
mod bookings;
mod carry;
mod events;
mod examine;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hints;
mod keys;
mod link;
mod locks;
mod reader;
mod reading;
mod renewals;
mod replaced;
#[cfg(test)]
mod rig;
mod scan;
mod scripts;
mod supervise;
mod value;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::RedisError;
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::events::Listener;
use self::hints::Hint;
use self::link::Link;
use self::reader::Reader;
use self::reading::Readings;
use self::replaced::Replaced;
use self::scripts::Scripts;
use self::supervise::{FeedState, Supervisor};
use self::value::{Reply, chosen_word, parse_tag};
use crate::booking::{BookError, BookRefusal, Booking, NewBooking};
use crate::event::{Absence, Change, SlotFact, Source};
use crate::hold::{
    ActorId, AddressTag, DeselectAsk, HoldError, LockAsk, Locked, Refusal, Releaser, Renewal, Renewed,
    SelectAsk, Selected, Selection, Writer,
};
use crate::pen::Pen;
use crate::slot::{ClientId, Slot};
use crate::store::{HoldStore, Storage, StorageMode, StoreError};

pub use self::events::Feed;
pub use self::examine::{NotifyFlags, RedisReport, RedisTrouble, examine_redis};

/// Knows locks of which Redis has copies only.
#[async_trait]
pub(crate) trait LockKeeper: Send + Sync {
    /// Copies the locks on these slots to Redis again; true if there was one. `is_emptied`: they went with everything
    /// else that was in Redis.
    async fn put_back(&self, slots: &[Slot], is_emptied: bool) -> bool;
}

/// How to reach Redis, and how patient to be.
#[derive(Debug, Clone)]
pub(crate) struct RedisConfig {
    /// `redis://[user:password@]host:port/db`.
    pub(crate) url: String,
    /// The longest any command may take, waiting for a reconnect included.
    pub(crate) command_timeout: Duration,
    /// How long a lock lasts.
    pub(crate) lock_ttl: Duration,
}

/// Keeps holds in Redis.
pub(crate) struct RedisStore {
    scripts: Arc<Scripts>,
    reader: Arc<Reader>,
    picture: Pen,
    lock_ttl: Duration,
    storage: watch::Sender<Storage>,
    salt: Mutex<Option<String>>,
    feed: FeedState,
    readings: Readings,
}

impl RedisStore {
    /// A store that connects and stays connected by the tasks it adds to `tasks`. Errors on a URL that is none.
    pub(crate) fn open(
        config: &RedisConfig,
        picture: Pen,
        tasks: &mut JoinSet<()>,
    ) -> Result<Arc<Self>, RedisError> {
        let replaced = Arc::new(Replaced::default());
        let link = Link::new(link::client(&config.url, false)?, config.command_timeout, replaced.clone());
        let events = link::client(&config.url, true)?;
        let scripts = Scripts::new(link.clone(), replaced, picture.clone());
        let reader = Reader::new(scripts.clone(), picture.clone());
        let listener = Listener {
            reader: reader.clone(),
            picture: picture.clone(),
            gateway: scripts.gateway.clone(),
            probes_seen: 0.into(),
            probes_notified: 0.into(),
            probe_seen_at: Mutex::new(Instant::now()),
        };
        let storage = Storage { mode: StorageMode::Redis, writable: false, flowing: false };
        let store = Arc::new(RedisStore {
            scripts,
            reader: reader.clone(),
            picture,
            lock_ttl: config.lock_ttl,
            storage: watch::Sender::new(storage),
            salt: Mutex::default(),
            feed: FeedState::default(),
            readings: Readings::default(),
        });
        tasks.spawn(link.run());
        tasks.spawn(reader.run());
        let supervisor = Supervisor::new(store.clone(), events, listener, config.command_timeout);
        supervisor.spawn(tasks);
        Ok(store)
    }

    /// Tells the picture what a command made of one slot and of those that ended with it.
    fn tell(&self, seq: u64, facts: SmallVec<[SlotFact; 2]>, slot: Slot, actor: Option<ActorId>) {
        let told: SmallVec<[Slot; 2]> = facts.iter().map(|fact| slot.room.slot(fact.time)).collect();
        self.picture.apply(Change { room: slot.room, seq, source: Source::Command, actor, facts });
        told.into_iter().for_each(|slot| self.reader.answered(slot, seq));
    }

    fn tag(&self, address: Option<IpAddr>) -> String {
        address.and_then(|address| self.address_tag(address)).map(|tag| tag.to_string()).unwrap_or_default()
    }

    /// After an error nobody knows whether the request was carried out: look.
    fn uncertain(&self, slot: Slot, error: StoreError) -> HoldError {
        self.look(&[slot]);
        error.into()
    }

    /// A refusal that does not fit the picture says that the picture missed something.
    fn refused(&self, slot: Slot, word: &str) -> HoldError {
        let shown = self.picture.selection(slot).is_some() || self.picture.lock(slot).is_some();
        if shown != matches!(word, "slot_locked" | "not_owner") {
            self.look(&[slot]);
        }
        refusal(word)
    }

    /// A selection in the picture that a command did not find.
    fn look_if_selected(&self, slot: Slot) {
        if self.picture.selection(slot).is_some() {
            self.look(&[slot]);
        }
    }

    /// Whether the picture has nothing there but a selection of this client's.
    fn shows_free_but_for(&self, slot: Slot, client: &ClientId) -> bool {
        let selection = self.picture.selection(slot);
        selection.is_some_and(|held| held.client == *client) && self.picture.lock(slot).is_none()
    }

    /// A foreign hold stands beside the one a command changed: only a look knows all of the slot.
    async fn look_after(&self, slot: Slot, actor: Option<ActorId>) -> Result<(), HoldError> {
        self.reader
            .look_after(slot, Absence::ByHolder, actor)
            .await
            .map_err(|error| self.uncertain(slot, error))
    }

    async fn run(
        &self,
        script: &redis::Script,
        slot: Slot,
        keys: &[String],
        args: &[&str],
    ) -> Result<Reply, HoldError> {
        self.scripts.call(script, keys, args).await.map_err(|error| self.uncertain(slot, error))
    }
}

/// The fact that a slot holds nothing any more, by its holder's act.
fn empty(slot: Slot) -> SlotFact {
    SlotFact { time: slot.time, selection: None, lock: None, absence: Absence::ByHolder }
}

fn refusal(word: &str) -> HoldError {
    match word {
        "slot_locked" => Refusal::SlotLocked.into(),
        "not_owner" => Refusal::NotOwner.into(),
        "lock_lost" => Refusal::LockLost.into(),
        "too_many_holds" => Refusal::TooManyHolds.into(),
        other => StoreError::Strange(format!("a script said {other:?}")).into(),
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}

#[async_trait]
impl HoldStore for RedisStore {
    async fn select(&self, ask: SelectAsk) -> Result<Selected, HoldError> {
        let SelectAsk { slot, client, .. } = &ask;
        let spelled = keys::Spelled::new(*slot);
        let keys = [spelled.active(), spelled.lock(), spelled.user(client)];
        let (time, room, ttl) = (spelled.time(), spelled.room(), millis(ask.ttl));
        let (chosen, address) = (chosen_word(ask.chosen), self.tag(ask.address));
        let known = self.picture.slots_of(client);
        let others: Vec<String> = known
            .iter()
            .filter(|other| other.room == slot.room && other.time != slot.time)
            .map(|other| other.time.to_string())
            .collect();
        let mut args = vec![client.as_str(), time, room, keys::ACTIVE, keys::LOCK, &ttl, chosen, &address];
        args.extend(others.iter().map(String::as_str));
        let _under_way = self.reader.command(slot.room);
        let reply = self.run(&self.scripts.sources.select, *slot, &keys, &args).await?;
        match reply.word.as_str() {
            "own_lock" => {
                // Its end and fence are asked of the picture next.
                if self.picture.lock(*slot).is_none() {
                    let looked = Box::pin(self.reader.look_after(*slot, Absence::Unknown, ask.actor)).await;
                    looked.map_err(|error| self.uncertain(*slot, error))?;
                }
                return Ok(Selected::OwnLock);
            }
            "ok" => {}
            other => return Err(self.refused(*slot, other)),
        }
        let seq = reply.seq;
        let named = reply.remaining()?;
        let ended =
            named.iter().filter_map(|suffix| keys::parse_suffix(suffix)).filter(|ended| ended != slot);
        let mut facts: SmallVec<[SlotFact; 2]> = ended.map(empty).collect();
        let doubtful: SmallVec<[Slot; 2]> = known
            .into_iter()
            .filter(|other| other.room == slot.room && other.time != slot.time)
            .filter(|other| facts.iter().all(|fact| fact.time != other.time))
            .collect();
        if self.scripts.replaced.pending() {
            // They went with the store, unnoticed: their holder gives them up all the same.
            facts.extend(
                doubtful.iter().filter(|other| self.shows_free_but_for(**other, client)).copied().map(empty),
            );
        }
        let writer = Writer::Gateway { chosen: ask.chosen, address: parse_tag(&address) };
        let selection = Selection { client: client.clone(), deadline: Instant::now() + ask.ttl, writer };
        // If the slot had another holder in the picture, that one's time had passed.
        let absence = Absence::Unknown;
        facts.push(SlotFact { time: slot.time, selection: Some(selection), lock: None, absence });
        self.tell(seq, facts, *slot, ask.actor);
        // The picture had them as this client's, but they were not, or have a foreign lock beside.
        self.look(&doubtful);
        Ok(Selected::Selection)
    }

    async fn deselect(&self, ask: DeselectAsk) -> Result<(), HoldError> {
        let slot = ask.slot;
        let keys = [keys::active(slot), keys::lock(slot)];
        let (time, room, user) =
            (slot.time.to_string(), keys::room_suffix(slot.room), keys::user_suffix(slot.room));
        let (client, address) = match &ask.by {
            Releaser::Client(client) => (client.as_str(), String::new()),
            Releaser::Address(address) => ("", self.tag(*address)),
        };
        let args = [client, &time, &room, keys::USER, &user, &address];
        let _under_way = self.reader.command(slot.room);
        let reply = self.run(&self.scripts.sources.deselect, slot, &keys, &args).await?;
        match reply.word.as_str() {
            "ok" => self.tell(reply.seq, SmallVec::from_iter([empty(slot)]), slot, ask.actor),
            "look" => self.look_after(slot, ask.actor).await?,
            "own_lock" => self.look_if_selected(slot),
            "nothing" => {
                if let (Some(held), Releaser::Client(client)) = (self.picture.selection(slot), &ask.by)
                    && held.client == *client
                {
                    // It went with the store, unnoticed: its holder gives it up all the same.
                    let fact = SlotFact { lock: self.picture.lock(slot), ..empty(slot) };
                    let (room, seq, actor) = (slot.room, reply.seq, ask.actor);
                    let facts = SmallVec::from_iter([fact]);
                    self.picture.apply(Change { room, seq, source: Source::Command, actor, facts });
                }
                self.look_if_selected(slot);
            }
            other => return Err(self.refused(slot, other)),
        }
        Ok(())
    }

    async fn lock(&self, ask: LockAsk) -> Result<Locked, HoldError> {
        self.grant(&ask, None).await
    }

    async fn unlock(&self, ask: LockAsk) -> Result<(), HoldError> {
        self.release(&ask, None).await
    }

    async fn confirm(&self, _: NewBooking) -> Result<Booking, BookError> {
        Err(BookRefusal::NoDatabase.into())
    }

    async fn renew(&self, renewals: Vec<Renewal>, ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        self.renew_all(&renewals, ttl).await
    }

    async fn shorten(&self, holders: Vec<(Slot, ClientId)>, ttl: Duration) -> Result<(), StoreError> {
        let keys: Vec<String> = holders
            .iter()
            .flat_map(|(slot, client)| [keys::active(*slot), keys::user(client, slot.room)])
            .collect();
        let suffixes: Vec<String> = holders.iter().map(|(slot, _)| keys::suffix(*slot)).collect();
        let ttl = millis(ttl);
        let mut args = vec![ttl.as_str()];
        holders
            .iter()
            .zip(&suffixes)
            .for_each(|((_, client), suffix)| args.extend([client.as_str(), suffix]));
        let shortened = self.scripts.call(&self.scripts.sources.shorten, &keys, &args).await;
        self.look(&holders.iter().map(|(slot, _)| *slot).collect::<Vec<_>>());
        shortened.map(drop)
    }

    fn look(&self, slots: &[Slot]) {
        slots.iter().for_each(|slot| self.reader.hint(*slot, Hint::new(Absence::Unknown)));
        self.reader.follow();
    }

    fn address_tag(&self, address: IpAddr) -> Option<AddressTag> {
        AddressTag::of(address, self.salt.lock().as_deref()?)
    }

    fn storage(&self) -> watch::Receiver<Storage> {
        self.storage.subscribe()
    }

    fn health(&self) -> serde_json::Value {
        let (storage, error) = (*self.storage.borrow(), self.feed.last_error());
        let status = match &error {
            _ if storage.writable => "ok",
            Some(StoreError::Elsewhere) => "standby",
            _ => "away",
        };
        serde_json::json!({ "redis": {
            "status": status,
            "events": if storage.flowing { "flowing" } else { "not_flowing" },
            "feed": self.feed.current().as_str(),
            "storage_epoch": self.scripts.epoch(),
            "error": error.map(|error| error.to_string()),
        }})
    }
}
