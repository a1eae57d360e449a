//! Connections to the database: every request has a deadline that covers all it needs, and a connection that met its
//! deadline or broke is thrown away, since it would answer the next question with what it owes to the last.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{
    Conn, Error, Opts, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, Row, Transaction, TxOpts,
    UrlError, prelude::FromValue,
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
    /// A unique row is there already: trying again may find it.
    Duplicate,
    /// A table or column is not there, or one that is new must be filled.
    NoTable {
        /// In words.
        why: String,
        /// The database's number for it, where it said so itself.
        code: Option<u16>,
    },
    /// A value that a column does not take: the request's fault. Names the column, never the value.
    Value {
        /// If the database says.
        column: Option<String>,
        /// The database's number for it.
        code: u16,
    },
    /// The database does not do it, and says why.
    Refused {
        /// In its own words, which may name anybody.
        why: String,
        /// Its number for it.
        code: u16,
    },
    /// Anything else.
    Store(StoreError),
}

impl Trouble {
    /// Something that must be there is not, in words of ours.
    pub(super) fn no_table(why: impl Into<String>) -> Self {
        Trouble::NoTable { why: why.into(), code: None }
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            // Others were in the way again and again: nothing is wrong with the store.
            Trouble::Conflict | Trouble::Duplicate => StoreError::Timeout,
            // Somebody changed a table: no other store need step in for that.
            Trouble::NoTable { why, code: Some(NO_COLUMN | NO_DEFAULT) } => StoreError::Strange(why),
            Trouble::NoTable { why, code: Some(_) } => {
                StoreError::Refusing(format!("{why}; `slotcast doctor` says what to do"))
            }
            Trouble::NoTable { why, code: None } | Trouble::Refused { why, .. } => StoreError::Refusing(why),
            Trouble::Value { column, code } => {
                let column = column.unwrap_or_default();
                StoreError::Strange(format!("error {code}: a value does not fit the column {column}"))
            }
            Trouble::Store(error) => error,
        }
    }
}

/// The way to one database.
pub(super) struct Link {
    opts: Opts,
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
        let opts = Opts::from(opts);
        Ok(Link { pool: Pool::new(opts.clone()), opts, deadline })
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

    /// All rows of an answer to one question, which is not prepared: its text is another each time.
    pub(super) async fn read(&self, sql: &str, until: Instant) -> Result<Vec<Row>, Trouble> {
        let mut connection = in_time(until, self.pool.get_conn()).await?;
        in_time(until, connection.query(sql)).await
    }

    /// The first row of an answer to one question, outside of any transaction.
    pub(super) async fn ask(
        &self,
        sql: &str,
        params: impl Into<Params>,
        until: Instant,
    ) -> Result<Option<Row>, Trouble> {
        let mut connection = in_time(until, self.pool.get_conn()).await?;
        in_time(until, connection.exec_first(sql, params.into())).await
    }

    /// A new connection, which is the caller's alone.
    pub(super) async fn connect(&self, until: Instant) -> Result<Conn, Trouble> {
        in_time(until, Conn::new(self.opts.clone())).await
    }

    /// The database it leads to.
    pub(super) fn database(&self) -> &str {
        self.opts.db_name().unwrap_or_default()
    }

    /// Asks on a connection of its own, where those there are may all be broken. What the question locks is let go with
    /// the answer.
    pub(super) async fn ask_afresh(
        &self,
        sql: &str,
        params: impl Into<Params>,
        until: Instant,
    ) -> Result<Option<Row>, Trouble> {
        let mut connection = self.connect(until).await?;
        let row = in_time(until, connection.exec_first(sql, params.into())).await?;
        // It answered; if it does not say goodbye, it is dropped.
        let _ = timeout_at(until, connection.disconnect()).await;
        Ok(row)
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
            Err(Trouble::NoTable { .. }) => Ok(Vec::new()),
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

    /// Adds a row; returns its number, where it got one.
    pub(super) async fn insert(
        &mut self,
        sql: &str,
        params: impl Into<Params>,
    ) -> Result<Option<u64>, Trouble> {
        in_time(self.until, self.transaction.exec_drop(sql, params.into())).await?;
        Ok(self.transaction.last_insert_id())
    }

    /// Makes it so. After an error nobody knows whether it is so.
    pub(super) async fn commit(self) -> Result<(), Trouble> {
        in_time(self.until, self.transaction.commit()).await
    }
}

/// An answer, if it comes by then.
pub(super) async fn in_time<T>(
    until: Instant,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
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

/// A column is not there.
const NO_COLUMN: u16 = 1054;
/// A new row does not fill a column that must be filled.
const NO_DEFAULT: u16 = 1364;
/// A unique key has such a row.
pub(super) const DUPLICATE: u16 = 1062;
/// Errors about a value: see [`Trouble::Value`].
const NOT_TAKEN: [u16; 10] = [1048, 1216, 1264, 1265, 1292, 1366, 1406, 1452, 3819, 4025];

/// The column that a message about a value names: `… for column 'name' at row 1`, MariaDB at times with its table, or
/// `… FOREIGN KEY (`name`) …`.
fn column_of(message: &str) -> Option<String> {
    let from = |words: &str| message.rfind(words).map(|at| &message[at + words.len()..]);
    let names = from("for column ").or_else(|| from("FOREIGN KEY (")).or_else(|| from("Column "))?;
    let named = names.split([' ', ')']).next()?.rsplit('.').next()?;
    Some(named.trim_matches(['\'', '`']).to_ascii_lowercase())
}

/// What an error says. Each layer around a broken line only says that it was one.
pub(super) fn words(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source().filter(|_| matches!(error, Error::Io(_))) {
        cause = source;
    }
    cause.to_string()
}

/// What an error means.
pub(super) fn classify(error: Error) -> Trouble {
    let text = words(&error);
    match error {
        // Lock wait, deadlock; MariaDB's and Galera's "record has changed".
        Error::Server(error) if [1205, 1213, 1020].contains(&error.code) => Trouble::Conflict,
        Error::Server(error) if error.code == DUPLICATE => Trouble::Duplicate,
        // The first: no table.
        Error::Server(error) if [1146, NO_COLUMN, NO_DEFAULT].contains(&error.code) => {
            Trouble::NoTable { why: text, code: Some(error.code) }
        }
        // Too many connections, shutting down, killed: as good as away.
        Error::Server(error) if [1040, 1053, 1203, 1317, 1927].contains(&error.code) => {
            Trouble::Store(StoreError::Away(text))
        }
        // Too long, out of range, of a character set the column has not, or against a constraint.
        Error::Server(error) if NOT_TAKEN.contains(&error.code) => {
            Trouble::Value { column: column_of(&error.message), code: error.code }
        }
        Error::Server(error) => Trouble::Refused { why: text, code: error.code },
        Error::Io(_) | Error::Driver(_) | Error::Other(_) | Error::Url(_) => {
            Trouble::Store(StoreError::Away(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_line_is_told_in_the_systems_words_once() {
        let refused = std::io::Error::from_raw_os_error(111);
        let said = refused.to_string();
        assert_eq!(words(&Error::from(refused)), said);
    }

    #[test]
    fn a_message_about_a_value_names_its_column() {
        for (message, column) in [
            ("Data too long for column 'name' at row 1", Some("name")),
            (
                r"Incorrect string value: '\xF0\x9F for column ' for column `site`.`t`.`notes` at row 1",
                Some("notes"),
            ),
            ("Out of range value for column 'service_id' at row 1", Some("service_id")),
            ("Column 'phone' cannot be null", Some("phone")),
            (
                "Cannot add or update a child row: a foreign key constraint fails (`site`.`t`, CONSTRAINT `fk` \
                 FOREIGN KEY (`service_id`) REFERENCES `services` (`id`))",
                Some("service_id"),
            ),
            ("CONSTRAINT `c` failed for `site`.`t`", None),
        ] {
            assert_eq!(column_of(message).as_deref(), column, "{message}");
        }
    }
}
