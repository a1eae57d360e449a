//! The REST paths of the plugin, in its shapes and with WordPress' errors; served from the same rooms as push.

use serde_json::{Value, json};
use support::{Gateway, LegacyPage, PATIENCE, Page, RedisServer, Room, in_days, raw_http};
use tokio_tungstenite::tungstenite::http::Method;

const SLOT: &str = "10:00";

async fn served() -> (RedisServer, Gateway, Room) {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    (redis, gateway, Room::tomorrow_of(3))
}

fn slot(room: &Room, time: &str, client_id: &str) -> Value {
    room.fields(&[("time", time), ("client_id", client_id)])
}

#[tokio::test]
async fn selecting_and_deselecting_answer_in_the_plugins_shape() {
    let (_redis, gateway, room) = served().await;
    let rest = LegacyPage::of(&gateway);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let answer = rest.rest_post("/slots/select", slot(&room, SLOT, "old")).await;
    let wanted =
        json!({"success": true, "storage": "redis", "status": "selected", "client_id": "old", "ttl": 10});
    assert_eq!((answer.status, &answer.json), (200, &wanted));
    watcher.eventually_active(&room, &[SLOT]).await;

    let under_our_name = slot(&room, SLOT, "another").to_string();
    let taken = rest.send(Method::POST, "/slotcast/slots/select", "application/json", under_our_name).await;
    taken.assert_rest_error(409, "slot_locked");
    assert_eq!(taken.json["message"], "Slot is already locked");

    let answer = rest.rest_post("/slots/deselect", slot(&room, SLOT, "old")).await;
    assert_eq!((answer.status, &answer.json), (200, &json!({"success": true, "status": "deselected"})));
    watcher.eventually_active(&room, &[]).await;
}

#[tokio::test]
async fn locking_answers_with_a_fence_and_unlocking_frees() {
    let (_redis, gateway, room) = served().await;
    let rest = LegacyPage::of(&gateway);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let locked = rest.rest_post("/slots/lock", slot(&room, SLOT, "old")).await;
    assert_eq!(locked.status, 200, "{locked:?}");
    assert_eq!((&locked.json["success"], &locked.json["status"]), (&json!(true), &json!("locked")));
    let fence = locked.json["fence"].as_u64().unwrap();
    watcher.eventually_locked(&room, &[SLOT]).await;
    rest.rest_post("/slots/lock", slot(&room, SLOT, "another")).await.assert_rest_error(409, "slot_locked");
    let refused = rest.rest_post("/slots/unlock", slot(&room, SLOT, "another")).await;
    assert_eq!(refused.json["code"], "not_owner", "{refused:?}");
    assert!((400..500).contains(&refused.status));

    let unlocked = rest.rest_post("/slots/unlock", slot(&room, SLOT, "old")).await;
    assert_eq!((unlocked.status, &unlocked.json["status"]), (200, &json!("unlocked")));
    watcher.eventually_locked(&room, &[]).await;
    let gone = rest.rest_post("/slots/unlock", slot(&room, SLOT, "old")).await;
    assert_eq!(gone.json["code"], "lock_lost", "{gone:?}");
    let again = rest.rest_post("/slots/lock", slot(&room, SLOT, "another")).await;
    assert!(again.json["fence"].as_u64().unwrap() > fence);
}

#[tokio::test]
async fn a_poll_leaves_the_callers_own_selection_out_and_selections_do_not() {
    let (_redis, gateway, room) = served().await;
    let rest = LegacyPage::of(&gateway);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    watcher.select(&room, "11:00").await.assert_ok("selected");
    watcher.lock(&room, "12:00").await.assert_ok("locked");
    rest.rest_post("/slots/select", slot(&room, SLOT, "old")).await;
    watcher.eventually_active(&room, &[SLOT, "11:00"]).await;
    let query =
        [("date", room.date.as_str()), ("employee_id", "3"), ("client_id", "old"), ("selected_time", SLOT)];
    let poll = rest.rest_get("/slots/poll", &query).await;
    assert_eq!(poll.status, 200, "{poll:?}");
    assert_eq!(poll.json["active_selections"], json!(["11:00"]), "{poll:?}");
    assert_eq!(poll.json["locked_slots"], json!(["12:00"]), "{poll:?}");
    assert_eq!(poll.json["booked_slots"], json!([]), "{poll:?}");
    assert!(poll.json.get("timestamp").is_some(), "{poll:?}");

    let everybodys = rest.rest_get("/selections", &query[..2]).await;
    assert_eq!((everybodys.status, &everybodys.json), (200, &json!({"selections": [SLOT, "11:00"]})));
}

#[tokio::test]
async fn a_client_is_the_same_by_rest_and_by_push() {
    let (_redis, gateway, room) = served().await;
    let rest = LegacyPage::of(&gateway);
    let page = Page::watching(&gateway, "alice", &room).await;
    rest.rest_post("/slots/select", slot(&room, SLOT, "alice")).await;
    page.eventually_active(&room, &[SLOT]).await;
    page.select(&room, SLOT).await.assert_ok("selected");
    page.select(&room, "11:00").await.assert_ok("selected");
    page.eventually_active(&room, &["11:00"]).await;
    let answer = rest.rest_post("/slots/deselect", slot(&room, "11:00", "alice")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    page.eventually_active(&room, &[]).await;
}

#[tokio::test]
async fn a_deselect_without_a_client_is_for_its_address() {
    let (_redis, gateway, room) = served().await;
    let home = LegacyPage::of(&gateway).from_address("203.0.113.7");
    let away = LegacyPage::of(&gateway).from_address("203.0.113.8");
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    home.rest_post("/slots/select", slot(&room, SLOT, "old")).await;
    watcher.eventually_active(&room, &[SLOT]).await;
    away.rest_post("/slots/deselect", room.fields(&[("time", SLOT)])).await;
    watcher.settle().await;
    assert!(watcher.view(&room).active.contains(SLOT));
    home.rest_post("/slots/deselect", room.fields(&[("time", SLOT)])).await;
    watcher.eventually_active(&room, &[]).await;
}

#[tokio::test]
async fn wrong_values_are_named_in_wordpress_form() {
    let (_redis, gateway, room) = served().await;
    let rest = LegacyPage::of(&gateway);
    let wrong = [
        ("date", json!(in_days(402)), "invalid_date"),
        ("date", json!("2030-02-30"), "invalid_date"),
        ("employee_id", json!(0), "invalid_employee"),
        ("employee_id", json!("8388608"), "invalid_employee"),
        ("time", json!("25:00"), "invalid_time"),
        ("client_id", json!("a b"), "invalid_client"),
        ("client_id", json!("u_7"), "invalid_client"),
        ("client_id", json!("reschedule_7"), "invalid_client"),
    ];
    for path in ["/slots/select", "/slots/lock", "/slots/unlock", "/slots/deselect"] {
        for (field, value, code) in &wrong {
            let mut body = slot(&room, SLOT, "old");
            body[field] = value.clone();
            let answer = rest.rest_post(path, body).await;
            println!("{path} {field} {value}: {}", answer.body);
            answer.assert_rest_error(400, code);
        }
    }
    let poll = rest.rest_get("/slots/poll", &[("date", "x"), ("employee_id", "3")]).await;
    poll.assert_rest_error(400, "invalid_date");
    let selections = rest.rest_get("/selections", &[("date", &room.date), ("employee_id", "-1")]).await;
    selections.assert_rest_error(400, "invalid_employee");
}

#[tokio::test]
async fn what_is_no_request_gets_an_error_and_not_a_crash() {
    let (_redis, mut gateway, room) = served().await;
    let rest = LegacyPage::of(&gateway);
    let select = "/wp-json/appointease/v1/slots/select";
    for body in ["", "not json", "[]", "7", "null", "{}", "{\"date\":{}}"] {
        let answer = rest.send(Method::POST, select, "application/json", body.into()).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.json["code"].is_string(), "{body}: {answer:?}");
    }
    let deep = format!("{{\"date\":{}", "[".repeat(50_000));
    assert_eq!(rest.send(Method::POST, select, "application/json", deep).await.status, 400);
    let large = format!("{{\"date\":\"{}\"}}", "x".repeat(4 << 20));
    let head =
        format!("POST {select} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", gateway.addr());
    let request = format!("{head}Content-Length: {}\r\n\r\n{large}", large.len());
    // The answer may be lost to the reset that follows an unread body.
    let status = raw_http(gateway.addr(), request.as_bytes(), PATIENCE).await.status;
    assert!([0, 400, 413].contains(&status), "{status}");
    assert!([404, 405].contains(&rest.get(select).await.status));
    assert_eq!(rest.rest_get("/no/such/thing", &[]).await.status, 404);
    assert_eq!(rest.rest_post("/slots/select", slot(&room, SLOT, "old")).await.status, 200);
    gateway.assert_alive();
}

#[tokio::test]
async fn without_a_store_writes_are_refused_and_reads_answered() {
    let (mut redis, gateway, room) = served().await;
    let rest = LegacyPage::of(&gateway);
    let query = [("date", room.date.as_str()), ("employee_id", "3")];
    assert_eq!(rest.rest_get("/selections", &query).await.status, 200);
    redis.kill().await;
    gateway.eventually_readyz(503).await;
    let refused = rest.rest_post("/slots/select", slot(&room, SLOT, "old")).await;
    refused.assert_rest_error(503, "store_unavailable");
    assert_eq!(rest.rest_get("/selections", &query).await.json, json!({"selections": []}));
}

#[tokio::test]
async fn an_image_on_a_foreign_page_holds_nothing_by_its_visitors_hands() {
    let (gateway, room) = (Gateway::start().await, Room::tomorrow_of(3));
    for (site, client, held) in [
        ("cross-site", "ann", json!([])),
        ("same-site", "bob", json!([])),
        ("same-origin", "cid", json!([SLOT])),
        ("none", "cid", json!([SLOT])),
    ] {
        let page = LegacyPage::of(&gateway).with_header("sec-fetch-site", site);
        let query = [("date", room.date.as_str()), ("employee_id", "3"), ("client_id", client)];
        let poll = page.rest_get("/slots/poll", &[&query[..], &[("selected_time", SLOT)]].concat()).await;
        assert_eq!(poll.status, 200, "{poll:?}");
        let seen = page.rest_get("/selections", &query).await;
        assert_eq!(seen.json["selections"], held, "{site}");
    }
}
