//! Every counter, gauge and histogram of the gateway, in one place, with what it answers; those of the process
//! are in `process`. Served by `http::operators`. Invariant: a counter whose labels are known beforehand is there
//! from the start, at 0: Prometheus sees no rise in a series that begins with it.

use std::fmt::Write;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use slot_state::{EndReason, HoldEnded, HoldKind, StoreError};

use super::log_writer::DROPPED;
use super::operations::KINDS;
use super::process::Process;
use super::sampling::LEFT_OUT;
use crate::session::CloseCode;

/// From 50 µs to 3 s.
const LATENCY_BUCKETS: [f64; 15] =
    [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0];
/// Why somebody is not let in.
const REFUSALS: [&str; 12] = [
    "address_full",
    "body_too_large",
    "draining",
    "full",
    "handshake",
    "handshakes",
    "head_too_large",
    "head_too_late",
    "open_files",
    "origin",
    "request_too_late",
    "response_not_taken",
];
/// How requests end that alerts look for.
const OUTCOMES: [&str; 4] = ["ok", "internal", "rate_limited", "store_unavailable"];

/// What a request was and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `select`, `lock`, `poll`, …
    pub request: &'static str,
    /// `ok`, or the error's code.
    pub outcome: &'static str,
}

/// One kind of something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// Which kind.
    pub kind: &'static str,
}

/// A WebSocket close code, or a database's error number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    /// The code.
    pub code: u16,
}

/// `redis`, `mysql` or `memory`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StoreLabel {
    /// Which store.
    pub store: &'static str,
}

/// What ended and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndLabels {
    /// `selection` or `lock`.
    pub hold: &'static str,
    /// As a `released` frame says it; `vanished` for what its gateway may put back.
    pub reason: &'static str,
}

macro_rules! metrics {
    ($($(#[unit($unit:ident)])? $field:ident: $type:ty = $make:expr, $name:literal, $help:literal;)*) => {
        /// The gateway's numbers.
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $type,)*
        }

        impl Metrics {
            fn registered() -> Self {
                let mut all = Registry::default();
                all.register_collector(Box::new(Process::default()));
                let registry = all.sub_registry_with_prefix("slotcast");
                let version = [("version", env!("CARGO_PKG_VERSION"))];
                registry.register("build", "The version that runs", Info::new(version));
                $(
                    let $field: $type = $make;
                    metrics!(@register registry, $field, $name, $help $(, $unit)?);
                )*
                Metrics { registry: all, $($field,)* }
            }
        }
    };
    (@register $registry:ident, $field:ident, $name:literal, $help:literal) => {
        $registry.register($name, $help, $field.clone());
    };
    (@register $registry:ident, $field:ident, $name:literal, $help:literal, $unit:ident) => {
        $registry.register_with_unit($name, $help, Unit::$unit, $field.clone());
    };
}

fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

// Where there is no unit, the text says what is counted ("Number of …") or what 1 means ("1 while …").
metrics! {
    ready: Gauge = Gauge::default(), "ready",
        "1 while /readyz says 200: visitors may be sent to this gateway; else 0";
    connections: Gauge = Gauge::default(), "connections", "Number of WebSocket connections open";
    connections_opened: Counter = Counter::default(), "connections_opened",
        "Number of WebSocket connections accepted since the start";
    connections_refused: Family<KindLabel, Counter> = Family::default(), "connections_refused",
        "Number of connections and requests refused before anything was done for them, by reason: a limit \
        (full, address_full, handshakes, open_files), a page of a foreign origin, a head that is no \
        WebSocket handshake, a head or body too large or too late, an answer that nobody takes, or a gateway \
        that is leaving (draining)";
    connections_closed: Family<CodeLabel, Counter> = Family::default(), "connections_closed",
        "Number of connections closed by the server, by close code: 1001 at a restart, 1002 to 1009 for \
        frames that break the rules or come far too fast, 1011 for a fault of this server or a reader \
        that reads nothing, 4401 without a valid token, 4408 where pings go unanswered";
    clients: Gauge = Gauge::default(), "clients",
        "Number of clients that said who they are and are connected";
    rooms: Gauge = Gauge::default(), "rooms",
        "Number of rooms (a date and an employee) somebody is subscribed to";
    subscriptions: Gauge = Gauge::default(), "subscriptions", "Number of subscriptions to rooms";
    selections: Gauge = Gauge::default(), "selections",
        "Number of live selections on the site, the same on every gateway";
    locks: Gauge = Gauge::default(), "locks", "Number of live locks on the site, the same on every gateway";
    holds_ended: Family<EndLabels, Counter> = Family::default(), "holds_ended",
        "Number of selections and locks of the site that ended, by reason: expired, superseded (given up \
        or another chosen), booked, lost (another writer removed it; while MySQL decides also another \
        gateway), vanished (it went with its store: \
        flushed, evicted, restarted; its gateway puts it back where the slot is still free)";
    diffs: Counter = Counter::default(), "diffs",
        "Number of diffs encoded, each once for all subscribers of a room";
    deliveries: Counter = Counter::default(), "deliveries",
        "Number of diffs and shared snapshots sent, one for each subscriber";
    snapshots: Counter = Counter::default(), "snapshots", "Number of snapshots sent to one subscriber";
    conflated: Counter = Counter::default(), "conflated",
        "Number of diffs left out for a slow reader, who gets one snapshot instead";
    requests: Family<RequestLabels, Counter> = Family::default(), "requests",
        "Number of requests carried out, by kind and outcome: ok, or the code of the refusal. Of those \
        that fail by this server's doing the code is store_unavailable or internal";
    availability: Family<KindLabel, Counter> = Family::default(), "availability_answers",
        "Number of answers about availability, from the cache (cached) or the store (read)";
    #[unit(Seconds)]
    select_time: Histogram = latency(), "select", "From a select request to its answer";
    #[unit(Seconds)]
    store_time: Histogram = latency(), "store_round_trip",
        "One script's or transaction's round trip to a store";
    store_errors: Family<KindLabel, Counter> = Family::default(), "store_errors",
        "Number of store requests that failed, by kind: away, timeout, refusing (it takes no writes), \
        elsewhere (another store decides now), strange (an answer that is not understood)";
    store_up: Family<StoreLabel, Gauge> = Family::default(), "store_up",
        "1 while this store can be worked with, also one that stands by; else 0. Only for stores that are \
        configured";
    store_outages: Family<StoreLabel, Counter> = Family::default(), "store_outages",
        "Number of times this store was well and then was not";
    storage_mode: Family<StoreLabel, Gauge> = Family::default(), "storage_mode",
        "1 for the store that decides: redis, mysql (stands in for Redis, or is all there is) or memory; 0 \
        for the others";
    storage_writable: Gauge = Gauge::default(), "storage_writable",
        "1 while the deciding store takes writes; at 0 pages show what was last known";
    mysql_tables_lack: Family<KindLabel, Gauge> = Family::default(), "mysql_tables_lack",
        "1 while MySQL is known to lack tables, by kind: own (slotcast's, incomplete too; locks and bookings \
        are refused), appointments (AppointEase's; bookings are refused); else 0, also without MySQL";
    events_flowing: Gauge = Gauge::default(), "events_flowing",
        "1 while changes by others (PHP, other gateways) arrive, proven by a probe; else 0";
    events_feed: Family<KindLabel, Gauge> = Family::default(), "events_feed",
        "1 for the way in which Redis tells of changes: notifications, tracking, or polling, which is up \
        to a second late; 0 for the others";
    storage_changes: Counter = Counter::default(), "storage_changes",
        "Number of times another store began to decide, or the deciding one stopped or began to take \
        writes";
    bookings_failed: Family<CodeLabel, Counter> = Family::default(), "bookings_failed",
        "Number of bookings refused for good by the database, by its error number; 0: the log says why \
        (event booking_failed)";
    #[unit(Seconds)]
    event_lag: Histogram = latency(), "event_lag", "From a store's event to the picture showing it";
    #[unit(Seconds)]
    expiry_lag: Histogram = latency(), "expiry_lag", "From a hold's deadline to the picture showing its end";
    foreign_skipped: Counter = Counter::default(), "foreign_skipped",
        "Number of values under slotcast's keys and rows that it cannot read, and passed over";
    repaired: Counter = Counter::default(), "repaired",
        "Number of slots that the comparison of picture and store (every 30 s) found wrong and repaired";
    resyncs: Counter = Counter::default(), "resyncs", "Number of times everything was read anew";
    outbox_waiting: Gauge = Gauge::default(), "outbox_waiting",
        "Number of bookings that WordPress has not been told of";
    outbox_failing: Gauge = Gauge::default(), "outbox_failing",
        "1 while WordPress is to be told of bookings and cannot be; else 0, also where it is not to be \
        told";
    #[unit(Seconds)]
    tls_certificate_expiry: Gauge = Gauge::default(), "tls_certificate_expiry_timestamp",
        "When the TLS certificate ends, in Unix time; 0 without TLS";
    log_lines_dropped: Counter = DROPPED.clone(), "log_lines_dropped",
        "Number of log lines dropped since nobody read the log fast enough";
    log_lines_left_out: Counter = LEFT_OUT.clone(), "log_lines_left_out",
        "Number of log lines left out since too many of their kind came within a second (event \
        log_sampled)";
    #[unit(Seconds)]
    stalled: Counter<f64, AtomicU64> = Counter::default(), "stalled",
        "Time for which the whole process did nothing though it should have: stopped, or without a \
        processor";
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self::registered();
        let kind = |kind| KindLabel { kind };
        begin(&metrics.connections_refused, REFUSALS.map(kind));
        begin(&metrics.connections_closed, CloseCode::ALL.map(|code| CodeLabel { code: code as u16 }));
        for request in KINDS {
            begin(&metrics.requests, OUTCOMES.map(|outcome| RequestLabels { request, outcome }));
        }
        begin(&metrics.availability, ["cached", "read"].map(kind));
        begin(&metrics.store_errors, StoreError::KINDS.map(kind));
        for hold in [HoldKind::Selection, HoldKind::Lock] {
            begin(&metrics.holds_ended, EndReason::ALL.map(|why| end_labels(hold, why)));
        }
        begin(&metrics.bookings_failed, [CodeLabel { code: 0 }]);
        metrics
    }
}

/// Lets counters begin at 0.
fn begin<L: Clone + Eq + Hash>(family: &Family<L, Counter>, labels: impl IntoIterator<Item = L>) {
    labels.into_iter().for_each(|labels| drop(family.get_or_create(&labels)));
}

fn end_labels(hold: HoldKind, why: EndReason) -> EndLabels {
    EndLabels { hold: hold.as_str(), reason: why.as_str() }
}

impl Metrics {
    /// Counts a request.
    pub fn count_request(&self, request: &'static str, outcome: &'static str) {
        self.requests.get_or_create(&RequestLabels { request, outcome }).inc();
    }

    /// Counts somebody who is not let in; `kind` is one of `REFUSALS`.
    pub fn count_refused(&self, kind: &'static str) {
        self.connections_refused.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts a hold that ended.
    pub fn count_end(&self, ended: &HoldEnded) {
        self.holds_ended.get_or_create(&end_labels(ended.kind, ended.why)).inc();
    }

    /// Counts a store that went away.
    pub fn count_outage(&self, store: &'static str) {
        self.store_outages.get_or_create(&StoreLabel { store }).inc();
    }

    /// Notes whether a store can be worked with.
    pub fn note_store(&self, store: &'static str, is_up: bool) {
        self.store_up.get_or_create(&StoreLabel { store }).set(i64::from(is_up));
        begin(&self.store_outages, [StoreLabel { store }]);
    }

    /// Notes whether a kind of tables is missing, `own` or `appointments`.
    pub fn note_tables(&self, kind: &'static str, lack: bool) {
        self.mysql_tables_lack.get_or_create(&KindLabel { kind }).set(i64::from(lack));
    }

    /// The OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing to a String does not fail; an empty page would look like a healthy one.
            let _ = writeln!(text, "# encoding failed");
        }
        text
    }
}
