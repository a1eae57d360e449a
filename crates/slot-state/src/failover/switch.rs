//! Decides, for one gateway, which store decides: errors, probes and other gateways' reports in, what to do out.
//! No I/O and no clock; the failover store owns one and feeds it.
//!
//! Invariants: the epoch never falls; one change of mode is under way at a time; every change flips the mode and adds
//! one to the epoch, so an epoch says the mode (odd: redis, even: mysql) and no two records of one epoch differ.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use self::link::Link;
pub(crate) use self::signal::{Failure, Input, Output, Peer, Raise, Record, Store};

mod link;
#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
mod signal;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

type Outputs = SmallVec<[Output; 2]>;

/// Which stores there are. One at least.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Configured {
    pub(crate) redis: bool,
    pub(crate) mysql: bool,
}

/// How patient the switch is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Two timeouts within this are a failure. Long enough for a request to be tried a second time behind a probe, with
    /// 250 ms for each; short enough that two unlucky commands a second are not taken for one.
    doubt: Duration,
    /// Probes further apart than this prove nothing in between: four of them are missing.
    probe_gap: Duration,
    /// Redis is healthy for this long before it decides again: outlasts a flapping one.
    proven: Duration,
    /// And the last failover is this far back: a Redis that fails every few seconds costs two changes a minute at most.
    /// Also how long a gateway whose move to Redis was undone by others waits before the next.
    settle: Duration,
    /// The gateways table was read within this: four beats.
    peers: Duration,
}

impl Limits {
    const REAL: Limits = Limits {
        doubt: Duration::from_secs(1),
        probe_gap: Duration::from_secs(1),
        proven: Duration::from_secs(5),
        settle: Duration::from_secs(30),
        peers: Duration::from_secs(2),
    };
}

/// Where carrying back stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Carry {
    Idle,
    Copying,
    /// Something failed since it began: its end is awaited and then it counts for nothing.
    Spoiled,
}

/// A change of the record under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Raising {
    record: Record,
    at: Store,
}

/// The state machine of one gateway. See the module.
#[derive(Debug, Clone)]
pub(crate) struct Switch {
    name: String,
    limits: Limits,
    redis: Link,
    mysql: Link,
    /// What this gateway goes by.
    record: Record,
    raising: Option<Raising>,
    carry: Carry,
    /// When the table was read, and whether by it this gateway is the one to carry back and nobody alive objects.
    peers: Option<(Instant, bool)>,
    /// When MySQL last stepped in for Redis, or this gateway first heard that it had.
    last_failover: Option<Instant>,
    /// MySQL has answered since `record` is in force, so if it is away now, it went away.
    met_mysql: bool,
    /// When this gateway last moved everybody to Redis because it could not reach MySQL.
    moved: Option<Instant>,
}

impl Switch {
    /// A gateway that knows nothing yet; `name` is its name in the gateways table.
    pub(crate) fn new(name: impl Into<String>, configured: Configured) -> Switch {
        Switch::with_limits(name, configured, Limits::REAL)
    }

    fn with_limits(name: impl Into<String>, configured: Configured, limits: Limits) -> Switch {
        let record = if configured.redis { Record::FIRST } else { Record::FIRST_WITHOUT_REDIS };
        Switch {
            name: name.into(),
            limits,
            redis: Link::new(configured.redis),
            mysql: Link::new(configured.mysql),
            record,
            raising: None,
            carry: Carry::Idle,
            peers: None,
            last_failover: None,
            met_mysql: false,
            moved: None,
        }
    }

    /// What this gateway goes by: which store decides, and the epoch that every write carries.
    pub(crate) fn record(&self) -> Record {
        self.record
    }

    /// The deciding store answers. False before each store has been tried, and while a failover is under way.
    pub(crate) fn writable(&self) -> bool {
        let moving = self.raising.is_some_and(|raising| raising.at != self.record.mode);
        self.settled() && !moving && self.link(self.record.mode).is_up()
    }

    /// For this gateway's row in the gateways table.
    pub(crate) fn redis_healthy_for(&self, now: Instant) -> Option<Duration> {
        self.redis.healthy_for(now, &self.limits)
    }

    /// Takes an input in and says what to do, in this order.
    pub(crate) fn on(&mut self, now: Instant, input: Input) -> Outputs {
        let mut out = Outputs::new();
        match input {
            Input::Seen { store, record: None } => self.link_mut(store).down(),
            Input::Seen { store, record: Some(record) } => self.on_seen(now, store, record, &mut out),
            Input::Failed { store, failure } => self.on_failed(now, store, failure, &mut out),
            Input::Raised(raise) => self.on_raised(now, raise, &mut out),
            Input::Peers(peers) => self.on_peers(now, &peers, &mut out),
            Input::CarriedBack(ok) => self.on_carried_back(now, ok, &mut out),
        }
        if self.carry == Carry::Copying && !self.may_carry(now) {
            self.carry = Carry::Spoiled;
        }
        self.decide(now, &mut out);
        out
    }

    fn on_seen(&mut self, now: Instant, store: Store, record: Record, out: &mut Outputs) {
        let limits = self.limits;
        self.link_mut(store).answered(now, &limits);
        if store == Store::Mysql {
            self.met_mysql = true;
        }
        if record > self.record {
            self.follow(now, record, out);
        } else if record < self.record && self.settled() {
            out.push(Output::Restore { store, record: self.record });
        }
    }

    fn on_failed(&mut self, now: Instant, store: Store, failure: Failure, out: &mut Outputs) {
        let limits = self.limits;
        let link = self.link_mut(store);
        link.failed(now, failure, &limits);
        if link.is_up() && store == self.record.mode && self.raising.is_none() {
            out.push(Output::Probe(store));
        }
    }

    fn on_raised(&mut self, now: Instant, raise: Raise, out: &mut Outputs) {
        let Some(Raising { record, at }) = self.raising.take() else { return };
        match raise {
            // Something greater may have been followed meanwhile.
            Raise::Raised if record > self.record => {
                if at == Store::Redis {
                    self.moved = Some(now);
                }
                self.adopt(now, record);
                if self.link(at.other()).is_up() {
                    out.push(Output::Restore { store: at.other(), record });
                }
            }
            Raise::Beaten(record) if record > self.record => self.follow(now, record, out),
            Raise::Raised | Raise::Beaten(_) => {}
            // If it was raised after all, the next good probe says so.
            Raise::Failed => self.link_mut(at).down(),
        }
    }

    fn on_peers(&mut self, now: Instant, peers: &[Peer], out: &mut Outputs) {
        self.peers = Some((now, self.chosen(peers)));
        // Only here, where what the others say is fresh.
        if self.carry == Carry::Idle && self.raising.is_none() && self.settled() && self.may_carry(now) {
            self.carry = Carry::Copying;
            out.push(Output::CarryBack(self.record.next()));
        }
    }

    fn on_carried_back(&mut self, now: Instant, ok: bool, out: &mut Outputs) {
        let carry = std::mem::replace(&mut self.carry, Carry::Idle);
        if !ok {
            self.redis.prove_again(now);
        } else if carry == Carry::Copying && self.may_carry(now) && self.raising.is_none() {
            // In MySQL first: that is the record which everybody goes by who is on MySQL.
            self.raise(Store::Mysql, out);
        }
    }

    fn follow(&mut self, now: Instant, record: Record, out: &mut Outputs) {
        self.adopt(now, record);
        out.push(Output::Follow(record));
    }

    fn adopt(&mut self, now: Instant, record: Record) {
        if record.mode == Store::Mysql {
            self.last_failover = Some(now);
        }
        self.record = record;
        self.met_mysql = self.mysql.is_up();
    }

    fn raise(&mut self, at: Store, out: &mut Outputs) {
        let record = self.record.next();
        self.raising = Some(Raising { record, at });
        out.push(Output::SwitchTo { record, at });
    }

    /// Away from a store that failed.
    fn decide(&mut self, now: Instant, out: &mut Outputs) {
        let Record { mode, .. } = self.record;
        let failed = self.settled() && !self.link(mode).is_up();
        if failed && self.raising.is_none() && self.link(mode.other()).is_up() && !self.overruled(now) {
            self.raise(mode.other(), out);
        }
    }

    /// This gateway moved everybody to Redis and somebody took them to MySQL again, while MySQL was away from here all
    /// the time: it is away from here alone. Then this gateway is stale and bears it; without this, it and a gateway
    /// without Redis would throw the mode to and fro by way of a third.
    fn overruled(&self, now: Instant) -> bool {
        let lately = self.moved.is_some_and(|moved| now.duration_since(moved) < self.limits.settle);
        self.record.mode == Store::Mysql && !self.met_mysql && lately
    }

    /// The decision may go back to Redis, and this gateway is the one to see to it.
    fn may_carry(&self, now: Instant) -> bool {
        let limits = &self.limits;
        self.record.mode == Store::Mysql
            && self.mysql.is_up()
            && self.redis_healthy_for(now).is_some_and(|healthy| healthy >= limits.proven)
            && self.last_failover.is_none_or(|failover| now.duration_since(failover) >= limits.settle)
            && self.peers.is_some_and(|(read, chosen)| chosen && now.duration_since(read) <= limits.peers)
    }

    /// By the table, this gateway has the smallest name among those alive, and all others find Redis healthy. What it
    /// finds itself, it knows better than its row.
    fn chosen(&self, peers: &[Peer]) -> bool {
        let mut alive = peers.iter().filter(|peer| peer.alive);
        alive.clone().any(|peer| peer.name == self.name)
            && alive.all(|peer| {
                peer.name == self.name
                    || peer.name > self.name
                        && peer.redis_healthy_for.is_some_and(|healthy| healthy >= self.limits.proven)
            })
    }

    /// Each store has answered or failed once. Before that a greater record may turn up any moment.
    fn settled(&self) -> bool {
        !self.redis.is_unknown() && !self.mysql.is_unknown()
    }

    fn link(&self, store: Store) -> &Link {
        match store {
            Store::Redis => &self.redis,
            Store::Mysql => &self.mysql,
        }
    }

    fn link_mut(&mut self, store: Store) -> &mut Link {
        match store {
            Store::Redis => &mut self.redis,
            Store::Mysql => &mut self.mysql,
        }
    }
}
