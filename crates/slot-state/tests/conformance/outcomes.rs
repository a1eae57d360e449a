//! The table of outcomes: who gets what, and what the picture shows when the answer comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use slot_state::{Refusal, Selected};
use support::eventually;
use tokio::time::Instant;

use crate::house::{House, LONG, SOON, refusal, room, slot, slot_in};

pub(crate) async fn a_free_slot_is_selected_and_shown_before_the_answer(house: House) {
    let asked = Instant::now();
    assert_eq!(house.select(slot("10:00"), "ann").await.expect("granted"), Selected::Selection);
    let shown = house.picture.selection(slot("10:00")).expect("shown");
    assert_eq!(shown.client.as_str(), "ann");
    assert!(shown.deadline >= asked + LONG && shown.deadline <= Instant::now() + LONG);
    assert_eq!(house.view(room(7)).active, [slot("10:00").time]);
    assert_eq!(house.heard.changes(room(7)), 1);
}

pub(crate) async fn selecting_an_own_selection_again_renews_it(house: House) {
    let ten = slot("10:00");
    house.select_for(ten, "ann", Duration::from_secs(5)).await.expect("granted");
    house.select_for(ten, "ann", Duration::from_secs(30)).await.expect("granted");
    let left = house.picture.selection(ten).expect("shown").deadline - Instant::now();
    assert!(left > Duration::from_secs(20), "{left:?}");
    assert_eq!((house.heard.changes(room(7)), house.heard.endings(ten).len()), (1, 0));
}

pub(crate) async fn selecting_an_own_lock_changes_nothing(house: House) {
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    house.lock(ten, "ann").await.expect("granted");
    house.select(eleven, "ann").await.expect("granted");
    assert_eq!(house.select(ten, "ann").await.expect("granted"), Selected::OwnLock);
    let view = house.view(room(7));
    assert_eq!((view.locked, view.active), (vec![ten.time], vec![eleven.time]));
}

pub(crate) async fn what_another_holds_is_neither_selected_nor_locked(house: House) {
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    house.select(ten, "ann").await.expect("granted");
    house.lock(eleven, "ann").await.expect("granted");
    for held in [ten, eleven] {
        assert_eq!(refusal(house.select(held, "bob").await), Refusal::SlotLocked);
        assert_eq!(refusal(house.lock(held, "bob").await), Refusal::SlotLocked);
    }
    assert_eq!(house.selected_by(ten).as_deref(), Some("ann"));
    assert_eq!(house.locked_by(eleven).as_deref(), Some("ann"));
    assert!(house.picture.slots_of(&crate::house::client("bob")).is_empty());
}

pub(crate) async fn a_move_is_one_change_with_no_state_between(house: House) {
    let times = ["09:00", "12:00", "10:30"].map(slot);
    house.select(times[0], "ann").await.expect("granted");
    let house = Arc::new(house);
    let done = Arc::new(AtomicBool::new(false));
    let sampler = {
        let (house, done) = (house.clone(), done.clone());
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(house.view(room(7)).active.len(), 1, "one selection, not both, not neither");
            }
        })
    };
    for to in times.iter().cycle().skip(1).take(60) {
        house.select(*to, "ann").await.expect("granted");
        assert_eq!(house.view(room(7)).active, [to.time]);
    }
    done.store(true, Ordering::Relaxed);
    sampler.join().expect("every sample had one selection");
    assert_eq!(house.heard.changes(room(7)), 61);
}

pub(crate) async fn selections_in_different_rooms_do_not_end_each_other(house: House) {
    house.select(slot_in(7, "10:00"), "ann").await.expect("granted");
    house.select(slot_in(8, "10:00"), "ann").await.expect("granted");
    assert_eq!(house.view(room(7)).active.len() + house.view(room(8)).active.len(), 2);
}

pub(crate) async fn deselecting_releases_only_an_own_selection(house: House) {
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    house.deselect(ten, "ann").await.expect("nothing there is as good as released");
    house.select(ten, "ann").await.expect("granted");
    house.lock(eleven, "ann").await.expect("granted");
    for held in [ten, eleven] {
        assert_eq!(refusal(house.deselect(held, "bob").await), Refusal::NotOwner);
    }
    house.deselect(ten, "ann").await.expect("granted");
    assert_eq!(house.selected_by(ten), None);
    house.deselect(eleven, "ann").await.expect("granted");
    assert_eq!(house.locked_by(eleven).as_deref(), Some("ann"), "the lock stays");
}

pub(crate) async fn a_selection_becomes_the_lock(house: House) {
    let ten = slot("10:00");
    house.select(ten, "ann").await.expect("granted");
    let locked = house.lock(ten, "ann").await.expect("granted");
    assert!(locked.fence > 0);
    let view = house.view(room(7));
    assert_eq!((view.locked, view.active), (vec![ten.time], vec![]));
    let lock = house.picture.lock(ten).expect("shown");
    assert_eq!((lock.client.as_str(), lock.fence), ("ann", locked.fence));
    assert!(house.picture.selection(ten).is_none());
    assert!(house.heard.endings(ten).is_empty(), "nothing was lost by it");
    assert_eq!(house.heard.changes(room(7)), 2);
    house.unlock(ten, "ann").await.expect("granted");
    house.select(slot("11:00"), "ann").await.expect("granted");
    assert_eq!(house.view(room(7)).active, [slot("11:00").time], "the selection does not come back");
}

pub(crate) async fn locking_again_gives_the_same_fence_and_the_time_left(house: House) {
    let first = house.lock(slot("10:00"), "ann").await.expect("granted");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let again = house.lock(slot("10:00"), "ann").await.expect("granted");
    assert_eq!(again.fence, first.fence);
    assert!(again.ttl <= first.ttl - Duration::from_millis(40), "{:?} of {:?}", again.ttl, first.ttl);
    assert!(again.ttl > first.ttl / 2);
}

pub(crate) async fn fences_rise(house: House) {
    let mut last = 0;
    for round in 0..20 {
        let place = slot_in(7 + round % 3, "10:00");
        let fence = house.lock(place, "ann").await.expect("granted").fence;
        assert!(fence > last, "{fence} after {last}");
        last = fence;
        house.unlock(place, "ann").await.expect("granted");
    }
}

pub(crate) async fn unlocking_releases_only_an_own_lock(house: House) {
    let ten = slot("10:00");
    assert_eq!(refusal(house.unlock(ten, "ann").await), Refusal::LockLost);
    house.select(ten, "ann").await.expect("granted");
    assert_eq!(refusal(house.unlock(ten, "ann").await), Refusal::LockLost);
    assert_eq!(refusal(house.unlock(ten, "bob").await), Refusal::NotOwner);
    assert_eq!(house.selected_by(ten).as_deref(), Some("ann"), "the selection stays");
    house.lock(ten, "ann").await.expect("granted");
    assert_eq!(refusal(house.unlock(ten, "bob").await), Refusal::NotOwner);
    house.unlock(ten, "ann").await.expect("granted");
    assert_eq!(house.view(room(7)), slot_state::RoomView::default());
    assert_eq!(refusal(house.unlock(ten, "ann").await), Refusal::LockLost);
}

pub(crate) async fn a_client_has_three_locks_at_most_until_it_unlocks_one(house: House) {
    let places = [slot_in(7, "10:00"), slot_in(7, "11:00"), slot_in(8, "10:00"), slot_in(9, "10:00")];
    for place in &places[..3] {
        house.lock(*place, "ann").await.expect("granted");
    }
    assert_eq!(refusal(house.lock(places[3], "ann").await), Refusal::TooManyHolds);
    assert_eq!(house.locked_by(places[3]), None);
    house.lock(places[0], "ann").await.expect("what it has, it has");
    house.lock(places[3], "bob").await.expect("others have their own three");
    house.unlock(places[3], "bob").await.expect("granted");
    house.unlock(places[1], "ann").await.expect("granted");
    house.lock(places[3], "ann").await.expect("granted");
    assert_eq!(refusal(house.lock(places[1], "ann").await), Refusal::TooManyHolds);
}

pub(crate) async fn a_client_in_a_hurry_has_three_locks_and_no_more(house: House) {
    let places: Vec<_> = (0..10).map(|number| slot_in(20 + number, "10:00")).collect();
    let outcomes = join_all(places.iter().map(|place| house.lock(*place, "ann"))).await;
    let (granted, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(granted.len(), 3, "{granted:?}");
    for outcome in refused {
        assert_eq!(refusal(outcome), Refusal::TooManyHolds);
    }
    assert_eq!(house.picture.slots_of(&crate::house::client("ann")).len(), 3);
}

/// Two tabs, or a request that was sent again.
pub(crate) async fn what_another_selected_is_refused_however_often_it_is_asked_for_at_once(house: House) {
    for round in 0..30 {
        let place = slot_in(30 + round % 3, "10:00");
        house.select(place, "ann").await.expect("granted");
        let outcomes = join_all((0..3).map(|_| house.lock(place, "bob"))).await;
        for outcome in outcomes {
            assert_eq!(refusal(outcome), Refusal::SlotLocked, "round {round}");
        }
        house.lock(place, "ann").await.expect("nobody else was told that it is theirs");
        house.unlock(place, "ann").await.expect("granted");
    }
}

pub(crate) async fn a_lock_taken_while_the_last_one_is_given_back_stands(house: House) {
    let place = slot("10:00");
    for round in 0..30 {
        let first = house.lock(place, "ann").await.expect("granted");
        let lock = async {
            tokio::time::sleep(Duration::from_micros(300 * (round % 10))).await;
            house.lock(place, "ann").await.expect("granted")
        };
        let (unlocked, second) = tokio::join!(house.unlock(place, "ann"), lock);
        unlocked.expect("granted");
        if second.fence != first.fence {
            assert_eq!(house.locked_by(place).as_deref(), Some("ann"), "round {round}");
            assert_eq!(refusal(house.select(place, "bob").await), Refusal::SlotLocked, "round {round}");
            house.unlock(place, "ann").await.expect("granted");
        }
    }
}

pub(crate) async fn clients_are_compared_byte_for_byte(house: House) {
    house.select(slot("10:00"), "Ann").await.expect("granted");
    for other in ["ann", "Ann.", "AnN"] {
        assert_eq!(refusal(house.select(slot("10:00"), other).await), Refusal::SlotLocked);
    }
}

pub(crate) async fn of_many_at_once_one_wins(house: House) {
    let ten = slot("10:00");
    let names: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
    let selects = join_all(names.iter().map(|name| house.select(ten, name))).await;
    let winners: Vec<&String> =
        names.iter().zip(&selects).filter(|(_, outcome)| outcome.is_ok()).map(|(name, _)| name).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(house.selected_by(ten).as_ref(), Some(winners[0]));
    let locks = join_all(names.iter().map(|name| house.lock(slot("11:00"), name))).await;
    assert_eq!(locks.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

pub(crate) async fn one_client_in_a_hurry_ends_with_one_selection(house: House) {
    let times: Vec<_> = (0..24).map(|hour| slot(&format!("{hour:02}:00"))).collect();
    let outcomes = join_all(times.iter().map(|time| house.select(*time, "ann"))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    eventually("one selection is left", SOON, async || (house.view(room(7)).active.len() == 1).then_some(()))
        .await;
    for time in &times {
        let reasons = house.heard.reasons(*time);
        assert!(reasons.iter().all(|why| *why == slot_state::EndReason::Superseded), "{reasons:?}");
    }
}
