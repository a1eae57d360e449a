//! The dashboard's look as lines for a terminal, aligned; the worst first. Called by `status`.

use jiff::Timestamp;

use crate::dashboard::status::{OperationStatus, State, Status, StoreStatus};
use crate::observe::window::Reading;

/// As many as a terminal has room for.
const OPERATIONS: usize = 10;
/// Sentences are broken at this.
const WIDTH: usize = 100;

pub(super) fn lines(look: &Status, place: &str) -> Vec<String> {
    let word = match look.state {
        State::Ok => "OK",
        State::Degraded => "DEGRADED",
        State::NotReady => "NOT READY",
        State::Stopping => "STOPPING",
    };
    let mut lines = vec![format!("{word}: {}", look.headline)];
    lines.extend(look.troubles.iter().flat_map(|trouble| trouble_lines(trouble)));
    let running = span(look.at - look.started_at);
    lines.push(format!("slotcast {} at {place}, running for {running}", look.version));
    lines.push(String::new());
    lines.extend(facts(look).into_iter().map(|(name, value)| format!("{name:<20} {value}")));
    lines.push(String::new());
    lines.extend(kinds(look));
    lines.push(String::new());
    lines.push("last operations (UTC)".to_owned());
    if look.operations.is_empty() {
        lines.push("  none since the start".to_owned());
    }
    lines.extend(look.operations.iter().take(OPERATIONS).map(operation));
    lines
}

/// Broken between words.
fn trouble_lines(trouble: &str) -> Vec<String> {
    let mut lines = vec!["  !".to_owned()];
    for word in trouble.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < WIDTH => *line = format!("{line} {word}"),
            _ => lines.push(format!("    {word}")),
        }
    }
    lines
}

fn facts(look: &Status) -> Vec<(&'static str, String)> {
    let lasted = |since: i64| span(look.at - since);
    let store = |store: &StoreStatus| {
        let word = if store.status == "ok" { "online" } else { &*store.status };
        let follows = store.follows.as_ref().map(|follows| format!(", follows by {follows}"));
        format!("{word} for {}{}", lasted(store.since), follows.unwrap_or_default())
    };
    let of = |name: &str| look.stores.iter().find(|store| store.name == name);
    let mut facts = vec![("redis", of("redis").map_or_else(|| "not used".to_owned(), store))];
    let stale = if look.storage.stale { ", takes no writes" } else { "" };
    let storage = format!("{} for {}{stale}", look.storage.mode, lasted(look.storage.since));
    facts.push(("storage mode", storage));
    facts.extend(of("mysql").map(|mysql| ("mysql", store(mysql))));
    if let Some(outbox) = &look.outbox {
        let waiting =
            outbox.waiting.map_or_else(|| "? bookings".to_owned(), |waiting| format!("{waiting} bookings"));
        facts.push(("telling wordpress", format!("{}, {waiting} not told", outbox.status)));
    }
    let cache = match look.availability.hit_rate {
        Some(rate) => format!(
            "{:.1} % of {} answers in {}",
            rate * 100.0,
            look.availability.answers,
            span(look.availability.over_secs as i64 * 1000)
        ),
        None if look.availability.exists => "nobody asked lately".to_owned(),
        None => "no cache without MySQL".to_owned(),
    };
    let rates = look.rates;
    facts.extend([
        ("heartbeat interval", format!("{} s", look.heartbeat_interval_secs)),
        ("active selections", look.selections.to_string()),
        ("locked slots", look.locks.to_string()),
        ("connections", format!("{} of {} clients", look.connections, look.clients)),
        ("rooms", format!("{}, {} subscriptions", look.rooms, look.subscriptions)),
        ("cache hits", cache),
        ("response time", times(look.responses)),
        ("store round trip", times(look.store_round_trip)),
        ("event lag", times(look.event_lag)),
        ("expiry lag", times(look.expiry_lag)),
        (
            "a second",
            format!("{} deliveries, {} requests, {} polls", rates.deliveries, rates.requests, rates.polls),
        ),
    ]);
    facts
}

fn times(reading: Reading) -> String {
    match (reading.average_ms, reading.p99_ms) {
        (Some(average), Some(p99)) => {
            format!("{} average, {} p99 ({} in the last minute)", ms(average), ms(p99), reading.count)
        }
        _ => "none in the last minute".to_owned(),
    }
}

fn kinds(look: &Status) -> Vec<String> {
    let line = |cells: [String; 6]| {
        let [name, count, average, p99, refused, failed] = cells;
        format!("{name:<14}{count:>8}{average:>11}{p99:>11}{refused:>9}{failed:>8}")
    };
    let heading = ["last minute", "count", "average", "p99", "refused", "failed"];
    let or_none = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), ms);
    let mut lines = vec![line(heading.map(str::to_owned))];
    lines.extend(look.kinds.iter().map(|kind| {
        let reading = &kind.reading;
        line([
            kind.name.to_string(),
            reading.count.to_string(),
            or_none(reading.average_ms),
            or_none(reading.p99_ms),
            reading.refused.to_string(),
            reading.failed.to_string(),
        ])
    }));
    lines
}

fn operation(done: &OperationStatus) -> String {
    let at = Timestamp::from_millisecond(done.at).unwrap_or_default().strftime("%H:%M:%S");
    let OperationStatus { what, date, employee_id, outcome, .. } = done;
    let time = done.time.as_deref().unwrap_or_default();
    let store = done.store.as_deref().unwrap_or("memory");
    format!(
        "  {at}  {what:<12}  {date} {time:<5}  employee {employee_id:<6}  {store:<6} {:>9}  {outcome}",
        ms(done.ms)
    )
}

fn ms(ms: f64) -> String {
    if ms >= 1_000.0 {
        format!("{:.1} s", ms / 1e3)
    } else if ms >= 100.0 {
        format!("{ms:.0} ms")
    } else if ms >= 10.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.2} ms")
    }
}

/// The two largest units.
fn span(ms: i64) -> String {
    let secs = ms.max(0) / 1000;
    let units = [(secs / 86_400, "d"), (secs / 3_600 % 24, "h"), (secs / 60 % 60, "min"), (secs % 60, "s")];
    let shown = units.iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
    let shown: Vec<String> = shown.map(|(count, unit)| format!("{count} {unit}")).collect();
    if shown.is_empty() { "0 s".to_owned() } else { shown.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_trouble_is_broken_between_words() {
        let lines = trouble_lines(&"word ".repeat(50));
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= WIDTH), "{lines:?}");
        assert!(lines[0].starts_with("  ! word") && lines[1].starts_with("    word"));
    }

    #[test]
    fn spans_and_times_are_written_shortly() {
        for (ms, text) in [
            (0, "0 s"),
            (-5, "0 s"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h"),
            (3_605_000, "1 h"),
            (90_061_000, "1 d 1 h"),
        ] {
            assert_eq!(span(ms), text);
        }
        for (number, text) in [(0.071, "0.07 ms"), (12.34, "12.3 ms"), (450.0, "450 ms"), (2_345.0, "2.3 s")]
        {
            assert_eq!(ms(number), text);
        }
    }
}
