//! What a database is like, for `slotcast doctor`: facts, no judgement. Invariant: it changes nothing, and
//! every question has a deadline.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::Opts;

use super::appointments::possible_names;
use super::catalogue::{Database, QUESTION};
use super::migrate::{MigrateError, Migration, MigrationReport, migrate};
use super::schema::{is_own, quoted};
use crate::clock::{ClockOffset, now_ms};

/// Rights to read and change rows, in our tables, the options and the appointments.
const ROW_RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
/// Rights to make and complete tables.
const TABLE_RIGHTS: [&str; 2] = ["CREATE", "ALTER"];
/// As our sessions begin; what a server refuses here, it refuses a gateway.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
/// MySQL and MariaDB call the isolation level by different names.
const SETTINGS: &str = "SHOW GLOBAL VARIABLES WHERE variable_name IN ('version', 'log_bin', 'binlog_format', \
     'innodb_flush_log_at_trx_commit', 'read_only', 'tx_isolation', 'transaction_isolation')";
const OWN_ISOLATION: &str =
    "SHOW SESSION VARIABLES WHERE variable_name IN ('tx_isolation', 'transaction_isolation')";
/// What the account may do everywhere, or in this database; names of databases in grants are patterns.
const RIGHTS: &str = "SELECT privilege_type, '' FROM information_schema.user_privileges WHERE grantee = ? \
     UNION SELECT privilege_type, '' FROM information_schema.schema_privileges \
     WHERE grantee = ? AND DATABASE() LIKE table_schema UNION SELECT privilege_type, table_name FROM \
     information_schema.table_privileges \
     WHERE grantee = ? AND table_schema = DATABASE()";
const TABLES: &str = "SELECT table_name, COALESCE(engine, 'a view') FROM information_schema.tables \
     WHERE table_schema = DATABASE()";
const CLOCK: &str = "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)";

/// What a database is like.
#[derive(Debug, Clone)]
pub struct MySqlReport {
    /// The server's settings by their own names.
    pub settings: BTreeMap<String, String>,
    /// The isolation level that our sessions get.
    pub isolation: String,
    /// The account, quoted as GRANT wants it.
    pub account: String,
    /// The database, quoted.
    pub database: String,
    /// Rights that the account needs and lacks; empty too where it has them by a role, which cannot be told.
    pub missing_rights: Vec<&'static str>,
    /// Rights that it lacks for following the binary log.
    pub missing_log_rights: Vec<&'static str>,
    /// What `migrate` would do.
    pub migration: MigrationReport,
    /// Those of our tables, the options and the appointments that InnoDB does not keep, each with what does.
    pub other_engines: Vec<(String, String)>,
    /// WordPress' table of options.
    pub options: String,
    /// Whether it is there.
    pub has_options: bool,
    /// The table of appointments; `None`: there is none.
    pub appointments: Option<String>,
    /// The name that it should have.
    pub appointments_name: String,
    /// The server's clock.
    pub clock: ClockOffset,
}

/// Looks at the database of this migration.
pub async fn examine_mysql(migration: &Migration) -> Result<MySqlReport, MigrateError> {
    let opts = Opts::from_url(&migration.url).map_err(|error| MigrateError::Url(error.to_string()))?;
    let mut database = Database::connect(opts).await?;
    let report = look(&mut database, migration).await;
    database.leave().await;
    report
}

async fn look(database: &mut Database, migration: &Migration) -> Result<MySqlReport, MigrateError> {
    let settings: BTreeMap<String, String> =
        database.ask::<(String, String)>(SETTINGS, ()).await?.into_iter().collect();
    // A server that refuses is told by the level that stays.
    let _ = database.change(ISOLATION, QUESTION).await?;
    let isolation = database.ask::<(String, String)>(OWN_ISOLATION, ()).await?;
    let isolation = isolation.into_iter().next().map(|(_, level)| level).unwrap_or_default();
    let clock = clock(database).await?;

    let tables: BTreeMap<String, String> =
        database.ask::<(String, String)>(TABLES, ()).await?.into_iter().collect();
    let names = possible_names(&migration.table_prefix, migration.appointments_table.as_deref());
    let options = format!("{}options", migration.table_prefix);
    let appointments = names.iter().find(|name| tables.contains_key(*name)).cloned();
    let is_ours = |table: &String| {
        let own = table.strip_prefix(&migration.table_prefix);
        *table == options || own.is_some_and(is_own) || appointments.as_ref() == Some(table)
    };
    let ours: BTreeMap<&String, &String> = tables.iter().filter(|(table, _)| is_ours(table)).collect();
    let rights = Rights::of(database).await?;
    let planned = migrate(migration, true).await?;
    let mut wanted = ROW_RIGHTS.to_vec();
    if !planned.changes.is_empty() {
        wanted.extend(TABLE_RIGHTS);
    }
    let is_mariadb = settings.get("version").is_some_and(|version| version.contains("MariaDB"));
    let log_rights =
        if is_mariadb { &["REPLICATION SLAVE"][..] } else { &["REPLICATION SLAVE", "REPLICATION CLIENT"] };
    Ok(MySqlReport {
        missing_rights: rights.missing(&wanted, &ours),
        missing_log_rights: rights.missing_everywhere(log_rights),
        account: rights.account,
        database: quoted(database.name()),
        migration: planned,
        other_engines: ours
            .into_iter()
            .filter(|(_, engine)| !engine.eq_ignore_ascii_case("InnoDB"))
            .map(|(table, engine)| (table.clone(), engine.clone()))
            .collect(),
        has_options: tables.contains_key(&options),
        options,
        appointments,
        appointments_name: names[0].clone(),
        settings,
        isolation,
        clock,
    })
}

async fn clock(database: &mut Database) -> Result<ClockOffset, MigrateError> {
    let asked = now_ms();
    let said = database.ask::<i64>(CLOCK, ()).await?;
    Ok(ClockOffset::between(asked, said.first().copied().unwrap_or_default(), now_ms()))
}

/// What an account may do.
struct Rights {
    account: String,
    /// Right and table; the empty name: all tables.
    granted: BTreeSet<(String, String)>,
    /// By which it may have more.
    has_role: bool,
}

impl Rights {
    async fn of(database: &mut Database) -> Result<Self, MigrateError> {
        let account = database.ask::<String>("SELECT CURRENT_USER()", ()).await?;
        let account = account.first().map(String::as_str).unwrap_or_default();
        let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
        let account = format!("'{user}'@'{host}'");
        let granted = database.ask::<(String, String)>(RIGHTS, (&account, &account, &account)).await?;
        // MySQL before 8 knows no roles.
        let role = database.ask::<Option<String>>("SELECT CURRENT_ROLE()", ()).await.unwrap_or_default();
        let has_role = role.into_iter().flatten().any(|role| !role.is_empty() && role != "NONE");
        Ok(Rights { account, granted: granted.into_iter().collect(), has_role })
    }

    fn missing(&self, wanted: &[&'static str], tables: &BTreeMap<&String, &String>) -> Vec<&'static str> {
        let has = |right: &str, table: &str| self.granted.contains(&(right.to_owned(), table.to_owned()));
        let on_each = |right: &str| !tables.is_empty() && tables.keys().all(|table| has(right, table));
        let missing = wanted.iter().filter(|right| !has(right, "") && !on_each(right));
        missing.filter(|_| !self.has_role).copied().collect()
    }

    fn missing_everywhere(&self, wanted: &[&'static str]) -> Vec<&'static str> {
        self.missing(wanted, &BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_may_be_had_everywhere_or_on_each_table() {
        let rights = |granted: &[(&str, &str)], has_role| Rights {
            account: String::new(),
            granted: granted
                .iter()
                .map(|(right, table)| ((*right).to_owned(), (*table).to_owned()))
                .collect(),
            has_role,
        };
        let (a, b, engine) = ("a".to_owned(), "b".to_owned(), "InnoDB".to_owned());
        let tables = BTreeMap::from([(&a, &engine), (&b, &engine)]);
        let some = rights(&[("SELECT", ""), ("INSERT", "a"), ("INSERT", "b"), ("UPDATE", "a")], false);
        assert_eq!(some.missing(&["SELECT", "INSERT", "UPDATE", "DELETE"], &tables), ["UPDATE", "DELETE"]);
        assert_eq!(some.missing_everywhere(&["SELECT", "INSERT"]), ["INSERT"]);
        assert_eq!(rights(&[], true).missing(&["SELECT"], &tables), Vec::<&str>::new());
    }
}
