//! What Python's parsers make of a text: YAML, and the numbers of `/metrics` by the rules of OpenMetrics.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const YAML: &str = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
const OPEN_METRICS: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parse
print(json.dumps([{'name': family.name, 'type': family.type, 'unit': family.unit, 'help': family.documentation,
    'samples': [{'name': sample.name, 'labels': sample.labels} for sample in family.samples]}
    for family in parse(sys.stdin)]))";

/// A file of YAML as JSON.
pub async fn yaml(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    read_by(YAML, &text).await
}

/// A page of OpenMetrics as its families, each with `name`, `type`, `unit`, `help` and `samples`; panics where Prometheus' own
/// reference parser refuses it.
pub async fn open_metrics(page: &str) -> Vec<Value> {
    match read_by(OPEN_METRICS, page).await {
        Value::Array(families) => families,
        other => panic!("{other}"),
    }
}

async fn read_by(program: &str, text: &str) -> Value {
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.kill_on_drop(true).spawn().expect("python3 is installed: tests/all does that");
    let mut input = child.stdin.take().expect("stdin is piped");
    input.write_all(text.as_bytes()).await.expect("python reads");
    drop(input);
    let output = child.wait_with_output().await.expect("python ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
