//! SIGHUP: what can change while a gateway runs does, the rest is named, and a broken file changes nothing.

use std::path::PathBuf;

use serde_json::json;
use support::{
    Gateway, KEY, LegacyPage, PATIENCE, Page, RawSocket, Room, SECRET, eventually, raw_http, sign_token,
    token_for,
};
use tempfile::TempDir;

struct File {
    _folder: TempDir,
    path: PathBuf,
}

impl File {
    fn with(text: &str) -> Self {
        let folder = TempDir::with_prefix("slotcast-reload-").expect("a temporary folder");
        let file = Self { path: folder.path().join("slotcast.toml"), _folder: folder };
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).expect("a file");
    }

    async fn gateway(&self) -> Gateway {
        Gateway::builder()
            .with_limits()
            .args(&["--config", self.path.to_str().expect("a path of text")])
            .start()
            .await
    }
}

/// Waits until so many lines of this event were logged, and returns the last.
async fn logged(gateway: &Gateway, event: &str, times: usize) -> serde_json::Value {
    eventually(&format!("{times} × {event}"), PATIENCE, async || {
        let mut events = gateway.log_events(event);
        if events.len() >= times { events.pop() } else { None }
    })
    .await
}

#[tokio::test]
async fn levels_limits_and_origins_change_without_a_restart() {
    let file = File::with("[security]\nmax_connections = 1\n");
    let gateway = file.gateway().await;
    let page = Page::of(&gateway, "alice").await;
    let origin = "Origin: https://www.example.com\r\n";
    assert_eq!(RawSocket::upgrade_status(gateway.addr(), "").await, 503, "one is all that may connect");
    assert_eq!(RawSocket::upgrade_status(gateway.addr(), origin).await, 403);

    file.write(
        "[security]\nmax_connections = 3\nallowed_origins = [\"https://www.example.com\"]\n[log]\nlevel = \"debug\"\n",
    );
    gateway.hang_up();
    let reloaded = logged(&gateway, "config_reloaded", 1).await;
    let changed = "security.allowed_origins,security.max_connections,log.level";
    assert_eq!(reloaded["changed"], changed, "{reloaded}");
    assert!(gateway.log_events("config_reload_needs_restart").is_empty());
    assert_eq!(RawSocket::upgrade_status(gateway.addr(), origin).await, 101);
    page.settle().await;

    gateway.hang_up();
    let again = logged(&gateway, "config_reloaded", 2).await;
    assert_eq!((&again["changed"], &again["message"]), (&"".into(), &"nothing changed".into()), "{again}");

    raw_http(gateway.addr(), b"no HTTP at all\r\n\r\n", PATIENCE).await;
    let line = logged(&gateway, "http_connection_failed", 1).await;
    assert_eq!(line["level"].as_str().unwrap().to_lowercase(), "debug");
}

#[tokio::test]
async fn rates_sizes_rooms_and_the_dashboards_key_change_too() {
    let file = File::with("[security]\nwrites_per_second = 1\nmax_rooms_per_connection = 1\n");
    let gateway = file.gateway().await;
    let room = Room::tomorrow_of(1);
    let page = Page::watching(&gateway, "alice", &room).await;
    page.ask(Room::tomorrow_of(2).frame("subscribe")).await.assert_error("too_many_rooms");
    for _ in 0..4 {
        page.select(&room, "10:00").await;
    }
    page.select(&room, "10:00").await.assert_error("rate_limited");
    let stranger = LegacyPage::of(&gateway)
        .from_address("203.0.113.1")
        .with_header("authorization", "Bearer a key of 16 bytes");
    assert_eq!(stranger.get("/metrics").await.status, 403);

    file.write(
        "[security]\nwrites_per_second = 0\nmax_rooms_per_connection = 2\ndashboard_key = \"a key of 16 bytes\"\n\
         max_head_bytes = 8192\nmax_body_bytes = 1024\nmax_frame_bytes = 1024\n",
    );
    gateway.hang_up();
    logged(&gateway, "config_reloaded", 1).await;
    let long = "x".repeat(12_000);
    let head = format!("GET /livez HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n");
    assert_eq!(raw_http(gateway.addr(), head.as_bytes(), PATIENCE).await.status, 431);
    let sent = LegacyPage::of(&gateway).rest_post("/availability", json!({ "long": long })).await;
    assert_eq!(sent.status, 413, "{sent:?}");
    let large = json!({"type": "ping", "long": &long[..2_000]});
    page.ask(large.clone()).await.assert_kind("pong");
    let newcomer = Page::open(&gateway).await;
    newcomer.send(large);
    assert_eq!(newcomer.eventually_closed().await, Some(1009), "who comes now has the new limit");
    page.select(&room, "10:00").await.assert_ok("selected");
    page.subscribe(&Room::tomorrow_of(2)).await;
    assert_eq!(stranger.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn keys_of_tokens_change_and_who_is_in_stays() {
    let keys = |keys: &str| format!("[security]\nmode = \"token\"\ntoken_keys = [{keys}]\n");
    let (old, new) = (format!("\"{KEY}:{SECRET}\""), format!("\"k2:{SECRET}-too\""));
    let file = File::with(&keys(&old));
    let gateway = file.gateway().await;
    let hello = async |token: &str| {
        let page = Page::open(&gateway).await;
        let reply = page.ask(json!({"type": "hello", "token": token})).await;
        (page, reply)
    };
    let claims = json!({"sub": "bob", "exp": jiff::Timestamp::now().as_second() + 600});
    let of_new = sign_token(&json!({"alg": "HS256", "kid": "k2"}), &claims, &format!("{SECRET}-too"));
    let (page, welcome) = hello(&token_for("alice", 600)).await;
    welcome.assert_kind("welcome");
    hello(&of_new).await.1.assert_error("unauthorized");

    file.write(&keys(&format!("{new}, {old}")));
    gateway.hang_up();
    assert_eq!(logged(&gateway, "config_reloaded", 1).await["changed"], "security.token_keys");
    hello(&of_new).await.1.assert_kind("welcome");
    hello(&token_for("carl", 600)).await.1.assert_kind("welcome");

    file.write(&keys(&new));
    gateway.hang_up();
    logged(&gateway, "config_reloaded", 2).await;
    hello(&token_for("carl", 600)).await.1.assert_error("unauthorized");
    hello(&of_new).await.1.assert_kind("welcome");
    page.subscribe(&Room::tomorrow_of(1)).await;
    assert!(!gateway.logs().lines().concat().contains(SECRET));
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_stays_as_it_is() {
    let file = File::with("");
    let gateway = file.gateway().await;
    file.write("[slots]\nlock_ttl_secs = 60\n[redis]\nurl = \"redis://:hush@127.0.0.1:1\"\n");
    gateway.hang_up();
    let named = logged(&gateway, "config_reload_needs_restart", 1).await;
    assert_eq!(named["keys"], "redis.url,slots.lock_ttl_secs", "{named}");
    let welcome = Page::open(&gateway).await.hello("alice").await;
    assert_eq!((welcome.number("lock_ttl"), welcome.text("storage_mode")), (600, "memory"));
    gateway.hang_up();
    logged(&gateway, "config_reload_needs_restart", 2).await;
    assert!(!gateway.logs().lines().concat().contains("hush"));
}

#[tokio::test]
async fn a_file_that_is_not_usable_changes_nothing() {
    let file = File::with("[security]\nmax_connections = 1\n");
    let gateway = file.gateway().await;
    let page = Page::of(&gateway, "alice").await;
    for (turn, broken) in
        ["[security]\nmax_connections = 2\n[slots]\nday_start = \"soon\"\n", "not toml at all ["]
            .into_iter()
            .enumerate()
    {
        file.write(broken);
        gateway.hang_up();
        let refused = logged(&gateway, "config_refused", turn + 1).await;
        assert_eq!(refused["level"].as_str().unwrap().to_lowercase(), "error", "{refused}");
    }
    assert!(gateway.log_events("config_refused")[0]["error"].as_str().unwrap().contains("slots.day_start"));
    assert_eq!(RawSocket::upgrade_status(gateway.addr(), "").await, 503, "the limit is as it was");
    assert!(gateway.log_events("config_reloaded").is_empty());
    page.settle().await;
}
