//! Holds on what somebody else booked.

use std::time::Duration;

use slot_state::{EndReason, HoldKind};
use support::{MariaDb, RedisServer, eventually, holds_for};

use super::{OFTEN, book, cancel, open, shows_booked, site};
use crate::house::{House, SOON, active_key, lock_key, room, slot};

async fn is_given_back(house: &House, maria: &MariaDb) {
    house.look_at(room(7)).await.expect("it can be read");
    house.select(slot("10:00"), "ann").await.expect("free");
    for time in ["11:00", "12:00", "13:00"] {
        house.lock(slot(time), "bob").await.expect("free");
    }
    let ids = [book(maria, slot("10:00")).await, book(maria, slot("11:00")).await];
    shows_booked(house, room(7), &["10:00", "11:00"]).await;
    for (slot, kind) in [(slot("10:00"), HoldKind::Selection), (slot("11:00"), HoldKind::Lock)] {
        let ended = house.heard.ended(slot).await;
        assert_eq!((ended.why, ended.kind, ended.actor), (EndReason::Booked, kind, None));
        assert!(house.view(room(7)).active.is_empty());
    }
    assert!(house.picture.selections_of(&crate::house::client("ann")).is_empty(), "nothing to renew");
    eventually("the holds are given back", SOON, async || {
        (house.selected_by(slot("10:00")).is_none() && house.locked_by(slot("11:00")).is_none()).then_some(())
    })
    .await;
    house.lock(slot("14:00"), "bob").await.expect("its third place is free again");
    let locks: Vec<String> =
        maria.query("SELECT TIME_FORMAT(time, '%H:%i') FROM wp_appointease_slot_locks ORDER BY time").await;
    assert_eq!(locks, ["12:00", "13:00", "14:00"]);
    for id in ids {
        cancel(maria, id).await;
    }
    shows_booked(house, room(7), &[]).await;
    let view = house.view(room(7));
    assert_eq!((view.active, view.locked.len()), (vec![], 3));
    assert_eq!(house.heard.reasons(slot("11:00")), [EndReason::Booked], "said once");
    house.lock(slot("11:00"), "eve").await.expect("free");
}

#[tokio::test]
async fn a_hold_on_what_was_booked_is_given_back_to_redis_and_mysql() {
    let (maria, redis) = (site().await, RedisServer::start().await);
    let house = open(Some(&redis), &maria, OFTEN).await;
    is_given_back(&house, &maria).await;
    for key in [active_key(slot("10:00")), lock_key(slot("12:30"))] {
        assert!(!redis.run::<bool>(&["EXISTS", &key]).await, "{key}");
    }
}

#[tokio::test]
async fn a_hold_on_what_was_booked_is_given_back_to_mysql() {
    let maria = site().await;
    let house = open(None, &maria, OFTEN).await;
    is_given_back(&house, &maria).await;
}

#[tokio::test]
async fn who_books_a_slot_is_not_told_that_somebody_booked_it() {
    let maria = site().await;
    let house = open(None, &maria, Duration::from_millis(1)).await;
    house.look_at(room(7)).await.expect("it can be read");
    for minute in 0..40 {
        let slot = slot(&format!("10:{minute:02}"));
        house.select(slot, "ann").await.expect("free");
        house.confirm_with(slot, "ann", &format!("k{minute}")).await.expect("its own");
        let told = house.heard.endings(slot);
        assert!(told.iter().all(|ended| ended.actor.is_some()), "{told:?}");
    }
    holds_for("the sweep adds nothing", Duration::from_millis(200), async || {
        (0..40).all(|minute| {
            house.heard.endings(slot(&format!("10:{minute:02}"))).iter().all(|ended| ended.actor.is_some())
        })
    })
    .await;
}
