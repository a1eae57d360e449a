//! The Lua scripts: one atomic step and one round trip each. Every call carries the storage epoch and hears
//! which storage record answered, so that an emptied database is noticed by whoever talks to it first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use redis::Script;
use tokio::time::Instant;

use super::keys;
use super::link::Link;
use super::replaced::Replaced;
use super::value::{KeyState, Reply};
use crate::event::Observation;
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
    select: hold commit selection;
    deselect: hold commit;
    lock: hold commit;
    unlock: hold commit;
    renew: hold commit selection;
    shorten: hold commit;
    read: hold;
    probe:;
}

/// Calls scripts on a link, in the name of one gateway.
pub(super) struct Scripts {
    pub(super) sources: Sources,
    pub(super) link: Arc<Link>,
    /// This process' name in Redis, new with every start.
    pub(super) gateway: String,
    epoch: AtomicU64,
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
            epoch: AtomicU64::new(1),
            born: Mutex::new(None),
            replaced,
            picture,
        })
    }

    /// The storage epoch last heard of.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Calls a script with the storage key, the epoch and the gateway's name before `keys` and `args`.
    pub(super) async fn call(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&str],
    ) -> Result<Reply, StoreError> {
        let started = Instant::now();
        let reply = match self.attempt(script, keys, args).await {
            // Another gateway raised the epoch; now it is known here too.
            Ok(reply) if reply.word == "epoch" => {
                self.epoch.fetch_max(reply.seq, Ordering::Relaxed);
                self.attempt(script, keys, args).await
            }
            other => other,
        };
        match &reply {
            Ok(reply) => {
                self.picture.observe(Observation::StoreTime(started.elapsed()));
                self.note_born(&reply.born);
            }
            Err(error) => self.picture.observe(Observation::StoreError(error.kind())),
        }
        reply
    }

    async fn attempt(&self, script: &Script, keys: &[String], args: &[&str]) -> Result<Reply, StoreError> {
        let mut invocation = script.key(keys::STORAGE);
        keys.iter().for_each(|key| {
            invocation.key(key);
        });
        invocation.arg(self.epoch()).arg(&self.gateway);
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
