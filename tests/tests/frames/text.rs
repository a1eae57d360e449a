//! Text that is no frame of the protocol: a typed error or the named close code, and the server goes on
//! unharmed.

use std::time::Duration;

use serde_json::json;
use support::{Gateway, PATIENCE, Page, RawSocket, Room};

use super::case::MAX_TEXT;

/// The server still serves a well-behaved page.
async fn assert_unharmed(gateway: &mut Gateway) {
    gateway.assert_alive();
    let page = Page::of(gateway, "well-behaved").await;
    let room = Room::tomorrow_of(1);
    page.subscribe(&room).await;
    page.select(&room, "10:00").await.assert_ok("selected");
    page.eventually_active(&room, &["10:00"]).await;
    page.deselect(&room, "10:00").await.assert_ok("deselected");
}

fn ping_of_length(length: usize) -> String {
    let empty = json!({"type": "ping", "id": "long", "pad": ""}).to_string();
    json!({"type": "ping", "id": "long", "pad": "x".repeat(length - empty.len())}).to_string()
}

#[tokio::test]
async fn three_malformed_frames_within_a_minute_close_the_connection() {
    let mut gateway = Gateway::start().await;
    for malformed in
        ["not json", "7", "[1,2]", "\"text\"", "null", "", "{", "{\"type\":\"ping\"} x", "{\"a\":1,}"]
    {
        let page = Page::of(&gateway, "alice").await;
        for _ in 0..2 {
            page.send_raw(malformed);
        }
        page.settle().await;
        let errors = page.errors_without_id();
        assert_eq!(errors.len(), 2, "{malformed}: {errors:?}");
        assert!(errors.iter().all(|error| error["code"] == "bad_request"), "{malformed}: {errors:?}");
        page.send_raw(malformed);
        assert_eq!(page.eventually_closed().await, Some(1008), "{malformed}");
    }
    assert_unharmed(&mut gateway).await;
}

#[tokio::test]
async fn an_object_of_no_known_shape_is_malformed() {
    let gateway = Gateway::start().await;
    for shapeless in ["{}", "{\"type\":7}", "{\"type\":null}", "{\"data\":[]}"] {
        let page = Page::of(&gateway, "alice").await;
        page.send_raw(shapeless);
        page.settle().await;
        assert_eq!(page.errors_without_id().len(), 1, "{shapeless}");
        page.send_raw(shapeless);
        page.send_raw(shapeless);
        assert_eq!(page.eventually_closed().await, Some(1008), "{shapeless}");
    }
}

#[tokio::test]
async fn deep_nesting_is_an_error_and_no_crash() {
    let mut gateway = Gateway::start().await;
    for depth in [100, 1_000, 3_900] {
        let page = Page::of(&gateway, "alice").await;
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        page.send_raw(nested.clone());
        page.send_raw(format!(
            "{{\"type\":\"select\",\"id\":\"deep\",\"date\":{}",
            "{\"a\":".repeat(depth.min(1_000))
        ));
        page.settle().await;
        assert_eq!(page.errors_without_id().len(), 2, "{depth}");
    }
    for field in ["date", "employee_id", "time", "extra"] {
        let page = Page::of(&gateway, "alice").await;
        let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
        page.send_raw(format!("{{\"type\":\"select\",\"{field}\":{nested},\"x\":1}}"));
        page.settle().await;
        page.assert_open();
    }
    assert_unharmed(&mut gateway).await;
}

#[tokio::test]
async fn a_text_of_eight_kibibytes_is_read_and_one_more_byte_is_too_big() {
    let mut gateway = Gateway::start().await;
    let page = Page::of(&gateway, "alice").await;
    page.send_raw(ping_of_length(MAX_TEXT));
    page.reply("long").await.assert_kind("pong");
    page.send_raw(ping_of_length(MAX_TEXT + 1));
    assert_eq!(page.eventually_closed().await, Some(1009));
    assert_unharmed(&mut gateway).await;
}

#[tokio::test]
async fn half_a_frame_and_noise_are_no_harm() {
    let mut gateway = Gateway::start().await;
    for half in [&[0x81][..], &[0x81, 0xfe], &[0x81, 0x85, 1, 2, 3, 4, 5]] {
        let mut raw = RawSocket::open(gateway.addr()).await;
        raw.send_bytes(half).await;
        drop(raw);
    }
    let mut raw = RawSocket::open(gateway.addr()).await;
    for noise in 0..200_u8 {
        raw.send_bytes(&[noise, noise.wrapping_mul(31), noise.wrapping_add(7)]).await;
    }
    raw.close_code(PATIENCE + Duration::from_secs(15)).await;
    assert_unharmed(&mut gateway).await;
}
