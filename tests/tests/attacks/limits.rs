//! The limits of the security section: what is too much is refused by name, and only who goes far beyond is cut off.

use serde_json::json;
use support::{Gateway, LegacyPage, PATIENCE, Page, RedisServer, Room, eventually};

#[tokio::test]
async fn a_connection_looks_at_twenty_rooms() {
    let gateway = Gateway::builder().with_limits().start().await;
    let page = Page::of(&gateway, "alice").await;
    let rooms: Vec<Room> = (1..=21).map(Room::tomorrow_of).collect();
    for room in &rooms[..20] {
        page.subscribe(room).await;
    }
    page.ask(rooms[20].frame("subscribe")).await.assert_error("too_many_rooms");
    page.unsubscribe(&rooms[0]).await.assert_kind("ok");
    page.subscribe(&rooms[20]).await;
}

/// How many of these requests are refused as too fast; for no other reason.
async fn rate_limited(page: &Page, ids: &[String]) -> usize {
    let mut refused = 0;
    for id in ids {
        let reply = page.reply(id).await;
        if reply.kind() == "error" {
            reply.assert_error("rate_limited");
            refused += 1;
        }
    }
    refused
}

#[tokio::test]
async fn writes_beyond_the_burst_are_refused_and_the_client_goes_on() {
    let gateway = Gateway::builder().with_limits().with("security.frames_per_second", 0).start().await;
    let room = Room::tomorrow_of(1);
    let page = Page::watching(&gateway, "alice", &room).await;
    let ids: Vec<String> =
        (0..60).map(|minute| page.send(room.slot_frame("select", &format!("10:{minute:02}")))).collect();
    let refused = rate_limited(&page, &ids).await;
    // Five a second, four seconds' worth at once.
    assert!((1..=40).contains(&refused), "{refused} of {} refused", ids.len());
    page.assert_open();
    eventually("the client may write again", PATIENCE, async || {
        page.select(&room, "12:00").await.is_ok("selected").then_some(())
    })
    .await;
    page.eventually_active(&room, &["12:00"]).await;
}

#[tokio::test]
async fn frames_beyond_the_burst_are_refused_and_a_flood_is_cut_off() {
    let gateway = Gateway::builder().with_limits().start().await;
    let page = Page::of(&gateway, "alice").await;
    let ids: Vec<String> = (0..120).map(|_| page.send(json!({"type": "ping"}))).collect();
    let refused = rate_limited(&page, &ids).await;
    // Twenty a second, four seconds' worth at once, and the hello was one of them.
    assert!((1..=41).contains(&refused), "{refused} of {} refused", ids.len());

    let flood = Page::of(&gateway, "mallory").await;
    for _ in 0..20_000 {
        flood.send(json!({"type": "ping"}));
    }
    let code = flood.eventually_closed().await;
    assert!(matches!(code, Some(1008) | None), "{code:?}");
    let calm = Page::of(&gateway, "calm").await;
    calm.settle().await;
}

#[tokio::test]
async fn writes_are_limited_per_client_whatever_the_way() {
    let gateway = Gateway::builder().with_limits().start().await;
    let room = Room::tomorrow_of(1);
    let rest = LegacyPage::of(&gateway);
    let mut limited = 0;
    for minute in 0..40 {
        let time = format!("10:{minute:02}");
        let answer =
            rest.rest_post("/slots/select", room.fields(&[("time", &time), ("client_id", "old")])).await;
        if answer.status != 200 {
            answer.assert_rest_error(429, "rate_limited");
            limited += 1;
        }
    }
    assert!(limited > 0, "40 selects at once, none refused");
    let other =
        rest.rest_post("/slots/select", room.fields(&[("time", "12:00"), ("client_id", "calm")])).await;
    assert_eq!(other.status, 200, "{other:?}");
    // Polls that renew are not writes.
    for _ in 0..60 {
        let reply = rest.poll(&room, &[("client_id", "calm"), ("time", "12:00")]).await;
        assert!(
            reply["appointease_active_selections"].as_array().unwrap().contains(&json!("12:00")),
            "{reply}"
        );
    }
}

#[tokio::test]
async fn writes_are_limited_per_address_over_all_its_clients() {
    let gateway = Gateway::builder()
        .with_limits()
        .with("security.writes_per_second_per_address", 2)
        .with("security.max_holds_per_address", 0)
        .start()
        .await;
    let room = Room::tomorrow_of(1);
    let mut refused = 0;
    for number in 0..20 {
        let page = Page::builder(&gateway).from_address("203.0.113.7").open().await;
        let reply = page.select(&room, &format!("10:{number:02}")).await;
        if reply.kind() == "error" {
            reply.assert_error("rate_limited");
            refused += 1;
        }
    }
    assert!(refused > 0, "20 writes of one address at once, none refused");
    let neighbour = Page::builder(&gateway).from_address("203.0.113.8").open().await;
    neighbour.select(&room, "12:00").await.assert_ok("selected");
}

#[tokio::test]
async fn an_address_holds_only_so_many_slots() {
    let redis = RedisServer::start().await;
    let gateway =
        Gateway::builder().redis_at(&redis.url()).with("security.max_holds_per_address", 3).start().await;
    gateway.eventually_ready().await;
    let room = Room::tomorrow_of(1);
    let mut pages = Vec::new();
    for number in 0..3 {
        let page = Page::builder(&gateway).from_address("203.0.113.7").open().await;
        page.select(&room, &format!("10:{number:02}")).await.assert_ok("selected");
        pages.push(page);
    }
    let one_more = Page::builder(&gateway).from_address("203.0.113.7").open().await;
    one_more.select(&room, "11:00").await.assert_error("too_many_holds");
    pages[0].select(&room, "12:00").await.assert_ok("selected");
    let neighbour = Page::builder(&gateway).from_address("203.0.113.8").open().await;
    neighbour.select(&room, "11:00").await.assert_ok("selected");
    pages[1].deselect(&room, "10:01").await.assert_ok("deselected");
    one_more.select(&room, "11:30").await.assert_ok("selected");
}

#[tokio::test]
async fn polls_that_take_free_slots_are_writes_and_renewing_ones_are_not() {
    let gateway = Gateway::builder()
        .with("security.writes_per_second_per_address", 5)
        .with("slots.selection_ttl_secs", 600)
        .start()
        .await;
    let room = Room::tomorrow_of(1);
    let page = LegacyPage::of(&gateway);
    let poll = async |minute: usize, client: usize| {
        let (time, client) = (format!("{:02}:{:02}", minute / 60, minute % 60), format!("client-{client}"));
        page.poll(&room, &[("client_id", &client), ("time", &time)]).await
    };
    for number in 0..200 {
        poll(number, number).await;
    }
    let taken =
        |reply: &serde_json::Value| reply["appointease_active_selections"].as_array().map_or(0, Vec::len);
    // Five a second from one address, four seconds' worth at once; a slow machine lets more through.
    let view = poll(0, 0).await;
    assert!((20..190).contains(&taken(&view)), "{} of 200 taken", taken(&view));
    for _ in 0..100 {
        let renewed = poll(0, 0).await;
        assert_eq!(renewed["redis_ops"]["user_selection"], "00:00", "{renewed}");
    }
}
