//! The unique key that keeps every writer, PHP and plain SQL included, from booking a slot twice: on a column that says
//! whether a booking is live. Planned by `schema` where `slotcast migrate` asks for it. Pure.

use std::collections::BTreeSet;

use super::schema::{ALTER, Existing, ExistingTable, Plan, VIEW, WHOSE_TABLES, Wanted, Warning, quoted};

/// What a table of appointments has; without one of these it is something else.
pub(super) const APPOINTMENT: [&str; 6] =
    ["id", "name", "email", "appointment_date", "status", "employee_id"];
/// The condition of a booking that stands.
pub(super) const LIVE: &str = "status IN ('confirmed', 'created')";
/// 1 for a live booking, else NULL, of which a unique key takes any number.
const LIVE_COLUMN: &str = "slotcast_live";
/// No program that reads all columns sees the new one, nor must one that writes without naming any.
const LIVE_DEFINITION: &str = "VIRTUAL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */";

/// Whether a unique key on these columns lets no slot have two live bookings.
pub(super) fn serves_as_guard(columns: &BTreeSet<String>) -> bool {
    let has = |column: &str| columns.contains(column);
    let others = columns.len() - usize::from(has(LIVE_COLUMN));
    has("employee_id") && has("appointment_date") && others == 2
}

/// Whether by a key on these columns one employee's day is found without reading all others.
fn finds_a_day(columns: &[String]) -> bool {
    match columns {
        [first, ..] if first == "appointment_date" => true,
        [first, second, ..] => first == "employee_id" && second == "appointment_date",
        _ => false,
    }
}

impl Wanted {
    /// The table of appointments among those that exist, and its name.
    pub(super) fn appointments_in<'a>(
        &'a self,
        existing: &'a Existing,
    ) -> Option<(&'a String, &'a ExistingTable)> {
        self.appointments.iter().find_map(|name| existing.tables.get_key_value(name))
    }
}

impl ExistingTable {
    /// Whether it is a table of appointments in which a slot may have two live bookings.
    pub(super) fn lacks_guard(&self) -> bool {
        let is_it = APPOINTMENT.iter().all(|column| self.columns.contains_key(*column));
        is_it && !self.unique.iter().any(serves_as_guard)
    }
}

impl Plan {
    /// Sees that a slot has one live booking at most, whoever makes it; or says what is in the way of any booking.
    pub(super) fn guard_bookings(&mut self, wanted: &Wanted, existing: &Existing) {
        let Some((name, table)) = wanted.appointments_in(existing) else {
            let name = &wanted.appointments[0];
            self.warn(format!(
                "there is no table {name}: until there is one, bookings are refused; AppointEase makes it where it is \
                 activated, or mysql.appointments_table names another; {WHOSE_TABLES}"
            ));
            return;
        };
        let missing: Vec<_> =
            APPOINTMENT.iter().filter(|column| !table.columns.contains_key(**column)).copied().collect();
        let in_the_way = if !missing.is_empty() {
            Some(format!("{name} is not a table of appointments: it has no {}", missing.join(", ")))
        } else if !table.engine.eq_ignore_ascii_case("InnoDB") {
            let table = &table.engine;
            Some(format!("{name} is kept by {table}, which knows no transactions: bookings are refused"))
        } else {
            None
        };
        match in_the_way {
            Some(why) if wanted.guard_bookings => self.blockers.push(why),
            Some(why) => self.warn(why),
            None if wanted.guard_bookings && table.lacks_guard() => self.add_guard(name, table, existing),
            None => {}
        }
        // The guard is an index too, if it comes.
        let is_guarded = self.steps.iter().any(|step| step.table == *name);
        if missing.is_empty()
            && table.engine != VIEW
            && !is_guarded
            && !table.keys.iter().any(|key| finds_a_day(key))
        {
            let text = format!(
                "{name} has no index on employee_id and appointment_date: each look at what is booked reads all of it; \
                 CREATE INDEX `slotcast_employee_date` ON {} (`employee_id`, `appointment_date`)",
                quoted(name)
            );
            self.warnings.push(Warning { event: "appointments_index_missing", text });
        }
    }

    fn add_guard(&mut self, name: &str, table: &ExistingTable, existing: &Existing) {
        if !existing.duplicate_bookings.is_empty() {
            let listed = existing.duplicate_bookings.join("; ");
            self.blockers.push(format!(
                "{name} holds several live bookings of one slot; cancel all but one of each: {listed}"
            ));
            return;
        }
        let mut changes = Vec::new();
        if !table.columns.contains_key(LIVE_COLUMN) {
            changes.push(format!(
                "ADD COLUMN `{LIVE_COLUMN}` TINYINT GENERATED ALWAYS AS (CASE WHEN {LIVE} THEN 1 END) {LIVE_DEFINITION}"
            ));
        }
        changes.push(format!(
            "ADD UNIQUE KEY `slotcast_slot` (`employee_id`, `appointment_date`, `{LIVE_COLUMN}`)"
        ));
        let statement = format!("ALTER TABLE {} {}", quoted(name), changes.join(", "));
        self.step(name, statement, "a slot can be booked twice by others than slotcast", &ALTER);
    }
}
