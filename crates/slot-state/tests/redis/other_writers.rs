//! The WordPress plugin writes the same keys with SETEX and DEL, without our scripts and fields.

use std::time::Duration;

use slot_state::{DeselectAsk, EndReason, HoldKind, Refusal, Releaser, Renewed, Writer};
use support::{RedisServer, holds_for};
use tokio::time::Instant;

use crate::house::{House, LONG, active_key, lock_key, named, refusal, room, slot};

#[tokio::test]
async fn what_php_selects_and_locks_is_shown_for_as_long_as_php_said_and_is_nobody_elses() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    php.select(&named(room(7)), "10:00", "pia").await;
    php.lock(&named(room(7)), "11:00", "pia").await;
    house.shows_selection(ten, Some("pia")).await;
    house.shows_lock(eleven, Some("pia")).await;
    let selection = house.picture.selection(ten).expect("shown");
    assert_eq!(selection.writer, Writer::Php);
    let left = selection.deadline - Instant::now();
    assert!(left > Duration::from_secs(280) && left <= Duration::from_secs(300), "{left:?}");
    let lock = house.picture.lock(eleven).expect("shown");
    assert_eq!(lock.fence, 0);
    assert!(lock.deadline - Instant::now() > Duration::from_secs(580));
    for held in [ten, eleven] {
        assert_eq!(refusal(house.select(held, "ann").await), Refusal::SlotLocked);
        assert_eq!(refusal(house.lock(held, "ann").await), Refusal::SlotLocked);
        assert_eq!(refusal(house.deselect(held, "ann").await), Refusal::NotOwner);
        assert_eq!(refusal(house.unlock(held, "ann").await), Refusal::NotOwner);
    }
    php.delete(&named(room(7)), "10:00").await;
    house.shows_selection(ten, None).await;
    assert_eq!(house.heard.reasons(ten), [EndReason::Lost]);
    let again = house.lock(eleven, "pia").await.expect("it is its own");
    assert_eq!(again.fence, 0);
    house.unlock(eleven, "pia").await.expect("it is its own");
    assert_eq!(house.locked_by(eleven), None);
}

#[tokio::test]
async fn a_deletion_by_php_is_a_release_and_its_overwriting_takes_the_slot() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    house.select(ten, "ann").await.expect("granted");
    house.select(eleven, "bob").await.expect("granted");
    php.delete(&named(room(7)), "10:00").await;
    let ended = house.heard.ended(ten).await;
    assert_eq!((ended.why, ended.actor, ended.kind), (EndReason::Lost, None, HoldKind::Selection));
    assert_eq!(house.renew(ten, "ann", false).await, Ok(Renewed::Lost));
    php.select(&named(room(7)), "11:00", "pia").await;
    house.shows_selection(eleven, Some("pia")).await;
    assert_eq!(house.heard.reasons(eleven), [EndReason::Lost]);
    assert_eq!(house.renew(eleven, "bob", true).await, Ok(Renewed::Lost));
}

#[tokio::test]
async fn a_stale_user_key_ends_nobody_elses_selection() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    php.select(&named(room(7)), "10:00", "ann").await;
    php.delete(&named(room(7)), "10:00").await;
    house.shows_selection(slot("10:00"), None).await;
    house.select(slot("10:00"), "bob").await.expect("granted");
    house.select(slot("11:00"), "ann").await.expect("granted");
    let view = house.view(room(7)).active;
    assert_eq!(view, [slot("10:00").time, slot("11:00").time]);
    assert!(redis.run::<bool>(&["EXISTS", &active_key(slot("10:00"))]).await);
}

#[tokio::test]
async fn a_user_key_that_php_overwrote_does_not_leave_a_client_with_two_selections() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    let (ten, eleven, noon) = (slot("10:00"), slot("11:00"), slot("12:00"));
    house.select(ten, "ann").await.expect("granted");
    php.select(&named(room(7)), "11:00", "ann").await;
    house.shows_selection(eleven, Some("ann")).await;
    house.select(noon, "ann").await.expect("granted");
    assert_eq!(house.view(room(7)).active, [noon.time]);
    assert!(!redis.run::<bool>(&["EXISTS", &active_key(ten)]).await);
    assert!(!redis.run::<bool>(&["EXISTS", &active_key(eleven)]).await);
}

#[tokio::test]
async fn a_client_that_chose_anew_through_php_loses_its_older_selection_at_the_next_renewal() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    house.select(ten, "ann").await.expect("granted");
    php.select(&named(room(7)), "11:00", "ann").await;
    house.shows_selection(eleven, Some("ann")).await;
    assert_eq!(house.renew(ten, "ann", false).await, Ok(Renewed::Superseded));
    assert_eq!(house.view(room(7)).active, [eleven.time], "shown before the answer");
    assert_eq!(house.heard.reasons(ten), [EndReason::Superseded]);
}

#[tokio::test]
async fn renewing_what_php_wrote_leaves_it_as_php_wrote_it() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    let ten = slot("10:00");
    php.select_for(&named(room(7)), "10:00", "ann", 30).await;
    house.shows_selection(ten, Some("ann")).await;
    let written: String = redis.run(&["GET", &active_key(ten)]).await;
    assert_eq!(house.renew(ten, "ann", true).await, Ok(Renewed::Kept));
    assert_eq!(redis.run::<String>(&["GET", &active_key(ten)]).await, written);
    assert!(redis.run::<i64>(&["PTTL", &active_key(ten)]).await <= 30_000);
}

#[tokio::test]
async fn anybody_may_release_what_php_selected() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    let ten = slot("10:00");
    php.select(&named(room(7)), "10:00", "pia").await;
    house.shows_selection(ten, Some("pia")).await;
    let by = Releaser::Address(None);
    house.store.deselect(DeselectAsk { slot: ten, by, actor: None }).await.expect("granted");
    assert_eq!(house.selected_by(ten), None);
    assert!(!redis.run::<bool>(&["EXISTS", &named(room(7)).user_key("pia")]).await);
}

#[tokio::test]
async fn a_time_to_live_that_another_writer_changed_is_the_one_that_counts() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    house.select(ten, "ann").await.expect("granted");
    assert!(redis.run::<bool>(&["PEXPIRE", &active_key(ten), "400"]).await);
    let ended = house.heard.ended(ten).await;
    assert_eq!(ended.why, EndReason::Expired);
    println!("told {:?} after the deadline", ended.late);
    assert!(ended.late < Duration::from_secs(1));

    house.select_for(eleven, "bob", Duration::from_millis(600)).await.expect("granted");
    assert!(redis.run::<bool>(&["PERSIST", &active_key(eleven)]).await);
    let period = Duration::from_millis(1500);
    holds_for("without a deadline it stays", period, async || house.selected_by(eleven).is_some()).await;
    assert_eq!(redis.run::<i64>(&["DEL", &active_key(eleven)]).await, 1);
    assert_eq!(house.heard.ended(eleven).await.why, EndReason::Lost);
}

#[tokio::test]
async fn a_value_without_a_time_to_live_is_a_hold_until_it_is_deleted() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let ten = slot("10:00");
    redis.run::<String>(&["SET", &active_key(ten), r#"{"client_id":"pia"}"#]).await;
    house.shows_selection(ten, Some("pia")).await;
    redis.run::<String>(&["RENAME", &active_key(ten), &active_key(slot("11:00"))]).await;
    house.shows_selection(slot("11:00"), Some("pia")).await;
    house.shows_selection(ten, None).await;
    assert_eq!(redis.run::<i64>(&["UNLINK", &active_key(slot("11:00"))]).await, 1);
    house.shows_selection(slot("11:00"), None).await;
}

#[tokio::test]
async fn a_foreign_lock_over_a_selection_leaves_both_and_each_goes_by_its_owners_act() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    for (place, time) in [(ten, "10:00"), (eleven, "11:00")] {
        let name = if place == ten { "ann" } else { "bob" };
        house.select(place, name).await.expect("granted");
        php.lock(&named(room(7)), time, "pia").await;
        house.shows_lock(place, Some("pia")).await;
    }
    assert_eq!(house.view(room(7)).active, []);
    house.deselect(ten, "ann").await.expect("it is its own");
    assert_eq!((house.selected_by(ten), house.locked_by(ten).as_deref()), (None, Some("pia")));
    let ended = house.heard.ended(ten).await;
    assert_eq!((ended.why, ended.actor.map(|actor| actor.0)), (EndReason::Superseded, Some(2)));
    house.unlock(eleven, "pia").await.expect("it is its own");
    assert_eq!((house.selected_by(eleven).as_deref(), house.locked_by(eleven)), (Some("bob"), None));
    let ended = house.heard.ended(eleven).await;
    assert_eq!((ended.why, ended.actor.map(|actor| actor.0)), (EndReason::Superseded, Some(4)));
    assert!(redis.run::<bool>(&["EXISTS", &lock_key(ten)]).await);
}

#[tokio::test]
async fn a_foreign_lock_over_ones_own_selection_does_not_end_it_for_the_client() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    house.select(slot("10:00"), "ann").await.expect("granted");
    php.lock(&named(room(7)), "10:00", "ann").await;
    house.shows_lock(slot("10:00"), Some("ann")).await;
    assert_eq!(house.renew(slot("10:00"), "ann", false).await, Ok(Renewed::Kept));
    house.select_for(slot("11:00"), "ann", LONG).await.expect("granted");
    house.shows_selection(slot("10:00"), None).await;
    assert_eq!(house.locked_by(slot("10:00")).as_deref(), Some("ann"));
}

#[tokio::test]
async fn changes_by_php_are_shown_within_milliseconds() {
    let redis = RedisServer::start().await;
    let (house, mut php) = (House::on(&redis.url()).await, redis.php().await);
    let mut took = Vec::new();
    for round in 0..100 {
        let name = format!("pia{round}");
        php.select(&named(room(7)), "10:00", &name).await;
        let written = Instant::now();
        house.shows_selection(slot("10:00"), Some(&name)).await;
        took.push(written.elapsed());
    }
    took.sort();
    println!("shown after: median {:?}, slowest {:?} (polled every 10 ms)", took[50], took[99]);
    assert!(took[50] < Duration::from_millis(500));
}
