//! The Lua scripts: one atomic step and one round trip each. Every call carries the storage epoch and hears
//! which storage record answered, so that an emptied database is noticed by whoever talks to it first. What another
//! store decides is refused, here and in Redis.

use std::sync::Arc;

use parking_lot::Mutex;
use redis::Script;
use tokio::time::Instant;

use super::keys;
use super::link::Link;
use super::replaced::Replaced;
use super::value::{KeyState, Reply};
use crate::event::Observation;
use crate::failover::{Record, Store};
use crate::pen::Pen;
use crate::slot::Slot;
use crate::store::StoreError;

macro_rules! scripts {
    ($($name:ident: $($fragment:ident)*;)*) => {
        /// One field a script file.
        pub(super) struct Sources { $(pub(super) $name: Script,)* }

        impl Sources {
            fn load() -> Self {
                Sources { $($name: Script::new(concat!(
                    include_str!("scripts/prelude.lua"),
                    $(include_str!(concat!("scripts/", stringify!($fragment), ".lua")),)*
                    include_str!(concat!("scripts/", stringify!($name), ".lua")),
                )),)* }
            }
        }
    };
}

// Each script with the fragments it needs, between the prelude and itself.
scripts! {
    select: current agree hold commit selection;
    deselect: current agree hold commit;
    lock: current agree hold commit write_lock;
    unlock: current agree hold commit;
    book: current agree hold commit;
    renew: current agree hold commit selection;
    shorten: current agree hold commit;
    read: current agree hold;
    carry_selections: current before hold commit selection;
    carry_locks: current hold commit write_lock;
    drop_stale: current before hold;
    probe:;
    record:;
}

/// The word of a script that refused for the sake of the storage record.
const EPOCH: &str = "epoch";

/// Calls scripts on a link, in the name of one gateway.
pub(super) struct Scripts {
    pub(super) sources: Sources,
    pub(super) link: Arc<Link>,
    /// This process' name in Redis, new with every start.
    pub(super) gateway: String,
    believed: Mutex<Record>,
    born: Mutex<Option<String>>,
    /// Whether the database was emptied or replaced.
    pub(super) replaced: Arc<Replaced>,
    picture: Pen,
}

impl Scripts {
    pub(super) fn new(link: Arc<Link>, replaced: Arc<Replaced>, picture: Pen) -> Arc<Self> {
        Arc::new(Scripts {
            sources: Sources::load(),
            link,
            gateway: format!("{:016x}", rand::random::<u64>()),
            believed: Mutex::new(Record { epoch: 1, mode: Store::Redis }),
            born: Mutex::new(None),
            replaced,
            picture,
        })
    }

    /// The storage epoch last heard of.
    pub(super) fn epoch(&self) -> u64 {
        self.believed.lock().epoch
    }

    /// What this gateway goes by from now on.
    pub(super) fn believe(&self, record: Record) {
        *self.believed.lock() = record;
    }

    /// Whether Redis decides by what this gateway goes by: else all but a few scripts are refused.
    pub(super) fn check_mode(&self) -> Result<(), StoreError> {
        self.epoch_here().map(drop)
    }

    /// Whether Redis decides by this record, found there.
    pub(super) fn check_record(&self, found: Record) -> Result<(), StoreError> {
        let epoch = self.epoch_here()?;
        if found.mode == Store::Mysql && found.epoch >= epoch { Err(StoreError::Elsewhere) } else { Ok(()) }
    }

    fn epoch_here(&self) -> Result<u64, StoreError> {
        let believed = *self.believed.lock();
        if believed.mode == Store::Redis { Ok(believed.epoch) } else { Err(StoreError::Elsewhere) }
    }

    /// Calls a script with the storage key, the epoch and the gateway's name before `keys` and `args`, where Redis
    /// decides; else [`StoreError::Elsewhere`], and nothing is changed.
    #[cfg_attr(feature = "spans", tracing::instrument(name = "redis", skip_all))]
    pub(super) async fn call(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&str],
    ) -> Result<Reply, StoreError> {
        let epoch = self.epoch_here()?;
        let started = Instant::now();
        let mut reply = self.attempt(script, epoch, keys, args).await;
        if let Ok(refused) = &mut reply
            && refused.word == EPOCH
        {
            reply = match refused.newer_epoch() {
                // Another gateway raised the epoch; now it is known here too.
                Ok(newer) => {
                    self.raised(newer);
                    Box::pin(self.attempt(script, newer, keys, args)).await
                }
                Err(error) => Err(error),
            };
        }
        self.heard(started, reply)
    }

    /// Calls a script under an epoch that need not be in force, whichever store decides.
    pub(super) async fn call_under(
        &self,
        epoch: u64,
        script: &Script,
        keys: &[String],
        args: &[&str],
    ) -> Result<Reply, StoreError> {
        let started = Instant::now();
        let reply = self.attempt(script, epoch, keys, args).await;
        self.heard(started, reply)
    }

    /// Counts a reply; one that still speaks of a newer epoch means that another store decides, or will in a moment.
    fn heard(&self, started: Instant, reply: Result<Reply, StoreError>) -> Result<Reply, StoreError> {
        let reply =
            reply.and_then(|reply| if reply.word == EPOCH { Err(StoreError::Elsewhere) } else { Ok(reply) });
        match &reply {
            Ok(reply) => {
                self.picture.observe(Observation::StoreTime(started.elapsed()));
                self.note_born(&reply.born);
            }
            Err(error) => self.picture.observe(Observation::StoreError(error.kind())),
        }
        reply
    }

    /// Redis still decides, under a newer epoch. What came from elsewhere meanwhile is newer still.
    fn raised(&self, epoch: u64) {
        let mut believed = self.believed.lock();
        if believed.mode == Store::Redis {
            believed.epoch = believed.epoch.max(epoch);
        }
    }

    async fn attempt(
        &self,
        script: &Script,
        epoch: u64,
        keys: &[String],
        args: &[&str],
    ) -> Result<Reply, StoreError> {
        let mut invocation = script.key(keys::STORAGE);
        keys.iter().for_each(|key| {
            invocation.key(key);
        });
        invocation.arg(epoch).arg(&self.gateway);
        args.iter().for_each(|arg| {
            invocation.arg(*arg);
        });
        Reply::parse(self.link.call(&invocation).await?)
    }

    fn note_born(&self, born: &str) {
        let mut known = self.born.lock();
        match known.as_deref() {
            Some(same) if same == born => return,
            Some(_) => self.replaced.report(),
            None => {}
        }
        *known = Some(born.to_owned());
    }

    /// The state of the two keys of each slot, as of the returned sequence number.
    pub(super) async fn read(
        &self,
        slots: impl Iterator<Item = Slot>,
    ) -> Result<(u64, Vec<(KeyState, KeyState)>), StoreError> {
        let keys: Vec<String> = slots.flat_map(|slot| [keys::active(slot), keys::lock(slot)]).collect();
        let mut reply = self.call(&self.sources.read, &keys, &[]).await?;
        let mut states = reply.next::<Vec<redis::Value>>()?.into_iter().map(KeyState::parse);
        let states: Option<Vec<_>> =
            (0..keys.len() / 2).map(|_| Some((states.next()??, states.next()??))).collect();
        Ok((reply.seq, states.ok_or_else(|| StoreError::Strange("expected two keys a slot".into()))?))
    }
}
