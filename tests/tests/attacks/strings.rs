//! What strings can do: line breaks in every field that could reach the log, metacharacters in every one that could reach a
//! store. What comes by frames is in `bad_values`; here is what comes by HTTP.

use serde_json::{Value, json};
use support::PATIENCE;
use support::{Gateway, LegacyPage, Page, RawSocket, RedisServer, Room, raw_http};

/// No line of the log may begin with it, and nothing of it may reach a store.
const MARK: &str = "MALLORY";
const PATHS: [&str; 6] =
    ["/slots/select", "/slots/deselect", "/slots/lock", "/slots/unlock", "/availability", "/appointments"];

fn wicked() -> [String; 7] {
    [
        format!("x\r\n{MARK}"),
        format!("x\n{{\"event\":\"{MARK}\"}}"),
        format!("\u{1b}[2J\u{0}{MARK}\u{2028}{MARK}\u{85}"),
        format!("'; DROP TABLE wp_options; -- {MARK}"),
        format!("\" OR 1=1 /* {MARK}"),
        format!("*[a-z]?{{{MARK}}}\\"),
        format!("\r\nFLUSHALL\r\nSET {MARK} 1\r\n"),
    ]
}

#[tokio::test]
async fn no_string_from_outside_makes_a_line_of_the_log_or_a_key() {
    let redis = RedisServer::start().await;
    let mut gateway = Gateway::builder().redis_at(&redis.url()).with("log.level", "debug").start().await;
    gateway.eventually_ready().await;
    let room = Room::tomorrow_of(1);
    let honest = Page::watching(&gateway, "honest", &room).await;
    honest.select(&room, "15:00").await.assert_ok("selected");
    let old = LegacyPage::of(&gateway);
    for text in wicked() {
        for field in ["date", "employee_id", "time", "client_id", "selected_time", "exclude_appointment_id"] {
            let mut fields = room.fields(&[("time", "10:00"), ("client_id", "mallory")]);
            fields[field] = json!(text);
            let strict = ["date", "employee_id"].contains(&field);
            for path in PATHS {
                let answer = old.rest_post(path, fields.clone()).await;
                assert!(!strict || answer.status == 400, "{path} {fields}: {answer:?}");
            }
            for handle in ["appointease_poll", "appointease_select", "appointease_deselect"] {
                assert_eq!(old.heartbeat(json!({ handle: fields })).await.status, 200);
            }
            let query = [("date", room.date.as_str()), ("employee_id", "1"), (field, text.as_str())];
            old.rest_get("/slots/poll", &query).await;
        }
        // Fields that nobody asked for, and names of fields.
        old.heartbeat(json!({ text.as_str(): {"a": text}, "appointease_poll": {text.as_str(): text} })).await;
        let key =
            json!({"time": "10:00", "idempotency_key": text, "name": text, "email": text, "phone": text});
        old.rest_post("/appointments", merged(&room, &key)).await.assert_rest_error(400, "booking_invalid");
    }
    headers(&gateway).await;
    // Let go of what was rightly asked for with a wrong field that does not count there.
    honest.settle().await;

    let keys: Vec<String> = redis.run(&["KEYS", "*"]).await;
    assert!(keys.iter().any(|key| *key == room.active_key("15:00")), "nothing was flushed: {keys:?}");
    assert!(
        keys.iter().all(|key| !key.contains(MARK) && key.bytes().all(|byte| byte.is_ascii_graphic())),
        "{keys:?}"
    );
    for key in &keys {
        let kind: String = redis.run(&["TYPE", key]).await;
        if kind == "string" {
            let value: String = redis.run(&["GET", key]).await;
            assert!(!value.contains(MARK), "{key}: {value}");
        }
    }
    for line in gateway.logs().lines() {
        let entry: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(
            entry["event"].is_string() && !entry["event"].as_str().unwrap_or_default().contains(MARK),
            "{line}"
        );
        assert!(!line.contains(MARK), "{line}");
    }
    honest.select(&room, "15:30").await.assert_ok("selected");
    gateway.assert_alive();
}

fn merged(room: &Room, more: &Value) -> Value {
    let mut fields = room.fields(&[("client_id", "mallory")]);
    for (name, value) in more.as_object().expect("fields") {
        fields[name] = value.clone();
    }
    fields
}

/// A header cannot hold a line break, but much else; and a head can be anything.
async fn headers(gateway: &Gateway) {
    let odd = format!("\u{9b}2J'\"; {MARK} %0d%0a{MARK} \\r\\n{MARK}");
    for name in
        ["X-Forwarded-For", "X-Forwarded-Host", "User-Agent", "Cookie", "Referer", "X-Idempotency-Key"]
    {
        let status = RawSocket::upgrade_status(gateway.addr(), &format!("{name}: {odd}\r\n")).await;
        assert_eq!(status, 101, "{name} is passed over");
    }
    assert_eq!(RawSocket::upgrade_status(gateway.addr(), &format!("Origin: {odd}\r\n")).await, 403);
    for head in [
        format!("GET /{MARK}%0d%0a{MARK} HTTP/1.1\r\nHost: {MARK}\r\nConnection: close\r\n\r\n"),
        format!("{MARK} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        format!("GET / HTTP/9.9 {MARK}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{MARK} x\r\n\r\n"),
        format!("\u{0}{MARK}\r\n\r\n"),
    ] {
        let answer = raw_http(gateway.addr(), head.as_bytes(), PATIENCE).await;
        assert!((400..500).contains(&answer.status), "{head:?}: {}", answer.text);
        assert!(!answer.text.contains(MARK), "{}", answer.text);
    }
}
