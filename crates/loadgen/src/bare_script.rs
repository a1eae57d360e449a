//! The yardstick of a select: a script of about the same work on the same Redis, called from this process without any
//! gateway between. Its keys are its own, so that no gateway reads them.

use std::time::Duration;

use redis::Script;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::LoadError;
use crate::timing::{Clock, Timings};
use crate::view::{SLOTS, slot_name};

/// Keys live as long as a selection.
const TTL_SECS: usize = 10;

/// What an atomic select cannot do without: check the epoch and the slot, move the client's selection, tell the others.
const SELECT_LIKE: &str = r"
if redis.call('GET', KEYS[1]) == 'never' then return {err = 'epoch'} end
local held = redis.call('GET', KEYS[2])
if held and cjson.decode(held).client_id ~= ARGV[1] then return 'slot_locked' end
local before = redis.call('GET', KEYS[3])
if before then redis.call('DEL', ARGV[4] .. before) end
redis.call('SET', KEYS[2], cjson.encode({client_id = ARGV[1], time = ARGV[2]}), 'EX', ARGV[3])
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
redis.call('PUBLISH', 'loadgen:changes', ARGV[2])
return 'selected'
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
            let _: String = self
                .script
                .key("loadgen_epoch")
                .key(format!("loadgen_active_{slot}"))
                .key("loadgen_user")
                .arg("loadgen")
                .arg(&slot)
                .arg(TTL_SECS)
                .arg("loadgen_active_")
                .invoke_async(&mut self.connection)
                .await?;
            timings.record(clock.now_us() - started_us);
        }
        Ok(timings)
    }
}
