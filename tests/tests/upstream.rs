//! What old pages say to others than AppointEase goes on to WordPress, and whatever becomes of that, our part is answered.

use std::time::Duration;

use serde_json::{Value, json};
use support::{Fate, Gateway, LegacyPage, Message, Page, Receiver, ReservedPort, Room, holds_for};
use tokio::time::Instant;

/// WordPress has 3 s; the rest is for a busy machine.
const IN_TIME: Duration = Duration::from_secs(8);

async fn served() -> (Receiver, Gateway, Room) {
    let receiver = Receiver::there();
    let gateway = Gateway::builder().with("legacy.upstream", receiver.admin_ajax()).start().await;
    (receiver, gateway, Room::tomorrow_of(3))
}

/// The fields of a form, in the order of their names.
fn form(message: &Message) -> Vec<(String, String)> {
    let mut fields: Vec<_> = form_urlencoded::parse(message.text.as_bytes()).into_owned().collect();
    fields.sort();
    fields.dedup();
    fields
}

fn assert_ours_is_whole(reply: &Value) {
    assert_eq!((&reply["storage_mode"], &reply["redis_status"]), (&json!("memory"), &json!("unavailable")));
    assert!(reply["appointease_active_selections"].is_array() && reply["cache_info"].is_object(), "{reply}");
}

#[tokio::test]
async fn others_data_is_answered_by_wordpress_and_ours_here_in_one_reply() {
    let (receiver, gateway, room) = served().await;
    receiver.plan(&[Fate::Says(
        r#"{"other":{"n":"1"},"server_time":7,"redis_status":"of php","wp-auth-check":true,"heartbeat_nonce":"new"}"#,
    )]);
    let page = LegacyPage::of(&gateway)
        .with_header("cookie", "wordpress_logged_in_1=a%7Cb; other=1")
        .with_header("user-agent", "Browser/1")
        .with_header("connection", "x-hop, keep-alive")
        .with_header("x-hop", "for the gateway alone")
        .with_header("x-forwarded-proto", "https")
        .from_address("203.0.113.7");
    let data = json!({
        "other": {"n": 1, "list": ["a", "b"]}, "appointease_poll": room.fields(&[("client_id", "old")]),
        "appointease_select": room.fields(&[("time", "10:00"), ("client_id", "old")]),
    });
    let answer = page.heartbeat_with(data, &[("interval", "5"), ("wp_customize", "on")]).await;
    assert_ours_is_whole(&answer.json);
    assert_eq!(answer.json["appointease_select"]["status"], "selected", "{answer:?}");
    assert_eq!(answer.json["appointease_active_selections"], json!(["10:00"]), "{answer:?}");
    assert_eq!(answer.json["other"], json!({"n": "1"}));
    assert_eq!(
        (&answer.json["wp-auth-check"], &answer.json["heartbeat_nonce"]),
        (&json!(true), &json!("new"))
    );
    assert_ne!(answer.json["server_time"], 7, "of what both know ours counts");
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["first=1; Path=/; HttpOnly", "second=2"]);

    let [message] = receiver.messages().try_into().expect("one message");
    assert_eq!(message.path, "/blog/wp-admin/admin-ajax.php");
    let fields = [
        ("_nonce", ""),
        ("action", "heartbeat"),
        ("data[other][list][0]", "a"),
        ("data[other][list][1]", "b"),
        ("data[other][n]", "1"),
        ("interval", "5"),
        ("screen_id", "front"),
        ("wp_customize", "on"),
    ];
    assert_eq!(form(&message), fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(message.header("cookie"), "wordpress_logged_in_1=a%7Cb; other=1");
    assert_eq!(message.header("user-agent"), "Browser/1");
    assert_eq!(message.header("x-forwarded-for"), "203.0.113.7, 127.0.0.1");
    assert_eq!(message.header("x-forwarded-proto"), "https");
    assert!(message.headers.get("x-hop").is_none(), "{message:?}");
}

#[tokio::test]
async fn wordpress_is_not_asked_for_what_is_ours() {
    let (receiver, gateway, room) = served().await;
    let page = LegacyPage::of(&gateway);
    page.poll(&room, &[("client_id", "old"), ("time", "10:00")]).await;
    page.select(&room, "11:00", "old").await;
    page.deselect(&room, "11:00", Some("old")).await;
    for action in ["check_availability", "confirm_booking"] {
        let booking = room.fields(&[("action", action), ("time", "12:00")]);
        let answer = page.heartbeat(json!({"appointease_booking": booking})).await;
        assert!(answer.json["appointease_booking"].is_object(), "{answer:?}");
    }
    page.heartbeat(json!({})).await;
    // A frame has no cookies: it cannot speak for the page's user.
    let frame = Page::open(&gateway).await;
    frame.send_raw(
        json!({"data": {"other": 1, "appointease_booking": {"action": "get_user_data"}}}).to_string(),
    );
    let reply = frame.eventually_legacy(0).await;
    assert_eq!(reply["appointease_booking"]["status"], "unsupported", "{reply}");
    let asked = async || receiver.messages().is_empty();
    holds_for("WordPress is not asked", Duration::from_secs(1), asked).await;
}

#[tokio::test]
async fn a_booking_action_that_only_php_knows_is_phps() {
    let (receiver, gateway, room) = served().await;
    let page = LegacyPage::of(&gateway);
    for action in ["get_user_data", "reschedule_appointment"] {
        receiver.plan(&[Fate::Says(
            r#"{"appointease_booking":{"of":"php"},"appointease_active_selections":["x"]}"#,
        )]);
        let booking = json!({"action": action, "email": "ann@example.com"});
        let data = json!({"appointease_booking": booking, "appointease_poll": room.fields(&[])});
        let answer = page.heartbeat(data).await;
        assert_eq!(answer.json["appointease_booking"], json!({"of": "php"}), "{answer:?}");
        assert_ours_is_whole(&answer.json);
        assert_eq!(answer.json["appointease_active_selections"], json!([]), "{answer:?}");
        let message = receiver.messages().pop().expect("it was asked");
        let fields = form(&message);
        assert!(
            fields.contains(&("data[appointease_booking][action]".to_owned(), action.to_owned())),
            "{fields:?}"
        );
        assert!(!message.text.contains("appointease_poll"), "{fields:?}");
    }
}

#[tokio::test]
async fn whatever_becomes_of_wordpress_our_part_is_answered_in_time() {
    let (receiver, gateway, room) = served().await;
    let page = LegacyPage::of(&gateway);
    let data = json!({"other": {"n": 1}, "appointease_poll": room.fields(&[])});
    for fate in [
        Fate::Refused(403),
        Fate::Refused(500),
        Fate::Closed,
        Fate::Redirected,
        Fate::Page,
        Fate::Says("0"),
        Fate::Says("-1"),
        Fate::Says("{\"other\":1}<br />Warning: a notice"),
        Fate::Says("[]"),
        Fate::Endless,
        Fate::Hangs,
    ] {
        receiver.plan(&[fate]);
        let asked = Instant::now();
        let answer = page.heartbeat(data.clone()).await;
        assert_eq!(answer.status, 200, "{fate:?}");
        assert_ours_is_whole(&answer.json);
        assert!(answer.json.get("other").is_none(), "{fate:?}: {answer:?}");
        assert!(asked.elapsed() < IN_TIME, "{fate:?}: {:?}", asked.elapsed());
    }
    assert_eq!(receiver.messages().len(), 11);
    let metrics = page.get("/metrics").await.body;
    for outcome in ["refused", "away", "strange", "late", "ok"] {
        let count = format!("slotcast_requests_total{{request=\"pass_on\",outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&count), "no {count} in {metrics}");
    }
    let away = Receiver::away();
    let gateway = Gateway::builder().with("legacy.upstream", away.admin_ajax()).start().await;
    let answer = LegacyPage::of(&gateway).heartbeat(data).await;
    assert_ours_is_whole(&answer.json);
}

#[tokio::test]
async fn an_upstream_that_leads_back_to_the_gateway_is_asked_once() {
    let port = ReservedPort::new();
    let gateway = Gateway::builder()
        .with("server.listen", port.addr())
        .with("legacy.upstream", format!("http://{}/wp-admin/admin-ajax.php", port.addr()))
        .start()
        .await;
    let page = LegacyPage::of(&gateway);
    let room = Room::tomorrow_of(3);
    let answer = page.heartbeat(json!({"other": {"n": 1}, "appointease_poll": room.fields(&[])})).await;
    assert_ours_is_whole(&answer.json);
    let metrics = page.get("/metrics").await.body;
    assert!(metrics.contains("{request=\"pass_on\",outcome=\"ok\"} 1\n"), "{metrics}");
}
