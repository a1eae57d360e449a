//! Redis and MySQL together: losing one in the middle of a booking goes unnoticed, and locks outlive Redis.

use std::time::Duration;

use serde_json::json;
use support::{Gateway, GatewayBuilder, LegacyPage, MariaDb, Page, RedisServer, Room, WordPress, eventually};

/// A store is taken back 30 s after the last failover at the earliest.
const BACK: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

async fn database() -> MariaDb {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria
}

fn on_both(redis: &RedisServer, maria: &MariaDb) -> GatewayBuilder {
    Gateway::builder().redis_at(&redis.url()).with("mysql.url", maria.url())
}

/// A gateway on both stores, and a page that looks at a room.
struct Stage {
    redis: RedisServer,
    maria: MariaDb,
    gateway: Gateway,
    room: Room,
    ann: Page,
}

async fn staged() -> Stage {
    let (redis, maria) = (RedisServer::start().await, database().await);
    let gateway = on_both(&redis, &maria).start().await;
    gateway.eventually_well_with_mysql().await;
    let room = Room::tomorrow_of(7);
    let ann = Page::watching(&gateway, "ann", &room).await;
    Stage { redis, maria, gateway, room, ann }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_lost_in_the_middle_of_a_booking_and_comes_back_and_nobody_notices() {
    let Stage { mut redis, maria: _maria, gateway, room, ann } = staged().await;
    let poll = LegacyPage::of(&gateway);
    let bob = Page::watching(&gateway, "bob", &room).await;

    // A selects 14:00 on Redis.
    assert_eq!(ann.select(&room, "14:00").await.assert_ok("selected").text("storage"), "redis");

    // Redis crashes.
    redis.kill().await;

    // The next poll says so, with 14:00 still active.
    eventually("a poll says mysql", SOON, async || {
        let answer = poll.poll(&room, &[]).await;
        assert_eq!(answer["appointease_active_selections"], json!(["14:00"]), "{answer}");
        (answer["redis_status"] == "unavailable" && answer["storage_mode"] == "mysql").then_some(())
    })
    .await;

    // B selects 15:00 without an error.
    assert_eq!(bob.select(&room, "15:00").await.assert_ok("selected").text("storage"), "mysql");
    bob.select(&room, "14:00").await.assert_error("slot_locked");
    ann.eventually_active(&room, &["14:00", "15:00"]).await;

    // Redis returns, empty.
    redis.restart_empty().await;
    eventually("the log says that Redis stands by", SOON, async || {
        gateway.log_events("store_stands_by").pop().map(|said| assert_eq!(said["storage"], "redis"))
    })
    .await;
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    eventually("the log says that Redis is full, while MySQL decides", SOON, async || {
        let said = gateway.log_events("store_down").pop()?;
        said["error"].as_str().is_some_and(|error| error.contains("OOM")).then_some(())
    })
    .await;
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    eventually("polls say redis again", BACK, async || {
        let answer = poll.poll(&room, &[]).await;
        assert_eq!(answer["appointease_active_selections"], json!(["14:00", "15:00"]), "{answer}");
        (answer["redis_status"] == "available" && answer["storage_mode"] == "redis").then_some(())
    })
    .await;

    // Both selections, still renewed, are there.
    ann.select(&room, "15:00").await.assert_error("slot_locked");
    bob.select(&room, "14:00").await.assert_error("slot_locked");
    assert_eq!(ann.select(&room, "14:00").await.assert_ok("selected").text("storage"), "redis");
    assert!(ann.released().is_empty() && bob.released().is_empty(), "nobody was told of a loss");
    ann.assert_open();
    bob.assert_open();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_that_meets_the_failure_is_finished_on_mysql() {
    let Stage { mut redis, maria: _maria, gateway: _gateway, room, ann } = staged().await;
    redis.kill().await;
    assert_eq!(ann.select(&room, "10:00").await.assert_ok("selected").text("storage"), "mysql");
    let fence = ann.lock(&room, "10:00").await.assert_ok("locked").number("fence");
    assert!(fence > 0);
    ann.eventually_storage("mysql decides", |storage| storage["storage_mode"] == "mysql").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_is_left_for_mysql() {
    let Stage { redis, maria: _maria, gateway: _gateway, room, ann } = staged().await;
    redis.pause();
    assert_eq!(ann.select(&room, "10:00").await.assert_ok("selected").text("storage"), "mysql");
    redis.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_gateways_follow() {
    let mut redis = RedisServer::start().await;
    let maria = database().await;
    let (one, other) = (on_both(&redis, &maria).start().await, on_both(&redis, &maria).start().await);
    one.eventually_well_with_mysql().await;
    other.eventually_well_with_mysql().await;
    let room = Room::tomorrow_of(7);
    let ann = Page::watching(&one, "ann", &room).await;
    let bob = Page::watching(&other, "bob", &room).await;
    ann.select(&room, "10:00").await.assert_ok("selected");
    bob.eventually_active(&room, &["10:00"]).await;
    redis.kill().await;
    bob.select(&room, "10:00").await.assert_error("slot_locked");
    assert_eq!(bob.select(&room, "11:00").await.assert_ok("selected").text("storage"), "mysql");
    ann.eventually_active(&room, &["10:00", "11:00"]).await;
    ann.select(&room, "11:00").await.assert_error("slot_locked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_outlives_a_redis_that_lost_everything() {
    let Stage { redis, maria: _maria, gateway, room, ann } = staged().await;
    let bob = Page::watching(&gateway, "bob", &room).await;
    let fence = ann.lock(&room, "10:00").await.assert_ok("locked").number("fence");
    redis.run::<()>(&["FLUSHALL"]).await;
    eventually("the copy is put back", SOON, async || {
        let copy: Option<String> = redis.run(&["GET", &room.lock_key("10:00")]).await;
        copy.filter(|copy| copy.contains(&fence.to_string())).map(drop)
    })
    .await;
    bob.eventually_locked(&room, &["10:00"]).await;
    bob.lock(&room, "10:00").await.assert_error("slot_locked");
    assert_eq!(ann.lock(&room, "10:00").await.assert_ok("locked").number("fence"), fence);
    assert!(ann.released().is_empty(), "the lock was there all the time");
    ann.unlock(&room, "10:00").await.assert_ok("unlocked");
    assert!(bob.lock(&room, "10:00").await.assert_ok("locked").number("fence") > fence);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mysql_a_lock_is_refused_and_selecting_goes_on() {
    let Stage { redis: _redis, mut maria, gateway: _gateway, room, ann } = staged().await;
    maria.kill().await;
    assert_eq!(ann.select(&room, "10:00").await.assert_ok("selected").text("storage"), "redis");
    ann.lock(&room, "10:00").await.assert_error("store_unavailable");
    maria.restart().await;
    eventually("locks are granted again", SOON, async || {
        ann.lock(&room, "10:00").await.is_ok("locked").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_away_at_the_start_the_gateway_waits_for_them() {
    let mut redis = RedisServer::start().await;
    let mut maria = database().await;
    redis.kill().await;
    maria.kill().await;
    let gateway = on_both(&redis, &maria).start().await;
    gateway.eventually_readyz(503).await;
    let room = Room::tomorrow_of(7);
    let ann = Page::watching(&gateway, "ann", &room).await;
    ann.select(&room, "10:00").await.assert_error("store_unavailable");
    maria.restart().await;
    eventually("MySQL serves alone", BACK, async || {
        ann.select(&room, "10:00").await.is_ok("selected").then_some(())
    })
    .await;
    gateway.eventually_ready().await;
    ann.assert_open();
}

#[tokio::test(flavor = "multi_thread")]
async fn wordpress_and_a_gateway_on_mysql_alone_see_each_others_selections() {
    let maria = MariaDb::start().await;
    let wordpress = WordPress::on(&maria).await;
    let gateway = Gateway::builder().with("mysql.url", maria.url()).with("mysql.sweep_ms", 200).start().await;
    gateway.eventually_well_with_mysql().await;
    let room = Room::tomorrow_of(7);
    let name = format!("appointease_active_{}_7", room.date);
    let ann = Page::watching(&gateway, "ann", &room).await;

    assert_eq!(ann.select(&room, "10:00").await.assert_ok("selected").text("storage"), "mysql");
    let seen = wordpress.get_transient(&name).await;
    assert_eq!(seen["10:00"]["client_id"], "ann", "{seen}");

    let mut changed = seen.clone();
    changed["11:00"] = json!({ "timestamp": 1, "client_id": "wp" });
    assert!(wordpress.set_transient(&name, &changed, 300).await);
    ann.eventually_active(&room, &["10:00", "11:00"]).await;
    ann.select(&room, "11:00").await.assert_error("slot_locked");

    wordpress.eval("$wpdb->query(\"DELETE FROM $wpdb->options WHERE option_name LIKE '_transient_appointease_active_%'\");", &[]).await;
    ann.eventually_active(&room, &[]).await;
    assert_eq!(ann.eventually_released(&room, "10:00").await, ("selection".to_owned(), "lost".to_owned()));
    ann.select(&room, "11:00").await.assert_ok("selected");
}
