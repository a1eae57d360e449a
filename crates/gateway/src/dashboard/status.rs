//! How a gateway is, as JSON: what `GET /dashboard/status` answers, the dashboard's page shows and `slotcast
//! status` prints. Times are Unix milliseconds. Invariant: says what, where and how long, never who.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::observe::window::Reading;

/// A name of this program's own.
pub type Name = Cow<'static, str>;

/// The whole look.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The program's.
    pub version: Name,
    /// When this was looked at.
    pub at: i64,
    /// When the gateway started.
    pub started_at: i64,
    /// What `/readyz` says.
    pub ready: bool,
    /// In one word.
    pub state: State,
    /// In one sentence.
    pub headline: Name,
    /// What is wrong, and what to do about each.
    pub troubles: Vec<String>,
    /// Which store decides.
    pub storage: Deciding,
    /// Every store that is configured.
    pub stores: Vec<StoreStatus>,
    /// Bookings WordPress is to be told of; `null` where there is no database.
    pub outbox: Option<OutboxStatus>,
    /// How often old pages poll.
    pub heartbeat_interval_secs: u64,
    /// WebSocket connections open.
    pub connections: u64,
    /// Clients connected.
    pub clients: u64,
    /// Rooms somebody looks at.
    pub rooms: u64,
    /// Subscriptions to rooms.
    pub subscriptions: u64,
    /// Live selections on the site.
    pub selections: u64,
    /// Live locks on the site.
    pub locks: u64,
    /// The availability cache.
    pub availability: CacheStatus,
    /// Selects, deselects, locks, unlocks, bookings and availability, however they came, in the last minute.
    pub responses: Reading,
    /// The same by kind, and polls.
    pub kinds: Vec<KindStatus>,
    /// Round trips to the deciding store in the last minute.
    pub store_round_trip: Reading,
    /// From a store's event to every page's view, in the last minute.
    pub event_lag: Reading,
    /// From a hold's deadline to every page's view, in the last minute.
    pub expiry_lag: Reading,
    /// In the last five seconds.
    pub rates: Rates,
    /// The last ones, the newest first.
    pub operations: Vec<OperationStatus>,
}

/// How it is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should.
    Ok,
    /// It serves, but not as it should.
    Degraded,
    /// It cannot serve all.
    NotReady,
    /// It is on its way out.
    Stopping,
}

/// The deciding store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deciding {
    /// `redis`, `mysql` or `memory`.
    pub mode: Name,
    /// Since when.
    pub since: i64,
    /// As pages are told: `available` or `unavailable`.
    pub redis_status: Name,
    /// Nobody can say whether what pages see is still true.
    pub stale: bool,
}

/// One store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoreStatus {
    /// `redis`, `mysql` or `memory`.
    pub name: Name,
    /// `ok`, `standby` or `away`.
    pub status: Name,
    /// Since when.
    pub since: i64,
    /// How changes by others are heard of.
    pub follows: Option<Name>,
    /// What it said last, where it is not well.
    pub error: Option<String>,
}

/// What WordPress has not been told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutboxStatus {
    /// `ok`, `failing`, or `off` where it is not configured.
    pub status: Name,
    /// Bookings it does not know of; `null` where nobody knows.
    pub waiting: Option<u64>,
    /// Why.
    pub error: Option<String>,
}

/// How often a question about availability did not need the database.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CacheStatus {
    /// Whether there is a cache: there is where there is a database.
    pub exists: bool,
    /// Answers in this time.
    pub answers: u64,
    /// Of those from the cache.
    pub cached: u64,
    /// `cached / answers`; `null` where nobody asked.
    pub hit_rate: Option<f64>,
    /// The time.
    pub over_secs: u64,
}

/// One kind of request in the last minute.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KindStatus {
    /// `select`, `poll`, …
    pub name: Name,
    /// How many, how long.
    #[serde(flatten)]
    pub reading: Reading,
}

/// How much, a second.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Rates {
    /// Frames sent to subscribers since a room changed.
    pub deliveries: f64,
    /// Requests, but for polls.
    pub requests: f64,
    /// Polls of old pages.
    pub polls: f64,
}

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperationStatus {
    /// When it was answered.
    pub at: i64,
    /// `select`, `poll`, …
    pub what: Name,
    /// `YYYY-MM-DD`.
    pub date: String,
    /// Whose day.
    pub employee_id: u32,
    /// `HH:MM`, if it was about one slot.
    pub time: Option<String>,
    /// The store that was asked; `null`: memory answered.
    pub store: Option<Name>,
    /// How long it took.
    pub ms: f64,
    /// `ok`, `cached`, or the error's code.
    pub outcome: Name,
}
