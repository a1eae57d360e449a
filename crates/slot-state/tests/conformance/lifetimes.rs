//! How long a hold lives: deadlines, renewals, what is put back, what is cut short.

use std::time::Duration;

use slot_state::{EndReason, HoldKind, RENEWALS_AT_ONCE, Refusal, Renewal, Renewed};
use tokio::time::Instant;

use crate::house::{House, LONG, client, refusal, room, slot, slot_in};

/// The contract says 250 ms; a machine that others use too may pause a test for longer.
const BOUND: Duration = Duration::from_secs(1);

pub(crate) async fn a_selection_ends_on_time(house: House) {
    let ten = slot("10:00");
    house.select_for(ten, "ann", Duration::from_millis(300)).await.expect("granted");
    let deadline = house.picture.selection(ten).expect("shown").deadline;
    let ended = house.heard.ended(ten).await;
    println!("told {:?} after the deadline", ended.late);
    assert!(ended.late < BOUND && Instant::now() >= deadline);
    assert_eq!((ended.client.as_str(), ended.kind), ("ann", HoldKind::Selection));
    assert_eq!((ended.why, ended.actor), (EndReason::Expired, None));
    assert!(house.view(room(7)).active.is_empty());
    house.select(ten, "bob").await.expect("free again");
    assert_eq!(house.heard.endings(ten).len(), 1);
}

pub(crate) async fn a_lock_ends_on_time_and_its_slot_and_place_are_free_again(house: House) {
    let places = [slot_in(7, "10:00"), slot_in(8, "10:00"), slot_in(9, "10:00")];
    for place in places {
        house.lock(place, "ann").await.expect("granted");
    }
    for place in places {
        let ended = house.heard.ended(place).await;
        println!("told {:?} after the deadline", ended.late);
        assert!(ended.late < BOUND);
        assert_eq!((ended.kind, ended.why), (HoldKind::Lock, EndReason::Expired));
    }
    assert_eq!(refusal(house.unlock(places[0], "ann").await), Refusal::LockLost);
    for place in places {
        house.lock(place, "ann").await.expect("what ended does not count");
    }
}

pub(crate) async fn a_renewed_selection_outlives_its_first_deadline(house: House) {
    let ten = slot("10:00");
    house.select_for(ten, "ann", Duration::from_millis(800)).await.expect("granted");
    let first = house.picture.selection(ten).expect("shown").deadline;
    assert_eq!(house.renew(ten, "ann", false).await, Ok(Renewed::Kept));
    tokio::time::sleep_until(first + Duration::from_millis(400)).await;
    assert_eq!(house.selected_by(ten).as_deref(), Some("ann"));
    assert_eq!(refusal(house.select(ten, "bob").await), Refusal::SlotLocked);
    assert_eq!((house.heard.changes(room(7)), house.heard.endings(ten).len()), (1, 0));
}

pub(crate) async fn a_renewal_may_bring_the_end_nearer(house: House) {
    let ten = slot("10:00");
    house.select(ten, "ann").await.expect("granted");
    let renewal = Renewal { slot: ten, client: client("ann"), put_back: false, address: None };
    let renewed = house.store.renew(vec![renewal], Duration::from_millis(300)).await;
    assert_eq!(renewed, Ok(vec![Renewed::Kept]));
    let ended = house.heard.ended(ten).await;
    assert_eq!(ended.why, EndReason::Expired);
    assert!(ended.late < BOUND, "{:?}", ended.late);
}

pub(crate) async fn a_renewal_of_what_is_not_ones_own_is_lost(house: House) {
    assert_eq!(house.renew(slot("10:00"), "ann", false).await, Ok(Renewed::Lost));
    house.select(slot("10:00"), "bob").await.expect("granted");
    house.lock(slot("11:00"), "bob").await.expect("granted");
    for held in ["10:00", "11:00"] {
        for put_back in [false, true] {
            assert_eq!(house.renew(slot(held), "ann", put_back).await, Ok(Renewed::Lost), "{held}");
        }
    }
    assert_eq!(house.selected_by(slot("10:00")).as_deref(), Some("bob"));
    assert_eq!(house.selected_by(slot("11:00")), None);
}

pub(crate) async fn what_is_gone_is_put_back_only_where_asked_and_free(house: House) {
    let ten = slot("10:00");
    assert_eq!(house.renew(ten, "ann", false).await, Ok(Renewed::Lost));
    assert_eq!(house.view(room(7)).active, []);
    assert_eq!(house.renew(ten, "ann", true).await, Ok(Renewed::PutBack));
    assert_eq!(house.selected_by(ten).as_deref(), Some("ann"), "shown before the answer");
    assert_eq!(refusal(house.select(ten, "bob").await), Refusal::SlotLocked);
    house.lock(slot("11:00"), "ann").await.expect("granted");
    assert_eq!(house.renew(slot("11:00"), "ann", true).await, Ok(Renewed::Lost), "it is a lock already");
}

pub(crate) async fn a_selection_elsewhere_in_the_room_supersedes_what_is_gone(house: House) {
    house.select(slot("11:00"), "ann").await.expect("granted");
    for put_back in [false, true] {
        assert_eq!(house.renew(slot("10:00"), "ann", put_back).await, Ok(Renewed::Superseded));
    }
    assert_eq!(house.view(room(7)).active, [slot("11:00").time]);
}

pub(crate) async fn many_renewals_are_answered_in_the_order_asked(house: House) {
    let places: Vec<_> = (1..).map(|number| slot_in(number, "10:00")).take(RENEWALS_AT_ONCE).collect();
    for place in places.iter().step_by(3) {
        house.select_for(*place, "ann", Duration::from_secs(30)).await.expect("granted");
    }
    let put_back = |number: usize| number % 3 == 1;
    let ask = |(number, place): (usize, &_)| Renewal {
        slot: *place,
        client: client("ann"),
        put_back: put_back(number),
        address: None,
    };
    let renewed =
        house.store.renew(places.iter().enumerate().map(ask).collect(), LONG).await.expect("answers");
    assert_eq!(renewed.len(), places.len());
    for (number, outcome) in renewed.into_iter().enumerate() {
        let expected = [Renewed::Kept, Renewed::PutBack, Renewed::Lost][number % 3];
        assert_eq!(outcome, expected, "number {number}");
    }
    assert_eq!(house.picture.count(), (places.len() - places.len() / 3, 0));
    let soonest =
        house.picture.selections_of(&client("ann")).into_iter().map(|(_, held)| held.deadline).min();
    assert!(soonest.expect("many") > Instant::now() + LONG / 2);
}

pub(crate) async fn shortening_never_prolongs_and_leaves_others_alone(house: House) {
    let (ten, eleven, twelve) = (slot("10:00"), slot("11:00"), slot("12:00"));
    house.select(ten, "ann").await.expect("granted");
    house.select(eleven, "bob").await.expect("granted");
    house.select_for(twelve, "cis", Duration::from_millis(300)).await.expect("granted");
    let holders = vec![(ten, client("ann")), (eleven, client("ann")), (slot("13:00"), client("ann"))];
    house.store.shorten(holders, Duration::from_millis(300)).await.expect("answers");
    house.store.shorten(vec![(twelve, client("cis"))], LONG).await.expect("answers");
    for place in [ten, twelve] {
        let ended = house.heard.ended(place).await;
        assert_eq!(ended.why, EndReason::Expired);
        assert!(ended.late < BOUND, "{:?}", ended.late);
    }
    assert_eq!(house.selected_by(eleven).as_deref(), Some("bob"));
}

pub(crate) async fn looking_at_what_lives_changes_nothing(house: House) {
    house.select(slot("10:00"), "ann").await.expect("granted");
    house.lock(slot("11:00"), "bob").await.expect("granted");
    let before = house.view(room(7));
    house.store.look(&[slot("10:00"), slot("11:00"), slot("12:00")]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(house.view(room(7)), before);
    assert_eq!(house.heard.changes(room(7)), 2);
}
