//! Whether of two clients that select one slot at one moment exactly one gets it; nobody's employee on a day
//! far ahead on which the site is open.
//! Invariant: what is selected is let go again, and would go by itself.

use std::time::Duration;

use jiff::civil::Date;
use jiff::{ToSpan, Zoned};
use serde_json::{Value as Json, json};
use tokio::time::sleep;

use super::line::{Line, nobody, sentence};
use super::place::Place;
use crate::cli::doctor::report::{Check, slotcast_toml};
use crate::config::Config;

const NAME: &str = "address.race";
/// The last number there is.
const EMPLOYEE: u32 = 8_388_607;
const ROUNDS: usize = 3;
/// So many days are asked for one after the other; then every eighth: each time another day of the week.
const DAYS_IN_A_ROW: u32 = 14;
const THEN_EVERY: usize = 8;
/// First those that meet any opening of six hours, then of three, then of one.
const HOURS: [u8; 24] =
    [12, 18, 6, 0, 9, 15, 21, 3, 10, 11, 13, 14, 16, 17, 8, 19, 7, 20, 22, 5, 23, 4, 1, 2];
/// Until what was too much at once is asked again, and how often it is.
const BREATH: Duration = Duration::from_secs(1);
const BREATHS: usize = 5;
const SAME_STORES: &str =
    "[redis]\nurl = \"…\"   # the same for every gateway of the site\n[mysql]\nurl = \"…\"   # this too";

/// Why no race could be held, or what came of it.
enum Trouble {
    /// Both had the slot, or one that the other's view does not show.
    Wrong(String),
    /// The gateway could not.
    Refused(String),
    /// The site is closed whenever it was tried.
    Closed(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Trouble::Refused(why)
    }
}

pub(super) async fn check(config: &Config, place: &Place) -> Check {
    match hold(place, config).await {
        Ok(()) => Check::ok(
            NAME,
            format!("of two clients that selected one slot at once one got it, {ROUNDS} times of {ROUNDS}"),
        ),
        Err(Trouble::Wrong(what)) => {
            let says = format!(
                "{what}: do all gateways behind this address use the same stores, mysql.table_prefix too?"
            );
            Check::failed(NAME, says).paste(slotcast_toml(SAME_STORES))
        }
        Err(Trouble::Refused(why)) => Check::failed(NAME, format!("no slot could be selected: {why}")),
        Err(Trouble::Closed(when)) => Check::warning(
            NAME,
            format!(
                "whether two clients can get one slot was not tested, as AppointEase's settings close the site \
                 {when}"
            ),
        ),
    }
}

async fn hold(place: &Place, config: &Config) -> Result<(), Trouble> {
    let (a, b) = (nobody()?, nobody()?);
    let (a, b) = futures::join!(Line::of_client(place, config, &a), Line::of_client(place, config, &b));
    let (mut a, mut b) = (a?, b?);
    let outcome = match open_day(&mut a, config.slots.horizon_days.into()).await {
        Ok(day) => races(&mut a, &mut b, day).await,
        Err(trouble) => Err(trouble),
    };
    a.leave().await;
    b.leave().await;
    outcome
}

/// A day that hardly anybody looks at, and that is not closed.
async fn open_day(line: &mut Line, horizon_days: u32) -> Result<Date, Trouble> {
    let today = Zoned::now().date();
    let day = |ahead: u32| today.saturating_add(i64::from(ahead).days());
    let first = horizon_days / 2;
    let in_a_row = first..horizon_days.clamp(first + 1, first + DAYS_IN_A_ROW);
    let later = (in_a_row.end..horizon_days).step_by(THEN_EVERY);
    let mut last = day(first);
    for ahead in in_a_row.chain(later) {
        last = day(ahead);
        let answer =
            ask(line, json!({"type": "availability", "date": last.to_string(), "employee_id": EMPLOYEE}));
        // Where nobody can say, a select will.
        if answer.await?["unavailable"] != "all" {
            return Ok(last);
        }
    }
    Err(Trouble::Closed(format!("on every day that was tried, from {} to {last}", day(first))))
}

async fn races(a: &mut Line, b: &mut Line, day: Date) -> Result<(), Trouble> {
    let mut hours = HOURS.into_iter();
    let mut hour = hours.next();
    let mut held = 0;
    // Minutes that hardly any doctor at the same time takes too.
    let mut minute = rand::random::<u32>() % 60;
    while held < ROUNDS {
        let Some(open) = hour else {
            return Err(Trouble::Closed(format!("on {day} at every hour, at the minutes that were tried")));
        };
        minute = (minute + 1 + rand::random::<u32>() % 19) % 60;
        match race(a, b, day, &format!("{open:02}:{minute:02}")).await? {
            Race::Held => held += 1,
            Race::Closed => hour = hours.next(),
        }
    }
    Ok(())
}

/// What came of a race in which nothing was wrong.
enum Race {
    Held,
    /// The site is closed at this time.
    Closed,
}

async fn race(a: &mut Line, b: &mut Line, day: Date, time: &str) -> Result<Race, Trouble> {
    let frame =
        |kind: &str| json!({"type": kind, "date": day.to_string(), "employee_id": EMPLOYEE, "time": time});
    let (first, second) = futures::join!(ask(a, frame("select")), ask(b, frame("select")));
    let (first, second) = (first?, second?);
    let (winner, loser) = match (has_it(&first), has_it(&second)) {
        (true, true) => {
            for line in [a, b] {
                ask(line, frame("deselect")).await?;
            }
            return Err(Trouble::Wrong("two clients both got one slot".to_owned()));
        }
        (true, false) => (a, second),
        (false, true) => (b, first),
        (false, false) if is_closed(&first) && is_closed(&second) => return Ok(Race::Closed),
        (false, false) => {
            let refusal = if is_closed(&first) { second } else { first };
            return Err(Trouble::Refused(sentence(&refusal)));
        }
    };
    let let_go = ask(winner, frame("deselect")).await?;
    if loser["code"] != "slot_locked" {
        return Err(Trouble::Refused(sentence(&loser)));
    }
    if let_go["type"] == "ok" { Ok(Race::Held) } else { Err(Trouble::Refused(sentence(&let_go))) }
}

/// Asks, and asks again where the gateway's limits want that slower.
async fn ask(line: &mut Line, request: Json) -> Result<Json, String> {
    for _ in 0..BREATHS {
        let answer = line.ask(request.clone()).await?;
        if answer["code"] != "rate_limited" {
            return Ok(answer);
        }
        sleep(BREATH).await;
    }
    line.ask(request).await
}

fn is_closed(answer: &Json) -> bool {
    answer["code"] == "slot_closed"
}

fn has_it(answer: &Json) -> bool {
    answer["type"] == "ok"
}
