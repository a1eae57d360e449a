//! Anybody may publish: a message beside a change by another writer does not hide it.

use std::time::Duration;

use slot_state::Slot;
use support::RedisServer;
use tokio::time::{Instant, sleep};

use crate::house::{House, active_key, slot};

/// Long before the comparison of picture and store would find it.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A change of `place` and a message, with nothing between.
async fn beside(redis: &RedisServer, change: &[&str], message: &str) {
    let mut both = redis::pipe();
    both.atomic().cmd(change[0]).arg(&change[1..]);
    both.cmd("PUBLISH").arg("appointease:changes").arg(message);
    both.exec_async(&mut redis.connection().await).await.expect("redis does both");
}

fn message(act: &str, gateway: &str, seq: &str, place: Slot, client: &str) -> String {
    let slots = [active_key(place).trim_start_matches("appointease_active_").to_owned()];
    serde_json::json!({ "act": act, "gateway": gateway, "seq": seq, "slots": slots, "clients": [client] })
        .to_string()
}

/// The name and the storage sequence number of the store that wrote this selection.
async fn written(redis: &RedisServer, place: Slot) -> (String, String) {
    let value: String = redis.run(&["GET", &active_key(place)]).await;
    let value: serde_json::Value = serde_json::from_str(&value).expect("JSON");
    let seq: String = redis.run(&["HGET", "appointease_storage", "seq"]).await;
    (value["gateway"].as_str().expect("a gateway's name").to_owned(), seq)
}

#[tokio::test]
async fn what_another_writer_did_is_seen_at_once_whatever_is_published_beside_it() {
    let redis = RedisServer::start().await;
    let house = House::on(&redis.url()).await;
    let ten = slot("10:00");
    let (key, pia) = (active_key(ten), r#"{"client_id":"pia"}"#);
    let changes: [(&[&str], Option<&str>); 3] = [
        (&["DEL", &key], None),
        (&["SETEX", &key, "60", pia], Some("pia")),
        (&["RENAME", &key, "elsewhere"], None),
    ];
    for act in ["renew", "select", "deselect", "put_back"] {
        for own in [false, true] {
            for seq in ["0", "1", "answered", "9007199254740991"] {
                for (change, shown) in changes {
                    house.select(ten, "ann").await.expect("granted");
                    let (gateway, answered) = written(&redis, ten).await;
                    // Its own message has been heard by then.
                    sleep(Duration::from_millis(10)).await;
                    let gateway = if own { &gateway } else { "x" };
                    let seq = if seq == "answered" { &answered } else { seq };
                    beside(&redis, change, &message(act, gateway, seq, ten, "ann")).await;
                    let done = Instant::now();
                    house.shows_selection(ten, shown).await;
                    let took = done.elapsed();
                    assert!(took < AT_ONCE, "{act} {gateway} {seq} beside {change:?}: {took:?}");
                    redis.run::<i64>(&["DEL", &key]).await;
                    house.shows_selection(ten, None).await;
                }
            }
        }
    }
}
