//! What spares waiting for the sweep, which never comes in these tests.

use std::time::Duration;

use slot_state::EndReason;
use support::{RedisServer, eventually, holds_for};

use super::{NEVER, SOON, book, booked, cancel, open, shows_booked, site};
use crate::house::{named, room, slot, slot_in};

#[tokio::test]
async fn a_word_of_the_plugin_has_the_room_read_at_once() {
    let (maria, redis) = (site().await, RedisServer::start().await);
    let house = open(Some(&redis), &maria, NEVER).await;
    house.look_at(room(7)).await.expect("it can be read");
    let ten = book(&maria, slot("10:00")).await;
    let channel = "appointease:slots:2031-03-09:7";
    let said: u64 = redis.run(&["PUBLISH", channel, "{\"action\":\"booked\"}"]).await;
    assert_eq!(said, 1);
    shows_booked(&house, room(7), &["10:00"]).await;
    cancel(&maria, ten).await;
    // A lie, and no message at all: it is only ever a hint.
    redis.run::<u64>(&["PUBLISH", channel, "\u{1}10:30 is booked"]).await;
    shows_booked(&house, room(7), &[]).await;
}

#[tokio::test]
async fn words_about_rooms_that_nobody_looks_at_or_that_are_none_change_nothing() {
    let (maria, redis) = (site().await, RedisServer::start().await);
    let house = open(Some(&redis), &maria, NEVER).await;
    book(&maria, slot("10:00")).await;
    for channel in ["2031-03-09:7", "2031-03-09:07", "2031-02-30:7", "", "*", "2031-03-09:7:10:00"] {
        let channel = format!("appointease:slots:{channel}");
        redis.run::<u64>(&["PUBLISH", &channel, "x"]).await;
    }
    // One that is looked at, as the sign that the others were heard.
    house.look_at(room(8)).await.expect("it can be read");
    book(&maria, slot_in(8, "10:00")).await;
    redis.run::<u64>(&["PUBLISH", "appointease:slots:2031-03-09:8", "x"]).await;
    shows_booked(&house, room(8), &["10:00"]).await;
    assert_eq!(booked(&house, room(7)), [""; 0]);
}

#[tokio::test]
async fn a_selection_that_php_removes_may_have_been_booked() {
    let (maria, redis) = (site().await, RedisServer::start().await);
    let (house, mut php) = (open(Some(&redis), &maria, NEVER).await, redis.php().await);
    house.look_at(room(7)).await.expect("it can be read");
    house.select(slot("10:00"), "ann").await.expect("free");
    book(&maria, slot("10:00")).await;
    php.delete(&named(room(7)), "10:00").await;
    shows_booked(&house, room(7), &["10:00"]).await;
    php.select(&named(room(7)), "11:00", "pia").await;
    house.shows_selection(slot("11:00"), Some("pia")).await;
    book(&maria, slot("11:00")).await;
    php.delete(&named(room(7)), "11:00").await;
    shows_booked(&house, room(7), &["10:00", "11:00"]).await;
}

#[tokio::test]
async fn a_client_that_deselects_gives_no_reason_to_ask_the_database() {
    let (maria, redis) = (site().await, RedisServer::start().await);
    let house = open(Some(&redis), &maria, NEVER).await;
    house.look_at(room(7)).await.expect("it can be read");
    book(&maria, slot("10:00")).await;
    for _ in 0..3 {
        house.select(slot("11:00"), "ann").await.expect("free");
        house.select(slot("12:00"), "ann").await.expect("free");
        house.deselect(slot("12:00"), "ann").await.expect("its own");
    }
    let unseen = async || booked(&house, room(7)).is_empty();
    holds_for("nobody looked", Duration::from_millis(300), unseen).await;
}

#[tokio::test]
async fn another_gateways_booking_is_seen_at_once() {
    let (maria, redis) = (site().await, RedisServer::start().await);
    let here = open(Some(&redis), &maria, NEVER).await;
    let there = open(Some(&redis), &maria, NEVER).await;
    here.look_at(room(7)).await.expect("it can be read");
    there.lock(slot("10:00"), "ann").await.expect("free");
    here.shows_lock(slot("10:00"), Some("ann")).await;
    let booking = there.confirm(slot("10:00"), "ann").await.expect("its own");
    shows_booked(&here, room(7), &["10:00"]).await;
    let named = slot_state::AppointmentRef::StrongId(booking.strong_id);
    assert_eq!(here.picture.own_booking(room(7), &named), Some(slot("10:00").time));
    let ended = here.heard.ended(slot("10:00")).await;
    assert_eq!(ended.why, EndReason::Booked, "another page of whoever booked it");
    eventually("it is said of the room", SOON, async || (here.heard.changes(room(7)) > 0).then_some(()))
        .await;
}

#[tokio::test]
async fn a_hold_that_goes_early_on_another_gateway_may_have_been_booked() {
    let maria = site().await;
    let (here, there) = (open(None, &maria, NEVER).await, open(None, &maria, NEVER).await);
    there.look_at(room(7)).await.expect("it can be read");
    let ten = slot("10:00");
    here.lock(ten, "ann").await.expect("free");
    there.store.look(&[ten]);
    there.shows_lock(ten, Some("ann")).await;
    here.confirm(ten, "ann").await.expect("booked");
    there.store.look(&[ten]);
    shows_booked(&there, room(7), &["10:00"]).await;
}
