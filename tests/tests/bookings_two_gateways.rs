//! A booking on one gateway as the pages of another see it: what was held is booked from one moment to the next.

use std::collections::BTreeSet;

use serde_json::Value;
use support::{Gateway, MariaDb, Page, RedisServer, Room};

/// Bookings; half of them of a slot that was selected, half of one that was locked.
const BOOKINGS: usize = 50;

/// The times in a frame's list, or in what it adds to or removes from that list.
fn times<'a>(frame: &'a Value, list: &str, of_diff: Option<&str>) -> Vec<&'a str> {
    let list = &frame[list];
    let times = of_diff.map_or(list, |change| &list[change]);
    times.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Every time that was in one of the lists of the room and then for one frame at least in none.
fn seen_free_again(page: &Page, room: &Room) -> BTreeSet<String> {
    let (mut lists, mut free_again) = ([const { BTreeSet::new() }; 3], BTreeSet::new());
    let all =
        |lists: &[BTreeSet<String>; 3]| -> BTreeSet<String> { lists.iter().flatten().cloned().collect() };
    for (_, text) in page.frames_from(0) {
        let frame: Value = serde_json::from_str(&text).expect("JSON");
        if frame["date"] != room.date || frame["employee_id"] != room.employee_id {
            continue;
        }
        let before = all(&lists);
        for (list, name) in lists.iter_mut().zip(["active", "locked", "booked"]) {
            match frame["type"].as_str() {
                Some("snapshot") => {
                    *list = times(&frame, name, None).into_iter().map(str::to_owned).collect()
                }
                Some("diff") => {
                    times(&frame, name, Some("remove")).into_iter().for_each(|time| _ = list.remove(time));
                    list.extend(times(&frame, name, Some("add")).into_iter().map(str::to_owned));
                }
                _ => {}
            }
        }
        free_again.extend(before.difference(&all(&lists)).cloned());
    }
    free_again
}

#[tokio::test]
async fn a_slot_that_is_booked_on_one_gateway_is_at_no_time_free_on_another() {
    let (redis, maria) = (RedisServer::start().await, MariaDb::start().await);
    maria.wordpress_options().await;
    maria.appointments().await;
    let builder = Gateway::builder().redis_at(&redis.url()).with("mysql.url", maria.url());
    let (here, there) = tokio::join!(builder.clone().start(), builder.start());
    here.eventually_well_with_mysql().await;
    there.eventually_well_with_mysql().await;
    let alice = Page::of(&here, "alice").await;
    let rooms = [Room::tomorrow_of(1), Room::tomorrow_of(2)];
    let watcher = Page::watching(&there, "watcher", &rooms[0]).await;
    watcher.subscribe(&rooms[1]).await;
    for number in 0..BOOKINGS {
        let room = &rooms[number % 2];
        let time = format!("{:02}:{:02}", 9 + number / 12, number / 2 % 6 * 10);
        if number % 4 < 2 {
            alice.select(room, &time).await.assert_ok("selected");
            watcher.eventually_shows(room, "the selection", |view| view.active.contains(&time)).await;
        } else {
            alice.lock(room, &time).await.assert_ok("locked");
            watcher.eventually_shows(room, "the lock", |view| view.locked.contains(&time)).await;
        }
        alice.confirm(room, &time, &format!("k{number}")).await.assert_ok("confirmed");
        watcher.eventually_shows(room, "the booking", |view| view.booked.contains(&time)).await;
    }
    for room in &rooms {
        assert_eq!(seen_free_again(&watcher, room), BTreeSet::new(), "seen free between hold and booking");
        assert_eq!(watcher.view(room).booked.len(), BOOKINGS / 2);
    }
    // Nor does a hold that went with its booking come back, or count.
    for time in ["20:00", "20:10", "20:20"] {
        alice.lock(&rooms[0], time).await.assert_ok("locked");
    }
}
