//! Everybody wants one slot at one moment: browsers on two gateways, and WordPress beside them. One has it, everybody else
//! is told so, and what else is free.

use std::time::Duration;

use futures::future::join_all;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use serde_json::Value;
use support::{Gateway, GatewayBuilder, MariaDb, Page, RedisServer, Reply, Room, View, run_slotcast};
use tokio::time::{Instant, timeout};

const BROWSERS: usize = 200;
const WRITERS: usize = 50;
/// Where nothing else is said, so many slots are fought for on each store.
const SLOTS: usize = 3;
/// Far longer than all of them need.
const NO_HANG: Duration = Duration::from_secs(60);
/// What a transaction of WordPress may run into: a unique key, a deadlock, a lock that was waited for too long.
const LOST: [u16; 3] = [1062, 1213, 1205];

fn slots() -> usize {
    std::env::var("BOOKED_SLOTS").ok().and_then(|count| count.parse().ok()).unwrap_or(SLOTS)
}

/// A site without the guard that `migrate` adds.
async fn unguarded() -> MariaDb {
    let maria = MariaDb::start_with(&["--max-connections=200"]).await;
    maria.wordpress_options().await;
    maria.appointments().await;
    maria
}

async fn guarded(redis: Option<&RedisServer>) -> MariaDb {
    let maria = unguarded().await;
    let redis = redis.map(RedisServer::url).unwrap_or_default();
    let stores = [("SLOTCAST_MYSQL_URL", &*maria.url()), ("SLOTCAST_REDIS_URL", &redis)];
    let migrated = run_slotcast(&["migrate"], &stores).await;
    assert!(migrated.status.success(), "{migrated:?}");
    maria
}

/// Connections as WordPress has them, half of them at each isolation level.
async fn writers(maria: &MariaDb, count: usize) -> Vec<Conn> {
    let mut writers = Vec::new();
    for number in 0..count {
        let level = if number % 2 == 0 { "READ COMMITTED" } else { "REPEATABLE READ" };
        let mut writer = maria.connection().await;
        let level = format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}");
        writer.query_drop(level).await.expect("a level");
        writers.push(writer);
    }
    writers
}

/// Looks under lock whether somebody has the slot, and takes it if not, as PHP does; whether it has it now.
async fn write(connection: &mut Conn, room: &Room, time: &str) -> bool {
    match try_to_write(connection, room, time).await {
        Ok(has_it) => has_it,
        Err(Error::Server(error)) if LOST.contains(&error.code) => {
            connection.query_drop("ROLLBACK").await.expect("rolled back");
            false
        }
        Err(error) => panic!("a writer: {error}"),
    }
}

async fn try_to_write(connection: &mut Conn, room: &Room, time: &str) -> Result<bool, Error> {
    let slot = (room.employee_id, format!("{} {time}:00", room.date));
    connection.query_drop("START TRANSACTION").await?;
    let taken = "SELECT id FROM wp_appointease_appointments WHERE employee_id = ? AND appointment_date = ? \
                 AND status IN ('confirmed', 'created') FOR UPDATE";
    let taken: Option<u64> = connection.exec_first(taken, &slot).await?;
    if taken.is_none() {
        let take = "INSERT INTO wp_appointease_appointments (name, email, employee_id, appointment_date) \
                    VALUES ('P', 'p@example.com', ?, ?)";
        connection.exec_drop(take, &slot).await?;
    }
    connection.query_drop("COMMIT").await?;
    Ok(taken.is_none())
}

/// A browser that wants the slot; its booking's number if it has it. Panics unless it was told clearly.
async fn want(page: &Page, room: &Room, time: &str, locks: bool) -> Option<u64> {
    if locks {
        let reply = page.lock(room, time).await;
        assert!(reply.is_ok("locked") || is_clear(&reply), "{reply:?}");
    }
    let reply = page.confirm(room, time, &format!("{} {time}", room.employee_id)).await;
    if reply.is_ok("confirmed") {
        return Some(reply.number("appointment_id"));
    }
    assert!(is_clear(&reply), "{reply:?}");
    let suggested = reply.0["suggested"].as_array().expect("what else is free");
    let others = suggested.iter().filter_map(Value::as_str).filter(|other| *other != time);
    assert_eq!(others.count(), 3, "nothing else is taken in this room: {reply:?}");
    None
}

fn is_clear(reply: &Reply) -> bool {
    reply.kind() == "error" && ["slot_locked", "slot_booked"].contains(&reply.text("code"))
}

/// One slot, for which everybody comes.
async fn race(maria: &MariaDb, pages: &[Page], watchers: &[Page; 2], writers: &mut [Conn], number: usize) {
    let room = Room::in_days_of(1 + number as i64 % 300, 1 + number as u32);
    let time = "12:00";
    for watcher in watchers {
        watcher.subscribe(&room).await;
    }
    let began = Instant::now();
    let wanting = pages.iter().enumerate().map(|(at, page)| want(page, &room, time, at % 4 < 2));
    let writing = writers.iter_mut().map(async |writer| {
        // They are the quicker ones: at times they come when somebody has the slot already, or is about to.
        if !number.is_multiple_of(3) {
            let held = |view: &View| number % 3 == 1 && view.locked.contains(time);
            watchers[0]
                .shows_within(NO_HANG, &room, "held", |view| held(view) || view.booked.contains(time))
                .await;
        }
        write(writer, &room, time).await
    });
    let all = async { tokio::join!(join_all(wanting), join_all(writing)) };
    let (ours, theirs) = timeout(NO_HANG, all).await.expect("nobody hangs");
    let ours: Vec<u64> = ours.into_iter().flatten().collect();
    let theirs = theirs.into_iter().filter(|has_it| *has_it).count();

    let sql = format!(
        "SELECT id FROM wp_appointease_appointments WHERE employee_id = {} AND appointment_date = '{} {time}:00' \
         AND status IN ('confirmed', 'created')",
        room.employee_id, room.date
    );
    let live: Vec<u64> = maria.query(&sql).await;
    assert_eq!(live.len(), 1, "{live:?}: booked here {ours:?}, by others {theirs}");
    assert_eq!(ours.len() + theirs, 1, "{live:?}: booked here {ours:?}, by others {theirs}");
    assert!(ours.iter().all(|id| live.contains(id)), "told of {ours:?}, there is {live:?}");
    let winner = if theirs == 1 { "a writer" } else { "a browser" };
    println!("slot {number}: {winner} has it, all were told in {:?}", began.elapsed());
    for watcher in watchers {
        let only_booked = "booked, and nothing else";
        watcher
            .eventually_shows(&room, only_booked, |view| {
                view.booked.iter().eq([time]) && view.active.is_empty() && view.locked.is_empty()
            })
            .await;
        watcher.unsubscribe(&room).await;
    }
}

async fn races(maria: MariaDb, builder: GatewayBuilder, others: usize) {
    // A machine that others use, too, may take its time for a crowd.
    let builder = builder.with("mysql.url", maria.url()).with("mysql.command_timeout_ms", 10_000);
    let (one, other) = tokio::join!(builder.clone().start(), builder.start());
    one.eventually_well_with_mysql().await;
    other.eventually_well_with_mysql().await;
    let mut pages = Vec::new();
    for number in 0..BROWSERS {
        pages.push(Page::of([&one, &other][number % 2], &format!("browser-{number}")).await);
    }
    let watchers = [Page::of(&one, "watcher-1").await, Page::of(&other, "watcher-2").await];
    let mut writers = writers(&maria, others).await;
    for number in 0..slots() {
        race(&maria, &pages, &watchers, &mut writers, number).await;
    }
    for gateway in [&one, &other] {
        assert!(!gateway.logs().tail().contains("panicked"), "{}", gateway.logs().tail());
    }
}

/// One store after the other: two crowds at once would only measure the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_all_has_the_slot() {
    let redis = RedisServer::start().await;
    races(guarded(Some(&redis)).await, Gateway::builder().redis_at(&redis.url()), WRITERS).await;
    races(guarded(None).await, Gateway::builder(), WRITERS).await;
}

/// Where duplicates keep the guard away, what our own writers share decides between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guard_one_of_all_our_own_has_the_slot() {
    let redis = RedisServer::start().await;
    races(unguarded().await, Gateway::builder().redis_at(&redis.url()), 0).await;
    races(unguarded().await, Gateway::builder(), 0).await;
}
