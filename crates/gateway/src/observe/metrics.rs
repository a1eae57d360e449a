//! Every counter, gauge and histogram of the gateway, in one place, with what it answers.

use std::fmt::Write;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::log_writer::DROPPED;

/// From 50 µs to 3 s.
const LATENCY_BUCKETS: [f64; 15] =
    [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0];

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

macro_rules! metrics {
    ($($(#[unit($unit:ident)])? $field:ident: $type:ty = $make:expr, $name:literal, $help:literal;)*) => {
        /// The gateway's numbers.
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $type,)*
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::with_prefix("slotcast");
                $(
                    let $field: $type = $make;
                    metrics!(@register registry, $field, $name, $help $(, $unit)?);
                )*
                Metrics { registry, $($field,)* }
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

metrics! {
    connections: Gauge = Gauge::default(), "connections", "WebSocket connections open";
    connections_opened: Counter = Counter::default(), "connections_opened", "WebSocket connections accepted";
    connections_refused: Family<KindLabel, Counter> = Family::default(),
        "connections_refused", "Handshakes refused, by reason";
    connections_closed: Family<CodeLabel, Counter> = Family::default(),
        "connections_closed", "Connections closed by the server, by close code";
    clients: Gauge = Gauge::default(), "clients", "Clients that said who they are and are connected";
    rooms: Gauge = Gauge::default(), "rooms", "Rooms somebody is subscribed to";
    subscriptions: Gauge = Gauge::default(), "subscriptions", "Subscriptions to rooms";
    selections: Gauge = Gauge::default(), "selections", "Live selections on the site";
    locks: Gauge = Gauge::default(), "locks", "Live locks on the site";
    diffs: Counter = Counter::default(), "diffs", "Diffs encoded, each for all subscribers of a room";
    deliveries: Counter = Counter::default(), "deliveries", "Diffs and shared snapshots sent to a subscriber";
    snapshots: Counter = Counter::default(), "snapshots", "Snapshots sent to one subscriber";
    conflated: Counter = Counter::default(), "conflated", "Diffs left out for a slow reader, who gets a snapshot";
    requests: Family<RequestLabels, Counter> = Family::default(), "requests", "Requests carried out, by outcome";
    availability: Family<KindLabel, Counter> = Family::default(),
        "availability_answers", "Answers about availability, by whether a store was asked for them";
    #[unit(Seconds)]
    select_time: Histogram = latency(), "select", "From a select request to its answer";
    #[unit(Seconds)]
    store_time: Histogram = latency(), "store_round_trip", "One script's round trip to the store";
    store_errors: Family<KindLabel, Counter> = Family::default(), "store_errors", "Store requests that failed, by kind";
    bookings_failed: Family<CodeLabel, Counter> = Family::default(),
        "bookings_failed", "Bookings refused for good by the database, by its error number; 0: the log says why";
    #[unit(Seconds)]
    event_lag: Histogram = latency(), "event_lag", "From a store's event to the picture showing it";
    #[unit(Seconds)]
    expiry_lag: Histogram = latency(), "expiry_lag", "From a hold's deadline to the picture showing its end";
    foreign_skipped: Counter = Counter::default(), "foreign_skipped", "Values under our keys that are not ours to read";
    repaired: Counter = Counter::default(), "repaired", "Slots the periodic comparison found wrong and repaired";
    resyncs: Counter = Counter::default(), "resyncs", "Times everything was read anew";
    storage_writable: Gauge = Gauge::default(), "storage_writable", "1 while the deciding store takes writes";
    log_lines_dropped: Counter = DROPPED.clone(), "log_lines_dropped", "Lines dropped since nobody read the log";
    outbox_waiting: Gauge = Gauge::default(), "outbox_waiting", "Bookings that WordPress has not been told of";
    tls_certificate_expiry: Gauge = Gauge::default(),
        "tls_certificate_expiry_timestamp_seconds", "When the TLS certificate ends, in Unix time; 0 without TLS";
    storage_changes: Counter = Counter::default(), "storage_changes", "Changes of the storage state";
}

impl Metrics {
    /// Counts a request.
    pub fn count_request(&self, request: &'static str, outcome: &'static str) {
        self.requests.get_or_create(&RequestLabels { request, outcome }).inc();
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
