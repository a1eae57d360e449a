//! What of a report is shown: its numbers, in the order of the table, and its faults, which are things missed or broken.
//! Numbers that are merely slow or large are never faults.

use std::collections::BTreeMap;
use std::fmt;

mod hostile;

use crate::report::{ConflateReport, FanoutReport, HoldReport, PollReport, Report};

/// One line of a report: a cell of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// What was measured, with its unit.
    pub name: &'static str,
    /// The number.
    pub value: f64,
    /// Digits behind the point.
    pub decimals: usize,
    /// How it compares.
    pub kind: Kind,
    /// It is what the server is compared with.
    pub is_yardstick: bool,
}

/// How a measure compares with another server's, and of several runs which counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Less is better; the median counts.
    Cost,
    /// More is better; the median counts.
    Yield,
    /// Said for completeness; the median counts.
    Note,
    /// Should be small in every run; the largest counts.
    Fault,
}

impl Measure {
    fn new(kind: Kind, name: &'static str, value: f64, decimals: usize) -> Measure {
        Measure { name, value, decimals, kind, is_yardstick: false }
    }

    fn cost(name: &'static str, value: f64, decimals: usize) -> Measure {
        Measure::new(Kind::Cost, name, value, decimals)
    }

    fn note(name: &'static str, value: f64, decimals: usize) -> Measure {
        Measure::new(Kind::Note, name, value, decimals)
    }

    fn fault(name: &'static str, count: u64) -> Measure {
        Measure::new(Kind::Fault, name, count as f64, 0)
    }

    fn millis(name: &'static str, us: u64) -> Measure {
        Measure::cost(name, us as f64 / 1000.0, 2)
    }
}

impl Report {
    /// What was missed or broke; empty where nothing was.
    pub fn faults(&self) -> Vec<String> {
        match self {
            Report::Fanout(report) => report.faults(),
            Report::Conflate(report) => report.faults(),
            Report::Hostile(report) => report.faults(),
            Report::Hold(report) => report.faults(),
            Report::Poll(report) => report.faults(),
        }
    }

    /// What is said beside the numbers.
    pub fn notes(&self) -> Vec<String> {
        match self {
            Report::Hostile(report) => report.notes(),
            _ => Vec::new(),
        }
    }

    /// The numbers, in the order of the table.
    pub fn measures(&self) -> Vec<Measure> {
        match self {
            Report::Fanout(report) => report.measures(),
            Report::Conflate(report) => report.measures(),
            Report::Hostile(report) => report.measures(),
            Report::Hold(report) => report.measures(),
            Report::Poll(report) => report.measures(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, label) = self.names();
        writeln!(f, "{title} [{label}]")?;
        for measure in self.measures() {
            let Measure { name, value, decimals, .. } = measure;
            writeln!(f, "  {name:<58} {value:>12.decimals$}")?;
        }
        self.notes().iter().try_for_each(|note| writeln!(f, "  {note}"))?;
        self.faults().iter().try_for_each(|fault| writeln!(f, "  FAULT {fault}"))
    }
}

/// A fault for each count that should be zero.
fn faults_of(counts: &[(&str, u64)], refused: &BTreeMap<String, u64>) -> Vec<String> {
    let nonzero =
        counts.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}"));
    nonzero.chain(refused.iter().map(|(code, count)| format!("{count} times {code}"))).collect()
}

impl FanoutReport {
    fn faults(&self) -> Vec<String> {
        let absent = (self.subscribers - self.ready.min(self.subscribers)) as u64;
        let counts = [
            ("subscribers not subscribed", absent),
            ("subscribers lost", self.lost as u64),
            ("deliveries missed", self.missed),
            ("deliveries repeated", self.repeated),
            ("views wrong", self.wrong_views),
            ("changes unanswered", self.unanswered as u64),
            ("nothing delivered", u64::from(self.deliveries == 0)),
        ];
        let mut faults = faults_of(&counts, &self.refused);
        faults.extend(self.first_loss.clone());
        faults
    }

    fn measures(&self) -> Vec<Measure> {
        let mut measures = vec![
            Measure::note("connections up", self.ready as f64, 0),
            Measure::cost("time to bring them up, s", self.connect_secs, 1),
        ];
        if let Some([before, idle, after]) = self.memory {
            let per_connection =
                |now: u64, then: u64| now.saturating_sub(then) as f64 / self.ready.max(1) as f64;
            let anon = per_connection(idle.anon_kib, before.anon_kib);
            measures.push(Measure::cost("memory per idle connection, RssAnon, KiB", anon, 2));
            let rss = per_connection(idle.rss_kib, before.rss_kib);
            measures.push(Measure::cost("memory per idle connection, Rss, KiB", rss, 2));
            let loaded = per_connection(after.anon_kib, before.anon_kib);
            measures.push(Measure::cost("memory per connection after the changes, RssAnon, KiB", loaded, 2));
        }
        let deliveries = self.deliveries.max(1) as f64;
        if let Some(secs) = self.server_cpu_secs {
            measures.push(Measure::cost("server CPU per delivery, µs", secs * 1e6 / deliveries, 2));
            if self.rooms > 1 {
                let per_change = secs * 1e6 / self.changes.max(1) as f64;
                measures.push(Measure::cost("server CPU per change and its deliveries, µs", per_change, 1));
            }
            measures.push(Measure::note("server CPU, % of a core", secs / self.load_secs * 100.0, 1));
        }
        if let Some(secs) = self.store_cpu_secs {
            measures.push(Measure::note("database's CPU, % of a core", secs / self.load_secs * 100.0, 1));
        }
        measures.push(Measure::note(
            "load generator's CPU per delivery, µs",
            self.client_cpu_secs * 1e6 / deliveries,
            2,
        ));
        if let Some(percent) = self.idle_cpu_percent {
            measures.push(Measure::cost("server CPU while idle, % of a core", percent, 1));
        }
        if let Some(latency) = self.delivery {
            measures.push(Measure::millis("change to receipt p50, ms", latency.p50_us));
            measures.push(Measure::millis("change to receipt p99, ms", latency.p99_us));
            if self.across {
                measures.push(Measure::millis("change to receipt, longest, ms", latency.max_us));
            }
        }
        if let Some(latency) = self.last {
            measures.push(Measure::millis("change to last receipt p50, ms", latency.p50_us));
            measures.push(Measure::millis("change to last receipt p99, ms", latency.p99_us));
        }
        if let Some(latency) = self.answer {
            measures.push(Measure::millis("change to answer p50, ms", latency.p50_us));
            measures.push(Measure::millis("change to answer p99, ms", latency.p99_us));
        }
        if let Some(latency) = self.bare {
            let yardstick = |measure| Measure { is_yardstick: true, ..measure };
            measures.push(yardstick(Measure::millis("change to answer p50, ms", latency.p50_us)));
            measures.push(yardstick(Measure::millis("change to answer p99, ms", latency.p99_us)));
        }
        if self.answer.is_some() {
            let failed = self.unanswered as u64 + self.refused.values().sum::<u64>();
            measures.push(Measure::note("changes answered ok", self.accepted as f64, 0));
            measures.push(Measure::fault("changes refused or unanswered", failed));
        }
        if self.across {
            measures.push(Measure::note(
                "changes overtaken before anybody was told",
                self.overtaken as f64,
                0,
            ));
        }
        measures.push(Measure::note("deliveries", self.deliveries as f64, 0));
        measures.push(Measure::fault("deliveries missed", self.missed));
        measures
    }
}

impl ConflateReport {
    fn faults(&self) -> Vec<String> {
        let absent = (self.subscribers - self.ready.min(self.subscribers)) as u64;
        let counts = [
            ("subscribers not subscribed", absent),
            ("subscribers lost", self.lost as u64),
            ("deliveries missed", self.missed),
            ("views wrong", self.wrong_views),
            ("rooms wrong at the stalled subscriber", self.wrong_rooms as u64),
            ("revisions skipped at the stalled subscriber", self.recovered_gaps),
            (
                "snapshots too many for the stalled subscriber",
                self.fresh_snapshots_per_room.saturating_sub(1),
            ),
        ];
        let mut faults = faults_of(&counts, &self.refused);
        faults.extend(self.why_closed.clone());
        faults
    }

    fn measures(&self) -> Vec<Measure> {
        let mut measures = Vec::new();
        let halves = [
            (&self.before, ["others' receipt p50, all reading, ms", "others' receipt p99, all reading, ms"]),
            (&self.stalled, ["others' receipt p50, one stalled, ms", "others' receipt p99, one stalled, ms"]),
        ];
        for (phase, [p50, p99]) in halves {
            if let Some(latency) = phase.delivery {
                measures.push(Measure::millis(p50, latency.p50_us));
                measures.push(Measure::millis(p99, latency.p99_us));
            }
        }
        if let Some([first, most, _]) = self.before.anon_kib {
            measures.push(Measure::cost(
                "memory growth, all reading, KiB",
                most.saturating_sub(first) as f64,
                0,
            ));
        }
        if let Some([first, most, _]) = self.stalled.anon_kib {
            measures.push(Measure::cost(
                "memory growth, one stalled, KiB",
                most.saturating_sub(first) as f64,
                0,
            ));
        }
        measures.push(Measure::cost("stalled subscriber right again after, ms", self.recovery_ms, 1));
        measures.push(Measure::fault("snapshots made for it, per room", self.fresh_snapshots_per_room));
        measures.push(Measure::note(
            "snapshots it got, from buffers too, per room",
            self.snapshots_per_room as f64,
            0,
        ));
        measures.push(Measure::note("diffs it got from its buffers", self.recovered_diffs as f64, 0));
        measures.push(Measure::fault("rooms it has wrong", self.wrong_rooms as u64));
        measures.push(Measure::cost(
            "deliveries",
            (self.before.deliveries + self.stalled.deliveries) as f64,
            0,
        ));
        measures.push(Measure::fault("deliveries missed", self.missed));
        measures
    }
}

impl HoldReport {
    fn faults(&self) -> Vec<String> {
        let counts = [
            ("selections not shown at the end", self.rooms.abs_diff(self.held) as u64),
            ("subscribers lost", self.lost as u64),
        ];
        faults_of(&counts, &self.refused)
    }

    fn measures(&self) -> Vec<Measure> {
        let costs = [
            ("CPU of a gateway that only watches, ms a second", self.watching_cpu_ms),
            ("CPU of the gateway that renews, ms a second", self.holding_cpu_ms),
            ("database's CPU, ms a second", self.store_cpu_ms),
        ];
        let mut measures = vec![Measure::note("selections held", self.held as f64, 0)];
        measures.extend(costs.into_iter().filter_map(|(name, ms)| Some(Measure::cost(name, ms?, 1))));
        measures.push(Measure::fault("selections lost", self.refused.values().sum()));
        measures
    }
}

impl PollReport {
    fn faults(&self) -> Vec<String> {
        let counts = [("requests failed", self.failed), ("nothing answered", u64::from(self.requests == 0))];
        let mut faults = faults_of(&counts, &BTreeMap::new());
        faults.extend(self.first_failure.clone());
        faults
    }

    fn measures(&self) -> Vec<Measure> {
        let mut measures = vec![
            Measure::new(Kind::Yield, "requests a second", self.requests_per_second, 0),
            Measure::millis("answer p50, ms", self.p50_us),
            Measure::millis("answer p99, ms", self.p99_us),
        ];
        if let Some(us) = self.server_cpu_us_per_request {
            measures.push(Measure::cost("server CPU per request, µs", us, 1));
        }
        measures
    }
}
