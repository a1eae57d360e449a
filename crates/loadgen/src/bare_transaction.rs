//! The yardstick of a select on MySQL: the statements of slotcast's own transaction, from this process, without any gateway
//! between. Its rows begin like none of slotcast's, so that no gateway reads them.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, TxOpts};

use crate::LoadError;
use crate::cli::tomorrow;
use crate::view::slot_name;

/// WordPress' names for the two rows of a transient.
const VALUE: &str = "_transient_loadgen_bare";
const TIMEOUT: &str = "_transient_timeout_loadgen_bare";
/// An employee without locks.
const EMPLOYEE: u32 = 8_000_000;
/// WordPress keeps a transient as long as slotcast says.
const TRANSIENT_TTL_SECS: u64 = 300;
/// As slotcast tells every session.
const SETUP: [&str; 3] = [
    "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone='+00:00'",
    "SET SESSION innodb_lock_wait_timeout=1",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

pub(crate) const AGREEMENT: &str =
    "SELECT mode, epoch FROM `wp_appointease_storage` WHERE id = 1 LOCK IN SHARE MODE";
const ROWS: &str =
    "SELECT option_name, option_value FROM `wp_options` WHERE option_name IN (?, ?) FOR UPDATE";
const LOCKS: &str = "SELECT DATE_FORMAT(`date`, '%Y-%m-%d'), TIME_FORMAT(`time`, '%H:%i:%s'), employee_id, client_id, \
                     fence, COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000) \
                     FROM `wp_appointease_slot_locks` WHERE (`date`, employee_id) IN ((?, ?))";
pub(crate) const NOW: &str = "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS UNSIGNED)";
const PUT: &str = "INSERT INTO `wp_options` (option_name, option_value, autoload) VALUES (?, ?, 'no') \
                   ON DUPLICATE KEY UPDATE option_value = VALUES(option_value)";
const UPDATE: &str = "UPDATE `wp_options` SET option_value = ? WHERE option_name = ?";

/// A connection to a database with WordPress' and slotcast's tables, prefix `wp_`.
pub(crate) struct BareTransaction {
    connection: Conn,
    date: String,
}

/// Connects as slotcast does.
pub(crate) async fn connect(url: &str) -> Result<Conn, LoadError> {
    // The driver would change to the socket file, which is another way than slotcast's.
    let opts = OptsBuilder::from_opts(Opts::from_url(url).map_err(mysql_async::Error::from)?)
        .prefer_socket(false)
        .tcp_nodelay(true)
        .setup(SETUP.to_vec());
    Ok(Conn::new(opts).await?)
}

impl BareTransaction {
    pub(crate) async fn connect(url: &str) -> Result<BareTransaction, LoadError> {
        let mut connection = connect(url).await?;
        for name in [TIMEOUT, VALUE] {
            connection.exec_drop(PUT, (name, "a:0:{}")).await?;
        }
        Ok(BareTransaction { connection, date: tomorrow() })
    }

    /// One transaction, as a select that moves the room's only selection.
    pub(crate) async fn call(&mut self, slot: usize) -> Result<(), LoadError> {
        let mut work = self.connection.start_transaction(TxOpts::new()).await?;
        let agreement: Vec<Row> = work.exec(AGREEMENT, ()).await?;
        let rows: Vec<Row> = work.exec(ROWS, (VALUE, TIMEOUT)).await?;
        let _: Vec<Row> = work.exec(LOCKS, (&self.date, EMPLOYEE)).await?;
        let now: Option<u64> = work.exec_first(NOW, ()).await?;
        let (Some(now), 1, 2) = (now, agreement.len(), rows.len()) else {
            return Err(LoadError::Refused(
                "the bare transaction found no clock, agreement or rows".to_owned(),
            ));
        };
        let ends = now / 1000 + TRANSIENT_TTL_SECS;
        work.exec_drop(PUT, (TIMEOUT, ends.to_string())).await?;
        work.exec_drop(UPDATE, (value(slot, now), VALUE)).await?;
        Ok(work.commit().await?)
    }
}

/// A room with one selection, in slotcast's form and about as long.
fn value(slot: usize, now: u64) -> String {
    let (slot, seconds, ends) = (slot_name(slot), now / 1000, now + 10_000);
    format!(
        "a:1:{{s:5:\"{slot}\";a:9:{{s:9:\"timestamp\";i:{seconds};s:9:\"client_id\";s:15:\"loadgen-00000-0\";\
         s:7:\"user_id\";i:0;s:5:\"since\";i:{seconds};s:10:\"expires_at\";i:{ends};s:6:\"chosen\";s:6:\"select\";\
         s:7:\"address\";s:16:\"0123456789abcdef\";s:7:\"gateway\";s:16:\"0123456789abcdef\";s:5:\"epoch\";i:0;}}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn the_value_is_as_long_as_php_is_told() {
        let value = value(90, 1_700_000_000_123);
        for part in value.split("s:").skip(1) {
            let (length, rest) = part.split_once(':').expect("a length");
            let text = rest.split('"').nth(1).expect("a text");
            assert_eq!(length.parse(), Ok(text.len()), "{text}");
        }
        assert_eq!(value.matches('{').count(), value.matches('}').count());
    }
}
