//! What is told of a hold that ended by somebody's act, and who may end it.

use std::net::IpAddr;

use slot_state::{
    ActorId, Chosen, DeselectAsk, EndReason, HoldEnded, HoldError, HoldKind, Refusal, Releaser, SelectAsk,
    Slot, Writer,
};

use crate::house::{House, LONG, client, refusal, room, slot, slot_in};

pub(crate) async fn a_release_says_that_its_holder_gave_it_up_and_on_which_connection(house: House) {
    let (nine, ten, eleven) = (slot("09:00"), slot("10:00"), slot("11:00"));
    let one = |place: Slot| -> HoldEnded {
        let mut endings = house.heard.endings(place);
        assert_eq!(endings.len(), 1, "{endings:?}");
        endings.remove(0)
    };
    house.select(nine, "ann").await.expect("granted");
    house.select(ten, "ann").await.expect("granted");
    house.deselect(ten, "ann").await.expect("granted");
    house.lock(eleven, "ann").await.expect("granted");
    house.unlock(eleven, "ann").await.expect("granted");
    for (place, kind, actor) in
        [(nine, HoldKind::Selection, 1), (ten, HoldKind::Selection, 2), (eleven, HoldKind::Lock, 4)]
    {
        let ended = one(place);
        assert_eq!((ended.client.as_str(), ended.kind), ("ann", kind));
        assert_eq!((ended.why, ended.actor), (EndReason::Superseded, Some(ActorId(actor))), "{place:?}");
        assert!(ended.late.is_zero());
    }
}

async fn release(house: &House, slot: Slot, address: Option<&str>) -> Result<(), HoldError> {
    let by = Releaser::Address(address.map(parse));
    house.store.deselect(DeselectAsk { slot, by, actor: None }).await
}

fn parse(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

pub(crate) async fn a_release_by_address_needs_the_same_address(house: House) {
    let (ten, eleven, twelve) = (slot("10:00"), slot("11:00"), slot("12:00"));
    let select = async |slot, name, address: Option<&str>| {
        let (address, chosen) = (address.map(parse), Chosen::ByPoll);
        let ask = SelectAsk { slot, client: client(name), ttl: LONG, chosen, address, actor: None };
        house.store.select(ask).await.expect("granted")
    };
    select(ten, "ann", Some("192.0.2.7")).await;
    select(eleven, "bob", None).await;
    house.lock(twelve, "cis").await.expect("granted");
    let writer = house.picture.selection(ten).expect("shown").writer;
    let tag = house.store.address_tag(parse("192.0.2.7"));
    assert!(tag.is_some());
    assert_eq!(writer, Writer::Gateway { chosen: Chosen::ByPoll, address: tag });

    assert_eq!(refusal(release(&house, ten, Some("192.0.2.8")).await), Refusal::NotOwner);
    assert_eq!(refusal(release(&house, ten, None).await), Refusal::NotOwner);
    assert_eq!(refusal(release(&house, eleven, Some("192.0.2.7")).await), Refusal::NotOwner);
    assert_eq!(refusal(release(&house, eleven, None).await), Refusal::NotOwner, "unknown is not the same");
    assert_eq!(refusal(release(&house, twelve, Some("192.0.2.7")).await), Refusal::NotOwner);
    release(&house, slot("13:00"), None).await.expect("nothing there is as good as released");
    release(&house, ten, Some("192.0.2.7")).await.expect("granted");
    assert_eq!(house.view(room(7)).active, [eleven.time]);
    assert_eq!(house.heard.reasons(ten), [EndReason::Superseded]);
}

pub(crate) async fn an_address_has_one_tag_and_its_ipv6_spelling_the_same(house: House) {
    let tag = |address: &str| house.store.address_tag(parse(address)).expect("the salt is known");
    assert_eq!(tag("192.0.2.7"), tag("::ffff:192.0.2.7"));
    assert_ne!(tag("192.0.2.7"), tag("192.0.2.8"));
}

pub(crate) async fn every_hold_of_a_client_is_found(house: House) {
    let ann = client("ann");
    house.select(slot_in(7, "10:00"), "ann").await.expect("granted");
    house.select(slot_in(8, "10:00"), "ann").await.expect("granted");
    house.lock(slot_in(9, "10:00"), "ann").await.expect("granted");
    house.select(slot_in(9, "11:00"), "bob").await.expect("granted");
    let mut selected: Vec<Slot> =
        house.picture.selections_of(&ann).into_iter().map(|(slot, _)| slot).collect();
    selected.sort();
    assert_eq!(selected, [slot_in(7, "10:00"), slot_in(8, "10:00")]);
    assert_eq!(house.picture.slots_of(&ann).len(), 3);
    assert_eq!(house.picture.count(), (3, 1));
    house.deselect(slot_in(7, "10:00"), "ann").await.expect("granted");
    house.unlock(slot_in(9, "10:00"), "ann").await.expect("granted");
    assert_eq!(house.picture.slots_of(&ann).as_slice(), [slot_in(8, "10:00")]);
    assert_eq!(house.picture.held_slots().len(), 2);
}
