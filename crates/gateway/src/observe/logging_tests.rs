//! Tests of the log's lines, its levels and the client's tag.

use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use super::*;

fn logged(format: LogFormat, level: &str, act: impl FnOnce()) -> String {
    let text = Arc::new(Mutex::new(String::new()));
    let own = text.clone();
    let levels = LogLevels::try_from(level.to_owned()).unwrap();
    let write = move |line: &str| own.lock().unwrap().push_str(line);
    let layer = LineLayer { format, colours: false, write }.with_filter(filter(&levels));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
    text.lock().unwrap().clone()
}

fn json_line(act: impl FnOnce()) -> serde_json::Map<String, Json> {
    let text = logged(LogFormat::Json, "trace", act);
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    match serde_json::from_str(&text).unwrap() {
        Json::Object(map) => map,
        other => panic!("{other}"),
    }
}

#[test]
fn a_json_line_is_flat_with_exactly_the_fields_of_the_event() {
    let mut line = json_line(|| {
        let _span = tracing::info_span!("request", noise = 1).entered();
        tracing::info!(
            event = "slot_selected",
            date = %"2026-11-02",
            employee_id = 3_u32,
            storage = "redis",
            elapsed_ms = 0.25,
            renewed = false,
            late = f64::NAN,
            level = 9,
            missing = None::<&str>,
            "Taken {}",
            "twice"
        );
    });
    let timestamp = line.remove("timestamp").unwrap();
    let timestamp = timestamp.as_str().unwrap();
    timestamp.parse::<jiff::Timestamp>().unwrap();
    assert_eq!((timestamp.len(), timestamp.ends_with('Z')), ("2026-11-02T10:00:00.000Z".len(), true));
    assert_eq!(
        Json::Object(line),
        json!({
            "level": "info", "event": "slot_selected", "message": "Taken twice", "date": "2026-11-02", "employee_id": 3,
            "storage": "redis", "elapsed_ms": 0.25, "renewed": false, "late": null, "level_": 9,
        })
    );
}

#[test]
fn no_content_ends_the_line_or_reaches_the_terminal_bare() {
    let wicked = "a\nb\r\n\t\0\u{1b}[31m\u{7f}\u{85}\u{9b}\u{2028}\u{202e}\"}\\ ü";
    let line = json_line(
        || tracing::info!(event = "odd", display = %wicked, debug = ?wicked, text = wicked, "{wicked}"),
    );
    for field in ["display", "text", "message"] {
        assert_eq!(line[field], wicked, "{field}");
    }
    for format in [LogFormat::Json, LogFormat::Pretty] {
        let text = logged(
            format,
            "info",
            || tracing::info!(event = "odd", text = wicked, spaced = %"a b\n", "{wicked}"),
        );
        let inner = text.strip_suffix('\n').unwrap();
        assert!(
            !inner.chars().any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)),
            "{inner:?}"
        );
    }
}

#[test]
fn an_event_without_a_code_says_where_it_came_from() {
    let line = json_line(|| tracing::warn!(target: "redis::client", "link lost"));
    assert_eq!((&line["event"], &line["target"]), (&json!("log"), &json!("redis::client")));
}

#[test]
fn an_error_is_logged_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("store away")]
    struct Away(#[from] io::Error);
    let line = json_line(|| {
        let error = Away(io::Error::other("refused"));
        tracing::error!(event = "store_failed", error = &error as &dyn std::error::Error);
    });
    assert_eq!(line["error"], "store away: refused");
}

#[test]
fn a_pretty_line_begins_with_time_level_and_code() {
    let text = logged(
        LogFormat::Pretty,
        "info",
        || tracing::info!(event = "started", listen = "a:1", note = %"x y", "Ready"),
    );
    let (timestamp, rest) = text.split_at("2026-11-02 12:34:56.789".len());
    assert!(timestamp.ends_with(|last: char| last.is_ascii_digit()), "{text}");
    assert_eq!(rest, " INFO  started Ready listen=a:1 note=\"x y\"\n");
}

#[test]
fn libraries_only_warn_unless_they_are_named() {
    let speak = || {
        tracing::debug!(event = "own");
        tracing::info!(target: "redis", event = "chatter");
        tracing::warn!(target: "redis", event = "trouble");
        tracing::debug!(target: "hyper::proto", event = "named");
    };
    let codes = |level: &str| {
        let text = logged(LogFormat::Json, level, speak);
        let code =
            |line: &str| serde_json::from_str::<Json>(line).unwrap()["event"].as_str().unwrap().to_owned();
        text.lines().map(code).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(codes("debug"), "own trouble");
    assert_eq!(codes("info,hyper=debug"), "trouble named");
    assert_eq!(codes("error"), "");
    assert_eq!(codes("off"), "");
}

#[test]
fn unset_the_format_depends_on_the_terminal() {
    let unset = Log::default();
    assert_eq!(format_for(&unset, true), LogFormat::Pretty);
    assert_eq!(format_for(&unset, false), LogFormat::Json);
    let set = Log { format: Some(LogFormat::Json), ..Log::default() };
    assert_eq!(format_for(&set, true), LogFormat::Json);
}

#[test]
fn a_client_tag_is_stable_short_and_tells_clients_apart() {
    let tag = ClientTag::of("guest-1").to_string();
    assert_eq!(tag, ClientTag::of("guest-1").to_string());
    assert_ne!(tag, ClientTag::of("guest-2").to_string());
    assert!(tag.len() == 8 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()), "{tag}");
}
