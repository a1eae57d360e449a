//! What a gateway printed: kept line by line, and asked for by event code.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::eventually::eventually;

/// The last lines a failing test prints.
const TAIL: usize = 40;
/// Older lines are forgotten, so that a chatty gateway does not fill the memory of a test.
const KEPT: usize = 50_000;

/// All lines of one process, from both of its outputs.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Logs {
    /// Collects every line of `output` until it ends.
    pub fn collect_from(&self, output: impl AsyncRead + Unpin + Send + 'static) {
        let lines = Arc::clone(&self.lines);
        tokio::spawn(async move {
            let mut output = BufReader::new(output).lines();
            while let Ok(Some(line)) = output.next_line().await {
                let mut lines = lines.lock().expect("log lines");
                if lines.len() == KEPT {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        });
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("log lines").iter().cloned().collect()
    }

    /// The JSON objects whose `event` is `code`, oldest first.
    pub fn events(&self, code: &str) -> Vec<Value> {
        let of_code = |line: &String| {
            let entry: Value = serde_json::from_str(line).ok()?;
            (event_code(&entry) == Some(code)).then_some(entry)
        };
        self.lines().iter().filter_map(of_code).collect()
    }

    /// Waits until an event of that code was logged, and returns the first.
    pub async fn eventually_event(&self, code: &str) -> Value {
        let what = format!("a log line with event {code}");
        eventually(&what, crate::PATIENCE, async || self.events(code).into_iter().next()).await
    }

    /// The last lines, for the output of a failing test.
    pub fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

fn event_code(entry: &Value) -> Option<&str> {
    entry.get("event").and_then(Value::as_str)
}

/// A field of a log entry, wherever the formatter puts fields: beside the event or under `fields`.
pub(crate) fn field<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    entry.get(name).or_else(|| entry.get("fields")?.get(name)).and_then(Value::as_str)
}
