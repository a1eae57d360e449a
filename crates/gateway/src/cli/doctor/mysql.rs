//! MySQL or MariaDB: whether it can be relied on for locks and bookings, judged from the facts that
//! `slot-state` finds.
//! Pure but for `checks`. Invariant: what follows from another trouble is not told as one of its own.

use std::time::Duration;

use slot_state::{ChangeOutcome, ClockOffset, MigrateError, MySqlReport, TableChange, examine_mysql};
use tokio::time::timeout;

use super::report::{Check, is_it_running, my_cnf, shell, slotcast_toml, sql};
use crate::cli::migrate::Migrate;
use crate::config::{Config, SecretUrl};

/// The longest that all questions together may take.
const PATIENCE: Duration = Duration::from_secs(60);
const REACHABLE: &str = "mysql.reachable";
const RIGHTS: &str = "mysql.rights";

/// Its checks, and its clock; nothing where none is configured.
pub(super) async fn checks(config: &Config) -> (Vec<Check>, Option<ClockOffset>) {
    let (Some(url), Some(migration)) = (&config.mysql.url, Migrate::migration(config)) else {
        return (Vec::new(), None);
    };
    let report = match timeout(PATIENCE, examine_mysql(&migration)).await {
        Ok(report) => report,
        Err(_) => Err(MigrateError::Away(format!(
            "not all questions were answered within {} s",
            PATIENCE.as_secs()
        ))),
    };
    match report {
        Ok(report) => (Judge { config, report: &report }.checks(url), Some(report.clock)),
        Err(error) => (vec![unreachable(url, &error)], None),
    }
}

fn unreachable(url: &SecretUrl, error: &MigrateError) -> Check {
    let rest = "nothing else about it can be told";
    match error {
        MigrateError::NoRight { why, database } => {
            let says = format!("{url} lets this account not look at the site's tables: {why}; {rest}");
            let grant = format!(
                "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON {database}.* TO {};",
                account_in(why)
            );
            Check::failed(RIGHTS, says).paste(sql(grant))
        }
        MigrateError::Refused(why) if why.contains("Unknown database") => {
            let says = format!("{url} has no such database: {why}; {rest}");
            Check::failed(REACHABLE, says).paste(where_it_is())
        }
        MigrateError::Refused(why) => {
            let says = format!("{url} refuses this account and password: {why}; {rest}");
            Check::failed(REACHABLE, says).paste(where_it_is())
        }
        MigrateError::Away(_) => {
            let says = format!(
                "{url} cannot be used: {error}; {rest}. Is it running? If it is, does mysql.url say where?"
            );
            Check::failed(REACHABLE, says).paste(is_it_running("mariadb"))
        }
        MigrateError::Url(_) => {
            Check::failed(REACHABLE, format!("{url} cannot be used: {error}; {rest}")).paste(where_it_is())
        }
    }
}

/// The account that the database's words name, or what stands for it.
fn account_in(words: &str) -> &str {
    let named = words.split_once("user ").and_then(|(_, rest)| rest.split(' ').next());
    named.filter(|account| account.contains("'@'")).unwrap_or("'account'@'host'")
}

fn where_it_is() -> super::report::Paste {
    slotcast_toml("[mysql]\nurl = \"mysql://user:password@host:3306/database\"   # as DB_* in wp-config.php")
}

struct Judge<'a> {
    config: &'a Config,
    report: &'a MySqlReport,
}

impl Judge<'_> {
    fn checks(&self, url: &SecretUrl) -> Vec<Check> {
        let mut checks = vec![Check::ok(REACHABLE, format!("{url} answers")), self.version()];
        checks.extend([self.writes(), self.rights(), self.tables(), self.options(), self.engine()]);
        match &self.report.appointments {
            Some(appointments) => {
                checks.push(self.appointments(appointments));
                checks.extend(self.guard(appointments));
                checks.push(self.index());
            }
            None => checks.push(self.no_appointments()),
        }
        checks.extend([self.isolation(), self.durability(), self.binlog()]);
        checks
    }

    fn setting(&self, name: &str) -> &str {
        self.report.settings.get(name).map(String::as_str).unwrap_or_default()
    }

    fn version(&self) -> Check {
        const NAME: &str = "mysql.version";
        let version = self.setting("version");
        match version.split('.').map_while(|number| number.parse().ok()).collect::<Vec<u64>>()[..] {
            _ if version.contains("MariaDB") => Check::ok(NAME, format!("it is MariaDB {version}")),
            [major, ..] if major >= 8 => Check::ok(NAME, format!("it is MySQL {version}")),
            _ => Check::warning(
                NAME,
                format!("it is {version}; slotcast is made for MySQL 8 and MariaDB 10.3 or newer"),
            ),
        }
    }

    fn writes(&self) -> Check {
        const NAME: &str = "mysql.writes";
        if self.setting("read_only") != "ON" {
            return Check::ok(NAME, "the server takes writes (read_only is off)");
        }
        let says = "the server is read-only, as replicas are: locks and bookings are refused; mysql.url must \
            name the primary";
        Check::failed(NAME, says).paste(where_it_is())
    }

    fn rights(&self) -> Check {
        let MySqlReport { missing_rights, account, database, .. } = self.report;
        if missing_rights.is_empty() {
            return Check::ok(RIGHTS, format!("{account} has the rights it needs on {database}"));
        }
        let rights = missing_rights.join(", ");
        Check::failed(RIGHTS, format!("{account} lacks rights on {database}: {rights}"))
            .paste(sql(format!("GRANT {rights} ON {database}.* TO {account};")))
    }

    /// Of our own tables; the guard stands among the appointments.
    fn own_changes(&self) -> impl Iterator<Item = &TableChange> {
        let changes = self.report.migration.changes.iter();
        changes.filter(|change| !self.is_about_appointments(&change.why))
    }

    fn is_about_appointments(&self, sentence: &str) -> bool {
        let table = self.report.appointments.as_ref();
        table.is_some_and(|table| {
            sentence.strip_prefix(table.as_str()).is_some_and(|rest| rest.starts_with([':', ' ']))
        })
    }

    fn is_about_engine(&self, sentence: &str) -> bool {
        self.report
            .other_engines
            .iter()
            .any(|(table, engine)| sentence.starts_with(&format!("{table} is kept by {engine}")))
    }

    fn tables(&self) -> Check {
        const NAME: &str = "mysql.tables";
        let blockers: Vec<&str> = self
            .report
            .migration
            .blockers
            .iter()
            .map(String::as_str)
            .filter(|blocker| !self.is_about_appointments(blocker) && !self.is_about_engine(blocker))
            .collect();
        if !blockers.is_empty() {
            return Check::failed(NAME, format!("slotcast's tables cannot be used: {}", blockers.join("; ")));
        }
        let missing: Vec<&str> = self.own_changes().map(|change| change.why.as_str()).collect();
        if missing.is_empty() {
            return Check::ok(NAME, "slotcast's own tables are complete");
        }
        let says = format!(
            "slotcast's own tables are not complete ({}); a gateway makes them when it starts, where its \
             account may",
            missing.join("; ")
        );
        let paste = shell("slotcast migrate   # with --dry-run it shows the SQL");
        if self.report.missing_rights.iter().any(|right| ["CREATE", "ALTER"].contains(right)) {
            // Said as missing rights.
            Check::warning(NAME, says).paste(paste)
        } else {
            Check::failed(NAME, says).paste(paste)
        }
    }

    fn options(&self) -> Check {
        const NAME: &str = "mysql.options";
        let options = &self.report.options;
        if self.report.has_options {
            return Check::ok(NAME, format!("WordPress' table {options} is there"));
        }
        let prefix = &self.config.mysql.table_prefix;
        let says =
            format!("there is no table {options}, where selections are kept: mysql.table_prefix is {prefix}");
        Check::failed(NAME, says)
            .paste(slotcast_toml("[mysql]\ntable_prefix = \"wp_\"   # $table_prefix in wp-config.php"))
    }

    fn engine(&self) -> Check {
        const NAME: &str = "mysql.engine";
        let others = &self.report.other_engines;
        if others.is_empty() {
            return Check::ok(NAME, "InnoDB keeps every table that is there");
        }
        let named: Vec<String> =
            others.iter().map(|(table, engine)| format!("{table} by {engine}")).collect();
        let says = format!(
            "tables are kept by what knows no transactions ({}): locks or bookings are refused, or not safe",
            named.join(", ")
        );
        let statements: Vec<String> =
            others.iter().map(|(table, _)| format!("ALTER TABLE `{table}` ENGINE=InnoDB;")).collect();
        Check::failed(NAME, says).paste(sql(statements.join("\n")))
    }

    fn no_appointments(&self) -> Check {
        let name = &self.report.appointments_name;
        let says = format!(
            "there is no table {name}: bookings are refused until AppointEase has made it, or it is named"
        );
        Check::failed("mysql.appointments", says)
            .paste(slotcast_toml("[mysql]\nappointments_table = \"the_table_of_appointments\""))
    }

    fn appointments(&self, table: &str) -> Check {
        const NAME: &str = "mysql.appointments";
        let strange = self.report.migration.blockers.iter().find(|blocker| {
            self.is_about_appointments(blocker) && blocker.contains("is not a table of appointments")
        });
        match strange {
            Some(blocker) => Check::failed(NAME, blocker)
                .paste(slotcast_toml("[mysql]\nappointments_table = \"the_table_of_appointments\"")),
            None => Check::ok(NAME, format!("bookings go to {table}")),
        }
    }

    /// Nothing where another trouble must be mended first.
    fn guard(&self, table: &str) -> Option<Check> {
        const NAME: &str = "mysql.guard";
        let about = |sentence: &&String| self.is_about_appointments(sentence);
        let says = format!("{table} has no unique guard: PHP and plain SQL can book a slot twice");
        if let Some(blocker) = self.report.migration.blockers.iter().find(about) {
            let duplicates = blocker.contains("several live bookings");
            return duplicates.then(|| {
                Check::failed(NAME, format!("{says}, and it cannot be added: {blocker}"))
                    .paste(shell("slotcast migrate   # after all but one booking of each slot are cancelled"))
            });
        }
        let planned =
            self.report.migration.changes.iter().find(|change| self.is_about_appointments(&change.why));
        Some(match planned {
            Some(TableChange { statement, outcome: ChangeOutcome::Planned, .. }) => {
                Check::failed(NAME, says).paste(sql(format!("{statement};   -- or: slotcast migrate")))
            }
            _ => Check::ok(
                NAME,
                format!("a unique key of {table} lets no slot be booked twice, whoever books"),
            ),
        })
    }

    /// The guard that is about to be added is an index too.
    fn index(&self) -> Check {
        const NAME: &str = "mysql.index";
        const MISSING: &str = "appointments_index_missing";
        let warning = self.report.migration.warnings.iter().find(|warning| warning.event == MISSING);
        match warning.map(|warning| warning.text.split_once("; ").unwrap_or((&warning.text, ""))) {
            Some((says, statement)) => Check::warning(NAME, says).paste(sql(format!("{statement};"))),
            None => Check::ok(NAME, "an index finds an employee's day, or the guard will"),
        }
    }

    fn isolation(&self) -> Check {
        const NAME: &str = "mysql.isolation";
        let own = &self.report.isolation;
        let usual = [self.setting("transaction_isolation"), self.setting("tx_isolation")].concat();
        if own == "READ-COMMITTED" {
            return Check::ok(
                NAME,
                format!("slotcast's sessions get READ COMMITTED (the server's own is {usual})"),
            );
        }
        let says = format!("slotcast's sessions stay at {own}: what others committed may not be seen");
        Check::failed(NAME, says).paste(my_cnf("transaction-isolation = READ-COMMITTED"))
    }

    fn durability(&self) -> Check {
        const NAME: &str = "mysql.durability";
        match self.setting("innodb_flush_log_at_trx_commit") {
            "1" => Check::ok(NAME, "a commit is on disk before it is answered"),
            "" => Check::warning(NAME, "innodb_flush_log_at_trx_commit is not known"),
            value => Check::warning(
                NAME,
                format!(
                    "innodb_flush_log_at_trx_commit is {value}: a crash of its machine may lose bookings and \
                     locks of the last second that were confirmed"
                ),
            )
            .paste(my_cnf("innodb_flush_log_at_trx_commit = 1")),
        }
    }

    fn binlog(&self) -> Check {
        const NAME: &str = "mysql.binlog";
        let sweep =
            format!("bookings of others are found by a sweep every {} ms", self.config.mysql.sweep_ms);
        if self.setting("log_bin") != "ON" {
            return Check::ok(NAME, format!("the server keeps no binary log: {sweep}"));
        }
        match self.setting("binlog_format") {
            "ROW" if self.report.missing_log_rights.is_empty() => Check::ok(
                NAME,
                "the binary log can be followed: bookings of others are seen within milliseconds",
            ),
            "ROW" => {
                let (account, rights) = (&self.report.account, self.report.missing_log_rights.join(", "));
                let says = format!("{account} may not follow the binary log ({rights}): {sweep}");
                Check::warning(NAME, says).paste(sql(format!("GRANT {rights} ON *.* TO {account};")))
            }
            "STATEMENT" => {
                let says = "binlog_format is STATEMENT: the server refuses all that slotcast writes (error \
                    1665), locks and bookings too";
                Check::failed(NAME, says).paste(my_cnf("binlog_format = ROW"))
            }
            other => {
                Check::warning(NAME, format!("binlog_format is {other}, which cannot be followed: {sweep}"))
                    .paste(my_cnf("binlog_format = ROW"))
            }
        }
    }
}
