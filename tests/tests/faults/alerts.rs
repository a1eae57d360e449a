//! Whether the alert rules would have woken somebody: Prometheus' own judge evaluates them over what was scraped during a
//! fault. Asked by `main` for live runs, and here for those in `recorded/`, which `tests/faults --record` writes.

use std::path::{Path, PathBuf};

use support::{ALERT_RULES, wrong_alerts};

use crate::fault::Fault;
use crate::scrapes::Series;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/recorded");
/// The record of a run without a fault.
pub(crate) const QUIET: &str = "quiet";

impl Fault {
    /// Those that must fire; others may.
    pub(crate) fn alerts(self) -> &'static [&'static str] {
        match self {
            Self::RedisKilled
            | Self::RedisStopped
            | Self::BlackHole
            | Self::Latency
            | Self::ReadOnly
            | Self::OnlyA
            | Self::Flapping => &["SlotcastStoreLost"],
            Self::FlushAll => &["SlotcastHoldsVanished"],
            Self::Divided | Self::MySqlKilled | Self::RedisThenMySql | Self::BothKilled => {
                &["SlotcastRequestsFailing", "SlotcastStoreLost"]
            }
            Self::GatewayStopped => &["SlotcastStalled"],
            Self::GatewayKilled => &["SlotcastDown"],
        }
    }
}

/// What promtool finds wrong with the alerts over these series; `None` where all that must fire did. For a quiet run
/// nothing may.
pub(crate) async fn complaint(name: &str, series: &str) -> Option<String> {
    wrong_alerts(Fault::named(name).map(Fault::alerts), series).await
}

/// The series that a record keeps.
pub(crate) fn worth_keeping(series: Series) -> String {
    series.of_rules(&std::fs::read_to_string(ALERT_RULES).expect("the rules")).to_text()
}

/// Writes a record where `SLOTCAST_FAULTS_RECORD` says so.
pub(crate) fn keep(name: &str, series: &str) {
    if crate::from_environment("SLOTCAST_FAULTS_RECORD").is_some() {
        std::fs::create_dir_all(RECORDED).expect("a folder for records");
        std::fs::write(record_of(name), series).expect("a record is written");
    }
}

fn record_of(name: &str) -> PathBuf {
    Path::new(RECORDED).join(name).with_extension("txt")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::ALL;

    fn recorded(name: &str) -> String {
        let read = std::fs::read_to_string(record_of(name));
        read.unwrap_or_else(|error| panic!("{name}: {error}; tests/faults --record writes it"))
    }

    #[tokio::test]
    async fn each_recorded_fault_fires_its_alerts_and_a_quiet_run_fires_none() {
        let names = ALL.map(Fault::name).into_iter().chain([QUIET]);
        let judged = names.map(async |name| (name, complaint(name, &recorded(name)).await));
        for (name, complaint) in futures::future::join_all(judged).await {
            assert!(complaint.is_none(), "{name}: {}", complaint.unwrap_or_default());
        }
    }

    #[tokio::test]
    async fn promtool_does_complain_of_an_alert_that_is_missing_and_of_one_too_many() {
        let killed = recorded(Fault::GatewayKilled.name());
        let said = complaint(Fault::FlushAll.name(), &killed).await.expect("nothing vanished");
        assert!(said.contains("SlotcastHoldsVanished"), "{said}");
        let said = complaint(QUIET, &killed).await.expect("it was not quiet");
        assert!(said.contains("SlotcastDown"), "{said}");
    }
}
