//! The site's table of appointments: which one it is, which of the columns we know it has, and the statements on it.
//! Bookings are made and read through it. It is the site's: looked at again now and then, and when it surprises us.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::Value;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::MySqlStore;
use super::guard::{APPOINTMENT, LIVE, serves_as_guard};
use super::link::{Trouble, Work, take};
use super::queries::slot_params;
use super::schema::quoted;
use crate::booking::NewBooking;
use crate::slot::Slot;

/// How long what is known of the table is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(60);
/// How long it is believed that there is none.
const MISSING_FOR: Duration = Duration::from_secs(5);

/// Its columns, with all that matters for writing to them.
const COLUMNS: &str = "SELECT table_name, @@lower_case_table_names <> 0, column_name, data_type, \
     character_maximum_length, COALESCE(character_set_name, ''), is_nullable = 'NO' AND column_default IS NULL \
     AND COALESCE(extra, '') NOT LIKE '%auto_increment%' AND COALESCE(extra, '') NOT LIKE '%GENERATED%', \
     ordinal_position \
     FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name IN (?, ?)";
/// Its unique keys on whole columns.
const UNIQUE_KEYS: &str = "SELECT GROUP_CONCAT(column_name) FROM information_schema.statistics \
     WHERE table_schema = DATABASE() AND table_name = ? AND non_unique = 0 GROUP BY index_name \
     HAVING COUNT(sub_part) = 0 AND COUNT(*) = COUNT(column_name)";
const ENGINE: &str =
    "SELECT engine FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";

/// What is known of the table, and since when.
#[derive(Default)]
pub(super) struct Known(Mutex<Option<(Instant, Option<Arc<Appointments>>)>>);

/// The table of appointments.
#[derive(Debug)]
pub(super) struct Appointments {
    /// Its name, quoted.
    pub(super) table: String,
    /// The number of a live booking in a slot: see [`Appointments::slot_params`].
    pub(super) taken: String,
    /// The number of a live booking at exactly this time, but for the one with this number; waits for what others are
    /// about to write there.
    pub(super) taken_by_others: String,
    /// As the first, of the booking with this number.
    pub(super) stands: String,
    /// The number of any appointment at exactly this time, whatever became of it.
    pub(super) any: String,
    /// Names a new booking.
    pub(super) name: String,
    /// No slot can have two live bookings.
    pub(super) is_guarded: bool,
    /// It knows transactions. Another can be read, and nothing be booked in it.
    pub(super) is_transactional: bool,
    columns: BTreeMap<String, Column>,
}

#[derive(Debug)]
struct Column {
    kind: String,
    /// In characters, or in bytes.
    length: Option<u64>,
    /// Its length is in bytes, of which a letter may have several.
    counts_bytes: bool,
    /// It takes no characters beyond U+FFFF.
    is_narrow: bool,
    /// There is no row without it.
    is_demanding: bool,
    /// From 1.
    position: u64,
}

impl MySqlStore {
    /// The table of appointments, if there is one.
    pub(super) async fn appointments(&self, until: Instant) -> Result<Option<Arc<Appointments>>, Trouble> {
        if let Some((since, known)) = &*self.appointments.0.lock()
            && since.elapsed() < if known.is_some() { BELIEVED_FOR } else { MISSING_FOR }
        {
            return Ok(known.clone());
        }
        let mut work = self.link.begin(until).await?;
        let found = Appointments::find(&mut work, &self.appointments_names).await?.map(Arc::new);
        work.commit().await?;
        *self.appointments.0.lock() = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    /// What was last known of it, however old.
    pub(super) fn known_appointments(&self) -> Option<Arc<Appointments>> {
        self.appointments.0.lock().as_ref().and_then(|(_, known)| known.clone())
    }

    /// Whether there is one; `None` where nobody knows yet.
    pub(super) fn has_appointments(&self) -> Option<bool> {
        self.appointments.0.lock().as_ref().map(|(_, known)| known.is_some())
    }

    /// Looks for it while nobody books: that it is missing is to be known before a customer meets it.
    pub(super) async fn keep_appointments_known(self: Arc<Self>) {
        loop {
            let _ = self.appointments(self.link.until()).await;
            sleep(MISSING_FOR).await;
        }
    }

    /// The table is not what it was.
    pub(super) fn forget_appointments(&self) {
        *self.appointments.0.lock() = None;
    }

    /// Whether a slot that is shown as booked is so indeed. Costs less than a transaction that finds it out: crowds come
    /// too late. False where nobody knows.
    pub(super) async fn is_surely_taken(&self, slot: Slot, until: Instant) -> bool {
        if !self.picture.is_booked(slot) {
            return false;
        }
        let Ok(Some(appointments)) = self.appointments(until).await else { return false };
        let taken = self.link.ask(&appointments.taken, Appointments::slot_params(slot), until).await;
        taken.is_ok_and(|row| row.is_some())
    }

    /// Whether a slot is booked; none is where there is no table.
    pub(super) async fn is_taken(
        &self,
        work: &mut Work,
        appointments: Option<&Appointments>,
        slot: Slot,
    ) -> Result<bool, Trouble> {
        let Some(appointments) = appointments else { return Ok(false) };
        Ok(work.row(&appointments.taken, Appointments::slot_params(slot)).await?.is_some())
    }
}

/// The names the table may have, the best first.
pub(super) fn possible_names(prefix: &str, configured: Option<&str>) -> [String; 2] {
    match configured {
        Some(name) => [name.to_owned(), name.to_owned()],
        None => [format!("{prefix}appointease_appointments"), format!("{prefix}appointments")],
    }
}

impl Appointments {
    async fn find(work: &mut Work, names: &[String; 2]) -> Result<Option<Self>, Trouble> {
        let mut tables: [Option<(String, BTreeMap<String, Column>)>; 2] = [None, None];
        for mut row in work.rows(COLUMNS, (&names[0], &names[1])).await? {
            let (table, any_case): (String, bool) = (take(&mut row, 0)?, take(&mut row, 1)?);
            // The catalogue finds names in any case, which on most servers name other tables.
            let is_it = |name: &&String| **name == table || any_case && name.eq_ignore_ascii_case(&table);
            let Some(at) = names.iter().position(|name| is_it(&name)) else { continue };
            let charset: String = take(&mut row, 5)?;
            let kind: String = take(&mut row, 3)?;
            let column = Column {
                counts_bytes: kind.ends_with("text") && charset.starts_with("utf8"),
                kind,
                length: take(&mut row, 4)?,
                is_narrow: ["utf8", "utf8mb3", "ucs2"].contains(&charset.as_str()),
                is_demanding: take(&mut row, 6)?,
                position: take(&mut row, 7)?,
            };
            let name: String = take(&mut row, 2)?;
            let (_, columns) = tables[at].get_or_insert_with(|| (table, BTreeMap::new()));
            columns.insert(name.to_ascii_lowercase(), column);
        }
        let Some((table, columns)) = tables.into_iter().flatten().next() else { return Ok(None) };
        if let Some(missing) = APPOINTMENT.iter().find(|column| !columns.contains_key(**column)) {
            return Err(Trouble::no_table(format!("{table} has no column {missing}")));
        }
        let engine = work.row(ENGINE, (&table,)).await?;
        let engine: Option<String> = engine.map(|mut row| take(&mut row, 0)).transpose()?.flatten();
        let is_transactional = engine.is_some_and(|engine| engine.eq_ignore_ascii_case("InnoDB"));
        let mut is_guarded = false;
        for mut row in work.rows(UNIQUE_KEYS, (&table,)).await? {
            let key: String = take(&mut row, 0)?;
            let key: BTreeSet<String> = key.split(',').map(str::to_ascii_lowercase).collect();
            is_guarded |= serves_as_guard(&key);
        }
        Ok(Some(Self { is_transactional, ..Self::new(&quoted(&table), columns, is_guarded) }))
    }

    fn new(table: &str, columns: BTreeMap<String, Column>, is_guarded: bool) -> Self {
        let taken = format!(
            "SELECT id FROM {table} WHERE employee_id = ? AND appointment_date BETWEEN ? AND ? AND {LIVE}"
        );
        // A range would wait for whatever is being booked right behind it, too.
        let taken_by_others = format!(
            "SELECT id FROM {table} WHERE employee_id = ? AND appointment_date = ? AND {LIVE} AND id <> ? \
             LIMIT 1 FOR UPDATE"
        );
        Appointments {
            stands: format!("{taken} AND id = ?"),
            any: format!("SELECT id FROM {table} WHERE employee_id = ? AND appointment_date = ? LIMIT 1"),
            taken: format!("{taken} LIMIT 1"),
            taken_by_others,
            name: format!("UPDATE {table} SET strong_id = ? WHERE id = ?"),
            table: table.to_owned(),
            is_guarded,
            is_transactional: true,
            columns,
        }
    }

    /// Whether it has one of the columns that not every site has.
    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    /// How many columns can be seen.
    pub(super) fn width(&self) -> u64 {
        self.columns.len() as u64
    }

    /// The place of a column, from 0.
    pub(super) fn place(&self, column: &str) -> Option<u64> {
        self.columns.get(column)?.position.checked_sub(1)
    }

    /// Employee, and the slot's first and last moment: whatever seconds a row has, its slot is that minute.
    pub(super) fn slot_params(slot: Slot) -> (u32, String, String) {
        let (date, _, employee) = slot_params(slot);
        (employee, format!("{date} {}:00", slot.time), format!("{date} {}:59.999999", slot.time))
    }

    /// Each field that does not fit its column, with a sentence.
    pub(super) fn unfit(&self, ask: &NewBooking) -> BTreeMap<&'static str, String> {
        let check = |(column, value): (&'static str, Option<&str>)| {
            let (value, there) = (value?, self.columns.get(column)?);
            let (length, unit) = if there.counts_bytes {
                (value.len(), "bytes")
            } else {
                (value.chars().count(), "characters")
            };
            match there.length.filter(|most| length as u64 > *most) {
                Some(most) => Some((column, format!("must be at most {most} {unit}"))),
                None if there.is_narrow && value.chars().any(|letter| letter > '\u{ffff}') => {
                    Some((column, not_storable(column)))
                }
                None => None,
            }
        };
        texts(ask).into_iter().filter_map(check).collect()
    }

    /// The statement that adds this booking, and its values. `strong_id` stands in for its name, which has the row's
    /// number in it. Where the client's key is not unique there, it is left out.
    pub(super) fn insert(&self, ask: &NewBooking, strong_id: &str, with_key: bool) -> (String, Vec<Value>) {
        let (employee, begins, _) = Self::slot_params(ask.slot);
        let texts = texts(ask).into_iter().filter_map(|(name, text)| Some((name, Value::from(text?))));
        let mut given: Vec<(&str, Value)> = texts.filter(|(name, _)| self.has(name)).collect();
        given.push(("employee_id", employee.into()));
        given.push(("appointment_date", begins.into()));
        given.push(("status", "confirmed".into()));
        if let Some(service_id) = ask.service_id.filter(|_| self.has("service_id")) {
            given.push(("service_id", service_id.into()));
        }
        if self.has("strong_id") {
            given.push(("strong_id", strong_id.into()));
        }
        let key = ask.key.as_str();
        let fits = |column: &Column| column.length.is_some_and(|most| key.len() as u64 <= most);
        if with_key && self.columns.get("idempotency_key").is_some_and(fits) {
            given.push(("idempotency_key", key.into()));
        }
        let mut names: Vec<String> = given.iter().map(|(name, _)| quoted(name)).collect();
        let mut values = vec!["?"; given.len()];
        for (name, column) in &self.columns {
            if given.iter().any(|(named, _)| named == name) {
                continue;
            }
            let value = match column.kind.as_str() {
                // As the server's own clock shows it, in which WordPress' sessions have their times; ours have UTC.
                "datetime" if column.is_demanding || name == "created_at" => {
                    "CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', @@global.time_zone)"
                }
                "timestamp" | "date" if column.is_demanding => "UTC_TIMESTAMP()",
                // What WordPress' sessions put where nothing is said, ours must say.
                "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext"
                    if column.is_demanding =>
                {
                    "''"
                }
                "enum" if column.is_demanding => "1",
                _ if column.is_demanding => "0",
                _ => continue,
            };
            names.push(quoted(name));
            values.push(value);
        }
        let statement =
            format!("INSERT INTO {} ({}) VALUES ({})", self.table, names.join(", "), values.join(", "));
        (statement, given.into_iter().map(|(_, value)| value).collect())
    }
}

/// A sentence about a field that the database did not take.
pub(super) fn not_storable(column: &str) -> String {
    match column {
        "service_id" => "is not a service of this site".to_owned(),
        _ => "has characters in it that this site cannot store".to_owned(),
    }
}

/// What a customer wrote, by column.
fn texts(ask: &NewBooking) -> [(&'static str, Option<&str>); 4] {
    let customer = &ask.customer;
    [
        ("name", Some(customer.name.as_str())),
        ("email", Some(customer.email.as_str())),
        ("phone", customer.phone.as_deref()),
        ("notes", customer.notes.as_deref()),
    ]
}
