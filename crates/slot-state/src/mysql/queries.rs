//! Every statement, with the tables' names filled in once. Common to MySQL 8 and MariaDB.

use crate::slot::{Room, Slot};

/// The statements on one site's tables.
pub(super) struct Queries {
    /// Mode and epoch; waits for a change of them under way and holds off the next until the transaction ends.
    pub(super) agreement: String,
    /// Mode, epoch and salt, as they are.
    pub(super) agreement_now: String,
    /// The salt, if none is set yet.
    pub(super) set_salt: String,
    /// The salt, whatever it is.
    pub(super) take_salt: String,
    /// Mode and epoch, where the epoch is lower.
    pub(super) raise: String,
    /// This gateway is alive, and finds Redis healthy since then.
    pub(super) beat: String,
    pub(super) gateways: String,
    pub(super) forget_gateways: String,
    /// Raises the fence counter to above `?` and above what it was.
    pub(super) raise_fence: String,
    pub(super) fence: String,
    /// The database's clock, in milliseconds since 1970.
    pub(super) now: String,
    pub(super) ensure_transient: String,
    pub(super) delete_options: String,
    pub(super) delete_transient: String,
    pub(super) all_transients: String,
    pub(super) all_locks: String,
    pub(super) insert_lock: String,
    pub(super) delete_lock: String,
    /// What is left of a lock that is over.
    pub(super) delete_dead_lock: String,
    /// The lock with this fence and this exact deadline.
    pub(super) take_back_lock: String,
    /// Shortens a lock by a millisecond; one of the plugin has no exact deadline.
    pub(super) mark_lock: String,
    pub(super) delete_dead_locks: String,
    pub(super) locks_of_client: String,
    /// A row that only stands in for a lock within its transaction.
    pub(super) insert_stand_in: String,
    pub(super) insert_key: String,
    /// What was asked for under this key, and what came of it.
    pub(super) first_answer: String,
    /// As above; waits for a transaction that is about to answer.
    pub(super) final_answer: String,
    pub(super) keep_answer: String,
    /// Some of the keys that are older than `?` milliseconds.
    pub(super) forget_keys: String,
    pub(super) forget_key: String,
    pub(super) insert_outbox: String,
    /// Bookings whose time to be told of has come, new ones first; the text lacks its limit.
    pub(super) due_outbox: String,
    /// Nobody takes it for another `?` milliseconds, if nobody took it since.
    pub(super) claim_outbox: String,
    pub(super) delay_outbox: String,
    pub(super) delete_outbox: String,
    /// Some of the rows that are older than `?` milliseconds.
    pub(super) forget_outbox: String,
    /// How many there are, and the oldest one's age in milliseconds.
    pub(super) count_outbox: String,
    options: String,
    locks: String,
}

/// A lock's columns, as `locks::LockRow` reads them. Rows of the plugin have no exact deadline.
const LOCK_COLUMNS: &str = "DATE_FORMAT(`date`, '%Y-%m-%d'), TIME_FORMAT(`time`, '%H:%i:%s'), employee_id, client_id, \
                            fence, CAST(FLOOR(COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000, 0)) AS SIGNED)";

/// The database's clock, in milliseconds since 1970. SYSDATE, not NOW: after a lock was waited for, the time is what it
/// is, not what it was.
const NOW_MS: &str = "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS UNSIGNED)";
/// The same, one time for all of a statement: with this one an index can be searched.
const BEGUN_MS: &str = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)";
/// Keys that are forgotten in one statement.
pub(super) const FORGOTTEN_AT_ONCE: u64 = 500;

impl Queries {
    pub(super) fn new(prefix: &str) -> Self {
        let options = format!("`{prefix}options`");
        let locks = format!("`{prefix}appointease_slot_locks`");
        let storage = format!("`{prefix}appointease_storage`");
        let gateways = format!("`{prefix}appointease_gateways`");
        let idempotency = format!("`{prefix}appointease_idempotency`");
        let outbox = format!("`{prefix}appointease_outbox`");
        let first_answer = format!(
            "SELECT request_hash, appointment_id, strong_id FROM {idempotency} WHERE client_id = ? AND key_hash = ?"
        );
        let active = super::transients::ACTIVE_PATTERN;
        let timeouts = active.replacen(r"\_transient\_", r"\_transient\_timeout\_", 1);
        Queries {
            agreement: format!("SELECT mode, epoch FROM {storage} WHERE id = 1 LOCK IN SHARE MODE"),
            agreement_now: format!("SELECT mode, epoch, salt FROM {storage} WHERE id = 1"),
            set_salt: format!("UPDATE {storage} SET salt = ? WHERE id = 1 AND COALESCE(salt, '') = ''"),
            take_salt: format!("UPDATE {storage} SET salt = ? WHERE id = 1"),
            raise: format!("UPDATE {storage} SET mode = ?, epoch = ? WHERE id = 1 AND epoch < ?"),
            beat: format!(
                "INSERT INTO {gateways} (name, alive_ms, redis_since_ms, version) VALUES (?, ?, ?, ?) ON DUPLICATE KEY \
                 UPDATE alive_ms = VALUES(alive_ms), redis_since_ms = VALUES(redis_since_ms), version = VALUES(version)"
            ),
            gateways: format!("SELECT name, alive_ms, redis_since_ms FROM {gateways}"),
            forget_gateways: format!("DELETE FROM {gateways} WHERE alive_ms < ?"),
            raise_fence: format!("UPDATE {storage} SET fence = GREATEST(fence + 1, ?) WHERE id = 2"),
            fence: format!("SELECT fence FROM {storage} WHERE id = 2"),
            now: format!("SELECT {NOW_MS}"),
            ensure_transient: format!(
                "INSERT INTO {options} (option_name, option_value, autoload) VALUES (?, 'a:0:{{}}', 'no') \
                 ON DUPLICATE KEY UPDATE option_name = option_name"
            ),
            delete_options: format!("DELETE FROM {options} WHERE option_name IN (?, ?)"),
            delete_transient: format!(
                "DELETE FROM {options} WHERE option_name = ? AND BINARY option_value = ?"
            ),
            all_transients: format!(
                "SELECT option_name, option_value FROM {options} \
                 WHERE option_name LIKE '{active}' OR option_name LIKE '{timeouts}'"
            ),
            all_locks: format!("SELECT {LOCK_COLUMNS} FROM {locks}"),
            insert_lock: format!(
                "INSERT INTO {locks} (`date`, `time`, employee_id, client_id, expires_at, created_at, fence, deadline_ms) \
                 VALUES (?, ?, ?, ?, FROM_UNIXTIME(? DIV 1000), FROM_UNIXTIME(? DIV 1000), ?, ?)"
            ),
            delete_lock: format!("DELETE FROM {locks} WHERE `date` = ? AND `time` = ? AND employee_id = ?"),
            delete_dead_lock: format!(
                "DELETE FROM {locks} WHERE `date` = ? AND `time` = ? AND employee_id = ? \
                 AND COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000, 0) <= ?"
            ),
            take_back_lock: format!(
                "DELETE FROM {locks} WHERE `date` = ? AND `time` = ? AND employee_id = ? AND fence = ? \
                 AND deadline_ms = ?"
            ),
            mark_lock: format!(
                "UPDATE {locks} SET deadline_ms = deadline_ms - 1 \
                 WHERE `date` = ? AND `time` = ? AND employee_id = ?"
            ),
            delete_dead_locks: format!(
                "DELETE FROM {locks} WHERE COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000, 0) <= ?"
            ),
            locks_of_client: format!(
                "SELECT COUNT(*) FROM {locks} WHERE BINARY client_id = ? \
                 AND COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000) > ?"
            ),
            insert_stand_in: format!(
                "INSERT INTO {locks} (`date`, `time`, employee_id, client_id, expires_at, created_at, deadline_ms) \
                 VALUES (?, ?, ?, '', UTC_TIMESTAMP(), UTC_TIMESTAMP(), 0)"
            ),
            insert_key: format!(
                "INSERT INTO {idempotency} (client_id, key_hash, request_hash, created_ms) VALUES (?, ?, ?, {NOW_MS})"
            ),
            final_answer: format!("{first_answer} FOR UPDATE"),
            first_answer,
            keep_answer: format!(
                "UPDATE {idempotency} SET appointment_id = ?, strong_id = ? WHERE client_id = ? AND key_hash = ?"
            ),
            forget_key: format!("DELETE FROM {idempotency} WHERE client_id = ? AND key_hash = ?"),
            forget_keys: format!(
                "DELETE FROM {idempotency} WHERE created_ms < {NOW_MS} - ? ORDER BY created_ms LIMIT {FORGOTTEN_AT_ONCE}"
            ),
            insert_outbox: format!(
                "INSERT INTO {outbox} (appointment_id, payload, created_ms) VALUES (?, ?, {NOW_MS})"
            ),
            due_outbox: format!(
                "SELECT id, appointment_id, created_ms, payload, attempts FROM {outbox} \
                 WHERE next_ms <= {BEGUN_MS} ORDER BY next_ms, id"
            ),
            claim_outbox: format!(
                "UPDATE {outbox} SET next_ms = {NOW_MS} + ?, attempts = attempts + 1 WHERE id = ? AND attempts = ?"
            ),
            delay_outbox: format!("UPDATE {outbox} SET next_ms = {NOW_MS} + ? WHERE id = ? AND attempts = ?"),
            delete_outbox: format!("DELETE FROM {outbox} WHERE id = ?"),
            forget_outbox: format!(
                "DELETE FROM {outbox} WHERE created_ms < {NOW_MS} - ? ORDER BY id LIMIT {FORGOTTEN_AT_ONCE}"
            ),
            count_outbox: format!(
                "SELECT COUNT(*), (SELECT GREATEST(CAST({BEGUN_MS} AS SIGNED) - CAST(created_ms AS SIGNED), 0) \
                 FROM {outbox} ORDER BY id LIMIT 1) FROM {outbox}"
            ),
            options,
            locks,
        }
    }

    /// Writes so many options, which may be there.
    pub(super) fn put_options(&self, rows: usize) -> String {
        let rows = marks("(?, ?, 'no')", rows);
        format!(
            "INSERT INTO {} (option_name, option_value, autoload) VALUES {rows} \
             ON DUPLICATE KEY UPDATE option_value = VALUES(option_value)",
            self.options
        )
    }

    /// The transients and timeouts of so many rooms, locked against others' changes.
    pub(super) fn transients_for_update(&self, rooms: usize) -> String {
        let names = marks("?", rooms * 2);
        format!(
            "SELECT option_name, option_value FROM {} WHERE option_name IN ({names}) FOR UPDATE",
            self.options
        )
    }

    /// As above, as they are.
    pub(super) fn transients(&self, rooms: usize) -> String {
        let names = marks("?", rooms * 2);
        format!("SELECT option_name, option_value FROM {} WHERE option_name IN ({names})", self.options)
    }

    /// The locks of so many rooms.
    pub(super) fn locks_in(&self, rooms: usize) -> String {
        let rooms = marks("(?, ?)", rooms);
        format!("SELECT {LOCK_COLUMNS} FROM {} WHERE (`date`, employee_id) IN ({rooms})", self.locks)
    }

    /// The lock of one slot, held against others' changes.
    pub(super) fn lock_for_update(&self) -> String {
        format!(
            "SELECT {LOCK_COLUMNS} FROM {} WHERE `date` = ? AND `time` = ? AND employee_id = ? FOR UPDATE",
            self.locks
        )
    }
}

fn marks(mark: &str, count: usize) -> String {
    vec![mark; count].join(", ")
}

/// A slot's `date`, `time`, `employee_id`.
pub(super) fn slot_params(slot: Slot) -> (String, String, u32) {
    (slot.room.date.to_string(), format!("{}:00", slot.time), slot.room.employee_id.get())
}

/// A room's `date`, `employee_id`.
pub(super) fn room_params(room: Room) -> [mysql_async::Value; 2] {
    [room.date.to_string().into(), room.employee_id.get().into()]
}
