//! From configuration to a running store: the only file that names every backend.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::memory::MemoryStore;
use crate::mysql::{MySqlConfig, MySqlStore};
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
}

/// A store at work.
pub struct OpenStore {
    /// Takes requests.
    pub store: Arc<dyn HoldStore>,
    /// Serves reads.
    pub picture: Arc<Picture>,
    /// What keeps both going; ends with this value.
    pub tasks: JoinSet<()>,
}

/// Opens the configured store. One that is away does not stop this: it is there when it comes back.
/// Errors only on an address that cannot be one.
pub fn open(config: &StoreConfig) -> Result<OpenStore, StoreError> {
    let picture = Arc::new(Picture::default());
    let mut tasks = JoinSet::new();
    let pen = |store: StorageMode| {
        picture.decide(store);
        Pen::new(picture.clone(), store)
    };
    let store: Arc<dyn HoldStore> = match (&config.redis_url, &config.mysql) {
        (Some(url), _) => {
            let config = RedisConfig {
                url: url.clone(),
                command_timeout: config.redis_command_timeout,
                lock_ttl: config.lock_ttl,
            };
            RedisStore::open(&config, pen(StorageMode::Redis), &mut tasks)
                .map_err(|error| StoreError::Strange(format!("redis.url: {error}")))?
        }
        (None, Some(mysql)) => MySqlStore::open(mysql, pen(StorageMode::Mysql), config.lock_ttl, &mut tasks)
            .map_err(|error| StoreError::Strange(format!("mysql.url: {error}")))?,
        (None, None) => Arc::new(MemoryStore::new(pen(StorageMode::Memory), config.lock_ttl)),
    };
    tasks.spawn(expire(picture.clone(), store.clone()));
    Ok(OpenStore { store, picture, tasks })
}

/// Has the store look at every hold whose deadline has come.
async fn expire(picture: Arc<Picture>, store: Arc<dyn HoldStore>) {
    loop {
        let due = picture.due().await;
        store.look(&due);
    }
}
