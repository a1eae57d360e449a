//! How changes by others arrive: keyspace notifications by key pattern, else client tracking, else polling.
//! An event is a hint to look, never a fact. The feed is proven by a probe key whose own event must come back.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, FromRedisValue, PushInfo, PushKind, Value};
use serde::Deserialize;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};

use super::hints::Hint;
use super::keys;
use super::link::{classify, connection_config};
use super::reader::Reader;
use crate::event::{Absence, Observation};
use crate::pen::Pen;
use crate::slot::Slot;
use crate::store::StoreError;

/// Key space, generic commands, strings, expiry, eviction: what our keys can undergo.
const FLAGS: &str = "Kg$xe";
/// Pushes taken in together, at most: nothing is followed before.
const TOGETHER: usize = 256;

/// How changes by others arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// `__keyspace@N__:` notifications.
    Notifications,
    /// `CLIENT TRACKING … BCAST`, where notifications cannot be switched on.
    Tracking,
    /// Neither: everything is looked at once a second.
    Polling,
}

/// The flags that are wanted beside these.
pub(super) fn missing_flags(current: &str) -> String {
    let all = current.contains('A');
    FLAGS.chars().filter(|flag| !current.contains(*flag) && (*flag == 'K' || !all)).collect()
}

impl Feed {
    /// All there are.
    pub const ALL: [Feed; 3] = [Feed::Notifications, Feed::Tracking, Feed::Polling];

    /// A short stable name for `/health` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Feed::Notifications => "notifications",
            Feed::Tracking => "tracking",
            Feed::Polling => "polling",
        }
    }
}

/// How the server's notification flags were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flags {
    /// Nothing was missing.
    Complete,
    /// Some were missing, and so may be events.
    Completed,
    /// This user may not look, or not change them.
    Forbidden,
}

/// Where events are received: on a thread of their own. Beside the commands, a command's answer would wait until the
/// events it caused are read.
pub(super) fn runtime() -> Handle {
    static EVENTS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
        Builder::new_multi_thread().worker_threads(1).thread_name("events").enable_all().build()
    });
    // Without one more thread it works too, only slower.
    EVENTS.as_ref().map_or_else(|_| Handle::current(), |events| events.handle().clone())
}

/// A connection that receives pushes.
pub(super) struct Subscription {
    connection: MultiplexedConnection,
    pushes: UnboundedReceiver<PushInfo>,
    is_gone: bool,
    deadline: Duration,
}

impl Subscription {
    /// Connects; nothing is subscribed yet.
    pub(super) async fn connect(client: &Client, deadline: Duration) -> Result<Self, StoreError> {
        let (sender, pushes) = unbounded_channel();
        let config = connection_config(deadline).set_push_sender(sender);
        match timeout(deadline * 4, client.get_multiplexed_async_connection_with_config(&config)).await {
            Ok(Ok(connection)) => Ok(Subscription { connection, pushes, is_gone: false, deadline }),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.connection.clone();
        match timeout(self.deadline, command.query_async(&mut connection)).await {
            Ok(answer) => answer.map_err(|error| classify(&error)),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    /// Adds the missing notification flags to what is set; never takes any away.
    pub(super) async fn complete_flags(&self) -> Result<Flags, StoreError> {
        const NAME: &str = "notify-keyspace-events";
        let config: HashMap<String, String> = match self.ask(redis::cmd("CONFIG").arg("GET").arg(NAME)).await
        {
            Ok(answer) => answer,
            Err(StoreError::Refusing(_) | StoreError::Strange(_)) => return Ok(Flags::Forbidden),
            Err(error) => return Err(error),
        };
        let current = config.get(NAME).cloned().unwrap_or_default();
        let missing = missing_flags(&current);
        if missing.is_empty() {
            return Ok(Flags::Complete);
        }
        tracing::info!(event = "redis_notify_flags_completed", before = current, added = missing);
        match self
            .ask::<Value>(redis::cmd("CONFIG").arg("SET").arg(NAME).arg(format!("{current}{missing}")))
            .await
        {
            Ok(_) => Ok(Flags::Completed),
            Err(StoreError::Refusing(_) | StoreError::Strange(_)) => Ok(Flags::Forbidden),
            Err(error) => Err(error),
        }
    }

    /// Subscribes to the other gateways' changes, to what the plugin says of rooms, and to notifications about our keys.
    /// Only the last must work: the others spare waiting.
    pub(super) async fn notifications(&self, db: i64) -> Result<(), StoreError> {
        let _ = self.ask::<Value>(redis::cmd("SUBSCRIBE").arg(keys::CHANGES)).await;
        let _ = self.ask::<Value>(redis::cmd("PSUBSCRIBE").arg(keys::SLOTS_PATTERN)).await;
        self.ask::<Value>(redis::cmd("PSUBSCRIBE").arg(&keys::notified(db)[..])).await.map(drop)
    }

    /// Asks to be told of every write to our keys, without names of events.
    pub(super) async fn tracking(&self) -> Result<(), StoreError> {
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in [keys::ACTIVE, keys::LOCK, keys::PROBE] {
            tracking.arg("PREFIX").arg(prefix);
        }
        self.ask::<Value>(&tracking).await.map(drop)
    }

    /// The next pushes, those that are there; `None` when the connection is gone.
    pub(super) async fn next(&mut self) -> Option<Vec<PushInfo>> {
        let mut pushes = Vec::new();
        if !self.is_gone {
            self.pushes.recv_many(&mut pushes, TOGETHER).await;
        }
        if let Some(end) = pushes.iter().position(|push| push.kind == PushKind::Disconnection) {
            self.is_gone = true;
            pushes.truncate(end);
        }
        (!pushes.is_empty()).then_some(pushes)
    }
}

/// What a script published about itself.
#[derive(Deserialize)]
pub(super) struct Published {
    act: String,
    gateway: String,
    seq: String,
    #[serde(default)]
    slots: Vec<String>,
    #[serde(default)]
    clients: Vec<String>,
    #[serde(default)]
    look: Vec<String>,
}

impl Published {
    /// Whatever is published under our channel; `None` if it is not of that shape.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// The slots that changed, and those to look at: of what is not spelled as ours, none.
    pub(super) fn slots(&self) -> (Vec<Slot>, Vec<Slot>) {
        let parse = |slots: &[String]| slots.iter().filter_map(|slot| keys::parse_suffix(slot)).collect();
        (parse(&self.slots), parse(&self.look))
    }
}

/// Turns pushes into hints.
pub(super) struct Listener {
    pub(super) reader: Arc<Reader>,
    pub(super) picture: Pen,
    pub(super) gateway: String,
    /// Counts events of this gateway's own probe key.
    pub(super) probes_seen: AtomicU64,
    /// Those of them that were notifications.
    pub(super) probes_notified: AtomicU64,
    /// When the last of them came.
    pub(super) probe_seen_at: Mutex<Instant>,
}

impl Listener {
    /// Takes in what arrived together, and only then has it followed: after the notifications of this gateway's own
    /// command mostly comes its message, and then there is nothing to look at.
    pub(super) fn on_pushes(&self, pushes: Vec<PushInfo>) {
        pushes.into_iter().for_each(|push| self.on_push(push));
        self.reader.follow();
    }

    fn on_push(&self, push: PushInfo) {
        let mut data = push.data.into_iter();
        match push.kind {
            PushKind::PMessage => {
                let text =
                    |value: Option<Value>| value.and_then(|value| String::from_redis_value(value).ok());
                let Some(channel) = text(data.nth(1)) else { return };
                if let Some(room) = keys::room_of_channel(&channel) {
                    self.picture.doubt_booked(room);
                } else if let (Some(key), Some(event)) = (keys::key_of_channel(&channel), text(data.next())) {
                    self.on_key(key, &event);
                }
            }
            PushKind::Message => {
                if let Some(payload) = data.nth(1).and_then(|value| Vec::<u8>::from_redis_value(value).ok()) {
                    self.on_published(&payload);
                }
            }
            PushKind::Invalidate => match data.next() {
                Some(Value::Array(keys)) => {
                    for key in keys {
                        if let Ok(key) = String::from_redis_value(key) {
                            self.on_key(&key, "");
                        }
                    }
                }
                // FLUSHDB, FLUSHALL: nothing is known any more; the next probe finds the storage record gone.
                _ => self.picture.held_slots().into_iter().for_each(|slot| {
                    self.reader.hint(slot, Hint::new(Absence::WithStore));
                }),
            },
            _ => {}
        }
    }

    fn on_key(&self, key: &str, event: &str) {
        if let Some(slot) = keys::parse_slot(key) {
            self.reader.hint(
                slot,
                match event {
                    "expire" => Hint::renewal(),
                    "evicted" => Hint::new(Absence::WithStore),
                    // Tracking does not say which.
                    "del" | "" => Hint::deletion(),
                    _ => Hint::new(Absence::Unknown),
                },
            );
        } else if key.strip_prefix(keys::PROBE) == Some(&self.gateway) {
            // SET with a time to live: `set` and `expire`. The latter needs the flag that DEL needs too.
            if ["", "expire"].contains(&event) {
                self.probes_seen.fetch_add(1, Ordering::Relaxed);
                *self.probe_seen_at.lock() = Instant::now();
            }
            if event == "expire" {
                self.probes_notified.fetch_add(1, Ordering::Relaxed);
            }
        } else if !key.starts_with(keys::PROBE) {
            self.picture.observe(Observation::ForeignSkipped);
        }
    }

    /// What this gateway did, the picture has from the answer, or soon will.
    fn on_published(&self, payload: &[u8]) {
        let Some(published) = Published::parse(payload) else {
            self.picture.observe(Observation::ForeignSkipped);
            return;
        };
        let (slots, look) = published.slots();
        if published.act == "renew" {
            slots
                .into_iter()
                .zip(&published.clients)
                .for_each(|(slot, client)| self.on_renewed(slot, client, published.seq.parse().unwrap_or(0)));
            return;
        }
        // A select names what it took first, then what its client gave up for it.
        let given_up_from = match published.act.as_str() {
            "select" => 1,
            "deselect" | "unlock" => 0,
            _ => usize::MAX,
        };
        if published.act == "book" {
            slots.iter().for_each(|slot| self.picture.announce_booked(*slot));
        }
        let own = (published.gateway == self.gateway).then(|| published.seq.parse().unwrap_or(0));
        for (at, slot) in slots.into_iter().enumerate() {
            let absence = match published.act.as_str() {
                "book" => Absence::ByBooking,
                _ if at >= given_up_from => Absence::ByHolder,
                _ => Absence::Unknown,
            };
            self.reader.hint(slot, Hint::published(absence, own));
        }
        for slot in look {
            self.reader.hint(slot, Hint::published(Absence::ByHolder, own));
        }
    }

    /// The notifications of a renewal say nothing new, if the picture has that selection and nothing beside it.
    /// One that is due here must be looked at: nothing else would ever wake up for it again. So must one older than
    /// what the picture has.
    fn on_renewed(&self, slot: Slot, client: &str, seq: u64) {
        let now = Instant::now();
        let shown = self.picture.selection(slot);
        let as_shown = shown.is_some_and(|held| held.client.as_str() == client && held.deadline > now);
        if as_shown && self.picture.lock(slot).is_none() && seq >= self.picture.seq(slot) {
            self.reader.settle(slot);
        } else {
            self.reader.hint(slot, Hint::new(Absence::Unknown));
        }
    }

    /// How long ago the last probe came back.
    pub(super) fn probe_age(&self) -> Duration {
        self.probe_seen_at.lock().elapsed()
    }
}
