//! A Redis of the test's own: on a reserved port, in a temporary folder, ended with the value.
//! It can be killed, frozen, restarted with what it held or empty.

use std::process::Stdio;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::eventually::eventually;
use crate::signals::{freeze, thaw};
use crate::{PATIENCE, Php, ReservedPort};

/// Generous, so that a frozen machine is not taken for a frozen Redis.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A running (or killed) `redis-server`.
#[derive(Debug)]
pub struct RedisServer {
    port: ReservedPort,
    folder: TempDir,
    args: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts an empty Redis with its defaults, but no saving.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts an empty Redis with more arguments, as `["--notify-keyspace-events", "Kx"]`.
    pub async fn start_with(args: &[&str]) -> Self {
        let mut server = Self {
            port: ReservedPort::new(),
            folder: TempDir::with_prefix("slotcast-redis-").expect("a temporary folder"),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            child: None,
        };
        server.spawn().await;
        server
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.port.addr())
    }

    /// The URL of an ACL user.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@{}", self.port.addr())
    }

    /// Where it listens.
    pub fn addr(&self) -> std::net::SocketAddr {
        self.port.addr()
    }

    /// A new connection of the test's own.
    pub async fn connection(&self) -> MultiplexedConnection {
        self.try_connection().await.expect("redis accepts connections")
    }

    /// A client that writes as the PHP plugin does.
    pub async fn php(&self) -> Php {
        Php::over(self.connection().await)
    }

    /// Runs one command.
    pub async fn run<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_run(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Runs one command that may be refused.
    pub async fn try_run<T: FromRedisValue>(&self, command: &[&str]) -> RedisResult<T> {
        let mut request = redis::cmd(command[0]);
        request.arg(&command[1..]);
        request.query_async(&mut self.try_connection().await?).await
    }

    /// Ends it at once, with nothing saved; it stays away.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("our child can be killed");
        }
    }

    /// Restarts it with what it held; one that was killed comes back with what it last saved.
    pub async fn restart(&mut self) {
        if self.child.is_some() {
            self.run::<String>(&["SAVE"]).await;
            self.kill().await;
        }
        self.spawn().await;
    }

    /// Kills it and starts it again with nothing in it.
    pub async fn restart_empty(&mut self) {
        self.kill().await;
        // No dump was ever saved in a test that never called `restart`.
        drop(std::fs::remove_file(self.folder.path().join("dump.rdb")));
        self.spawn().await;
    }

    /// Freezes it: connections stay open, new ones are accepted by the kernel, nothing is answered.
    pub fn pause(&self) {
        freeze(self.child.as_ref().expect("redis runs"));
    }

    /// Ends a pause.
    pub fn resume(&self) {
        thaw(self.child.as_ref().expect("redis runs"));
    }

    async fn try_connection(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(RESPONSE_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        Client::open(self.url())?.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn spawn(&mut self) {
        let log = self.folder.path().join("redis.log");
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.addr().port().to_string()])
            .arg("--dir")
            .arg(self.folder.path())
            .arg("--logfile")
            .arg(&log)
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        eventually("redis answers PING", PATIENCE, async || {
            let child = self.child.as_mut().expect("just started");
            if let Some(status) = child.try_wait().expect("redis is our child") {
                panic!("redis ended with {status}: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            self.try_run::<String>(&["PING"]).await.ok()
        })
        .await;
    }
}
