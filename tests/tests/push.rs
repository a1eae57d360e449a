//! The push protocol between one browser and one gateway: hello, rooms, diffs, ids.

use serde_json::json;
use support::{Gateway, GatewayBuilder, Page, RedisServer, Room, holder_of};

const MORNING: &str = "10:00";
const LATER: &str = "10:30";

#[tokio::test]
async fn hello_is_answered_with_what_a_page_needs_to_know() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let welcome = Page::open(&gateway).await.hello("alice").await;
    assert_eq!(welcome.text("client_id"), "alice");
    assert_eq!((welcome.text("storage_mode"), welcome.text("redis_status")), ("redis", "available"));
    assert_eq!((welcome.number("selection_ttl"), welcome.number("lock_ttl")), (10, 600));
    assert!(welcome.number("server_time") > 1_700_000_000);
    assert!(!welcome.text("version").is_empty());
}

#[tokio::test]
async fn without_redis_the_memory_store_serves_and_says_so() {
    let gateway = Gateway::start().await;
    let page = Page::open(&gateway).await;
    let welcome = page.hello("alice").await;
    assert_eq!((welcome.text("storage_mode"), welcome.text("redis_status")), ("memory", "unavailable"));
    let room = Room::tomorrow_of(1);
    page.subscribe(&room).await;
    assert_eq!(page.select(&room, MORNING).await.assert_ok("selected").text("storage"), "memory");
    page.eventually_active(&room, &[MORNING]).await;
}

#[tokio::test]
async fn a_page_that_names_no_client_gets_one_of_its_own() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let (one, other, silent) =
        (Page::open(&gateway).await, Page::open(&gateway).await, Page::open(&gateway).await);
    let first = one.ask(json!({"type": "hello"})).await;
    let second = other.ask(json!({"type": "hello"})).await;
    assert!(!first.text("client_id").is_empty());
    assert_ne!(first.text("client_id"), second.text("client_id"));

    one.select(&room, MORNING).await.assert_ok("selected");
    other.select(&room, MORNING).await.assert_error("slot_locked");
    silent.select(&room, MORNING).await.assert_error("slot_locked");
    silent.select(&room, LATER).await.assert_ok("selected");
}

#[tokio::test]
async fn a_change_reaches_everybody_who_looks_at_the_room_and_nobody_else() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let (room, other_employee, other_day) =
        (Room::tomorrow_of(1), Room::tomorrow_of(2), Room::in_days_of(2, 1));
    let alice = Page::watching(&gateway, "alice", &room).await;
    let bob = Page::watching(&gateway, "bob", &room).await;
    let elsewhere = Page::watching(&gateway, "eve", &other_employee).await;
    elsewhere.subscribe(&other_day).await;

    let selected = alice.select(&room, MORNING).await.assert_ok("selected");
    assert_eq!(selected.text("storage"), "redis");
    assert!((1..=10).contains(&selected.number("ttl")), "{selected:?}");
    for page in [&alice, &bob] {
        page.eventually_active(&room, &[MORNING]).await;
    }
    alice.deselect(&room, MORNING).await.assert_ok("deselected");
    for page in [&alice, &bob] {
        page.eventually_active(&room, &[]).await;
        assert_eq!(page.live(&room).snapshots, 1);
    }
    elsewhere.settle().await;
    assert_eq!(elsewhere.live(&other_employee).diffs, 0);
    assert_eq!(elsewhere.live(&other_day).diffs, 0);
}

#[tokio::test]
async fn who_comes_later_finds_the_room_as_it_is() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice").await;
    alice.select(&room, MORNING).await.assert_ok("selected");
    alice.lock(&room, "14:00").await.assert_ok("locked");

    let bob = Page::of(&gateway, "bob").await;
    let snapshot = bob.subscribe(&room).await;
    assert_eq!(snapshot.0["active"], json!([MORNING]));
    assert_eq!(snapshot.0["locked"], json!(["14:00"]));
    assert_eq!(snapshot.0["booked"], json!([]));
    assert_eq!(snapshot.text("storage_mode"), "redis");
    assert_ne!(snapshot.0["stale"], true);
}

#[tokio::test]
async fn a_client_has_one_selection_in_a_room_and_a_move_is_one_diff() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let (room, other) = (Room::tomorrow_of(1), Room::tomorrow_of(2));
    let alice = Page::of(&gateway, "alice").await;
    let bob = Page::watching(&gateway, "bob", &room).await;
    bob.subscribe(&other).await;
    alice.select(&other, "09:00").await.assert_ok("selected");
    alice.select(&room, MORNING).await.assert_ok("selected");
    bob.eventually_active(&room, &[MORNING]).await;

    let before = bob.live(&room).diffs;
    alice.select(&room, LATER).await.assert_ok("selected");
    bob.eventually_active(&room, &[LATER]).await;
    assert_eq!(bob.live(&room).diffs, before + 1);
    bob.eventually_active(&other, &["09:00"]).await;

    let mut connection = redis.connection().await;
    assert_eq!(holder_of(&mut connection, &room.active_key(MORNING)).await, None);
    assert_eq!(holder_of(&mut connection, &room.active_key(LATER)).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn the_seconds_of_a_time_are_cut() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::watching(&gateway, "alice", &room).await;
    alice.select(&room, "10:00:00").await.assert_ok("selected");
    alice.eventually_active(&room, &[MORNING]).await;
    alice.deselect(&room, "10:00:59").await.assert_ok("deselected");
    alice.eventually_active(&room, &[]).await;
}

#[tokio::test]
async fn an_id_comes_back_as_it_was_sent() {
    let gateway = Gateway::start().await;
    let page = Page::of(&gateway, "alice").await;
    for id in [json!(7), json!("seven"), json!("x".repeat(64))] {
        page.send_raw(json!({"type": "ping", "id": id}).to_string());
        let key = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        assert_eq!(page.reply(&key).await.0["id"], id);
    }
}

/// However long the room's next diff waits for others to join it.
#[tokio::test]
async fn what_was_answered_is_in_every_snapshot_from_then_on() {
    let redis = RedisServer::start().await;
    let slow = || Gateway::builder().with("slots.coalesce_ms", 1000);
    tokio::join!(snapshots_keep_up(slow()), snapshots_keep_up(slow().redis_at(&redis.url())));
}

async fn snapshots_keep_up(builder: GatewayBuilder) {
    let gateway = builder.start().await;
    gateway.eventually_ready().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::watching(&gateway, "alice", &room).await;
    let bob = Page::of(&gateway, "bob").await;
    for round in 0..3 {
        alice.select(&room, MORNING).await.assert_ok("selected");
        bob.select(&room, LATER).await.assert_ok("selected");
        assert_eq!(bob.subscribe(&room).await.0["active"], json!([MORNING, LATER]), "round {round}");
        assert_eq!(alice.sync(&room).await.0["active"], json!([MORNING, LATER]), "round {round}");
        alice.deselect(&room, MORNING).await.assert_ok("deselected");
        assert_eq!(bob.sync(&room).await.0["active"], json!([LATER]), "round {round}");
        bob.deselect(&room, LATER).await.assert_ok("deselected");
        bob.unsubscribe(&room).await;
        alice.eventually_active(&room, &[]).await;
    }
}

#[tokio::test]
async fn sync_gives_the_room_anew_and_leaving_it_ends_its_frames() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice").await;
    alice.sync(&room).await.assert_error("not_subscribed");
    alice.unsubscribe(&room).await.assert_error("not_subscribed");

    alice.subscribe(&room).await;
    alice.select(&room, MORNING).await.assert_ok("selected");
    alice.eventually_active(&room, &[MORNING]).await;
    let fresh = alice.sync(&room).await;
    assert_eq!((fresh.kind(), &fresh.0["active"]), ("snapshot", &json!([MORNING])));

    assert_eq!(alice.unsubscribe(&room).await.kind(), "ok");
    // The page counts a diff of a room it has left as a breach.
    alice.select(&room, LATER).await.assert_ok("selected");
    alice.settle().await;
    alice.sync(&room).await.assert_error("not_subscribed");
    alice.subscribe(&room).await;
    alice.eventually_active(&room, &[LATER]).await;
}

#[tokio::test]
async fn nobody_hears_whose_a_hold_is() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let secret = "alice-5ecret";
    let alice = Page::of(&gateway, secret).await;
    let bob = Page::watching(&gateway, "bob", &room).await;
    alice.select(&room, MORNING).await.assert_ok("selected");
    alice.lock(&room, LATER).await.assert_ok("locked");
    bob.eventually_active(&room, &[MORNING]).await;
    bob.eventually_locked(&room, &[LATER]).await;
    bob.select(&room, MORNING).await.assert_error("slot_locked");
    bob.lock(&room, LATER).await.assert_error("slot_locked");
    bob.unlock(&room, LATER).await.assert_error("not_owner");
    bob.deselect(&room, MORNING).await.assert_error("not_owner");
    bob.sync(&room).await;
    bob.assert_never_heard(secret);
}

#[tokio::test]
async fn two_tabs_are_one_client_and_the_other_tab_is_told() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let (tab, other_tab) = (Page::of(&gateway, "alice").await, Page::of(&gateway, "alice").await);
    let bob = Page::watching(&gateway, "bob", &room).await;
    tab.select(&room, MORNING).await.assert_ok("selected");
    other_tab.select(&room, MORNING).await.assert_ok("selected");
    other_tab.select(&room, LATER).await.assert_ok("selected");
    bob.eventually_active(&room, &[LATER]).await;

    let released = tab.eventually_released(&room, MORNING).await;
    assert_eq!(released, ("selection".into(), "superseded".into()));
    tab.deselect(&room, LATER).await.assert_ok("deselected");
    bob.eventually_active(&room, &[]).await;
    other_tab.settle().await;
    let own_act = |frame: &serde_json::Value| frame["time"] == MORNING;
    assert!(!other_tab.released().iter().any(own_act), "told of its own act: {:?}", other_tab.released());
    assert!(bob.released().is_empty(), "told of another's hold: {:?}", bob.released());
}

#[tokio::test]
async fn the_gateway_logs_what_clients_did_without_saying_who() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let page = Page::of(&gateway, "alice-5ecret").await;
    page.select(&room, MORNING).await.assert_ok("selected");
    page.lock(&room, MORNING).await.assert_ok("locked");
    page.close().await;
    for line in gateway.logs().lines() {
        let entry: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        for field in ["timestamp", "level", "event"] {
            assert!(entry[field].is_string(), "no {field} in {line}");
        }
        assert!(!line.contains("alice-5ecret"), "{line}");
    }
}
