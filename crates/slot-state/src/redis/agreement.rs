//! What the storage record in Redis says of who decides, for the failover store: reading it, raising it, and what this
//! gateway goes by. All of it works whichever store decides.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{LockKeeper, RedisStore, keys};
use crate::failover::{Record, Store};
use crate::store::{StorageMode, StoreError};

/// Until Redis is asked again who decides.
const AGAIN: Duration = Duration::from_secs(1);

impl RedisStore {
    /// Names who is asked before a lock counts as gone. Only the first call counts.
    pub(crate) fn keep_locks_with(&self, keeper: Weak<dyn LockKeeper>) {
        let _ = self.reader.lock_keeper.set(keeper);
    }

    /// Without MySQL Redis decides, whatever was agreed on while there was one.
    pub(crate) async fn decide_alone(self: Arc<Self>) {
        loop {
            match self.record().await {
                Ok(record) if record.mode == Store::Mysql => {
                    // Epochs of Redis are odd: see `failover::switch`.
                    let record = Record { epoch: record.epoch + 1 + record.epoch % 2, mode: Store::Redis };
                    if let Ok(Ok(())) = self.raise(record).await {
                        self.believe(record);
                        return;
                    }
                }
                Ok(_) => return,
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// What stands in Redis, `Record::NONE` if nothing does. Proves that Redis takes a write: it is made.
    pub(crate) async fn record(&self) -> Result<Record, StoreError> {
        let scripts = &self.scripts;
        let salt = self.salt().unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        let keys = [keys::probe(&scripts.gateway)];
        let mut reply = scripts.call_under(scripts.epoch(), &scripts.sources.probe, &keys, &[&salt]).await?;
        *self.salt.lock() = Some(reply.next()?);
        reply.record()
    }

    /// Puts `record` into Redis, where a lower one or none is; else says which one is there.
    pub(crate) async fn raise(&self, record: Record) -> Result<Result<(), Record>, StoreError> {
        let scripts = &self.scripts;
        let mode = StorageMode::from(record.mode).as_str();
        // At equal epochs MySQL is right.
        let beats = record.epoch - u64::from(record.mode == Store::Redis && record.epoch > 0);
        let args = [mode, &record.epoch.to_string(), &beats.to_string()];
        let mut reply = scripts.call_under(record.epoch, &scripts.sources.record, &[], &args).await?;
        match reply.word.as_str() {
            "ok" => Ok(Ok(())),
            _ => Ok(Err(reply.record()?)),
        }
    }

    /// What this gateway goes by from now on. While that is `mysql`, nothing is asked of Redis but what needs no
    /// agreement, and the picture is not written to.
    pub(crate) fn believe(&self, record: Record) {
        self.scripts.believe(record);
        self.readings.want_probe();
    }

    /// What the addresses of this site are hashed with; `None` until Redis has answered.
    pub(crate) fn salt(&self) -> Option<String> {
        self.salt.lock().clone()
    }

    /// Has everything read, and waits until the picture shows it. Redis must decide, by the picture and by what
    /// [`RedisStore::believe`] was told. An error says that it could not be read; it is tried again without being
    /// asked.
    pub(crate) async fn read_anew(&self) -> Result<(), StoreError> {
        // What is not here did not come over; nobody took it away.
        self.scripts.replaced.report();
        self.readings.read_anew().await
    }
}

#[cfg(test)]
mod tests;
