//! A running `slotcast`: the real program, configured by its environment, on a port the system picks.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Child;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::ClientConfig;

use crate::binary::{slotcast_command, spawn_with_logs};
use crate::eventually::eventually;
use crate::logs::{Logs, field};
use crate::signals::{freeze, signal, thaw};
use crate::{Bridge, Certificate, PATIENCE, RedisServer};

/// How long a gateway may take to listen: debug builds on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a gateway may take to stop: `drain_secs` and some.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const LIMITS: [&str; 9] = [
    "max_connections",
    "max_connections_per_address",
    "max_rooms_per_connection",
    "frames_per_second",
    "bytes_per_second",
    "writes_per_second",
    "writes_per_second_per_address",
    "new_rooms_per_second_per_address",
    "max_holds_per_address",
];

/// What to start a gateway with.
#[derive(Clone, Debug)]
pub struct GatewayBuilder {
    env: BTreeMap<String, String>,
    args: Vec<String>,
    tls: Option<Arc<ClientConfig>>,
    open_files: Option<u32>,
}

impl GatewayBuilder {
    /// Sets a configuration key, as in `with("slots.lock_ttl_secs", 2)`.
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        self.env.insert(env_name(key), value.to_string());
        self
    }

    /// Sets a variable of its environment that is no configuration key.
    pub fn environment(mut self, name: &str, value: impl Display) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// Uses the Redis at this address.
    pub fn redis_at(self, url: &str) -> Self {
        self.with("redis.url", url)
    }

    /// Stops its first booking at this step: the file appears, and the booking goes on when it is gone.
    pub fn stopping_at(self, step: &str, file: &Path) -> Self {
        self.with("fail.point", format!("confirm:{step}={}", file.display()))
    }

    /// Speaks TLS with this certificate; what the test asks of it comes over TLS too.
    pub fn with_tls(mut self, certificate: &Certificate) -> Self {
        self.tls = Some(certificate.client());
        self.with("server.tls_cert", certificate.file().display())
            .with("server.tls_key", certificate.key().display())
    }

    /// Trusts the certificates in this file, and no others.
    pub fn trusting(mut self, certificates: &Path) -> Self {
        self.env.insert("SSL_CERT_FILE".to_owned(), certificates.display().to_string());
        self
    }

    /// Starts it with these arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Keeps the limits of the `security` section as a site owner gets them.
    pub fn with_limits(mut self) -> Self {
        for limit in LIMITS {
            self.env.remove(&env_name(&format!("security.{limit}")));
        }
        self
    }

    /// Allows it so many open files.
    pub fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    /// Starts the program and waits until it says that it listens.
    pub async fn start(self) -> Gateway {
        let mut command = slotcast_command(&self.env, self.open_files).await;
        command.args(&self.args);
        let (mut child, logs) = spawn_with_logs(command);
        let listen = eventually("slotcast listens", START_DEADLINE, async || {
            if let Some(status) = child.try_wait().expect("slotcast is our child") {
                panic!("slotcast ended with {status} before it listened:\n{}", logs.tail());
            }
            let entry = logs.events("listening").into_iter().next()?;
            Some(field(&entry, "listen").expect("`listen` holds the bound address").to_owned())
        })
        .await;
        let bridge = match listen.strip_prefix("unix:") {
            Some(path) => Some(Bridge::to_file(path.into()).await),
            None => match self.tls {
                Some(trust) => {
                    Some(Bridge::to_tls(listen.parse().expect("an address and a port"), trust).await)
                }
                None => None,
            },
        };
        let addr = match &bridge {
            Some(bridge) => bridge.addr(),
            None => listen.parse().expect("an address and a port"),
        };
        Gateway { child, addr, logs, _bridge: bridge }
    }
}

fn env_name(key: &str) -> String {
    format!("SLOTCAST_{}", key.replace('.', "_").to_uppercase())
}

/// A gateway process; ended with the value.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    addr: SocketAddr,
    logs: Logs,
    /// The way to one that listens elsewhere than on a port.
    _bridge: Option<Bridge>,
}

/// How a gateway ended.
#[derive(Debug)]
pub struct Stopped {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// From the signal to the end.
    pub took: Duration,
}

impl Gateway {
    /// A gateway on a port the system picks, with JSON logs, the embedded memory store until told otherwise, and
    /// without limits, which all of a test's pages would share: they come from one address.
    pub fn builder() -> GatewayBuilder {
        let builder = GatewayBuilder { env: BTreeMap::new(), args: Vec::new(), tls: None, open_files: None }
            .with("server.listen", "127.0.0.1:0")
            .with("log.format", "json");
        LIMITS.iter().fold(builder, |builder, limit| builder.with(&format!("security.{limit}"), 0))
    }

    /// Starts a gateway with the embedded memory store.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Starts a gateway on this Redis and waits until it is ready.
    pub async fn on(redis: &RedisServer) -> Self {
        let gateway = Self::builder().redis_at(&redis.url()).start().await;
        gateway.eventually_ready().await;
        gateway
    }

    /// Where it listens; or, where that is no port, what leads there.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `ws://…/ws`.
    pub fn ws_url(&self) -> String {
        format!("ws://{}/ws", self.addr)
    }

    /// `http://…` without a slash at the end.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the gateway still runs")
    }

    /// Its resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a VmRSS line");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
    }

    /// A sample of `/metrics`, by its name with labels; 0 where there is none.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = crate::LegacyPage::of(self).get("/metrics").await.body;
        let mut samples = page.lines().filter_map(|line| line.rsplit_once(' '));
        samples.find(|(sample, _)| *sample == name).map_or(0.0, |(_, value)| value.parse().expect("a number"))
    }

    /// What it printed.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The log entries with this event code so far.
    pub fn log_events(&self, code: &str) -> Vec<Value> {
        self.logs.events(code)
    }

    /// Waits until `/readyz` answers 200.
    pub async fn eventually_ready(&self) {
        self.eventually_readyz(200).await;
    }

    /// Waits until it is ready and MySQL is well too: where Redis decides, that may come later.
    pub async fn eventually_well_with_mysql(&self) {
        self.eventually_ready().await;
        let operator = crate::LegacyPage::of(self);
        eventually("MySQL is well", PATIENCE, async || {
            (operator.get("/health").await.json["stores"]["mysql"]["status"] == "ok").then_some(())
        })
        .await;
    }

    /// Waits until `/readyz` answers with this status.
    pub async fn eventually_readyz(&self, status: u16) {
        let page = crate::LegacyPage::of(self);
        eventually(&format!("/readyz says {status}"), PATIENCE, async || {
            (page.get("/readyz").await.status == status).then_some(())
        })
        .await;
    }

    /// Sends SIGHUP: the configuration is to be read again.
    pub fn hang_up(&self) {
        signal(&self.child, Signal::HUP);
    }

    /// Sends SIGTERM without waiting.
    pub fn ask_to_stop(&self) {
        signal(&self.child, Signal::TERM);
    }

    /// Freezes it: its connections stay open, and it does nothing.
    pub fn pause(&self) {
        freeze(&self.child);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        thaw(&self.child);
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> Stopped {
        self.ask_to_stop();
        self.stopped().await
    }

    /// Waits for the end.
    pub async fn stopped(&mut self) -> Stopped {
        let asked = Instant::now();
        let status: ExitStatus = timeout(STOP_DEADLINE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("slotcast did not stop within {STOP_DEADLINE:?}"))
            .expect("slotcast is our child");
        Stopped { code: status.code(), took: asked.elapsed() }
    }

    /// Ends it without any warning, as a crash would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("our child can be killed");
    }

    /// Panics where the process has ended.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("slotcast is our child");
        assert!(ended.is_none(), "slotcast ended with {ended:?}:\n{}", self.logs.tail());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- last log lines of the gateway on {} ---\n{}", self.addr, self.logs.tail());
        }
    }
}
