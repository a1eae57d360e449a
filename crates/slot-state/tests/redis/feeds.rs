//! How changes by others arrive: notifications, else tracking, else polling; and what forged ones do.

use std::time::Duration;

use slot_state::Renewed;
use support::{RedisServer, eventually, holds_for};

use crate::house::{House, LONG, SOON, active_key, lock_key, named, room, slot};

async fn flags(redis: &RedisServer) -> String {
    let answer: Vec<String> = redis.run(&["CONFIG", "GET", "notify-keyspace-events"]).await;
    answer[1].clone()
}

/// Changes by PHP arrive, both ways.
async fn hears_php(house: &House, redis: &RedisServer) {
    let mut php = redis.php().await;
    php.select(&named(room(7)), "20:00", "pia").await;
    house.shows_selection(slot("20:00"), Some("pia")).await;
    php.delete(&named(room(7)), "20:00").await;
    house.shows_selection(slot("20:00"), None).await;
}

async fn with_user(rights: &[&str]) -> (RedisServer, String) {
    let redis = RedisServer::start().await;
    let mut command = vec!["ACL", "SETUSER", "wp", "on", ">secret", "~*", "&*", "+@all"];
    command.extend(rights);
    redis.run::<String>(&command).await;
    let url = redis.url_as("wp", "secret");
    (redis, url)
}

#[tokio::test]
async fn missing_notification_flags_are_added_and_those_of_others_kept() {
    for before in ["", "El", "KEA", "Kx"] {
        let redis = RedisServer::start_with(&["--notify-keyspace-events", before]).await;
        let house = House::on(&redis.url()).await;
        house.fed_by("notifications").await;
        let after = flags(&redis).await;
        let all = after.contains('A');
        assert!("Kg$xe".chars().all(|flag| after.contains(flag) || (all && flag != 'K')), "{after}");
        assert!(
            before.chars().all(|flag| after.contains(flag) || (flag != 'E' && all)),
            "{before} in {after}"
        );
        hears_php(&house, &redis).await;
    }
}

#[tokio::test]
async fn flags_overwritten_later_are_completed_again_and_what_was_missed_is_found() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    for others in ["", "Elg"] {
        redis.run::<String>(&["CONFIG", "SET", "notify-keyspace-events", others]).await;
        let name = format!("pia{}", others.len());
        redis.php().await.select(&named(room(7)), "10:00", &name).await;
        house.shows_selection(slot("10:00"), Some(&name)).await;
        house.fed_by("notifications").await;
        let after = flags(&redis).await;
        assert!(others.chars().all(|flag| after.contains(flag)), "{others} in {after}");
        hears_php(&house, &redis).await;
    }
}

#[tokio::test]
async fn where_config_is_refused_tracking_takes_over() {
    let (redis, url) = with_user(&["-config"]).await;
    let house = House::on(&url).await;
    house.fed_by("tracking").await;
    hears_php(&house, &redis).await;
    house.select(slot("10:00"), "ann").await.expect("granted");
    redis.run::<String>(&["FLUSHDB"]).await;
    house.shows_selection(slot("10:00"), None).await;
    assert_eq!(house.renew(slot("10:00"), "ann", true).await, Ok(Renewed::PutBack));
}

#[tokio::test]
async fn where_config_is_refused_but_the_flags_are_right_notifications_serve() {
    let (redis, url) = with_user(&["-config"]).await;
    redis.run::<String>(&["CONFIG", "SET", "notify-keyspace-events", "Kg$xe"]).await;
    let house = House::on(&url).await;
    house.fed_by("notifications").await;
    hears_php(&house, &redis).await;
}

#[tokio::test]
async fn where_config_and_tracking_are_refused_polling_is_left() {
    let (redis, url) = with_user(&["-config", "-client|tracking"]).await;
    let house = House::on(&url).await;
    assert_eq!(house.feed(), "polling");
    hears_php(&house, &redis).await;
    house.select_for(slot("10:00"), "ann", Duration::from_millis(300)).await.expect("granted");
    assert!(house.heard.ended(slot("10:00")).await.late < Duration::from_secs(1));
}

#[tokio::test]
async fn a_user_without_channels_hears_by_tracking_and_may_still_write() {
    let (redis, url) = with_user(&["resetchannels"]).await;
    let house = House::on(&url).await;
    let other = House::on(&url).await;
    house.fed_by("tracking").await;
    hears_php(&house, &redis).await;
    house.select(slot("10:00"), "ann").await.expect("granted");
    house.select(slot("11:00"), "ann").await.expect("granted");
    house.lock(slot("11:00"), "ann").await.expect("granted");
    other.shows_lock(slot("11:00"), Some("ann")).await;
    other.shows_selection(slot("10:00"), None).await;
}

#[tokio::test]
async fn only_the_database_of_the_url_counts() {
    let redis = RedisServer::start().await;
    let house = House::on(&format!("{}/3", redis.url())).await;
    redis.php().await.select(&named(room(7)), "10:00", "pia").await;
    let mut connection = redis.connection().await;
    redis::cmd("SELECT").arg(3).exec_async(&mut connection).await.expect("redis selects");
    support::Php::over(connection).select(&named(room(7)), "11:00", "pia").await;
    house.shows_selection(slot("11:00"), Some("pia")).await;
    assert_eq!(house.view(room(7)).active, [slot("11:00").time]);
}

#[tokio::test]
async fn forged_events_change_nothing() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let (ten, eleven, noon) = (slot("10:00"), slot("11:00"), slot("12:00"));
    house.select(ten, "ann").await.expect("granted");
    house.lock(eleven, "ann").await.expect("granted");
    let before = house.view(room(7));
    let written: String = redis.run(&["GET", &active_key(ten)]).await;
    let value: serde_json::Value = serde_json::from_str(&written).expect("JSON");
    let own = value["gateway"].as_str().expect("a gateway's name").to_owned();
    for event in ["del", "expired", "evicted", "set", "", "\u{0}"] {
        for key in [active_key(ten), lock_key(eleven), active_key(noon), "appointease_active_".into()] {
            redis.run::<i64>(&["PUBLISH", &format!("__keyspace@0__:{key}"), event]).await;
        }
    }
    for gateway in [own.as_str(), "0123456789abcdef"] {
        for act in ["select", "deselect", "lock", "unlock", "renew", "put_back", "?"] {
            for seq in ["0", "99999999999999999", "99999999999999999999999", "-1"] {
                let forged = serde_json::json!({
                    "act": act, "gateway": gateway, "seq": seq, "clients": ["ann", "bob", "eve"], "look": ["x"],
                    "slots": ["2031-03-09_7_10:00", "2031-03-09_7_11:00", "2031-03-09_7_12:00", "x_y_z"],
                });
                redis.run::<i64>(&["PUBLISH", "appointease:changes", &forged.to_string()]).await;
            }
        }
    }
    for garbage in ["", "{", "[]", "7", &"[".repeat(5000), r#"{"act":1}"#] {
        redis.run::<i64>(&["PUBLISH", "appointease:changes", garbage]).await;
    }
    let period = Duration::from_millis(600);
    holds_for("nothing changes", period, async || house.view(room(7)) == before).await;
    assert_eq!(house.heard.changes(room(7)), 2);
    for place in [ten, eleven, noon] {
        assert!(house.heard.endings(place).is_empty());
    }
    hears_php(&house, &redis).await;
    house.select_for(noon, "bob", LONG).await.expect("granted");
    assert_eq!(house.selected_by(noon).as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_store_opened_before_its_redis_finds_the_best_feed_once_redis_is_there() {
    let mut redis = RedisServer::start().await;
    redis.kill().await;
    let house = House::open(Some(redis.url()), LONG);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!house.store.storage().borrow().writable);
    redis.restart().await;
    house.ready().await;
    eventually("not polling for long", SOON / 2, async || (house.feed() == "notifications").then_some(()))
        .await;
    hears_php(&house, &redis).await;
}

#[tokio::test]
async fn notifications_that_an_operator_switches_on_later_take_the_place_of_tracking() {
    let (redis, url) = with_user(&["-config"]).await;
    let house = House::on(&url).await;
    house.fed_by("tracking").await;
    redis.run::<String>(&["CONFIG", "SET", "notify-keyspace-events", "K$"]).await;
    hears_php(&house, &redis).await;
    redis.run::<String>(&["CONFIG", "SET", "notify-keyspace-events", "Kg$xe"]).await;
    house.fed_by("notifications").await;
    hears_php(&house, &redis).await;
}
