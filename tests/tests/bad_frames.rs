//! What is no frame of the protocol: the named close code or a typed error, and the server goes on unharmed.

use std::time::Duration;

use serde_json::json;
use support::{Gateway, PATIENCE, Page, RawSocket, Room};
use tokio_tungstenite::tungstenite::Message;

const MAX_TEXT: usize = 8 * 1024;

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

    let mut raw = RawSocket::open(gateway.addr()).await;
    raw.send_text(&ping_of_length(MAX_TEXT + 1)).await;
    assert_eq!(raw.close_code(PATIENCE).await, Some(1009));

    // A message in pieces counts as a whole.
    let mut raw = RawSocket::open(gateway.addr()).await;
    raw.send(0x01, &[b' '; 6_000]).await;
    raw.send(0x80, &[b' '; 6_000]).await;
    assert_eq!(raw.close_code(PATIENCE).await, Some(1009));
    assert_unharmed(&mut gateway).await;
}

#[tokio::test]
async fn a_frame_of_a_megabyte_is_not_read() {
    let mut gateway = Gateway::start().await;
    for _ in 0..20 {
        let mut raw = RawSocket::open(gateway.addr()).await;
        raw.send(0x81, &vec![b'x'; 1 << 20]).await;
        // The close frame may be lost to the reset that follows unread data.
        let code = raw.close_code(PATIENCE).await;
        assert!(matches!(code, Some(1009) | None), "{code:?}");
    }
    // A header that promises more than there is memory.
    let mut raw = RawSocket::open(gateway.addr()).await;
    raw.send_bytes(&[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]).await;
    assert!(matches!(raw.close_code(PATIENCE).await, Some(1009 | 1002) | None));
    assert_unharmed(&mut gateway).await;
}

#[tokio::test]
async fn a_message_in_pieces_is_one_frame() {
    let gateway = Gateway::start().await;
    let mut raw = RawSocket::open(gateway.addr()).await;
    raw.send(0x01, b"{\"type\":").await;
    raw.send(0x89, b"are you there").await;
    raw.send(0x80, b"\"ping\"}").await;
    let pong = raw.next_frame(PATIENCE).await.unwrap();
    assert_eq!((pong.opcode, pong.payload.as_slice()), (10, &b"are you there"[..]));
    let reply = raw.next_frame(PATIENCE).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&reply.payload), "{\"type\":\"pong\"}");
}

#[tokio::test]
async fn binary_frames_and_text_that_is_not_utf8_are_named() {
    let mut gateway = Gateway::start().await;
    let page = Page::of(&gateway, "alice").await;
    page.send_message(Message::binary(vec![1, 2, 3]));
    assert_eq!(page.eventually_closed().await, Some(1003));

    for text in [&b"\xff\xfe"[..], b"{\"type\":\"\xc3\x28\"}", b"\xed\xa0\x80"] {
        let mut raw = RawSocket::open(gateway.addr()).await;
        raw.send(0x81, text).await;
        assert_eq!(raw.close_code(PATIENCE).await, Some(1007), "{text:?}");
    }
    assert_unharmed(&mut gateway).await;
}

#[tokio::test]
async fn broken_framing_is_a_protocol_error() {
    let mut gateway = Gateway::start().await;
    let long_ping = [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0][..], &[b'x'; 126]].concat();
    let broken: [(&str, &[u8]); 7] = [
        ("a reserved bit", &[0xc1, 0x82, 0, 0, 0, 0, b'{', b'}']),
        ("a reserved opcode", &[0x83, 0x82, 0, 0, 0, 0, b'{', b'}']),
        ("no mask", &[0x81, 0x02, b'{', b'}']),
        ("a continuation of nothing", &[0x80, 0x82, 0, 0, 0, 0, b'{', b'}']),
        ("a fragmented ping", &[0x09, 0x80, 0, 0, 0, 0]),
        ("a ping that is too long", &long_ping),
        ("a new message inside another", &[0x01, 0x81, 0, 0, 0, 0, b'{', 0x81, 0x81, 0, 0, 0, 0, b'}']),
    ];
    for (what, bytes) in broken {
        let mut raw = RawSocket::open(gateway.addr()).await;
        raw.send_bytes(bytes).await;
        assert_eq!(raw.close_code(PATIENCE).await, Some(1002), "{what}");
    }
    assert_unharmed(&mut gateway).await;
}

#[tokio::test]
async fn a_close_is_answered_and_half_a_frame_is_no_harm() {
    let mut gateway = Gateway::start().await;
    let mut raw = RawSocket::open(gateway.addr()).await;
    raw.send(0x88, &1000_u16.to_be_bytes()).await;
    assert_eq!(raw.close_code(PATIENCE).await, Some(1000));
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
