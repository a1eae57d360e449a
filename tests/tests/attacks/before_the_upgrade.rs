//! HTTP before a WebSocket is one: foreign origins, limits, slow and oversized requests, and who is behind a proxy.

use std::time::Duration;

use serde_json::json;
use support::{Gateway, LegacyPage, PATIENCE, Page, RawSocket, Room, eventually, raw_http};
use tokio_tungstenite::tungstenite::http::Method;

#[tokio::test]
async fn only_pages_of_the_same_site_are_let_in() {
    let gateway = Gateway::start().await;
    let (addr, port) = (gateway.addr(), gateway.addr().port());
    let status = async |origin: &str| RawSocket::upgrade_status(addr, &format!("Origin: {origin}\r\n")).await;
    assert_eq!(RawSocket::upgrade_status(addr, "").await, 101, "no origin is no browser");
    assert_eq!(status(&format!("http://{addr}")).await, 101);
    for foreign in [
        "https://evil.example".to_owned(),
        "null".into(),
        format!("http://127.0.0.1.evil.example:{port}"),
        format!("http://evil.example/?http://{addr}"),
        "http://".into(),
        "*".into(),
    ] {
        assert_eq!(status(&foreign).await, 403, "{foreign}");
    }
}

#[tokio::test]
async fn another_sites_page_holds_nothing_by_its_visitors_hands() {
    let gateway = Gateway::builder().with("security.allowed_origins", "https://shop.example").start().await;
    let room = Room::tomorrow_of(3);
    let from = |origin: &str| LegacyPage::of(&gateway).with_header("origin", origin);
    for foreign in ["https://evil.example", "null"] {
        let select = room.fields(&[("time", "10:00"), ("client_id", "victim")]);
        from(foreign).rest_post("/slots/select", select.clone()).await.assert_rest_error(403, "unauthorized");
        let beat = from(foreign).heartbeat(json!({ "appointease_select": select })).await;
        assert_eq!(beat.status, 403, "{beat:?}");
    }
    for (own, time) in [(gateway.http_url(), "11:00"), ("https://shop.example".to_owned(), "12:00")] {
        let select = room.fields(&[("time", time), ("client_id", "customer")]);
        assert_eq!(from(&own).rest_post("/slots/select", select).await.json["status"], "selected");
    }
    let seen = LegacyPage::of(&gateway).poll(&room, &[]).await;
    assert_eq!(seen["appointease_active_selections"], json!(["12:00"]));
}

#[tokio::test]
async fn an_allowed_origin_is_let_in_and_its_lookalikes_are_not() {
    let gateway = Gateway::builder()
        .with("security.allowed_origins", "https://shop.example,https://www.shop.example")
        .start()
        .await;
    let status = async |origin: &str| {
        RawSocket::upgrade_status(gateway.addr(), &format!("Origin: {origin}\r\n")).await
    };
    assert_eq!(status("https://shop.example").await, 101);
    assert_eq!(status("https://www.shop.example").await, 101);
    for foreign in [
        "http://shop.example",
        "https://shop.example.evil.example",
        "https://xshop.example",
        "https://shop.example:444",
    ] {
        assert_eq!(status(foreign).await, 403, "{foreign}");
    }
}

#[tokio::test]
async fn what_is_no_upgrade_gets_an_http_error() {
    let gateway = Gateway::start().await;
    let get = |more: &str| format!("GET /ws HTTP/1.1\r\nHost: {}\r\n{more}\r\n", gateway.addr());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for request in [
        get(""),
        get(upgrade),
        get(&format!(
            "{upgrade}Sec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )),
        get(&format!("{upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n")),
        get("Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        "NOT HTTP\r\n\r\n".to_owned(),
        "GET /ws HTTP/1.1\r\n\r\n".to_owned(),
        "GET /ws HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n".to_owned(),
    ] {
        let answer = raw_http(gateway.addr(), request.as_bytes(), PATIENCE).await;
        assert!((400..500).contains(&answer.status), "{request}\n{}", answer.text);
    }
    let post = LegacyPage::of(&gateway).send(Method::POST, "/ws", "text/plain", String::new()).await;
    assert!([400, 404, 405, 426].contains(&post.status), "{post:?}");
}

#[tokio::test]
async fn a_header_that_is_too_long_is_cut_off() {
    let mut gateway = Gateway::start().await;
    let start = format!("GET /ws HTTP/1.1\r\nHost: {}\r\n", gateway.addr());
    let fits = format!("{start}Connection: close\r\nX-Long: {}\r\n\r\n", "x".repeat(12 * 1024));
    let answer = raw_http(gateway.addr(), fits.as_bytes(), PATIENCE).await;
    assert_ne!(answer.status, 431, "{}", answer.text);
    let long = format!("{start}X-Long: {}\r\n\r\n", "x".repeat(20 * 1024));
    assert_eq!(raw_http(gateway.addr(), long.as_bytes(), PATIENCE).await.status, 431);
    let many = format!("{start}{}\r\n", "X-Many: x\r\n".repeat(5_000));
    assert_eq!(raw_http(gateway.addr(), many.as_bytes(), PATIENCE).await.status, 431);
    gateway.assert_alive();
}

#[tokio::test]
async fn a_body_that_never_comes_or_never_ends_holds_nothing_up() {
    let mut gateway = Gateway::start().await;
    let start = format!("POST /slotcast/heartbeat HTTP/1.1\r\nHost: {}\r\n", gateway.addr());
    let endless = format!(
        "{start}Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n{}",
        "x".repeat(300 * 1024)
    );
    let answer = raw_http(gateway.addr(), endless.as_bytes(), Duration::from_secs(40)).await;
    assert!([0, 400, 408, 413].contains(&answer.status), "{}", answer.text);
    let waiting = format!("{start}Content-Type: application/json\r\nContent-Length: 10\r\n\r\n");
    let answer = raw_http(gateway.addr(), waiting.as_bytes(), Duration::from_secs(45)).await;
    assert!([0, 400, 408].contains(&answer.status), "{}", answer.text);
    gateway.assert_alive();
}

#[tokio::test]
async fn connections_are_limited_per_address_and_in_all() {
    let gateway = Gateway::builder()
        .with("security.max_connections_per_address", 2)
        .with("security.max_connections", 3)
        .start()
        .await;
    let from = |address: &str| Page::builder(&gateway).from_address(address);
    let one = from("203.0.113.7").open().await;
    let _two = from("203.0.113.7").open().await;
    assert_eq!(from("203.0.113.7").try_open().await.err(), Some(429));
    let _three = from("203.0.113.8").open().await;
    assert_eq!(from("203.0.113.9").try_open().await.err(), Some(503));
    one.close().await;
    eventually("a place is free again", PATIENCE, async || from("203.0.113.7").try_open().await.ok()).await;
}

#[tokio::test]
async fn nobody_can_pose_as_another_address_but_through_a_trusted_proxy() {
    let gateway = Gateway::builder()
        .with("server.trusted_proxies", "192.0.2.1")
        .with("security.max_connections_per_address", 1)
        .start()
        .await;
    let _one = Page::builder(&gateway).from_address("203.0.113.7").open().await;
    let second = Page::builder(&gateway).from_address("203.0.113.8").try_open().await;
    // All come from loopback, which is not trusted here. It forwards for others, so no address rule may apply to it.
    assert!(second.is_ok(), "{:?}", second.err());
    eventually("a proxy that is not trusted is logged", PATIENCE, async || {
        (!gateway.log_events("proxy_not_trusted").is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let gateway = Gateway::start().await;
    let page = LegacyPage::of(&gateway);
    for path in ["/no-such-page", "/../etc/passwd", "/ws/../livez/", "/client/../../Cargo.toml", "/%2e%2e/x"]
    {
        let status = page.get(path).await.status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    assert_eq!(page.get("/livez").await.status, 200);
    let room = Room::tomorrow_of(1);
    assert_eq!(page.poll(&room, &[]).await["storage_mode"], "memory");
}
