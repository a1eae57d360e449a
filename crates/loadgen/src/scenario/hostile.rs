//! Honest clients quiet, and the same beside attackers of every kind at once: what honest ones notice, and what attackers get.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::phase::{phase, warm_up};
use crate::LoadError;
use crate::attack::{Attack, Attackers, Heard, Line, VICTIMS_SLOTS, wrong_gains};
use crate::cli::{GenericArgs, HostileArgs};
use crate::connect::{Sources, Target};
use crate::process::Usage;
use crate::report::{HostileReport, Latency};
use crate::stage::{Stage, cpu_secs};
use crate::timing::Timings;

/// Rooms of attackers and of their victim lie behind the honest ones.
const VICTIMS_ROOM: usize = 10_000;
const EMPTY_ROOMS: usize = 20_000;
/// Between two newcomers.
const NEWCOMER_PERIOD: Duration = Duration::from_millis(100);

/// Runs the scenario. To be called within a `LocalSet`.
pub async fn hostile(args: &HostileArgs) -> Result<HostileReport, LoadError> {
    let server = &args.server;
    let stage = Stage::open(server, &args.crowd, &GenericArgs::default()).await?;
    let mut publishers = stage.publishers(&args.load).await?;
    let rooms = stage.dialect.rooms().clone();
    let attack = Attack {
        target: stage.target().clone(),
        victims_room: rooms.first_employee + VICTIMS_ROOM,
        empty_rooms: rooms.first_employee + EMPTY_ROOMS,
        rooms,
        room_count: args.crowd.rooms,
        strength: args.strength,
    };
    let mut victim = Victim::arrive(&attack).await?;
    warm_up(&args.load, &stage, &mut publishers).await;

    let newcomers = [Newcomers::default(), Newcomers::default()];
    let quiet = async { tokio::join!(newcomers[0].keep_coming(&attack), victim.stay()).0 };
    let quiet = phase((server, &args.load), &stage, &mut publishers, quiet).await?;
    let attackers = Attackers::start(attack.clone())?;
    tokio::select! {
        () = sleep(Duration::from_secs_f64(args.settle_secs)) => (),
        () = victim.stay() => (),
    }
    let own_start = Usage::own()?;
    let began = Instant::now();
    let beside = async { tokio::join!(newcomers[1].keep_coming(&attack), victim.stay()).0 };
    let attacked = phase((server, &args.load), &stage, &mut publishers, beside).await?;
    let own_secs = cpu_secs(own_start, Usage::own()?);
    let attacked_secs = began.elapsed().as_secs_f64();
    let gains = attackers.stop();
    let harm = victim.harm(&attack).await;
    let shortfall = stage.shortfall(&publishers).await?;

    let meter = stage.meter.lock();
    let (ready, lost) = meter.presence();
    let mut refused = quiet.refused;
    for (code, count) in attacked.refused {
        *refused.entry(code).or_default() += count;
    }
    let [calm, beset] = newcomers.map(Newcomers::end);
    Ok(HostileReport {
        title: server.title.clone(),
        label: server.label.clone(),
        subscribers: args.crowd.subscribers,
        ready,
        lost,
        changes: args.load.changes,
        rate: args.load.rate,
        quiet: quiet.report,
        attacked: attacked.report,
        attacked_secs,
        client_cpu_secs: own_secs,
        newcomers: [calm.0, beset.0],
        newcomers_refused: calm.1 + beset.1,
        refused,
        missed: shortfall.missed + quiet.gaps + attacked.gaps,
        wrong_views: shortfall.wrong_views,
        harm,
        wrong_gains: wrong_gains(&gains),
        gains,
    })
}

/// Honest clients that come, look at a room, and go.
#[derive(Default)]
struct Newcomers {
    took: RefCell<Option<Timings>>,
    refused: RefCell<u64>,
}

impl Newcomers {
    async fn keep_coming(&self, attack: &Attack) {
        for number in 0.. {
            let (began, source) = (Instant::now(), Sources::Others.address(number % 1000, 10));
            let employee = attack.rooms.first_employee + number % attack.room_count;
            let subscribe = json!({"type": "subscribe", "date": attack.rooms.date, "employee_id": employee});
            let is_shown = match Line::open(&attack.target, source, "", None).await {
                Ok(mut line) => {
                    line.ask(subscribe, 1).await.is_some_and(|answer| answer["type"] == "snapshot")
                }
                Err(_) => false,
            };
            if is_shown {
                let us = began.elapsed().as_micros() as u64;
                self.took.borrow_mut().get_or_insert_with(Timings::new).record(us);
            } else {
                *self.refused.borrow_mut() += 1;
            }
            sleep(NEWCOMER_PERIOD.saturating_sub(began.elapsed())).await;
        }
    }

    fn end(self) -> (Option<Latency>, u64) {
        (self.took.into_inner().and_then(|took| took.latency()), self.refused.into_inner())
    }
}

/// An honest client whose holds are attacked.
struct Victim {
    line: Line,
    fences: Vec<Value>,
    released: Vec<Value>,
    gone: bool,
}

impl Victim {
    async fn arrive(attack: &Attack) -> Result<Victim, LoadError> {
        let source = Ipv4Addr::new(127, Sources::Others as u8, 200, 2);
        let target: &Target = &attack.target;
        let line = Line::open(target, source, "", None).await.map_err(LoadError::Refused)?;
        let mut victim = Victim { line, fences: Vec::new(), released: Vec::new(), gone: false };
        victim.line.ask(json!({"type": "hello", "client_id": "victim"}), 1).await;
        for fence in victim.hold(attack).await {
            victim.fences.push(fence);
        }
        if victim.fences.iter().any(Value::is_null) {
            return Err(LoadError::Refused("the victim could not hold its slots".to_owned()));
        }
        Ok(victim)
    }

    /// Selects the first of its slots and locks the others; the fences, `null` where it could not.
    async fn hold(&mut self, attack: &Attack) -> Vec<Value> {
        let mut fences = Vec::new();
        for (turn, time) in VICTIMS_SLOTS.iter().enumerate() {
            let kind = if turn == 0 { "select" } else { "lock" };
            let frame = json!({
                "type": kind, "date": attack.rooms.date, "employee_id": attack.victims_room, "time": time,
            });
            let answer = self.line.ask(frame, 2 + turn as u64).await.unwrap_or_default();
            let granted = answer["type"] == "ok";
            fences.push(if granted && turn == 0 { Value::Bool(true) } else { answer["fence"].clone() });
        }
        fences
    }

    /// Gives its locks back: the next round's victim wants the same.
    async fn leave(&mut self, attack: &Attack) {
        for (turn, time) in VICTIMS_SLOTS.iter().enumerate().skip(1) {
            let frame = json!({
                "type": "unlock", "date": attack.rooms.date, "employee_id": attack.victims_room, "time": time,
            });
            self.line.ask(frame, 100 + turn as u64).await;
        }
    }

    /// Shows life.
    async fn stay(&mut self) {
        loop {
            let released = &mut self.released;
            let open = self
                .line
                .listen(Duration::from_secs(1), |heard| match heard {
                    Heard::Frame(frame) if frame["type"] == "released" => released.push(frame),
                    _ => {}
                })
                .await;
            if !open {
                self.gone = true;
                return std::future::pending().await;
            }
        }
    }

    /// What became worse for it.
    async fn harm(mut self, attack: &Attack) -> Vec<String> {
        let fences = self.hold(attack).await;
        let mut harm: Vec<String> =
            self.released.iter().map(|frame| format!("the victim heard {frame}")).collect();
        if self.gone {
            harm.push("the victim's connection ended".to_owned());
        }
        if fences != self.fences {
            harm.push(format!("the victim held {:?}, now {fences:?}", self.fences));
        }
        self.leave(attack).await;
        harm
    }
}
