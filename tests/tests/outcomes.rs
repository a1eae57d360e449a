//! The table of outcomes: what each command answers, by what is at the slot; on every store alike.

use std::fmt::Debug;

use support::{Gateway, Page, RedisServer, Reply, Room};

/// What is at the slot before the command.
#[derive(Clone, Copy, Debug)]
enum There {
    Nothing,
    OwnSelection,
    OwnLock,
    OthersSelection,
    OthersLock,
}

/// What the command must answer.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Ok(&'static str),
    /// `ok`, whatever its status.
    Granted,
    Error(&'static str),
}

/// What everybody sees of the slot afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Free,
    Active,
    Locked,
}

const TABLE: [(&str, There, Answer, Seen); 20] = [
    ("select", There::Nothing, Answer::Ok("selected"), Seen::Active),
    ("select", There::OwnSelection, Answer::Ok("selected"), Seen::Active),
    ("select", There::OwnLock, Answer::Ok("locked"), Seen::Locked),
    ("select", There::OthersSelection, Answer::Error("slot_locked"), Seen::Active),
    ("select", There::OthersLock, Answer::Error("slot_locked"), Seen::Locked),
    ("deselect", There::Nothing, Answer::Ok("deselected"), Seen::Free),
    ("deselect", There::OwnSelection, Answer::Ok("deselected"), Seen::Free),
    ("deselect", There::OwnLock, Answer::Granted, Seen::Locked),
    ("deselect", There::OthersSelection, Answer::Error("not_owner"), Seen::Active),
    ("deselect", There::OthersLock, Answer::Error("not_owner"), Seen::Locked),
    ("lock", There::Nothing, Answer::Ok("locked"), Seen::Locked),
    ("lock", There::OwnSelection, Answer::Ok("locked"), Seen::Locked),
    ("lock", There::OwnLock, Answer::Ok("locked"), Seen::Locked),
    ("lock", There::OthersSelection, Answer::Error("slot_locked"), Seen::Active),
    ("lock", There::OthersLock, Answer::Error("slot_locked"), Seen::Locked),
    ("unlock", There::Nothing, Answer::Error("lock_lost"), Seen::Free),
    ("unlock", There::OwnSelection, Answer::Error("lock_lost"), Seen::Active),
    ("unlock", There::OwnLock, Answer::Ok("unlocked"), Seen::Free),
    ("unlock", There::OthersSelection, Answer::Error("not_owner"), Seen::Active),
    ("unlock", There::OthersLock, Answer::Error("not_owner"), Seen::Locked),
];

/// Plays every row with clients of its own; `watcher_on` may be another gateway.
async fn play_the_table(gateway: &Gateway, watcher_on: &Gateway) {
    let watcher = Page::of(watcher_on, "watcher").await;
    for (row, (command, there, wanted, seen)) in TABLE.into_iter().enumerate() {
        let employee = u32::try_from(row).expect("few rows") + 1;
        let room = Room::tomorrow_of(employee);
        watcher.subscribe(&room).await;
        let alice = Page::of(gateway, &format!("alice-{row}")).await;
        let bob = Page::of(gateway, &format!("bob-{row}")).await;
        let time = "10:00";
        match there {
            There::Nothing => None,
            There::OwnSelection => Some(alice.select(&room, time).await.assert_ok("selected")),
            There::OwnLock => Some(alice.lock(&room, time).await.assert_ok("locked")),
            There::OthersSelection => Some(bob.select(&room, time).await.assert_ok("selected")),
            There::OthersLock => Some(bob.lock(&room, time).await.assert_ok("locked")),
        };
        let reply = alice.ask(room.slot_frame(command, time)).await;
        assert!(fits(&reply, wanted), "{command} on {there:?}: wanted {wanted:?}, got {}", reply.0);
        let what = format!("after {command} on {there:?}, {time} is {seen:?}");
        watcher
            .eventually_shows(&room, &what, |view| {
                (view.active.contains(time), view.locked.contains(time))
                    == (seen == Seen::Active, seen == Seen::Locked)
            })
            .await;
        watcher.unsubscribe(&room).await.assert_kind("ok");
    }
}

fn fits(reply: &Reply, wanted: Answer) -> bool {
    match wanted {
        Answer::Ok(status) => reply.is_ok(status),
        Answer::Granted => reply.kind() == "ok",
        Answer::Error(code) => reply.kind() == "error" && reply.text("code") == code,
    }
}

#[tokio::test]
async fn every_command_has_its_outcome_on_the_memory_store() {
    let gateway = Gateway::builder().start().await;
    play_the_table(&gateway, &gateway).await;
}

#[tokio::test]
async fn every_command_has_its_outcome_on_redis_and_is_seen_through_another_gateway() {
    let redis = RedisServer::start().await;
    let builder = Gateway::builder().redis_at(&redis.url());
    let (gateway, other) = (builder.clone().start().await, builder.start().await);
    gateway.eventually_ready().await;
    other.eventually_ready().await;
    play_the_table(&gateway, &other).await;
}

#[tokio::test]
async fn a_lock_says_its_fence_and_is_never_extended_by_locking_again() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let (alice, bob) = (Page::of(&gateway, "alice").await, Page::of(&gateway, "bob").await);
    let first = alice.lock(&room, "10:00").await.assert_ok("locked");
    assert_eq!(first.text("storage"), "redis");
    assert!((599..=600).contains(&first.number("ttl")), "{first:?}");

    redis.run::<u32>(&["EXPIRE", &room.lock_key("10:00"), "100"]).await;
    let again = alice.lock(&room, "10:00").await.assert_ok("locked");
    assert_eq!(again.number("fence"), first.number("fence"));
    assert!(again.number("ttl") <= 100, "{again:?}");

    alice.unlock(&room, "10:00").await.assert_ok("unlocked");
    let next = bob.lock(&room, "10:00").await.assert_ok("locked");
    assert!(next.number("fence") > first.number("fence"));
}

#[tokio::test]
async fn a_client_has_at_most_three_locks() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let alice = Page::of(&gateway, "alice").await;
    let rooms: Vec<Room> = (1..=4).map(Room::tomorrow_of).collect();
    for room in &rooms[..3] {
        alice.lock(room, "10:00").await.assert_ok("locked");
    }
    alice.lock(&rooms[3], "10:00").await.assert_error("too_many_holds");
    alice.lock(&rooms[0], "10:00").await.assert_ok("locked");
    alice.unlock(&rooms[1], "10:00").await.assert_ok("unlocked");
    alice.lock(&rooms[3], "10:00").await.assert_ok("locked");
}

#[tokio::test]
async fn a_selection_becomes_the_lock_and_leaves_nothing_behind() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let alice = Page::watching(&gateway, "alice", &room).await;
    alice.select(&room, "10:00").await.assert_ok("selected");
    alice.eventually_active(&room, &["10:00"]).await;
    alice.lock(&room, "10:00").await.assert_ok("locked");
    alice.eventually_locked(&room, &["10:00"]).await;
    assert_eq!(redis.run::<u32>(&["EXISTS", &room.active_key("10:00")]).await, 0);
    alice.unlock(&room, "10:00").await.assert_ok("unlocked");
    let view = alice.eventually_shows(&room, "nothing", |view| view.locked.is_empty()).await;
    assert!(view.active.is_empty(), "{view:?}");
    assert!(alice.released().is_empty(), "told of its own acts: {:?}", alice.released());
}
