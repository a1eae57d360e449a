//! From configuration to a running store: the only file that names every backend.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::bookings::{Bookings, Calendar, ReadingConfig};
use crate::failover::Failover;
use crate::memory::MemoryStore;
use crate::mysql::{MySqlConfig, MySqlStore, Outbox};
use crate::pen::Pen;
use crate::picture::Picture;
use crate::redis::{RedisConfig, RedisStore};
use crate::store::{HoldStore, StorageMode, StoreError};

/// Which stores to use.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `redis://…`; without it holds live in this process.
    pub redis_url: Option<String>,
    /// The longest a Redis command may take.
    pub redis_command_timeout: Duration,
    /// The database, if there is one.
    pub mysql: Option<MySqlConfig>,
    /// How long a lock lasts.
    pub lock_ttl: Duration,
    /// When the site is open, where the database does not say.
    pub calendar: Calendar,
    /// The calendar's zone holds, whatever the site says itself.
    pub fixed_zone: bool,
    /// How long an answer about availability may be reused.
    pub availability_ttl: Duration,
}

/// A store at work.
pub struct OpenStore {
    /// Takes requests.
    pub store: Arc<dyn HoldStore>,
    /// Serves reads.
    pub picture: Arc<Picture>,
    /// Serves reads of what can be booked.
    pub bookings: Arc<Bookings>,
    /// Bookings WordPress is to be told of; `None` where there is no database.
    pub outbox: Option<Outbox>,
    /// What keeps both going; ends with this value.
    pub tasks: JoinSet<()>,
}

/// Opens the configured store. One that is away does not stop this: it is there when it comes back.
/// Errors only on an address that cannot be one.
pub fn open(config: &StoreConfig) -> Result<OpenStore, StoreError> {
    let picture = Arc::new(Picture::default());
    let mut tasks = JoinSet::new();
    let is_alone = config.redis_url.is_none() || config.mysql.is_none();
    let pen = |store: StorageMode| {
        picture.decide(store);
        Pen::new(picture.clone(), store, is_alone)
    };
    let no_address =
        |key: &str, error: &dyn std::fmt::Display| StoreError::Strange(format!("{key}: {error}"));
    let mut redis = None;
    if let Some(url) = &config.redis_url {
        let config = RedisConfig {
            url: url.clone(),
            command_timeout: config.redis_command_timeout,
            lock_ttl: config.lock_ttl,
        };
        let opened = RedisStore::open(&config, pen(StorageMode::Redis), &mut tasks);
        redis = Some(opened.map_err(|error| no_address("redis.url", &error))?);
    }
    let mut mysql = None;
    if let Some(database) = &config.mysql {
        let alone = redis.is_none();
        let (pen, zone) = (pen(StorageMode::Mysql), config.calendar.zone.clone());
        let opened = MySqlStore::open(database, alone, pen, config.lock_ttl, zone, &mut tasks);
        mysql = Some(opened.map_err(|error| no_address("mysql.url", &error))?);
    }
    let store: Arc<dyn HoldStore> = match (redis.clone(), mysql.clone()) {
        (Some(redis), Some(mysql)) => Failover::open(redis, mysql, picture.clone(), &mut tasks),
        (Some(redis), None) => {
            tasks.spawn(redis.clone().decide_alone());
            redis
        }
        (None, Some(mysql)) => mysql,
        (None, None) => Arc::new(MemoryStore::new(pen(StorageMode::Memory), config.lock_ttl)),
    };
    tasks.spawn(expire(picture.clone(), store.clone()));
    let calendar = config.calendar.clone();
    let outbox = mysql.clone().map(Outbox::of);
    let bookings = match (&config.mysql, mysql) {
        (Some(database), Some(mysql)) => {
            let config = ReadingConfig {
                calendar,
                fixed_zone: config.fixed_zone,
                sweep_every: database.sweep_every,
                patience: database.command_timeout,
                availability_ttl: config.availability_ttl,
            };
            Bookings::of_database(picture.clone(), store.clone(), mysql, redis, config, &mut tasks)
        }
        _ => Bookings::of_picture(picture.clone(), calendar),
    };
    Ok(OpenStore { store, picture, bookings, outbox, tasks })
}

/// Has the store look at every hold whose deadline has come.
async fn expire(picture: Arc<Picture>, store: Arc<dyn HoldStore>) {
    loop {
        let due = picture.due().await;
        store.look(&due);
    }
}
