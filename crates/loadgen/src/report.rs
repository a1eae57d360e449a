//! Results: what each scenario found, in the form of its JSON. `measure` turns them into lines and cells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One scenario on one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "scenario", rename_all = "snake_case")]
pub enum Report {
    /// `loadgen fanout`
    Fanout(FanoutReport),
    /// `loadgen conflate`
    Conflate(ConflateReport),
    /// `loadgen hostile`
    Hostile(HostileReport),
    /// `loadgen hold`
    Hold(HoldReport),
    /// `loadgen poll`, or another HTTP tool's result in the same form
    Poll(PollReport),
}

/// A latency histogram's summary.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it all")]
pub struct Latency {
    pub count: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

/// Resident memory of the server, KiB: all of it, and the private part.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it all")]
pub struct Memory {
    pub anon_kib: u64,
    pub rss_kib: u64,
}

/// Subscribers in rooms, changes at a pace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FanoutReport {
    /// The scenario's name.
    pub title: String,
    /// The server's name.
    pub label: String,
    /// Subscribers wanted.
    pub subscribers: usize,
    /// Rooms they are in.
    pub rooms: usize,
    /// Subscribers subscribed.
    pub ready: usize,
    /// Until all were.
    pub connect_secs: f64,
    /// Subscribers whose connection ended before the run did, and why the first one's did.
    pub lost: usize,
    /// Why the first one was lost.
    pub first_loss: Option<String>,
    /// Memory before anybody connected, with all connected and idle, and after the changes.
    pub memory: Option<[Memory; 3]>,
    /// CPU of the server while all were connected and idle, in percent of one core.
    pub idle_cpu_percent: Option<f64>,
    /// CPU of the server during the changes, seconds.
    pub server_cpu_secs: Option<f64>,
    /// CPU of the server's database during the changes, seconds.
    pub store_cpu_secs: Option<f64>,
    /// CPU of this process during the changes, seconds.
    pub client_cpu_secs: f64,
    /// How long the changes took, seconds.
    pub load_secs: f64,
    /// Changes sent, and a second.
    pub changes: u64,
    /// Changes a second wanted.
    pub rate: f64,
    /// How far behind its time the latest change was sent, milliseconds.
    pub behind_ms: f64,
    /// Changes the server accepted.
    pub accepted: u64,
    /// What it refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// Changes without an answer.
    pub unanswered: usize,
    /// Accepted changes that were overtaken within a window and so never shown.
    pub overtaken: u64,
    /// Frames with changes received, over all subscribers.
    pub deliveries: u64,
    /// Frames that subscribers should have received and did not.
    pub missed: u64,
    /// Frames received twice.
    pub repeated: u64,
    /// Snapshots received in place of diffs.
    pub conflated: u64,
    /// Rooms whose subscribers' view is not the server's, snapshots that contradict the diffs, diffs that differ
    /// between subscribers.
    pub wrong_views: u64,
    /// From a change's frame to each subscriber's receipt.
    pub delivery: Option<Latency>,
    /// From a change's frame to its last subscriber's receipt.
    pub last: Option<Latency>,
    /// From a change's frame to its answer.
    pub answer: Option<Latency>,
    /// The changes were made on another gateway than the subscribers'.
    pub across: bool,
    /// A call of the bare store from the same process and in the same time.
    pub bare: Option<Latency>,
}

/// One subscriber that stops reading among many.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of counts and times say it all")]
pub struct ConflateReport {
    pub title: String,
    pub label: String,
    pub subscribers: usize,
    pub ready: usize,
    pub lost: usize,
    pub rooms: usize,
    pub changes: u64,
    pub rate: f64,
    /// Without the stalled subscriber.
    pub before: PhaseReport,
    /// While it does not read.
    pub stalled: PhaseReport,
    pub refused: BTreeMap<String, u64>,
    pub missed: u64,
    pub wrong_views: u64,
    /// What it received when it read again.
    pub recovered_diffs: u64,
    pub recovered_gaps: u64,
    pub recovered_bytes: u64,
    pub recovery_ms: f64,
    /// Snapshots of the room that got the most: all, those that lay in buffers meanwhile included.
    pub snapshots_per_room: u64,
    /// Snapshots of the room that got the most: those made after it read again.
    pub fresh_snapshots_per_room: u64,
    /// Rooms in which its view is not the others'.
    pub wrong_rooms: usize,
    pub why_closed: Option<String>,
}

/// One half of a conflation run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of counts and times say it all")]
pub struct PhaseReport {
    pub deliveries: u64,
    pub delivery: Option<Latency>,
    pub answer: Option<Latency>,
    pub server_cpu_secs: Option<f64>,
    /// Private memory at the beginning, at most, and at the end, KiB.
    pub anon_kib: Option<[u64; 3]>,
}

/// Honest clients quiet and under attack.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of counts and times say it all")]
pub struct HostileReport {
    pub title: String,
    pub label: String,
    pub subscribers: usize,
    pub ready: usize,
    pub lost: usize,
    pub changes: u64,
    pub rate: f64,
    pub quiet: PhaseReport,
    pub attacked: PhaseReport,
    pub attacked_secs: f64,
    /// Of honest clients, attackers and the meter together, while under attack.
    pub client_cpu_secs: f64,
    /// From connecting to the first snapshot, quiet and under attack.
    pub newcomers: [Option<Latency>; 2],
    pub newcomers_refused: u64,
    pub refused: BTreeMap<String, u64>,
    pub missed: u64,
    pub wrong_views: u64,
    /// What became worse for the client whose holds were attacked.
    pub harm: Vec<String>,
    /// What attackers got that they should not.
    pub wrong_gains: Vec<String>,
    /// All that attackers got, by kind of attack.
    pub gains: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Rooms that hold one selection each and change no more. CPU in milliseconds a second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of counts and costs say it all")]
pub struct HoldReport {
    pub title: String,
    pub label: String,
    pub rooms: usize,
    /// Selections that a new subscriber was shown at the end.
    pub held: usize,
    /// Subscribers whose connection ended.
    pub lost: usize,
    /// Selects refused and selections ended, by code.
    pub refused: BTreeMap<String, u64>,
    /// The gateway with the subscribers.
    pub watching_cpu_ms: Option<f64>,
    /// The gateway with those who hold the selections.
    pub holding_cpu_ms: Option<f64>,
    pub store_cpu_ms: Option<f64>,
}

/// Requests over kept connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of counts and times say it all")]
pub struct PollReport {
    pub title: String,
    pub label: String,
    pub connections: usize,
    /// 0: as fast as answers came.
    #[serde(default)]
    pub rate: f64,
    pub requests: u64,
    pub requests_per_second: f64,
    /// Answers that were not 200, and requests without an answer.
    pub failed: u64,
    #[serde(default)]
    pub first_failure: Option<String>,
    pub p50_us: u64,
    pub p99_us: u64,
    #[serde(default)]
    pub server_cpu_us_per_request: Option<f64>,
}

impl Report {
    /// Scenario and server.
    pub fn names(&self) -> (&str, &str) {
        match self {
            Report::Fanout(report) => (&report.title, &report.label),
            Report::Conflate(report) => (&report.title, &report.label),
            Report::Hostile(report) => (&report.title, &report.label),
            Report::Hold(report) => (&report.title, &report.label),
            Report::Poll(report) => (&report.title, &report.label),
        }
    }
}
