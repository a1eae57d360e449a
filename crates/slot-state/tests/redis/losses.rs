//! Holds that went with the store end as vanished and may be put back; nothing else does.

use std::time::Duration;

use slot_state::{ActorId, EndReason, Observation, Renewed, Slot};
use support::{RedisServer, eventually, holds_for};

use crate::house::{House, SOON, active_key, named, room, slot, slot_in};

/// Two selections and a lock.
async fn furnish(house: &House) -> [Slot; 3] {
    let places = [slot("10:00"), slot_in(8, "10:00"), slot("11:00")];
    house.select(places[0], "ann").await.expect("granted");
    house.select(places[1], "bob").await.expect("granted");
    house.lock(places[2], "cis").await.expect("granted");
    places
}

async fn vanish(house: &House, redis: &RedisServer, places: &[Slot]) {
    for place in places {
        let ended = house.heard.ended(*place).await;
        assert_eq!((ended.why, ended.actor), (EndReason::Vanished, None), "{place:?}");
    }
    assert!(house.heard.read_anew() > 0);
    deletions_are_acts_again(house, redis).await;
}

/// Everything was read anew: what is gone now, did not go with the store.
async fn deletions_are_acts_again(house: &House, redis: &RedisServer) {
    let mut php = redis.php().await;
    eventually("a deletion is not taken for a loss of the store", SOON, async || {
        house.select(slot("12:00"), "eve").await.expect("granted");
        php.delete(&named(room(7)), "12:00").await;
        house.shows_selection(slot("12:00"), None).await;
        (house.heard.reasons(slot("12:00")).last() == Some(&EndReason::Lost)).then_some(())
    })
    .await;
}

/// What was lost comes back on request, and everything works as before.
async fn go_on(house: &House, redis: &RedisServer) {
    assert_eq!(house.renew(slot("10:00"), "ann", true).await, Ok(Renewed::PutBack));
    assert_eq!(house.renew(slot_in(8, "10:00"), "bob", false).await, Ok(Renewed::Lost));
    assert_eq!(house.selected_by(slot("10:00")).as_deref(), Some("ann"));
    let mut php = redis.php().await;
    php.select(&named(room(8)), "10:00", "pia").await;
    house.shows_selection(slot_in(8, "10:00"), Some("pia")).await;
    php.delete(&named(room(7)), "10:00").await;
    house.shows_selection(slot("10:00"), None).await;
    house.lock(slot("11:00"), "cis").await.expect("granted");
    assert_eq!(house.heard.reasons(slot("10:00")), [EndReason::Vanished, EndReason::Lost]);
}

#[tokio::test]
async fn after_a_flush_holds_end_as_vanished_and_may_be_put_back() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let fence = house.lock(slot_in(9, "10:00"), "dan").await.expect("granted").fence;
    let places = furnish(&house).await;
    redis.run::<String>(&["FLUSHDB"]).await;
    vanish(&house, &redis, &places).await;
    go_on(&house, &redis).await;
    let again = house.lock(slot_in(9, "10:00"), "dan").await.expect("granted").fence;
    assert!(again > fence, "a fence rises over a flush");
}

/// Does something right after a flush that nobody has noticed, as often as it takes: a probe may have been quicker. What
/// is done must begin without waiting for anything.
async fn before_a_flush_is_noticed<T>(
    redis: &RedisServer,
    house: &House,
    furnish: impl AsyncFn(Slot, &str),
    act: impl AsyncFn(Slot, &str) -> T,
) -> (Slot, T) {
    for number in 1.. {
        let (place, name) = (slot_in(number, "10:00"), format!("ann{number}"));
        furnish(place, &name).await;
        redis.run::<String>(&["FLUSHALL"]).await;
        if house.heard.endings(place).is_empty() {
            return (place, act(place, &name).await);
        }
    }
    unreachable!("there are many rooms")
}

#[tokio::test]
async fn a_renewal_that_notices_a_flush_does_not_call_the_selection_lost() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let furnish = async |place, name: &str| _ = house.select(place, name).await.expect("granted");
    let renew = async |place, name: &str| {
        (house.renew(place, name, false).await, house.renew(place, name, true).await)
    };
    let (place, renewed) = before_a_flush_is_noticed(&redis, &house, furnish, renew).await;
    assert_eq!(renewed, (Ok(Renewed::Unknown), Ok(Renewed::PutBack)));
    deletions_are_acts_again(&house, &redis).await;
    assert!(house.selected_by(place).is_some());
    assert!(!house.heard.reasons(place).contains(&EndReason::Lost));
}

#[tokio::test]
async fn a_renewal_after_a_flush_is_lost_only_once_somebody_is_known_to_be_in_its_place() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let mut php = redis.php().await;
    let furnish = async |place, name: &str| _ = house.select(place, name).await.expect("granted");
    let renew = async |place, name: &str| (house.renew(place, name, false).await, name.to_owned());
    let (place, (renewed, name)) = before_a_flush_is_noticed(&redis, &house, furnish, renew).await;
    php.select(&named(place.room), "10:00", "pia").await;
    assert_eq!(renewed, Ok(Renewed::Unknown));
    assert_eq!(house.renew(place, &name, true).await, Ok(Renewed::Lost));
    house.shows_selection(place, Some("pia")).await;
}

#[tokio::test]
async fn who_gives_up_before_a_flush_is_noticed_is_not_told_of_a_loss() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let furnish = async |place, name: &str| _ = house.select(place, name).await.expect("granted");
    let deselect = async |place, name: &str| house.deselect(place, name).await;
    let (place, outcome) = before_a_flush_is_noticed(&redis, &house, furnish, deselect).await;
    outcome.expect("its own");
    let ended = house.heard.ended(place).await;
    assert_eq!((ended.why, ended.actor), (EndReason::Superseded, Some(ActorId(2))));
}

#[tokio::test]
async fn who_chooses_anew_before_a_flush_is_noticed_is_not_told_of_a_loss() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let furnish = async |place, name: &str| _ = house.select(place, name).await.expect("granted");
    let move_on = async |place: Slot, name: &str| {
        house.select(place.room.slot("11:00".parse().expect("a time")), name).await
    };
    let (place, outcome) = before_a_flush_is_noticed(&redis, &house, furnish, move_on).await;
    outcome.expect("granted");
    let ended = house.heard.ended(place).await;
    assert_eq!((ended.why, ended.actor), (EndReason::Superseded, Some(ActorId(1))));
}

#[tokio::test]
async fn what_others_write_right_after_a_flush_is_seen_and_not_taken_for_vanished() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let places = furnish(&house).await;
    let mut php = redis.php().await;
    redis.run::<String>(&["FLUSHALL"]).await;
    php.select(&named(room(7)), "10:00", "pia").await;
    house.shows_selection(slot("10:00"), Some("pia")).await;
    vanish(&house, &redis, &places[1..]).await;
    assert_eq!(house.heard.reasons(places[0]), [EndReason::Lost], "somebody has it");
    assert_eq!(house.selected_by(places[0]).as_deref(), Some("pia"));
}

#[tokio::test]
async fn after_a_restart_with_nothing_in_it_holds_end_as_vanished() {
    let mut redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let places = furnish(&house).await;
    redis.restart_empty().await;
    vanish(&house, &redis, &places).await;
    house.fed_by("notifications").await;
    go_on(&house, &redis).await;
}

#[tokio::test]
async fn after_a_restart_with_everything_in_it_nothing_ends() {
    let mut redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let places = furnish(&house).await;
    redis.restart().await;
    eventually("it takes writes", SOON, async || house.select(slot("20:00"), "dan").await.ok()).await;
    house.deselect(slot("20:00"), "dan").await.expect("its own");
    house.fed_by("notifications").await;
    for place in places {
        assert!(house.heard.endings(place).is_empty());
    }
    assert_eq!(house.picture.count(), (2, 1));
    assert_eq!(house.renew(slot("10:00"), "ann", false).await, Ok(Renewed::Kept));
}

#[tokio::test]
async fn evicted_holds_end_as_vanished() {
    for policy in ["volatile-random", "allkeys-lru"] {
        let redis = RedisServer::start().await;
        let house = House::on(&redis.url()).await;
        let places = furnish(&house).await;
        redis.run::<String>(&["CONFIG", "SET", "maxmemory-policy", policy]).await;
        redis.run::<String>(&["CONFIG", "SET", "maxmemory", "1"]).await;
        // Memory is freed before the next command that may need some is carried out.
        let refused = redis.try_run::<String>(&["SET", "x", "x"]).await;
        redis.run::<String>(&["CONFIG", "SET", "maxmemory", "0"]).await;
        assert!(refused.is_err(), "there is never that little in use");
        for place in places {
            assert_eq!(house.heard.ended(place).await.why, EndReason::Vanished, "{policy}");
        }
        house.ready().await;
        assert_eq!(house.renew(slot("10:00"), "ann", true).await, Ok(Renewed::PutBack));
    }
}

#[tokio::test]
async fn the_storage_record_alone_may_be_lost_without_any_hold_ending() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let places = furnish(&house).await;
    let first = house.lock(slot_in(9, "10:00"), "dan").await.expect("granted").fence;
    redis.run::<i64>(&["DEL", "appointease_storage"]).await;
    eventually("the record is made anew", SOON, async || {
        redis.run::<bool>(&["EXISTS", "appointease_storage"]).await.then_some(())
    })
    .await;
    let period = Duration::from_millis(300);
    holds_for("nothing ends", period, async || house.picture.count() == (2, 2)).await;
    assert!(places.iter().all(|place| house.heard.endings(*place).is_empty()));
    assert!(house.lock(slot_in(9, "11:00"), "dan").await.expect("granted").fence > first);
    deletions_are_acts_again(&house, &redis).await;
}

#[tokio::test]
async fn what_no_event_told_of_is_found_by_comparison_where_events_are_missing() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    furnish(&house).await;
    // SWAPDB and the like tell nobody; here the events are switched off for the moment of the deletion.
    redis.run::<String>(&["CONFIG", "SET", "notify-keyspace-events", ""]).await;
    assert_eq!(redis.run::<i64>(&["DEL", &active_key(slot("10:00"))]).await, 1);
    assert_eq!(house.heard.ended(slot("10:00")).await.why, EndReason::Lost);
    house.fed_by("notifications").await;
    assert_eq!(house.heard.count(|seen| matches!(seen, Observation::StoreError(_))), 0);
}

#[tokio::test]
async fn a_flush_is_noticed_even_when_the_clock_was_set_back() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    redis.run::<i64>(&["HSET", "appointease_storage", "seq", "4000000000000000"]).await;
    let places = furnish(&house).await;
    redis.run::<String>(&["FLUSHDB"]).await;
    vanish(&house, &redis, &places).await;
    go_on(&house, &redis).await;
}

#[tokio::test]
async fn what_slipped_through_is_found_by_the_comparison_and_counted() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    furnish(&house).await;
    // So short that the probe does not notice.
    let set = async |flags| redis.run::<String>(&["CONFIG", "SET", "notify-keyspace-events", flags]).await;
    set("").await;
    redis.php().await.delete(&named(room(7)), "10:00").await;
    set("Kg$xe").await;
    eventually("it is found", SOON * 4, async || house.selected_by(slot("10:00")).is_none().then_some(()))
        .await;
    assert_eq!(house.heard.reasons(slot("10:00")), [EndReason::Lost]);
    assert_eq!(house.heard.count(|seen| matches!(seen, Observation::Repaired(1))), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_alone_decides_though_mysql_once_stepped_in() {
    let redis = RedisServer::start().await;
    redis.run::<()>(&["HSET", "appointease_storage", "mode", "mysql", "epoch", "4"]).await;
    let house = House::on(&redis.url()).await;
    house.select(slot("10:00"), "ann").await.expect("granted");
    let record: Vec<String> = redis.run(&["HMGET", "appointease_storage", "mode", "epoch"]).await;
    assert_eq!(record, ["redis", "5"]);
}
