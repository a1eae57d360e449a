//! Wrong values in well-formed frames: each gets its error code, none closes the connection or reaches a store.

use serde_json::{Value, json};
use support::{Gateway, Page, RedisServer, Reply, Room, in_days};

const SLOT: &str = "10:00";
const COMMANDS: [&str; 4] = ["select", "deselect", "lock", "unlock"];

/// Sends the frame on a connection of its own, so that no row is judged by the row before.
async fn answer_to(gateway: &Gateway, frame: Value) -> Reply {
    let page = Page::open(gateway).await;
    let reply = page.ask(frame).await;
    page.settle().await;
    reply
}

#[tokio::test]
async fn a_date_is_a_real_day_within_the_window() {
    let gateway = Gateway::start().await;
    let page = Page::of(&gateway, "alice").await;
    // A day inside the borders, so that the test may run over midnight.
    for days in [-1, 0, 399] {
        page.subscribe(&Room::in_days_of(days, 1)).await;
    }
    let (before, after) = (in_days(-4), in_days(402));
    for wrong in [
        &before,
        &after,
        "2030-02-30",
        "2030-2-3",
        "20300203",
        "",
        "tomorrow",
        "2030-01-01T00:00",
        " 2030-01-01",
        "99999-01-01",
    ] {
        for kind in ["subscribe", "select"] {
            let frame = json!({"type": kind, "date": wrong, "employee_id": 1, "time": SLOT});
            page.ask(frame).await.assert_error("invalid_date");
        }
    }
    page.assert_open();
}

#[tokio::test]
async fn an_employee_is_a_number_the_column_holds() {
    let gateway = Gateway::start().await;
    let page = Page::of(&gateway, "alice").await;
    for right in [1, 8_388_607] {
        page.subscribe(&Room::tomorrow_of(right)).await;
    }
    for wrong in [json!(0), json!(8_388_608), json!(-1), json!(9_007_199_254_740_993_u64), json!(u64::MAX)] {
        for kind in ["subscribe", "lock"] {
            let mut frame = Room::tomorrow_of(1).slot_frame(kind, SLOT);
            frame["employee_id"] = wrong.clone();
            page.ask(frame).await.assert_error("invalid_employee");
        }
    }
    page.assert_open();
}

#[tokio::test]
async fn a_time_is_two_digits_each() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let page = Page::of(&gateway, "alice").await;
    for right in ["00:00", "23:59", "10:00:30"] {
        page.select(&room, right).await.assert_ok("selected");
    }
    for wrong in [
        "24:00", "9:00", "10:60", "1000", "", "10:00 ", "10:00\n", "10:00:", "noon", "１0:00", "-1:00",
        "10:00*",
    ] {
        for command in COMMANDS {
            page.ask(room.slot_frame(command, wrong)).await.assert_error("invalid_time");
        }
    }
    page.assert_open();
}

#[tokio::test]
async fn a_client_is_a_short_plain_name_of_its_own() {
    let gateway = Gateway::start().await;
    for right in ["a", "A-Z.a_z:0-9", &"x".repeat(128)] {
        answer_to(&gateway, json!({"type": "hello", "client_id": right})).await.assert_kind("welcome");
    }
    let long = "x".repeat(129);
    for wrong in [
        "",
        &long,
        "a b",
        "a*",
        "a?",
        "a[b]",
        "ä",
        "a\nb",
        "a\u{0}b",
        "a'b",
        "a\"b",
        "a%b",
        "a/b",
        "a\\b",
        "u_7",
        "reschedule_7",
    ] {
        let reply = answer_to(&gateway, json!({"type": "hello", "client_id": wrong})).await;
        println!("{wrong:?}: {}", reply.0);
        reply.assert_error("invalid_client");
    }
}

#[tokio::test]
async fn clients_are_compared_byte_for_byte() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let (upper, lower) = (Page::of(&gateway, "Alice").await, Page::of(&gateway, "alice").await);
    upper.select(&room, SLOT).await.assert_ok("selected");
    lower.select(&room, SLOT).await.assert_error("slot_locked");
    upper.lock(&room, "11:00").await.assert_ok("locked");
    lower.unlock(&room, "11:00").await.assert_error("not_owner");
}

#[tokio::test]
async fn wrong_types_and_missing_fields_are_typed_errors() {
    let gateway = Gateway::start().await;
    let full = Room::tomorrow_of(1).slot_frame("select", SLOT);
    let wrong_types =
        [json!(null), json!(true), json!(1.5), json!([]), json!({}), json!(["x"]), json!({"$gt": ""})];
    for (field, code) in
        [("date", "invalid_date"), ("employee_id", "invalid_employee"), ("time", "invalid_time")]
    {
        let mut missing = full.clone();
        missing.as_object_mut().unwrap().remove(field);
        let wrong = wrong_types.iter().map(|wrong| {
            let mut frame = full.clone();
            frame[field] = wrong.clone();
            frame
        });
        for frame in wrong.chain([missing]) {
            let reply = answer_to(&gateway, frame.clone()).await.assert_kind("error");
            assert!([code, "bad_request"].contains(&reply.text("code")), "{frame}: {}", reply.0);
            assert!(!reply.text("message").is_empty());
        }
    }
    for wrong in [json!(7), json!(true), json!({}), json!([])] {
        let reply =
            answer_to(&gateway, json!({"type": "hello", "client_id": wrong})).await.assert_kind("error");
        assert!(["invalid_client", "bad_request"].contains(&reply.text("code")), "{}", reply.0);
    }
}

#[tokio::test]
async fn an_unknown_type_is_named_so() {
    let gateway = Gateway::start().await;
    for unknown in ["fly", "", "SELECT", "welcome", "snapshot", "select\u{0}"] {
        answer_to(&gateway, json!({"type": unknown})).await.assert_error("unknown_type");
    }
}

#[tokio::test]
async fn an_id_that_is_none_is_a_bad_request() {
    let gateway = Gateway::start().await;
    for wrong in [json!("x".repeat(65)), json!({}), json!([1]), json!(true)] {
        let page = Page::of(&gateway, "alice").await;
        page.send_raw(json!({"type": "ping", "id": wrong}).to_string());
        page.settle().await;
        let errors = page.errors_without_id();
        assert_eq!(errors.len(), 1, "{wrong}: {errors:?}");
        assert_eq!(errors[0]["code"], "bad_request", "{wrong}");
    }
}

#[tokio::test]
async fn refusals_are_not_malformed_frames() {
    let gateway = Gateway::start().await;
    let page = Page::of(&gateway, "alice").await;
    for _ in 0..20 {
        page.select(&Room { date: "never".into(), employee_id: 1 }, SLOT).await.assert_error("invalid_date");
    }
    page.assert_open();
}

#[tokio::test]
async fn no_metacharacter_in_any_string_makes_a_key() {
    let redis = RedisServer::start().await;
    let mut gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let nasty = [
        "*",
        "?",
        "[a-z]",
        "\\",
        "a_b_c",
        "{tag}",
        "\r\nFLUSHALL\r\n",
        "\u{0}",
        "'; DROP TABLE wp_options; --",
        "%s%n",
        "../../etc/passwd",
        "<script>",
        "${jndi:x}",
        "\u{202e}",
        "10:00_11:00",
        "2030-01-01_1_10:00",
    ];
    for text in nasty {
        for command in COMMANDS.into_iter().chain(["subscribe", "unsubscribe", "sync", "hello"]) {
            for field in ["date", "employee_id", "time", "client_id", "token", "exclude_appointment_id"] {
                let mut frame = room.slot_frame(command, SLOT);
                frame[field] = json!(text);
                // Fields that a command does not know may be ignored; whatever is known is refused.
                let reply = answer_to(&gateway, frame.clone()).await;
                let known = match field {
                    "date" | "employee_id" => command != "hello",
                    "time" => COMMANDS.contains(&command),
                    "client_id" => command == "hello" && !text.bytes().all(may_be_in_a_client),
                    _ => false,
                };
                assert!(!known || reply.kind() == "error", "{frame}: {}", reply.0);
                assert!(!reply.0.to_string().contains("FLUSHALL"), "{}", reply.0);
            }
        }
    }
    let keys: Vec<String> = redis.run(&["KEYS", "appointease_[alu]*"]).await;
    let made_of_plain_parts = |key: &String| key.bytes().all(may_be_in_a_client) && key.contains(&room.date);
    assert!(keys.iter().all(made_of_plain_parts), "{keys:?}");
    gateway.assert_alive();
}

fn may_be_in_a_client(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._:-".contains(&byte)
}
