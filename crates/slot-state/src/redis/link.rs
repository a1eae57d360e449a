//! The connection for commands: every call has a deadline that covers waiting for a reconnect, and a connection
//! that stays silent is replaced. Used by the store and its reader; `run` keeps it alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::Rng;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, RedisError, ScriptInvocation, Value,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::replaced::Replaced;
use crate::store::StoreError;

/// How many answers in a row may be late before the connection is taken for dead: one that hangs half-open
/// is never reported by the client library.
const STRIKES: u32 = 2;
/// The longest wait is short: within two seconds of Redis answering again it is connected to, probed and read.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// How many requests may be on their way at once.
const PIPELINE: usize = 4096;

/// One connection to Redis, replaced when it breaks.
pub(super) struct Link {
    client: Client,
    deadline: Duration,
    state: watch::Sender<State>,
    strikes: AtomicU32,
    replaced: Arc<Replaced>,
}

#[derive(Clone)]
enum State {
    /// The first attempt is under way: worth waiting for within a call's deadline.
    Connecting,
    /// Which connection, counted from the first.
    Up(u64, MultiplexedConnection),
    Down(String),
}

impl State {
    fn up(&self) -> Option<(u64, MultiplexedConnection)> {
        match self {
            State::Up(number, connection) => Some((*number, connection.clone())),
            State::Connecting | State::Down(_) => None,
        }
    }
}

impl Link {
    pub(super) fn new(client: Client, deadline: Duration, replaced: Arc<Replaced>) -> Arc<Self> {
        let state = watch::Sender::new(State::Connecting);
        Arc::new(Link { client, deadline, state, strikes: AtomicU32::new(0), replaced })
    }

    /// Connects, and again whenever the connection is lost, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        let mut run_id = None;
        for number in 0.. {
            let config = connection_config(self.deadline);
            match timeout(
                self.deadline * 4,
                self.client.get_multiplexed_async_connection_with_config(&config),
            )
            .await
            {
                Ok(Ok(connection)) => {
                    let runs = self.run_id(connection.clone()).await;
                    if runs.is_some() && run_id.is_some() && runs != run_id {
                        self.replaced.report();
                    }
                    run_id = runs.or(run_id);
                    self.strikes.store(0, Ordering::Relaxed);
                    let mut state = self.state.subscribe();
                    self.state.send_replace(State::Up(number, connection));
                    backoff = Backoff::default();
                    // Ends when a call reports the connection broken.
                    let _ = state.wait_for(|state| !matches!(state, State::Up(..))).await;
                    continue;
                }
                Ok(Err(error)) => self.state.send_replace(State::Down(error.to_string())),
                Err(_) => self.state.send_replace(State::Down("no answer to a connection attempt".into())),
            };
            backoff.wait().await;
        }
    }

    /// Which run of which server this is; `None` where INFO is forbidden.
    async fn run_id(&self, mut connection: MultiplexedConnection) -> Option<String> {
        let info = redis::cmd("INFO").arg("server").to_owned();
        let text: String = timeout(self.deadline, info.query_async(&mut connection)).await.ok()?.ok()?;
        text.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::to_owned)
    }

    /// Runs a script within the deadline.
    pub(super) async fn call(&self, script: &ScriptInvocation<'_>) -> Result<Vec<Value>, StoreError> {
        self.within_deadline(async |mut connection| script.invoke_async(&mut connection).await).await
    }

    /// Runs anything on the connection within the deadline.
    pub(super) async fn within_deadline<T>(
        &self,
        request: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.deadline;
        let up = self.state.borrow().up();
        let (number, connection) = match up {
            Some(connected) => connected,
            None => {
                Box::pin(timeout_at(deadline, self.connection())).await.map_err(|_| StoreError::Timeout)??
            }
        };
        match timeout_at(deadline, request(connection)).await {
            Ok(Ok(value)) => {
                self.strikes.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Ok(Err(error)) => {
                if error.is_unrecoverable_error() {
                    self.broken(number);
                }
                Err(classify(&error))
            }
            Err(_) => {
                if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= STRIKES {
                    self.broken(number);
                }
                Err(StoreError::Timeout)
            }
        }
    }

    /// The connection, as soon as it is known whether there is one.
    async fn connection(&self) -> Result<(u64, MultiplexedConnection), StoreError> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match settled.as_deref() {
            Ok(State::Down(why)) => Err(StoreError::Away(why.clone())),
            other => other.ok().and_then(State::up).ok_or_else(|| StoreError::Away("shutting down".into())),
        }
    }

    fn broken(&self, number: u64) {
        self.strikes.store(0, Ordering::Relaxed);
        self.state.send_if_modified(|state| {
            let up = matches!(state, State::Up(current, _) if *current == number);
            if up {
                *state = State::Connecting;
            }
            up
        });
    }
}

/// Waits longer after each failure, with jitter, so that gateways do not come back in step.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(BACKOFF.0)
    }
}

impl Backoff {
    pub(super) async fn wait(&mut self) {
        let jittered = self.0.mul_f64(rand::rng().random_range(0.5..1.0));
        tokio::time::sleep(jittered).await;
        self.0 = (self.0 * 2).min(BACKOFF.1);
    }
}

/// A client for `url` whose sockets notice a dead peer; `resp3` where pushes are wanted.
pub(super) fn client(url: &str, resp3: bool) -> Result<Client, RedisError> {
    let info = url.into_connection_info()?;
    let keepalive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs(5)).with_interval(Duration::from_secs(2));
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(5));
    let mut settings = info.redis_settings().clone();
    if resp3 {
        settings = settings.set_protocol(redis::ProtocolVersion::RESP3);
    }
    Client::open(info.set_tcp_settings(tcp).set_redis_settings(settings))
}

/// No time-outs of the library's own: [`Link`] and the event feed put theirs around every step.
pub(super) fn connection_config(deadline: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(deadline * 4))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(PIPELINE)
}

/// A Redis that answers but takes no writes is as good as away; what it says is kept for the log. The library's own text
/// spells some codes in its own way; servers before 7 quote the code in what they say of a script.
pub(super) fn classify(error: &RedisError) -> StoreError {
    const REFUSING: [&str; 8] =
        ["READONLY", "OOM", "MISCONF", "LOADING", "MASTERDOWN", "NOREPLICAS", "BUSY", "NOPERM"];
    let code = error.code().unwrap_or_default();
    let text = error.to_string();
    if REFUSING.iter().any(|refusing| code == *refusing || text.contains(refusing)) {
        StoreError::Refusing(text)
    } else if error.is_timeout() {
        StoreError::Timeout
    } else if error.is_io_error() || matches!(error.kind(), ErrorKind::AuthenticationFailed) {
        StoreError::Away(text)
    } else {
        StoreError::Strange(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answer: &str) -> StoreError {
        let value = redis::parse_redis_value(answer.as_bytes()).and_then(Value::extract_error);
        classify(&value.expect_err("an error of the server"))
    }

    #[test]
    fn who_takes_no_writes_is_told_from_who_does_not_understand() {
        for refusing in [
            "-READONLY You can't write against a read only replica.\r\n",
            "-ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write \
             against a read only replica. \r\n",
            "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
            "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.\r\n",
            "-NOREPLICAS Not enough good replicas to write.\r\n",
            "-NOPERM User app has no permissions to run the 'set' command\r\n",
        ] {
            assert!(matches!(of(refusing), StoreError::Refusing(_)), "{refusing}: {:?}", of(refusing));
        }
        let strange = of("-ERR wrong number of arguments for 'get' command\r\n");
        assert!(matches!(strange, StoreError::Strange(_)), "{strange:?}");
    }
}
