//! Reading what is booked, in many rooms with one statement.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use jiff::civil::Date;
use mysql_async::{Row, Value};
use parking_lot::Mutex;

use super::MySqlStore;
use super::appointments::Appointments;
use super::guard::LIVE;
use super::link::Trouble;
use crate::booking::Booking;
use crate::event::Observation;
use crate::picture::BookedSlots;
use crate::slot::{EmployeeId, Room, SlotTime, parse_date};
use crate::store::StoreError;

/// Why bookings cannot be read, if so.
#[derive(Default)]
pub(super) struct Unreadable(Mutex<Option<String>>);

impl MySqlStore {
    /// What came of reading bookings, whoever found it out.
    pub(crate) fn note_booked(&self, error: Option<&StoreError>) {
        *self.unreadable.0.lock() = error.map(ToString::to_string);
    }

    /// For `/health`.
    pub(super) fn bookings_health(&self) -> serde_json::Value {
        let mut health = self.following.health();
        health["has_table"] = serde_json::json!(self.has_appointments());
        health["bookings_unreadable"] = serde_json::json!(*self.unreadable.0.lock());
        health
    }

    /// All bookings in these rooms; a room without any is missing. Where there is no table of appointments, there are
    /// none.
    pub(crate) async fn read_booked(&self, rooms: &[Room]) -> Result<HashMap<Room, BookedSlots>, StoreError> {
        let read = self.try_read_booked(rooms).await;
        if matches!(read, Err(Trouble::NoTable { .. })) {
            self.forget_appointments();
        }
        read.map_err(|trouble| self.failed(trouble))
    }

    async fn try_read_booked(&self, rooms: &[Room]) -> Result<HashMap<Room, BookedSlots>, Trouble> {
        let until = self.link.until();
        let Some(appointments) = self.appointments(until).await? else { return Ok(HashMap::new()) };
        let rows = self.link.read(&statement(&appointments, rooms), until).await?;
        let mut booked: HashMap<Room, BookedSlots> = HashMap::new();
        let mut dates = LastDate::default();
        for row in rows {
            let Some((room, time, booking)) = booking_of(row, &mut dates) else {
                self.picture.observe(Observation::ForeignSkipped);
                continue;
            };
            let bookings = booked.entry(room).or_default().entry(time).or_default();
            bookings.push(booking);
            // However the rows come, the same bookings are the same.
            bookings.sort_unstable_by_key(|booking| booking.appointment_id);
        }
        Ok(booked)
    }
}

/// Made of numbers and days alone. Its text is another with almost every reading, so it is not prepared.
fn statement(appointments: &Appointments, rooms: &[Room]) -> String {
    let mut days: BTreeMap<Date, Vec<EmployeeId>> = BTreeMap::new();
    rooms.iter().for_each(|room| days.entry(room.date).or_default().push(room.employee_id));
    let strong_id = if appointments.has("strong_id") { "strong_id" } else { "''" };
    let mut sql = format!(
        "SELECT id, appointment_date, employee_id, {strong_id} FROM {} WHERE {LIVE} AND (",
        appointments.table
    );
    for (at, (date, employees)) in days.into_iter().enumerate() {
        let or = if at == 0 { "" } else { " OR " };
        let next = date.saturating_add(jiff::Span::new().days(1));
        // Writing to a String does not fail.
        let _ = write!(
            sql,
            "{or}(appointment_date >= '{date}' AND appointment_date < '{next}' AND employee_id IN ("
        );
        for (at, employee) in employees.into_iter().enumerate() {
            let _ = write!(sql, "{}{employee}", if at == 0 { "" } else { "," });
        }
        sql.push_str("))");
    }
    sql.push(')');
    sql
}

/// Rows of one day mostly follow each other.
#[derive(Default)]
struct LastDate(Option<([u8; 10], Date)>);

impl LastDate {
    fn parse(&mut self, text: &[u8]) -> Option<Date> {
        let text: [u8; 10] = text.get(..10)?.try_into().ok()?;
        if let Some((last, date)) = self.0
            && last == text
        {
            return Some(date);
        }
        let date = parse_date(std::str::from_utf8(&text).ok()?).ok()?;
        self.0 = Some((text, date));
        Some(date)
    }
}

/// `YYYY-MM-DD HH:MM:SS`, of which the seconds say nothing.
fn booking_of(row: Row, dates: &mut LastDate) -> Option<(Room, SlotTime, Booking)> {
    let [Value::Bytes(id), Value::Bytes(begins), Value::Bytes(employee), strong_id] =
        <[Value; 4]>::try_from(row.unwrap_raw().into_iter().collect::<Option<Vec<Value>>>()?).ok()?
    else {
        return None;
    };
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    let time = std::str::from_utf8(begins.get(11..16)?).ok()?.parse().ok()?;
    let room = Room { date: dates.parse(&begins)?, employee_id: EmployeeId::new(number(&employee)?).ok()? };
    let strong_id = match strong_id {
        Value::Bytes(text) => String::from_utf8(text).unwrap_or_default(),
        _ => String::new(),
    };
    Some((room, time, Booking { appointment_id: number(&id)?, strong_id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_parsed_once_for_all_its_rows() {
        let mut dates = LastDate::default();
        for (text, date) in [
            ("2031-03-09 10:00:00", Some("2031-03-09")),
            ("2031-03-09 10:30:00.000000", Some("2031-03-09")),
            ("2031-03-10", Some("2031-03-10")),
            ("0000-00-00 00:00:00", None),
            ("2031", None),
        ] {
            let expected = date.map(|date| date.parse().expect("a date"));
            assert_eq!(dates.parse(text.as_bytes()), expected, "{text}");
        }
    }
}
