//! What operators see live: the numbers are true, trouble is said with its time, and nobody's name is there.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use support::{
    CUSTOMER_WORDS, EventStream, Gateway, LegacyPage, MariaDb, PATIENCE, Page, RedisServer, Room, eventually,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const DRAIN: Duration = Duration::from_secs(10);
const VIEWERS: usize = 50;
const MOST_VIEWERS: usize = 64;

async fn status(gateway: &Gateway) -> Value {
    let answer = LegacyPage::of(gateway).get("/dashboard/status").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json
}

async fn eventually_status(gateway: &Gateway, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, async || Some(status(gateway).await).filter(&wanted)).await
}

fn store<'a>(status: &'a Value, name: &str) -> &'a Value {
    let stores = status["stores"].as_array().expect("stores");
    stores.iter().find(|store| store["name"] == name).unwrap_or_else(|| panic!("no {name}: {status}"))
}

fn kind<'a>(status: &'a Value, name: &str) -> &'a Value {
    let kinds = status["kinds"].as_array().expect("kinds");
    kinds.iter().find(|kind| kind["name"] == name).unwrap_or_else(|| panic!("no {name}: {status}"))
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

#[tokio::test]
async fn three_selections_and_two_locks_are_three_and_two() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let stream = EventStream::of(&gateway).await;
    let room = Room::tomorrow_of(4);
    let mut pages = Vec::new();
    for number in 0..5 {
        pages.push(Page::watching(&gateway, &format!("client-{number}"), &room).await);
    }
    for (page, time) in pages.iter().zip(["09:00", "10:00", "11:00"]) {
        page.select(&room, time).await.assert_ok("selected");
    }
    for (page, time) in pages[3..].iter().zip(["12:00", "13:00"]) {
        page.lock(&room, time).await.assert_ok("locked");
    }
    pages[4].select(&room, "09:00").await.assert_error("slot_locked");
    let look = stream
        .eventually_look("3 selections, 2 locks", |status| {
            status["selections"] == 3 && status["locks"] == 2 && status["responses"]["count"] == 6
        })
        .await;
    let status = &look["status"];
    assert_eq!((&status["state"], &status["ready"]), (&json!("ok"), &json!(true)), "{status}");
    for (name, number) in [("connections", 5), ("clients", 5), ("rooms", 1), ("subscriptions", 5)] {
        assert_eq!(status[name], number, "{name}: {status}");
    }
    assert_eq!(status["heartbeat_interval_secs"], 5);
    assert_eq!(
        (&status["storage"]["mode"], &status["storage"]["redis_status"]),
        (&json!("redis"), &json!("available"))
    );
    assert_eq!(store(status, "redis")["status"], "ok");
    let selects = kind(status, "select");
    assert_eq!(
        (&selects["count"], &selects["refused"], &selects["failed"]),
        (&json!(4), &json!(1), &json!(0))
    );
    assert_eq!(kind(status, "lock")["count"], 2);
    for measured in [&status["responses"], &status["store_round_trip"], selects] {
        let (average, p99) = (measured["average_ms"].as_f64().unwrap(), measured["p99_ms"].as_f64().unwrap());
        assert!(average > 0.0 && p99 > 0.0, "{measured}");
    }
    let operations = status["operations"].as_array().unwrap();
    let shown = |operation: &Value| {
        let OperationWords { what, time, outcome } = words(operation);
        format!("{what} {time} {outcome}")
    };
    assert_eq!(shown(&operations[0]), "select 09:00 slot_locked", "{operations:?}");
    assert_eq!(shown(&operations[5]), "select 09:00 ok", "{operations:?}");
    for operation in operations {
        assert_eq!((&operation["date"], &operation["employee_id"]), (&json!(room.date), &json!(4)));
        assert_eq!(operation["store"], "redis");
        assert!(
            operation["ms"].as_f64().unwrap() > 0.0
                && (now() - operation["at"].as_i64().unwrap()).abs() < 60_000
        );
    }
    // The row that the graphs get says the same.
    let names = stream.all("history")[0]["names"].clone();
    let place = |name: &str| names.as_array().unwrap().iter().position(|known| known == name).unwrap() + 2;
    assert_eq!((&look["row"][place("selections")], &look["row"][place("locks")]), (&json!(3.0), &json!(2.0)));
    assert_eq!(look["row"][1], "redis");
}

struct OperationWords<'a> {
    what: &'a str,
    time: &'a str,
    outcome: &'a str,
}

fn words(operation: &Value) -> OperationWords<'_> {
    let text = |field: &str| operation[field].as_str().unwrap_or_default();
    OperationWords { what: text("what"), time: text("time"), outcome: text("outcome") }
}

#[tokio::test]
async fn polls_are_counted_apart_and_say_whether_a_store_was_asked() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(4);
    let old = LegacyPage::of(&gateway);
    for _ in 0..5 {
        old.poll(&room, &[]).await;
    }
    let seen = eventually_status(&gateway, "5 polls", |status| kind(status, "poll")["count"] == 5).await;
    assert_eq!(seen["responses"]["count"], 0, "{seen}");
    let listed = seen["operations"].as_array().unwrap();
    assert!(!listed.is_empty() && listed.iter().all(|one| one["what"] == "poll" && one["store"].is_null()));
}

#[tokio::test]
async fn a_lost_redis_is_said_in_words_with_the_time_and_so_is_its_return() {
    let mut redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let stream = EventStream::of(&gateway).await;
    stream.eventually_look("all is well", |status| store(status, "redis")["status"] == "ok").await;
    let before = now();
    redis.kill().await;
    let look = stream
        .eventually_look("Redis is away", |status| {
            status["state"] == "not_ready" && store(status, "redis")["status"] == "away"
        })
        .await;
    let status = &look["status"];
    let since = store(status, "redis")["since"].as_i64().unwrap();
    assert!((before - 10..=now()).contains(&since), "{since} is not after {before}");
    assert_eq!((&status["ready"], &status["storage"]["stale"]), (&json!(false), &json!(true)), "{status}");
    assert_eq!(look["row"][1], "away");
    let trouble = status["troubles"][0].as_str().unwrap();
    assert!(trouble.starts_with("Redis is away") && trouble.contains("redis.url"), "{trouble}");

    redis.restart_empty().await;
    let look = stream
        .eventually_look("Redis is back", |status| {
            status["state"] == "ok" && store(status, "redis")["since"].as_i64().unwrap() > since
        })
        .await;
    assert_eq!(look["status"]["troubles"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_stepping_in_is_a_degraded_state_and_the_cache_rate_is_that_of_the_answers() {
    let mut redis = RedisServer::start().await;
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    let gateway = Gateway::builder().redis_at(&redis.url()).with("mysql.url", maria.url()).start().await;
    gateway.eventually_well_with_mysql().await;
    let room = Room::tomorrow_of(7);
    let alice = Page::of(&gateway, "alice").await;
    let (mut answers, mut cached) = (0, 0);
    eventually("three answers are cached", PATIENCE, async || {
        let answer = alice.ask(room.frame("availability")).await.assert_kind("availability").0;
        answers += 1;
        cached += i32::from(answer["cached"] == true);
        (cached == 3).then_some(())
    })
    .await;
    let seen = status(&gateway).await;
    let cache = &seen["availability"];
    assert_eq!(
        (&cache["exists"], &cache["answers"], &cache["cached"]),
        (&json!(true), &json!(answers), &json!(3))
    );
    let rate = cache["hit_rate"].as_f64().unwrap();
    assert!((rate - 3.0 / f64::from(answers)).abs() < 0.001, "{rate} of {answers}");

    redis.kill().await;
    // Somebody meets the failure.
    alice.select(&room, "10:00").await.assert_ok("selected");
    let seen = eventually_status(&gateway, "MySQL has stepped in", |status| {
        status["storage"]["mode"] == "mysql" && store(status, "redis")["status"] == "away"
    })
    .await;
    assert_eq!((&seen["state"], &seen["ready"]), (&json!("degraded"), &json!(true)), "{seen}");
    assert_eq!(store(&seen, "mysql")["status"], "ok");
    assert!(seen["storage"]["since"].as_i64().unwrap() > seen["started_at"].as_i64().unwrap(), "{seen}");
    assert!(seen["headline"].as_str().unwrap().contains("MySQL"), "{seen}");
}

#[tokio::test]
async fn who_opens_it_late_sees_the_minutes_before() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice").await;
    alice.select(&room, "10:00").await.assert_ok("selected");
    let ms = |status: &Value, field: &str| status[field].as_i64().expect("a time");
    eventually_status(&gateway, "some looks were taken", |status| {
        ms(status, "at") - ms(status, "started_at") > 4_000
    })
    .await;
    let stream = EventStream::of(&gateway).await;
    let history = eventually("a history", PATIENCE, async || stream.all("history").into_iter().next()).await;
    let rows = history["rows"].as_array().unwrap();
    assert!(rows.len() >= 2, "{rows:?}");
    let times: Vec<i64> = rows.iter().map(|row| row[0].as_i64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert!(rows.iter().any(|row| row[1] == "memory" && row[2] == 1.0), "{rows:?}");
}

#[tokio::test]
async fn nothing_in_the_stream_says_who() {
    let gateway = Gateway::start().await;
    let stream = EventStream::of(&gateway).await;
    let room = Room::tomorrow_of(1);
    let alice = Page::watching(&gateway, "alice-7f3a", &room).await;
    alice.select(&room, "10:00").await.assert_ok("selected");
    alice.confirm(&room, "10:00", "a-key-of-alices").await.assert_ok("confirmed");
    let far = LegacyPage::of(&gateway).from_address("198.51.100.77");
    far.select(&room, "11:00", "bob-9c1d").await;
    far.poll(&room, &[("client_id", "bob-9c1d"), ("time", "11:00")]).await;
    stream.eventually_look("all of it", |status| status["responses"]["count"] == 3).await;
    stream.eventually_look("the poll", |status| kind(status, "poll")["count"] == 1).await;
    let told = stream.text() + &status(&gateway).await.to_string();
    for word in ["alice", "bob", "198.51.100", "a-key-of"].into_iter().chain(CUSTOMER_WORDS) {
        assert!(!told.contains(word), "{word} is told");
    }
    assert!(told.contains("\"confirm\"") && told.contains(&room.date));
}

#[tokio::test]
async fn fifty_viewers_get_the_same_looks_and_the_stop_ends_them_all_in_time() {
    let mut gateway = Gateway::start().await;
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        viewers.push(EventStream::of(&gateway).await);
    }
    // A viewer may miss a look on a busy machine, but sooner or later all get the same one.
    eventually("all have the same look", PATIENCE, async || {
        let all: Vec<Vec<Value>> = viewers.iter().map(|viewer| viewer.all("look")).collect();
        all[0].iter().any(|look| all.iter().all(|looks| looks.contains(look))).then_some(())
    })
    .await;
    gateway.ask_to_stop();
    for viewer in &viewers {
        viewer.eventually_over(DRAIN).await;
        assert_eq!(viewer.events().last().unwrap().0, "stopping");
    }
    let stopped = gateway.stopped().await;
    assert_eq!(stopped.code, Some(0));
    assert!(gateway.log_events("drain_incomplete").is_empty(), "viewers held the stop up: {stopped:?}");
}

#[tokio::test]
async fn seats_are_limited_and_free_again_when_somebody_leaves() {
    let gateway = Gateway::start().await;
    let mut viewers = Vec::new();
    for _ in 0..MOST_VIEWERS {
        viewers.push(EventStream::of(&gateway).await);
    }
    assert_eq!(EventStream::open(&gateway, "/dashboard/events").await.err(), Some(503));
    assert_eq!(status(&gateway).await["ready"], true);
    viewers.pop();
    eventually("a seat is free", PATIENCE, async || {
        EventStream::open(&gateway, "/dashboard/events").await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_viewer_that_does_not_read_holds_up_neither_the_others_nor_the_stop() {
    let mut gateway = Gateway::builder().with("server.drain_secs", 2).start().await;
    let mut deaf = TcpStream::connect(gateway.addr()).await.unwrap();
    let request = format!("GET /dashboard/events HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.addr());
    deaf.write_all(request.as_bytes()).await.unwrap();
    let other = EventStream::of(&gateway).await;
    let first = other.eventually_look("a look", |_| true).await;
    let at = first["status"]["at"].as_i64().unwrap();
    other.eventually_look("a later look", |status| status["at"].as_i64().unwrap() > at + 1_500).await;
    let stopped = gateway.terminate().await;
    assert_eq!(stopped.code, Some(0));
    // Generous: two seconds are promised.
    assert!(stopped.took < DRAIN, "{stopped:?}");
}
