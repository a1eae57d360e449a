//! Whether of two clients that select one slot at one moment exactly one gets it; nobody's employee on a day
//! far ahead.
//! Invariant: what is selected is let go again, and would go by itself.

use jiff::civil::Date;
use jiff::{ToSpan, Zoned};
use serde_json::{Value as Json, json};

use super::line::{Line, nobody, sentence};
use super::place::Place;
use crate::cli::doctor::report::{Check, slotcast_toml};
use crate::config::Config;

const NAME: &str = "address.race";
/// The last number there is.
const EMPLOYEE: u32 = 8_388_607;
const ROUNDS: usize = 3;
const SAME_STORES: &str =
    "[redis]\nurl = \"…\"   # the same for every gateway of the site\n[mysql]\nurl = \"…\"   # this too";

/// Why no race could be held, or what came of it.
enum Trouble {
    /// Both had the slot, or one that the other's view does not show.
    Wrong(String),
    /// The gateway could not.
    Refused(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Trouble::Refused(why)
    }
}

pub(super) async fn check(config: &Config, place: &Place) -> Check {
    let day = Zoned::now().date().saturating_add((i64::from(config.slots.horizon_days) / 2).days());
    match hold(place, config, day).await {
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
    }
}

async fn hold(place: &Place, config: &Config, day: Date) -> Result<(), Trouble> {
    let (a, b) = (nobody()?, nobody()?);
    let (a, b) = futures::join!(Line::of_client(place, config, &a), Line::of_client(place, config, &b));
    let (mut a, mut b) = (a?, b?);
    let mut outcome = Ok(());
    for round in 0..ROUNDS {
        // A minute that hardly any doctor at the same time takes too.
        let minute = rand::random::<u32>() % 60;
        let time = format!("{:02}:{minute:02}", 3 + round);
        outcome = race(&mut a, &mut b, day, &time).await;
        if outcome.is_err() {
            break;
        }
    }
    a.leave().await;
    b.leave().await;
    outcome
}

async fn race(a: &mut Line, b: &mut Line, day: Date, time: &str) -> Result<(), Trouble> {
    let frame =
        |kind: &str| json!({"type": kind, "date": day.to_string(), "employee_id": EMPLOYEE, "time": time});
    let (first, second) = futures::join!(a.ask(frame("select")), b.ask(frame("select")));
    let (first, second) = (first?, second?);
    let (winner, loser) = match (has_it(&first), has_it(&second)) {
        (true, true) => {
            for line in [a, b] {
                line.ask(frame("deselect")).await?;
            }
            return Err(Trouble::Wrong("two clients both got one slot".to_owned()));
        }
        (true, false) => (a, second),
        (false, true) => (b, first),
        (false, false) => return Err(Trouble::Refused(sentence(&first))),
    };
    let let_go = winner.ask(frame("deselect")).await?;
    if loser["code"] != "slot_locked" {
        return Err(Trouble::Refused(sentence(&loser)));
    }
    if let_go["type"] == "ok" { Ok(()) } else { Err(Trouble::Refused(sentence(&let_go))) }
}

fn has_it(answer: &Json) -> bool {
    answer["type"] == "ok"
}
