//! A clean stop: everybody is told when to come back, sockets close with 1001, the process exits with 0 in time.

use std::time::Duration;

use support::{Gateway, LegacyPage, Page, RawSocket, RedisServer, Room, holder_of};
use tokio::net::TcpStream;

const DRAIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn every_page_hears_goodbye_and_is_closed_with_1001() {
    let redis = RedisServer::start().await;
    let mut gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let mut pages = Vec::new();
    for number in 0..40 {
        pages.push(Page::watching(&gateway, &format!("client-{number}"), &room).await);
    }
    gateway.ask_to_stop();
    let mut waits = Vec::new();
    for page in &pages {
        let goodbye = page.eventually_goodbye().await;
        waits.push(goodbye["reconnect_in_ms"].as_u64().expect("a time to come back"));
        assert_eq!(page.eventually_closed().await, Some(1001));
    }
    let stopped = gateway.stopped().await;
    assert_eq!(stopped.code, Some(0));
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 5, "the returns are not spread: {waits:?}");
}

#[tokio::test]
async fn an_idle_gateway_stops_at_once_and_its_port_is_free() {
    let mut gateway = Gateway::start().await;
    let addr = gateway.addr();
    let stopped = gateway.terminate().await;
    println!("stopped after {:?}", stopped.took);
    assert_eq!(stopped.code, Some(0));
    assert!(stopped.took < DRAIN, "{stopped:?}");
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn connections_that_do_not_react_hold_the_stop_up_no_longer_than_the_drain_time() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::builder().redis_at(&redis.url()).with("server.drain_secs", 2).start();
    let mut gateway = gateway.await;
    gateway.eventually_ready().await;
    let room = Room::tomorrow_of(1);
    let deaf = Page::builder(&gateway).receive_buffer(4096).open().await;
    deaf.subscribe(&room).await;
    deaf.stop_reading();
    let _silent_upgrade = RawSocket::open(gateway.addr()).await;
    let _silent_http = TcpStream::connect(gateway.addr()).await.unwrap();
    let stopped = gateway.terminate().await;
    println!("stopped after {:?}", stopped.took);
    assert_eq!(stopped.code, Some(0));
    // Generous: two seconds are promised.
    assert!(stopped.took < DRAIN, "{stopped:?}");
}

#[tokio::test]
async fn a_stop_ends_no_hold() {
    let redis = RedisServer::start().await;
    let mut gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice").await;
    alice.select(&room, "10:00").await.assert_ok("selected");
    alice.lock(&room, "11:00").await.assert_ok("locked");
    let stopped = gateway.terminate().await;
    assert_eq!(stopped.code, Some(0));
    let mut connection = redis.connection().await;
    assert_eq!(holder_of(&mut connection, &room.lock_key("11:00")).await.as_deref(), Some("alice"));

    let next = Gateway::on(&redis).await;
    let bob = Page::of(&next, "bob").await;
    bob.lock(&room, "11:00").await.assert_error("slot_locked");
}

#[tokio::test]
async fn a_gateway_stops_cleanly_while_its_redis_is_away() {
    let mut redis = RedisServer::start().await;
    let mut gateway = Gateway::on(&redis).await;
    let page = Page::of(&gateway, "alice").await;
    redis.pause();
    let stopped = gateway.terminate().await;
    assert_eq!(stopped.code, Some(0));
    assert_eq!(page.eventually_closed().await, Some(1001));
    redis.kill().await;
}

#[tokio::test]
async fn a_gateway_that_is_stopping_is_not_ready_and_takes_no_new_pages() {
    let redis = RedisServer::start().await;
    let mut gateway = Gateway::on(&redis).await;
    let page = Page::of(&gateway, "alice").await;
    assert_eq!(LegacyPage::of(&gateway).get("/readyz").await.status, 200);
    gateway.ask_to_stop();
    page.eventually_goodbye().await;
    // Either refused, reset, or answered with an error: never upgraded.
    assert_ne!(RawSocket::upgrade_status_or_refusal(gateway.addr(), "").await, 101);
    assert_eq!(gateway.stopped().await.code, Some(0));
}
