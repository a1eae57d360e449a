//! Explores what two gateways and two stores can come to, breadth first, so that the way to a broken rule is the
//! shortest one; and from every state that comes up, that things end well once the faults do. An explorer of its own
//! rather than a crate: it merges states by shape and asks each one how it would end.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::world::{STORES, Step, World};
use super::{Failure, Limits, Record, Store};

/// The real rules with less patience, in ticks of half a second.
const HASTY: Limits = Limits {
    doubt: Duration::from_millis(1000),
    probe_gap: Duration::from_millis(1000),
    proven: Duration::from_millis(1000),
    settle: Duration::from_millis(2000),
    peers: Duration::from_millis(1000),
};
const TICK: Duration = Duration::from_millis(500);

/// Rounds until all that can agree do, whatever was before; then until Redis decides again.
const ROUNDS_TO_AGREE: usize = 4;
const ROUNDS_TO_RETURN: usize = 16;

struct Explorer {
    /// For each state the step that led to it, and from which one.
    found: Vec<Option<(usize, Step)>>,
    shapes: HashSet<Vec<u16>>,
    ended_well: HashSet<(bool, Vec<u16>)>,
}

impl Explorer {
    /// Explores all that can follow from `start` in `depth` steps, or `most` states of it: how many, and how many steps deep they are complete.
    fn explore(start: World, fine: bool, depth: usize, most: usize) -> (usize, usize) {
        let shapes = HashSet::from([start.shape()]);
        let mut explorer = Explorer { found: vec![None], shapes, ended_well: HashSet::new() };
        let mut edge = VecDeque::from([(0, 0, start)]);
        let mut complete = depth;
        while let Some((index, level, from)) = edge.pop_front() {
            explorer.ends_well(index, &from);
            if explorer.found.len() >= most {
                complete = complete.min(level);
            }
            if level >= complete {
                continue;
            }
            for step in from.steps(fine) {
                let mut world = from.clone();
                if let Err(broken) = world.step(step) {
                    explorer.fail(index, &format!("{step:?}: {broken}\n{world:#?}"));
                }
                if explorer.shapes.insert(world.shape()) {
                    explorer.found.push(Some((index, step)));
                    edge.push_back((explorer.found.len() - 1, level + 1, world));
                }
            }
        }
        (explorer.found.len(), complete)
    }

    /// Stops the faults here: with the links as they are, whoever shares a store comes to agree; with all healed,
    /// everybody does, on the highest epoch, and Redis decides in the end.
    fn ends_well(&mut self, index: usize, from: &World) {
        for healed in [false, true] {
            let mut world = from.clone();
            if healed {
                world.gateways.iter_mut().for_each(|gateway| gateway.links = [true; 2]);
            }
            if self.ended_well.insert((healed, world.shape()))
                && let Err(broken) = end(world, healed)
            {
                self.fail(index, &broken);
            }
        }
    }

    fn fail(&self, index: usize, broken: &str) -> ! {
        let mut path = Vec::new();
        let mut index = index;
        while let Some((from, step)) = self.found[index] {
            path.push(format!("{step:?}"));
            index = from;
        }
        path.reverse();
        panic!("after [{}], {broken}", path.join(", "));
    }
}

fn end(mut world: World, healed: bool) -> Result<(), String> {
    let before = world.clone();
    let highest = world.highest();
    let shared =
        STORES.iter().any(|store| world.gateways.iter().all(|gateway| gateway.links[*store as usize]));
    let mut agreed_within = None;
    let mut switches = 0;
    for round in 0..ROUNDS_TO_RETURN {
        switches = world.switches;
        world.step(Step::Round).map_err(|broken| format!("in quiet round {round}: {broken}"))?;
        if world.agreed().is_some() && agreed_within.is_none() {
            agreed_within = Some(round);
        }
    }
    let records: Vec<Record> = world.gateways.iter().map(|gateway| gateway.switch.record).collect();
    let problem = if shared && records.iter().any(|record| *record != records[0]) {
        "they do not agree"
    } else if world.highest() < highest {
        "the highest epoch is lost"
    } else if world.switches > switches {
        "the mode does not come to rest"
    } else if healed && agreed_within.is_none_or(|round| round >= ROUNDS_TO_AGREE) {
        "they take too long to agree"
    } else if healed && world.agreed().is_none_or(|record| record.mode != Store::Redis) {
        "Redis does not decide again"
    } else {
        return Ok(());
    };
    Err(format!("{problem} (healed: {healed})\nfrom {before:#?}\nto {world:#?}"))
}

fn run(name: &str, start: World, fine: bool, depth: usize, most: usize) {
    let began = Instant::now();
    let (states, complete) = Explorer::explore(start, fine, depth, most);
    println!("{name}: {states} states, all of {complete} steps and some beyond, {:?}", began.elapsed());
}

fn fresh() -> World {
    World::new(2, TICK, HASTY)
}

fn after(steps: &[Step]) -> World {
    let mut world = fresh();
    for step in steps {
        world.step(*step).expect("a plain beginning breaks no rule");
    }
    world
}

#[test]
fn whatever_links_break_in_whichever_round_all_agree_in_the_end() {
    run("rounds", fresh(), false, 9, 24_000);
}

#[test]
fn steps_of_two_gateways_may_interleave_as_they_like() {
    interleave(12_000);
}

#[test]
#[ignore = "takes minutes without optimization"]
fn much_further_on_nothing_else_happens() {
    run("rounds", fresh(), false, 12, 400_000);
    interleave(200_000);
}

fn interleave(most: usize) {
    use Step::{Link, Request, Round};
    let (redis, mysql) = (Store::Redis, Store::Mysql);
    let cut = [Round, Round, Link(0, redis), Request(0, Failure::Away), Round];
    let split = [Round, Round, Link(0, redis), Link(1, mysql), Round];
    let back: Vec<Step> = cut.into_iter().chain([Link(0, redis), Round, Round, Round]).collect();
    run("from the start", fresh(), true, 12, most);
    run("from a failover", after(&cut), true, 12, most);
    run("from a split", after(&split), true, 12, most);
    run("from before the return", after(&back), true, 12, most);
}
