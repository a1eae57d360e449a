//! What Redis itself holds of a room, read key by key: the truth that every page's view is compared with.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use serde_json::Value;

use crate::live_view::is_time;
use crate::{Room, View};

/// Owners by time, of the room's keys with this prefix (`appointease_active` or `appointease_lock`).
pub async fn holds_in(
    connection: &mut MultiplexedConnection,
    prefix: &str,
    room: &Room,
) -> BTreeMap<String, String> {
    let start = format!("{prefix}_{}_{}_", room.date, room.employee_id);
    let mut command = redis::cmd("KEYS");
    let keys: Vec<String> =
        command.arg(format!("{start}*")).query_async(connection).await.expect("redis lists keys");
    let mut holds = BTreeMap::new();
    for key in keys {
        let time = key[start.len()..].to_owned();
        if !is_time(&time) {
            continue;
        }
        if let Some(owner) = holder_of(connection, &key).await {
            holds.insert(time, owner);
        }
    }
    holds
}

/// The `client_id` in a key's value; `None` where there is no such key or it is not a hold.
pub async fn holder_of(connection: &mut MultiplexedConnection, key: &str) -> Option<String> {
    // A key of another type is nobody's hold: GET refuses it.
    let text: Option<String> = redis::cmd("GET").arg(key).query_async(connection).await.ok()?;
    let value: Value = serde_json::from_str(&text?).ok()?;
    value.get("client_id")?.as_str().map(str::to_owned)
}

/// The view that everybody should have of the room; bookings are not kept in Redis.
pub async fn view_in(connection: &mut MultiplexedConnection, room: &Room) -> View {
    let locked = holds_in(connection, "appointease_lock", room).await;
    let active = holds_in(connection, "appointease_active", room).await;
    View {
        active: active.into_keys().filter(|time| !locked.contains_key(time)).collect(),
        locked: locked.into_keys().collect(),
        ..View::default()
    }
}
