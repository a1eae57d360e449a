//! What is shown of honest clients under attack: both phases side by side, how much worse the second was, and what the
//! attackers got.

use super::{Measure, faults_of};
use crate::report::{HostileReport, Latency};

impl HostileReport {
    pub(super) fn faults(&self) -> Vec<String> {
        let absent = (self.subscribers - self.ready.min(self.subscribers)) as u64;
        let counts = [
            ("honest subscribers not subscribed", absent),
            ("honest subscribers lost", self.lost as u64),
            ("honest newcomers not let in", self.newcomers_refused),
            ("deliveries missed", self.missed),
            ("views wrong", self.wrong_views),
        ];
        let mut faults = faults_of(&counts, &self.refused);
        faults.extend(self.harm.iter().chain(&self.wrong_gains).cloned());
        faults
    }

    pub(super) fn measures(&self) -> Vec<Measure> {
        let mut measures = Vec::new();
        let (quiet, attacked) = (&self.quiet, &self.attacked);
        let rows = [
            (
                quiet.delivery,
                attacked.delivery,
                [
                    "change to receipt p50, quiet, ms",
                    "change to receipt p50, under attack, ms",
                    "change to receipt p99, quiet, ms",
                    "change to receipt p99, under attack, ms",
                    "change to receipt p99, under attack ÷ quiet",
                ],
            ),
            (
                quiet.answer,
                attacked.answer,
                [
                    "select to ok p50, quiet, ms",
                    "select to ok p50, under attack, ms",
                    "select to ok p99, quiet, ms",
                    "select to ok p99, under attack, ms",
                    "select to ok p99, under attack ÷ quiet",
                ],
            ),
            (
                self.newcomers[0],
                self.newcomers[1],
                [
                    "newcomer to snapshot p50, quiet, ms",
                    "newcomer to snapshot p50, under attack, ms",
                    "newcomer to snapshot p99, quiet, ms",
                    "newcomer to snapshot p99, under attack, ms",
                    "newcomer to snapshot p99, under attack ÷ quiet",
                ],
            ),
        ];
        for (quiet, attacked, names) in rows {
            if let (Some(quiet), Some(attacked)) = (quiet, attacked) {
                measures.extend(side_by_side(quiet, attacked, names));
            }
        }
        if let (Some(before), Some(under)) = (quiet.server_cpu_secs, attacked.server_cpu_secs) {
            measures.push(Measure::note("server CPU for the changes, quiet, s", before, 2));
            measures.push(Measure::note("server CPU for the changes, under attack, s", under, 2));
        }
        let clients = self.client_cpu_secs / self.attacked_secs * 100.0;
        measures.push(Measure::note("attackers\' and meter\'s CPU, % of a core", clients, 0));
        if let Some([first, most, _]) = attacked.anon_kib {
            let grown = most.saturating_sub(first) as f64;
            measures.push(Measure::cost("memory growth under attack, KiB", grown, 0));
        }
        measures.push(Measure::fault("honest newcomers not let in", self.newcomers_refused));
        measures.push(Measure::fault("honest requests refused", self.refused.values().sum()));
        measures.push(Measure::fault("deliveries missed", self.missed));
        measures
    }

    /// What the attackers got.
    pub(super) fn notes(&self) -> Vec<String> {
        let of_kind = |(kind, got): (&String, &std::collections::BTreeMap<String, u64>)| {
            let got: Vec<String> = got.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
            format!("{kind} got: {}", got.join(", "))
        };
        self.gains.iter().map(of_kind).collect()
    }
}

fn side_by_side(quiet: Latency, attacked: Latency, names: [&'static str; 5]) -> [Measure; 5] {
    let [quiet_p50, attacked_p50, quiet_p99, attacked_p99, ratio] = names;
    [
        Measure::millis(quiet_p50, quiet.p50_us),
        Measure::millis(attacked_p50, attacked.p50_us),
        Measure::millis(quiet_p99, quiet.p99_us),
        Measure::millis(attacked_p99, attacked.p99_us),
        Measure::cost(ratio, attacked.p99_us as f64 / quiet.p99_us.max(1) as f64, 2),
    ]
}
