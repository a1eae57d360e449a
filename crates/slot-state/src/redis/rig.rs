//! For the tests: a Redis of their own, and stores on it whose inside can be reached.

use std::sync::Arc;
use std::time::Duration;

use redis::FromRedisValue;
use support::{PATIENCE, RedisServer, eventually};
use tokio::task::JoinSet;

use super::{RedisConfig, RedisStore, keys};
use crate::failover::{Record, Store};
use crate::hold::{Chosen, HoldError, LockAsk, Refusal, SelectAsk, Selected};
use crate::pen::Pen;
use crate::picture::Picture;
use crate::slot::{ClientId, EmployeeId, Room, Slot, parse_date};
use crate::store::{HoldStore, StorageMode};

pub(super) const LONG: Duration = Duration::from_secs(60);

/// A store at work.
pub(super) struct Rig {
    pub(super) store: Arc<RedisStore>,
    pub(super) picture: Arc<Picture>,
    _tasks: JoinSet<()>,
}

impl Rig {
    /// On this Redis, found to take writes, and with everything read.
    pub(super) async fn on(redis: &RedisServer) -> Self {
        let rig = Self::open(redis);
        eventually("the store is ready", PATIENCE, async || {
            let storage = *rig.store.storage().borrow();
            (storage.writable && storage.flowing).then_some(())
        })
        .await;
        rig
    }

    pub(super) fn open(redis: &RedisServer) -> Self {
        let picture = Arc::new(Picture::default());
        picture.decide(StorageMode::Redis);
        let mut tasks = JoinSet::new();
        // A busy machine is not what is tested.
        let command_timeout = Duration::from_secs(2);
        let config = RedisConfig { url: redis.url(), command_timeout, lock_ttl: LONG };
        let store =
            RedisStore::open(&config, Pen::new(picture.clone(), StorageMode::Redis, true), &mut tasks);
        Rig { store: store.expect("a URL"), picture, _tasks: tasks }
    }

    pub(super) async fn select(&self, slot: Slot, name: &str) -> Result<Selected, HoldError> {
        let (client, chosen) = (client(name), Chosen::Explicitly);
        self.store.select(SelectAsk { slot, client, ttl: LONG, chosen, address: None, actor: None }).await
    }

    /// Follows a change of mode as the failover store does.
    pub(super) fn follow(&self, record: Record) {
        self.picture.decide(record.mode.into());
        self.store.believe(record);
    }
}

pub(super) fn redis_at(epoch: u64) -> Record {
    Record { epoch, mode: Store::Redis }
}

pub(super) fn mysql_at(epoch: u64) -> Record {
    Record { epoch, mode: Store::Mysql }
}

pub(super) fn client(name: &str) -> ClientId {
    name.parse().expect("a client's name")
}

pub(super) fn slot(time: &str) -> Slot {
    slot_in(7, time)
}

pub(super) fn slot_in(number: u64, time: &str) -> Slot {
    let date = parse_date("2031-03-09").expect("a date");
    let room = Room { date, employee_id: EmployeeId::new(number).expect("an employee") };
    room.slot(time.parse().expect("a time"))
}

pub(super) fn ask(slot: Slot, name: &str) -> LockAsk {
    LockAsk { slot, client: client(name), actor: None }
}

/// What the rules said, of a request that must not be granted.
pub(super) fn refusal<T: std::fmt::Debug>(outcome: Result<T, HoldError>) -> Refusal {
    match outcome {
        Err(HoldError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// What stands under a key; null if nothing does.
pub(super) async fn value(redis: &RedisServer, key: &str) -> serde_json::Value {
    let text: Option<String> = redis.run(&["GET", key]).await;
    text.map_or(serde_json::Value::Null, |text| serde_json::from_str(&text).expect("JSON"))
}

/// Who has selected a slot.
pub(super) async fn selected_by(redis: &RedisServer, slot: Slot) -> Option<String> {
    value(redis, &keys::active(slot)).await["client_id"].as_str().map(str::to_owned)
}

/// Who has locked a slot, and the fence.
pub(super) async fn locked_by(redis: &RedisServer, slot: Slot) -> Option<(String, u64)> {
    let lock = value(redis, &keys::lock(slot)).await;
    Some((lock["client_id"].as_str()?.to_owned(), lock["fence"].as_u64().unwrap_or(0)))
}

/// The remaining milliseconds of a key.
pub(super) async fn pttl(redis: &RedisServer, key: &str) -> i64 {
    redis.run(&["PTTL", key]).await
}

/// A field of the storage record.
pub(super) async fn field<T: FromRedisValue>(redis: &RedisServer, name: &str) -> T {
    redis.run(&["HGET", keys::STORAGE, name]).await
}

/// How the support crate names a room.
pub(super) fn named(room: Room) -> support::Room {
    support::Room { date: room.date.to_string(), employee_id: room.employee_id.get() }
}
