//! Broken Redis servers.

use redis::Value;
use support::RedisServer;

use super::examined::{SECRET, Visit};

/// With Redis alone bookings are refused, and no gateway runs in these tests.
const ASIDE: [&str; 2] = ["configuration.meaning warning", "address.upgrade warning"];
const GOOD: [&str; 4] = ["--notify-keyspace-events", "Kg$xe", "--appendonly", "yes"];

async fn redis_with(args: &[&str]) -> RedisServer {
    RedisServer::start_with(&[&GOOD, args].concat()).await
}

async fn assert_troubles(url: &str, expected: &[(&str, &str)]) {
    let findings = Visit::new().with("redis.url", url).examine().await;
    findings.assert_troubles(&ASIDE, expected);
}

/// The URL of a user who may do all but for these rules of ACL.
async fn user(redis: &RedisServer, rules: &[&str]) -> String {
    let password = format!(">{SECRET}");
    let all = ["ACL", "SETUSER", "shop", "on", &password, "~*", "&*", "+@all"];
    redis.run::<Value>(&[&all, rules].concat()).await;
    redis.url_as("shop", SECRET)
}

#[tokio::test]
async fn a_good_redis_has_nothing_to_be_mended_and_is_left_as_it_was() {
    let redis = redis_with(&[]).await;
    assert_troubles(&redis.url(), &[]).await;
    assert_eq!(redis.run::<u64>(&["DBSIZE"]).await, 0, "something was left behind");
}

#[tokio::test]
async fn what_a_user_may_not_do_is_named_with_the_acl_rule() {
    let redis = redis_with(&[]).await;
    let no_config = user(&redis, &["-config"]).await;
    assert_troubles(&no_config, &[("redis.config warning", "ACL SETUSER shop +config|get +config|set")])
        .await;
    let may_only_look = user(&redis, &["+config", "-config|set"]).await;
    assert_troubles(&may_only_look, &[("redis.config warning", "+config|set")]).await;
    let not_heard = user(&redis, &["+config", "resetchannels", "&appointease:*"]).await;
    let channels = "&appointease:slots:* &__keyspace@0__:appointease_active_*";
    assert_troubles(&not_heard, &[("redis.events warning", channels)]).await;
    let not_said = user(&redis, &["+config", "resetchannels"]).await;
    assert_troubles(&not_said, &[("redis.write failed", "&appointease:changes")]).await;
    let no_writes = user(&redis, &["+config", "-@write"]).await;
    assert_troubles(&no_writes, &[("redis.write failed", "ACL SETUSER shop")]).await;
}

#[tokio::test]
async fn a_redis_that_refuses_writes_is_named_with_why() {
    let full = redis_with(&["--maxmemory", "500kb"]).await;
    assert_troubles(&full.url(), &[("redis.write failed", "maxmemory 512mb")]).await;
    let lonely = redis_with(&["--min-replicas-to-write", "1"]).await;
    assert_troubles(&lonely.url(), &[("redis.write failed", "min-replicas-to-write 0")]).await;
}

#[tokio::test]
async fn missing_notifications_are_named_with_the_flags() {
    let redis = redis_with(&["--notify-keyspace-events", "Ex"]).await;
    let flags = "notify-keyspace-events xEKg$e";
    assert_troubles(&redis.url(), &[("redis.events warning", flags)]).await;
    assert_eq!(
        redis.run::<Vec<String>>(&["CONFIG", "GET", "notify-keyspace-events"]).await[1],
        "xE",
        "a doctor changes nothing"
    );
    let url = user(&redis, &["-config"]).await;
    let forbidden = ("redis.config warning", "+config|set");
    let flags = "notify-keyspace-events Kg$xe";
    assert_troubles(&url, &[forbidden, ("redis.events warning", flags)]).await;
    let url = user(&redis, &["-config", "-client|tracking"]).await;
    assert_troubles(&url, &[forbidden, ("redis.events failed", flags)]).await;
}

#[tokio::test]
async fn a_replica_is_named_with_its_primary() {
    let primary = redis_with(&[]).await;
    let port = primary.addr().port().to_string();
    let replica = redis_with(&["--replicaof", "127.0.0.1", &port]).await;
    assert_troubles(&replica.url(), &[("redis.role failed", &format!("redis://127.0.0.1:{port}/0"))]).await;
}

#[tokio::test]
async fn a_redis_that_throws_holds_away_is_named_with_the_policy() {
    let redis = redis_with(&["--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"]).await;
    assert_troubles(&redis.url(), &[("redis.eviction failed", "maxmemory-policy noeviction")]).await;
}

#[tokio::test]
async fn a_redis_that_forgets_at_a_restart_is_named() {
    let redis = redis_with(&["--appendonly", "no"]).await;
    assert_troubles(&redis.url(), &[("redis.persistence warning", "appendonly yes")]).await;
}

#[tokio::test]
async fn a_cache_in_the_same_database_is_named() {
    let redis = redis_with(&[]).await;
    redis.run::<Value>(&["SET", "wp:posts:1", "x"]).await;
    assert_troubles(&redis.url(), &[("redis.sharing warning", "WP_REDIS_SELECTIVE_FLUSH")]).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_from_a_redis_that_is_away() {
    let mut redis = redis_with(&[]).await;
    user(&redis, &[]).await;
    let wrong = redis.url_as("shop", &format!("not-{SECRET}"));
    assert_troubles(&wrong, &[("redis.reachable failed", "SLOTCAST_REDIS_URL is set and overrides it")])
        .await;
    redis.kill().await;
    assert_troubles(&redis.url(), &[("redis.reachable failed", "systemctl status redis-server")]).await;
}

#[tokio::test]
async fn a_redis_that_stands_still_is_named_within_its_deadline() {
    let redis = redis_with(&[]).await;
    redis.pause();
    let (url, trouble) = (redis.url(), ("redis.reachable failed", "cannot be reached"));
    let told =
        tokio::time::timeout(support::PATIENCE * 4, assert_troubles(&url, std::slice::from_ref(&trouble)));
    told.await.expect("the doctor does not wait for ever");
    redis.resume();
}
