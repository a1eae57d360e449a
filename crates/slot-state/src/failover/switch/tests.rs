//! The rules one by one.

use std::time::Duration;

use tokio::time::Instant;

use super::world::{STORES, Step, World};
use super::{Configured, Failure, Input, Limits, Output, Outputs, Peer, Raise, Record, Store, Switch};
use crate::store::{StorageMode, StoreError};

const BOTH: Configured = Configured { redis: true, mysql: true };
pub(super) const BEAT: Duration = Duration::from_millis(250);
const REDIS_1: Record = Record { epoch: 1, mode: Store::Redis };
const MYSQL_2: Record = Record { epoch: 2, mode: Store::Mysql };
const REDIS_3: Record = Record { epoch: 3, mode: Store::Redis };
const MYSQL_4: Record = Record { epoch: 4, mode: Store::Mysql };

/// A switch and its clock.
pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) switch: Switch,
}

impl Bench {
    fn new(configured: Configured) -> Bench {
        Bench { now: Instant::now(), switch: Switch::new("a", configured) }
    }

    /// Both stores have answered, Redis decides.
    pub(super) fn on_redis() -> Bench {
        let mut bench = Bench::new(BOTH);
        bench.seen(Store::Mysql, Some(REDIS_1));
        assert!(bench.seen(Store::Redis, Some(REDIS_1)).is_empty());
        bench.decides(Store::Redis, true);
        bench
    }

    /// Which store decides, and whether it takes writes.
    fn decides(&self, store: Store, writable: bool) {
        assert_eq!((self.switch.deciding(), self.switch.writable()), (store, writable));
    }

    fn on_mysql() -> Bench {
        let mut bench = Bench::on_redis();
        bench.failed(Store::Redis, Failure::Away);
        bench.on(Input::Raised(Raise::Raised));
        assert_eq!(bench.switch.deciding(), Store::Mysql);
        bench
    }

    pub(super) fn on(&mut self, input: Input) -> Outputs {
        self.switch.on(self.now, input)
    }

    fn seen(&mut self, store: Store, record: Option<Record>) -> Outputs {
        self.on(Input::Seen { store, record })
    }

    fn failed(&mut self, store: Store, failure: Failure) -> Outputs {
        self.on(Input::Failed { store, failure })
    }

    /// Beats with both stores well for this long, alone in the table; what was said other than restores.
    fn well_for(&mut self, time: Duration) -> Vec<Output> {
        let mut said = Vec::new();
        let end = self.now + time;
        while self.now < end {
            self.now += BEAT;
            let record = self.switch.record;
            for store in STORES {
                said.extend(self.seen(store, Some(record)));
            }
            said.extend(self.on(Input::Peers(vec![peer("a", true, None)])));
        }
        said
    }
}

pub(super) fn peer(name: &str, alive: bool, redis_healthy_for: Option<Duration>) -> Peer {
    Peer { name: name.to_owned(), alive, redis_healthy_for }
}

#[test]
fn a_refused_connection_switches_at_once_and_only_once() {
    let mut bench = Bench::on_redis();
    let said = bench.failed(Store::Redis, Failure::Away);
    assert_eq!(said.as_slice(), [Output::SwitchTo { record: MYSQL_2, at: Store::Mysql }]);
    assert!(bench.switch.raising.is_some() && !bench.switch.writable());
    assert!(bench.failed(Store::Redis, Failure::Away).is_empty());
    assert!(bench.seen(Store::Redis, None).is_empty());
    assert!(bench.seen(Store::Redis, Some(REDIS_1)).is_empty());
    assert!(!bench.switch.writable(), "what Redis took now would be left behind");
    let said = bench.on(Input::Raised(Raise::Raised));
    let restore = Output::Restore { store: Store::Redis, record: MYSQL_2 };
    assert_eq!(said.as_slice(), [restore]);
    bench.decides(Store::Mysql, true);
    assert_eq!((bench.switch.epoch(), bench.switch.last_failover), (2, Some(bench.now)));
}

#[test]
fn refusing_writes_is_away_and_strange_answers_are_doubts() {
    assert_eq!(Failure::from(&StoreError::Refusing("READONLY".into())), Failure::Away);
    assert_eq!(Failure::from(&StoreError::Strange("?".into())), Failure::Timeout);
    assert_eq!(StorageMode::from(Store::Mysql).as_str(), "mysql");
}

#[test]
fn one_slow_command_costs_a_probe_and_two_cost_the_mode() {
    let mut bench = Bench::on_redis();
    assert_eq!(bench.failed(Store::Redis, Failure::Timeout).as_slice(), [Output::Probe(Store::Redis)]);
    assert!(bench.seen(Store::Redis, Some(REDIS_1)).is_empty());
    bench.now += Duration::from_millis(1001);
    assert_eq!(bench.failed(Store::Redis, Failure::Timeout).as_slice(), [Output::Probe(Store::Redis)]);
    bench.now += BEAT;
    assert!(bench.seen(Store::Redis, Some(REDIS_1)).is_empty());
    let said = bench.failed(Store::Redis, Failure::Timeout);
    assert_eq!(said.as_slice(), [Output::SwitchTo { record: MYSQL_2, at: Store::Mysql }]);
}

#[test]
fn a_timeout_and_a_failed_probe_switch() {
    let mut bench = Bench::on_redis();
    bench.failed(Store::Redis, Failure::Timeout);
    let said = bench.seen(Store::Redis, None);
    assert_eq!(said.as_slice(), [Output::SwitchTo { record: MYSQL_2, at: Store::Mysql }]);
}

#[test]
fn both_away_is_stale_until_one_returns() {
    let mut bench = Bench::on_redis();
    assert!(bench.seen(Store::Mysql, None).is_empty());
    assert!(bench.failed(Store::Redis, Failure::Away).is_empty());
    bench.decides(Store::Redis, false);
    let said = bench.seen(Store::Mysql, Some(REDIS_1));
    assert_eq!(said.as_slice(), [Output::SwitchTo { record: MYSQL_2, at: Store::Mysql }]);
    let said = bench.on(Input::Raised(Raise::Failed));
    assert!(said.is_empty(), "stale as before: {said:?}");
    assert!(bench.seen(Store::Redis, Some(REDIS_1)).is_empty());
    bench.decides(Store::Redis, true);
}

#[test]
fn both_away_at_start_recovers_by_itself() {
    let mut bench = Bench::new(BOTH);
    assert!(bench.seen(Store::Redis, None).is_empty());
    assert!(bench.seen(Store::Mysql, None).is_empty());
    let said = bench.seen(Store::Redis, Some(MYSQL_4));
    assert_eq!(
        said.as_slice(),
        [Output::Follow(MYSQL_4), Output::SwitchTo { record: MYSQL_4.next(), at: Store::Redis }]
    );
}

#[test]
fn nothing_is_written_before_both_stores_were_asked() {
    let mut bench = Bench::new(BOTH);
    assert!(bench.seen(Store::Redis, Some(Record::NONE)).is_empty());
    assert!(!bench.switch.writable());
    assert_eq!(bench.seen(Store::Mysql, Some(MYSQL_2))[0], Output::Follow(MYSQL_2));
    let said = bench.seen(Store::Redis, Some(REDIS_1));
    assert_eq!(said.as_slice(), [Output::Restore { store: Store::Redis, record: MYSQL_2 }]);
}

#[test]
fn without_mysql_the_move_to_redis_is_at_once() {
    let mut bench = Bench::on_mysql();
    assert!(bench.seen(Store::Redis, Some(MYSQL_2)).is_empty());
    let said = bench.failed(Store::Mysql, Failure::Away);
    assert_eq!(said.as_slice(), [Output::SwitchTo { record: REDIS_3, at: Store::Redis }]);
    assert!(bench.on(Input::Raised(Raise::Raised)).is_empty());
    bench.decides(Store::Redis, true);
    // MySQL comes back with the older record.
    let said = bench.seen(Store::Mysql, Some(MYSQL_2));
    assert_eq!(said.as_slice(), [Output::Restore { store: Store::Mysql, record: REDIS_3 }]);
}

#[test]
fn who_is_beaten_follows() {
    let mut bench = Bench::on_redis();
    bench.failed(Store::Redis, Failure::Away);
    let said = bench.on(Input::Raised(Raise::Beaten(MYSQL_4)));
    assert_eq!(said[0], Output::Follow(MYSQL_4));
    assert_eq!(bench.switch.epoch(), 4);
}

#[test]
fn one_store_alone_decides_whatever_an_old_record_says() {
    let mut bench = Bench::new(Configured { redis: false, mysql: true });
    assert_eq!((bench.switch.deciding(), bench.switch.epoch()), (Store::Mysql, 2));
    let said = bench.seen(Store::Mysql, Some(Record::NONE));
    assert_eq!(said.as_slice(), [Output::Restore { store: Store::Mysql, record: MYSQL_2 }]);
    bench.decides(Store::Mysql, true);
    assert!(bench.failed(Store::Mysql, Failure::Away).is_empty());
    bench.decides(Store::Mysql, false);

    let mut bench = Bench::new(Configured { redis: true, mysql: false });
    let said = bench.seen(Store::Redis, Some(MYSQL_2));
    assert_eq!(
        said.as_slice(),
        [Output::Follow(MYSQL_2), Output::SwitchTo { record: REDIS_3, at: Store::Redis }]
    );
}

#[test]
fn redis_decides_again_after_30_seconds_by_way_of_mysql() {
    let mut bench = Bench::on_mysql();
    let said = bench.well_for(Duration::from_millis(29_750));
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(bench.well_for(BEAT), [Output::CarryBack(REDIS_3)]);
    assert!(bench.well_for(Duration::from_secs(2)).is_empty());
    assert!(bench.switch.writable());
    let said = bench.on(Input::CarriedBack(true));
    assert_eq!(said.as_slice(), [Output::SwitchTo { record: REDIS_3, at: Store::Mysql }]);
    assert!(bench.switch.writable(), "MySQL goes on deciding until then");
    let said = bench.on(Input::Raised(Raise::Raised));
    let restore = Output::Restore { store: Store::Redis, record: REDIS_3 };
    assert_eq!(said.as_slice(), [restore]);
    bench.decides(Store::Redis, true);
}

#[test]
fn a_failure_while_carrying_back_starts_it_over() {
    let mut bench = Bench::on_mysql();
    bench.well_for(Duration::from_secs(30));
    bench.failed(Store::Redis, Failure::Timeout);
    assert!(bench.well_for(Duration::from_secs(6)).is_empty());
    assert!(bench.on(Input::CarriedBack(true)).is_empty(), "what failed in between counts for nothing");
    assert_eq!(bench.well_for(BEAT), [Output::CarryBack(REDIS_3)]);
    assert!(bench.on(Input::CarriedBack(false)).is_empty());
    assert!(bench.well_for(Duration::from_millis(4_750)).is_empty());
    assert_eq!(bench.well_for(BEAT), [Output::CarryBack(REDIS_3)]);
}

#[test]
fn only_the_first_of_those_alive_carries_back_and_only_if_all_are_well() {
    let long = Some(Duration::from_secs(9));
    let rows: [(&[Peer], bool); 6] = [
        (&[peer("a", true, None), peer("b", true, long)], true),
        (&[peer("a", true, None), peer("b", false, None)], true),
        (&[peer("a", true, None), peer("b", true, None)], false),
        (&[peer("a", true, None), peer("b", true, Some(Duration::from_secs(4)))], false),
        (&[peer("A", true, long), peer("a", true, None)], false),
        (&[peer("b", true, long)], false),
    ];
    for (rows, chosen) in rows {
        assert_eq!(Bench::on_mysql().switch.chosen(rows), chosen, "{rows:?}");
    }
}

/// Two gateways or three, with the real limits, in beats.
fn world(gateways: usize) -> World {
    let mut world = World::new(gateways, BEAT, Limits::REAL);
    rounds(&mut world, 4);
    assert_eq!(world.agreed(), Some(REDIS_1));
    world
}

pub(super) fn rounds(world: &mut World, rounds: usize) {
    for _ in 0..rounds {
        world.step(Step::Round).expect("no rule broken");
    }
}

#[test]
fn a_flapping_redis_does_not_make_the_mode_flap() {
    let mut world = world(2);
    for _ in 0..60 {
        world.gateways.iter_mut().for_each(|gateway| gateway.links[Store::Redis as usize] ^= true);
        rounds(&mut world, 4);
    }
    assert_eq!(world.switches, 1);
    assert_eq!(world.highest(), 2);
}

#[test]
fn one_gateway_cut_off_from_redis_takes_all_to_mysql_and_keeps_them_there() {
    let mut world = world(2);
    world.gateways[1].links[Store::Redis as usize] = false;
    world.step(Step::Request(1, Failure::Away)).expect("no rule broken");
    rounds(&mut world, 4);
    assert!(world.gateways.iter().all(|gateway| gateway.switch.record == MYSQL_2));
    rounds(&mut world, 4 * 120);
    assert_eq!(world.switches, 1);
    world.gateways[1].links[Store::Redis as usize] = true;
    rounds(&mut world, 4 * 7);
    assert_eq!(world.agreed(), Some(REDIS_3));
}

#[test]
fn gateways_with_a_store_each_do_not_throw_the_mode_to_and_fro_by_way_of_a_third() {
    let mut world = world(3);
    world.gateways[0].links[Store::Redis as usize] = false;
    world.gateways[1].links[Store::Mysql as usize] = false;
    rounds(&mut world, 4 * 120);
    // Two a settling time, and those of the beginning.
    assert!(world.switches <= 12, "{} in two minutes", world.switches);
    world.gateways.iter_mut().for_each(|gateway| gateway.links = [true; 2]);
    rounds(&mut world, 4);
    assert!(world.agreed().is_some());
}
