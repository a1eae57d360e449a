//! On a real Redis: who is refused under which record, and that what this gateway believes decides what it asks.

use std::time::Duration;

use support::{PATIENCE, RedisServer, eventually, holds_for};

use crate::failover::Record;
use crate::hold::HoldError;
use crate::redis::keys;
use crate::redis::rig::{
    Rig, ask, client, field, locked_by, mysql_at, named, redis_at, selected_by, slot, slot_in,
};
use crate::store::{HoldStore, StoreError};

fn elsewhere<T: std::fmt::Debug>(outcome: Result<T, HoldError>) {
    assert!(matches!(outcome, Err(HoldError::Store(StoreError::Elsewhere))), "{outcome:?}");
}

#[tokio::test]
async fn a_record_that_says_mysql_refuses_every_change_and_is_left_alone() {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    rig.select(slot("10:00"), "ann").await.expect("granted");
    let locked = rig.store.lock(ask(slot("11:00"), "ann")).await.expect("granted");
    for record in [mysql_at(1), mysql_at(2)] {
        assert_eq!(rig.store.raise(record).await, Ok(Ok(())));
        elsewhere(rig.select(slot("12:00"), "ann").await);
        elsewhere(rig.store.lock(ask(slot("12:00"), "ann")).await);
        elsewhere(rig.store.unlock(ask(slot("11:00"), "ann")).await);
        elsewhere(rig.store.copy_lock(&ask(slot("11:00"), "ann"), &locked).await);
        let held = (slot("10:00"), client("ann"));
        let shortened = rig.store.shorten(vec![held], Duration::from_millis(1)).await;
        assert_eq!(shortened, Err(StoreError::Elsewhere));
        assert_eq!(rig.store.record().await, Ok(record), "a probe is not refused");
    }
    assert_eq!(selected_by(&redis, slot("10:00")).await.as_deref(), Some("ann"));
    assert_eq!(selected_by(&redis, slot("12:00")).await, None);
    eventually("it is said not to decide", PATIENCE, async || {
        (rig.store.health()["redis"]["status"] == "standby").then_some(())
    })
    .await;
    assert!(!rig.store.storage().borrow().writable);
}

#[tokio::test]
async fn a_gateway_that_believes_in_mysql_asks_nothing_of_redis_and_does_not_touch_the_record() {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    rig.follow(mysql_at(2));
    elsewhere(rig.select(slot("10:00"), "ann").await);
    redis.run::<String>(&["FLUSHALL"]).await;
    redis.php().await.select(&named(slot("10:00").room), "10:00", "pia").await;
    rig.store.look(&[slot("10:00")]);
    assert_eq!(rig.store.record().await, Ok(Record::NONE));
    holds_for("nobody makes a record up", Duration::from_millis(1500), async || {
        rig.store.record().await == Ok(Record::NONE)
    })
    .await;
    assert_eq!(rig.picture.count(), (0, 0));
    assert_eq!(rig.store.read_anew().await, Err(StoreError::Elsewhere));
    assert_eq!(rig.store.raise(mysql_at(2)).await, Ok(Ok(())));
    assert_eq!(rig.store.record().await, Ok(mysql_at(2)));
}

#[tokio::test]
async fn the_picture_is_that_of_redis_when_all_was_read_anew() {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    rig.select(slot("10:00"), "ann").await.expect("granted");
    rig.follow(mysql_at(2));
    assert_eq!(rig.store.raise(mysql_at(2)).await, Ok(Ok(())));
    redis.run::<i64>(&["DEL", &keys::active(slot("10:00"))]).await;
    let mut php = redis.php().await;
    for number in 1..=300 {
        php.select(&named(slot_in(number, "10:00").room), "10:00", "pia").await;
    }
    assert_eq!(rig.picture.count(), (1, 0), "another store decides");
    assert_eq!(rig.store.raise(redis_at(3)).await, Ok(Ok(())));
    rig.follow(redis_at(3));
    assert_eq!(rig.store.read_anew().await, Ok(()));
    assert_eq!(rig.picture.count(), (300, 0));
    assert!(rig.picture.selection(slot("10:00")).is_some_and(|held| held.client == client("pia")));
    eventually("it takes writes and events flow", PATIENCE, async || {
        let storage = *rig.store.storage().borrow();
        (storage.writable && storage.flowing).then_some(())
    })
    .await;
}

#[tokio::test]
async fn reading_anew_says_when_redis_cannot_be_read() {
    let mut redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    redis.kill().await;
    assert!(rig.store.read_anew().await.is_err());
    redis.restart_empty().await;
    eventually("it can be read again", PATIENCE, async || rig.store.read_anew().await.ok()).await;
}

#[tokio::test]
async fn a_record_is_raised_over_a_lower_one_only() {
    let redis = RedisServer::start().await;
    let (one, other) = (Rig::on(&redis).await, Rig::on(&redis).await);
    assert_eq!(one.store.raise(redis_at(3)).await, Ok(Ok(())));
    assert_eq!(other.store.raise(redis_at(3)).await, Ok(Err(redis_at(3))), "only one raises it");
    assert_eq!(other.store.raise(mysql_at(2)).await, Ok(Err(redis_at(3))));
    assert_eq!(other.store.raise(mysql_at(3)).await, Ok(Ok(())), "at equal epochs MySQL is right");
    assert_eq!(one.store.raise(redis_at(3)).await, Ok(Err(mysql_at(3))));
    assert_eq!(one.store.record().await, Ok(mysql_at(3)));
    redis.run::<String>(&["FLUSHALL"]).await;
    assert_eq!(one.store.raise(redis_at(5)).await, Ok(Ok(())));
    redis.run::<i64>(&["HSET", keys::STORAGE, "epoch", "x", "mode", "mysql"]).await;
    assert_eq!(one.store.record().await, Ok(mysql_at(0)));
    assert_eq!(one.store.raise(redis_at(5)).await, Ok(Ok(())), "a damaged epoch is none");
}

#[tokio::test]
async fn an_older_record_is_brought_up_to_date_by_whoever_knows_a_newer_one_of_redis() {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    assert_eq!(rig.store.raise(mysql_at(2)).await, Ok(Ok(())));
    rig.follow(redis_at(3));
    rig.select(slot("10:00"), "ann").await.expect("granted");
    assert_eq!(rig.store.record().await, Ok(redis_at(3)));
    let late = Rig::on(&redis).await;
    late.select(slot("11:00"), "bob").await.expect("it takes over the epoch");
    assert_eq!(late.store.health()["redis"]["storage_epoch"], 3);
}

#[tokio::test]
async fn redis_alone_makes_its_record_anew() {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    for loss in [["FLUSHALL"].as_slice(), &["DEL", keys::STORAGE], &["HDEL", keys::STORAGE, "mode", "epoch"]]
    {
        redis.run::<redis::Value>(loss).await;
        rig.select(slot("10:00"), "ann").await.expect("granted");
        assert_eq!(rig.store.record().await, Ok(redis_at(1)), "{loss:?}");
        assert_eq!(field::<String>(&redis, "mode").await, "redis");
    }
    assert_eq!(locked_by(&redis, slot("10:00")).await, None);
}

#[tokio::test]
async fn a_probe_is_no_proof_where_writes_are_refused() {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    redis.run::<String>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let refused = rig.store.record().await;
    assert!(matches!(refused, Err(StoreError::Refusing(_))), "{refused:?}");
    assert!(rig.store.salt().is_some());
    redis.run::<String>(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(rig.store.record().await, Ok(Record::NONE));
}

#[tokio::test]
async fn what_happened_while_the_record_said_mysql_is_seen_when_it_does_not_any_more() {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    rig.select(slot("10:00"), "ann").await.expect("granted");
    assert_eq!(rig.store.raise(mysql_at(2)).await, Ok(Ok(())));
    eventually("it is said not to decide", PATIENCE, async || {
        (!rig.store.storage().borrow().writable).then_some(())
    })
    .await;
    redis.run::<i64>(&["DEL", &keys::active(slot("10:00"))]).await;
    redis.php().await.select(&named(slot("11:00").room), "11:00", "pia").await;
    assert_eq!(rig.store.raise(redis_at(3)).await, Ok(Ok(())));
    eventually("the picture is that of Redis", PATIENCE, async || {
        (rig.picture.selection(slot("10:00")).is_none() && rig.picture.selection(slot("11:00")).is_some())
            .then_some(())
    })
    .await;
    rig.select(slot("12:00"), "ann").await.expect("granted");
}
