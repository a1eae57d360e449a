//! The rules as properties of whatever may happen: to one switch by itself, and to gateways in a small world.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::tests::{BEAT, Bench, peer, rounds};
use super::world::{NAMES, STORES, Step, World};
use super::{Failure, Input, Limits, Output, Raise, Record, Store};

fn any_record() -> impl Strategy<Value = Record> {
    (0_u64..8).prop_map(|epoch| Record {
        epoch,
        mode: if epoch % 2 == 0 && epoch > 0 { Store::Mysql } else { Store::Redis },
    })
}

fn any_input() -> impl Strategy<Value = Input> {
    let store = || prop::sample::select(STORES.to_vec());
    let failure = prop::sample::select(vec![Failure::Timeout, Failure::Away]);
    let healthy = prop::option::weighted(0.9, (4_u64..9).prop_map(Duration::from_secs));
    let peers = prop::collection::vec((0..3_usize, prop::bool::weighted(0.8), healthy), 0..3);
    prop_oneof![
        1 => (store(), any_record()).prop_map(|(store, record)| Input::Seen { store, record: Some(record) }),
        6 => store().prop_map(|store| Input::Seen { store, record: Some(Record::NONE) }),
        1 => store().prop_map(|store| Input::Seen { store, record: None }),
        1 => (store(), failure).prop_map(|(store, failure)| Input::Failed { store, failure }),
        2 => prop_oneof![
            Just(Raise::Raised), any_record().prop_map(Raise::Beaten), Just(Raise::Failed)
        ].prop_map(Input::Raised),
        4 => peers.prop_map(|peers| {
            let others = peers.into_iter().map(|(n, alive, healthy)| peer(NAMES[n], alive, healthy));
            Input::Peers(others.filter(|peer| peer.name != "a").chain([peer("a", true, None)]).collect())
        }),
        1 => any::<bool>().prop_map(Input::CarriedBack),
    ]
}

/// What the rules say about carrying back, kept by other means: when Redis last failed or was silent, and when the
/// mode last became `mysql`.
struct Referee {
    redis_unproven: Instant,
    redis_heard: Option<Instant>,
    failover: Option<Instant>,
}

impl Referee {
    fn before(&mut self, now: Instant, input: &Input) {
        match input {
            Input::Seen { store: Store::Redis, record: Some(_) } => {
                if self.redis_heard.is_none_or(|heard| now - heard > Duration::from_secs(1)) {
                    self.redis_unproven = now;
                }
                self.redis_heard = Some(now);
            }
            Input::Seen { store: Store::Redis, .. } | Input::Failed { store: Store::Redis, .. } => {
                self.redis_unproven = now;
                self.redis_heard = None;
            }
            _ => {}
        }
    }

    fn allows_return(&self, now: Instant, input: &Input) -> bool {
        let Input::Peers(peers) = input else { return false };
        now - self.redis_unproven >= Duration::from_secs(5)
            && self.redis_heard.is_some_and(|heard| now - heard <= Duration::from_secs(1))
            && self.failover.is_some_and(|failover| now - failover >= Duration::from_secs(30))
            && peers
                .iter()
                .filter(|peer| peer.alive && peer.name != "a")
                .all(|peer| peer.redis_healthy_for.is_some_and(|healthy| healthy >= Duration::from_secs(5)))
    }
}

proptest! {
    #[test]
    fn whatever_comes_in_the_epoch_rises_and_each_change_is_asked_for_once(
        inputs in prop::collection::vec((0_u64..400, any_input()), 1..600)
    ) {
        let mut bench = Bench::on_redis();
        let mut referee = Referee { redis_unproven: bench.now, redis_heard: Some(bench.now), failover: None };
        let (mut asked, mut carrying) = (false, false);
        for (after, input) in inputs {
            bench.now += Duration::from_millis(after);
            // Answers come to questions alone.
            match input {
                Input::Raised(_) if !std::mem::take(&mut asked) => continue,
                Input::CarriedBack(_) if !std::mem::take(&mut carrying) => continue,
                _ => referee.before(bench.now, &input),
            }
            let before = bench.switch.record;
            for output in bench.on(input.clone()) {
                match output {
                    Output::SwitchTo { record, .. } => {
                        prop_assert!(!std::mem::replace(&mut asked, true), "a change while one is under way");
                        prop_assert_eq!(record, bench.switch.record.next());
                    }
                    Output::CarryBack(_) => {
                        prop_assert!(!std::mem::replace(&mut carrying, true));
                        prop_assert!(referee.allows_return(bench.now, &input));
                    }
                    Output::Follow(record) => prop_assert!(record > before),
                    Output::Restore { record, .. } => prop_assert_eq!(record, bench.switch.record),
                    Output::Probe(store) => prop_assert_eq!(store, bench.switch.deciding()),
                }
            }
            prop_assert!(bench.switch.record >= before, "{:?} after {:?}", bench.switch.record, before);
            prop_assert_eq!(bench.switch.raising.is_some(), asked);
            if bench.switch.record != before && bench.switch.deciding() == Store::Mysql {
                referee.failover = Some(bench.now);
            }
        }
    }

    #[test]
    fn whatever_breaks_all_agree_within_a_second_of_its_healing(
        gateways in 1_usize..4,
        choices in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..150),
    ) {
        let mut world = World::new(gateways, BEAT, Limits::REAL);
        for (fine, choice) in choices {
            let step = *choice.get(&world.steps(fine));
            world.step(step).map_err(|broken| TestCaseError::fail(format!("{step:?}: {broken}")))?;
        }
        let highest = world.highest();
        world.gateways.iter_mut().for_each(|gateway| gateway.links = [true; 2]);
        let mut agreed = false;
        for _ in 0..4 {
            world.step(Step::Round).map_err(TestCaseError::fail)?;
            agreed |= world.agreed().is_some();
        }
        prop_assert!(agreed && world.highest() >= highest, "{:#?}", world);
        rounds(&mut world, 4 * 40);
        prop_assert_eq!(world.agreed().map(|record| record.mode), Some(Store::Redis), "{:#?}", world);
    }
}
