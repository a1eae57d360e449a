//! Losing a store without anybody noticing: which store decides, and how all gateways come to the same answer.
//! To the rest of the program it is one store; a request that met a failure is finished on the other one.

mod bookings;
mod carry;
mod conductor;
mod locks;
mod served;
mod switch;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{RwLock, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

pub(crate) use switch::{Peer, Record, Store};

use crate::booking::{BookError, Booking, NewBooking};
use crate::hold::{
    AddressTag, DeselectAsk, HoldError, LockAsk, Locked, Refusal, Releaser, Renewal, Renewed, SelectAsk,
    Selected,
};
use crate::mysql::MySqlStore;
use crate::picture::Picture;
use crate::redis::RedisStore;
use crate::slot::{ClientId, Slot};
use crate::store::{HoldStore, Storage, StorageMode, StoreError};
use conductor::{Conductor, Message};
use served::{SETTLING, Served};

/// How often a request is tried: on the store that fails, once more behind a probe, on the other, and once more should
/// the gateways change their minds meanwhile.
const TRIES: u32 = 4;
/// How long a request waits to hear who decides.
const PATIENCE: Duration = Duration::from_secs(8);
/// Carries out a request on the store that decides, again when that failed or another one does now.
macro_rules! on_deciding {
    ($self:ident, $store:ident => $request:expr) => {{
        let mut tries = 1;
        loop {
            let (mode, outcome) = {
                let _begun = $self.gate.read().await;
                let mode = $self.deciding();
                let $store = $self.store(mode);
                (mode, $request.await)
            };
            let error = outcome.as_ref().err().and_then(AsStoreError::store_error).cloned();
            match error {
                Some(error) if tries < TRIES && $self.met(mode, mode, &error).await => tries += 1,
                _ => break outcome,
            }
        }
    }};
}

/// Redis and MySQL as one store.
pub(crate) struct Failover {
    redis: Arc<RedisStore>,
    mysql: Arc<MySqlStore>,
    picture: Arc<Picture>,
    now: Mutex<Deciding>,
    /// Requests hold it shared, a change of store alone: what was begun on the one store ends before the other begins.
    gate: RwLock<()>,
    messages: mpsc::UnboundedSender<Message>,
    storage: watch::Sender<Storage>,
    served: Mutex<Served>,
    /// Locks whose rows are gone and whose copies could not be removed, by requests that are under way.
    given_back: Mutex<Vec<LockAsk>>,
    /// Locks copied while MySQL could not be asked.
    unproven: Mutex<HashSet<Slot>>,
    began: Instant,
    /// For requests that must not end half-way when whoever asked is gone.
    own: Weak<Failover>,
}

/// Which store decides, as far as this gateway knows.
#[derive(Debug, Clone, Copy)]
struct Deciding {
    record: Record,
    /// It takes writes.
    writable: bool,
    since: Option<Instant>,
}

impl Failover {
    /// Over two opened stores.
    pub(crate) fn open(
        redis: Arc<RedisStore>,
        mysql: Arc<MySqlStore>,
        picture: Arc<Picture>,
        tasks: &mut JoinSet<()>,
    ) -> Arc<Self> {
        let (messages, inbox) = mpsc::unbounded_channel();
        let conductor = Conductor::new();
        let deciding = Deciding { record: conductor.record(), writable: false, since: None };
        let storage = Storage { mode: deciding.record.mode.into(), writable: false, flowing: false };
        picture.decide(storage.mode);
        let now = Mutex::new(deciding);
        let storage = watch::Sender::new(storage);
        let store = Arc::new_cyclic(|own: &Weak<Failover>| Failover {
            redis,
            mysql,
            picture,
            now,
            gate: RwLock::new(()),
            messages,
            storage,
            served: Mutex::default(),
            given_back: Mutex::default(),
            unproven: Mutex::default(),
            began: Instant::now(),
            own: own.clone(),
        });
        let keeper: Weak<Failover> = Arc::downgrade(&store);
        store.redis.keep_locks_with(keeper);
        conductor.spawn(store.clone(), inbox, tasks);
        store
    }

    fn deciding(&self) -> Store {
        self.now.lock().record.mode
    }

    fn store(&self, store: Store) -> &dyn HoldStore {
        match store {
            Store::Redis => &*self.redis,
            Store::Mysql => &*self.mysql,
        }
    }

    /// A request failed on a store while `decided` decided. Waits until it is known who decides now; true if trying
    /// again is worthwhile.
    async fn met(&self, decided: Store, store: Store, error: &StoreError) -> bool {
        let (done, ended) = oneshot::channel();
        let message = match error {
            // The request's own fault, not the store's.
            StoreError::Strange(_) => return false,
            StoreError::Elsewhere => Message::Outdated { store, done },
            error => Message::Failed { store, failure: error.into(), done },
        };
        let told =
            self.messages.send(message).is_ok() && matches!(timeout(PATIENCE, ended).await, Ok(Ok(())));
        let now = *self.now.lock();
        if now.record.mode == decided && store == Store::Mysql && decided == Store::Redis {
            // Locks need it too: it may be well again.
            return self.mysql.record().await.is_ok();
        }
        told && (now.record.mode != decided || (store == decided && now.writable))
    }

    /// What was neither selected nor renewed since the last change of store and is not there, did not come over: it is
    /// put back. What is booked, is not.
    fn after_a_change(&self, renewals: &[Renewal]) -> Vec<Renewal> {
        let mut renewals = renewals.to_vec();
        if let Some(since) = self.now.lock().since.filter(|since| since.elapsed() < SETTLING) {
            let served = self.served.lock();
            for renewal in &mut renewals {
                renewal.put_back |= !served.is_held_since(&renewal.client, renewal.slot, since);
            }
        }
        renewals.iter_mut().for_each(|renewal| renewal.put_back &= !self.picture.is_booked(renewal.slot));
        renewals
    }

    /// Noted before a change of store may begin.
    async fn select_on(&self, store: &dyn HoldStore, ask: &SelectAsk) -> Result<Selected, HoldError> {
        let selected = store.select(ask.clone()).await?;
        if selected == Selected::Selection {
            self.served.lock().selected(&ask.client, ask.slot);
        }
        Ok(selected)
    }

    async fn deselect_on(&self, store: &dyn HoldStore, ask: &DeselectAsk) -> Result<(), HoldError> {
        store.deselect(ask.clone()).await?;
        if let Releaser::Client(client) = &ask.by {
            self.served.lock().gave_up(client, ask.slot);
        }
        Ok(())
    }

    /// Runs to its end even if whoever asked is gone: a lock or a booking is more than one step.
    async fn to_the_end<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        tokio::spawn(work).await.unwrap_or_else(|_| Err(StoreError::Away("shutting down".to_owned()).into()))
    }

    fn own(&self) -> Result<Arc<Failover>, StoreError> {
        self.own.upgrade().ok_or_else(|| StoreError::Away("shutting down".to_owned()))
    }
}

trait AsStoreError {
    fn store_error(&self) -> Option<&StoreError>;
}

impl AsStoreError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

impl AsStoreError for HoldError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            HoldError::Store(error) => Some(error),
            HoldError::Refused(_) => None,
        }
    }
}

#[async_trait]
impl HoldStore for Failover {
    async fn select(&self, ask: SelectAsk) -> Result<Selected, HoldError> {
        if self.picture.is_booked(ask.slot) {
            return Err(Refusal::SlotBooked.into());
        }
        on_deciding!(self, store => self.select_on(store, &ask))
    }

    async fn deselect(&self, ask: DeselectAsk) -> Result<(), HoldError> {
        on_deciding!(self, store => self.deselect_on(store, &ask))
    }

    async fn lock(&self, ask: LockAsk) -> Result<Locked, HoldError> {
        Self::to_the_end(self.own()?.lock_to_the_end(ask)).await
    }

    async fn unlock(&self, ask: LockAsk) -> Result<(), HoldError> {
        Self::to_the_end(self.own()?.unlock_to_the_end(ask)).await
    }

    async fn confirm(&self, ask: NewBooking) -> Result<Booking, BookError> {
        let booked = Self::to_the_end(self.own()?.confirm_to_the_end(ask.clone())).await;
        if booked.is_ok() {
            self.served.lock().gave_up(&ask.client, ask.slot);
        }
        booked
    }

    async fn renew(&self, renewals: Vec<Renewal>, ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        let renewed: Vec<Renewed> =
            on_deciding!(self, store => store.renew(self.after_a_change(&renewals), ttl))?;
        self.served.lock().renewed(&renewals, &renewed);
        Ok(renewed)
    }

    async fn shorten(&self, holders: Vec<(Slot, ClientId)>, ttl: Duration) -> Result<(), StoreError> {
        on_deciding!(self, store => store.shorten(holders.clone(), ttl))
    }

    fn look(&self, slots: &[Slot]) {
        self.store(self.deciding()).look(slots);
    }

    fn address_tag(&self, address: IpAddr) -> Option<AddressTag> {
        self.redis.address_tag(address).or_else(|| self.mysql.address_tag(address))
    }

    fn storage(&self) -> watch::Receiver<Storage> {
        self.storage.subscribe()
    }

    fn health(&self) -> serde_json::Value {
        let mut health = self.redis.health();
        if let (Some(all), serde_json::Value::Object(mysql)) = (health.as_object_mut(), self.mysql.health()) {
            all.extend(mysql);
            let now = *self.now.lock();
            let since_secs = now.since.map(|since| since.elapsed().as_secs());
            let mode = StorageMode::from(now.record.mode);
            all.insert(
                "failover".to_owned(),
                serde_json::json!({ "mode": mode, "epoch": now.record.epoch, "switched_secs_ago": since_secs }),
            );
        }
        health
    }
}
