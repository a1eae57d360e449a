//! Redis emptied, killed, frozen, refusing writes, or behind a broken line: rooms stay readable, writes say no, all heals.

use std::time::Duration;

use support::{FaultProxy, Gateway, Page, RedisServer, Room, Towards, eventually, holder_of, view_in};
use tokio::time::Instant;

const SLOT: &str = "10:00";
/// Detection, backoff and a fresh read of everything, on a busy machine.
const HEALING: Duration = Duration::from_secs(30);

/// A page that looks at a room, on a gateway on this Redis.
async fn alice_on(redis_url: &str) -> (Gateway, Room, Page) {
    let gateway = Gateway::builder().redis_at(redis_url).start().await;
    gateway.eventually_ready().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::watching(&gateway, "alice", &room).await;
    (gateway, room, alice)
}

/// Waits until a select works again; each try counts as a refusal, not as an error of the test.
async fn eventually_selects(page: &Page, room: &Room, time: &str) {
    eventually("selecting works again", HEALING, async || {
        let reply = page.select(room, time).await;
        if !reply.is_ok("selected") {
            reply.assert_error("store_unavailable");
            return None;
        }
        Some(())
    })
    .await;
}

/// Waits until a select is refused for want of a store.
async fn eventually_refused(page: &Page, room: &Room, time: &str) {
    eventually("writes are refused", HEALING, async || {
        let asked = Instant::now();
        let reply = page.select(room, time).await;
        assert!(asked.elapsed() < Duration::from_secs(8), "answered only after {:?}", asked.elapsed());
        (reply.text("code") == "store_unavailable").then_some(())
    })
    .await;
}

/// Waits until what PHP writes directly into Redis reaches the page.
async fn eventually_hears_php(redis: &RedisServer, page: &Page, room: &Room, time: &str) {
    let started = Instant::now();
    redis.php().await.select(room, time, "wp_heard").await;
    page.shows_within(HEALING, room, "PHP's selection is seen", |view| view.active.contains(time)).await;
    println!("PHP's selection was seen after {:?}", started.elapsed());
}

/// Waits until the page shows exactly what Redis holds.
async fn eventually_agrees(redis: &RedisServer, page: &Page, room: &Room) {
    let mut connection = redis.connection().await;
    eventually("the page shows what Redis holds", HEALING, async || {
        (view_in(&mut connection, room).await == page.view(room)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn after_a_flush_selections_of_present_clients_are_put_back_and_nothing_else() {
    let redis = RedisServer::start().await;
    let builder = Gateway::builder().redis_at(&redis.url());
    let (gateway, other) = (builder.clone().start().await, builder.start().await);
    gateway.eventually_ready().await;
    other.eventually_ready().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::watching(&gateway, "alice", &room).await;
    let bob = Page::watching(&other, "bob", &room).await;
    alice.select(&room, SLOT).await.assert_ok("selected");
    bob.select(&room, "11:00").await.assert_ok("selected");
    bob.lock(&room, "12:00").await.assert_ok("locked");
    redis.php().await.select(&room, "13:00", "wp_1").await;
    for page in [&alice, &bob] {
        page.eventually_active(&room, &[SLOT, "11:00", "13:00"]).await;
        page.eventually_locked(&room, &["12:00"]).await;
    }
    let flushed = Instant::now();
    redis.run::<()>(&["FLUSHDB"]).await;
    for page in [&alice, &bob] {
        page.eventually_active(&room, &[SLOT, "11:00"]).await;
        page.eventually_locked(&room, &[]).await;
    }
    println!("agreed {:?} after the flush", flushed.elapsed());
    let mut connection = redis.connection().await;
    eventually("both are put back in Redis", HEALING, async || {
        let first = holder_of(&mut connection, &room.active_key(SLOT)).await?;
        let second = holder_of(&mut connection, &room.active_key("11:00")).await?;
        ((first.as_str(), second.as_str()) == ("alice", "bob")).then_some(())
    })
    .await;
    assert_eq!(bob.eventually_released(&room, "12:00").await, ("lock".into(), "lost".into()));
    assert!(alice.released().is_empty(), "{:?}", alice.released());
    assert_eq!(bob.released().len(), 1, "{:?}", bob.released());
}

#[tokio::test]
async fn a_redis_restarted_empty_is_filled_with_the_selections_of_present_clients() {
    let mut redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice").await;
    let bob = Page::watching(&gateway, "bob", &room).await;
    alice.select(&room, SLOT).await.assert_ok("selected");
    redis.php().await.select(&room, "13:00", "wp_1").await;
    bob.eventually_active(&room, &[SLOT, "13:00"]).await;
    redis.restart_empty().await;
    bob.shows_within(HEALING, &room, "PHP's is gone, alice's is there", |view| view.active.iter().eq([SLOT]))
        .await;
    let mut connection = redis.connection().await;
    eventually("alice's is back in Redis", HEALING, async || {
        holder_of(&mut connection, &room.active_key(SLOT)).await.filter(|holder| holder == "alice")
    })
    .await;
    assert!(alice.released().is_empty(), "{:?}", alice.released());
    eventually_hears_php(&redis, &bob, &room, "14:00").await;
    eventually_agrees(&redis, &bob, &room).await;
    gateway.eventually_ready().await;
}

#[tokio::test]
async fn a_redis_restarted_with_its_data_goes_on() {
    let mut redis = RedisServer::start().await;
    let (_gateway, room, alice) = alice_on(&redis.url()).await;
    let fence = alice.lock(&room, SLOT).await.assert_ok("locked").number("fence");
    redis.restart().await;
    eventually_selects(&alice, &room, "11:00").await;
    alice.eventually_locked(&room, &[SLOT]).await;
    assert_eq!(alice.lock(&room, SLOT).await.assert_ok("locked").number("fence"), fence);
    eventually_hears_php(&redis, &alice, &room, "14:00").await;
    eventually_agrees(&redis, &alice, &room).await;
}

#[tokio::test]
async fn while_redis_is_away_rooms_are_readable_and_stale_and_writes_are_refused() {
    let mut redis = RedisServer::start().await;
    let (gateway, room, alice) = alice_on(&redis.url()).await;
    redis.php().await.select_for(&room, SLOT, "wp_1", 6).await;
    redis.php().await.select(&room, "11:00", "wp_2").await;
    alice.eventually_active(&room, &[SLOT, "11:00"]).await;

    redis.kill().await;
    let told = alice.eventually_storage("stale storage", |frame| frame["stale"] == true).await;
    assert_eq!(told["redis_status"], "unavailable", "{told}");
    gateway.eventually_readyz(503).await;
    alice.select(&room, "12:00").await.assert_error("store_unavailable");
    alice.lock(&room, "12:00").await.assert_error("store_unavailable");
    let snapshot = alice.sync(&room).await.assert_kind("snapshot");
    assert_eq!(snapshot.0["stale"], true, "{snapshot:?}");
    let late = Page::of(&gateway, "late").await;
    let snapshot = late.subscribe(&room).await;
    assert_eq!((&snapshot.0["stale"], snapshot.text("redis_status")), (&true.into(), "unavailable"));
    // Deadlines pass without Redis.
    alice.eventually_active(&room, &["11:00"]).await;
    assert!(support::LegacyPage::of(&gateway).get("/livez").await.status == 200);

    redis.restart_empty().await;
    alice
        .eventually_storage("back again", |frame| {
            frame["redis_status"] == "available" && frame["stale"] != true
        })
        .await;
    gateway.eventually_ready().await;
    eventually_selects(&alice, &room, "12:00").await;
    alice.eventually_active(&room, &["12:00"]).await;
    alice.assert_open();
    late.assert_open();
    eventually_agrees(&redis, &alice, &room).await;
}

#[tokio::test]
async fn a_frozen_redis_is_given_up_in_time_and_used_again_when_it_thaws() {
    let redis = RedisServer::start().await;
    let (gateway, room, alice) = alice_on(&redis.url()).await;
    redis.pause();
    eventually_refused(&alice, &room, SLOT).await;
    gateway.eventually_readyz(503).await;
    redis.resume();
    eventually_selects(&alice, &room, SLOT).await;
    gateway.eventually_ready().await;
    eventually_hears_php(&redis, &alice, &room, "14:00").await;
    eventually_agrees(&redis, &alice, &room).await;
}

#[tokio::test]
async fn a_redis_that_answers_ping_but_takes_no_writes_is_down() {
    let redis = RedisServer::start().await;
    let (gateway, room, alice) = alice_on(&redis.url()).await;
    for (setting, refusing, accepting) in [("min-replicas-to-write", "1", "0"), ("maxmemory", "1", "0")] {
        redis.run::<()>(&["CONFIG", "SET", setting, refusing]).await;
        eventually_refused(&alice, &room, SLOT).await;
        gateway.eventually_readyz(503).await;
        redis.run::<()>(&["CONFIG", "SET", setting, accepting]).await;
        eventually_selects(&alice, &room, SLOT).await;
        gateway.eventually_ready().await;
        alice.deselect(&room, SLOT).await.assert_ok("deselected");
    }
}

#[tokio::test]
async fn a_gateway_starts_before_its_redis() {
    let mut redis = RedisServer::start().await;
    redis.kill().await;
    let gateway = Gateway::builder().redis_at(&redis.url()).start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice").await;
    alice.select(&room, SLOT).await.assert_error("store_unavailable");
    gateway.eventually_readyz(503).await;
    redis.restart_empty().await;
    gateway.eventually_ready().await;
    alice.subscribe(&room).await;
    eventually_selects(&alice, &room, SLOT).await;
    eventually_hears_php(&redis, &alice, &room, "14:00").await;
}

#[tokio::test]
async fn half_open_lines_are_replaced() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::before(redis.addr()).await;
    let (gateway, room, alice) = alice_on(&format!("redis://{}", proxy.addr())).await;
    let breaks: [(&str, &dyn Fn()); 4] = [
        ("both directions", &|| proxy.black_hole_existing()),
        ("to the server", &|| proxy.swallow_existing(Towards::Server)),
        ("to the client", &|| proxy.swallow_existing(Towards::Client)),
        ("reset", &|| proxy.reset_all()),
    ];
    for (number, (what, break_the_line)) in breaks.into_iter().enumerate() {
        println!("broken: {what}");
        break_the_line();
        eventually_hears_php(&redis, &alice, &room, &format!("14:{number:02}")).await;
        eventually_selects(&alice, &room, &format!("15:{number:02}")).await;
        eventually_agrees(&redis, &alice, &room).await;
        gateway.eventually_ready().await;
    }
}

#[tokio::test]
async fn a_dead_notification_link_is_noticed_while_commands_work() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::before(redis.addr()).await;
    let (_gateway, room, alice) = alice_on(&format!("redis://{}", proxy.addr())).await;
    for round in 0..2 {
        assert!(proxy.black_hole_those_that_said("SUBSCRIBE") > 0, "no notification link");
        alice.select(&room, &format!("10:{round:02}")).await.assert_ok("selected");
        eventually_hears_php(&redis, &alice, &room, &format!("14:{round:02}")).await;
        eventually_agrees(&redis, &alice, &room).await;
    }
}

#[tokio::test]
async fn a_redis_that_cannot_be_reached_for_a_while_is_found_again() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::before(redis.addr()).await;
    let (_gateway, room, alice) = alice_on(&format!("redis://{}", proxy.addr())).await;
    proxy.refuse().await;
    eventually_refused(&alice, &room, SLOT).await;
    // What was written meanwhile is found by reading anew, not by an event.
    redis.php().await.select(&room, "13:00", "wp_1").await;
    proxy.heal();
    alice.shows_within(HEALING, &room, "the missed write", |view| view.active.contains("13:00")).await;
    eventually_selects(&alice, &room, SLOT).await;

    proxy.black_hole();
    eventually_refused(&alice, &room, SLOT).await;
    redis.php().await.delete(&room, "13:00").await;
    proxy.heal();
    alice.shows_within(HEALING, &room, "the missed delete", |view| !view.active.contains("13:00")).await;
    eventually_selects(&alice, &room, SLOT).await;
    eventually_hears_php(&redis, &alice, &room, "14:00").await;
    eventually_agrees(&redis, &alice, &room).await;
}

#[tokio::test]
async fn an_operators_housekeeping_goes_unnoticed() {
    let redis = RedisServer::start().await;
    let (_gateway, room, alice) = alice_on(&redis.url()).await;
    redis.run::<()>(&["SCRIPT", "FLUSH"]).await;
    alice.select(&room, SLOT).await.assert_ok("selected");
    for kind in ["pubsub", "normal"] {
        redis.run::<u32>(&["CLIENT", "KILL", "TYPE", kind]).await;
        eventually_hears_php(&redis, &alice, &room, &format!("14:0{}", kind.len())).await;
        eventually_selects(&alice, &room, SLOT).await;
    }
    eventually_agrees(&redis, &alice, &room).await;
}
