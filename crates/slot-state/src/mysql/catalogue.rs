//! What a database has of the tables that matter, read from its own catalogue.
//! Used by `migrate`. Invariant: every question has a deadline, since the library has none.

use std::collections::BTreeMap;
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Error, Opts, OptsBuilder, Params, ServerError};
use tokio::time::timeout;

use super::guard::LIVE;
use super::link::words;
use super::migrate::MigrateError;
use super::schema::{Existing, VIEW, Wanted, quoted};

/// The longest a connection or a question may take.
pub(super) const QUESTION: Duration = Duration::from_secs(10);
/// What every session is told. A change that waits for a table holds up everybody who comes after it, even
/// when we are gone: the server itself must give up, and soon.
const SETUP: [&str; 2] = [
    "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone='+00:00'",
    "SET SESSION lock_wait_timeout=2, innodb_lock_wait_timeout=2",
];
/// How many slots with several locks or bookings are named.
const NAMED: usize = 20;

/// A connection to one database.
pub(super) struct Database {
    connection: Conn,
    name: String,
}

impl Database {
    pub(super) async fn connect(opts: Opts) -> Result<Self, MigrateError> {
        let Some(name) = opts.db_name().map(str::to_owned) else {
            return Err(MigrateError::Url("it names no database; end it with /name".to_owned()));
        };
        let opts = OptsBuilder::from_opts(opts).prefer_socket(false).setup(SETUP.to_vec());
        let connection = in_time(QUESTION, &name, Conn::new(opts)).await?;
        Ok(Self { connection, name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Says goodbye; one that gets lost changes nothing.
    pub(super) async fn leave(self) {
        drop(timeout(QUESTION, self.connection.disconnect()).await);
    }

    /// Carries out a statement; the inner error is the server's refusal.
    pub(super) async fn change(
        &mut self,
        statement: &str,
        deadline: Duration,
    ) -> Result<Result<(), ServerError>, MigrateError> {
        match timeout(deadline, self.connection.query_drop(statement)).await {
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(Error::Server(refusal))) => Ok(Err(refusal)),
            Ok(Err(error)) => Err(explain(error, &self.name)),
            Err(_) => Err(late(deadline)),
        }
    }

    pub(super) async fn existing(&mut self, wanted: &Wanted) -> Result<Existing, MigrateError> {
        let mut existing = Existing::default();
        let names = wanted.tables();
        let marks = vec!["?"; names.len()].join(", ");
        let of_ours = format!("table_schema = DATABASE() AND table_name IN ({marks})");
        let any_case = self.ask::<u64>("SELECT @@lower_case_table_names", ()).await?.first() != Some(&0);
        // The catalogue finds names in any case, which on most servers name other tables.
        let found = |table: &str| {
            names.iter().find(|name| *name == table || any_case && name.eq_ignore_ascii_case(table)).cloned()
        };

        let tables = format!("SELECT table_name, engine FROM information_schema.tables WHERE {of_ours}");
        for (table, engine) in self.ask::<(String, Option<String>)>(&tables, names.clone()).await? {
            let Some(name) = found(&table) else { continue };
            existing.tables.entry(name).or_default().engine = engine.unwrap_or_else(|| VIEW.to_owned());
        }
        let columns = format!(
            "SELECT table_name, column_name, character_maximum_length \
             FROM information_schema.columns WHERE {of_ours}"
        );
        for (table, column, length) in
            self.ask::<(String, String, Option<u64>)>(&columns, names.clone()).await?
        {
            let Some(there) = found(&table).and_then(|name| existing.tables.get_mut(&name)) else { continue };
            there.columns.insert(column.to_ascii_lowercase(), length);
        }
        if let Some((name, _)) = existing.tables.iter().find(|(_, table)| table.columns.is_empty()) {
            let why = format!("this account sees no column of {name}");
            return Err(MigrateError::NoRight { why, database: quoted(&self.name) });
        }
        // A key on an expression has no column, one on a column's beginning a sub_part: neither guards slots.
        let keys = format!(
            "SELECT table_name, COALESCE(GROUP_CONCAT(column_name ORDER BY seq_in_index), ''), \
             MAX(non_unique) = 0 AND COUNT(sub_part) = 0 AND COUNT(*) = COUNT(column_name) \
             FROM information_schema.statistics WHERE {of_ours} GROUP BY table_name, index_name"
        );
        for (table, columns, is_unique) in self.ask::<(String, String, bool)>(&keys, names.clone()).await? {
            let Some(there) = found(&table).and_then(|name| existing.tables.get_mut(&name)) else { continue };
            let columns: Vec<String> = columns.split(',').map(str::to_ascii_lowercase).collect();
            if is_unique {
                there.unique.push(columns.iter().cloned().collect());
            }
            there.keys.push(columns);
        }
        existing.binlog_format = self.binlog_format().await?;

        let locks = existing.tables.get(&wanted.locks());
        if locks.is_some_and(|locks| locks.has_slots() && !locks.guards_slots()) {
            existing.duplicate_locks = self.duplicate_locks(&wanted.locks()).await?;
        }
        if wanted.guard_bookings
            && let Some((name, table)) = wanted.appointments_in(&existing)
            && table.lacks_guard()
        {
            existing.duplicate_bookings = self.duplicate_bookings(name).await?;
        }
        let storage = existing.tables.get(&wanted.storage());
        if storage.is_some_and(|storage| storage.columns.contains_key("id")) {
            let rows = format!("SELECT CAST(id AS UNSIGNED) FROM {}", quoted(&wanted.storage()));
            existing.storage_rows = self.ask::<u64>(&rows, ()).await?.into_iter().collect();
        }
        Ok(existing)
    }

    async fn binlog_format(&mut self) -> Result<Option<String>, MigrateError> {
        let question = "SHOW GLOBAL VARIABLES WHERE variable_name IN ('log_bin', 'binlog_format')";
        let mut settings: BTreeMap<String, String> =
            self.ask::<(String, String)>(question, ()).await?.into_iter().collect();
        let is_kept = settings.get("log_bin").is_some_and(|log_bin| log_bin == "ON");
        Ok(settings.remove("binlog_format").filter(|_| is_kept))
    }

    async fn duplicate_locks(&mut self, locks: &str) -> Result<Vec<String>, MigrateError> {
        let question = format!(
            "SELECT CONCAT(`date`, ' ', `time`), CAST(employee_id AS CHAR), COUNT(*) FROM {} \
             WHERE `date` IS NOT NULL AND `time` IS NOT NULL AND employee_id IS NOT NULL \
             GROUP BY `date`, `time`, employee_id HAVING COUNT(*) > 1 LIMIT {}",
            quoted(locks),
            NAMED + 1
        );
        self.duplicates(&question).await
    }

    async fn duplicate_bookings(&mut self, appointments: &str) -> Result<Vec<String>, MigrateError> {
        let question = format!(
            "SELECT CAST(appointment_date AS CHAR), CAST(employee_id AS CHAR), COUNT(*) FROM {} \
             WHERE appointment_date IS NOT NULL AND employee_id IS NOT NULL AND {LIVE} \
             GROUP BY appointment_date, employee_id HAVING COUNT(*) > 1 LIMIT {}",
            quoted(appointments),
            NAMED + 1
        );
        self.duplicates(&question).await
    }

    /// The slots that a question finds, each with its employee and how often it is there.
    async fn duplicates(&mut self, question: &str) -> Result<Vec<String>, MigrateError> {
        let found: Vec<(String, String, u64)> = self.ask(question, ()).await?;
        let slots = found.iter().take(NAMED);
        let slots = slots.map(|(time, employee, rows)| format!("{time} of employee {employee} ({rows})"));
        Ok(slots.chain((found.len() > NAMED).then(|| "and more".to_owned())).collect())
    }

    /// All rows of an answer; panics where a column is of another type than asked for.
    pub(super) async fn ask<T: FromRow + Send + 'static>(
        &mut self,
        question: &str,
        params: impl Into<Params>,
    ) -> Result<Vec<T>, MigrateError> {
        in_time(QUESTION, &self.name, self.connection.exec(question, params.into())).await
    }
}

async fn in_time<T>(
    deadline: Duration,
    database: &str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, MigrateError> {
    match timeout(deadline, answer).await {
        Ok(answer) => answer.map_err(|error| explain(error, database)),
        Err(_) => Err(late(deadline)),
    }
}

fn late(deadline: Duration) -> MigrateError {
    MigrateError::Away(format!("no answer within {} s", deadline.as_secs()))
}

/// A right on a database, table, column or the server is missing.
pub(super) fn is_denial(code: u16) -> bool {
    [1044, 1142, 1143, 1227].contains(&code)
}

fn explain(error: Error, database: &str) -> MigrateError {
    match error {
        // Too many connections, shutting down, killed: as good as away.
        Error::Server(error) if [1040, 1053, 1203, 1317, 1927].contains(&error.code) => {
            MigrateError::Away(error.message)
        }
        Error::Server(error) if is_denial(error.code) => {
            MigrateError::NoRight { why: error.message, database: quoted(database) }
        }
        Error::Server(error) => MigrateError::Refused(error.message),
        Error::Url(error) => MigrateError::Url(error.to_string()),
        other => MigrateError::Away(words(&other)),
    }
}
