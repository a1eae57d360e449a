//! What Prometheus and Grafana are given: numbers that explain themselves, and rules and a dashboard that speak of
//! numbers which are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{ALERT_RULES, Gateway, LegacyPage, RedisServer, open_metrics, promtool, wrong_alerts, yaml};
use tempfile::TempDir;

const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/grafana/slotcast.json");
/// Grafana's labels, and those that Prometheus puts on every series.
const OF_PROMETHEUS: [&str; 3] = ["instance", "job", "le"];

/// The families of a gateway that has just started.
async fn families() -> Vec<Value> {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let answer = LegacyPage::of(&gateway).get("/metrics").await;
    assert_eq!(answer.status, 200);
    open_metrics(&answer.body).await
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("no {field} in {value}"))
}

#[tokio::test]
async fn every_metric_says_what_it_is_and_in_which_unit() {
    let families = families().await;
    assert!(families.len() > 30, "{families:?}");
    for family in &families {
        let [name, kind, unit, help] = ["name", "type", "unit", "help"].map(|field| text(family, field));
        assert!(name.starts_with("slotcast_") || name.starts_with("process_"), "{name}");
        assert!(help.len() > 20 && help.ends_with('.') && !help.ends_with(".."), "{name}: {help}");
        let says_unit = match kind {
            "info" => unit.is_empty(),
            "counter" | "gauge" if unit.is_empty() => {
                help.starts_with("Number of ") || help.starts_with("1 while ") || help.starts_with("1 for ")
            }
            "counter" | "gauge" | "histogram" => ["seconds", "bytes"].contains(&unit) && name.ends_with(unit),
            _ => false,
        };
        assert!(says_unit, "{name}, a {kind} with the unit {unit:?}: {help}");
        assert!(!list(family, "samples").is_empty(), "{name}");
    }
}

/// Each sample's name, with the values that its labels have.
fn samples(families: &[Value]) -> BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> {
    let mut samples = BTreeMap::<_, BTreeMap<_, BTreeSet<_>>>::new();
    for sample in families.iter().flat_map(|family| list(family, "samples")) {
        let known = samples.entry(text(sample, "name")).or_default();
        for (label, value) in sample["labels"].as_object().expect("labels") {
            known.entry(label.as_str()).or_default().insert(value.as_str().expect("a text"));
        }
    }
    samples
}

/// The metrics that an expression names, each with what stands in the braces behind it.
fn selectors(expression: &str) -> Vec<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = ["slotcast_", "process_"].iter().flat_map(|start| expression.match_indices(start));
    let starts = starts.map(|(at, _)| at).filter(|at| !expression[..*at].ends_with(is_part));
    starts
        .map(|at| {
            let rest = &expression[at..];
            let (name, rest) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
            let inner = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            (name, inner.map_or("", |(inner, _)| inner))
        })
        .collect()
}

/// Label, and the values it is compared with.
fn matchers(inner: &str) -> Vec<(&str, Vec<&str>)> {
    let parts = inner.split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (label, values) = part.trim().split_once(['=', '!']).unwrap_or_else(|| panic!("{inner}"));
            let values = values.trim_start_matches(['=', '~']).trim_matches('"');
            (label, values.split('|').collect())
        })
        .collect()
}

#[tokio::test]
async fn alerts_and_dashboard_speak_of_metrics_and_labels_that_are_there_from_the_start() {
    let families = families().await;
    let samples = samples(&families);
    let (rules, dashboard) = (rules().await, dashboard());
    let expressions = rules.iter().map(|rule| text(rule, "expr")).chain(queries(&dashboard));
    let mut seen = 0;
    for (name, inner) in expressions.flat_map(selectors) {
        let labels = samples.get(name).unwrap_or_else(|| panic!("there is no {name}"));
        seen += 1;
        for (label, values) in matchers(inner).iter().filter(|(label, _)| !OF_PROMETHEUS.contains(label)) {
            let known = labels.get(label).unwrap_or_else(|| panic!("{name} has no label {label}"));
            for value in values {
                assert!(known.contains(value), "{name} has no {label}={value}, only {known:?}");
            }
        }
    }
    assert!(seen > 60, "{seen}");
    for rule in &rules {
        let expression = text(rule, "expr");
        let own = selectors(expression).into_iter().filter_map(|(name, _)| samples.get(name));
        let own: BTreeSet<&str> =
            own.flat_map(|labels| labels.keys().copied()).chain(OF_PROMETHEUS).collect();
        let annotations = rule["annotations"].to_string();
        for label in
            annotations.split("$labels.").skip(1).map(|rest| rest.split(' ').next().unwrap_or_default())
        {
            let is_kept = !expression.contains(" by (") || expression.contains(label);
            assert!(own.contains(label) && is_kept, "{}: no {label}", text(rule, "alert"));
        }
    }
}

async fn rules() -> Vec<Value> {
    let file = yaml(Path::new(ALERT_RULES)).await;
    list(&file, "groups").iter().flat_map(|group| list(group, "rules")).cloned().collect()
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(DASHBOARD).expect("the dashboard");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

/// What the panels, the marks and the variables ask.
fn queries(dashboard: &Value) -> impl Iterator<Item = &str> {
    let targets = list(dashboard, "panels").iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let marks = list(&dashboard["annotations"], "list");
    let variables =
        list(&dashboard["templating"], "list").iter().filter_map(|one| one["definition"].as_str());
    targets.chain(marks).map(|query| text(query, "expr")).chain(variables)
}

async fn judged(file: PathBuf) {
    let output = promtool(&["check", "rules", file.to_str().expect("a path of text")]).await;
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn each_alert_is_a_rule_that_prometheus_takes_and_says_what_to_do() {
    judged(ALERT_RULES.into()).await;
    for rule in rules().await {
        let name = text(&rule, "alert");
        assert!(name.starts_with("Slotcast"), "{name}");
        assert!(["critical", "warning"].contains(&text(&rule["labels"], "severity")), "{name}");
        let summary = text(&rule["annotations"], "summary");
        assert!(summary.len() < 120 && !summary.ends_with('.'), "{name}: {summary}");
        let description = text(&rule["annotations"], "description");
        assert!(description.len() > 100 && description.ends_with(['.', '?']), "{name}: {description}");
    }
}

#[tokio::test]
async fn what_the_dashboard_asks_is_promql() {
    let dashboard = dashboard();
    let asked = queries(&dashboard).filter(|query| !query.starts_with("label_values("));
    let rules = asked.enumerate().map(|(number, query)| {
        let query = [("$__rate_interval", "1m"), ("$job", "slotcast"), ("$instance", ".*")]
            .iter()
            .fold(query.to_owned(), |query, (variable, value)| query.replace(variable, value));
        assert!(!query.contains('$'), "an unknown variable: {query}");
        serde_json::json!({ "record": format!("query:{number}"), "expr": query })
    });
    // JSON is YAML.
    let group = serde_json::json!({ "name": "dashboard", "rules": rules.collect::<Vec<_>>() });
    let folder = TempDir::with_prefix("slotcast-dashboard-").expect("a temporary folder");
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, serde_json::json!({ "groups": [group] }).to_string()).expect("a file");
    judged(file).await;
}

#[tokio::test]
async fn tables_that_are_missing_wake_somebody_and_those_that_are_there_nobody() {
    for kind in ["own", "appointments"] {
        let name = format!("slotcast_mysql_tables_lack{{kind=\"{kind}\",instance=\"a\",job=\"slotcast\"}}");
        let missing = wrong_alerts(Some(&["SlotcastTablesMissing"]), &format!("{name}\t1+0x20\n")).await;
        assert_eq!(missing, None, "{kind}");
        assert_eq!(wrong_alerts(None, &format!("{name}\t0+0x20\n")).await, None, "{kind}");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_can_show() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "older ones are migrated at each start");
    let variables = list(&dashboard["templating"], "list");
    let names: Vec<&str> = variables.iter().map(|variable| text(variable, "name")).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    assert_eq!((text(&variables[0], "type"), text(&variables[0], "query")), ("datasource", "prometheus"));
    let panels = list(&dashboard, "panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    let mut rows = Vec::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = text(panel, "title");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a place"));
        assert!(x + w <= 24, "{title} is outside");
        for place in (y..y + h).flat_map(|row| (x..x + w).map(move |column| (row, column))) {
            assert!(taken.insert(place), "{title} is over another");
        }
        if panel["type"] == "row" {
            rows.push(title);
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(text(panel, "description").ends_with('.'), "{title}");
        let targets = list(panel, "targets");
        let letters: BTreeSet<&str> = targets.iter().map(|target| text(target, "refId")).collect();
        assert!(!targets.is_empty() && letters.len() == targets.len(), "{title}");
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        assert_eq!(unit == "s" || unit == "bytes", asks_for_a_unit(targets), "{title} is shown in {unit}");
    }
    assert_eq!(rows, ["What visitors see", "Stores", "Gateway resources", "Refusals and limits"]);
}

/// Whether what is asked is a time or a size.
fn asks_for_a_unit(targets: &[Value]) -> bool {
    let query = text(&targets[0], "expr");
    let is_quantity = ["_seconds_bucket", "_seconds_total", "_bytes", "_seconds{"].iter();
    is_quantity.filter(|name| query.contains(**name)).count() > 0 && !query.contains("process_cpu")
}
