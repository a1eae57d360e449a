//! `security.mode = "token"`: a page is who its token says, where it says, and for as long as it says.

use std::time::Duration;

use serde_json::{Value, json};
use support::{
    Gateway, GatewayBuilder, KEY, LEEWAY_SECS, LegacyPage, Page, Reply, Room, SECRET, holds_for,
    run_slotcast, sign_token, token_for,
};

const NOT_AUTHORIZED: Option<u16> = Some(4401);

fn with_key() -> GatewayBuilder {
    Gateway::builder().with("security.token_keys", format!("{KEY}:{SECRET}"))
}

async fn guarded() -> Gateway {
    with_key().with("security.mode", "token").start().await
}

async fn hello(page: &Page, token: &str) -> Reply {
    page.ask(json!({"type": "hello", "token": token})).await
}

async fn arrived(gateway: &Gateway, token: &str) -> Page {
    let page = Page::open(gateway).await;
    hello(&page, token).await.assert_kind("welcome");
    page
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[tokio::test]
async fn nothing_is_done_before_a_hello_with_a_token_and_who_has_none_must_leave() {
    let gateway = guarded().await;
    let (page, room) = (Page::open(&gateway).await, Room::tomorrow_of(3));
    let frames = [
        room.frame("subscribe"),
        room.frame("availability"),
        room.slot_frame("select", "10:00"),
        room.slot_frame("lock", "10:00"),
        room.confirm_frame("10:00", "a"),
        json!({"type": "ping"}),
        json!({"action": "heartbeat", "data": {"appointease_poll": room.fields(&[])}}),
        json!({"type": "hello"}),
        json!({"type": "hello", "client_id": "alice"}),
        json!({"type": "hello", "client_id": "alice", "token": ""}),
    ];
    let ids = frames.map(|frame| page.send(frame));
    for id in &ids {
        page.reply(id).await.assert_error("unauthorized");
    }
    page.ask(json!({"type": "hello", "client_id": "u_5"})).await.assert_error("invalid_client");
    assert_eq!(page.eventually_closed().await, NOT_AUTHORIZED);
    let silent = Page::open(&gateway).await;
    assert_eq!(silent.eventually_closed().await, NOT_AUTHORIZED);
    let page = arrived(&gateway, &token_for("bob", 600)).await;
    assert_eq!(page.subscribe(&room).await.0["active"], json!([]), "nothing was selected");
    page.select(&room, "10:00").await.assert_ok("selected");
    // Longer than who shows no token may stay.
    holds_for("a page with a token stays", Duration::from_secs(8), async || page.closed().is_none()).await;
    page.settle().await;
}

#[tokio::test]
async fn slotcast_token_prints_a_token_that_opens() {
    let gateway = guarded().await;
    let key = format!("{KEY}:{SECRET},k2:of another time");
    let command = ["token", "--client-id", "u_5", "--ttl-secs", "60"];
    let made = run_slotcast(&command, &[("SLOTCAST_SECURITY_TOKEN_KEYS", &key)]).await;
    let text = String::from_utf8(made.stdout).expect("text");
    assert!(made.status.success() && made.stderr.is_empty() && text.lines().count() == 1, "{text}");
    let page = Page::open(&gateway).await;
    let welcome = hello(&page, text.trim()).await.assert_kind("welcome");
    assert_eq!(welcome.text("client_id"), "u_5");
    let named = json!({"type": "hello", "client_id": "u_5", "token": text.trim()});
    Page::open(&gateway).await.ask(named).await.assert_kind("welcome");
    let (url, tomorrow) = (gateway.ws_url(), Room::tomorrow_of(1).date);
    let token = ["--token", text.trim()];
    // What is asked with a token is looked at.
    for (date, token, words) in
        [(tomorrow.as_str(), &[][..], "not authorized"), ("2000-01-01", &token, "date must be")]
    {
        let watch = [&["watch", "--url", &url, "--employee-id", "1", "--date", date], token].concat();
        let ended = String::from_utf8(run_slotcast(&watch, &[]).await.stderr).expect("text");
        assert!(ended.contains(words), "{ended}");
    }
    let refused = run_slotcast(&command, &[]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stdout.is_empty() && String::from_utf8_lossy(&refused.stderr).contains("token_keys"));
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_opens_nothing() {
    let gateway = guarded().await;
    let header = json!({"alg": "HS256", "kid": KEY});
    let claims = |more: Value| {
        let mut claims = json!({"sub": "alice", "exp": now() + 600});
        for (name, value) in more.as_object().expect("fields") {
            claims[name] = value.clone();
        }
        claims
    };
    let page = Page::open(&gateway).await;
    for (header, claims, secret) in [
        (&header, claims(json!({"exp": now() - LEEWAY_SECS - 5})), SECRET),
        (&header, claims(json!({"nbf": now() + LEEWAY_SECS + 600})), SECRET),
        (&header, claims(json!({})), "another secret"),
        (&json!({"alg": "HS256", "kid": "k2"}), claims(json!({})), SECRET),
        (&json!({"alg": "HS256"}), claims(json!({})), SECRET),
        (&json!({"alg": "none", "kid": KEY}), claims(json!({})), SECRET),
        (&json!({"alg": "HS512", "kid": KEY}), claims(json!({})), SECRET),
    ] {
        hello(&page, &sign_token(header, &claims, secret)).await.assert_error("unauthorized");
    }
    let unsigned = sign_token(&json!({"alg": "none", "kid": KEY}), &claims(json!({})), SECRET);
    let (message, _) = unsigned.rsplit_once('.').expect("three parts");
    hello(&page, &format!("{message}.")).await.assert_error("unauthorized");
    let of_another = json!({"type": "hello", "client_id": "alice", "token": token_for("bob", 600)});
    page.ask(of_another).await.assert_error("unauthorized");

    let endless = Page::open(&gateway).await;
    endless.send(json!({"type": "hello", "token": "a".repeat(100_000)}));
    assert_eq!(endless.eventually_closed().await, Some(1009));
    let page = arrived(&gateway, &token_for("bob", 600)).await;
    hello(&page, &token_for("alice", 600)).await.assert_error("bad_request");
    page.settle().await;
    for line in gateway.logs().lines() {
        assert!(!line.contains("eyJ") && !line.contains(SECRET), "{line}");
    }
}

#[tokio::test]
async fn a_token_ends_the_connection_with_itself_unless_a_fresh_one_is_shown_in_time() {
    let gateway = guarded().await;
    let room = Room::tomorrow_of(3);
    let (left, prolonged) = (
        arrived(&gateway, &token_for("left", 12)).await,
        arrived(&gateway, &token_for("prolonged", 12)).await,
    );
    for (page, time) in [(&left, "10:00"), (&prolonged, "11:00")] {
        page.subscribe(&room).await;
        page.select(&room, time).await.assert_ok("selected");
    }
    hello(&prolonged, "nonsense").await.assert_error("unauthorized");
    hello(&prolonged, &token_for("left", 600)).await.assert_error("bad_request");
    hello(&prolonged, &token_for("prolonged", 600)).await.assert_kind("welcome");
    assert_eq!(left.closed_within(Duration::from_secs(30)).await, NOT_AUTHORIZED);
    prolonged.eventually_active(&room, &["11:00"]).await;
    prolonged.settle().await;
    prolonged.assert_open();
}

#[tokio::test]
async fn a_scope_keeps_a_page_in_its_rooms() {
    let gateway = guarded().await;
    let (room, other) = (Room::tomorrow_of(3), Room::in_days_of(2, 4));
    let scoped = |rooms: Value| {
        let claims = json!({"sub": "alice", "exp": now() + 600, "rooms": rooms});
        sign_token(&json!({"alg": "HS256", "kid": KEY}), &claims, SECRET)
    };
    let both = scoped(json!([{"date": room.date, "employee_id": 3}, {"employee_id": 4}]));
    let page = arrived(&gateway, &both).await;
    page.subscribe(&room).await;
    page.select(&other, "10:00").await.assert_ok("selected");
    for outside in [Room::tomorrow_of(5), Room::in_days_of(2, 3)] {
        page.ask(outside.frame("subscribe")).await.assert_error("unauthorized");
        page.select(&outside, "10:00").await.assert_error("unauthorized");
        page.ask(outside.confirm_frame("10:00", "a")).await.assert_error("unauthorized");
        page.ask(outside.frame("availability")).await.assert_error("unauthorized");
    }
    let poll = json!({"data": {"appointease_poll": room.fields(&[])}});
    page.ask(poll).await.assert_error("unauthorized");
    page.settle().await;
    // A narrower token takes away what it does not name.
    hello(&page, &scoped(json!([{"employee_id": 4}]))).await.assert_kind("welcome");
    page.sync(&room).await.assert_error("unauthorized");
    hello(&page, &both).await.assert_kind("welcome");
    page.sync(&room).await.assert_error("not_subscribed");
}

#[tokio::test]
async fn keys_are_changed_while_both_are_known() {
    let keys = format!("new:{SECRET}-new,{KEY}:{SECRET}");
    let gateway =
        Gateway::builder().with("security.mode", "token").with("security.token_keys", &keys).start().await;
    arrived(&gateway, &token_for("alice", 600)).await.settle().await;
    let made =
        run_slotcast(&["token", "--client-id", "bob"], &[("SLOTCAST_SECURITY_TOKEN_KEYS", &keys)]).await;
    let of_new = String::from_utf8(made.stdout).expect("text");
    arrived(&gateway, of_new.trim()).await.settle().await;
    hello(&Page::open(&guarded().await).await, of_new.trim()).await.assert_error("unauthorized");
}

#[tokio::test]
async fn old_pages_may_not_name_a_client_that_needs_a_token() {
    let room = Room::tomorrow_of(3);
    for mode in ["open", "token"] {
        let gateway = with_key().with("security.mode", mode).start().await;
        let legacy = LegacyPage::of(&gateway);
        assert_eq!(legacy.select(&room, "10:00", "u_5").await["status"], "invalid_client", "{mode}");
        assert_eq!(legacy.deselect(&room, "10:00", Some("u_5")).await["status"], "invalid_client");
        assert_eq!(legacy.poll(&room, &[("client_id", "u_5")]).await["status"], "invalid_client");
        for path in ["/slots/select", "/slots/deselect", "/slots/lock", "/slots/unlock", "/appointments"] {
            let answer =
                legacy.rest_post(path, room.fields(&[("time", "10:00"), ("client_id", "u_5")])).await;
            answer.assert_rest_error(400, "invalid_client");
        }
        // By any other name they are served.
        assert_eq!(legacy.select(&room, "10:00", "old").await["status"], "selected", "{mode}");
    }
}

#[tokio::test]
async fn a_poll_that_shows_a_token_is_who_the_token_says_and_where_it_says() {
    let (gateway, room) = (guarded().await, Room::tomorrow_of(3));
    let (legacy, token) = (LegacyPage::of(&gateway), token_for("u_5", 600));
    let poll = json!({"appointease_poll": room.fields(&[("client_id", "browser-7"), ("time", "10:00")])});
    let beat =
        async |token: &str| legacy.heartbeat_with(poll.clone(), &[("slotcast_token", token)]).await.json;
    let answer = beat(&token).await;
    assert_eq!(
        (&answer["client_id"], &answer["redis_ops"]["user_selection"]),
        (&json!("u_5"), &json!("10:00"))
    );
    let call = |token: &str| {
        room.fields(&[("time", "10:00"), ("client_id", "browser-7"), ("slotcast_token", token)])
    };
    assert_eq!(legacy.rest_post("/slots/lock", call(&token)).await.json["client_id"], "u_5");
    let same = arrived(&gateway, &token).await;
    same.unlock(&room, "10:00").await.assert_ok("unlocked");

    let rooms = json!([{"employee_id": 4}]);
    let claims = json!({"sub": "u_5", "exp": now() + 600, "rooms": rooms});
    let for_others = sign_token(&json!({"alg": "HS256", "kid": KEY}), &claims, SECRET);
    for refused in ["nonsense", &for_others] {
        let answer = beat(refused).await;
        assert_eq!(answer["status"], "unauthorized", "{answer}");
        assert!(answer["server_time"].is_number(), "{answer}");
        legacy.rest_post("/slots/select", call(refused)).await.assert_rest_error(401, "unauthorized");
    }
    assert_eq!(same.subscribe(&room).await.0["active"], json!([]), "nothing was selected");
}

#[tokio::test]
async fn in_open_mode_a_token_is_what_it_takes_to_be_a_user_of_the_site() {
    let gateway = with_key().start().await;
    let page = Page::open(&gateway).await;
    page.ask(json!({"type": "hello", "client_id": "u_5"})).await.assert_error("invalid_client");
    hello(&page, "nonsense").await.assert_error("unauthorized");
    let welcome = hello(&page, &token_for("u_5", 600)).await.assert_kind("welcome");
    assert_eq!(welcome.text("client_id"), "u_5");
    Page::of(&gateway, "alice").await.settle().await;
    // A gateway without keys cannot tell, and goes by the name.
    let keyless = Gateway::start().await;
    let page = Page::open(&keyless).await;
    page.ask(json!({"type": "hello", "client_id": "u_5", "token": "x"})).await.assert_error("invalid_client");
    page.ask(json!({"type": "hello", "client_id": "bob", "token": "x"})).await.assert_kind("welcome");
}
