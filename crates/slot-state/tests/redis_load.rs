//! A Redis that is busy with others' keys: deadlines stay on time, and others' changes are shown at once.

mod house;

use std::time::Duration;

use slot_state::EndReason;
use support::RedisServer;
use tokio::time::Instant;

use crate::house::{House, active_key, named, room, slot, slot_in};

/// Sets so many keys of an object cache in one step, each to expire in an hour.
const OBJECT_CACHE: &str = r"
for number = 1, tonumber(ARGV[1]) do
  redis.call('SET', 'wp_cache:' .. ARGV[2] .. ':' .. number, 'x', 'EX', 3600)
end";

#[tokio::test]
async fn among_100_000_other_expiring_keys_holds_end_on_time_whoever_wrote_them() {
    let redis = RedisServer::start().await;
    for part in 0..10 {
        redis.run::<redis::Value>(&["EVAL", OBJECT_CACHE, "0", "10000", &part.to_string()]).await;
    }
    let house = House::on(&redis.url()).await;
    let mut php = redis.php().await;
    for number in 1..=100 {
        let place = slot_in(number, "10:00");
        if number % 2 == 0 {
            house.select_for(place, "ann", Duration::from_millis(2000)).await.expect("granted");
        } else {
            php.select_for(&named(room(number)), "10:00", "pia", 2).await;
        }
    }
    let mut late = Vec::new();
    for number in 1..=100 {
        let ended = house.heard.ended(slot_in(number, "10:00")).await;
        assert_eq!(ended.why, EndReason::Expired);
        late.push(ended.late);
    }
    late.sort();
    println!("told after the deadline: median {:?}, latest {:?}", late[50], late[99]);
    assert!(late[99] < Duration::from_secs(1));
    assert_eq!(
        redis.run::<i64>(&["EXISTS", &active_key(slot_in(1, "10:00"))]).await,
        0,
        "Redis let go of it"
    );
}

#[tokio::test]
async fn beside_10_000_foreign_writes_a_second_changes_are_shown_at_once() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let mut php = redis.php().await;
    let mut writer = redis.connection().await;
    let burst = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        for round in 0.. {
            ticks.tick().await;
            let mut pipe = redis::pipe();
            for number in 0..100 {
                let key = format!("wp_cache:{}", (round * 100 + number) % 50_000);
                pipe.cmd("SET").arg(key).arg("x").arg("EX").arg(3600).ignore();
            }
            pipe.exec_async(&mut writer).await.expect("redis sets");
        }
    });
    let (mut own, mut others) = (Vec::new(), Vec::new());
    let started = Instant::now();
    let mut round = 0;
    while started.elapsed() < Duration::from_secs(3) {
        round += 1;
        let name = format!("c{round}");
        let asked = Instant::now();
        house.select(slot("09:00"), "ann").await.expect("granted");
        own.push(asked.elapsed());
        php.select(&named(room(7)), "10:00", &name).await;
        let written = Instant::now();
        house.shows_selection(slot("10:00"), Some(&name)).await;
        others.push(written.elapsed());
    }
    burst.abort();
    own.sort();
    others.sort();
    println!(
        "{round} rounds: own {:?}, others' {:?} at the median",
        own[own.len() / 2],
        others[others.len() / 2]
    );
    println!("own {:?}, others' {:?} at the most", own[own.len() - 1], others[others.len() - 1]);
    assert!(others[others.len() / 2] < Duration::from_millis(500));
}
