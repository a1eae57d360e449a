//! Any bytes under our keys and on our channels of a real Redis, as PHP or anybody may put them there: the
//! scripts judge them, and no request fails for them.

use std::time::Duration;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use support::RedisServer;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::hold::{DeselectAsk, HoldError, Releaser};
use crate::redis::keys;
use crate::redis::rig::{Rig, ask, client, slot};
use crate::slot::ClientId;
use crate::store::HoldStore;

/// How long, in seconds: set by `tests/fuzz`.
const FUZZ_SECS: &str = "SLOTCAST_FUZZ_SECS";
/// Until then whatever stands there is gone.
const LIFETIME_MS: u64 = 60_000;

/// Whatever the outcome, the rules decided, not a fault.
fn judged<T: std::fmt::Debug>(what: &str, outcome: Result<T, HoldError>) {
    if let Err(HoldError::Store(error)) = outcome {
        panic!("{what}: {error:?}");
    }
}

async fn stands(rig: &Rig, connection: &mut MultiplexedConnection, bytes: &[u8]) {
    let (slot, ann) = (slot("10:00"), client("ann"));
    let (active, lock) = (keys::active(slot), keys::lock(slot));
    let user = keys::user(&ann, slot.room);
    for holds in [vec![&active], vec![&lock], vec![&active, &lock, &user]] {
        for key in &holds {
            let () = connection.pset_ex(*key, bytes, LIFETIME_MS).await.expect("redis takes it");
        }
        let (_, states) = rig.store.scripts.read([slot].into_iter()).await.expect("the script reads it");
        for (selection, lock) in states {
            let now = tokio::time::Instant::now();
            let holders = [
                selection.selection(now).ok().flatten().map(|selection| selection.client),
                lock.lock(now).ok().flatten().map(|lock| lock.client),
            ];
            assert!(holders.iter().flatten().all(|client| client.as_str().len() <= ClientId::MAX_LEN));
        }
        judged("select", rig.select(slot, "ann").await);
        judged("lock", rig.store.lock(ask(slot, "ann")).await);
        judged("unlock", rig.store.unlock(ask(slot, "ann")).await);
        let by = Releaser::Client(ann.clone());
        judged("deselect", rig.store.deselect(DeselectAsk { slot, by, actor: None }).await);
        let () = connection.del(&[&active, &lock, &user]).await.expect("redis drops them");
    }
    let () = connection.publish(keys::CHANGES, bytes).await.expect("redis passes it on");
}

async fn feed(feed: impl FnOnce(&mut dyn FnMut(&[u8])) -> u64) -> u64 {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    let mut connection = redis.connection().await;
    let tried = feed(&mut |bytes| {
        block_in_place(|| Handle::current().block_on(stands(&rig, &mut connection, bytes)));
    });
    // Nothing of all that hinders what comes next.
    let free = slot("11:00");
    rig.select(free, "bob").await.expect("free");
    support::eventually("it is seen", support::PATIENCE, async || {
        rig.picture.selection(free).filter(|held| held.client.as_str() == "bob").map(drop)
    })
    .await;
    tried
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_in_redis_is_judged_by_the_rules() {
    feed(|target| support::replay("redis_values", target)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "as long as SLOTCAST_FUZZ_SECS says; tests/fuzz runs it"]
async fn whatever_stands_in_redis_for_long() {
    let seconds = std::env::var(FUZZ_SECS).ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let tried =
        feed(|target| support::replay_for("redis_values", Duration::from_secs(seconds), target)).await;
    println!("{tried} values tried");
}
