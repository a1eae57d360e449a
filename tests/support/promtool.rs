//! Prometheus' own judge of rules and of what they say of recorded series.

use std::process::Output;

use tokio::process::Command;

/// The alert rules that operators get.
pub const ALERT_RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/prometheus/alerts.yaml");

/// Runs `promtool` with these arguments, to its end.
pub async fn promtool(args: &[&str]) -> Output {
    let output = Command::new("promtool").args(args).output().await;
    output.expect("promtool is installed: tests/all does that, or apt-get install prometheus")
}
