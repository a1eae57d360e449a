//! How many slots one address may hold at a time, over all its clients and every way in.

use std::time::Duration;

use serde_json::json;
use support::{FaultProxy, Gateway, LegacyPage, PATIENCE, Page, RedisServer, Room, eventually};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const HERE: &str = "203.0.113.7";
const ELSEWHERE: &str = "203.0.113.8";

async fn page(gateway: &Gateway, client: &str, address: &str) -> Page {
    let page = Page::builder(gateway).from_address(address).open().await;
    page.hello(client).await;
    page
}

#[tokio::test]
async fn an_address_holds_so_many_slots_over_every_way_in_and_what_ends_is_given_back() {
    let gateway = Gateway::builder().with("security.max_holds_per_address", 3).start().await;
    let (room, other) = (Room::tomorrow_of(1), Room::tomorrow_of(2));
    let alice = page(&gateway, "alice", HERE).await;
    let old = LegacyPage::of(&gateway).from_address(HERE);
    let fields =
        |room: &Room, time: &str, client: &str| room.fields(&[("time", time), ("client_id", client)]);
    alice.select(&room, "10:00").await.assert_ok("selected");
    assert_eq!(old.rest_post("/slots/lock", fields(&room, "11:00", "bob")).await.json["status"], "locked");
    assert_eq!(old.select(&room, "12:00", "carl").await["status"], "selected");

    let dora = page(&gateway, "dora", HERE).await;
    let refused = dora.select(&room, "13:00").await.assert_error("too_many_holds");
    assert!(refused.text("message").contains("address"), "{refused:?}");
    dora.lock(&room, "13:00").await.assert_error("too_many_holds");
    alice.select(&other, "13:00").await.assert_error("too_many_holds");
    for path in ["/slots/select", "/slots/lock"] {
        let answer = old.rest_post(path, fields(&room, "13:00", "erin")).await;
        answer.assert_rest_error(409, "too_many_holds");
    }
    assert_eq!(old.select(&room, "13:00", "erin").await["status"], "too_many_holds");
    let poll = old.poll(&room, &[("client_id", "erin"), ("time", "13:00")]).await;
    assert_eq!(poll["appointease_active_selections"], json!(["10:00", "12:00"]), "a poll takes nothing");
    dora.send(json!({"appointease_select": fields(&room, "13:00", "frame")}));
    assert_eq!(dora.eventually_legacy(0).await["appointease_select"]["status"], "too_many_holds");

    // Nobody else notices, and what is held may be held on to, moved, and locked.
    page(&gateway, "greg", ELSEWHERE).await.select(&room, "14:00").await.assert_ok("selected");
    alice.select(&room, "10:00").await.assert_ok("selected");
    alice.select(&room, "10:30").await.assert_ok("selected");
    assert_eq!(old.select(&room, "12:00", "carl").await["status"], "selected");
    assert_eq!(old.rest_post("/slots/lock", fields(&room, "11:00", "bob")).await.json["status"], "locked");
    alice.lock(&room, "10:30").await.assert_ok("locked");
    // A lock does not move: the selection beside it is one more.
    alice.select(&room, "13:30").await.assert_error("too_many_holds");

    alice.unlock(&room, "10:30").await.assert_ok("unlocked");
    dora.select(&room, "13:00").await.assert_ok("selected");
    alice.select(&room, "10:00").await.assert_error("too_many_holds");
    dora.confirm(&room, "13:00", "key").await.assert_ok("confirmed");
    alice.select(&room, "10:00").await.assert_ok("selected");
    dora.select(&room, "15:00").await.assert_error("too_many_holds");
    assert_eq!(old.deselect(&room, "12:00", Some("carl")).await["status"], "deselected");
    dora.select(&room, "15:00").await.assert_ok("selected");

    let operator = LegacyPage::of(&gateway);
    let metrics = operator.get("/metrics").await.body;
    for request in ["select", "lock", "poll_select"] {
        let counted = format!("slotcast_requests_total{{request=\"{request}\",outcome=\"too_many_holds\"}}");
        assert!(metrics.contains(&counted), "{counted}: {metrics}");
    }
}

#[tokio::test]
async fn holds_that_expire_or_are_lost_are_given_back() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder()
        .redis_at(&redis.url())
        .with("security.max_holds_per_address", 1)
        .with("slots.selection_ttl_secs", 2)
        .start()
        .await;
    gateway.eventually_ready().await;
    let room = Room::tomorrow_of(1);
    let old = LegacyPage::of(&gateway).from_address(HERE);
    assert_eq!(old.select(&room, "10:00", "old").await["status"], "selected");
    eventually("the selection of nobody's page expires", PATIENCE, async || {
        (old.select(&room, "11:00", "next").await["status"] == "selected").then_some(())
    })
    .await;
    eventually("and the next one", PATIENCE, async || {
        let locked = room.fields(&[("time", "12:00"), ("client_id", "last")]);
        (old.rest_post("/slots/lock", locked).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(old.select(&room, "13:00", "one-more").await["status"], "too_many_holds");
    redis.run::<i64>(&["DEL", &room.lock_key("12:00")]).await;
    eventually("what PHP removed is given back", PATIENCE, async || {
        (old.select(&room, "13:00", "one-more").await["status"] == "selected").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_holds_for_others() {
    let gateway = Gateway::builder()
        .with("server.trusted_proxies", "192.0.2.1")
        .with("security.max_holds_per_address", 1)
        .start()
        .await;
    let room = Room::tomorrow_of(1);
    for minute in 0..4 {
        let visitor = LegacyPage::of(&gateway).from_address(&format!("203.0.113.{minute}"));
        let time = format!("10:{minute:02}");
        assert_eq!(visitor.select(&room, &time, &format!("v{minute}")).await["status"], "selected");
    }
    // Who forwards for nobody is counted, whatever it would say of itself.
    let direct = LegacyPage::of(&gateway);
    assert_eq!(direct.select(&room, "11:00", "a").await["status"], "selected");
    assert_eq!(direct.select(&room, "12:00", "b").await["status"], "too_many_holds");
}

/// The store answers late enough for that. Who hangs up before he is heard, gets nothing at all.
#[tokio::test]
async fn who_hangs_up_before_the_answer_holds_no_more_than_others() {
    let redis = RedisServer::start().await;
    let line = FaultProxy::before(redis.addr()).await;
    let gateway = Gateway::builder()
        .redis_at(&format!("redis://{}", line.addr()))
        .with("redis.command_timeout_ms", 5000)
        .with("security.max_holds_per_address", 3)
        .start()
        .await;
    gateway.eventually_ready().await;
    line.delay(Duration::from_millis(100));
    let granted = || gateway.log_events("slot_lock_granted").len();
    let mut employee = 0;
    let mut hasty = async || {
        employee += 1;
        let body = Room::tomorrow_of(employee)
            .fields(&[("time", "10:00"), ("client_id", &format!("hasty-{employee}"))])
            .to_string();
        let request = format!(
            "POST /slotcast/slots/lock HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: {HERE}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            gateway.addr(),
            body.len()
        );
        let mut socket = TcpStream::connect(gateway.addr()).await.expect("it listens");
        socket.write_all(request.as_bytes()).await.expect("it is sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    eventually("three are granted", PATIENCE, async || {
        hasty().await;
        (granted() >= 3).then_some(())
    })
    .await;
    // What is on its way to the store is there before this.
    let honest = page(&gateway, "honest", ELSEWHERE).await;
    honest.lock(&Room::tomorrow_of(9999), "10:00").await.assert_ok("locked");
    eventually("it is in the log", PATIENCE, async || (granted() > 3).then_some(())).await;
    assert_eq!(granted(), 3 + 1);
}
