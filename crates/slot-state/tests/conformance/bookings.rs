//! What becomes of a request to book, and what the picture shows when the answer comes.

use futures::future::join_all;
use slot_state::{BookError, BookRefusal, EndReason, NewBooking, Refusal};
use support::eventually;

use crate::house::{House, SOON, book_refusal, new_booking, refusal, room, slot};

pub(crate) async fn a_free_slot_is_booked_and_shown_before_the_answer(house: House) {
    let ten = slot("10:00");
    let booking = house.confirm(ten, "ann").await.expect("booked");
    assert!(booking.appointment_id > 0);
    let number = format!("{:06}", booking.appointment_id);
    let named = booking.strong_id.strip_prefix("APT-").and_then(|rest| rest.split_once('-'));
    let (year, rest) = named.expect("a name");
    assert!(year.len() == 4 && rest == number, "{}", booking.strong_id);
    assert_eq!(house.view(room(7)).booked, [ten.time]);
    assert_eq!(house.heard.changes(room(7)), 1);
}

pub(crate) async fn a_booking_ends_the_clients_own_hold_in_the_same_change(house: House) {
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    house.select(ten, "ann").await.expect("granted");
    house.confirm(ten, "ann").await.expect("booked");
    house.lock(eleven, "bob").await.expect("granted");
    house.confirm(eleven, "bob").await.expect("booked");
    let view = house.view(room(7));
    assert_eq!((view.booked, view.active, view.locked), (vec![ten.time, eleven.time], vec![], vec![]));
    assert_eq!(house.heard.changes(room(7)), 4);
    for slot in [ten, eleven] {
        assert_eq!(house.heard.reasons(slot), [EndReason::Booked]);
    }
    for (slot, client) in [(ten, "ann"), (eleven, "bob")] {
        assert_eq!((house.selected_by(slot), house.locked_by(slot)), (None, None), "{client}");
        assert!(house.picture.slots_of(&crate::house::client(client)).is_empty());
    }
}

pub(crate) async fn a_lock_of_another_refuses_and_so_does_a_selection(house: House) {
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    house.select(ten, "ann").await.expect("granted");
    house.lock(eleven, "ann").await.expect("granted");
    for held in [ten, eleven] {
        assert_eq!(book_refusal(house.confirm(held, "bob").await), BookRefusal::SlotLocked);
    }
    assert_eq!(house.selected_by(ten).as_deref(), Some("ann"));
    assert_eq!(house.locked_by(eleven).as_deref(), Some("ann"));
    assert!(house.view(room(7)).booked.is_empty());
}

pub(crate) async fn a_booked_slot_is_neither_selected_nor_locked_nor_booked(house: House) {
    let ten = slot("10:00");
    house.confirm(ten, "ann").await.expect("booked");
    for name in ["ann", "bob"] {
        assert_eq!(refusal(house.select(ten, name).await), Refusal::SlotBooked);
        assert_eq!(refusal(house.lock(ten, name).await), Refusal::SlotBooked);
        let another = house.store.confirm(new_booking(ten, name, "another")).await;
        assert_eq!(book_refusal(another), BookRefusal::SlotBooked);
    }
    house.lock(slot("10:30"), "bob").await.expect("granted");
    let view = house.view(room(7));
    assert_eq!((view.booked, view.locked), (vec![ten.time], vec![slot("10:30").time]));
}

pub(crate) async fn a_fence_that_is_not_the_locks_is_refused(house: House) {
    let ten = slot("10:00");
    let fence = house.lock(ten, "ann").await.expect("granted").fence;
    let with = |fence| NewBooking { fence: Some(fence), ..new_booking(ten, "ann", "k") };
    for other in [fence - 1, fence + 1] {
        assert_eq!(book_refusal(house.store.confirm(with(other)).await), BookRefusal::LockLost);
    }
    assert_eq!(house.locked_by(ten).as_deref(), Some("ann"));
    house.store.confirm(with(fence)).await.expect("booked");
}

pub(crate) async fn a_fence_of_a_lock_that_has_ended_is_no_hindrance(house: House) {
    let ten = slot("10:00");
    let fence = house.lock(ten, "ann").await.expect("granted").fence;
    house.unlock(ten, "ann").await.expect("granted");
    let ask = NewBooking { fence: Some(fence), ..new_booking(ten, "ann", "k") };
    house.store.confirm(ask).await.expect("booked: it is free");
}

pub(crate) async fn the_same_key_gets_the_first_answer_and_with_other_data_a_refusal(house: House) {
    let ten = slot("10:00");
    house.lock(ten, "ann").await.expect("granted");
    let ask = new_booking(ten, "ann", "key with spaces");
    let first = house.store.confirm(ask.clone()).await.expect("booked");
    for _ in 0..3 {
        // The lock it had is gone by now; so may be the connection.
        let again = NewBooking { fence: Some(1), actor: None, ..ask.clone() };
        assert_eq!(house.store.confirm(again).await.as_ref(), Ok(&first));
    }
    let mut other = ask.clone();
    other.customer.notes = Some("by the window".to_owned());
    let elsewhere = NewBooking { slot: slot("11:00"), ..ask };
    for other in [other, elsewhere] {
        assert_eq!(book_refusal(house.store.confirm(other).await), BookRefusal::OtherData);
    }
    assert_eq!(house.view(room(7)).booked, [ten.time]);
}

pub(crate) async fn a_refused_key_may_be_used_again(house: House) {
    let ten = slot("10:00");
    house.lock(ten, "ann").await.expect("granted");
    assert_eq!(book_refusal(house.confirm(ten, "bob").await), BookRefusal::SlotLocked);
    house.unlock(ten, "ann").await.expect("granted");
    house.confirm(ten, "bob").await.expect("booked");
}

pub(crate) async fn each_client_has_its_own_keys(house: House) {
    let first = house.confirm(slot("10:00"), "ann").await.expect("booked");
    let second = house.confirm(slot("11:00"), "bob").await.expect("booked");
    let third = house.confirm(slot("12:00"), "Ann").await.expect("booked");
    let ids = [&first, &second, &third].map(|booking| booking.appointment_id);
    assert!(ids[0] < ids[1] && ids[1] < ids[2], "{ids:?}");
}

pub(crate) async fn of_many_at_once_one_books(house: House) {
    let ten = slot("10:00");
    let names: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
    let outcomes = join_all(names.iter().map(|name| house.confirm(ten, name))).await;
    let booked = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(booked, 1, "{outcomes:?}");
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        assert_eq!(outcome, Err(BookError::Refused(BookRefusal::SlotBooked)));
    }
}

pub(crate) async fn one_key_at_once_books_once(house: House) {
    let outcomes = join_all((0..10).map(|_| house.confirm(slot("10:00"), "ann"))).await;
    let first = outcomes[0].as_ref().expect("booked");
    assert!(outcomes.iter().all(|outcome| outcome.as_ref() == Ok(first)), "{outcomes:?}");
}

pub(crate) async fn a_lock_that_has_ended_leaves_the_slot_to_whoever_comes_first(house: House) {
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    house.lock(ten, "ann").await.expect("granted");
    house.lock(eleven, "ann").await.expect("granted");
    eventually("the locks end", SOON, async || house.view(room(7)).locked.is_empty().then_some(())).await;
    // The store's clock may be a little behind the picture's.
    eventually("it is free", SOON, async || house.confirm(ten, "bob").await.ok()).await;
    assert_eq!(book_refusal(house.confirm(ten, "ann").await), BookRefusal::SlotBooked);
    house.confirm(eleven, "ann").await.expect("nobody else came");
}
