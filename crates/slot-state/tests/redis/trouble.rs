//! A Redis that is away, frozen, half-open or refuses writes: quick errors, a readable picture, and full recovery.

use std::time::Duration;

use slot_state::{EndReason, HoldError, StoreError};
use support::{FaultProxy, RedisServer, eventually};
use tokio::time::{Instant, sleep, timeout};

use crate::house::{House, LONG, SOON, named, room, slot, slot_in};

/// A request that cannot be carried out says so about as quickly as the command's deadline of 250 ms.
async fn errs_soon(house: &House) -> StoreError {
    let asked = Instant::now();
    let outcome = timeout(Duration::from_secs(2), house.select(slot("23:00"), "zoe")).await;
    println!("error after {:?}", asked.elapsed());
    match outcome.expect("an answer in time") {
        Err(HoldError::Store(error)) => error,
        other => panic!("not an error of the store: {other:?}"),
    }
}

/// Requests are carried out again.
async fn takes_writes(house: &House) {
    eventually("a selection is granted", SOON, async || house.select(slot("22:00"), "yan").await.ok()).await;
    house.ready().await;
}

async fn hears_php(house: &House, redis: &RedisServer, name: &str) {
    redis.php().await.select(&named(room(8)), "20:00", name).await;
    house.shows_selection(slot_in(8, "20:00"), Some(name)).await;
}

async fn is_not_writable(house: &House) {
    eventually("the store counts as away", SOON, async || {
        (!house.store.storage().borrow().writable).then_some(())
    })
    .await;
    assert_eq!(house.store.storage().borrow().redis_status(), "unavailable");
    assert!(house.store.storage().borrow().stale());
}

#[tokio::test]
async fn while_redis_is_away_the_picture_stays_and_deadlines_pass() {
    let mut redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    house.select(slot("10:00"), "ann").await.expect("granted");
    let places: Vec<_> = (1000..1600).map(|number| slot_in(number, "10:00")).collect();
    for place in &places {
        house.select_for(*place, "bob", Duration::from_secs(3)).await.expect("granted");
    }
    redis.kill().await;
    for _ in 0..5 {
        errs_soon(&house).await;
    }
    is_not_writable(&house).await;
    assert_eq!(house.selected_by(slot("10:00")).as_deref(), Some("ann"));
    let mut latest = Duration::ZERO;
    for place in &places {
        let ended = house.heard.ended(*place).await;
        assert_eq!(ended.why, EndReason::Expired);
        latest = latest.max(ended.late);
    }
    println!("600 deadlines while Redis is away: told at most {latest:?} after");
    assert!(latest < Duration::from_secs(1), "{latest:?}");
    redis.restart().await;
    takes_writes(&house).await;
    house.fed_by("notifications").await;
    hears_php(&house, &redis, "pia").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_two_seconds_of_its_return_all_is_read_and_only_then_the_view_counts_as_good() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::before(redis.addr()).await;
    let house = House::on(&format!("redis://{}", proxy.addr())).await;
    let mut php = redis.php().await;
    for number in 1..1000 {
        php.select(&named(room(number)), "10:00", "pia").await;
    }
    eventually("all are shown", SOON, async || (house.picture.count().0 == 999).then_some(())).await;
    for round in 0..2 {
        proxy.refuse().await;
        is_not_writable(&house).await;
        // As long as it takes to be patient.
        sleep(Duration::from_secs(4)).await;
        let name = format!("pim{round}");
        for number in 1..1000 {
            php.select(&named(room(number)), "10:00", &name).await;
        }
        let mut storage = house.store.storage();
        proxy.heal();
        let healed = Instant::now();
        storage.wait_for(|storage| storage.writable).await.expect("the store is open");
        let took = healed.elapsed();
        for number in 1..1000 {
            assert_eq!(house.selected_by(slot_in(number, "10:00")).as_deref(), Some(name.as_str()));
        }
        println!("read after {took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        storage.wait_for(|storage| storage.flowing).await.expect("the store is open");
        assert!(healed.elapsed() < Duration::from_secs(2), "{:?}", healed.elapsed());
    }
}

#[tokio::test]
async fn a_frozen_redis_is_an_error_and_not_a_wait_and_recovers() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    house.select(slot("10:00"), "ann").await.expect("granted");
    house.select_for(slot("11:00"), "bob", Duration::from_secs(1)).await.expect("granted");
    redis.pause();
    let paused = Instant::now();
    while paused.elapsed() < Duration::from_secs(3) {
        errs_soon(&house).await;
    }
    let ended = house.heard.ended(slot("11:00")).await;
    println!("told {:?} after the deadline, with Redis frozen", ended.late);
    assert_eq!(ended.why, EndReason::Expired);
    redis.resume();
    takes_writes(&house).await;
    hears_php(&house, &redis, "pia").await;
    house.fed_by("notifications").await;
    hears_php(&house, &redis, "pim").await;
    assert_eq!(house.selected_by(slot("10:00")).as_deref(), Some("ann"));
    assert!(house.heard.endings(slot("10:00")).is_empty());
}

#[tokio::test]
async fn half_open_connections_are_replaced() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::before(redis.addr()).await;
    let house = House::on(&format!("redis://{}", proxy.addr())).await;
    for round in 0..2 {
        proxy.black_hole_existing();
        takes_writes(&house).await;
        hears_php(&house, &redis, &format!("pia{round}")).await;
    }
}

#[tokio::test]
async fn a_silent_event_connection_is_replaced_while_commands_work() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::before(redis.addr()).await;
    let house = House::on(&format!("redis://{}", proxy.addr())).await;
    // On a slow machine its first subscription may have been given up.
    let silence = async || (proxy.black_hole_those_that_said("PSUBSCRIBE") > 0).then_some(());
    eventually("it listens and is silenced", SOON, silence).await;
    redis.php().await.select(&named(room(7)), "10:00", "pia").await;
    house.select(slot("11:00"), "ann").await.expect("commands work");
    house.shows_selection(slot("10:00"), Some("pia")).await;
    house.fed_by("notifications").await;
    hears_php(&house, &redis, "pim").await;
}

#[tokio::test]
async fn a_connection_that_is_reset_or_refused_for_a_while_is_made_again() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::before(redis.addr()).await;
    let house = House::on(&format!("redis://{}", proxy.addr())).await;
    proxy.reset_all();
    takes_writes(&house).await;
    hears_php(&house, &redis, "pia").await;
    proxy.refuse().await;
    errs_soon(&house).await;
    is_not_writable(&house).await;
    proxy.heal();
    takes_writes(&house).await;
    house.fed_by("notifications").await;
    hears_php(&house, &redis, "pim").await;
}

#[tokio::test]
async fn many_requests_at_once_on_a_broken_link_all_get_their_error_in_time() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::before(redis.addr()).await;
    let house = House::on(&format!("redis://{}", proxy.addr())).await;
    proxy.black_hole();
    let asked = Instant::now();
    let asks = (0..500).map(|number| async move { (number, slot_in(number + 1, "10:00")) });
    let outcomes = futures::future::join_all(asks.map(|ask| async {
        let (number, place) = ask.await;
        house.select(place, &format!("c{number}")).await
    }))
    .await;
    println!("500 errors after {:?}", asked.elapsed());
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(HoldError::Store(_)))));
    assert!(asked.elapsed() < Duration::from_secs(3));
    proxy.heal();
    takes_writes(&house).await;
}

/// Refuses writes, lets reads pass, and takes writes again.
async fn refuses_writes(refuse: &[&[&str]], allow: &[&[&str]]) {
    let redis = RedisServer::start_with(&["--enable-protected-configs", "yes"]).await;
    let house = House::on(&redis.url()).await;
    house.select(slot("10:00"), "ann").await.expect("granted");
    house.select_for(slot("11:00"), "bob", Duration::from_secs(2)).await.expect("granted");
    for command in refuse {
        drop(redis.try_run::<redis::Value>(command).await);
    }
    is_not_writable(&house).await;
    let error = errs_soon(&house).await;
    assert!(matches!(error, StoreError::Refusing(_)), "{error:?}");
    assert_eq!(house.heard.ended(slot("11:00")).await.why, EndReason::Expired);
    for command in allow {
        redis.run::<redis::Value>(command).await;
    }
    takes_writes(&house).await;
    house.fed_by("notifications").await;
    assert_eq!(house.selected_by(slot("10:00")).as_deref(), Some("ann"));
    assert!(house.heard.endings(slot("10:00")).is_empty());
    hears_php(&house, &redis, "pia").await;
}

#[tokio::test]
async fn a_read_only_replica_counts_as_away() {
    refuses_writes(&[&["REPLICAOF", "127.0.0.1", "1"]], &[&["REPLICAOF", "NO", "ONE"]]).await;
}

#[tokio::test]
async fn too_few_replicas_count_as_away() {
    let set = |number| ["CONFIG", "SET", "min-replicas-to-write", number];
    refuses_writes(&[&set("1")], &[&set("0")]).await;
}

#[tokio::test]
async fn a_full_memory_counts_as_away() {
    let set = |bytes| ["CONFIG", "SET", "maxmemory", bytes];
    refuses_writes(&[&set("1")], &[&set("0")]).await;
}

#[tokio::test]
async fn a_failed_save_counts_as_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("a path").to_owned();
    let refuse: [&[&str]; 3] = [
        &["CONFIG", "SET", "save", "3600 1000000"],
        &["CONFIG", "SET", "dir", &path],
        // Takes the place of the dump, so that no dump can be written there.
        &["CONFIG", "SET", "dbfilename", "taken"],
    ];
    std::fs::create_dir(folder.path().join("taken")).expect("a folder in the way");
    let mut commands = refuse.to_vec();
    commands.push(&["BGSAVE"]);
    refuses_writes(&commands, &[&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]]).await;
}

#[tokio::test]
async fn a_lock_asked_for_in_vain_is_not_held_for_long_if_it_was_granted_after_all() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    redis.pause();
    let asked = house.lock(slot("10:00"), "ann").await;
    assert!(matches!(asked, Err(HoldError::Store(_))), "{asked:?}");
    redis.resume();
    takes_writes(&house).await;
    // Redis found the request in its socket or did not; whichever it was, the picture says the same.
    let granted = redis.run::<bool>(&["EXISTS", &crate::house::lock_key(slot("10:00"))]).await;
    house.shows_lock(slot("10:00"), granted.then_some("ann")).await;
    house.lock(slot("10:00"), "ann").await.expect("its own, or free");
    house.select_for(slot("12:00"), "ann", LONG).await.expect("granted");
}

#[tokio::test]
async fn one_broken_connection_is_not_an_outage() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let mut storage = house.store.storage();
    storage.mark_unchanged();
    redis.run::<i64>(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    let again = timeout(Duration::from_secs(3), storage.wait_for(|storage| !storage.writable)).await;
    assert!(again.is_err(), "it never counted as away");
    takes_writes(&house).await;
    hears_php(&house, &redis, "pia").await;
}
