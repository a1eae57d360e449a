//! The yardstick of a select: a script of about the same work on the same Redis, called from this process without any
//! gateway between. Its keys are its own, so that no gateway reads them.

use std::time::Duration;

use redis::Script;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::LoadError;
use crate::timing::{Clock, Timings};
use crate::view::{SLOTS, slot_name};

/// Keys of the bare script's selections.
const ACTIVE_PREFIX: &str = "loadgen_active_";
/// Keys live as long as a selection.
const TTL_MS: usize = 10_000;

/// The commands that a select of the contract cannot do without, and nothing around them: is the epoch still ours, is the
/// slot locked or held by another, where was this client; then move it, number the change and tell the others.
const SELECT_LIKE: &str = r"
local active, lock, user, storage = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local client, slot, prefix, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local time = redis.call('TIME')
local state = redis.call('HMGET', storage, 'epoch', 'born', 'seq')
if state[1] and tonumber(state[1]) > 1 then return { 'epoch' } end
if redis.call('GET', lock) then return { 'slot_locked' } end
local held = redis.call('GET', active)
if held and cjson.decode(held).client_id ~= client then return { 'slot_locked' } end
local before = redis.call('GET', user)
if before and before ~= slot then
  local other = redis.call('GET', prefix .. before)
  if other and cjson.decode(other).client_id == client then redis.call('DEL', prefix .. before) end
end
local hold = { client_id = client, timestamp = tonumber(time[1]), time = slot, epoch = 1 }
redis.call('SET', active, cjson.encode(hold), 'PX', ttl)
redis.call('SET', user, slot, 'PX', ttl)
redis.call('HSET', storage, 'seq', time[1] .. time[2])
redis.call('PUBLISH', 'loadgen:changes', cjson.encode({ act = 'select', slots = { slot, before } }))
return { 'ok', time[1], slot }
";

/// A connection to Redis with the script loaded.
pub(crate) struct BareScript {
    connection: MultiplexedConnection,
    script: Script,
}

impl BareScript {
    pub(crate) async fn connect(url: &str) -> Result<BareScript, LoadError> {
        let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        let script = Script::new(SELECT_LIKE);
        script.prepare_invoke().load_async(&mut connection).await?;
        Ok(BareScript { connection, script })
    }

    /// Calls the script `rate` times a second until `until`.
    pub(crate) async fn run(mut self, rate: f64, until: Instant, clock: Clock) -> Result<Timings, LoadError> {
        let mut timings = Timings::new();
        let period = Duration::from_secs_f64(1.0 / rate);
        // Half a period off, so that the calls fall between the selects they are compared with.
        let mut ticks = interval_at(Instant::now() + period / 2, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for call in 0.. {
            ticks.tick().await;
            if Instant::now() >= until {
                break;
            }
            let slot = slot_name(call % SLOTS);
            let started_us = clock.now_us();
            let reply: Vec<String> = self
                .script
                .key(format!("{ACTIVE_PREFIX}{slot}"))
                .key(format!("loadgen_lock_{slot}"))
                .key("loadgen_user")
                .key("loadgen_storage")
                .arg("loadgen")
                .arg(&slot)
                .arg(ACTIVE_PREFIX)
                .arg(TTL_MS)
                .invoke_async(&mut self.connection)
                .await?;
            timings.record(clock.now_us() - started_us);
            if reply.first().is_none_or(|word| word != "ok") {
                return Err(LoadError::Refused(format!("the bare script answered {reply:?}")));
            }
        }
        Ok(timings)
    }
}
