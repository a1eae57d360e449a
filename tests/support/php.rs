//! Another writer of the same keys: what the PHP plugin does to Redis, without our scripts and fields.

use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use serde_json::json;

use crate::Room;

/// The plugin's own lifetime for its keys.
const PHP_TTL_SECS: u32 = 300;

/// A WordPress site on the same Redis.
#[derive(Clone, Debug)]
pub struct Php {
    connection: MultiplexedConnection,
}

impl Php {
    /// Writes over this connection.
    pub fn over(connection: MultiplexedConnection) -> Self {
        Self { connection }
    }

    /// Selects as the plugin does: two SETEX of 300 s, whatever was there.
    pub async fn select(&mut self, room: &Room, time: &str, client_id: &str) {
        self.select_for(room, time, client_id, PHP_TTL_SECS).await;
    }

    /// Selects with another lifetime in seconds.
    pub async fn select_for(&mut self, room: &Room, time: &str, client_id: &str, ttl_secs: u32) {
        let now = Timestamp::now().as_second();
        let value = json!({"client_id": client_id, "timestamp": now, "time": time}).to_string();
        self.set_ex(&room.active_key(time), ttl_secs, &value).await;
        self.set_ex(&room.user_key(client_id), ttl_secs, time).await;
    }

    /// Locks as the plugin does: one SETEX of 600 s.
    pub async fn lock(&mut self, room: &Room, time: &str, client_id: &str) {
        let now = Timestamp::now().as_second();
        let value = json!({"client_id": client_id, "timestamp": now, "time": time}).to_string();
        self.set_ex(&room.lock_key(time), 600, &value).await;
    }

    /// Deletes a selection as the plugin does; its user key stays behind.
    pub async fn delete(&mut self, room: &Room, time: &str) {
        self.delete_key(&room.active_key(time)).await;
    }

    /// DEL of any key.
    pub async fn delete_key(&mut self, key: &str) {
        let deleted = redis::cmd("DEL").arg(key).query_async::<u32>(&mut self.connection).await;
        deleted.expect("redis deletes");
    }

    /// SETEX of any key.
    pub async fn set_ex(&mut self, key: &str, ttl_secs: u32, value: &str) {
        let mut command = redis::cmd("SETEX");
        command.arg(key).arg(ttl_secs).arg(value);
        command.query_async::<()>(&mut self.connection).await.expect("redis sets");
    }
}
