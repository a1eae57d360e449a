//! A page that reads slowly or not at all: it gets fewer frames, never wrong ones, and nobody pays for it.

use std::time::Duration;

use support::{Gateway, Page, RedisServer, Room, eventually, view_in};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Changes in all, a few in each beat, so that the beats do not share one diff.
const BEATS: usize = 500;
const CHANGES_PER_BEAT: usize = 20;
const SLOTS_OF_A_DAY: usize = 24 * 60;
const BEAT: Duration = Duration::from_millis(12);
/// A server that queued every frame for one connection would need more; the test's own noise needs less.
const FLAT_KIB: u64 = 24 * 1024;

/// Established TCP connections whose local end is this port, as the kernel lists them for the process.
fn open_sockets_to(pid: u32, port: u16) -> usize {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("the process runs");
    let local = format!(":{port:04X}");
    let established = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next().is_some_and(|end| end.ends_with(&local)) && columns.nth(1) == Some("01")
    };
    table.lines().filter(established).count()
}

fn time_of(number: usize) -> String {
    format!("{:02}:{:02}", number / 60 % 24, number % 60)
}

/// Sets and deletes slots in all rooms as PHP does, pipelined.
async fn change_a_lot(redis: &RedisServer, rooms: &[Room]) {
    let mut connection = redis.connection().await;
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    for _ in 0..BEATS {
        beat.tick().await;
        let mut pipeline = redis::pipe();
        for _ in 0..CHANGES_PER_BEAT {
            // Sets every slot of a day in turn, then deletes them, and so on: each write is a change.
            let room = &rooms[number % rooms.len()];
            let time = time_of(number * 7);
            if number / SLOTS_OF_A_DAY % 2 == 1 {
                pipeline.del(room.active_key(&time)).ignore();
            } else {
                let value =
                    serde_json::json!({"client_id": format!("wp_{number}"), "timestamp": 1, "time": time});
                pipeline.set_ex(room.active_key(&time), value.to_string(), 300).ignore();
            }
            number += 1;
        }
        pipeline.query_async::<()>(&mut connection).await.expect("redis takes the changes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_stops_reading_is_right_again_after_one_snapshot_a_room() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let rooms: Vec<Room> = (1..=4).map(Room::tomorrow_of).collect();
    let slow = Page::builder(&gateway).receive_buffer(4096).open().await;
    slow.hello("slow").await;
    let mut quick = Vec::new();
    for number in 0..30 {
        quick.push(Page::of(&gateway, &format!("quick-{number}")).await);
    }
    for room in &rooms {
        slow.subscribe(room).await;
        for page in &quick {
            page.subscribe(room).await;
        }
    }
    let before = gateway.resident_kib();
    slow.stop_reading();
    let started = Instant::now();
    change_a_lot(&redis, &rooms).await;
    println!("{} changes in {:?}", BEATS * CHANGES_PER_BEAT, started.elapsed());

    let mut connection = redis.connection().await;
    for room in &rooms {
        let truth = view_in(&mut connection, room).await;
        for page in &quick {
            page.eventually_shows(room, "all changes", |view| *view == truth).await;
        }
    }
    let grown = gateway.resident_kib().saturating_sub(before);
    println!("the gateway grew by {grown} KiB");
    assert!(grown < FLAT_KIB, "{grown} KiB");

    slow.read_again();
    for room in &rooms {
        let truth = view_in(&mut connection, room).await;
        slow.eventually_shows(room, "all changes", |view| *view == truth).await;
        let (live, others) = (slow.live(room), quick[0].live(room));
        println!("slow: {} diffs, {} snapshots; others: {} diffs", live.diffs, live.snapshots, others.diffs);
        assert!(live.snapshots <= 2, "the first one and one more: {}", live.snapshots);
    }
    slow.settle().await;
    slow.select(&rooms[0], "23:59").await;
    slow.assert_open();
}

#[tokio::test]
async fn a_page_that_never_reads_again_is_let_go() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let deaf = Page::builder(&gateway).receive_buffer(4096).open().await;
    deaf.hello("deaf").await;
    deaf.subscribe(&room).await;
    deaf.select(&room, "23:30").await.assert_ok("selected");
    watcher.eventually_active(&room, &["23:30"]).await;
    deaf.stop_reading();
    // No ping is answered: the selection goes, then the connection.
    let gone = Duration::from_secs(60);
    watcher.shows_within(gone, &room, "the deaf page's selection ends", |view| view.active.is_empty()).await;
    eventually("the gateway forgets the connection", gone, async || {
        (open_sockets_to(gateway.pid(), gateway.addr().port()) <= 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn changes_that_come_together_may_share_a_diff_and_the_first_leaves_at_once() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let page = Page::watching(&gateway, "alice", &room).await;
    let mut connection = redis.connection().await;
    let mut pipeline = redis::pipe();
    for minute in 0..60 {
        let time = format!("10:{minute:02}");
        let value = serde_json::json!({"client_id": format!("wp_{minute}"), "timestamp": 1, "time": time});
        pipeline.set_ex(room.active_key(&time), value.to_string(), 300).ignore();
    }
    pipeline.query_async::<()>(&mut connection).await.expect("redis takes the changes");
    page.eventually_shows(&room, "all sixty", |view| view.active.len() == 60).await;
    println!("60 changes in {} diffs", page.live(&room).diffs);
    assert!(page.live(&room).diffs <= 60);
}
