//! Tables that name everything of a kind do: metrics, log events, error codes, doctor checks, alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use super::pages::{codes, page};
use super::source::{events, metrics, quoted, sources};

const REFERENCE: &str = "crates/gateway/docs/reference.md";

/// Says what a table lacks and what it has too much.
fn assert_same<V: PartialEq + Debug>(what: &str, table: &BTreeMap<String, V>, program: &BTreeMap<String, V>) {
    let lacking: Vec<_> = program.iter().filter(|(name, value)| table.get(*name) != Some(value)).collect();
    let gone: Vec<_> = table.iter().filter(|(name, value)| program.get(*name) != Some(value)).collect();
    assert!(
        lacking.is_empty() && gone.is_empty(),
        "{what}: the program has {lacking:?}; the table has {gone:?}"
    );
}

#[tokio::test]
async fn the_table_of_metrics_has_each_with_its_type_and_its_kinds() {
    let rows = page(REFERENCE).table("## Metrics");
    let table = rows.iter().map(|row| (codes(&row[0])[0].to_owned(), row[1].clone())).collect();
    assert_same("metrics", &table, &metrics().await);

    let source = sources("crates", "rs").concat();
    for row in &rows {
        let lacking: Vec<_> = codes(&row[2])
            .into_iter()
            .filter(|label| {
                !source.contains(&format!("\"{label}\"")) && !source.contains(&format!("pub {label}:"))
            })
            .collect();
        assert!(lacking.is_empty(), "{}: {lacking:?}", row[0]);
    }
}

#[test]
fn the_table_of_log_events_has_each_with_its_level() {
    let mut table: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in page(REFERENCE).table("## Log events") {
        let names = codes(&row[0]);
        let levels: Vec<&str> = row[1].split(", ").collect();
        for (at, name) in names.iter().enumerate() {
            // As many levels as names: each has its own; else all have all.
            let own = if names.len() == levels.len() { &levels[at..=at] } else { &levels[..] };
            let known =
                table.insert((*name).to_owned(), own.iter().map(|level| (*level).to_owned()).collect());
            assert!(known.is_none(), "{name} stands there twice");
        }
    }
    assert_same("log events", &table, &events());
}

#[test]
fn the_table_of_error_codes_names_no_other() {
    let errors = sources("crates/gateway/src/protocol", "rs").concat();
    for row in page("crates/gateway/PROTOCOL.md").table("### Error codes") {
        for code in codes(&row[0]) {
            assert!(errors.contains(&format!("(\"{code}\", ")), "{code} is no error code");
        }
    }
}

#[test]
fn the_table_of_doctor_checks_has_each() {
    let source = sources("crates/gateway/src/cli/doctor", "rs");
    let source = source.iter().map(|text| text.split("\n#[cfg(test)]").next().unwrap_or_default());
    let topics = ["configuration.", "redis.", "mysql.", "clocks.", "address."];
    let named = source.flat_map(|text| {
        let starts = ["&str = \"", "check(\""].into_iter().flat_map(|before| text.split(before).skip(1));
        starts.map(quoted).filter(|name| topics.iter().any(|topic| name.starts_with(topic)))
    });
    let program: BTreeMap<String, ()> = named.map(|name| (name.to_owned(), ())).collect();
    let rows = page(REFERENCE).table("## Doctor checks");
    let table = rows.iter().flat_map(|row| codes(&row[0])).map(|name| (name.to_owned(), ())).collect();
    assert_same("doctor checks", &table, &program);
}

#[test]
fn every_alert_is_in_the_runbook() {
    let rules = [sources("config", "yml"), sources("config", "yaml")].concat().concat();
    let runbook = page("crates/gateway/docs/runbook.md");
    let known: Vec<String> = runbook.code().into_iter().map(|(_, code)| code).collect();
    let alerts =
        rules.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("alert: "));
    let lacking: Vec<_> = alerts.filter(|alert| !known.iter().any(|code| code == alert)).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}
