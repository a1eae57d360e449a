//! What a Redis is like, for `slotcast doctor`: facts, no judgement. Invariant: it changes nothing but a
//! probe key of its own, which goes again, and every command has a deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, ErrorKind, FromRedisValue, PushInfo, PushKind, RedisError, Script, Value};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::events::{Feed, Subscription, missing_flags};
use super::keys;
use super::link::{classify, client, connection_config};
use crate::clock::{ClockOffset, now_ms};
use crate::store::StoreError;

/// The longest a command may take: longer than a gateway waits, so that a slow Redis is told from one that
/// is away.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an event may be on its way.
const EVENT_TAKES: Duration = Duration::from_secs(3);
const PINGS: usize = 20;
/// How long the probe key stays where it could not be removed.
const PROBE_STAYS_MS: u32 = 10_000;
/// Keys looked at to find some that are not ours.
const LOOKED_AT: usize = 500;
/// All our keys, and the plugin's.
const OURS: &[u8] = b"appointease_";
/// A gateway's changes are scripts, so that a right to run them is proven too.
const WRITE: &str = "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) redis.call('PUBLISH', ARGV[3], \
    ARGV[4]) return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0";
/// What is published to the gateways: a change of no slot.
const NOTHING: &str = r#"{"act":"doctor","gateway":"doctor","seq":"0"}"#;

/// Why nothing can be said of a Redis.
#[derive(Debug, Clone, Error)]
pub enum RedisTrouble {
    /// Nobody answers there.
    #[error("{0}")]
    Away(String),
    /// It wants another user or password.
    #[error("{0}")]
    Login(String),
    /// It refuses even PING.
    #[error("{0}")]
    Refuses(String),
}

/// What a Redis is like.
#[derive(Debug, Clone)]
pub struct RedisReport {
    /// INFO's fields by their own names; empty where this user may not ask.
    pub info: BTreeMap<String, String>,
    /// The `save` setting; `None` where this user may not ask.
    pub save: Option<String>,
    /// Notification flags; `None` where this user may not ask.
    pub flags: Option<NotifyFlags>,
    /// Whether this user may change settings.
    pub may_configure: bool,
    /// Whether a script could write a key, in the server's words if not.
    pub write: Result<(), StoreError>,
    /// How changes by others would reach a gateway now; `None` where no key can be written to find out.
    pub feed: Option<Feed>,
    /// Whether the database holds keys of other programs too.
    pub has_foreign_keys: bool,
    /// How long each PING took, the shortest first; never empty.
    pub pings: Vec<Duration>,
    /// Its clock; `None` where this user may not ask.
    pub clock: Option<ClockOffset>,
    /// The user, as ACL knows it.
    pub user: String,
    /// Channels and patterns that a gateway uses; ACL wants them literally.
    pub channels: Vec<String>,
}

/// `notify-keyspace-events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyFlags {
    /// As they are.
    pub current: String,
    /// Those a gateway needs beside.
    pub missing: String,
}

/// Looks at the Redis with this URL.
pub async fn examine_redis(url: &str) -> Result<RedisReport, RedisTrouble> {
    let commands = client(url, false).map_err(|error| RedisTrouble::Away(error.to_string()))?;
    let events = client(url, true).map_err(|error| RedisTrouble::Away(error.to_string()))?;
    let mut redis = Asked::connect(&commands).await?;
    let first = redis.ping().await?;
    let mut pings = vec![first];
    for _ in 1..PINGS {
        pings.push(redis.ping().await?);
    }
    pings.sort_unstable();
    let info: String = redis.ask(&redis::cmd("INFO")).await.unwrap_or_default();
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    let info = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let probe = keys::probe(&format!("doctor-{:016x}", rand::random::<u64>()));
    let write = redis.write(&probe).await;
    let db = commands.get_connection_info().redis_settings().db();
    let feed = if write.is_ok() { Some(redis.feed(&events, db, &probe).await) } else { None };
    let _ = redis.ask::<Value>(redis::cmd("DEL").arg(&probe)).await;
    let user = commands.get_connection_info().redis_settings().username().unwrap_or("default").to_owned();
    Ok(RedisReport {
        info,
        save: redis.setting("save").await,
        flags: redis
            .setting("notify-keyspace-events")
            .await
            .map(|current| NotifyFlags { missing: missing_flags(&current), current }),
        may_configure: redis.may_configure().await,
        write,
        feed,
        has_foreign_keys: redis.has_foreign_keys().await,
        pings,
        clock: redis.clock().await,
        user,
        channels: [keys::CHANGES, keys::SLOTS_PATTERN]
            .map(str::to_owned)
            .into_iter()
            .chain(keys::notified(db))
            .collect(),
    })
}

/// A connection with a deadline on every command.
struct Asked(MultiplexedConnection);

impl Asked {
    async fn connect(client: &Client) -> Result<Self, RedisTrouble> {
        let config = connection_config(PATIENCE);
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        match timeout(PATIENCE * 2, connecting).await {
            Ok(Ok(connection)) => Ok(Asked(connection)),
            Ok(Err(error)) => Err(trouble(&error)),
            Err(_) => Err(late()),
        }
    }

    /// The outer error: no answer at all.
    async fn try_ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<Result<T, RedisError>, ()> {
        timeout(PATIENCE, command.query_async(&mut self.0)).await.map_err(drop)
    }

    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Option<T> {
        self.try_ask(command).await.ok()?.ok()
    }

    async fn ping(&mut self) -> Result<Duration, RedisTrouble> {
        let asked = Instant::now();
        match self.try_ask::<Value>(&redis::cmd("PING")).await {
            Ok(Ok(_)) => Ok(asked.elapsed()),
            Ok(Err(error)) => Err(trouble(&error)),
            Err(()) => Err(late()),
        }
    }

    async fn write(&mut self, key: &str) -> Result<(), StoreError> {
        let script = Script::new(WRITE);
        let mut call = script.key(key);
        call.arg("probe").arg(PROBE_STAYS_MS).arg(keys::CHANGES).arg(NOTHING);
        match timeout(PATIENCE, call.invoke_async::<bool>(&mut self.0)).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(StoreError::Strange("what was written is not what is read".to_owned())),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    /// Finds out as a gateway does, but changes no flags.
    async fn feed(&mut self, events: &Client, db: i64, probe: &str) -> Feed {
        let subscribed = async |tracking: bool| {
            let subscription = Subscription::connect(events, PATIENCE).await.ok()?;
            let begun =
                if tracking { subscription.tracking().await } else { subscription.notifications(db).await };
            begun.is_ok().then_some(subscription)
        };
        for (tracking, feed) in [(false, Feed::Notifications), (true, Feed::Tracking)] {
            if let Some(subscription) = subscribed(tracking).await
                && self.write(probe).await.is_ok()
                && timeout(EVENT_TAKES, heard_of(probe, subscription)).await == Ok(true)
            {
                return feed;
            }
        }
        Feed::Polling
    }

    async fn setting(&mut self, name: &str) -> Option<String> {
        let answer: BTreeMap<String, String> = self.ask(redis::cmd("CONFIG").arg("GET").arg(name)).await?;
        Some(answer.get(name).cloned().unwrap_or_default())
    }

    /// Nobody has a setting of this name: who may change settings is told so, who may not is refused before.
    async fn may_configure(&mut self) -> bool {
        const SAID_SINCE_7: &str = "unknown option";
        const SAID_BEFORE: &str = "unsupported config parameter";
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("slotcast-no-such-setting").arg("1");
        match self.try_ask::<Value>(&set).await {
            Ok(Err(error)) => {
                let text = error.to_string().to_ascii_lowercase();
                text.contains(SAID_SINCE_7) || text.contains(SAID_BEFORE)
            }
            _ => false,
        }
    }

    async fn has_foreign_keys(&mut self) -> bool {
        let mut scan = redis::cmd("SCAN");
        scan.arg(0).arg("COUNT").arg(LOOKED_AT);
        let page: Option<(u64, Vec<Vec<u8>>)> = self.ask(&scan).await;
        page.is_some_and(|(_, keys)| keys.iter().any(|key| !key.starts_with(OURS)))
    }

    async fn clock(&mut self) -> Option<ClockOffset> {
        let asked = now_ms();
        let (seconds, micros): (i64, i64) = self.ask(&redis::cmd("TIME")).await?;
        Some(ClockOffset::between(asked, seconds * 1000 + micros / 1000, now_ms()))
    }
}

/// Whether the events of this key arrive, before the connection ends.
async fn heard_of(key: &str, mut subscription: Subscription) -> bool {
    while let Some(pushes) = subscription.next().await {
        if pushes.into_iter().any(|push| is_about(key, push)) {
            return true;
        }
    }
    false
}

fn is_about(key: &str, push: PushInfo) -> bool {
    let mut texts = Vec::new();
    push.data.into_iter().for_each(|value| collect_texts(value, &mut texts));
    match push.kind {
        // As for a gateway's probe: the flag of this one is that of DEL too.
        PushKind::PMessage => {
            texts.last().is_some_and(|event| event == "expire")
                && texts.iter().any(|text| keys::key_of_channel(text) == Some(key))
        }
        PushKind::Invalidate => texts.iter().any(|text| text == key),
        _ => false,
    }
}

fn collect_texts(value: Value, texts: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.into_iter().for_each(|value| collect_texts(value, texts)),
        value => texts.extend(String::from_redis_value(value).ok()),
    }
}

fn trouble(error: &RedisError) -> RedisTrouble {
    let text = error.to_string();
    let wants_login =
        ["NOAUTH", "WRONGPASS"].iter().any(|code| error.code() == Some(code) || text.contains(code));
    if wants_login || error.kind() == ErrorKind::AuthenticationFailed {
        return RedisTrouble::Login(text);
    }
    match classify(error) {
        StoreError::Refusing(words) | StoreError::Strange(words) => RedisTrouble::Refuses(words),
        StoreError::Away(words) => RedisTrouble::Away(words),
        other => RedisTrouble::Away(other.to_string()),
    }
}

fn late() -> RedisTrouble {
    RedisTrouble::Away(format!("no answer within {} s", PATIENCE.as_secs()))
}
