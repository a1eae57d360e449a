//! What `confirm` answers by what is at the slot, and what everybody hears of it; on every store alike.

use std::time::Duration;

use serde_json::{Value, json};
use support::{Gateway, MariaDb, Page, RedisServer, Reply, Room, holds_for};

const SLOT: &str = "10:00";

/// What is at the slot before the command.
#[derive(Clone, Copy, Debug)]
enum There {
    Nothing,
    OwnSelection,
    OwnLock,
    OthersSelection,
    OthersLock,
    Booked,
}

async fn put(there: There, alice: &Page, bob: &Page, room: &Room) {
    match there {
        There::Nothing => return,
        There::OwnSelection => alice.select(room, SLOT).await.assert_ok("selected"),
        There::OwnLock => alice.lock(room, SLOT).await.assert_ok("locked"),
        There::OthersSelection => bob.select(room, SLOT).await.assert_ok("selected"),
        There::OthersLock => bob.lock(room, SLOT).await.assert_ok("locked"),
        There::Booked => bob.confirm(room, SLOT, "bobs").await.assert_ok("confirmed"),
    };
}

fn suggested(reply: &Reply) -> Vec<&str> {
    reply.0["suggested"].as_array().expect("suggestions").iter().filter_map(Value::as_str).collect()
}

async fn play_the_table(gateway: &Gateway) {
    let watcher = Page::of(gateway, "watcher").await;
    let refusal = |there| match there {
        There::OthersSelection | There::OthersLock => Some("slot_locked"),
        There::Booked => Some("slot_booked"),
        _ => None,
    };
    for (row, there) in [
        There::Nothing,
        There::OwnSelection,
        There::OwnLock,
        There::OthersSelection,
        There::OthersLock,
        There::Booked,
    ]
    .into_iter()
    .enumerate()
    {
        let room = Room::tomorrow_of(row as u32 + 1);
        watcher.subscribe(&room).await;
        let alice = Page::of(gateway, &format!("alice-{row}")).await;
        let bob = Page::of(gateway, &format!("bob-{row}")).await;
        put(there, &alice, &bob, &room).await;
        let reply = alice.confirm(&room, SLOT, "k").await;
        println!("confirm on {there:?}: {}", reply.0);
        match refusal(there) {
            None => {
                let reply = reply.assert_ok("confirmed");
                assert!(reply.number("appointment_id") > 0);
                let tail = format!("-{:06}", reply.number("appointment_id"));
                let strong_id = reply.text("strong_id");
                assert!(strong_id.starts_with("APT-20") && strong_id.ends_with(&tail), "{strong_id}");
                watcher.eventually_booked(&room, &[SLOT]).await;
            }
            Some(code) => {
                let reply = reply.assert_error(code);
                assert_eq!(suggested(&reply), ["09:00", "09:30", "10:30"]);
            }
        }
        if matches!(there, There::OthersSelection | There::OthersLock) {
            watcher.settle().await;
            assert!(watcher.view(&room).booked.is_empty(), "{there:?}");
            bob.confirm(&room, SLOT, "bobs").await.assert_ok("confirmed");
        }
        watcher.eventually_booked(&room, &[SLOT]).await;
        let view = watcher.view(&room);
        assert!(view.active.is_empty() && view.locked.is_empty(), "{there:?}: {view:?}");
    }
}

/// Nothing but a deselect is granted on what is booked.
async fn ask_for_what_is_booked(gateway: &Gateway) {
    let room = Room::tomorrow_of(21);
    let alice = Page::of(gateway, "carol").await;
    alice.lock(&room, SLOT).await.assert_ok("locked");
    alice.confirm(&room, SLOT, "k").await.assert_ok("confirmed");
    for page in [&alice, &Page::of(gateway, "bob").await] {
        page.select(&room, SLOT).await.assert_error("slot_booked");
        page.lock(&room, SLOT).await.assert_error("slot_booked");
        page.unlock(&room, SLOT).await.assert_error("lock_lost");
        page.deselect(&room, SLOT).await.assert_ok("deselected");
        page.confirm(&room, SLOT, "another").await.assert_error("slot_booked");
    }
}

/// A booking and the hold it ends are one diff.
async fn count_the_diffs(gateway: &Gateway) {
    let room = Room::tomorrow_of(22);
    let watcher = Page::watching(gateway, "watcher", &room).await;
    let alice = Page::of(gateway, "carol").await;
    for (time, list) in [("10:00", "active"), ("11:00", "locked")] {
        match list {
            "active" => alice.select(&room, time).await.assert_ok("selected"),
            _ => alice.lock(&room, time).await.assert_ok("locked"),
        };
        watcher.eventually_shows(&room, "held", |view| view.active.len() + view.locked.len() == 1).await;
        let before = watcher.live(&room);
        let seen = watcher.frames().len();
        alice.confirm(&room, time, time).await.assert_ok("confirmed");
        watcher.eventually_shows(&room, "booked", |view| view.booked.contains(time)).await;
        let once = async || watcher.live(&room).rev == before.rev + 1;
        holds_for("one diff says it all", Duration::from_millis(100), once).await;
        let (_, diff) = watcher.frames()[seen..].first().cloned().expect("a frame");
        let diff: Value = serde_json::from_str(&diff).expect("JSON");
        assert_eq!(diff["booked"], json!({"add": [time], "remove": []}), "{diff}");
        assert_eq!(diff[list], json!({"add": [], "remove": [time]}), "{diff}");
    }
}

/// The client's other tabs hear that their hold was booked, and its own does not.
async fn listen_in_other_tabs(gateway: &Gateway) {
    let room = Room::tomorrow_of(23);
    let (tab, other) = (Page::of(gateway, "carol").await, Page::of(gateway, "carol").await);
    tab.select(&room, "10:00").await.assert_ok("selected");
    tab.confirm(&room, "10:00", "a").await.assert_ok("confirmed");
    assert_eq!(other.eventually_released(&room, "10:00").await, ("selection".into(), "booked".into()));
    other.lock(&room, "11:00").await.assert_ok("locked");
    tab.confirm(&room, "11:00", "b").await.assert_ok("confirmed");
    assert_eq!(other.eventually_released(&room, "11:00").await, ("lock".into(), "booked".into()));
    // Nothing is renewed any more, or missed: a renewal comes every two seconds.
    let silent = async || tab.released().is_empty() && other.released().len() == 2;
    holds_for("no more is told", Duration::from_secs(3), silent).await;
}

async fn play_all(gateway: &Gateway) {
    play_the_table(gateway).await;
    ask_for_what_is_booked(gateway).await;
    count_the_diffs(gateway).await;
    listen_in_other_tabs(gateway).await;
}

#[tokio::test]
async fn on_the_memory_store() {
    play_all(&Gateway::start().await).await;
}

#[tokio::test]
async fn on_mysql_alone() {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    let gateway = Gateway::builder().with("mysql.url", maria.url()).start().await;
    gateway.eventually_ready().await;
    play_all(&gateway).await;
}

#[tokio::test]
async fn on_redis_with_mysql() {
    let (maria, redis) = (MariaDb::start().await, RedisServer::start().await);
    maria.wordpress_options().await;
    maria.appointments().await;
    let builder = Gateway::builder().redis_at(&redis.url()).with("mysql.url", maria.url());
    let gateway = builder.start().await;
    gateway.eventually_well_with_mysql().await;
    play_all(&gateway).await;
}

#[tokio::test]
async fn with_redis_alone_bookings_are_refused_and_all_else_goes_on() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let page = Page::watching(&gateway, "carol", &room).await;
    page.lock(&room, SLOT).await.assert_ok("locked");
    let refused = page.confirm(&room, SLOT, "k").await.assert_error("store_unavailable");
    assert!(refused.text("message").contains("mysql.url"), "{}", refused.0);
    page.ask(room.frame("availability")).await.assert_kind("availability");
    page.eventually_locked(&room, &[SLOT]).await;
}
