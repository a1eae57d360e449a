//! Looks at every part of the gateway and remembers what one look cannot tell: since when, how much a second.
//! Called by the dashboard, under its lock. Invariant: asks no store, waits for nothing.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use slot_state::StorageMode;
use tokio::time::Instant;

use super::history::{COVERS, History, Row};
use super::status::{
    CacheStatus, Deciding, KindStatus, Name, OperationStatus, OutboxStatus, Rates, Status, StoreStatus,
};
use super::words::{self, Lacking};
use crate::app::Services;
use crate::observe::metrics::KindLabel;
use crate::observe::operations::Operation;
use crate::observe::window::rounded_ms;

/// Rates are over so many looks, as old pages poll: by the single second they would only flicker.
const RATES_OVER: usize = 5;

/// What earlier looks saw.
#[derive(Default)]
pub(super) struct Memory {
    started_at: Option<i64>,
    mode: Option<(StorageMode, i64)>,
    stores: HashMap<String, (String, i64)>,
    counted: VecDeque<Counted>,
    rates: Rates,
    history: History,
    opening: Option<Bytes>,
}

/// Totals since the start.
struct Counted {
    at: Instant,
    deliveries: u64,
    requests: u64,
    polls: u64,
}

impl Memory {
    /// Measures how much there was since the last time.
    pub(super) fn measure(&mut self, services: &Services) {
        let (requests, polls) = services.recent.operations.totals();
        let now =
            Counted { at: Instant::now(), deliveries: services.metrics.deliveries.get(), requests, polls };
        if let Some(then) = self.counted.front() {
            let secs = now.at.duration_since(then.at).as_secs_f64().max(0.001);
            let rate = |now: u64, then: u64| (now.saturating_sub(then) as f64 / secs * 10.0).round() / 10.0;
            self.rates = Rates {
                deliveries: rate(now.deliveries, then.deliveries),
                requests: rate(now.requests, then.requests),
                polls: rate(now.polls, then.polls),
            };
        }
        self.counted.push_back(now);
        if self.counted.len() > RATES_OVER {
            self.counted.pop_front();
        }
    }

    /// Adds a look to the history.
    pub(super) fn remember(&mut self, status: &Status, services: &Services) -> Row {
        let (answers, cached) = answers(services);
        let row = Row::of(status, answers, cached);
        self.history.push(row);
        self.opening = None;
        row
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// What a new viewer gets first, where somebody else got it since the last look.
    pub(super) fn opening(&self) -> Option<Bytes> {
        self.opening.clone()
    }

    pub(super) fn keep_opening(&mut self, opening: Bytes) -> Bytes {
        self.opening.insert(opening).clone()
    }

    /// Looks at everything.
    pub(super) fn status(&mut self, services: &Services) -> Status {
        let at = Timestamp::now().as_millisecond();
        let started_at = *self.started_at.get_or_insert(at);
        let storage = services.commands.storage();
        let since = match self.mode {
            Some((mode, since)) if mode == storage.mode => since,
            _ => self.mode.insert((storage.mode, at)).1,
        };
        let health = services.commands.store.health();
        let stores = self.stores(&health, at);
        let outbox = services.courier.as_ref().map(|courier| outbox(&courier.health()));
        let not_ready = services.not_ready();
        let (lacking, file) = (Lacking::of(&health["mysql"]), services.config_file.as_deref());
        let words = words::of(not_ready, storage, &stores, &lacking, outbox.as_ref(), file);
        let (selections, locks) = services.commands.picture.count();
        let (metrics, recent) = (&services.metrics, &services.recent);
        let gauge = |value: i64| u64::try_from(value).unwrap_or_default();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            at,
            started_at,
            ready: not_ready.is_none(),
            state: words.state,
            headline: words.headline.into(),
            troubles: words.troubles,
            storage: Deciding {
                mode: storage.mode.as_str().into(),
                since,
                redis_status: storage.redis_status().into(),
                stale: storage.stale(),
            },
            stores,
            outbox,
            heartbeat_interval_secs: services.heartbeat_interval.as_secs(),
            connections: services.connections.count() as u64,
            clients: services.commands.presence.count() as u64,
            rooms: gauge(metrics.rooms.get()),
            subscriptions: gauge(metrics.subscriptions.get()),
            selections: selections as u64,
            locks: locks as u64,
            availability: self.cache(services, at),
            responses: recent.operations.requests(),
            kinds: recent
                .operations
                .by_kind()
                .map(|(name, reading)| KindStatus { name: name.into(), reading })
                .collect(),
            store_round_trip: recent.store_time.read(),
            event_lag: recent.event_lag.read(),
            expiry_lag: recent.expiry_lag.read(),
            rates: self.rates,
            operations: recent.operations.listed().iter().map(operation).collect(),
        }
    }

    /// From what `/health` says of the stores.
    fn stores(&mut self, health: &Value, at: i64) -> Vec<StoreStatus> {
        let mut of = |name: &'static str| {
            let health = health.get(name)?;
            let status = health["status"].as_str().unwrap_or_default();
            let since = match self.stores.get(name) {
                Some((known, since)) if known == status => *since,
                _ => {
                    self.stores.insert(name.to_owned(), (status.to_owned(), at));
                    at
                }
            };
            let follows = match name {
                "redis" => health["feed"].as_str().filter(|_| health["events"] == "flowing"),
                "mysql" => health["bookings"]["followed_by"].as_str(),
                _ => None,
            };
            // How it would follow, if it were there, helps nobody.
            let follows = follows.filter(|_| status == "ok");
            Some(StoreStatus {
                name: name.into(),
                status: Name::Owned(status.to_owned()),
                since,
                follows: follows.map(|follows| Name::Owned(follows.to_owned())),
                error: text(&health["error"]),
            })
        };
        ["redis", "mysql", "memory"].into_iter().filter_map(&mut of).collect()
    }

    fn cache(&self, services: &Services, at: i64) -> CacheStatus {
        let ((answers, cached), (old_answers, old_cached)) =
            (answers(services), self.history.answers_before(at));
        let (answers, cached) = (answers.saturating_sub(old_answers), cached.saturating_sub(old_cached));
        let exists = services.commands.bookings_in == StorageMode::Mysql;
        CacheStatus {
            exists,
            answers,
            cached,
            hit_rate: (exists && answers > 0).then(|| rounded_ms(cached as f64 / answers as f64)),
            over_secs: COVERS.as_secs(),
        }
    }
}

/// Answers about availability since the start, and those of them from the cache.
fn answers(services: &Services) -> (u64, u64) {
    let count = |kind: &'static str| services.metrics.availability.get_or_create(&KindLabel { kind }).get();
    let cached = count("cached");
    (count("read") + cached, cached)
}

fn outbox(health: &Value) -> OutboxStatus {
    OutboxStatus {
        status: Name::Owned(text(&health["status"]).unwrap_or_default()),
        waiting: health["waiting"].as_u64(),
        error: text(&health["error"]),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn operation(operation: &Operation) -> OperationStatus {
    OperationStatus {
        at: operation.at.as_millisecond(),
        what: operation.what.into(),
        date: operation.room.date.to_string(),
        employee_id: operation.room.employee_id.get(),
        time: operation.time.map(|time| time.to_string()),
        store: operation.store.map(Name::Borrowed),
        ms: rounded_ms(operation.took.as_secs_f64() * 1e3),
        outcome: operation.outcome.into(),
    }
}
