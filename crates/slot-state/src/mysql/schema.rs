//! The tables slotcast needs beside WordPress' own, as data, and what a database lacks of them.
//! Called by `migrate`. Pure. Invariant: what is there is completed, never dropped, narrowed or changed.

use std::collections::{BTreeMap, BTreeSet};

/// Locks: the table of the plugin, which may have been there first.
const LOCKS: &str = "appointease_slot_locks";
/// Mode and epoch (row 1), the fence counter (row 2).
const STORAGE: &str = "appointease_storage";
/// Which gateways are alive and what they can reach.
const GATEWAYS: &str = "appointease_gateways";
/// The requests to book that were granted, and what they were answered.
const IDEMPOTENCY: &str = "appointease_idempotency";
/// Bookings that WordPress has not been told of.
const OUTBOX: &str = "appointease_outbox";
/// What makes a slot one slot.
const SLOT: [&str; 3] = ["date", "time", "employee_id"];
/// Length of the longest client id.
const CLIENT_ID_LENGTH: u64 = 128;

/// Stands for the engine of what is no table.
pub(super) const VIEW: &str = "a view";

/// What to look at where a table of the site's is missing.
pub(super) const WHOSE_TABLES: &str =
    "is mysql.url the site's database, and mysql.table_prefix the $table_prefix of its wp-config.php?";

/// What MySQL asks for an `ALTER TABLE`; MariaDB is content with the first.
pub(super) const ALTER: [&str; 3] = ["ALTER", "CREATE", "INSERT"];

/// A column, and whether it may be added to a table that has none.
struct Column {
    name: &'static str,
    definition: &'static str,
    addable: bool,
}

/// A column that makes the table what it is: a table without it is somebody else's.
const fn base(name: &'static str, definition: &'static str) -> Column {
    Column { name, definition, addable: false }
}

/// A column of our own.
const fn own(name: &'static str, definition: &'static str) -> Column {
    Column { name, definition, addable: true }
}

struct Table {
    name: &'static str,
    columns: &'static [Column],
    keys: &'static [&'static str],
}

const TABLES: [Table; 5] = [
    Table {
        name: LOCKS,
        columns: &[
            base("id", "BIGINT UNSIGNED NOT NULL AUTO_INCREMENT"),
            base("date", "DATE NOT NULL"),
            base("time", "TIME NOT NULL"),
            base("employee_id", "MEDIUMINT(9) NOT NULL"),
            base("client_id", "VARCHAR(128) COLLATE utf8mb4_bin NOT NULL"),
            base("expires_at", "DATETIME NOT NULL"),
            base("created_at", "DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP"),
            own("fence", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
            own("deadline_ms", "BIGINT UNSIGNED NULL"),
        ],
        keys: &[
            "PRIMARY KEY (`id`)",
            "UNIQUE KEY `slotcast_slot` (`date`, `time`, `employee_id`)",
            "KEY `client_id` (`client_id`)",
            "KEY `expires_at` (`expires_at`)",
        ],
    },
    Table {
        name: STORAGE,
        columns: &[
            base("id", "TINYINT UNSIGNED NOT NULL"),
            own("mode", "VARCHAR(8) NOT NULL DEFAULT ''"),
            own("epoch", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
            own("fence", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
            own("salt", "VARCHAR(64) NOT NULL DEFAULT ''"),
        ],
        keys: &["PRIMARY KEY (`id`)"],
    },
    Table {
        name: GATEWAYS,
        columns: &[
            base("name", "VARCHAR(64) NOT NULL"),
            own("alive_ms", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
            own("redis_since_ms", "BIGINT UNSIGNED NULL"),
            own("version", "VARCHAR(32) NOT NULL DEFAULT ''"),
        ],
        keys: &["PRIMARY KEY (`name`)"],
    },
    Table {
        name: IDEMPOTENCY,
        columns: &[
            base("client_id", "VARCHAR(128) NOT NULL"),
            base("key_hash", "BINARY(32) NOT NULL"),
            base("request_hash", "BINARY(32) NOT NULL"),
            own("appointment_id", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
            own("strong_id", "VARCHAR(64) NOT NULL DEFAULT ''"),
            own("created_ms", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
        ],
        keys: &["PRIMARY KEY (`client_id`, `key_hash`)", "KEY `created_ms` (`created_ms`)"],
    },
    Table {
        name: OUTBOX,
        columns: &[
            base("id", "BIGINT UNSIGNED NOT NULL AUTO_INCREMENT"),
            base("appointment_id", "BIGINT UNSIGNED NOT NULL"),
            base("payload", "MEDIUMTEXT NOT NULL"),
            own("created_ms", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
            own("attempts", "INT UNSIGNED NOT NULL DEFAULT 0"),
            own("next_ms", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
        ],
        keys: &["PRIMARY KEY (`id`)", "KEY `next_ms` (`next_ms`)"],
    },
];

/// Which tables to look for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) prefix: String,
    /// The names that the table of appointments may have, the best first.
    pub(super) appointments: [String; 2],
    /// Whether it is to be guarded against two bookings of one slot.
    pub(super) guard_bookings: bool,
}

impl Wanted {
    /// The names of all tables that matter, WordPress' options among them.
    pub(super) fn tables(&self) -> Vec<String> {
        let ours = TABLES.iter().map(|table| self.table(table.name));
        ours.chain([self.options()]).chain(self.appointments.clone()).collect()
    }

    pub(super) fn locks(&self) -> String {
        self.table(LOCKS)
    }

    pub(super) fn storage(&self) -> String {
        self.table(STORAGE)
    }

    fn options(&self) -> String {
        self.table("options")
    }

    fn table(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// What a database has of the tables that matter.
#[derive(Debug, Clone, Default)]
pub(super) struct Existing {
    /// By the table's name.
    pub(super) tables: BTreeMap<String, ExistingTable>,
    /// How the server writes changes into its binary log, if it has one.
    pub(super) binlog_format: Option<String>,
    /// The ids in the storage table.
    pub(super) storage_rows: BTreeSet<u64>,
    /// Slots with several locks, in words.
    pub(super) duplicate_locks: Vec<String>,
    /// Slots with several live bookings, in words.
    pub(super) duplicate_bookings: Vec<String>,
}

/// What is there of one table; names in small letters.
#[derive(Debug, Clone, Default)]
pub(super) struct ExistingTable {
    pub(super) engine: String,
    /// With the length in characters, where there is one.
    pub(super) columns: BTreeMap<String, Option<u64>>,
    /// The columns of each unique key on whole columns.
    pub(super) unique: Vec<BTreeSet<String>>,
    /// The columns of each key, in order.
    pub(super) keys: Vec<Vec<String>>,
}

impl ExistingTable {
    /// Whether no slot can stand in it twice.
    pub(super) fn guards_slots(&self) -> bool {
        self.unique.iter().any(|columns| columns.iter().eq(BTreeSet::from(SLOT)))
    }

    /// Whether it has what makes a slot.
    pub(super) fn has_slots(&self) -> bool {
        SLOT.iter().all(|column| self.columns.contains_key(*column))
    }
}

/// One statement that brings the database closer to what is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) table: String,
    pub(super) statement: String,
    /// What is the matter, in one line.
    pub(super) why: String,
    /// The rights it takes.
    pub(super) rights: &'static [&'static str],
}

/// What to do, and what to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// What no step of ours may mend, and without which locks are not safe.
    pub(super) blockers: Vec<String>,
    /// What is probably not meant.
    pub(super) warnings: Vec<Warning>,
}

/// What is probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Its code in the log.
    pub event: &'static str,
    /// A sentence for people.
    pub text: String,
}

/// What is missing.
pub(super) fn plan(wanted: &Wanted, existing: &Existing) -> Plan {
    let mut plan = Plan::default();
    for table in &TABLES {
        let name = wanted.table(table.name);
        match existing.tables.get(&name) {
            None => plan.step(&name, create(table, &name), "table is missing", &["CREATE"]),
            Some(there) => plan.complete(table, &name, there),
        }
    }
    plan.guard_locks(wanted, existing);
    plan.fill_storage(wanted, existing);
    plan.look_at_options(wanted, existing);
    plan.guard_bookings(wanted, existing);
    plan.look_at_binlog(existing);
    plan
}

impl Plan {
    pub(super) fn step(
        &mut self,
        table: &str,
        statement: String,
        lack: &str,
        rights: &'static [&'static str],
    ) {
        self.steps.push(Step { table: table.to_owned(), statement, why: format!("{table}: {lack}"), rights });
    }

    fn complete(&mut self, table: &Table, name: &str, there: &ExistingTable) {
        let missing = || table.columns.iter().filter(|column| !there.columns.contains_key(column.name));
        let foreign: Vec<_> = missing().filter(|column| !column.addable).map(|column| column.name).collect();
        if !foreign.is_empty() {
            let columns = foreign.join(", ");
            self.blockers.push(format!("{name} is not the table slotcast knows: it has no {columns}"));
            return;
        }
        for Column { name: column, definition, .. } in missing() {
            let statement = format!("ALTER TABLE {} ADD COLUMN `{column}` {definition}", quoted(name));
            self.step(name, statement, &format!("column {column} is missing"), &ALTER);
        }
        if !there.engine.eq_ignore_ascii_case("InnoDB") {
            self.blockers.push(format!(
                "{name} is kept by {}, which knows no transactions: ALTER TABLE {} ENGINE=InnoDB",
                there.engine,
                quoted(name)
            ));
        }
    }

    /// Sees that a slot has one lock at most: the database decides who gets it.
    fn guard_locks(&mut self, wanted: &Wanted, existing: &Existing) {
        let name = wanted.locks();
        let Some(locks) = existing.tables.get(&name).filter(|locks| locks.has_slots()) else { return };
        if let Some(Some(length)) =
            locks.columns.get("client_id").filter(|length| **length < Some(CLIENT_ID_LENGTH))
        {
            self.warn(format!(
                "{name} keeps {length} characters of a client_id: clients with longer ones get no locks"
            ));
        }
        if locks.guards_slots() {
            return;
        }
        if existing.duplicate_locks.is_empty() {
            let statement = format!(
                "ALTER TABLE {} ADD UNIQUE KEY `slotcast_slot` (`date`, `time`, `employee_id`)",
                quoted(&name)
            );
            self.step(&name, statement, "a slot can be locked twice", &ALTER);
        } else {
            self.blockers.push(format!(
                "{name} holds several locks of one slot; leave one of each: {}",
                existing.duplicate_locks.join("; ")
            ));
        }
    }

    fn fill_storage(&mut self, wanted: &Wanted, existing: &Existing) {
        let name = wanted.storage();
        // Which store decides, is for the first gateway to say: whoever makes the tables may not know of its Redis.
        for (id, lack) in [(1, "mode and epoch are missing"), (2, "the fence counter is missing")] {
            if !existing.storage_rows.contains(&id) {
                let statement = format!(
                    "INSERT IGNORE INTO {} (`id`, `mode`, `epoch`, `fence`, `salt`) \
                     VALUES ({id}, '', 0, 0, '')",
                    quoted(&name)
                );
                self.step(&name, statement, lack, &["INSERT"]);
            }
        }
    }

    /// A statement that a session of ours writes under READ COMMITTED cannot be logged as such.
    fn look_at_binlog(&mut self, existing: &Existing) {
        if existing.binlog_format.as_ref().is_some_and(|format| format.eq_ignore_ascii_case("STATEMENT")) {
            let text = "the server's binlog_format is STATEMENT: it refuses all that slotcast writes (error 1665), \
                        locks and bookings too; set binlog_format = ROW in its configuration, or MIXED";
            self.warnings.push(Warning { event: "mysql_binlog_statement", text: text.to_owned() });
        }
    }

    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(Warning { event: "mysql_table_warning", text });
    }

    fn look_at_options(&mut self, wanted: &Wanted, existing: &Existing) {
        let name = wanted.options();
        match existing.tables.get(&name) {
            None => self.warn(format!(
                "there is no table {name}, where selections are kept: until there is one they are refused wherever Redis \
                 does not keep them; {WHOSE_TABLES}"
            )),
            Some(options) if !options.engine.eq_ignore_ascii_case("InnoDB") => self.warn(format!(
                "{name} is kept by {}: changes that several make at one time may be lost",
                options.engine
            )),
            Some(_) => {}
        }
    }
}

fn create(table: &Table, name: &str) -> String {
    let columns =
        table.columns.iter().map(|Column { name, definition, .. }| format!("`{name}` {definition}"));
    let lines: Vec<_> = columns.chain(table.keys.iter().map(|key| (*key).to_owned())).collect();
    format!(
        "CREATE TABLE {} (\n  {}\n) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        quoted(name),
        lines.join(",\n  ")
    )
}

/// Whether a table of ours is called so, after the prefix.
pub(super) fn is_own(name: &str) -> bool {
    TABLES.iter().any(|table| table.name == name)
}

/// A name as part of a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
