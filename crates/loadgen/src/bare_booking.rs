//! The yardstick of a booking: the statements of slotcast's own transaction where Redis keeps the selections, from this
//! process, without any gateway between. Its slots are of employees that nobody looks at.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, TxOpts};

use crate::LoadError;
use crate::bare_transaction::{AGREEMENT, NOW, connect};
use crate::cli::tomorrow;
use crate::view::{SLOTS, slot_name};

/// Employees of one process: more slots than it ever books.
const EMPLOYEES: usize = 1000;
const FIRST_EMPLOYEE: usize = 4_000_000;
/// Processes that share a database, one after the other, with room to spare.
const PROCESSES: usize = 4000;

const KEY: &str = "INSERT INTO `wp_appointease_idempotency` (client_id, key_hash, request_hash, created_ms) \
                   VALUES (?, ?, ?, CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS UNSIGNED))";
const LOCK: &str = "SELECT DATE_FORMAT(`date`, '%Y-%m-%d'), TIME_FORMAT(`time`, '%H:%i:%s'), employee_id, client_id, \
                    fence, COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000) \
                    FROM `wp_appointease_slot_locks` WHERE `date` = ? AND `time` = ? AND employee_id = ? FOR UPDATE";
const DELETE_DEAD: &str = "DELETE FROM `wp_appointease_slot_locks` WHERE `date` = ? AND `time` = ? AND employee_id = ? \
                           AND COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000, 0) <= ?";
const STAND_IN: &str = "INSERT INTO `wp_appointease_slot_locks` \
                        (`date`, `time`, employee_id, client_id, expires_at, created_at, deadline_ms) \
                        VALUES (?, ?, ?, '', UTC_TIMESTAMP(), UTC_TIMESTAMP(), 0)";
const TAKEN: &str = "SELECT id FROM `wp_appointease_appointments` WHERE employee_id = ? \
                     AND appointment_date BETWEEN ? AND ? AND status IN ('confirmed', 'created') LIMIT 1";
const INSERT: &str = "INSERT INTO `wp_appointease_appointments` (name, email, employee_id, appointment_date, status, \
                      strong_id, idempotency_key, created_at) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', @@global.time_zone))";
const NAME: &str = "UPDATE `wp_appointease_appointments` SET strong_id = ? WHERE id = ?";
const DELETE: &str =
    "DELETE FROM `wp_appointease_slot_locks` WHERE `date` = ? AND `time` = ? AND employee_id = ?";
const OUTBOX: &str = "INSERT INTO `wp_appointease_outbox` (appointment_id, payload, created_ms) \
                      VALUES (?, ?, CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS UNSIGNED))";
const ANSWER: &str = "UPDATE `wp_appointease_idempotency` SET appointment_id = ?, strong_id = ? \
                      WHERE client_id = ? AND key_hash = ?";

/// A connection to a database with WordPress', AppointEase's and slotcast's tables, prefix `wp_`.
pub(crate) struct BareBooking {
    connection: Conn,
    date: String,
    first_employee: usize,
}

impl BareBooking {
    pub(crate) async fn connect(url: &str) -> Result<BareBooking, LoadError> {
        // What earlier runs booked stays.
        let process = std::process::id() as usize % PROCESSES;
        let first_employee = FIRST_EMPLOYEE + process * EMPLOYEES;
        Ok(BareBooking { connection: connect(url).await?, date: tomorrow(), first_employee })
    }

    /// One transaction, which books the slot with this number.
    pub(crate) async fn call(&mut self, number: usize) -> Result<(), LoadError> {
        let (employee, time) = (self.first_employee + number / SLOTS, slot_name(number % SLOTS));
        let date = self.date.as_str();
        let begins = format!("{date} {time}:00");
        let ends = format!("{date} {time}:59.999999");
        // As long as slotcast's: a client's name, two hashes, a random number in hexadecimal.
        let client = format!("loadgen-{employee}");
        let hash = format!("{employee:016}{number:016}").into_bytes();
        let stand_in = format!("{:07}{number:08}", employee);
        let key = format!("{begins} {employee}");
        let slot = (date, time.as_str(), employee);
        let mut work = self.connection.start_transaction(TxOpts::new()).await?;
        let _: Vec<Row> = work.exec(AGREEMENT, ()).await?;
        work.exec_drop(KEY, (&client, &hash, &hash)).await?;
        let _: Vec<Row> = work.exec(LOCK, slot).await?;
        let now: Option<u64> = work.exec_first(NOW, ()).await?;
        work.exec_drop(DELETE_DEAD, (date, time.as_str(), employee, now)).await?;
        work.exec_drop(STAND_IN, slot).await?;
        let _: Option<Row> = work.exec_first(TAKEN, (employee, &begins, ends)).await?;
        let row = ("Load Generator", "load@example.com", employee, &begins, "confirmed", stand_in, key);
        work.exec_drop(INSERT, row).await?;
        let id = work.last_insert_id().unwrap_or_default();
        let name = format!("APT-2000-{id:06}");
        work.exec_drop(NAME, (&name, id)).await?;
        work.exec_drop(DELETE, slot).await?;
        let payload = format!(
            r#"{{"strong_id":"{name}","date":"{date}","time":"{time}","employee_id":{employee},"service_id":null}}"#
        );
        work.exec_drop(OUTBOX, (id, payload)).await?;
        work.exec_drop(ANSWER, (id, &name, &client, &hash)).await?;
        Ok(work.commit().await?)
    }
}
