//! What the programs say of themselves: their source, the log events in it, the metrics that a gateway shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use support::{Gateway, LegacyPage};

use super::pages::{files, repository};

/// The text of every file below a folder of the repository that has this extension, tests left out.
pub(crate) fn sources(folder: &str, extension: &str) -> Vec<String> {
    let wanted = |path: &Path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        path.extension().is_some_and(|found| found == extension)
            && name != "tests"
            && !name.ends_with("_tests")
    };
    let paths = files(&repository().join(folder), &wanted);
    paths.iter().map(|path| std::fs::read_to_string(path).expect("a source file")).collect()
}

/// Every log event with the levels at which it is written.
pub(crate) fn events() -> BTreeMap<String, BTreeSet<String>> {
    let mut events: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |event: &str, level: &str| {
        events.entry(event.to_owned()).or_default().insert(level.to_owned());
    };
    for text in
        ["crates/gateway/src", "crates/slot-state/src"].iter().flat_map(|folder| sources(folder, "rs"))
    {
        let text = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        for (at, found) in text.match_indices("event = \"") {
            let level = text[..at].rsplit_once("tracing::").expect("a macro before it").1;
            add(quoted(&text[at + found.len()..]), level.split('!').next().unwrap_or_default());
        }
        // What `migrate` finds is warned of by whoever asked it.
        for (at, found) in text.match_indices("event: \"") {
            add(quoted(&text[at + found.len()..]), "warn");
        }
        // What became of a request: its kind, and the event if it was carried out.
        for (at, found) in text.match_indices(".finish(\"") {
            let event = text[at + found.len()..].split('"').nth(2).expect("an event behind the kind");
            add(event, "info");
        }
    }
    events
}

/// Every metric of a gateway under the name of its samples, with its type.
pub(crate) async fn metrics() -> BTreeMap<String, String> {
    let gateway = Gateway::start().await;
    let shown = LegacyPage::of(&gateway).get("/metrics").await.body;
    let types = shown.lines().filter_map(|line| line.strip_prefix("# TYPE slotcast_")?.split_once(' '));
    let mut metrics: BTreeMap<String, String> = types.map(|(name, kind)| sample(name, kind)).collect();
    // One with labels that has counted nothing yet is not shown.
    let source = sources("crates/gateway/src/observe", "rs").concat();
    let families = source.split(": Family<").skip(1).filter_map(|rest| rest.split_once('>'));
    metrics.extend(families.map(|(types, rest)| {
        let kind = if types.contains("Gauge") { "gauge" } else { "counter" };
        sample(quoted(rest.split_once('"').expect("a name").1), kind)
    }));
    metrics
}

fn sample(name: &str, kind: &str) -> (String, String) {
    let suffix = match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    (format!("slotcast_{name}{suffix}"), kind.to_owned())
}

/// Up to the next quote.
pub(crate) fn quoted(text: &str) -> &str {
    text.split('"').next().unwrap_or_default()
}
