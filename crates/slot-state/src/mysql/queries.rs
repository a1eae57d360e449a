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
    pub(super) now: &'static str,
    pub(super) ensure_transient: String,
    pub(super) delete_options: String,
    pub(super) delete_transient: String,
    pub(super) all_transients: String,
    pub(super) all_locks: String,
    pub(super) insert_lock: String,
    pub(super) delete_lock: String,
    /// What is left of a lock that is over.
    pub(super) delete_dead_lock: String,
    /// The lock with this fence.
    pub(super) take_back_lock: String,
    /// A live lock, if it is this client's.
    pub(super) revoke_lock: String,
    pub(super) delete_dead_locks: String,
    pub(super) locks_of_client: String,
    options: String,
    locks: String,
}

/// A lock's columns, as `locks::LockRow` reads them. Rows of the plugin have no exact deadline.
const LOCK_COLUMNS: &str = "DATE_FORMAT(`date`, '%Y-%m-%d'), TIME_FORMAT(`time`, '%H:%i:%s'), employee_id, client_id, \
                            fence, CAST(FLOOR(COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000, 0)) AS SIGNED)";

impl Queries {
    pub(super) fn new(prefix: &str) -> Self {
        let options = format!("`{prefix}options`");
        let locks = format!("`{prefix}appointease_slot_locks`");
        let storage = format!("`{prefix}appointease_storage`");
        let gateways = format!("`{prefix}appointease_gateways`");
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
            // SYSDATE, not NOW: after a lock was waited for, the time is what it is, not what it was.
            now: "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS UNSIGNED)",
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
                "DELETE FROM {locks} WHERE `date` = ? AND `time` = ? AND employee_id = ? AND fence = ?"
            ),
            revoke_lock: format!(
                "DELETE FROM {locks} WHERE `date` = ? AND `time` = ? AND employee_id = ? AND BINARY client_id = ? \
                 AND COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000) > ?"
            ),
            delete_dead_locks: format!(
                "DELETE FROM {locks} WHERE COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000, 0) <= ?"
            ),
            locks_of_client: format!(
                "SELECT COUNT(*) FROM {locks} WHERE BINARY client_id = ? \
                 AND COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000) > ?"
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
