//! Following the server's binary log, where it has one in rows: it tells within milliseconds that somebody, whoever,
//! changed an appointment. Invariant: what it tells is only ever a hint to read a room, so that nothing misunderstood
//! here can show something wrong. The sweep goes on beside it.

mod rows;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use mysql_async::binlog::EventType;
use mysql_async::binlog::events::TableMapEvent;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, Row};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::MySqlStore;
use super::link::{Trouble, classify, in_time, take};
use crate::store::StoreError;
use rows::{carries_rows, rooms_in, table_id};

/// How often a change made here must come back through the log.
const PROOF_EVERY: Duration = Duration::from_secs(10);
/// The longest a change may be on its way.
const PROOF_TAKES: Duration = Duration::from_secs(5);
/// As above, at first: the server may read through a whole file to find where to begin.
const FIRST_PROOF_TAKES: Duration = Duration::from_secs(30);
/// Until a server that went away may be back.
const AGAIN_SOON: Duration = Duration::from_secs(1);
/// Until somebody may have changed what is in the way.
const AGAIN_LATER: Duration = Duration::from_secs(30);
/// The library remembers each table that the server ever opened; then it is time to begin anew.
const MOST_TABLES: u64 = 50_000;
/// Numbers that real servers seldom have.
const SERVER_IDS: std::ops::Range<u32> = 1 << 24..u32::MAX;
/// Whose key the proof is: no client has this name.
const PROVER: &str = "";
/// Where it stands, after the prefix.
const PROVING_TABLE: &[u8] = b"appointease_idempotency";

const SETTINGS: &str = "SELECT @@global.log_bin, @@global.binlog_format, VERSION() LIKE '%MariaDB%'";
/// From now on, in a way that needs no other right; and events as they are instead of fillers for older readers.
const FROM_NOW_ON: &str =
    "SET @mariadb_slave_capability = 4, @slave_connect_state = @@global.gtid_binlog_pos";
/// Where the log is now, on MySQL from 8.2 on and before.
const POSITIONS: [&str; 2] = ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"];

/// Whether the log is followed; if not, why.
pub(super) struct Following(Mutex<Result<(), String>>);

impl Default for Following {
    fn default() -> Self {
        Following(Mutex::new(Err("not tried yet".to_owned())))
    }
}

impl Following {
    /// For `/health`.
    pub(super) fn health(&self) -> serde_json::Value {
        let followed = self.0.lock();
        let by = if followed.is_ok() { "binlog" } else { "sweep" };
        serde_json::json!({ "followed_by": by, "reason": followed.as_ref().err() })
    }
}

/// Why the log cannot be relied on.
struct Doubt {
    why: String,
    again: Duration,
}

impl Doubt {
    fn lasting(why: impl Into<String>) -> Self {
        Doubt { why: why.into(), again: AGAIN_LATER }
    }
}

impl From<Trouble> for Doubt {
    fn from(trouble: Trouble) -> Self {
        match StoreError::from(trouble) {
            StoreError::Refusing(why) | StoreError::Strange(why) => Doubt::lasting(why),
            error => Doubt { why: error.to_string(), again: AGAIN_SOON },
        }
    }
}

/// A number that is found again in the log.
struct Proof {
    marker: [u8; 24],
    heard: watch::Sender<u64>,
}

impl Proof {
    fn key(&self, number: u64) -> Vec<u8> {
        [&self.marker[..], &number.to_be_bytes()].concat()
    }

    /// Has the number heard that this row has in it.
    fn hear(&self, row: &[u8]) {
        let found = row.windows(self.marker.len() + 8).find(|part| part.starts_with(&self.marker));
        if let Some(number) = found.and_then(|part| part.last_chunk()) {
            self.heard.send_replace(u64::from_be_bytes(*number));
        }
    }
}

impl MySqlStore {
    /// Follows the log for ever, or tries to.
    pub(super) async fn keep_following(self: Arc<Self>) {
        // The same each time: the server ends what it still has under this number.
        let server_id = rand::random_range(SERVER_IDS);
        let mut said = String::new();
        loop {
            // The library takes some of what it reads on trust.
            let doubt = match AssertUnwindSafe(self.follow(server_id)).catch_unwind().await {
                Ok(Err(doubt)) => doubt,
                Err(_) => Doubt::lasting("something in the log cannot be read"),
            };
            let before = std::mem::replace(&mut *self.following.0.lock(), Err(doubt.why.clone()));
            let Doubt { why, mut again } = doubt;
            if !self.tables_seen.load(Ordering::Acquire) {
                // What is missing may be in the making.
                again = AGAIN_SOON;
            }
            if before.is_ok() {
                tracing::warn!(
                    event = "binlog_lost",
                    storage = "mysql",
                    "{why}; bookings of others are swept"
                );
                again = AGAIN_SOON;
            } else if again == AGAIN_LATER && why != said {
                tracing::info!(
                    event = "binlog_not_followed",
                    storage = "mysql",
                    "{why}; bookings of others are swept"
                );
                said = why;
            }
            sleep(again).await;
        }
    }

    async fn follow(&self, server_id: u32) -> Result<Infallible, Doubt> {
        let is_mariadb = self.check_settings().await?;
        let until = self.link.until();
        let mut connection = self.link.connect(until).await?;
        let mut request = BinlogStreamRequest::new(server_id);
        let file: Vec<u8>;
        if is_mariadb {
            in_time(until, connection.query_drop(FROM_NOW_ON)).await?;
        } else {
            let position;
            (file, position) = position_in(&mut connection, until).await?;
            request = request.with_filename(&file).with_pos(position);
        }
        let stream = in_time(until, connection.get_binlog_stream(request)).await.map_err(|trouble| {
            let refused = |why| format!("this account needs the right REPLICATION SLAVE (ON *.*): {why}");
            match trouble {
                Trouble::Refused { why, .. } => Doubt::lasting(refused(why)),
                trouble => trouble.into(),
            }
        })?;
        let proof = Proof { marker: rand::random(), heard: watch::Sender::new(0) };
        let (never, _) = tokio::try_join!(self.listen(stream, &proof), self.prove(&proof))?;
        Ok(never)
    }

    /// Whether it is MariaDB, if its log is of use.
    async fn check_settings(&self) -> Result<bool, Doubt> {
        let mut rows = self.link.read(SETTINGS, self.link.until()).await?;
        let Some(row) = rows.first_mut() else { return Err(Doubt::lasting("no settings are told")) };
        let (is_kept, format): (bool, String) = (take(row, 0)?, take(row, 1)?);
        if !is_kept {
            return Err(Doubt::lasting("the server keeps no binary log (log_bin)"));
        }
        if !format.eq_ignore_ascii_case("ROW") {
            return Err(Doubt::lasting(format!("the server's binlog_format is {format}, not ROW")));
        }
        Ok(take(row, 2)?)
    }

    /// Has the rooms read that the log tells of. How long it may be silent, is for [`Self::prove`] to say.
    async fn listen(&self, mut stream: BinlogStream, proof: &Proof) -> Result<Infallible, Doubt> {
        let mut first_table = None;
        while let Some(event) = stream.next().await {
            let event = event.map_err(classify)?;
            let (kind, data) = (event.header().event_type_raw(), event.data());
            if carries_rows(kind) {
                let Some(table) = stream.get_tme(table_id(data)) else { continue };
                if !table.database_name_raw().eq_ignore_ascii_case(self.link.database().as_bytes()) {
                    continue;
                }
                if self.is_appointments(table) {
                    let known = self.known_appointments();
                    match known.and_then(|appointments| rooms_in(&event, table, &appointments)) {
                        Some(rooms) => rooms.into_iter().for_each(|room| self.picture.doubt_booked(room)),
                        None => self.picture.doubt_all_booked(),
                    }
                } else if table.table_name_raw().ends_with(PROVING_TABLE) {
                    proof.hear(data);
                }
            } else if kind == EventType::TABLE_MAP_EVENT as u8 {
                let table = table_id(data);
                if table > *first_table.get_or_insert(table) + MOST_TABLES {
                    return Err(Doubt { why: "it is begun anew".to_owned(), again: AGAIN_SOON });
                }
            } else if kind == EventType::QUERY_EVENT as u8 && self.names_appointments(data) {
                // Emptied, altered, removed, or written by a session that keeps its log otherwise.
                self.forget_appointments();
                self.picture.doubt_all_booked();
            }
        }
        Err(Trouble::Store(StoreError::Away("the log ended".to_owned())).into())
    }

    /// Makes sure again and again that changes come through the log, whatever filters it has and whoever closes it.
    async fn prove(&self, proof: &Proof) -> Result<Infallible, Doubt> {
        let (mut patience, mut number) = (FIRST_PROOF_TAKES, 0);
        loop {
            number += 1;
            if self.appointments(self.link.until()).await?.is_none() {
                return Err(Doubt::lasting("there is no table of appointments"));
            }
            self.write_proof(proof.key(number)).await?;
            let mut heard = proof.heard.subscribe();
            let came = timeout(patience, heard.wait_for(|heard| *heard == number)).await.is_ok();
            if !came {
                return Err(Doubt::lasting("a change made here did not come back through the binary log"));
            }
            if number == 1 {
                *self.following.0.lock() = Ok(());
                tracing::info!(event = "binlog_followed", storage = "mysql");
                // What changed before is not told.
                self.picture.doubt_all_booked();
            }
            patience = PROOF_TAKES;
            sleep(PROOF_EVERY).await;
            self.check_settings().await?;
        }
    }

    /// A row that nobody ever sees: it comes and goes in one transaction. The log has both.
    async fn write_proof(&self, key: Vec<u8>) -> Result<(), Trouble> {
        let mut work = self.link.begin(self.link.until()).await?;
        work.run(&self.queries.insert_key, (PROVER, key.clone(), [0_u8; 32].to_vec())).await?;
        work.run(&self.queries.forget_key, (PROVER, key)).await?;
        work.commit().await
    }

    fn is_appointments(&self, table: &TableMapEvent<'_>) -> bool {
        let is_it = |name: &String| table.table_name_raw().eq_ignore_ascii_case(name.as_bytes());
        self.appointments_names.iter().any(is_it)
    }

    fn names_appointments(&self, statement: &[u8]) -> bool {
        let names = |name: &String| {
            statement.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()))
        };
        self.appointments_names.iter().any(names)
    }
}

/// The end of MySQL's log: file and position.
async fn position_in(connection: &mut Conn, until: Instant) -> Result<(Vec<u8>, u64), Doubt> {
    let mut refusal = None;
    for question in POSITIONS {
        match in_time(until, connection.query_first::<Row, _>(question)).await {
            Ok(Some(mut row)) => return Ok((take(&mut row, 0)?, take(&mut row, 1)?)),
            Ok(None) => {}
            Err(Trouble::Refused { why, .. }) => refusal = Some(why),
            Err(trouble) => return Err(trouble.into()),
        }
    }
    let why = refusal.unwrap_or_default();
    Err(Doubt::lasting(format!("this account needs the right REPLICATION CLIENT (ON *.*): {why}")))
}
