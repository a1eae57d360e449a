//! Keeps the picture true: probes whether Redis takes writes and events come back, keeps an event feed open, and
//! reads everything anew after any doubt. Nobody patches: trouble of every kind ends in the same resync.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::RedisStore;
use super::events::{self, Feed, Flags, Listener, Subscription};
use super::link::Backoff;
use crate::event::{Absence, Observation};
use crate::slot::Slot;
use crate::store::{Storage, StorageMode, StoreError};

/// How often the probe key is written, and all is looked at where there is no feed.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How often it is tried while the store is away.
const PROBE_AWAY: Duration = Duration::from_millis(250);
/// A probe that has not come back for this long: no events flow.
const PROBE_LOST: Duration = Duration::from_millis(2500);
/// How long a new feed has to deliver its first probe.
const PROOF: Duration = Duration::from_secs(1);
/// How often the picture is compared with the store although events flow.
const COMPARE_EVERY: Duration = Duration::from_secs(30);
/// How often the notification flags are checked, and a better feed is tried for.
const FLAGS_EVERY: Duration = Duration::from_secs(10);

/// How changes by others arrive at the moment, for `/health`.
pub(super) struct FeedState(Mutex<(Feed, Option<StoreError>)>);

impl Default for FeedState {
    fn default() -> Self {
        FeedState(Mutex::new((Feed::Polling, None)))
    }
}

impl FeedState {
    pub(super) fn current(&self) -> Feed {
        self.0.lock().0
    }

    /// What the last probe met.
    pub(super) fn last_error(&self) -> Option<StoreError> {
        self.0.lock().1.clone()
    }

    fn set(&self, feed: Feed) {
        self.0.lock().0 = feed;
    }

    fn set_error(&self, error: Option<StoreError>) {
        self.0.lock().1 = error;
    }
}

/// Why everything is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Because {
    /// It may have gaps: subscribers get a snapshot.
    Doubt,
    /// To find what slipped through.
    Comparison,
}

/// What the log last said of the store. It is more than whether it takes writes: while another one decides it
/// takes none, however it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Up,
    StandsBy,
    /// No answer.
    Away,
    /// An answer, and it is no.
    Refuses,
}

pub(super) struct Supervisor {
    store: Arc<RedisStore>,
    events: Client,
    listener: Listener,
    deadline: Duration,
    /// That CONFIG is forbidden is said once.
    warned: AtomicBool,
}

impl Supervisor {
    pub(super) fn new(
        store: Arc<RedisStore>,
        events: Client,
        listener: Listener,
        deadline: Duration,
    ) -> Arc<Self> {
        Arc::new(Supervisor { store, events, listener, deadline, warned: AtomicBool::new(false) })
    }

    pub(super) fn spawn(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.clone().keep_probing());
        tasks.spawn_on(self.clone().keep_listening(), &events::runtime());
        tasks.spawn(self.keep_reading());
    }

    async fn keep_probing(self: Arc<Self>) {
        let mut ticks = ticker(PROBE_EVERY);
        let mut away = false;
        let mut was_well = false;
        let mut said = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.store.readings.probe_wanted() => {}
                () = sleep(PROBE_AWAY), if away => {}
            }
            let written = match self.store.record().await {
                // One late answer or one broken connection is not an outage; nobody else would ask again.
                Err(StoreError::Timeout | StoreError::Away(_)) => self.store.record().await,
                other => other,
            };
            let written = written.and_then(|found| self.store.scripts.check_record(found));
            if written.is_err() {
                self.store.readings.on_outage();
            } else if away {
                self.store.readings.doubt();
            }
            away = written.is_err();
            // Also while another store decides.
            let is_well = matches!(written, Ok(()) | Err(StoreError::Elsewhere));
            if was_well && !is_well {
                self.store.picture.observe(Observation::StoreDown(StorageMode::Redis));
            }
            was_well = is_well;
            self.store.feed.set_error(written.as_ref().err().cloned());
            self.update(written.err(), &mut said);
        }
    }

    /// Says how the store is. Until everything was read after an outage the picture may be stale, though requests
    /// are carried out again.
    fn update(&self, error: Option<StoreError>, said: &mut Option<Said>) {
        let before = *self.store.storage.borrow();
        let readings = &self.store.readings;
        let writable = error.is_none() && readings.since_outage();
        let fed = readings.since_gap()
            && match self.store.feed.current() {
                Feed::Polling => readings.read_at().is_some_and(|at| at.elapsed() < PROBE_EVERY * 3),
                Feed::Notifications | Feed::Tracking => self.listener.probe_age() < PROBE_LOST,
            };
        let now = Storage { writable, flowing: writable && fed, ..before };
        if before != now {
            self.store.storage.send_replace(now);
        }
        log(error.as_ref(), writable, said);
        if before.writable != now.writable {
            self.store.picture.storage_changed(now);
        }
    }

    async fn keep_listening(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let ended = self.listen().await;
            let had = self.store.feed.current();
            self.store.feed.set(Feed::Polling);
            match ended {
                Ok(()) => {}
                Err(error) if had != Feed::Polling => {
                    tracing::warn!(event = "events_lost", storage = "redis", error = %error);
                }
                Err(error) => {
                    tracing::debug!(event = "events_unreachable", storage = "redis", error = %error)
                }
            }
            if started.elapsed() > PROBE_LOST * 2 {
                backoff = Backoff::default();
            }
            backoff.wait().await;
        }
    }

    /// Opens the best feed there is and follows it until it ends, or a better one may be had.
    async fn listen(&self) -> Result<(), StoreError> {
        let mut subscription = Subscription::connect(&self.events, self.deadline).await?;
        let feed = self.choose_feed(&mut subscription).await?;
        self.store.feed.set(feed);
        tracing::info!(event = "events_flow", storage = "redis", feed = feed.as_str());
        self.store.readings.on_gap();
        let started = Instant::now();
        let notified = self.listener.probes_notified.load(Ordering::Relaxed);
        let mut checks = ticker(PROBE_EVERY);
        let mut flags_checked = Instant::now();
        loop {
            tokio::select! {
                pushes = subscription.next() => match pushes {
                    Some(pushes) => self.listener.on_pushes(pushes),
                    None => return Err(StoreError::Away("the event connection was closed".into())),
                },
                _ = checks.tick() => {
                    // The server's flags may have been set by an operator.
                    let notified = self.listener.probes_notified.load(Ordering::Relaxed) != notified;
                    let try_again = feed == Feed::Polling && started.elapsed() > FLAGS_EVERY;
                    if try_again || (feed != Feed::Notifications && notified) {
                        return Ok(());
                    }
                    if feed != Feed::Polling && self.listener.probe_age() > PROBE_LOST {
                        return Err(StoreError::Away("the probe's event did not come back".into()));
                    }
                    if flags_checked.elapsed() >= FLAGS_EVERY {
                        flags_checked = Instant::now();
                        if feed == Feed::Notifications
                            && subscription.complete_flags().await? == Flags::Completed
                        {
                            self.store.readings.on_gap();
                        }
                    }
                }
            }
        }
    }

    async fn choose_feed(&self, subscription: &mut Subscription) -> Result<Feed, StoreError> {
        let flags = subscription.complete_flags().await?;
        let db = self.events.get_connection_info().redis_settings().db();
        let subscribed = subscription.notifications(db).await;
        if subscribed.is_ok() && self.proven(subscription).await? {
            return Ok(Feed::Notifications);
        }
        if flags == Flags::Forbidden && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "redis_notify_flags_refused",
                storage = "redis",
                "CONFIG is not allowed; set notify-keyspace-events to Kg$xe on the server"
            );
        }
        match subscription.tracking().await {
            Ok(()) if self.proven(subscription).await? => Ok(Feed::Tracking),
            Err(error @ (StoreError::Timeout | StoreError::Away(_))) => Err(error),
            _ => Ok(Feed::Polling),
        }
    }

    /// Whether a probe written now comes back over this subscription. Where none can be written, nothing is proven
    /// about the subscription.
    async fn proven(&self, subscription: &mut Subscription) -> Result<bool, StoreError> {
        let seen = self.listener.probes_seen.load(Ordering::Relaxed);
        self.store.record().await?;
        let comes_back = async {
            while let Some(pushes) = subscription.next().await {
                self.listener.on_pushes(pushes);
                if self.listener.probes_seen.load(Ordering::Relaxed) != seen {
                    return Ok(true);
                }
            }
            Err(StoreError::Away("the event connection was closed".into()))
        };
        timeout(PROOF, comes_back).await.unwrap_or(Ok(false))
    }

    async fn keep_reading(self: Arc<Self>) {
        let mut compare = ticker(PROBE_EVERY);
        let mut backoff = Backoff::default();
        loop {
            let because = tokio::select! {
                biased;
                () = self.store.readings.doubted() => Because::Doubt,
                () = self.store.scripts.replaced.happened() => Because::Doubt,
                _ = compare.tick() => Because::Comparison,
            };
            let pause = match self.store.feed.current() {
                Feed::Polling => PROBE_EVERY / 2,
                Feed::Notifications | Feed::Tracking => COMPARE_EVERY,
            };
            let read_at = self.store.readings.read_at();
            if because == Because::Comparison && read_at.is_some_and(|at| at.elapsed() < pause) {
                continue;
            }
            let began = Instant::now();
            let outcome = self.read_all(because).await;
            self.store.readings.on_read(began, outcome.clone());
            match outcome {
                Ok(()) => {
                    backoff = Backoff::default();
                    if !self.store.storage.borrow().flowing {
                        self.store.readings.want_probe();
                    }
                }
                // Whoever has this store decide again has everything read.
                Err(_) if self.store.scripts.check_mode().is_err() => {}
                Err(error) => {
                    tracing::debug!(event = "read_failed", storage = "redis", error = %error);
                    if because == Because::Doubt {
                        self.store.readings.doubt();
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    async fn read_all(&self, because: Because) -> Result<(), StoreError> {
        let started = Instant::now();
        let store = &self.store;
        store.scripts.check_mode()?;
        if store.feed.last_error() == Some(StoreError::Elsewhere) {
            // No walk over all keys, only to be refused.
            store.scripts.check_record(store.record().await?)?;
        }
        let replacements = store.scripts.replaced.count();
        if store.scripts.replaced.pending() {
            store.picture.forget_sequence();
        }
        let mut slots: HashSet<Slot> = store.picture.held_slots().into_iter().collect();
        slots.extend(store.scan().await?);
        let slots: Vec<Slot> = slots.into_iter().collect();
        let changed = store.reader.look_all(&slots, Absence::Unknown).await?;
        store.scripts.replaced.dealt_with(replacements);
        let elapsed_ms = started.elapsed().as_millis() as u64;
        if because == Because::Doubt {
            tracing::info!(event = "read_anew", storage = "redis", slots = slots.len(), changed, elapsed_ms);
            store.picture.observe(Observation::Resync);
            store.picture.read_anew();
        } else if changed > 0 && store.feed.current() != Feed::Polling {
            tracing::warn!(event = "repaired", storage = "redis", slots = changed, elapsed_ms);
            store.picture.observe(Observation::Repaired(changed));
        }
        Ok(())
    }
}

/// Once for each state, whichever store decides.
fn log(error: Option<&StoreError>, writable: bool, said: &mut Option<Said>) {
    let now = match error {
        None if writable => Said::Up,
        // Not read yet.
        None => return,
        Some(StoreError::Elsewhere) => Said::StandsBy,
        Some(StoreError::Timeout | StoreError::Away(_)) => Said::Away,
        Some(_) => Said::Refuses,
    };
    if said.replace(now) == Some(now) {
        return;
    }
    match error {
        None => tracing::info!(event = "store_up", storage = "redis"),
        Some(StoreError::Elsewhere) => tracing::info!(event = "store_stands_by", storage = "redis"),
        Some(error) => tracing::warn!(event = "store_down", storage = "redis", error = %error),
    }
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
