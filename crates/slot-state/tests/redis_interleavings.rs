//! Random interleavings of gateways and PHP on one Redis: at rest every picture equals what Redis holds.
//! A failure prints its seed; `SLOT_STATE_SEED=…` runs that one again.

mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{join, join_all};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis::aio::MultiplexedConnection;
use slot_state::{DeselectAsk, HoldError, Releaser, Renewal, Room, Slot};
use support::{Php, RedisServer, eventually, holds_in};

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
    let chosen = std::env::var("SLOT_STATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds =
        chosen.map_or_else(|| (0..SEEDS).map(|_| rand::random::<u32>().into()).collect(), |seed| vec![seed]);
    for seed in seeds {
        let told = PrintSeed(seed);
        run(&redis, [&one, &other], seed).await;
        drop(told);
        redis.run::<String>(&["FLUSHDB"]).await;
        for house in [&one, &other] {
            eventually("all is gone", SOON, async || (house.picture.count() == (0, 0)).then_some(())).await;
        }
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
    let actors = (0..ACTORS).map(|actor| async move {
        let mut rng = StdRng::seed_from_u64(seed * ACTORS + actor);
        let mut php = redis.php().await;
        for _ in 0..STEPS {
            step(&mut rng, houses, &mut php).await;
        }
    });
    join_all(actors).await;
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

async fn step(rng: &mut StdRng, houses: [&House; 2], php: &mut Php) {
    let house = houses[rng.random_range(0..2)];
    let place = slot_in(rng.random_range(1..=ROOMS), TIMES[rng.random_range(0..TIMES.len())]);
    let name = CLIENTS[rng.random_range(0..CLIENTS.len())];
    let (where_, time) = (named(place.room), place.time.to_string());
    match rng.random_range(0..100) {
        0..30 => allowed(house.select(place, name).await),
        30..40 => {
            allowed(house.select_for(place, name, Duration::from_millis(rng.random_range(1..40))).await)
        }
        40..50 => allowed(house.deselect(place, name).await),
        50..60 => allowed(house.lock(place, name).await),
        60..70 => allowed(house.unlock(place, name).await),
        70..75 => {
            let put_back = rng.random();
            let _ = house.renew(place, name, put_back).await.expect("answers");
        }
        75..78 => {
            let ttl = Duration::from_millis(rng.random_range(1..40));
            house.store.shorten(vec![(place, client(name))], ttl).await.expect("answers");
        }
        78..80 => {
            let by = Releaser::Address(None);
            allowed(house.store.deselect(DeselectAsk { slot: place, by, actor: None }).await);
        }
        80..86 => php.select(&where_, &time, name).await,
        86..89 => php.select_for(&where_, &time, name, 1).await,
        89..94 => php.delete(&where_, &time).await,
        94..96 => php.lock(&where_, &time, name).await,
        96..98 => php.delete_key(&where_.lock_key(&time)).await,
        98..99 => php.set_ex(&where_.active_key(&time), 1, "not a hold").await,
        _ => tokio::time::sleep(Duration::from_millis(rng.random_range(1..10))).await,
    }
}

fn allowed<T>(outcome: Result<T, HoldError>) {
    if let Err(HoldError::Store(error)) = outcome {
        panic!("the store failed: {error}");
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
