//! A MariaDB of the test's own: on a reserved port, in a temporary folder, ended with the value.
//! It holds a database `site` and a user `app` with all rights on it; it can be killed, frozen and restarted.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Opts, OptsBuilder};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::eventually::eventually;
use crate::maria_template::{LAYOUT, copy_to, server_program, user_option};
use crate::signals::{freeze, thaw};
use crate::{PATIENCE, ReservedPort};

/// Generous, so that a frozen machine is not taken for a frozen MariaDB.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A running (or killed) `mariadbd`.
#[derive(Debug)]
pub struct MariaDb {
    // Dropped first: a live server writes into the folder while it is removed.
    child: Option<Child>,
    port: ReservedPort,
    folder: TempDir,
    args: Vec<String>,
}

impl MariaDb {
    /// Starts one whose database `site` is empty. A commit is on disk before it is answered.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more arguments, as `["--max-connections=20"]`; they win over this builder's own.
    pub async fn start_with(args: &[&str]) -> Self {
        let mut server = Self {
            child: None,
            port: ReservedPort::new(),
            folder: TempDir::with_prefix("slotcast-mariadb-").expect("a temporary folder"),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        };
        std::fs::create_dir(server.temporary()).expect("a temporary folder takes folders");
        let data = server.data();
        tokio::task::spawn_blocking(move || copy_to(&data)).await.expect("a data folder is made");
        server.spawn().await;
        server
    }

    /// `mysql://app:app@127.0.0.1:port/site`.
    pub fn url(&self) -> String {
        self.url_as("app", "app")
    }

    /// The URL of another user.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@{}/site", self.port.addr())
    }

    /// The URL of `app` by way of a proxy.
    pub fn url_through(&self, proxy: SocketAddr) -> String {
        format!("mysql://app:app@{proxy}/site")
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// A new connection of the test's own, as `app`.
    pub async fn connection(&self) -> Conn {
        connect(&self.url()).await.expect("mariadb accepts app")
    }

    /// A new connection of the test's own, as `root`, in the database `site`.
    pub async fn root_connection(&self) -> Conn {
        connect(&self.root_url()).await.expect("mariadb accepts root")
    }

    /// Runs statements, separated by `;`, as `root` in the database `site`.
    pub async fn run(&self, sql: &str) {
        self.try_run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs statements that may be refused.
    pub async fn try_run(&self, sql: &str) -> Result<(), mysql_async::Error> {
        let mut connection = connect(&self.root_url()).await?;
        answered(connection.query_drop(sql)).await?;
        connection.disconnect().await
    }

    /// The rows of one query, asked as `root` in the database `site`.
    pub async fn query<T: FromRow + Send + 'static>(&self, sql: &str) -> Vec<T> {
        let mut connection = self.root_connection().await;
        let rows = answered(connection.query(sql)).await;
        drop(connection.disconnect().await);
        rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Creates `wp_options` as WordPress does, empty.
    pub async fn wordpress_options(&self) {
        self.run(include_str!("../../config/mariadb/options.sql")).await;
    }

    /// Creates `wp_appointease_appointments` as AppointEase does, empty.
    pub async fn appointments(&self) {
        self.run(include_str!("../../config/mariadb/appointments.sql")).await;
    }

    /// Ends it at once, as a crash does: what was committed is kept. It stays away.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("our child can be killed");
        }
    }

    /// Crashes it where it still runs and starts it again with what was committed.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.spawn().await;
    }

    /// Freezes it: connections stay open, new ones are accepted by the kernel, nothing is answered.
    pub fn freeze(&self) {
        freeze(self.child.as_ref().expect("mariadb runs"));
    }

    /// Ends a freeze.
    pub fn thaw(&self) {
        thaw(self.child.as_ref().expect("mariadb runs"));
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Not the machine's: a server that starts removes all temporary tables there, whosever they are.
    fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    fn root_url(&self) -> String {
        format!("mysql://root@{}/site", self.port.addr())
    }

    async fn spawn(&mut self) {
        let folder = self.folder.path();
        let log = folder.join("log");
        let written = std::fs::File::create(&log).expect("a log file");
        let child = Command::new(server_program())
            .arg("--no-defaults")
            .args(user_option())
            .arg(format!("--datadir={}", self.data().display()))
            .arg(format!("--tmpdir={}", self.temporary().display()))
            .arg(format!("--socket={}", folder.join("s").display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .arg(format!("--port={}", self.port.addr().port()))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--performance-schema=OFF"])
            // As Debian configures it.
            .args(["--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci"])
            .args(["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=1"])
            .arg("--innodb-temp-data-file-path=ibtmp1:2M:autoextend")
            .args(LAYOUT)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(written)
            .kill_on_drop(true)
            .spawn()
            .expect("mariadbd is installed");
        self.child = Some(child);
        eventually("mariadb lets root in", PATIENCE, async || {
            let child = self.child.as_mut().expect("just started");
            if let Some(status) = child.try_wait().expect("mariadb is our child") {
                panic!("mariadb ended with {status}: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            self.try_run("DO 1").await.ok()
        })
        .await;
    }
}

/// Connects over TCP: the driver would change to the socket file, past every proxy and as another account.
async fn connect(url: &str) -> Result<Conn, mysql_async::Error> {
    let opts = OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(false);
    answered(Conn::new(opts)).await
}

async fn answered<T>(
    asked: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, mysql_async::Error> {
    match timeout(RESPONSE_TIMEOUT, asked).await {
        Ok(answer) => answer,
        Err(late) => Err(mysql_async::Error::Io(std::io::Error::from(late).into())),
    }
}
