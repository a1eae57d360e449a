//! On a real Redis: what carrying back writes, what it spares, what is dropped, and copies of locks.

use std::collections::HashMap;
use std::time::Duration;

use support::RedisServer;
use tokio::time::Instant;

use crate::hold::{AddressTag, Carried, Chosen, Lock, Locked, Refusal, Selection, Writer};
use crate::redis::keys;
use crate::redis::rig::{
    LONG, Rig, ask, client, field, locked_by, mysql_at, named, pttl, redis_at, refusal, selected_by, slot,
    slot_in, value,
};
use crate::slot::Slot;
use crate::store::{HoldStore, StoreError};

const BY_GATEWAY: Writer =
    Writer::Gateway { chosen: Chosen::ByPoll, address: Some(AddressTag(0x0123_4567_89ab_cdef)) };

fn selection(slot: Slot, name: &str, left: Duration, writer: Writer) -> (Slot, Selection) {
    (slot, Selection { client: client(name), deadline: Instant::now() + left, writer })
}

fn lock(slot: Slot, name: &str, left: Duration, fence: u64) -> (Slot, Lock) {
    (slot, Lock { client: client(name), deadline: Instant::now() + left, fence })
}

fn selections(selections: Vec<(Slot, Selection)>) -> Carried {
    Carried { selections, locks: Vec::new() }
}

fn locks(locks: Vec<(Slot, Lock)>) -> Carried {
    Carried { selections: Vec::new(), locks }
}

async fn drop_all_stale(rig: &Rig, epoch: u64) -> Result<(), StoreError> {
    rig.store.drop_stale(&HashMap::new(), &HashMap::new(), epoch).await
}

/// A Redis on which `ann` selected 10:00 and locked 11:00 before MySQL stepped in.
async fn before_failover() -> (RedisServer, Rig, u64) {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    rig.select(slot("10:00"), "ann").await.expect("granted");
    let fence = rig.store.lock(ask(slot("11:00"), "ann")).await.expect("granted").fence;
    assert_eq!(rig.store.raise(mysql_at(2)).await, Ok(Ok(())));
    rig.follow(mysql_at(2));
    (redis, rig, fence)
}

async fn return_to_redis(rig: &Rig) {
    assert_eq!(rig.store.raise(redis_at(3)).await, Ok(Ok(())));
    rig.follow(redis_at(3));
    rig.store.read_anew().await.expect("it can be read");
}

#[tokio::test]
async fn selections_come_with_the_time_they_have_left_and_as_they_were_written() {
    let (redis, rig, _) = before_failover().await;
    let (ours, phps, over) = (slot("12:00"), slot("13:00"), slot("14:00"));
    let held = vec![
        selection(ours, "bob", Duration::from_secs(5), BY_GATEWAY),
        selection(phps, "pia", Duration::from_secs(200), Writer::Php),
        selection(over, "cis", Duration::ZERO, BY_GATEWAY),
    ];
    assert_eq!(rig.store.carry(selections(held), 3).await, Ok(()));
    assert_eq!(rig.store.record().await, Ok(mysql_at(2)), "the record is not touched");
    let written = value(&redis, &keys::active(ours)).await;
    assert_eq!((&written["client_id"], &written["time"]), (&"bob".into(), &"12:00".into()));
    assert_eq!((&written["chosen"], &written["epoch"]), (&"poll".into(), &3.into()));
    assert_eq!(written["address"], "0123456789abcdef");
    assert!((1..=5000).contains(&pttl(&redis, &keys::active(ours)).await));
    let written = value(&redis, &keys::active(phps)).await;
    let fields: Vec<&String> = written.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["client_id", "time", "timestamp"]);
    assert!((100_000..=200_000).contains(&pttl(&redis, &keys::active(phps)).await));
    let named: String = redis.run(&["GET", &keys::user(&client("pia"), phps.room)]).await;
    assert_eq!(named, "13:00");
    assert_eq!(selected_by(&redis, over).await, None);
    return_to_redis(&rig).await;
    assert_eq!(rig.picture.selection(ours).map(|held| held.writer), Some(BY_GATEWAY));
    assert_eq!(rig.picture.selection(phps).map(|held| held.writer), Some(Writer::Php));
}

#[tokio::test]
async fn a_selection_gives_way_to_what_holds_its_slot_but_not_to_what_redis_kept_from_before() {
    let (redis, rig, fence) = before_failover().await;
    let mut php = redis.php().await;
    php.select(&named(slot("12:00").room), "12:00", "pia").await;
    let held = ["10:00", "11:00", "12:00"].map(|time| selection(slot(time), "bob", LONG, BY_GATEWAY));
    assert_eq!(rig.store.carry(selections(held.to_vec()), 3).await, Ok(()));
    assert_eq!(selected_by(&redis, slot("10:00")).await.as_deref(), Some("bob"));
    let user = keys::user(&client("ann"), slot("10:00").room);
    assert!(!redis.run::<bool>(&["EXISTS", &user]).await, "the one before names it no more");
    assert_eq!(locked_by(&redis, slot("11:00")).await, Some(("ann".to_owned(), fence)));
    assert_eq!(selected_by(&redis, slot("11:00")).await, None);
    assert_eq!(selected_by(&redis, slot("12:00")).await.as_deref(), Some("pia"));
    let others = vec![selection(slot("10:00"), "cis", LONG, BY_GATEWAY)];
    assert_eq!(rig.store.carry(selections(others), 3).await, Ok(()));
    assert_eq!(selected_by(&redis, slot("10:00")).await.as_deref(), Some("bob"), "the first one has it");
    let short = vec![selection(slot("10:00"), "bob", Duration::from_secs(1), BY_GATEWAY)];
    assert_eq!(rig.store.carry(selections(short), 3).await, Ok(()));
    assert!(pttl(&redis, &keys::active(slot("10:00"))).await > 2000, "what was renewed lives on");
}

#[tokio::test]
async fn locks_come_with_their_fence_and_overwrite_what_is_not_newer() {
    let (redis, rig, fence) = before_failover().await;
    let mut php = redis.php().await;
    php.select(&named(slot("12:00").room), "12:00", "pia").await;
    php.lock(&named(slot("13:00").room), "13:00", "pia").await;
    let held = vec![
        lock(slot("10:00"), "bob", Duration::from_secs(30), fence + 1),
        lock(slot("11:00"), "bob", LONG, fence + 2),
        lock(slot("12:00"), "bob", LONG, fence + 3),
        lock(slot("13:00"), "cis", LONG, fence + 4),
        lock(slot("14:00"), "cis", Duration::ZERO, fence + 5),
    ];
    assert_eq!(rig.store.carry(locks(held), 3).await, Ok(()));
    for (time, name, fence) in [
        ("10:00", "bob", fence + 1),
        ("11:00", "bob", fence + 2),
        ("12:00", "bob", fence + 3),
        ("13:00", "cis", fence + 4),
    ] {
        assert_eq!(locked_by(&redis, slot(time)).await, Some((name.to_owned(), fence)), "{time}");
        assert_eq!(selected_by(&redis, slot(time)).await, None, "{time}");
    }
    assert!((1..=30_000).contains(&pttl(&redis, &keys::lock(slot("10:00"))).await));
    assert_eq!(locked_by(&redis, slot("14:00")).await, None);
    let older = vec![lock(slot("11:00"), "dan", LONG, fence + 1)];
    assert_eq!(rig.store.carry(locks(older), 3).await, Ok(()));
    assert_eq!(locked_by(&redis, slot("11:00")).await, Some(("bob".to_owned(), fence + 2)));
    assert_eq!(field::<u64>(&redis, "fence").await, fence + 4, "the counter here rises with them");
    return_to_redis(&rig).await;
    assert_eq!(rig.picture.lock(slot("11:00")).map(|lock| lock.fence), Some(fence + 2));
    assert_eq!(refusal(rig.store.lock(ask(slot("15:00"), "bob")).await), Refusal::TooManyHolds);
    assert_eq!(rig.store.unlock(ask(slot("11:00"), "bob")).await.ok(), Some(()));
}

#[tokio::test]
async fn nothing_is_carried_or_dropped_under_an_epoch_that_is_past() {
    let (redis, rig, _) = before_failover().await;
    let held = vec![selection(slot("12:00"), "bob", LONG, BY_GATEWAY)];
    assert_eq!(rig.store.raise(redis_at(5)).await, Ok(Ok(())));
    assert_eq!(rig.store.carry(selections(held), 3).await, Err(StoreError::Elsewhere));
    assert_eq!(drop_all_stale(&rig, 3).await, Err(StoreError::Elsewhere));
    assert_eq!(selected_by(&redis, slot("10:00")).await.as_deref(), Some("ann"));
    assert_eq!(selected_by(&redis, slot("12:00")).await, None);
}

#[tokio::test]
async fn more_than_one_batch_is_carried_and_dropped() {
    let (redis, rig, _) = before_failover().await;
    let held = (1..=250).map(|number| selection(slot_in(number, "09:00"), "bob", LONG, BY_GATEWAY)).collect();
    let locked = (1..=250).map(|number| lock(slot_in(number, "10:00"), "cis", LONG, number)).collect();
    assert_eq!(rig.store.carry(Carried { selections: held, locks: locked }, 3).await, Ok(()));
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "appointease_active_*_09:00"]).await.len(), 250);
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "appointease_lock_*_10:00"]).await.len(), 250);
    assert_eq!(drop_all_stale(&rig, 5).await, Ok(()));
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "appointease_active_*"]).await.len(), 0);
    assert_eq!(redis.run::<Vec<String>>(&["KEYS", "appointease_lock_*"]).await.len(), 0);
}

#[tokio::test]
async fn what_gateways_left_and_mysql_does_not_have_is_dropped_and_phps_stays() {
    let (redis, rig, fence) = before_failover().await;
    let mut php = redis.php().await;
    let room = named(slot("12:00").room);
    php.select(&room, "12:00", "pia").await;
    php.lock(&room, "13:00", "pia").await;
    let carried = Carried {
        selections: vec![selection(slot("14:00"), "bob", LONG, BY_GATEWAY)],
        locks: vec![lock(slot("15:00"), "bob", LONG, fence + 1), lock(slot("16:00"), "cis", LONG, fence + 2)],
    };
    assert_eq!(rig.store.carry(carried, 3).await, Ok(()));
    let keep = HashMap::from([(slot("10:00"), client("ann")), (slot("14:00"), client("bob"))]);
    let rows = HashMap::from([(slot("11:00"), fence), (slot("16:00"), fence + 3)]);
    assert_eq!(rig.store.drop_stale(&keep, &rows, 3).await, Ok(()));
    assert_eq!(selected_by(&redis, slot("10:00")).await.as_deref(), Some("ann"), "kept");
    assert_eq!(
        locked_by(&redis, slot("11:00")).await.map(|lock| lock.1),
        Some(fence),
        "its row has that fence"
    );
    assert_eq!(locked_by(&redis, slot("15:00")).await, None, "carried, but its row is gone since");
    assert_eq!(locked_by(&redis, slot("16:00")).await, None, "its row is of a newer lock");
    assert_eq!(drop_all_stale(&rig, 3).await, Ok(()));
    assert_eq!(selected_by(&redis, slot("10:00")).await, None);
    assert!(!redis.run::<bool>(&["EXISTS", &keys::user(&client("ann"), slot("10:00").room)]).await);
    assert_eq!(locked_by(&redis, slot("11:00")).await, None);
    assert_eq!(selected_by(&redis, slot("14:00")).await, None, "given up since it was carried");
    assert_eq!(selected_by(&redis, slot("12:00")).await.as_deref(), Some("pia"));
    assert_eq!(locked_by(&redis, slot("13:00")).await, Some(("pia".to_owned(), 0)));
}

#[tokio::test]
async fn another_client_that_selected_since_the_first_pass_has_the_slot_after_the_second() {
    let (redis, rig, _) = before_failover().await;
    let (ten, twelve) = (slot("10:00"), slot("12:00"));
    let first = [selection(twelve, "bob", LONG, BY_GATEWAY)];
    assert_eq!(rig.store.carry(selections(first.to_vec()), 3).await, Ok(()));
    // By then bob has moved, and cis is where he was.
    let second = [selection(ten, "bob", LONG, BY_GATEWAY), selection(twelve, "cis", LONG, BY_GATEWAY)];
    let keep = HashMap::from([(ten, client("bob")), (twelve, client("cis"))]);
    assert_eq!(rig.store.drop_stale(&keep, &HashMap::new(), 3).await, Ok(()));
    assert_eq!(rig.store.carry(selections(second.to_vec()), 3).await, Ok(()));
    assert_eq!(selected_by(&redis, ten).await.as_deref(), Some("bob"));
    assert_eq!(selected_by(&redis, twelve).await.as_deref(), Some("cis"));
}

#[tokio::test]
async fn selections_are_neither_carried_nor_dropped_once_redis_decides_under_that_epoch() {
    let (redis, rig, _) = before_failover().await;
    return_to_redis(&rig).await;
    let held = vec![selection(slot("12:00"), "bob", LONG, BY_GATEWAY)];
    assert_eq!(rig.store.carry(selections(held), 3).await, Err(StoreError::Elsewhere));
    assert_eq!(drop_all_stale(&rig, 3).await, Err(StoreError::Elsewhere));
    assert_eq!(selected_by(&redis, slot("10:00")).await.as_deref(), Some("ann"));
    assert_eq!(selected_by(&redis, slot("12:00")).await, None);
}

#[tokio::test]
async fn a_copied_lock_keeps_its_fence_and_time_and_is_shown_at_once() {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    let ten = slot("10:00");
    rig.select(ten, "ann").await.expect("granted");
    let locked = Locked { ttl: Duration::from_secs(20), fence: 40 };
    rig.store.copy_lock(&ask(ten, "ann"), &locked).await.expect("its own selection");
    assert_eq!(locked_by(&redis, ten).await, Some(("ann".to_owned(), 40)));
    assert_eq!(selected_by(&redis, ten).await, None);
    assert!((1..=20_000).contains(&pttl(&redis, &keys::lock(ten)).await));
    assert_eq!(rig.picture.lock(ten).map(|lock| lock.fence), Some(40));
    assert_eq!(rig.picture.selection(ten), None);
    for number in 1..=5 {
        let locked = Locked { ttl: LONG, fence: 40 + number };
        rig.store.copy_lock(&ask(slot_in(number, "09:00"), "ann"), &locked).await.expect("not counted here");
    }
    assert_eq!(refusal(rig.store.drop_lock(&ask(ten, "ann"), 39).await), Refusal::LockLost, "it is newer");
    assert_eq!(rig.picture.lock(ten).map(|lock| lock.fence), Some(40));
    rig.store.drop_lock(&ask(ten, "ann"), 40).await.expect("its own");
    assert_eq!(rig.picture.lock(ten), None);
    assert_eq!(refusal(rig.store.drop_lock(&ask(ten, "ann"), 40).await), Refusal::LockLost);
    let own = rig.store.lock(ask(slot("12:00"), "bob")).await.expect("granted here");
    assert!(own.fence > 45);
}

#[tokio::test]
async fn a_copy_gives_way_to_anothers_hold_but_not_to_an_older_lock() {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    let (ten, eleven, twelve) = (slot("10:00"), slot("11:00"), slot("12:00"));
    let copy =
        async |slot, name, fence| rig.store.copy_lock(&ask(slot, name), &Locked { ttl: LONG, fence }).await;
    rig.select(ten, "ann").await.expect("granted");
    assert_eq!(refusal(copy(ten, "bob", 50).await), Refusal::SlotLocked);
    copy(eleven, "ann", 50).await.expect("it is free");
    assert_eq!(refusal(copy(eleven, "bob", 49).await), Refusal::SlotLocked);
    assert_eq!(refusal(copy(eleven, "bob", 50).await), Refusal::SlotLocked);
    copy(eleven, "bob", 51).await.expect("the other lock is over");
    assert_eq!(rig.picture.lock(eleven).map(|lock| (lock.client, lock.fence)), Some((client("bob"), 51)));
    copy(eleven, "bob", 50).await.expect("a late copy of an older one");
    copy(eleven, "bob", 51).await.expect("the same once more");
    assert_eq!(locked_by(&redis, eleven).await, Some(("bob".to_owned(), 51)));
    copy(eleven, "bob", 52).await.expect("its next lock");
    assert_eq!(rig.picture.lock(eleven).map(|lock| lock.fence), Some(52));
    redis.php().await.lock(&named(twelve.room), "12:00", "pia").await;
    assert_eq!(refusal(copy(twelve, "bob", 60).await), Refusal::SlotLocked);
}
