//! Feeds the switch with what happens and does what it says, one thing after another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Failover;
use super::switch::{Configured, Failure, Input, Output, Peer, Raise, Record, Store, Switch};
use crate::event::Observation;
use crate::store::{HoldStore, Storage, StorageMode, StoreError};

/// How often each store is asked whether it is well, and what it knows of the agreement.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How often MySQL's locks are compared with their copies in Redis.
const COMPARE_LOCKS_EVERY: Duration = Duration::from_secs(2);

/// What the conductor hears.
pub(super) enum Message {
    /// A request failed on a store; it waits for `done` and tries again.
    Failed { store: Store, failure: Failure, done: oneshot::Sender<()> },
    /// A store refused a request since another one decides.
    Outdated { store: Store, done: oneshot::Sender<()> },
    /// A probe ended.
    Seen { store: Store, record: Option<Record> },
    /// The gateways table was read.
    Peers(Vec<Peer>),
    /// All is copied to Redis, or not.
    CarriedBack(bool),
    /// A store is in another state than before.
    Changed,
}

/// Owns the switch.
pub(super) struct Conductor {
    name: String,
    switch: Switch,
}

impl Conductor {
    pub(super) fn new() -> Self {
        let name = format!("{:016x}", rand::random::<u64>());
        let switch = Switch::new(name.clone(), Configured { redis: true, mysql: true });
        Conductor { name, switch }
    }

    pub(super) fn record(&self) -> Record {
        self.switch.record()
    }

    pub(super) fn spawn(
        self,
        store: Arc<Failover>,
        inbox: mpsc::UnboundedReceiver<Message>,
        tasks: &mut JoinSet<()>,
    ) {
        let healthy = Arc::new(parking_lot::Mutex::new(None));
        tasks.spawn(probe_redis(store.clone()));
        tasks.spawn(probe_mysql(store.clone(), self.name.clone(), healthy.clone()));
        tasks.spawn(report_changes(store.clone()));
        tasks.spawn(compare_locks(store.clone()));
        tasks.spawn(self.run(store, inbox, healthy));
    }

    async fn run(
        mut self,
        store: Arc<Failover>,
        mut inbox: mpsc::UnboundedReceiver<Message>,
        healthy: Arc<parking_lot::Mutex<Option<Instant>>>,
    ) {
        while let Some(message) = inbox.recv().await {
            let mut waits = None;
            match message {
                Message::Failed { store: failed, failure, done } => {
                    self.conduct(&store, Input::Failed { store: failed, failure }).await;
                    waits = Some(done);
                }
                Message::Outdated { store: refused, done } => {
                    let record = probe(&store, refused).await;
                    self.conduct(&store, Input::Seen { store: refused, record }).await;
                    waits = Some(done);
                }
                Message::Seen { store: seen, record } => {
                    self.conduct(&store, Input::Seen { store: seen, record }).await;
                }
                Message::Peers(peers) => self.conduct(&store, Input::Peers(peers)).await,
                Message::CarriedBack(ok) => self.conduct(&store, Input::CarriedBack(ok)).await,
                Message::Changed => {}
            }
            let now = Instant::now();
            *healthy.lock() = self.switch.redis_healthy_for(now).and_then(|healthy| now.checked_sub(healthy));
            store.now.lock().writable = self.switch.writable();
            store.refresh();
            waits.map(|done| done.send(()));
        }
    }

    /// Feeds one input, does what comes out, and feeds what comes of that.
    async fn conduct(&mut self, store: &Arc<Failover>, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.switch.on(Instant::now(), input) {
                match output {
                    Output::SwitchTo { record, at } => {
                        let began = Instant::now();
                        let raise = store.switch_to(record, at).await;
                        if raise == Raise::Raised {
                            tracing::warn!(
                                event = "storage_switched",
                                storage = StorageMode::from(record.mode).as_str(),
                                epoch = record.epoch,
                                elapsed_ms = began.elapsed().as_millis() as u64
                            );
                        }
                        inputs.push_back(Input::Raised(raise));
                    }
                    Output::Follow(record) => {
                        tracing::info!(
                            event = "storage_followed",
                            storage = StorageMode::from(record.mode).as_str(),
                            epoch = record.epoch
                        );
                        store.adopt(record, None).await;
                    }
                    Output::Restore { store: at, record } => {
                        let store = store.clone();
                        tokio::spawn(async move { store.raise(at, record).await });
                    }
                    Output::CarryBack(record) => {
                        let store = store.clone();
                        tokio::spawn(async move {
                            let carried = store.carry_back(record).await;
                            if let Err(error) = &carried {
                                tracing::warn!(event = "carry_back_failed", error = %error);
                            }
                            let _ = store.messages.send(Message::CarriedBack(carried.is_ok()));
                        });
                    }
                    Output::Probe(at) => {
                        let record = probe(store, at).await;
                        inputs.push_back(Input::Seen { store: at, record });
                    }
                }
            }
        }
    }
}

impl Failover {
    pub(super) async fn raise(&self, at: Store, record: Record) -> Raise {
        let raised = match at {
            Store::Redis => self.redis.raise(record).await,
            Store::Mysql => self.mysql.raise(record).await,
        };
        match raised {
            Ok(Ok(())) => Raise::Raised,
            Ok(Err(there)) => Raise::Beaten(there),
            Err(_) => Raise::Failed,
        }
    }

    /// Says how the deciding store is, if that changed.
    fn refresh(&self) {
        let now = *self.now.lock();
        let store = *self.store(now.record.mode).storage().borrow();
        let writable = now.writable && store.writable;
        let storage = Storage { mode: now.record.mode.into(), writable, flowing: writable && store.flowing };
        let before = *self.storage.borrow();
        if before == storage {
            return;
        }
        self.storage.send_replace(storage);
        if (before.mode, before.writable) != (storage.mode, storage.writable) {
            self.picture.storage_changed(storage);
        }
    }
}

async fn probe(store: &Failover, at: Store) -> Option<Record> {
    match at {
        Store::Redis => store.redis.record().await.ok(),
        Store::Mysql => store.mysql.record().await.ok(),
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn probe_redis(store: Arc<Failover>) {
    let mut ticks = ticks(PROBE_EVERY);
    loop {
        ticks.tick().await;
        let mut record = probe(&store, Store::Redis).await;
        if record.is_none() {
            // One late answer is no outage.
            record = probe(&store, Store::Redis).await;
        }
        let _ = store.messages.send(Message::Seen { store: Store::Redis, record });
    }
}

async fn probe_mysql(store: Arc<Failover>, name: String, healthy: Arc<parking_lot::Mutex<Option<Instant>>>) {
    let mut ticks = ticks(PROBE_EVERY);
    let mut was_well = false;
    loop {
        ticks.tick().await;
        let redis_healthy_for = (*healthy.lock()).map(|since: Instant| since.elapsed());
        let mut seen = store.mysql.probe(&name, redis_healthy_for).await;
        if seen.is_err() {
            seen = store.mysql.probe(&name, redis_healthy_for).await;
        }
        note_mysql(&store, was_well, seen.as_ref().err());
        was_well = seen.is_ok();
        let record = seen.as_ref().ok().map(|(record, _)| *record);
        let _ = store.messages.send(Message::Seen { store: Store::Mysql, record });
        if let Ok((_, peers)) = seen {
            let _ = store.messages.send(Message::Peers(peers));
            if let Some(salt) = store.redis.salt() {
                let _ = store.mysql.take_salt(&salt).await;
            }
        }
    }
}

/// While MySQL decides, its sweep says in the log how it is.
fn note_mysql(store: &Failover, was_well: bool, error: Option<&StoreError>) {
    let decides = store.picture.is_decided_by(StorageMode::Mysql);
    match error {
        Some(error) if was_well => {
            store.picture.observe(Observation::StoreDown(StorageMode::Mysql));
            if !decides {
                tracing::warn!(event = "store_down", storage = "mysql", error = %error);
            }
        }
        None if !was_well && !decides => tracing::info!(event = "store_up", storage = "mysql"),
        _ => {}
    }
}

/// A store's own view of itself counts too: what it has not read yet is stale.
async fn report_changes(store: Arc<Failover>) {
    let (mut redis, mut mysql) = (store.redis.storage(), store.mysql.storage());
    loop {
        let changed = tokio::select! {
            changed = redis.changed() => changed,
            changed = mysql.changed() => changed,
        };
        if changed.is_err() || store.messages.send(Message::Changed).is_err() {
            return;
        }
    }
}

async fn compare_locks(store: Arc<Failover>) {
    let mut ticks = ticks(COMPARE_LOCKS_EVERY);
    loop {
        ticks.tick().await;
        let now = *store.now.lock();
        if now.record.mode == Store::Redis && now.writable {
            // Where MySQL is away, the copies are all there is.
            let _ = store.compare_locks().await;
        }
    }
}
