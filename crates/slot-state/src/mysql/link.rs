//! Connections to the database: every request has a deadline that covers all it needs, and a connection that met its
//! deadline or broke is thrown away, since it would answer the next question with what it owes to the last.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{
    Error, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, Row, Transaction, TxOpts, UrlError,
    prelude::FromValue,
};
use tokio::time::{Instant, timeout_at};

use crate::store::StoreError;

/// Sweeps, renewals and a few requests at a time; more would only wait for each other in the database.
const MOST_CONNECTIONS: usize = 8;
/// An unused connection is closed after this.
const IDLE: Duration = Duration::from_secs(60);
/// Every session is told: what is cut is an error; days and times are UTC; a statement sees what is committed.
const SETUP: [&str; 3] = [
    "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone='+00:00'",
    // A gateway that stands still in a transaction must not keep the others waiting; MariaDB ends that transaction.
    "SET SESSION innodb_lock_wait_timeout=1 /*M!100300 , idle_transaction_timeout=3 */",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another transaction was in the way (deadlock, lock wait, a row that came meanwhile): trying again may help.
    Conflict,
    /// A table or column is not there.
    NoTable(String),
    /// Anything else.
    Store(StoreError),
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            // Others were in the way again and again: nothing is wrong with the store.
            Trouble::Conflict => StoreError::Timeout,
            Trouble::NoTable(why) => StoreError::Refusing(why),
            Trouble::Store(error) => error,
        }
    }
}

/// The way to one database.
pub(super) struct Link {
    pool: Pool,
    deadline: Duration,
}

/// Statements that happen together or not at all; dropped before its commit, nothing happened.
pub(super) struct Work {
    transaction: Transaction<'static>,
    until: Instant,
}

impl Link {
    /// Connects when first needed. An error says what is wrong with the address.
    pub(super) fn new(url: &str, deadline: Duration) -> Result<Self, UrlError> {
        let constraints = PoolConstraints::new(0, MOST_CONNECTIONS).unwrap_or_default();
        let pool = PoolOpts::default()
            .with_constraints(constraints)
            .with_inactive_connection_ttl(IDLE)
            // What SETUP said and the statements prepared are kept.
            .with_reset_connection(false);
        let opts = OptsBuilder::from_opts(Opts::from_url(url)?)
            .prefer_socket(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(5)))
            .setup(SETUP.to_vec())
            .pool_opts(pool);
        Ok(Link { pool: Pool::new(opts), deadline })
    }

    /// The longest a request may take.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// When a request that begins now must be done.
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// Begins a transaction that must be committed by `until`.
    pub(super) async fn begin(&self, until: Instant) -> Result<Work, Trouble> {
        let transaction = in_time(until, self.pool.start_transaction(TxOpts::new())).await?;
        Ok(Work { transaction, until })
    }
}

impl Work {
    /// All rows of an answer.
    pub(super) async fn rows(&mut self, sql: &str, params: impl Into<Params>) -> Result<Vec<Row>, Trouble> {
        in_time(self.until, self.transaction.exec(sql, params.into())).await
    }

    /// All rows of an answer; none where the table is missing.
    pub(super) async fn rows_if_any(
        &mut self,
        sql: &str,
        params: impl Into<Params>,
    ) -> Result<Vec<Row>, Trouble> {
        match self.rows(sql, params).await {
            Err(Trouble::NoTable(_)) => Ok(Vec::new()),
            other => other,
        }
    }

    /// The only row of an answer, if there is one.
    pub(super) async fn row(&mut self, sql: &str, params: impl Into<Params>) -> Result<Option<Row>, Trouble> {
        in_time(self.until, self.transaction.exec_first(sql, params.into())).await
    }

    /// Carries out a statement; returns how many rows it changed.
    pub(super) async fn run(&mut self, sql: &str, params: impl Into<Params>) -> Result<u64, Trouble> {
        in_time(self.until, self.transaction.exec_drop(sql, params.into())).await?;
        Ok(self.transaction.affected_rows())
    }

    /// Makes it so. After an error nobody knows whether it is so.
    pub(super) async fn commit(self) -> Result<(), Trouble> {
        in_time(self.until, self.transaction.commit()).await
    }
}

async fn in_time<T>(until: Instant, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Trouble> {
    match timeout_at(until, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(classify(error)),
        Err(_) => Err(Trouble::Store(StoreError::Timeout)),
    }
}

/// What is wrong with an address, if anything.
pub fn check_mysql_url(url: &str) -> Result<(), String> {
    let opts = Opts::from_url(url).map_err(|error| error.to_string())?;
    if opts.ssl_opts().is_some() {
        return Err("this version cannot speak TLS to MySQL; leave require_ssl out".to_owned());
    }
    Ok(())
}

/// What a column holds; an error instead of the library's panic if it is of another type than expected.
pub(super) fn take<T: FromValue>(row: &mut Row, column: usize) -> Result<T, Trouble> {
    match row.take_opt(column) {
        Some(Ok(value)) => Ok(value),
        _ => Err(Trouble::Store(StoreError::Strange(format!("column {column} is of an unexpected type")))),
    }
}

fn classify(error: Error) -> Trouble {
    let text = error.to_string();
    match error {
        // Lock wait, deadlock, duplicate key; MariaDB's and Galera's "record has changed".
        Error::Server(error) if [1205, 1213, 1062, 1020].contains(&error.code) => Trouble::Conflict,
        Error::Server(error) if [1146, 1054].contains(&error.code) => Trouble::NoTable(text),
        // Too many connections, shutting down, killed: as good as away.
        Error::Server(error) if [1040, 1053, 1203, 1317, 1927].contains(&error.code) => {
            Trouble::Store(StoreError::Away(text))
        }
        // A value that a column cannot hold: the request's fault.
        Error::Server(error) if [1048, 1264, 1265, 1292, 1366, 1406].contains(&error.code) => {
            Trouble::Store(StoreError::Strange(text))
        }
        Error::Server(_) => Trouble::Store(StoreError::Refusing(text)),
        Error::Io(_) | Error::Driver(_) | Error::Other(_) | Error::Url(_) => {
            Trouble::Store(StoreError::Away(text))
        }
    }
}
