//! What is free, and what of it may be answered from a cache.

use slot_state::Availability;
use support::{RedisServer, eventually};

use super::{NEVER, OFTEN, book, cancel, open, shows_booked, site};
use crate::house::{House, SOON, room, slot};

const KEY: &str = "appointease_avail_2031-03-09_7";

async fn availability(house: &House) -> Availability {
    match house.bookings.known_availability(room(7)).await {
        Some(known) => known,
        None => house.bookings.read_availability(room(7)).await.expect("it can be read"),
    }
}

/// Unavailable, booked, locked, and whether no store was asked.
async fn asked(house: &House) -> (Vec<String>, Vec<String>, Vec<String>, bool) {
    let Availability { unavailable, booked, locked, cached, .. } = availability(house).await;
    let [unavailable, booked, locked] =
        [unavailable, booked, locked].map(|times| times.iter().map(ToString::to_string).collect());
    (unavailable, booked, locked, cached)
}

fn answer(booked: &[&str], locked: &[&str], cached: bool) -> (Vec<String>, Vec<String>, Vec<String>, bool) {
    let owned = |times: &[&str]| times.iter().map(ToString::to_string).collect::<Vec<String>>();
    let mut unavailable = [owned(booked), owned(locked)].concat();
    unavailable.sort();
    (unavailable, owned(booked), owned(locked), cached)
}

async fn is_cached(redis: &RedisServer, there: bool) {
    eventually(&format!("the cache has the room: {there}"), SOON, async || {
        (redis.run::<bool>(&["EXISTS", KEY]).await == there).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_room_is_read_once_and_answered_from_the_picture_while_it_is_watched() {
    for with_redis in [false, true] {
        let maria = site().await;
        let redis = if with_redis { Some(RedisServer::start().await) } else { None };
        book(&maria, slot("10:00")).await;
        let house = open(redis.as_ref(), &maria, OFTEN).await;
        house.lock(slot("11:00"), "bob").await.expect("free");
        house.select(slot("11:30"), "ann").await.expect("free");
        assert_eq!(asked(&house).await, answer(&["10:00"], &["11:00"], false));
        assert_eq!(asked(&house).await, answer(&["10:00"], &["11:00"], true));
        let noon = book(&maria, slot("12:00")).await;
        shows_booked(&house, room(7), &["10:00", "12:00"]).await;
        assert_eq!(asked(&house).await, answer(&["10:00", "12:00"], &["11:00"], true));
        cancel(&maria, noon).await;
        shows_booked(&house, room(7), &["10:00"]).await;
        house.unlock(slot("11:00"), "bob").await.expect("its own");
        assert_eq!(asked(&house).await, answer(&["10:00"], &[], true));
    }
}

#[tokio::test]
async fn who_knows_nothing_of_a_room_is_answered_from_the_cache_and_by_its_own_knowledge() {
    let (maria, redis) = (site().await, RedisServer::start().await);
    book(&maria, slot("10:00")).await;
    let here = open(Some(&redis), &maria, NEVER).await;
    assert_eq!(asked(&here).await, answer(&["10:00"], &[], false));
    is_cached(&redis, true).await;
    let ttl: i64 = redis.run(&["PTTL", KEY]).await;
    assert!((1..=60_000).contains(&ttl), "{ttl}");
    let there = open(Some(&redis), &maria, NEVER).await;
    assert_eq!(asked(&there).await, answer(&["10:00"], &[], true));
    // Nobody has seen this one.
    book(&maria, slot("09:30")).await;
    assert_eq!(asked(&there).await, answer(&["10:00"], &[], true));
    here.lock(slot("11:00"), "bob").await.expect("free");
    is_cached(&redis, false).await;
    there.shows_lock(slot("11:00"), Some("bob")).await;
    assert_eq!(asked(&there).await, answer(&["09:30", "10:00"], &["11:00"], false));
}

#[tokio::test]
async fn what_is_booked_or_cancelled_is_dropped_from_the_cache() {
    let (maria, redis) = (site().await, RedisServer::start().await);
    let house = open(Some(&redis), &maria, OFTEN).await;
    let looker = async || {
        let other = open(Some(&redis), &maria, OFTEN).await;
        assert!(availability(&other).await.closed.is_none());
        other
    };
    assert!(!availability(&house).await.cached);
    is_cached(&redis, true).await;
    house.confirm(slot("10:00"), "ann").await.expect("free");
    is_cached(&redis, false).await;
    let other = looker().await;
    is_cached(&redis, true).await;
    let id = book(&maria, slot("11:00")).await;
    is_cached(&redis, false).await;
    let third = looker().await;
    is_cached(&redis, true).await;
    cancel(&maria, id).await;
    is_cached(&redis, false).await;
    for house in [house, other, third] {
        shows_booked(&house, room(7), &["10:00"]).await;
    }
}

#[tokio::test]
async fn a_value_that_is_not_ours_is_not_believed() {
    let (maria, redis) = (site().await, RedisServer::start().await);
    book(&maria, slot("10:00")).await;
    for value in [r#"{"unavailable":[],"booking_details":[]}"#, "x", "", r#"{"booked":["25:00"]}"#, "[]"] {
        redis.run::<String>(&["SET", KEY, value, "EX", "300"]).await;
        let house = open(Some(&redis), &maria, NEVER).await;
        assert_eq!(asked(&house).await, answer(&["10:00"], &[], false), "{value}");
    }
    redis.run::<u64>(&["DEL", KEY]).await;
    redis.run::<u64>(&["RPUSH", KEY, "x"]).await;
    let house = open(Some(&redis), &maria, NEVER).await;
    assert_eq!(asked(&house).await, answer(&["10:00"], &[], false), "a list");
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_not_believed_when_it_is_back() {
    let (maria, mut redis) = (site().await, RedisServer::start().await);
    let here = open(Some(&redis), &maria, OFTEN).await;
    assert!(!availability(&here).await.cached);
    is_cached(&redis, true).await;
    redis.run::<String>(&["SAVE"]).await;
    redis.kill().await;
    book(&maria, slot("10:00")).await;
    shows_booked(&here, room(7), &["10:00"]).await;
    redis.restart().await;
    is_cached(&redis, false).await;
}

#[tokio::test]
async fn the_nearest_free_times_are_suggested() {
    let maria = site().await;
    let house = open(None, &maria, OFTEN).await;
    house.look_at(room(7)).await.expect("it can be read");
    book(&maria, slot("10:00")).await;
    book(&maria, slot("10:30")).await;
    house.lock(slot("09:30"), "bob").await.expect("free");
    house.select(slot("11:30"), "ann").await.expect("free");
    shows_booked(&house, room(7), &["10:00", "10:30"]).await;
    let suggested = |time: &str| -> Vec<String> {
        house.bookings.suggestions(slot(time)).iter().map(ToString::to_string).collect()
    };
    assert_eq!(suggested("10:00"), ["09:00", "11:00"]);
    book(&maria, slot("09:00")).await;
    shows_booked(&house, room(7), &["09:00", "10:00", "10:30"]).await;
    assert_eq!(suggested("10:00"), ["11:00"]);
    house.unlock(slot("09:30"), "bob").await.expect("its own");
    house.deselect(slot("11:30"), "ann").await.expect("its own");
    assert_eq!(suggested("10:00"), ["09:30", "11:00", "11:30"]);
}
