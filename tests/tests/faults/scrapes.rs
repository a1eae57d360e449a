//! What a Prometheus that scrapes the gateways would have stored: recorded each second, and kept at the 15 s that are usual,
//! in the notation of promtool. Made by `run`, judged by `alerts`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::Gateway;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Between two scrapes that are recorded, and the longest one may take.
const RECORDED_EVERY: Duration = Duration::from_secs(1);
/// Of those, one in so many is what Prometheus sees.
const SEEN_EVERY: usize = 15;
/// Afterwards nothing changes for so many more scrapes that it sees: who is dead stays dead.
const AFTERWARDS: usize = 10;

/// The pages of both gateways, one row a second; `None` for one that did not answer.
type Rows = Vec<[Option<String>; 2]>;

/// Scrapes until it is ended.
pub(crate) struct Recording {
    rows: Arc<Mutex<Rows>>,
    _task: JoinSet<()>,
}

impl Recording {
    /// The first scrape is made when this returns.
    pub(crate) async fn start(gateways: &[Gateway; 2]) -> Self {
        let addrs = [gateways[0].addr(), gateways[1].addr()];
        let rows = Arc::new(Mutex::new(vec![scrape_both(addrs).await]));
        let (mut task, theirs) = (JoinSet::new(), rows.clone());
        task.spawn(async move {
            let mut ticks = interval(RECORDED_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let row = scrape_both(addrs).await;
                theirs.lock().expect("scrapes").push(row);
            }
        });
        Self { rows, _task: task }
    }

    /// The series that Prometheus would have.
    pub(crate) fn end(self) -> Series {
        let rows = std::mem::take(&mut *self.rows.lock().expect("scrapes"));
        Series::seen(&rows)
    }
}

async fn scrape_both([one, other]: [SocketAddr; 2]) -> [Option<String>; 2] {
    let scrape = async |addr| timeout(RECORDED_EVERY, scrape(addr)).await.ok().flatten();
    let (one, other) = tokio::join!(scrape(one), scrape(other));
    [one, other]
}

async fn scrape(addr: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(addr).await.ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, page) = answer.split_once("\r\n\r\n")?;
    (head.starts_with("HTTP/1.1 200") && page.ends_with("# EOF\n")).then(|| page.to_owned())
}

/// Each series with its values, one a scrape, as promtool reads them.
#[derive(Debug)]
pub(crate) struct Series(BTreeMap<String, Vec<String>>);

impl Series {
    fn seen(rows: &Rows) -> Self {
        let last = rows.last().expect("the first scrape is always made");
        let seen = rows.iter().step_by(SEEN_EVERY).chain(std::iter::repeat_n(last, AFTERWARDS));
        let seen: Vec<_> = seen.map(|pages| [samples(&pages[0], "a"), samples(&pages[1], "b")]).collect();
        let names: BTreeSet<&String> = seen.iter().flatten().flat_map(BTreeMap::keys).collect();
        let value = |name: &String, row: &[BTreeMap<String, String>; 2]| {
            let found = row.iter().find_map(|of_gateway| of_gateway.get(name));
            found.cloned().unwrap_or_else(|| "stale".to_owned())
        };
        let values = |name: &String| seen.iter().map(|row| value(name, row)).collect();
        Self(names.into_iter().map(|name| (name.clone(), values(name))).collect())
    }

    /// Those alone that rules speak of; a counter that never was anything but zero says nothing.
    pub(crate) fn of_rules(mut self, rules: &str) -> Self {
        let is_silent = |name: &str, values: &[String]| {
            ["_total", "_bucket"].iter().any(|end| name.ends_with(end))
                && values.iter().all(|value| ["0", "0.0"].contains(&value.as_str()))
        };
        let words: BTreeSet<&str> = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        self.0.retain(|series, values| {
            let name = series.split('{').next().unwrap_or_default();
            words.contains(name) && !is_silent(name, values)
        });
        self
    }

    /// One line for each: name, tabulator, values.
    pub(crate) fn to_text(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (series, values)| {
            writeln!(text, "{series}\t{}", shortened(values)).expect("text grows");
            text
        })
    }
}

/// The same values, runs of equal ones in promtool's short form.
fn shortened(values: &[String]) -> String {
    let runs = values.chunk_by(|one, other| one == other);
    let short = runs.map(|run| match (run[0].as_str(), run.len()) {
        ("stale", count) => vec!["stale"; count].join(" "),
        (value, 1) => value.to_owned(),
        (value, count) => format!("{value}+0x{}", count - 1),
    });
    short.collect::<Vec<_>>().join(" ")
}

/// What one scrape adds, by series with the labels that Prometheus puts on.
fn samples(page: &Option<String>, instance: &str) -> BTreeMap<String, String> {
    let with_labels = |series: &str| {
        let own = format!("instance=\"{instance}\",job=\"slotcast\"");
        match series.strip_suffix('}') {
            Some(labelled) => format!("{labelled},{own}}}"),
            None => format!("{series}{{{own}}}"),
        }
    };
    let lines = page.iter().flat_map(|page| page.lines()).filter(|line| !line.starts_with('#'));
    let mut samples: BTreeMap<String, String> = lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, value)| (with_labels(series), value.to_owned()))
        .collect();
    samples.insert(with_labels("up"), u8::from(page.is_some()).to_string());
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_in_fifteen_is_kept_and_what_did_not_answer_is_stale() {
        let page = |value: usize| Some(format!("# HELP x\nx_total {value}\ny{{kind=\"z\"}} 1.5\n# EOF\n"));
        let rows: Rows = (0..31).map(|second| [page(second), page(7).filter(|_| second < 15)]).collect();
        let series = Series::seen(&rows);
        let text = series.to_text();
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        assert_eq!(line("x_total{instance=\"a\",job=\"slotcast\"}\t"), "0 15 30+0x10");
        assert_eq!(line("y{kind=\"z\",instance=\"a\",job=\"slotcast\"}\t"), "1.5+0x12");
        let stale = ["stale"; 12].join(" ");
        assert_eq!(line("x_total{instance=\"b\",job=\"slotcast\"}\t"), format!("7 {stale}"));
        assert_eq!(line("up{instance=\"b\",job=\"slotcast\"}\t"), "1 0+0x11");
    }
}
