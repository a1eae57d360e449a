//! The legacy protocol by WordPress' heartbeat: the form, the same as JSON, and the same as a frame on `/ws`.

use std::time::Duration;

use serde_json::{Value, json};
use support::{Gateway, LegacyPage, Page, RedisServer, Room, eventually, holds_for};
use tokio_tungstenite::tungstenite::http::Method;

const SLOT: &str = "10:00";
const STATUS_FIELDS: [&str; 3] = ["redis_status", "server_time", "storage_mode"];
const POLL_FIELDS: [&str; 8] = [
    "appointease_active_selections",
    "appointease_booked_slots",
    "appointease_locked_slots",
    "cache_info",
    "redis_ops",
    "redis_status",
    "server_time",
    "storage_mode",
];

async fn served() -> (RedisServer, Gateway, Room) {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    (redis, gateway, Room::tomorrow_of(3))
}

fn assert_status_fields(reply: &Value) {
    assert_eq!((&reply["redis_status"], &reply["storage_mode"]), (&json!("available"), &json!("redis")));
    assert!(reply["server_time"].as_u64().is_some_and(|seconds| seconds > 1_700_000_000), "{reply}");
}

#[tokio::test]
async fn a_poll_is_answered_in_the_plugins_shape() {
    let (_redis, gateway, room) = served().await;
    let legacy = LegacyPage::of(&gateway);
    let answer = legacy.heartbeat(json!({"appointease_poll": room.fields(&[])})).await;
    assert_eq!(answer.status, 200);
    let content_type = answer.headers["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("application/json"), "{content_type}");
    for field in POLL_FIELDS {
        assert!(answer.fields().contains(&field), "no {field} in {}", answer.body);
    }
    assert_status_fields(&answer.json);
    for list in ["appointease_active_selections", "appointease_booked_slots", "appointease_locked_slots"] {
        assert_eq!(answer.json[list], json!([]), "{list}");
    }
    for field in ["locks", "selections", "user_selection"] {
        assert!(answer.json["redis_ops"].get(field).is_some(), "no redis_ops.{field} in {}", answer.body);
    }
    assert_eq!(answer.json["cache_info"]["redis_enabled"], true);
    assert_eq!(answer.json["cache_info"]["storage_mode"], "redis");
    assert!(answer.json["cache_info"].get("timestamp").is_some());
}

#[tokio::test]
async fn form_json_and_frame_are_one_protocol() {
    let (_redis, gateway, room) = served().await;
    let (legacy, push) = (LegacyPage::of(&gateway), Page::watching(&gateway, "pusher", &room).await);
    push.select(&room, SLOT).await.assert_ok("selected");
    push.lock(&room, "11:00").await.assert_ok("locked");
    push.eventually_locked(&room, &["11:00"]).await;
    let data = json!({"appointease_poll": room.fields(&[("client_id", "old")])});

    let page = Page::open(&gateway).await;
    page.send_raw(json!({"action": "heartbeat", "data": data}).to_string());
    let form = format!(
        "action=heartbeat&data%5Bappointease_poll%5D%5Bdate%5D={}&data%5Bappointease_poll%5D%5Bemployee_id%5D=3",
        room.date
    );
    let form_type = "application/x-www-form-urlencoded";
    let body = json!({"action": "heartbeat", "data": data}).to_string();
    for reply in [
        legacy.heartbeat(data.clone()).await.json,
        legacy.heartbeat_json(data.clone()).await.json,
        legacy.send(Method::POST, "/slotcast/heartbeat", form_type, form).await.json,
        legacy
            .send(Method::POST, "/wp-admin/admin-ajax.php", "application/json; charset=UTF-8", body)
            .await
            .json,
        page.eventually_legacy(0).await,
    ] {
        assert_status_fields(&reply);
        assert_eq!(reply["appointease_active_selections"], json!([SLOT]), "{reply}");
        assert_eq!(reply["appointease_locked_slots"], json!(["11:00"]), "{reply}");
        assert_eq!(reply["appointease_booked_slots"], json!([]), "{reply}");
    }
}

#[tokio::test]
async fn a_frame_may_be_the_data_alone() {
    let (_redis, gateway, room) = served().await;
    let page = Page::open(&gateway).await;
    let select = room.fields(&[("time", SLOT), ("client_id", "old")]);
    page.send_raw(json!({"appointease_select": select, "appointease_poll": room.fields(&[])}).to_string());
    let reply = page.eventually_legacy(0).await;
    assert_status_fields(&reply);
    assert_eq!(reply["appointease_select"]["status"], "selected", "{reply}");
    assert_eq!(reply["appointease_active_selections"], json!([SLOT]), "{reply}");
}

#[tokio::test]
async fn selecting_and_deselecting_by_form_is_seen_by_push() {
    let (_redis, gateway, room) = served().await;
    let legacy = LegacyPage::of(&gateway);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let selected = legacy.select(&room, SLOT, "old").await;
    assert_eq!(selected, json!({"success": true, "status": "selected", "storage": "redis"}));
    watcher.eventually_active(&room, &[SLOT]).await;

    let refused = legacy.select(&room, SLOT, "another").await;
    assert!(refused["error"].is_string() && refused["status"].is_string(), "{refused}");
    assert!(refused.get("success").is_none_or(|success| success == false), "{refused}");
    watcher.select(&room, SLOT).await.assert_error("slot_locked");

    legacy.select(&room, "11:00", "old").await;
    watcher.eventually_active(&room, &["11:00"]).await;
    let refused = legacy.deselect(&room, "11:00", Some("another")).await;
    assert!(refused["error"].is_string(), "{refused}");
    let deselected = legacy.deselect(&room, "11:00", Some("old")).await;
    assert_eq!((&deselected["success"], &deselected["status"]), (&json!(true), &json!("deselected")));
    watcher.eventually_active(&room, &[]).await;
}

#[tokio::test]
async fn a_poll_lists_the_callers_selection_but_not_its_lock() {
    let (_redis, gateway, room) = served().await;
    let legacy = LegacyPage::of(&gateway);
    legacy.select(&room, SLOT, "old").await;
    let page = Page::of(&gateway, "old").await;
    page.lock(&room, "12:00").await.assert_ok("locked");
    let own = legacy.poll(&room, &[("client_id", "old"), ("time", SLOT)]).await;
    assert_eq!(own["appointease_active_selections"], json!([SLOT]), "{own}");
    assert_eq!(own["appointease_locked_slots"], json!([]), "{own}");
    let others = legacy.poll(&room, &[("client_id", "another")]).await;
    assert_eq!(others["appointease_active_selections"], json!([SLOT]), "{others}");
    assert_eq!(others["appointease_locked_slots"], json!(["12:00"]), "{others}");
}

#[tokio::test]
async fn a_poll_with_a_time_takes_a_free_slot_unless_the_client_chose_a_newer_one() {
    let (_redis, gateway, room) = served().await;
    let legacy = LegacyPage::of(&gateway);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let reply = legacy.poll(&room, &[("client_id", "old"), ("selected_time", SLOT)]).await;
    assert_eq!(reply["appointease_active_selections"], json!([SLOT]), "{reply}");
    watcher.eventually_active(&room, &[SLOT]).await;

    assert_eq!(legacy.select(&room, "11:00", "old").await["success"], true);
    watcher.eventually_active(&room, &["11:00"]).await;
    let reply = legacy.poll(&room, &[("client_id", "old"), ("time", SLOT)]).await;
    assert_eq!(reply["appointease_active_selections"], json!(["11:00"]), "{reply}");
    watcher.select(&room, "12:00").await.assert_ok("selected");
    let reply = legacy.poll(&room, &[("client_id", "third"), ("time", "12:00")]).await;
    assert_eq!(reply["appointease_active_selections"], json!(["11:00", "12:00"]), "{reply}");
    watcher.eventually_active(&room, &["11:00", "12:00"]).await;
    watcher.select(&room, "12:00").await.assert_ok("selected");
}

#[tokio::test]
async fn a_poll_without_a_client_renews_what_its_address_selected_and_nothing_else() {
    let (_redis, gateway, room) = served().await;
    let other = Room::tomorrow_of(4);
    let home = LegacyPage::of(&gateway).from_address("203.0.113.7");
    let away = LegacyPage::of(&gateway).from_address("203.0.113.8");
    home.select(&room, SLOT, "old").await;
    home.select(&other, SLOT, "old").await;
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    watcher.subscribe(&other).await;
    let polling = async {
        let mut beat = tokio::time::interval(Duration::from_secs(3));
        loop {
            beat.tick().await;
            home.poll(&room, &[("time", SLOT)]).await;
            away.poll(&other, &[("time", SLOT)]).await;
        }
    };
    let watching = async {
        holds_for("renewed", Duration::from_secs(14), async || watcher.view(&room).active.contains(SLOT))
            .await;
        watcher.eventually_active(&other, &[]).await;
    };
    tokio::select! { () = polling => {}, () = watching => {} }
}

#[tokio::test]
async fn a_deselect_without_a_client_is_for_its_address_and_for_phps_own() {
    let (redis, gateway, room) = served().await;
    let home = LegacyPage::of(&gateway).from_address("203.0.113.7");
    let away = LegacyPage::of(&gateway).from_address("203.0.113.8");
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    home.select(&room, SLOT, "old").await;
    redis.php().await.select(&room, "11:00", "wp_1").await;
    watcher.eventually_active(&room, &[SLOT, "11:00"]).await;
    away.deselect(&room, SLOT, None).await;
    away.deselect(&room, "11:00", None).await;
    watcher.eventually_active(&room, &[SLOT]).await;
    home.deselect(&room, SLOT, None).await;
    watcher.eventually_active(&room, &[]).await;
}

#[tokio::test]
async fn a_poll_without_a_room_gets_the_status_alone() {
    let (_redis, gateway, room) = served().await;
    let legacy = LegacyPage::of(&gateway);
    for data in [
        json!({"appointease_poll": {"date": room.date}}),
        json!({"appointease_poll": {"employee_id": 3}}),
        json!({"appointease_poll": {"date": "", "employee_id": "", "client_id": ""}}),
    ] {
        let answer = legacy.heartbeat(data).await;
        assert_eq!((answer.status, answer.fields()), (200, STATUS_FIELDS.to_vec()), "{}", answer.body);
        assert_status_fields(&answer.json);
    }
    let answer = legacy.heartbeat(json!({})).await;
    assert_eq!(answer.status, 200, "a beat with nothing in it");
    assert_status_fields(&answer.json);
}

#[tokio::test]
async fn empty_fields_are_absent_ones() {
    let (_redis, gateway, room) = served().await;
    let fields = [("client_id", ""), ("time", ""), ("selected_time", ""), ("exclude_appointment_id", "")];
    let reply = LegacyPage::of(&gateway).poll(&room, &fields).await;
    assert_eq!(reply["appointease_active_selections"], json!([]), "{reply}");
}

#[tokio::test]
async fn a_slow_page_in_front_is_brought_back_to_speed() {
    let (_redis, gateway, room) = served().await;
    let legacy = LegacyPage::of(&gateway);
    for (interval, focus, wanted) in
        [("60", "true", json!(5)), ("60", "false", json!(null)), ("5", "true", json!(null))]
    {
        let data = json!({"appointease_poll": room.fields(&[])});
        let answer = legacy.heartbeat_with(data, &[("interval", interval), ("has_focus", focus)]).await;
        assert_eq!(answer.json["heartbeat_interval"], wanted, "{interval} {focus}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_is_not_ours_is_refused_as_wordpress_refuses_it() {
    let (_redis, gateway, room) = served().await;
    let legacy = LegacyPage::of(&gateway);
    for form in ["action=something_else", "", "data%5Bappointease_poll%5D%5Bdate%5D=x"] {
        let form_type = "application/x-www-form-urlencoded";
        let answer = legacy.send(Method::POST, "/wp-admin/admin-ajax.php", form_type, form.into()).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, "0"), "{form}");
    }
    for action in ["get_user_data", "reschedule_appointment"] {
        let answer = legacy.heartbeat(json!({"appointease_booking": {"action": action}})).await;
        let reply = &answer.json["appointease_booking"];
        assert_eq!(reply["status"], "unsupported", "{}", answer.body);
        assert!(reply["error"].is_string());
    }
    let bad = legacy.heartbeat(
        json!({"appointease_select": {"date": "x", "time": SLOT, "employee_id": 3, "client_id": "old"}}),
    );
    let answer = bad.await;
    assert_eq!(answer.status, 200);
    assert!(answer.json["appointease_select"]["error"].is_string(), "{}", answer.body);
    assert_eq!(legacy.poll(&room, &[]).await["appointease_active_selections"], json!([]));
}

#[tokio::test]
async fn nobody_is_told_whose_a_hold_is() {
    let (_redis, gateway, room) = served().await;
    let legacy = LegacyPage::of(&gateway);
    legacy.select(&room, SLOT, "old-5ecret").await;
    for fields in [&[][..], &[("client_id", "another")], &[("client_id", "another"), ("time", SLOT)]] {
        let reply = legacy.poll(&room, fields).await.to_string();
        assert!(!reply.contains("old-5ecret"), "{reply}");
    }
    let refused = legacy.select(&room, SLOT, "another").await.to_string();
    assert!(!refused.contains("old-5ecret"), "{refused}");
}

#[tokio::test]
async fn while_redis_is_away_polls_are_answered_and_stale() {
    let (mut redis, gateway, room) = served().await;
    let legacy = LegacyPage::of(&gateway);
    redis.php().await.select(&room, SLOT, "wp_1").await;
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    watcher.eventually_active(&room, &[SLOT]).await;
    redis.kill().await;
    let reply = eventually("stale", support::PATIENCE, async || {
        Some(legacy.poll(&room, &[]).await).filter(|reply| reply["stale"] == true)
    })
    .await;
    assert_eq!(reply["redis_status"], "unavailable", "{reply}");
    assert_eq!(reply["appointease_active_selections"], json!([SLOT]), "{reply}");
    let refused = legacy.select(&room, "11:00", "old").await;
    assert!(refused["error"].is_string(), "{refused}");
}

#[tokio::test]
async fn the_memory_store_is_named_and_redis_is_unavailable() {
    let gateway = Gateway::start().await;
    let reply = LegacyPage::of(&gateway).poll(&Room::tomorrow_of(3), &[]).await;
    assert_eq!((&reply["storage_mode"], &reply["redis_status"]), (&json!("memory"), &json!("unavailable")));
}

#[tokio::test]
async fn the_legacy_paths_can_be_closed() {
    let gateway = Gateway::builder().with("legacy.enabled", false).start().await;
    let (legacy, room) = (LegacyPage::of(&gateway), Room::tomorrow_of(3));
    let data = json!({"appointease_poll": room.fields(&[])});
    assert_eq!(legacy.heartbeat(data.clone()).await.status, 404);
    assert_eq!(legacy.heartbeat_json(data.clone()).await.status, 404);
    assert_eq!(
        legacy.rest_get("/selections", &[("date", &room.date), ("employee_id", "3")]).await.status,
        404
    );
    let page = Page::of(&gateway, "alice").await;
    page.send_raw(json!({"action": "heartbeat", "data": data, "id": "beat"}).to_string());
    page.reply("beat").await.assert_kind("error");
}

#[tokio::test]
async fn pages_that_only_poll_show_too_that_their_proxy_is_not_trusted() {
    let mut gateway = Gateway::builder().with("server.trusted_proxies", "192.0.2.1").start().await;
    let room = Room::tomorrow_of(3);
    let poll = json!({"appointease_poll": room.fields(&[])});
    let forwarded = LegacyPage::of(&gateway).from_address("203.0.113.7");
    for _ in 0..2 {
        assert_eq!(forwarded.heartbeat(poll.clone()).await.status, 200);
        let query = [("date", room.date.as_str()), ("employee_id", "3")];
        assert_eq!(forwarded.rest_get("/slots/poll", &query).await.status, 200);
    }
    gateway.terminate().await;
    gateway.logs().eventually_event("stopped").await;
    assert_eq!(gateway.log_events("proxy_not_trusted").len(), 1, "at most once a minute");
}
