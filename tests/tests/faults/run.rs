//! One fault from a healthy start to a healthy end: strikes, heals, waits, and judges what the clients went
//! through.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::alerts;
use crate::crowd::{Crowd, Size};
use crate::excuses::{Excuses, RECOVERY};
use crate::fault::{Fault, Marks};
use crate::history::{Answer, Violation, letter, slot_name};
use crate::member::Selection;
use crate::scrapes::Recording;
use crate::servers::{Servers, Stores};
use crate::truth::differences;

/// Writing goes on for so long after healing.
const AFTER_HEALING: Duration = Duration::from_secs(2);
/// The last failover 30 s past, five healthy seconds, carrying back, and a busy machine.
const FAILBACK: Duration = Duration::from_secs(60);
/// Every request is answered within this: what is longer is no answer.
const ANSWERING: Duration = Duration::from_secs(10);
/// How much longer is watched for an agreement that is late.
const LATE: Duration = Duration::from_secs(15);
/// Selections that others try to take in a quiet moment.
const PROBES: usize = 12;
/// Of one kind; the rest is counted.
const SHOWN: usize = 6;

/// Servers and clients of a run.
pub(crate) struct World {
    pub(crate) servers: Servers,
    pub(crate) crowd: Crowd,
    stores: Stores,
    /// Breaches of locks told of already.
    told: HashSet<String>,
}

/// What is known after a fault.
#[derive(Debug)]
pub(crate) struct Report {
    /// A row of the table.
    pub(crate) row: String,
    pub(crate) violations: Vec<Violation>,
}

/// Where the lists of the history stood when a fault began.
struct Before {
    requests: usize,
    losses: usize,
    lost_locks: usize,
    closings: usize,
    switches: usize,
}

impl World {
    pub(crate) async fn start(stores: Stores, size: Size, seed: u64) -> Self {
        let servers = Servers::start(stores).await;
        let crowd = Crowd::gather(size, [&servers.gateways[0], &servers.gateways[1]], seed).await;
        Self { servers, crowd, stores, told: HashSet::new() }
    }

    /// Whether the next fault can begin here.
    pub(crate) fn is_healthy(&self) -> bool {
        self.servers.dead == [false; 2] && self.crowd.modes() == ["redis"]
    }

    /// Plays one fault and judges it.
    pub(crate) async fn go_through(&mut self, fault: Fault, short: bool) -> Report {
        let before = self.before();
        let recording = Recording::start(&self.servers.gateways).await;
        self.note(format!("warming up for {}", fault.name()));
        self.crowd.write_while(sleep(Duration::from_secs(if short { 3 } else { 5 }))).await;
        self.note(format!("{} strikes", fault.name()));
        self.crowd.dead[0] |= fault == Fault::GatewayKilled;
        let marks = self.crowd.write_while(fault.play(&mut self.servers, short)).await;
        self.note(format!("{} is healed", fault.name()));
        let mut violations = Vec::new();
        self.crowd.write_while(sleep(AFTER_HEALING)).await;
        let agreed = self.come_to_rest("after healing", marks.healed, &mut violations).await;
        let back = self.crowd.write_until(FAILBACK, |crowd| crowd.modes() == ["redis"]).await;
        if !back {
            let text = format!("not back in redis within {FAILBACK:?}: {:?}", self.crowd.modes());
            violations.push(self.crowd.history.violation(text));
        }
        let turned = self.crowd.history.switches.last().copied().filter(|at| *at > marks.struck);
        if turned.is_some() {
            self.crowd.write_while(sleep(AFTER_HEALING)).await;
            self.come_to_rest("after the return to redis", Instant::now(), &mut violations).await;
        }
        self.probe(&mut violations).await;
        for gateway in self.servers.not_ready().await {
            let text = format!("/readyz of {} is not 200", letter(gateway));
            violations.push(self.crowd.history.violation(text));
        }
        self.judge(&before, &marks, &mut violations);
        let complaint = self.judge_alerts(fault.name(), recording).await;
        violations.extend(complaint);
        let back = turned.filter(|_| back).map(|at| at.saturating_duration_since(marks.healed));
        let row = self.row(fault, &before, &marks, agreed, back, violations.len());
        Report { row, violations }
    }

    /// Writing goes on for so long, and nothing happens that anybody should be woken for.
    pub(crate) async fn stay_quiet(&mut self, time: Duration) -> Vec<Violation> {
        let recording = Recording::start(&self.servers.gateways).await;
        self.note("nothing goes wrong".into());
        self.crowd.write_while(sleep(time)).await;
        self.judge_alerts(alerts::QUIET, recording).await.into_iter().collect()
    }

    async fn judge_alerts(&self, name: &str, recording: Recording) -> Option<Violation> {
        let series = alerts::worth_keeping(recording.end());
        alerts::keep(name, &series);
        alerts::complaint(name, &series).await.map(|complaint| self.crowd.history.violation(complaint))
    }

    fn before(&self) -> Before {
        let history = &self.crowd.history;
        Before {
            requests: history.requests.len(),
            losses: history.losses.len(),
            lost_locks: history.lost_locks.len(),
            closings: history.closings.len(),
            switches: history.switches.len(),
        }
    }

    fn note(&mut self, text: String) {
        self.crowd.history.note(Instant::now(), format!("-- {text}"));
    }

    /// Silence; then everybody must see and believe what the deciding store holds, within the time for
    /// recovery since `since`. Returns how long after that it was so.
    async fn come_to_rest(
        &mut self,
        when: &str,
        since: Instant,
        violations: &mut Vec<Violation>,
    ) -> Option<Duration> {
        if !self.crowd.fall_silent(ANSWERING).await {
            let unanswered: Vec<_> =
                self.crowd.members.iter().filter_map(|member| member.pending.clone()).collect();
            for (_, number) in unanswered {
                let request = &self.crowd.history.requests[number];
                let slot = slot_name(&request.room, &request.time);
                let text = format!("{when}: no answer to the {} of c{:03}", request.command, request.client);
                let client = Some(request.client);
                violations.push(self.crowd.history.violation_at(&slot, client, Instant::now(), text));
            }
        }
        let end = since + RECOVERY;
        loop {
            let found = differences(&self.crowd, &self.servers).await;
            self.crowd.catch_up();
            let now = Instant::now();
            if found.is_empty() {
                if now > end + Duration::from_millis(500) {
                    let text = format!("{when}: all agreed only {:?} after it", now - since);
                    violations.push(self.crowd.history.violation(text));
                }
                return Some(now - since);
            }
            if now > end + LATE {
                let count = found.len();
                for (slot, client, text) in found.into_iter().take(SHOWN) {
                    let text = format!("{when}, one of {count} differences: {text}");
                    violations.push(self.crowd.history.violation_at(&slot, client, now, text));
                }
                return None;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Others try to take what is selected, and must be refused.
    async fn probe(&mut self, violations: &mut Vec<Violation>) {
        let members = &self.crowd.members;
        let selected = members.iter().filter_map(|member| match &member.selection {
            Selection::At { time, .. } => Some((member.number, member.room.clone(), time.clone())),
            _ => None,
        });
        let probes: Vec<_> = selected.take(PROBES).collect();
        for (holder, room, time) in probes {
            let members = &self.crowd.members;
            let others = members.iter().filter(|member| member.room == room && member.is_free());
            let Some(other) = others.map(|member| member.number).find(|number| *number != holder) else {
                continue;
            };
            let request = self.crowd.ask(other, "select", &time).await;
            let answer = self.crowd.history.requests[request].answered.clone();
            let refused = Answer::Error("slot_locked".into());
            if answer.as_ref().is_none_or(|(_, answer)| *answer != refused) {
                let text =
                    format!("c{other:03} asked for what c{holder:03} has selected and was told {answer:?}");
                violations.push(self.crowd.history.violation_at(
                    &slot_name(&room, &time),
                    Some(other),
                    Instant::now(),
                    text,
                ));
            }
        }
    }

    /// Everything that can be judged from what was recorded.
    fn judge(&mut self, before: &Before, marks: &Marks, violations: &mut Vec<Violation>) {
        if self.stores == Stores::Redis && marks.redis_emptied {
            // Without MySQL the locks went with Redis' memory.
            for tenure in &mut self.crowd.history.tenures {
                if tenure.granted < marks.healed && tenure.ended.is_none_or(|ended| ended > marks.struck) {
                    tenure.ended = Some(marks.struck);
                }
            }
        }
        let history = &self.crowd.history;
        let excuses = Excuses {
            stores: self.stores,
            marks: marks.clone(),
            switches: history.switches[before.switches..].to_vec(),
        };
        let mut found = Vec::new();
        for request in &history.requests[before.requests..] {
            if let Some(code) = request.failure().filter(|code| !excuses.failure(request, code)) {
                let text = format!(
                    "c{:03} on {} asked to {} and was told {code}",
                    request.client,
                    letter(request.gateway),
                    request.command
                );
                let at = request.answered.as_ref().map_or(request.sent, |(at, _)| *at);
                let slot = slot_name(&request.room, &request.time);
                found.push(("an error", slot, Some(request.client), at, text));
            }
        }
        for closing in
            history.closings[before.closings..].iter().filter(|closing| !self.crowd.dead[closing.gateway])
        {
            let text =
                format!("{} closed c{:03}: {:?}", letter(closing.gateway), closing.client, closing.code);
            found.push(("a closed socket", String::new(), Some(closing.client), closing.at, text));
        }
        for loss in &history.losses[before.losses..] {
            let other = history.requests.iter().any(|request| {
                (&request.room, &request.time) == (&loss.room, &loss.time)
                    && request.client != loss.client
                    && request.is_ok()
                    && request.sent <= loss.at
                    && request.answered.as_ref().is_some_and(|(at, _)| *at >= marks.struck)
            });
            let name = crate::member::client_name(loss.client);
            let slot = slot_name(&loss.room, &loss.time);
            let locked = history.tenures.iter().any(|tenure| {
                tenure.slot == slot
                    && tenure.client != name
                    && tenure.granted <= loss.since
                    && tenure.ended.is_none_or(|ended| ended >= loss.since)
            });
            if !excuses.loss(loss, other, locked) {
                let text = format!(
                    "c{:03} on {} lost its selection of {:.3}: {}",
                    loss.client,
                    letter(loss.gateway),
                    history.seconds(loss.since),
                    loss.how
                );
                found.push(("a lost selection", slot, Some(loss.client), loss.at, text));
            }
        }
        for loss in history.lost_locks[before.lost_locks..].iter().filter(|loss| !excuses.lost_lock(loss)) {
            let text = format!("c{:03} on {} lost its lock: {}", loss.client, letter(loss.gateway), loss.how);
            let slot = slot_name(&loss.room, &loss.time);
            found.push(("a lost lock", slot, Some(loss.client), loss.at, text));
        }
        for (slot, text) in crate::tenure::breaches(&history.tenures) {
            if self.told.insert(text.clone()) {
                found.push(("a lock granted wrongly", slot, None, marks.healed, text));
            }
        }
        for breach in self.crowd.history.breaches.drain(..) {
            found.push(("a broken frame", String::new(), None, marks.healed, breach));
        }
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for (kind, slot, client, at, text) in found {
            let count = counts.entry(kind).or_default();
            *count += 1;
            if *count <= SHOWN {
                let text = format!("{kind}: {text}");
                violations.push(self.crowd.history.violation_at(&slot, client, at, text));
            }
        }
        for (kind, count) in counts.into_iter().filter(|(_, count)| *count > SHOWN) {
            violations.push(self.crowd.history.violation(format!("{count} times {kind} in all")));
        }
    }

    fn row(
        &self,
        fault: Fault,
        before: &Before,
        marks: &Marks,
        agreed: Option<Duration>,
        back: Option<Duration>,
        violations: usize,
    ) -> String {
        let requests = &self.crowd.history.requests[before.requests..];
        let since: Vec<_> = requests.iter().filter(|request| request.sent >= marks.struck).collect();
        let first = |gateway: usize| {
            let soft = |request: &&&crate::history::Request| {
                request.gateway == gateway
                    && request.is_ok()
                    && ["select", "deselect"].contains(&request.command)
            };
            let answered = since.iter().filter(soft).filter_map(|request| request.answered.as_ref());
            answered.map(|(at, _)| *at - marks.struck).min()
        };
        let switch =
            [0, 1].into_iter().filter(|gateway| !self.servers.dead[*gateway]).map(first).max().flatten();
        let errors = since.iter().filter(|request| request.failure().is_some()).count();
        let worst = since.iter().filter_map(|request| request.took()).max();
        let ms =
            |time: Option<Duration>| time.map_or("–".into(), |time| format!("{} ms", time.as_millis()));
        let s =
            |time: Option<Duration>| time.map_or("–".into(), |time| format!("{:.1} s", time.as_secs_f64()));
        format!(
            "| {} | {} | {} | {} | {} | {errors} | {} | {violations} |",
            fault.title(),
            ms(switch),
            s(agreed),
            s(back),
            since.len(),
            ms(worst)
        )
    }
}
