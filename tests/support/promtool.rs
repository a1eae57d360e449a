//! Prometheus' own judge of rules and of what they say of recorded series.

use std::fmt::Write;
use std::process::Output;

use tempfile::TempDir;
use tokio::process::Command;

/// The alert rules that operators get.
pub const ALERT_RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/prometheus/alerts.yaml");
/// Later than the longest series ends.
const IN_THE_END: &str = "30m";

/// Runs `promtool` with these arguments, to its end.
pub async fn promtool(args: &[&str]) -> Output {
    let output = Command::new("promtool").args(args).output().await;
    output.expect("promtool is installed: tests/all does that, or apt-get install prometheus")
}

/// What is wrong with the alerts over these series, one a line: name, tabulator, promtool's values at 15 s. `None` where
/// all that were expected fired; others may. Where nothing is expected nothing may.
pub async fn wrong_alerts(expected: Option<&[&str]>, series: &str) -> Option<String> {
    let folder = TempDir::with_prefix("slotcast-alerts-").expect("a temporary folder");
    let file = folder.path().join("alerts.yaml");
    std::fs::write(&file, unit_test(expected, series)).expect("a file");
    let output = promtool(&["test", "rules", file.to_str().expect("a path of text")]).await;
    let said = [output.stdout, output.stderr].concat();
    (!output.status.success()).then(|| format!("alerts: {}", String::from_utf8_lossy(&said)))
}

/// The series and the expectation in promtool's form; YAML takes JSON's texts.
fn unit_test(expected: Option<&[&str]>, series: &str) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut yaml = format!(
        "rule_files: [{}]\nevaluation_interval: 15s\ntests:\n  - interval: 15s\n    input_series:\n",
        text(ALERT_RULES)
    );
    for (series, values) in series.lines().filter_map(|line| line.split_once('\t')) {
        writeln!(yaml, "      - {{ series: {}, values: {} }}", text(series), text(values))
            .expect("text grows");
    }
    let wanted = expected.map(|names| format!(",alertname=~\"{}\"", names.join("|"))).unwrap_or_default();
    let fired = format!("max by (alertname) (max_over_time(ALERTS{{alertstate=\"firing\"{wanted}}}[1h]))");
    let samples = expected.unwrap_or_default().iter();
    let samples = samples.map(|name| format!("{{ labels: '{{alertname=\"{name}\"}}', value: 1 }}"));
    let samples = samples.collect::<Vec<_>>().join(", ");
    writeln!(
        yaml,
        "    promql_expr_test:\n      - {{ expr: {}, eval_time: {IN_THE_END}, exp_samples: [{samples}] }}",
        text(&fired)
    )
    .expect("text grows");
    yaml
}
