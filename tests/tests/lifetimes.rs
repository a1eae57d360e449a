//! How long a hold lasts: renewed while its client is there, ended on the deadline, kept a moment for who returns.
//! Lower bounds are exact, upper ones generous: the machine may be busy.

use std::time::Duration;

use support::{Gateway, LegacyPage, PATIENCE, Page, RawSocket, RedisServer, Room, eventually, holds_for};
use tokio::time::Instant;

const SLOT: &str = "10:00";

fn shows_active(page: &Page, room: &Room) -> bool {
    page.assert_open();
    page.view(room).active.contains(SLOT)
}

/// Waits until the slot is free again; how long that took since `from`.
async fn freed_after(page: &Page, room: &Room, from: Instant) -> Duration {
    eventually("the slot is free", Duration::from_secs(40), async || {
        (!shows_active(page, room)).then(|| from.elapsed())
    })
    .await
}

#[tokio::test]
async fn a_selection_lives_while_its_client_is_connected() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice").await;
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    alice.select(&room, SLOT).await.assert_ok("selected");
    watcher.eventually_active(&room, &[SLOT]).await;
    // Longer than the 10 s of a selection that nobody renews.
    holds_for("the selection is renewed", Duration::from_secs(13), async || shows_active(&watcher, &room))
        .await;
    assert_eq!(watcher.live(&room).diffs, 1, "renewing is not a change");
    let ttl: i64 = redis.run(&["PTTL", &room.active_key(SLOT)]).await;
    assert!((1..=10_000).contains(&ttl), "{ttl} ms");
}

#[tokio::test]
async fn a_page_that_leaves_gives_its_selection_up_after_three_seconds() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    for (client, crashes) in [("alice", false), ("bob", true)] {
        let page = Page::of(&gateway, client).await;
        page.select(&room, SLOT).await.assert_ok("selected");
        watcher.eventually_active(&room, &[SLOT]).await;
        let left = Instant::now();
        if crashes {
            page.vanish().await
        } else {
            page.close().await
        }
        let took = freed_after(&watcher, &room, left).await;
        println!("{client} left, free after {took:?}");
        assert!((Duration::from_millis(2_500)..Duration::from_millis(9_500)).contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn one_of_two_tabs_may_close() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let (tab, other_tab) = (Page::of(&gateway, "alice").await, Page::of(&gateway, "alice").await);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    tab.select(&room, SLOT).await.assert_ok("selected");
    watcher.eventually_active(&room, &[SLOT]).await;
    tab.close().await;
    holds_for("the other tab keeps it", Duration::from_secs(12), async || shows_active(&watcher, &room))
        .await;
    let left = Instant::now();
    other_tab.close().await;
    freed_after(&watcher, &room, left).await;
}

#[tokio::test]
async fn who_returns_in_time_keeps_the_selection() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let alice = Page::of(&gateway, "alice").await;
    alice.select(&room, SLOT).await.assert_ok("selected");
    watcher.eventually_active(&room, &[SLOT]).await;
    alice.vanish().await;
    let _returned = Page::of(&gateway, "alice").await;
    holds_for("the selection is kept", Duration::from_secs(12), async || shows_active(&watcher, &room)).await;
    assert_eq!(watcher.live(&room).diffs, 1);
}

#[tokio::test]
async fn a_browser_that_answers_no_ping_loses_its_selection_and_its_connection() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let mut dead = RawSocket::open(gateway.addr()).await;
    dead.send_text(&room.slot_frame("select", SLOT).to_string()).await;
    watcher.eventually_active(&room, &[SLOT]).await;
    let selected = Instant::now();
    let closing = async { dead.close_code(Duration::from_secs(50)).await };
    let (took, code) = tokio::join!(freed_after(&watcher, &room, selected), closing);
    println!("free {took:?} after the last sign of life, closed after {:?}", selected.elapsed());
    assert!(took >= Duration::from_secs(9), "{took:?}");
    assert_eq!(code, Some(4408));
}

#[tokio::test]
async fn a_lock_outlives_its_connection_and_ends_on_its_deadline() {
    let redis = RedisServer::start().await;
    let builder = Gateway::builder().redis_at(&redis.url()).with("slots.lock_ttl_secs", 5);
    let gateway = builder.start().await;
    gateway.eventually_ready().await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let (tab, other_tab) = (Page::of(&gateway, "alice").await, Page::of(&gateway, "alice").await);
    let asked = Instant::now();
    tab.lock(&room, SLOT).await.assert_ok("locked");
    watcher.eventually_locked(&room, &[SLOT]).await;
    tab.close().await;
    watcher.eventually_locked(&room, &[]).await;
    let took = asked.elapsed();
    println!("a lock of 5 s was free after {took:?}");
    assert!(took >= Duration::from_millis(4_900), "{took:?}");
    let released = other_tab.eventually_released(&room, SLOT).await;
    assert_eq!(released, ("lock".into(), "expired".into()));
    other_tab.unlock(&room, SLOT).await.assert_error("lock_lost");
    let exists: u32 = redis.run(&["EXISTS", &room.lock_key(SLOT)]).await;
    assert_eq!(exists, 0);
}

#[tokio::test]
async fn the_end_of_anothers_hold_is_seen_on_its_deadline_without_redis_saying_so() {
    let redis = RedisServer::start_with(&["--enable-debug-command", "yes"]).await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let mut php = redis.php().await;
    // With active expiry off, Redis lets go of a due key only when somebody looks at it.
    redis.run::<()>(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).await;
    for round in 0..3 {
        let from = Instant::now();
        php.select_for(&room, SLOT, "wp_1", 2).await;
        watcher.eventually_active(&room, &[SLOT]).await;
        let took = freed_after(&watcher, &room, from).await;
        println!(
            "round {round}: a selection of 2 s was free {:?} after its deadline",
            took.saturating_sub(Duration::from_secs(2))
        );
        assert!(took >= Duration::from_millis(1_990), "{took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test]
async fn a_legacy_selection_lives_ten_seconds_from_the_last_poll() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let legacy = LegacyPage::of(&gateway);
    assert_eq!(legacy.select(&room, SLOT, "old").await["success"], true);
    watcher.eventually_active(&room, &[SLOT]).await;
    // Three polls, five seconds apart, then none.
    let mut beat = tokio::time::interval(Duration::from_secs(5));
    beat.tick().await;
    for _ in 0..3 {
        beat.tick().await;
        legacy.poll(&room, &[("client_id", "old"), ("time", SLOT)]).await;
        assert!(shows_active(&watcher, &room));
    }
    let last = Instant::now();
    let took = freed_after(&watcher, &room, last).await;
    println!("free {took:?} after the last poll");
    assert!(took >= Duration::from_millis(9_500), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn a_slowly_polling_page_is_given_its_own_interval() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    // As the page sends it: what it chose, and its poll in the same beat.
    let slot = room.fields(&[("time", SLOT), ("client_id", "slow")]);
    let select = serde_json::json!({"appointease_select": slot, "appointease_poll": slot});
    let from = Instant::now();
    let answer =
        LegacyPage::of(&gateway).heartbeat_with(select, &[("interval", "120"), ("has_focus", "false")]).await;
    assert_eq!(answer.json["appointease_select"]["success"], true, "{answer:?}");
    eventually("seen", PATIENCE, async || shows_active(&watcher, &room).then_some(())).await;
    let took = freed_after(&watcher, &room, from).await;
    println!("an interval of 120 s: free after {took:?}");
    assert!((Duration::from_millis(19_500)..Duration::from_secs(26)).contains(&took), "{took:?}");
}
