//! One client's tries to release, unlock or book what another holds, over every way in and under a forged address.

use std::time::Duration;

use serde_json::{Value, json};
use support::{Gateway, LegacyPage, Page, Room, holds_for};

const SELECTED: &str = "10:00";
const LOCKED: &str = "11:00";
const OWNER: &str = "203.0.113.7";
/// What a client sends that would like to be its victim; the proxy adds the true address behind it.
const FORGED: &str = "203.0.113.7, 203.0.113.66";

fn customer(room: &Room, time: &str, more: &[(&str, &str)]) -> Value {
    let fields = [("time", time), ("name", "Mallory"), ("email", "alice@example.com")];
    room.fields(&[&fields, more].concat())
}

#[tokio::test]
async fn nobody_releases_unlocks_or_books_what_another_holds() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::builder(&gateway).from_address(OWNER).open().await;
    alice.hello("alice").await;
    alice.subscribe(&room).await;
    alice.select(&room, SELECTED).await.assert_ok("selected");
    let fence = alice.lock(&room, LOCKED).await.assert_ok("locked").number("fence");

    let mallory = Page::builder(&gateway).from_address(FORGED).open().await;
    mallory.hello("mallory").await;
    mallory.subscribe(&room).await;
    mallory.assert_never_heard("alice");
    for time in [SELECTED, LOCKED] {
        mallory.select(&room, time).await.assert_error("slot_locked");
        mallory.lock(&room, time).await.assert_error("slot_locked");
        mallory.deselect(&room, time).await.assert_error("not_owner");
        mallory.unlock(&room, time).await.assert_error("not_owner");
        mallory.confirm(&room, time, "key").await.assert_error("slot_locked");
        let mut guessed = room.confirm_frame(time, "guessed");
        guessed["fence"] = json!(fence);
        mallory.ask(guessed).await.assert_error("slot_locked");
        let mut named = room.slot_frame("unlock", time);
        named["client_id"] = json!("alice");
        mallory.ask(named).await.assert_error("not_owner");
    }
    mallory.ask(json!({"type": "hello", "client_id": "alice"})).await.assert_error("bad_request");

    let old = LegacyPage::of(&gateway).from_address(FORGED);
    for client in [&[("client_id", "mallory")][..], &[]] {
        for time in [SELECTED, LOCKED] {
            let fields = room.fields(&[&[("time", time)], client].concat());
            old.rest_post("/slots/deselect", fields.clone()).await.assert_rest_error(403, "not_owner");
            let named = if client.is_empty() { "invalid_client" } else { "not_owner" };
            let status = if client.is_empty() { 400 } else { 403 };
            old.rest_post("/slots/unlock", fields).await.assert_rest_error(status, named);
            let booking = customer(&room, time, &[client, &[("idempotency_key", "rest")]].concat());
            old.rest_post("/appointments", booking).await.assert_rest_error(409, "slot_taken");
            let deselect = old.deselect(&room, time, client.first().map(|(_, name)| *name)).await;
            assert_eq!(deselect["status"], "not_owner", "{deselect}");
            let form = [client, &[("action", "confirm_booking"), ("firstName", "M")]].concat();
            let answer = old.heartbeat(json!({"appointease_booking": customer(&room, time, &form)})).await;
            assert_eq!(answer.json["appointease_booking"]["status"], "slot_locked", "{answer:?}");
            let poll = [client, &[("time", time)]].concat();
            let answer = old.poll(&room, &poll).await;
            assert_eq!(answer["redis_ops"]["user_selection"], Value::Null, "{answer}");
        }
    }

    // Longer than a selection lives that only polls keep: Mallory's neither kept nor ended anything.
    holds_for("both holds are as they were", Duration::from_secs(1), async || {
        let view = alice.view(&room);
        let (active, locked) = (view.active.iter().eq([SELECTED]), view.locked.iter().eq([LOCKED]));
        active && locked && view.booked.is_empty()
    })
    .await;
    assert!(alice.released().is_empty(), "{:?}", alice.released());
    for (time, key) in [(SELECTED, "a"), (LOCKED, "b")] {
        alice.confirm(&room, time, key).await.assert_ok("confirmed");
    }
}
