//! Two gateways on one Redis behave as one: the same rooms, one winner, and a browser may change from one to the other.

use std::time::Duration;

use futures::future::join_all;
use support::{Gateway, MariaDb, Page, RedisServer, Room, eventually, holder_of, holds_for};

const SLOT: &str = "10:00";

async fn two() -> (RedisServer, Gateway, Gateway) {
    let redis = RedisServer::start().await;
    let builder = Gateway::builder().redis_at(&redis.url());
    let (one, two) = tokio::join!(builder.clone().start(), builder.start());
    one.eventually_ready().await;
    two.eventually_ready().await;
    (redis, one, two)
}

/// Somebody on the first gateway, and somebody who looks at the same room on the other.
async fn one_on_each() -> (RedisServer, [Gateway; 2], Room, Page, Page) {
    let (redis, one, two) = two().await;
    let room = Room::tomorrow_of(1);
    let (alice, bob) = (Page::of(&one, "alice").await, Page::watching(&two, "bob", &room).await);
    (redis, [one, two], room, alice, bob)
}

#[tokio::test]
async fn what_happens_on_one_is_seen_on_the_other() {
    let (_redis, _gateways, room, alice, bob) = one_on_each().await;

    alice.select(&room, SLOT).await.assert_ok("selected");
    bob.eventually_active(&room, &[SLOT]).await;
    bob.select(&room, SLOT).await.assert_error("slot_locked");

    let before = bob.live(&room).diffs;
    alice.select(&room, "11:00").await.assert_ok("selected");
    bob.eventually_active(&room, &["11:00"]).await;
    assert_eq!(bob.live(&room).diffs, before + 1, "a move is one diff on every gateway");

    let before = bob.live(&room).diffs;
    alice.lock(&room, "11:00").await.assert_ok("locked");
    bob.eventually_locked(&room, &["11:00"]).await;
    assert!(bob.view(&room).active.is_empty());
    assert_eq!(bob.live(&room).diffs, before + 1, "a selection becomes a lock in one diff on every gateway");
    bob.lock(&room, "11:00").await.assert_error("slot_locked");
    bob.unlock(&room, "11:00").await.assert_error("not_owner");

    alice.unlock(&room, "11:00").await.assert_ok("unlocked");
    bob.eventually_locked(&room, &[]).await;
    bob.select(&room, "11:00").await.assert_ok("selected");
    alice.select(&room, "11:00").await.assert_error("slot_locked");
}

#[tokio::test]
async fn of_many_who_want_one_slot_at_once_one_gets_it() {
    let (redis, one, two) = two().await;
    let mut pages = Vec::new();
    for number in 0..24 {
        let gateway = if number % 2 == 0 { &one } else { &two };
        pages.push(Page::of(gateway, &format!("client-{number}")).await);
    }
    let mut connection = redis.connection().await;
    for (round, command) in ["select", "lock", "select", "lock"].into_iter().enumerate() {
        let room = Room::tomorrow_of(u32::try_from(round).expect("few rounds") + 1);
        let replies = join_all(pages.iter().map(|page| page.ask(room.slot_frame(command, SLOT)))).await;
        let winners: Vec<usize> = (0..pages.len()).filter(|at| replies[*at].kind() == "ok").collect();
        assert_eq!(winners.len(), 1, "{command}: {winners:?} of {replies:?}");
        for (at, reply) in replies.into_iter().enumerate() {
            if at != winners[0] {
                reply.assert_error("slot_locked");
            }
        }
        let key = if command == "select" { room.active_key(SLOT) } else { room.lock_key(SLOT) };
        let holder = holder_of(&mut connection, &key).await;
        assert_eq!(holder, Some(format!("client-{}", winners[0])));
    }
}

#[tokio::test]
async fn a_browser_that_returns_on_the_other_gateway_keeps_its_selection() {
    let (_redis, one, two) = two().await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&one, "watcher", &room).await;
    let alice = Page::of(&one, "alice").await;
    alice.select(&room, SLOT).await.assert_ok("selected");
    watcher.eventually_active(&room, &[SLOT]).await;
    alice.vanish().await;
    let returned = Page::of(&two, "alice").await;
    holds_for("the selection is kept", Duration::from_secs(13), async || {
        watcher.view(&room).active.contains(SLOT)
    })
    .await;
    assert_eq!(watcher.live(&room).diffs, 1);
    assert!(returned.released().is_empty(), "{:?}", returned.released());
    returned.select(&room, "11:00").await.assert_ok("selected");
    watcher.eventually_active(&room, &["11:00"]).await;
}

#[tokio::test]
async fn who_returns_on_the_other_gateway_before_that_knows_of_the_selection_keeps_it() {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    let builder = Gateway::builder().with("mysql.url", maria.url());
    let (one, two) = tokio::join!(builder.clone().start(), builder.with("mysql.sweep_ms", 1500).start());
    one.eventually_well_with_mysql().await;
    two.eventually_well_with_mysql().await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&one, "watcher", &room).await;
    // At all moments between two sweeps, and between two rounds of renewals: 1.5 and 2 s meet every 6 s.
    let times: Vec<String> =
        (9..17).flat_map(|hour| [format!("{hour:02}:00"), format!("{hour:02}:30")]).collect();
    let times: Vec<&str> = times.iter().map(String::as_str).collect();
    let mut returned = Vec::new();
    for time in &times {
        let alice = Page::of(&one, time).await;
        alice.select(&room, time).await.assert_ok("selected");
        alice.vanish().await;
        returned.push(Page::of(&two, time).await);
        tokio::time::sleep(Duration::from_millis(380)).await;
    }
    watcher.eventually_active(&room, &times).await;
    holds_for("all are kept", Duration::from_secs(12), async || {
        times.iter().all(|time| watcher.view(&room).active.contains(*time))
    })
    .await;
    assert!(returned.iter().all(|page| page.released().is_empty()));
}

#[tokio::test]
async fn tabs_on_two_gateways_are_one_client() {
    let (_redis, one, two) = two().await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&one, "watcher", &room).await;
    let (tab, other_tab) = (Page::of(&one, "alice").await, Page::of(&two, "alice").await);
    tab.select(&room, SLOT).await.assert_ok("selected");
    other_tab.select(&room, SLOT).await.assert_ok("selected");
    watcher.eventually_active(&room, &[SLOT]).await;
    // The gateway of the closed tab was not the last to renew, so it shortens nothing.
    tab.close().await;
    holds_for("the other gateway renews it", Duration::from_secs(12), async || {
        watcher.view(&room).active.contains(SLOT)
    })
    .await;
    other_tab.select(&room, "11:00").await.assert_ok("selected");
    watcher.eventually_active(&room, &["11:00"]).await;
    let late_tab = Page::of(&one, "alice").await;
    late_tab.select(&room, "12:00").await.assert_ok("selected");
    assert_eq!(
        other_tab.eventually_released(&room, "11:00").await,
        ("selection".into(), "superseded".into()),
        "the tab on the other gateway is told"
    );
}

#[tokio::test]
async fn when_a_gateway_crashes_who_returns_keeps_and_who_does_not_loses() {
    let (_redis, mut one, two) = two().await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&two, "watcher", &room).await;
    let (alice, bob) = (Page::of(&one, "alice").await, Page::of(&one, "bob").await);
    alice.select(&room, SLOT).await.assert_ok("selected");
    bob.select(&room, "11:00").await.assert_ok("selected");
    bob.lock(&room, "12:00").await.assert_ok("locked");
    watcher.eventually_active(&room, &[SLOT, "11:00"]).await;

    one.kill().await;
    assert_eq!(alice.eventually_closed().await, None);
    let returned = Page::of(&two, "alice").await;
    watcher.eventually_active(&room, &[SLOT]).await;
    holds_for("alice keeps hers", Duration::from_secs(12), async || {
        watcher.view(&room).active.contains(SLOT)
    })
    .await;
    assert!(watcher.view(&room).locked.contains("12:00"));
    assert!(returned.released().is_empty());
}

#[tokio::test]
async fn when_a_gateway_is_stopped_its_browsers_go_on_with_the_other() {
    let (_redis, mut one, two) = two().await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&two, "watcher", &room).await;
    let alice = Page::of(&one, "alice").await;
    alice.select(&room, SLOT).await.assert_ok("selected");
    watcher.eventually_active(&room, &[SLOT]).await;
    one.ask_to_stop();
    alice.eventually_goodbye().await;
    assert_eq!(alice.eventually_closed().await, Some(1001));
    let returned = Page::of(&two, "alice").await;
    assert_eq!(one.stopped().await.code, Some(0));
    holds_for("alice keeps hers", Duration::from_secs(12), async || {
        watcher.view(&room).active.contains(SLOT)
    })
    .await;
    returned.deselect(&room, SLOT).await.assert_ok("deselected");
    watcher.eventually_active(&room, &[]).await;
}

#[tokio::test]
async fn a_gateway_that_starts_later_knows_what_is_held() {
    let redis = RedisServer::start().await;
    let one = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&one, "alice").await;
    alice.select(&room, SLOT).await.assert_ok("selected");
    alice.lock(&room, "11:00").await.assert_ok("locked");
    let two = Gateway::on(&redis).await;
    let bob = Page::of(&two, "bob").await;
    let snapshot = bob.subscribe(&room).await;
    assert_eq!(snapshot.0["active"], serde_json::json!([SLOT]));
    assert_eq!(snapshot.0["locked"], serde_json::json!(["11:00"]));
    bob.select(&room, SLOT).await.assert_error("slot_locked");
}

#[tokio::test]
async fn at_most_one_gateway_tells_redis_about_a_change_of_another() {
    // A change made through one gateway is applied by the other, not written back: the key's writer stays the same.
    let (redis, _gateways, room, alice, bob) = one_on_each().await;
    alice.select(&room, SLOT).await.assert_ok("selected");
    bob.eventually_active(&room, &[SLOT]).await;
    alice.deselect(&room, SLOT).await.assert_ok("deselected");
    bob.eventually_active(&room, &[]).await;
    let mut connection = redis.connection().await;
    let gone = async || holder_of(&mut connection, &room.active_key(SLOT)).await.is_none();
    holds_for("a released selection does not come back", Duration::from_secs(5), gone).await;
    eventually("and is free", support::PATIENCE, async || bob.view(&room).active.is_empty().then_some(()))
        .await;
}
