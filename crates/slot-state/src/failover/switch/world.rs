//! A small world for the tests: real switches, two stores with their records, links that are cut and healed, and
//! messages that land late or are lost. Everything that a store would refuse or take is checked on the way.

use std::time::Duration;

use tokio::time::Instant;

use super::link::Link;
use super::{Configured, Failure, Input, Limits, Output, Peer, Raise, Raising, Record, Store, Switch};

pub(super) const STORES: [Store; 2] = [Store::Redis, Store::Mysql];
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];

/// What can happen next. The number is the gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Cuts the link, or heals it.
    Link(usize, Store),
    Probe(usize, Store),
    /// A client's write, on the deciding store; where that is cut off it fails so.
    Request(usize, Failure),
    /// The raise asked for reaches its store, or finds the link cut.
    Raise(usize),
    /// It reaches its store, but the answer is lost.
    RaiseUnanswered(usize),
    Restore(usize, Store),
    CarriedBack(usize, bool),
    /// Time passes for all.
    Tick,
    /// A gateway is killed and started again.
    Restart(usize),
    /// Redis forgets everything.
    Flush,
    /// `Tick`, then each gateway in turn has its messages landed and probes both stores.
    Round,
}

#[derive(Debug, Clone)]
pub(super) struct Gateway {
    pub(super) switch: Switch,
    pub(super) raise: Option<(Record, Store)>,
    pub(super) restores: [Option<Record>; 2],
    pub(super) carry: bool,
    /// Its row: when written, and Redis' health then.
    row: Option<(Instant, Option<Duration>)>,
    pub(super) links: [bool; 2],
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) tick: Duration,
    limits: Limits,
    pub(super) gateways: Vec<Gateway>,
    /// The records, as [`STORES`].
    pub(super) records: [Record; 2],
    /// Changes of mode that somebody asked for.
    pub(super) switches: usize,
}

impl World {
    pub(super) fn new(gateways: usize, tick: Duration, limits: Limits) -> World {
        let now = Instant::now();
        let gateways = (0..gateways).map(|number| Gateway {
            switch: new_switch(number, limits),
            raise: None,
            restores: [None; 2],
            carry: false,
            row: None,
            links: [true; 2],
        });
        World { now, tick, limits, gateways: gateways.collect(), records: [Record::NONE; 2], switches: 0 }
    }

    /// All that can happen now.
    pub(super) fn steps(&self, fine: bool) -> Vec<Step> {
        let mut steps = vec![if fine { Step::Tick } else { Step::Round }, Step::Flush];
        for (number, gateway) in self.gateways.iter().enumerate() {
            for (index, store) in STORES.into_iter().enumerate() {
                steps.push(Step::Link(number, store));
                if fine {
                    steps.push(Step::Probe(number, store));
                    if gateway.restores[index].is_some() {
                        steps.push(Step::Restore(number, store));
                    }
                }
            }
            steps.push(Step::Restart(number));
            steps.push(Step::Request(number, Failure::Away));
            if !gateway.links[gateway.switch.deciding() as usize] {
                steps.push(Step::Request(number, Failure::Timeout));
            }
            if let Some((_, at)) = gateway.raise {
                steps.push(Step::Raise(number));
                if gateway.links[at as usize] {
                    steps.push(Step::RaiseUnanswered(number));
                }
            }
            if gateway.carry {
                steps.push(Step::CarriedBack(number, true));
                steps.push(Step::CarriedBack(number, false));
            }
        }
        steps
    }

    /// Makes one happen. An error says which rule it broke.
    pub(super) fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Link(number, store) => self.gateways[number].links[store as usize] ^= true,
            Step::Tick => self.now += self.tick,
            Step::Flush => self.records[0] = Record::NONE,
            Step::Restart(number) => {
                let (row, links) = (self.gateways[number].row, self.gateways[number].links);
                let switch = new_switch(number, self.limits);
                self.gateways[number] =
                    Gateway { switch, raise: None, restores: [None; 2], carry: false, row, links };
            }
            Step::Probe(number, store) => self.probe(number, store)?,
            Step::Request(number, failure) => self.request(number, failure)?,
            Step::Raise(number) => self.raise(number, true)?,
            Step::RaiseUnanswered(number) => self.raise(number, false)?,
            Step::Restore(number, store) => self.restore(number, store),
            Step::CarriedBack(number, ok) => {
                self.gateways[number].carry = false;
                self.feed(number, Input::CarriedBack(ok))?;
            }
            Step::Round => {
                self.now += self.tick;
                for number in 0..self.gateways.len() {
                    self.turn(number)?;
                }
            }
        }
        self.one_mode_an_epoch()
    }

    /// All that a gateway does within a tick.
    pub(super) fn turn(&mut self, number: usize) -> Result<(), String> {
        self.raise(number, true)?;
        if self.gateways[number].carry {
            self.step(Step::CarriedBack(number, true))?;
        }
        for store in [Store::Mysql, Store::Redis] {
            self.restore(number, store);
            self.probe(number, store)?;
            self.raise(number, true)?;
        }
        Ok(())
    }

    /// Everybody goes by this record and it stands in both stores: `None` if not so.
    pub(super) fn agreed(&self) -> Option<Record> {
        let record = self.gateways[0].switch.record;
        let all = self.gateways.iter().all(|gateway| {
            gateway.switch.record == record && gateway.switch.writable() && gateway.raise.is_none()
        });
        (all && self.records == [record; 2]).then_some(record)
    }

    pub(super) fn highest(&self) -> u64 {
        let known = self.gateways.iter().map(|gateway| gateway.switch.epoch());
        known.chain(self.records.map(|record| record.epoch)).max().unwrap_or(0)
    }

    fn probe(&mut self, number: usize, store: Store) -> Result<(), String> {
        let record = self.gateways[number].links[store as usize].then_some(self.records[store as usize]);
        self.feed(number, Input::Seen { store, record })?;
        if store == Store::Mysql && record.is_some() {
            let healthy = self.gateways[number].switch.redis_healthy_for(self.now);
            self.gateways[number].row = Some((self.now, healthy));
            let peers = self.gateways.iter().zip(NAMES).filter_map(|(gateway, name)| {
                let (written, redis_healthy_for) = gateway.row?;
                let alive = self.now.duration_since(written) <= self.limits.peers;
                Some(Peer { name: name.to_owned(), alive, redis_healthy_for })
            });
            let peers = peers.collect();
            self.feed(number, Input::Peers(peers))?;
        }
        Ok(())
    }

    fn request(&mut self, number: usize, failure: Failure) -> Result<(), String> {
        let switch = &self.gateways[number].switch;
        let (store, record) = (switch.deciding(), switch.record);
        if !self.gateways[number].links[store as usize] {
            return self.feed(number, Input::Failed { store, failure });
        }
        if !switch.writable() {
            return Ok(());
        }
        let there = &mut self.records[store as usize];
        if record.epoch < there.epoch {
            let record = Some(*there);
            return self.feed(number, Input::Seen { store, record });
        }
        if record.epoch == there.epoch && record.mode != there.mode {
            return Err(format!("{store:?} took a write of {record:?} though it says {there:?}"));
        }
        *there = record;
        Ok(())
    }

    fn raise(&mut self, number: usize, answered: bool) -> Result<(), String> {
        let gateway = &mut self.gateways[number];
        let Some((record, at)) = gateway.raise.take() else { return Ok(()) };
        let reached = gateway.links[at as usize];
        let there = &mut self.records[at as usize];
        let mut raise = if there.epoch < record.epoch { Raise::Raised } else { Raise::Beaten(*there) };
        if reached && raise == Raise::Raised {
            *there = record;
        }
        if !reached || !answered {
            raise = Raise::Failed;
        }
        self.feed(number, Input::Raised(raise))
    }

    fn restore(&mut self, number: usize, store: Store) {
        let gateway = &mut self.gateways[number];
        if let Some(record) = gateway.restores[store as usize].take()
            && gateway.links[store as usize]
            && self.records[store as usize] < record
        {
            self.records[store as usize] = record;
        }
    }

    fn feed(&mut self, number: usize, input: Input) -> Result<(), String> {
        let before = self.gateways[number].switch.record;
        let healed_peers = self.nobody_objects(number);
        let outputs = self.gateways[number].switch.on(self.now, input);
        let gateway = &mut self.gateways[number];
        if gateway.switch.record < before {
            return Err(format!("{} fell from {before:?}", NAMES[number]));
        }
        for output in outputs {
            match output {
                Output::SwitchTo { record, at } => {
                    self.switches += 1;
                    if gateway.raise.replace((record, at)).is_some() {
                        return Err(format!("{} switches twice at once", NAMES[number]));
                    }
                    if record != gateway.switch.record.next() {
                        return Err(format!("{} skips to {record:?}", NAMES[number]));
                    }
                }
                Output::Restore { store, record } => gateway.restores[store as usize] = Some(record),
                Output::CarryBack(_) if std::mem::replace(&mut gateway.carry, true) => {
                    return Err(format!("{} carries back twice at once", NAMES[number]));
                }
                Output::CarryBack(_) if !healed_peers => {
                    return Err(format!("{} carries back against another's word", NAMES[number]));
                }
                Output::CarryBack(_) | Output::Follow(_) | Output::Probe(_) => {}
            }
        }
        Ok(())
    }

    /// No other gateway alive has said that it finds Redis unhealthy.
    fn nobody_objects(&self, number: usize) -> bool {
        self.gateways.iter().enumerate().all(|(other, gateway)| {
            other == number
                || gateway.row.is_none_or(|(written, healthy)| {
                    self.now.duration_since(written) > self.limits.peers
                        || healthy.is_some_and(|healthy| healthy >= self.limits.proven)
                })
        })
    }

    fn one_mode_an_epoch(&self) -> Result<(), String> {
        let known = self.gateways.iter().map(|gateway| gateway.switch.record);
        let mut all = known.chain(self.records);
        match all.find(|record| (record.epoch % 2 == 0) != (record.mode == Store::Mysql)) {
            Some(record) if record != Record::NONE => {
                Err(format!("epoch {} is also {:?}", record.epoch, record))
            }
            _ => Ok(()),
        }
    }

    /// What the future depends on, and nothing else: ages instead of instants, cut off where no rule looks at them any
    /// more, and epochs counted from the lowest. The health of MySQL's link decides nothing and is left out.
    pub(super) fn shape(&self) -> Vec<u16> {
        let limits = &self.limits;
        let known = self.gateways.iter().map(|gateway| gateway.switch.record);
        let lowest = known.chain(self.records).map(|record| record.epoch).min().unwrap_or(0);
        // The first epochs are what a gateway starts with, and so are not as good as any others.
        let relative = |record: Record| {
            let epoch = if lowest > 2 { 16 + record.epoch - lowest } else { record.epoch };
            (epoch * 2) as u16 + record.mode as u16 + 1
        };
        let ticks = |duration: Duration| (duration.as_millis() / self.tick.as_millis()) as u16;
        let age = |then: Option<Instant>, limit: Duration| {
            then.map_or(0, |then| 1 + ticks(self.now.duration_since(then)).min(ticks(limit) + 1))
        };
        let mut shape: Vec<u16> = self.records.map(relative).to_vec();
        for Gateway { switch, raise, restores, carry, row, links } in &self.gateways {
            let Link { reach, doubted, healthy_since, heard } = switch.redis;
            let flags = [links[0], links[1], *carry, switch.met_mysql];
            let flags = flags.iter().fold(0, |bits, flag| bits * 2 + u16::from(*flag));
            let pending = |raising: Option<(Record, Store)>| {
                raising.map_or(0, |(record, at)| relative(record) * 2 + at as u16)
            };
            let raising = switch.raising.map(|Raising { record, at }| (record, at));
            shape.extend([
                flags,
                reach as u16 * 16 + switch.mysql.reach as u16 * 4 + switch.carry as u16,
                relative(switch.record),
                pending(raising),
                pending(*raise),
                restores[0].map_or(0, relative),
                restores[1].map_or(0, relative),
                age(doubted, limits.doubt),
                age(healthy_since, limits.proven),
                age(heard, limits.probe_gap),
                age(switch.mysql.doubted, limits.doubt),
                age(switch.peers.map(|(read, _)| read), limits.peers),
                u16::from(switch.peers.is_some_and(|(_, chosen)| chosen)),
                age(switch.last_failover, limits.settle),
                age(switch.moved, limits.settle),
                age(row.map(|(written, _)| written), limits.peers),
                row.map_or(0, |(_, healthy)| healthy.map_or(1, |h| 2 + u16::from(h >= limits.proven))),
            ]);
        }
        shape
    }
}

impl Switch {
    pub(super) fn deciding(&self) -> Store {
        self.record.mode
    }

    pub(super) fn epoch(&self) -> u64 {
        self.record.epoch
    }
}

fn new_switch(number: usize, limits: Limits) -> Switch {
    Switch::with_limits(NAMES[number], Configured { redis: true, mysql: true }, limits)
}
