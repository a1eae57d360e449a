//! The yardstick of a select: the very script that slotcast selects with, on the same Redis, called from this process without
//! any gateway between. Its keys name no room, so that no gateway looks at them; they begin as all do, so that Redis has
//! the same notifications to send.

use redis::Script;
use redis::aio::MultiplexedConnection;

use crate::LoadError;
use crate::view::slot_name;

/// Keys of the bare script's selections.
const ACTIVE_PREFIX: &str = "appointease_active_";
/// Keys of locks, of which there are none.
const LOCK_PREFIX: &str = "appointease_lock_";
/// Names no room, so that gateways pass over what the script publishes.
const ROOM: &str = "loadgen_";
/// Keys live as long as a selection.
const TTL_MS: usize = 10_000;

/// What slotcast runs for a select.
const SELECT: &str = concat!(
    include_str!("../../slot-state/src/redis/scripts/prelude.lua"),
    include_str!("../../slot-state/src/redis/scripts/hold.lua"),
    include_str!("../../slot-state/src/redis/scripts/commit.lua"),
    include_str!("../../slot-state/src/redis/scripts/selection.lua"),
    include_str!("../../slot-state/src/redis/scripts/select.lua"),
);

/// A connection to Redis with the script loaded.
pub(crate) struct BareScript {
    connection: MultiplexedConnection,
    script: Script,
}

impl BareScript {
    pub(crate) async fn connect(url: &str) -> Result<BareScript, LoadError> {
        let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        let script = Script::new(SELECT);
        script.prepare_invoke().load_async(&mut connection).await?;
        Ok(BareScript { connection, script })
    }

    /// One select.
    pub(crate) async fn call(&mut self, slot: usize) -> Result<(), LoadError> {
        let slot = slot_name(slot);
        let reply: Vec<String> = self
            .script
            .key("loadgen_storage")
            .key(format!("{ACTIVE_PREFIX}{ROOM}{slot}"))
            .key(format!("{LOCK_PREFIX}{ROOM}{slot}"))
            .key("loadgen_user")
            // The epoch, the gateway, the client; then as select.lua says.
            .arg(1)
            .arg("loadgen")
            .arg("loadgen")
            .arg(&slot)
            .arg(ROOM)
            .arg(ACTIVE_PREFIX)
            .arg(LOCK_PREFIX)
            .arg(TTL_MS)
            .arg("select")
            .arg("")
            .invoke_async(&mut self.connection)
            .await?;
        match reply.first() {
            Some(word) if word == "ok" => Ok(()),
            _ => Err(LoadError::Refused(format!("the bare script answered {reply:?}"))),
        }
    }
}
