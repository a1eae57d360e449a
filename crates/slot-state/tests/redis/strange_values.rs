//! Values that are not holds, keys that are not ours, and our own bookkeeping overwritten.

use slot_state::{EndReason, HoldError, Observation, Refusal};
use support::{RedisServer, eventually};

use crate::house::{House, SOON, active_key, lock_key, named, refusal, room, slot, slot_in};

const NOT_HOLDS: [&[u8]; 9] = [
    b"",
    b"not json",
    b"[]",
    b"{}",
    b"null",
    br#"{"client_id":7}"#,
    br#"a:1:{s:9:"client_id";s:1:"a";}"#,
    &[0xff, 0xfe, 0x00, 0x80],
    br#"{"client_id":"pia""#,
];

async fn set(redis: &RedisServer, key: &str, value: &[u8]) {
    let mut connection = redis.connection().await;
    redis::cmd("SETEX").arg(key).arg(60).arg(value).exec_async(&mut connection).await.expect("redis sets");
}

#[tokio::test]
async fn what_is_not_a_hold_holds_nothing_and_hides_nothing() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    for (hour, value) in NOT_HOLDS.iter().enumerate() {
        set(&redis, &active_key(slot(&format!("{hour:02}:00"))), value).await;
        set(&redis, &lock_key(slot(&format!("{hour:02}:30"))), value).await;
    }
    redis.run::<i64>(&["RPUSH", &active_key(slot("20:00")), "x"]).await;
    redis.run::<i64>(&["HSET", &lock_key(slot("20:30")), "client_id", "x"]).await;
    php.select(&named(room(7)), "21:00", "pia").await;
    house.shows_selection(slot("21:00"), Some("pia")).await;
    assert_eq!(house.view(room(7)).active, [slot("21:00").time]);
    assert_eq!(house.view(room(7)).locked, []);
    // All but the empty value; no event tells of lists and hashes.
    eventually("they are counted", SOON, async || {
        let skipped = house.heard.count(|seen| matches!(seen, Observation::ForeignSkipped));
        (skipped >= 2 * (NOT_HOLDS.len() - 1)).then_some(())
    })
    .await;
    for time in ["00:00", "07:00", "07:30", "20:00", "20:30"] {
        house.select(slot(time), "ann").await.expect("it is free");
        assert_eq!(house.selected_by(slot(time)).as_deref(), Some("ann"));
    }
    let fresh = House::on(&redis.url()).await;
    fresh.shows_selection(slot("21:00"), Some("pia")).await;
    fresh.shows_selection(slot("20:30"), Some("ann")).await;
}

#[tokio::test]
async fn a_hold_overwritten_by_something_unreadable_is_lost() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    house.select(slot("10:00"), "ann").await.expect("granted");
    set(&redis, &active_key(slot("10:00")), &[0xff]).await;
    assert_eq!(house.heard.ended(slot("10:00")).await.why, EndReason::Lost);
    house.select(slot("10:00"), "bob").await.expect("it is free");
}

#[tokio::test]
async fn fields_of_a_wrong_type_beside_the_client_do_not_matter() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let odd =
        br#"{"client_id":"p\u00efa <x>","gateway":null,"chosen":[],"address":7,"fence":"x","epoch":{}}"#;
    set(&redis, &active_key(slot("10:00")), odd).await;
    set(&redis, &lock_key(slot("11:00")), odd).await;
    house.shows_selection(slot("10:00"), Some("pïa <x>")).await;
    house.shows_lock(slot("11:00"), Some("pïa <x>")).await;
    assert_eq!(refusal(house.select(slot("10:00"), "ann").await), Refusal::SlotLocked);
    assert_eq!(refusal(house.lock(slot("11:00"), "ann").await), Refusal::SlotLocked);
    let mut values = Vec::new();
    for _ in 0..40 {
        values.extend_from_slice(br#"{"client_id":"#);
    }
    set(&redis, &active_key(slot("12:00")), &values).await;
    house.select(slot("12:00"), "ann").await.expect("it is free");
}

#[tokio::test]
async fn keys_that_only_look_like_ours_are_counted_and_left_alone() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let hold = br#"{"client_id":"pia"}"#;
    let strangers = [
        "appointease_active_2031-03-09_7_09:30:00",
        "appointease_active_2031-03-09_07_09:30",
        "appointease_active_2031-02-30_7_09:30",
        "appointease_active_",
        "appointease_lock_*",
        "appointease_lock_2031-03-09_99999999999_09:30",
        "wp:appointease_active_2031-03-09_7_09:30",
    ];
    for key in strangers {
        set(&redis, key, hold).await;
    }
    eventually("they are counted", SOON, async || {
        (house.heard.count(|seen| matches!(seen, Observation::ForeignSkipped)) >= 6).then_some(())
    })
    .await;
    assert_eq!(house.picture.count(), (0, 0));
    for key in strangers {
        assert!(redis.run::<bool>(&["EXISTS", key]).await, "{key}");
    }
}

#[tokio::test]
async fn our_own_bookkeeping_overwritten_with_another_type_is_made_anew() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let first = house.lock(slot("09:00"), "ann").await.expect("granted");
    for key in ["appointease_storage", "appointease_locks_ann", &named(room(7)).user_key("ann")] {
        // At once: what is missing, the store makes anew in its next second.
        const REPLACE: &str = "redis.call('DEL', KEYS[1]) return redis.call('RPUSH', KEYS[1], 'x')";
        redis.run::<i64>(&["EVAL", REPLACE, "1", key]).await;
    }
    house.select(slot("10:00"), "ann").await.expect("granted");
    let second = house.lock(slot("11:00"), "ann").await.expect("granted");
    assert!(second.fence > first.fence, "a fence rises even when its counter was lost");
    redis.run::<i64>(&["HSET", "appointease_storage", "seq", "x", "fence", "x", "epoch", "x"]).await;
    let third = house.lock(slot("12:00"), "ann").await.expect("granted");
    assert!(third.fence > second.fence);
    redis.php().await.select(&named(room(7)), "13:00", "pia").await;
    house.shows_selection(slot("13:00"), Some("pia")).await;
    assert_eq!(house.locked_by(slot("09:00")).as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_value_larger_than_any_hold_is_none_and_does_not_stop_redis() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    for key in [active_key(slot("10:00")), lock_key(slot("11:00")), named(room(7)).user_key("ann")] {
        redis.run::<i64>(&["SETRANGE", &key, "60000000", "x"]).await;
    }
    let mut almost = br#"{"client_id":"pia"}"#.to_vec();
    almost.resize(4097, b' ');
    set(&redis, &active_key(slot("12:00")), &almost).await;
    set(&redis, &active_key(slot("13:00")), &almost[..4096]).await;
    php.select(&named(room(7)), "14:00", "pia").await;
    let errors = || house.heard.count(|seen| matches!(seen, Observation::StoreError(_)));
    house.shows_selection(slot("14:00"), Some("pia")).await;
    // Writing them may have kept Redis busy for a while.
    let before = errors();
    house.shows_selection(slot("13:00"), Some("pia")).await;
    for time in ["10:00", "11:00", "12:00"] {
        house.select(slot(time), "ann").await.expect("it is free");
        house.lock(slot(time), "ann").await.expect("it is free");
    }
    assert_eq!(errors(), before);
    assert_eq!(house.view(room(7)).active, [slot("13:00").time, slot("14:00").time]);
}

#[tokio::test]
async fn what_the_scripts_take_for_a_hold_is_shown_as_one() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let nested = format!(r#"{{"client_id":"pia","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let oddities = [
        br#"{"client_id":"pia","timestamp":NaN}"#.as_slice(),
        br#"{"client_id":"pia","timestamp":0x1F}"#,
        br#"{"client_id":"pia","fence":-1e300}"#,
        b"{\"client_id\":\"pia\",\"x\":\"\xff\"}",
        nested.as_bytes(),
    ];
    for (hour, value) in oddities.iter().enumerate() {
        let place = slot(&format!("{:02}:00", hour + 10));
        set(&redis, &active_key(place), value).await;
        set(&redis, &lock_key(slot(&format!("{:02}:30", hour + 10))), value).await;
        let told = String::from_utf8_lossy(value);
        let taken = matches!(house.select(place, "ann").await, Err(HoldError::Refused(Refusal::SlotLocked)));
        assert!(taken, "{told}");
        house.shows_selection(place, Some("pia")).await;
        house.shows_lock(slot(&format!("{:02}:30", hour + 10)), Some("pia")).await;
    }
}

#[tokio::test]
async fn damaged_numbers_in_the_storage_record_count_as_missing() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    let mut fence = 0;
    let damages = ["1.5", "1e300", "-3", "nan", "inf", "9007199254740992", "", "x", "-1e300"];
    for (hour, damage) in damages.into_iter().enumerate() {
        for field in ["epoch", "seq", "fence"] {
            redis.run::<i64>(&["HSET", "appointease_storage", field, damage]).await;
            let told = format!("{field} {damage:?}");
            let place = slot(&format!("{:02}:00", hour + 8));
            let name = format!("{field}{hour}");
            php.select(&named(room(8)), "10:00", &name).await;
            house.shows_selection(slot_in(8, "10:00"), Some(&name)).await;
            house.select(place, "ann").await.expect(&told);
            let locked = house.lock(place, "ann").await.expect(&told);
            assert!(locked.fence > fence, "{told}");
            fence = locked.fence;
            house.unlock(place, "ann").await.expect(&told);
            php.select(&named(room(8)), "10:00", "pim").await;
            house.shows_selection(slot_in(8, "10:00"), Some("pim")).await;
        }
    }
}

#[tokio::test]
async fn a_set_of_locks_overwritten_with_another_type_does_not_half_undo_an_unlock() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    house.lock(slot("10:00"), "ann").await.expect("granted");
    redis.run::<String>(&["SET", "appointease_locks_ann", "x"]).await;
    house.unlock(slot("10:00"), "ann").await.expect("granted");
    assert_eq!(house.locked_by(slot("10:00")), None);
    house.lock(slot("10:00"), "ann").await.expect("granted");
}

#[tokio::test]
async fn a_newer_storage_epoch_is_taken_over() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    redis.run::<i64>(&["HSET", "appointease_storage", "epoch", "41"]).await;
    house.select(slot("10:00"), "ann").await.expect("granted");
    assert_eq!(house.store.health()["redis"]["storage_epoch"], 41);
}
