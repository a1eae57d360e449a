use slot_state::{Calendar, Chosen, OpenStore, Room, SelectAsk, StoreConfig};
use support::RedisServer;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::*;
use crate::config::{Security, Slots};
use crate::security::address::ClientAddress;
use crate::security::limits::Limits;

/// A store, and who is here.
fn here() -> (OpenStore, Arc<Presence>) {
    open(None)
}

fn open(redis_url: Option<String>) -> (OpenStore, Arc<Presence>) {
    let opened = slot_state::open(&StoreConfig {
        redis_url,
        redis_command_timeout: Duration::from_millis(250),
        mysql: None,
        lock_ttl: Duration::from_secs(60),
        calendar: Calendar::always_open(jiff::tz::TimeZone::UTC, Slots::default().grid()),
        fixed_zone: false,
        availability_ttl: Duration::from_secs(1),
    })
    .expect("a store");
    let presence = Presence::new(opened.store.clone(), opened.picture.clone(), Duration::from_secs(10));
    (opened, presence)
}

/// A client that is here, and what it reads.
fn arrive(presence: &Presence) -> (ClientId, UnixStream) {
    arrive_as(presence, "ann")
}

fn arrive_as(presence: &Presence, client: &str) -> (ClientId, UnixStream) {
    let permit = Limits::new(&Security::default()).admit(ClientAddress::None).expect("a place");
    let (socket, browser) = UnixStream::pair().expect("a pair");
    let client: ClientId = client.parse().expect("a client");
    presence.arrive(&client, &Connection::new(ActorId(1), socket, permit), None);
    (client, browser)
}

/// Whose turn it is, by their selections.
async fn renewed(presence: &Presence, is_round: bool) -> Vec<Slot> {
    presence.renewals(is_round).await.into_iter().map(|renewal| renewal.slot).collect()
}

fn ended(slot: Slot, client: ClientId, why: EndReason) -> HoldEnded {
    HoldEnded { slot, client, kind: HoldKind::Selection, why, actor: None, late: Duration::ZERO }
}

fn slot() -> Slot {
    let room = Room { date: jiff::civil::date(2031, 3, 9), employee_id: "7".parse().expect("an employee") };
    room.slot("10:00".parse().expect("a time"))
}

fn selecting(slot: Slot, client: &ClientId) -> SelectAsk {
    SelectAsk {
        slot,
        client: client.clone(),
        ttl: Duration::from_secs(60),
        chosen: Chosen::Explicitly,
        address: None,
        actor: None,
    }
}

#[tokio::test]
async fn what_vanished_while_it_was_renewed_is_lost_only_if_it_cannot_be_put_back() {
    let (_opened, presence) = here();
    let (client, mut browser) = arrive(&presence);
    presence.holds(&client, slot(), None);
    let renewal = Renewal { slot: slot(), client: client.clone(), put_back: false, address: None };
    presence.on_hold_ended(&ended(slot(), client, EndReason::Vanished));
    presence.on_renewed(&renewal, Renewed::Lost);
    assert!(presence.with_held(&renewal, |held| assert!(held.put_back)), "it is asked again");

    presence.on_renewed(&Renewal { put_back: true, ..renewal }, Renewed::Lost);
    let mut told = [0; 512];
    let length = browser.read(&mut told).await.expect("reads");
    let told = String::from_utf8_lossy(&told[..length]);
    assert!(told.contains(r#""reason":"lost""#), "{told}");
}

#[tokio::test]
async fn what_is_chosen_again_meanwhile_is_not_given_up_by_what_was_asked_before() {
    let (opened, presence) = here();
    let (client, _browser) = arrive(&presence);
    let asked = Instant::now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    presence.holds(&client, slot(), None);
    presence.gave_up(&client, slot(), asked);
    assert_eq!(presence.clients.get(&client).expect("is here").held.len(), 1);
    presence.gave_up(&client, slot(), Instant::now());
    assert!(presence.clients.get(&client).expect("is here").held.is_empty());
    drop(opened);
}

#[tokio::test]
async fn what_was_put_back_while_its_client_gave_it_up_does_not_stay() {
    let (opened, presence) = here();
    let (client, _browser) = arrive(&presence);
    presence.holds(&client, slot(), None);
    let ask = DeselectAsk { slot: slot(), by: Releaser::Client(client.clone()), actor: None };
    opened.store.deselect(ask).await.expect("nothing is there");
    let renewal = Renewal { slot: slot(), client: client.clone(), put_back: true, address: None };
    let renewed = opened.store.renew(vec![renewal.clone()], Duration::from_secs(60)).await;
    assert_eq!(renewed, Ok(vec![Renewed::PutBack]));
    presence.on_renewed(&renewal, Renewed::PutBack);
    // Only now is the answer to the deselect heard.
    presence.gave_up(&client, slot(), Instant::now());
    let is_free = async {
        while opened.picture.selection(slot()).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_free).await.expect("it is taken back");
}

#[tokio::test]
async fn who_comes_back_has_its_own_renewed_at_once_and_nobody_elses() {
    let (_opened, presence) = here();
    let (ann, _page) = arrive(&presence);
    let (bob, _page) = arrive_as(&presence, "bob");
    let other = Slot { time: "11:00".parse().expect("a time"), ..slot() };
    presence.holds(&ann, slot(), None);
    presence.holds(&bob, other, None);
    assert_eq!(renewed(&presence, false).await, [], "both have just been granted");
    for is_first in [true, false] {
        let _page = arrive_as(&presence, if is_first { "ann" } else { "bob" });
        let [own, others] = if is_first { [slot(), other] } else { [other, slot()] };
        assert_eq!(renewed(&presence, false).await, [own]);
        assert_eq!(renewed(&presence, false).await, [], "once");
        presence.hurry(if is_first { &ann } else { &bob });
        assert_eq!(renewed(&presence, true).await, [own, others], "who cannot wait comes first");
    }

    presence.on_hold_ended(&ended(other, bob, EndReason::Vanished));
    assert_eq!(renewed(&presence, false).await, [other]);
}

#[tokio::test]
async fn what_was_selected_elsewhere_is_renewed_at_once_only_if_it_ends_soon() {
    let (opened, presence) = here();
    let (ann, _page) = arrive(&presence);
    opened.store.select(selecting(slot(), &ann)).await.expect("is free");
    let shown = opened.picture.selection(slot()).expect("is shown");
    presence.on_selected(slot(), &shown);
    assert_eq!(renewed(&presence, false).await, [], "a round comes before its end");

    let left = Selection { deadline: Instant::now() + GRACE, ..shown };
    presence.on_selected(slot(), &Selection { client: "bob".parse().expect("a client"), ..left.clone() });
    presence.on_selected(slot(), &Selection { writer: Writer::Php, ..left.clone() });
    assert_eq!(renewed(&presence, false).await, [], "not here, or lives as long as PHP said");
    presence.on_selected(slot(), &left);
    assert_eq!(renewed(&presence, false).await, [slot()]);
    presence.on_selected(slot(), &left);
    assert_eq!(renewed(&presence, false).await, [], "once: the store may show it and refuse to renew it");
}

#[tokio::test]
async fn what_a_store_could_not_renew_is_put_back_if_it_ends_meanwhile() {
    // Nothing connects to it.
    let (_opened, away) = open(Some("redis://127.0.0.1:1".into()));
    let (ann, _page) = arrive(&away);
    let (bob, _page) = arrive_as(&away, "bob");
    let other = Slot { time: "11:00".parse().expect("a time"), ..slot() };
    away.holds(&ann, slot(), None);
    away.holds(&bob, other, None);
    let put_back = async || {
        let renewals = away.renewals(true).await;
        let of = |client: &ClientId| renewals.iter().any(|one| one.client == *client && one.put_back);
        [of(&ann), of(&bob)]
    };
    away.hurry(&ann);
    away.renew(false).await;
    assert_eq!(put_back().await, [true, false], "of Bob's nothing was asked");
    away.renew(true).await;
    assert_eq!(put_back().await, [true, true]);
    away.on_hold_ended(&ended(slot(), ann.clone(), EndReason::Expired));
    assert!(away.clients.get(&ann).expect("is here").knows(slot()), "it is asked for again");
}

#[tokio::test]
async fn renewals_that_get_no_answer_do_not_keep_the_others_from_being_tried() {
    let redis = RedisServer::start().await;
    let (opened, presence) = open(Some(redis.url()));
    opened.store.storage().wait_for(|storage| storage.writable).await.expect("a store");
    let (ann, _page) = arrive(&presence);
    let most = i64::try_from(RENEWALS_AT_ONCE).expect("small");
    // Three calls.
    for number in 0..=2 * most {
        let employee_id = (number + 1).to_string().parse().expect("an employee");
        let place = Slot { room: Room { employee_id, ..slot().room }, ..slot() };
        opened.store.select(selecting(place, &ann)).await.expect("is free");
        presence.holds(&ann, place, None);
    }
    redis.pause();
    let resumed = async {
        while !presence.clients.get(&ann).expect("is here").held[0].put_back {
            sleep(Duration::from_millis(5)).await;
        }
        redis.resume();
    };
    let ((), ()) = tokio::join!(presence.renew(true), resumed);
    let ann = presence.clients.get(&ann).expect("is here");
    let [first, .., last] = ann.held.as_slice() else { panic!("{} are held", ann.held.len()) };
    assert!(first.put_back && !last.put_back, "the first got no answer, the last did");
}
