//! Random interleavings of gateways and PHP on one Redis: at rest every picture equals what Redis holds.
//! A failure prints its seed; `SLOT_STATE_SEED=…` runs that one again.

mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{join, join_all};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis::aio::MultiplexedConnection;
use slot_state::{DeselectAsk, HoldError, Releaser, Renewal, Room, Slot, StoreError};
use support::{FaultProxy, Php, RedisServer, eventually, holds_in};

use crate::house::{House, LONG, SOON, client, named, room, slot_in};

const ROOMS: u64 = 2;
const TIMES: [&str; 5] = ["09:00", "09:30", "10:00", "10:30", "11:00"];
const CLIENTS: [&str; 4] = ["ann", "bob", "cis", "dan"];
const SEEDS: u64 = 6;
const ACTORS: u64 = 5;
const STEPS: usize = 60;

type Holds = BTreeMap<(Room, String), String>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_rest_every_picture_equals_what_redis_holds() {
    let redis = RedisServer::start().await;
    let (one, other) = join(House::on(&redis.url()), House::on(&redis.url())).await;
    for seed in seeds(SEEDS) {
        let told = PrintSeed(seed);
        run(&redis, [&one, &other], seed).await;
        drop(told);
        redis.run::<String>(&["FLUSHDB"]).await;
        for house in [&one, &other] {
            eventually("all is gone", SOON, async || (house.picture.count() == (0, 0)).then_some(())).await;
        }
    }
}

/// Random ones, or the one that is asked for.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SLOT_STATE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count).map(|_| rand::random::<u32>().into()).collect(),
    }
}

struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was SLOT_STATE_SEED={}", self.0);
        }
    }
}

async fn run(redis: &RedisServer, houses: [&House; 2], seed: u64) {
    interleave(redis, houses, seed, Faults::None).await;
    let mut connection = redis.connection().await;
    agree(&mut connection, houses, seed).await;
    // As gateways do every 2 s, for the clients they think they have.
    for house in houses {
        let held = house.picture.held_slots().into_iter();
        let renewals: Vec<Renewal> = held
            .filter_map(|slot| Some((slot, house.picture.selection(slot)?.client)))
            .map(|(slot, client)| Renewal { slot, client, put_back: false, address: None })
            .collect();
        house.store.renew(renewals, LONG).await.expect("answers");
    }
    agree(&mut connection, houses, seed).await;
    one_selection_each(&mut connection, seed).await;
}

#[derive(Clone, Copy, PartialEq)]
enum Faults {
    None,
    Expected,
}

async fn interleave(redis: &RedisServer, houses: [&House; 2], seed: u64, faults: Faults) {
    let actors = (0..ACTORS).map(|actor| async move {
        let mut rng = StdRng::seed_from_u64(seed * ACTORS + actor);
        let mut php = redis.php().await;
        for _ in 0..STEPS {
            if let Err(error) = step(&mut rng, houses, &mut php).await {
                assert!(faults == Faults::Expected, "the store failed: {error}");
            }
        }
    });
    join_all(actors).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_faults_too_every_picture_comes_to_equal_what_redis_holds() {
    let redis = RedisServer::start().await;
    let proxies = [FaultProxy::before(redis.addr()).await, FaultProxy::before(redis.addr()).await];
    let [one, other] = proxies.each_ref().map(|proxy| format!("redis://{}", proxy.addr()));
    let (one, other) = join(House::on(&one), House::on(&other)).await;
    for seed in seeds(2) {
        let told = PrintSeed(seed);
        let mut rng = StdRng::seed_from_u64(seed);
        let faults = async {
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..150))).await;
                let proxy = &proxies[rng.random_range(0..2)];
                match rng.random_range(0..6) {
                    0 => proxy.reset_all(),
                    1 => proxy.black_hole_existing(),
                    2 => _ = proxy.black_hole_those_that_said("PSUBSCRIBE"),
                    3 => _ = redis.run::<String>(&["FLUSHDB"]).await,
                    4 => _ = redis.run::<i64>(&["DEL", "appointease_storage"]).await,
                    _ => _ = redis.run::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await,
                }
            }
        };
        join(faults, interleave(&redis, [&one, &other], seed, Faults::Expected)).await;
        for house in [&one, &other] {
            eventually("it works again", SOON, async || {
                let name = "eve";
                house.select_for(slot_in(9, "09:00"), name, Duration::from_millis(50)).await.ok()
            })
            .await;
            house.fed_by("notifications").await;
        }
        agree(&mut redis.connection().await, [&one, &other], seed).await;
        drop(told);
    }
}

async fn step(rng: &mut StdRng, houses: [&House; 2], php: &mut Php) -> Result<(), StoreError> {
    let house = houses[rng.random_range(0..2)];
    let place = slot_in(rng.random_range(1..=ROOMS), TIMES[rng.random_range(0..TIMES.len())]);
    let name = CLIENTS[rng.random_range(0..CLIENTS.len())];
    let (there, time) = (named(place.room), place.time.to_string());
    let moment = Duration::from_millis(rng.random_range(1..40));
    match rng.random_range(0..100) {
        0..30 => answered(house.select(place, name).await)?,
        30..40 => answered(house.select_for(place, name, moment).await)?,
        40..50 => answered(house.deselect(place, name).await)?,
        50..60 => answered(house.lock(place, name).await)?,
        60..70 => answered(house.unlock(place, name).await)?,
        70..75 => _ = house.renew(place, name, rng.random()).await?,
        75..78 => house.store.shorten(vec![(place, client(name))], moment).await?,
        78..80 => {
            let by = Releaser::Address(None);
            answered(house.store.deselect(DeselectAsk { slot: place, by, actor: None }).await)?;
        }
        80..86 => php.select(&there, &time, name).await,
        86..89 => php.select_for(&there, &time, name, 1).await,
        89..94 => php.delete(&there, &time).await,
        94..96 => php.lock(&there, &time, name).await,
        96..98 => php.delete_key(&there.lock_key(&time)).await,
        98..99 => php.set_ex(&there.active_key(&time), 1, "not a hold").await,
        _ => tokio::time::sleep(moment).await,
    }
    Ok(())
}

/// A refusal is an answer.
fn answered<T>(outcome: Result<T, HoldError>) -> Result<(), StoreError> {
    match outcome {
        Err(HoldError::Store(error)) => Err(error),
        _ => Ok(()),
    }
}

/// What Redis holds, its picture by picture equal, in the end.
async fn agree(connection: &mut MultiplexedConnection, houses: [&House; 2], seed: u64) {
    let mut difference = String::new();
    let agreed = async {
        eventually("pictures and Redis agree", SOON, async || {
            // Short time-to-lives go by while this is compared: twice the same is at rest.
            let truth = in_redis(connection).await;
            let shown: Vec<_> = houses.iter().map(|house| in_picture(house)).collect();
            if truth == in_redis(connection).await && shown.iter().all(|shown| *shown == truth) {
                return Some(());
            }
            difference = format!("in Redis {truth:?}\nshown {shown:?}");
            None
        })
        .await;
    };
    if tokio::time::timeout(SOON / 2, agreed).await.is_err() {
        panic!("seed {seed}: {difference}");
    }
}

async fn in_redis(connection: &mut MultiplexedConnection) -> [Holds; 2] {
    let mut holds = [Holds::new(), Holds::new()];
    for (kind, prefix) in ["appointease_active", "appointease_lock"].into_iter().enumerate() {
        for number in 1..=ROOMS {
            let found = holds_in(connection, prefix, &named(room(number))).await;
            holds[kind].extend(found.into_iter().map(|(time, owner)| ((room(number), time), owner)));
        }
    }
    holds
}

fn in_picture(house: &House) -> [Holds; 2] {
    let slots = house.picture.held_slots();
    let collect = |owner: &dyn Fn(Slot) -> Option<String>| -> Holds {
        slots.iter().filter_map(|slot| Some(((slot.room, slot.time.to_string()), owner(*slot)?))).collect()
    };
    [collect(&|slot| house.selected_by(slot)), collect(&|slot| house.locked_by(slot))]
}

/// Of what gateways wrote, no client has two selections in a room.
async fn one_selection_each(connection: &mut MultiplexedConnection, seed: u64) {
    let mut seen = BTreeSet::new();
    for ((room, time), owner) in &in_redis(connection).await[0] {
        let key = named(*room).active_key(time);
        let value: Option<String> =
            redis::cmd("GET").arg(&key).query_async(connection).await.expect("redis answers");
        if value.is_some_and(|value| value.contains("\"gateway\"")) {
            assert!(
                seen.insert((*room, owner.clone())),
                "seed {seed}: {owner} has two selections in {room:?}"
            );
        }
    }
}
