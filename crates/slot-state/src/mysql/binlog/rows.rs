//! Which rooms the rows of an event are about. Pure.

use jiff::civil::Date;
use mysql_async::Value;
use mysql_async::binlog::events::{Event, EventData, TableMapEvent};
use mysql_async::binlog::row::BinlogRow;
use mysql_async::binlog::value::BinlogValue;

use super::super::appointments::Appointments;
use crate::slot::{EmployeeId, Room};

/// Whether events of this kind carry rows: in the first version, the second, with parts of JSON values, and MariaDB's
/// compressed ones.
pub(super) fn carries_rows(kind: u8) -> bool {
    matches!(kind, 23..=25 | 30..=32 | 39 | 166..=171)
}

/// The number of its table, which an event that carries or announces rows begins with.
pub(super) fn table_id(data: &[u8]) -> u64 {
    let mut number = [0; 8];
    data.iter().zip(&mut number[..6]).for_each(|(byte, place)| *place = *byte);
    u64::from_le_bytes(number)
}

/// The rooms that appointments came to, were in or left; `None` where that cannot be told.
pub(super) fn rooms_in(
    event: &Event,
    table: &TableMapEvent<'_>,
    appointments: &Appointments,
) -> Option<Vec<Room>> {
    // Places are those of the catalogue, unless the table has columns that nobody is shown.
    let are_known = table.columns_count() == appointments.width();
    let column = |name: &'static str| {
        let place = appointments.place(name).filter(|_| are_known);
        (name, place.map(|place| format!("@{place}")).unwrap_or_default())
    };
    let (employee, begins) = (column("employee_id"), column("appointment_date"));
    let EventData::RowsEvent(rows) = event.read_data().ok()?? else { return None };
    let mut rooms = Vec::new();
    for row in rows.rows(table) {
        let (before, after) = row.ok()?;
        for image in [before, after].iter().flatten() {
            rooms.push(room_of(value(image, &employee)?, value(image, &begins)?)?);
        }
    }
    Some(rooms)
}

/// Columns are called by their place, but where the server tells names too. Not every image has every column.
fn value<'a>(image: &'a BinlogRow, (name, place): &(&str, String)) -> Option<&'a Value> {
    let is_it = |called: &[u8]| called == place.as_bytes() || called.eq_ignore_ascii_case(name.as_bytes());
    let at = image.columns_ref().iter().position(|column| is_it(column.name_ref()))?;
    match image.as_ref(at)? {
        BinlogValue::Value(value) => Some(value),
        _ => None,
    }
}

fn room_of(employee: &Value, begins: &Value) -> Option<Room> {
    let number = match employee {
        Value::Int(number) => u64::try_from(*number).ok()?,
        Value::UInt(number) => *number,
        _ => return None,
    };
    let Value::Date(year, month, day, ..) = *begins else { return None };
    let date = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    Some(Room { date: date.ok()?, employee_id: EmployeeId::new(number).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_about_the_room_of_its_employee_and_day() {
        let day = Value::Date(2031, 3, 9, 10, 0, 0, 0);
        let date = "2031-03-09".parse().expect("a date");
        let room = Room { date, employee_id: EmployeeId::new(7).expect("an employee") };
        assert_eq!(room_of(&Value::Int(7), &day), Some(room));
        assert_eq!(room_of(&Value::UInt(7), &day), Some(room));
        for strange in [Value::Int(-1), Value::Int(0), Value::NULL, day.clone()] {
            assert_eq!(room_of(&strange, &day), None, "{strange:?}");
        }
        for strange in [Value::Date(0, 0, 0, 0, 0, 0, 0), Value::NULL, Value::Int(1)] {
            assert_eq!(room_of(&Value::Int(7), &strange), None, "{strange:?}");
        }
    }

    #[test]
    fn an_event_begins_with_the_number_of_its_table() {
        assert_eq!(table_id(&[1, 2, 0, 0, 0, 0, 9, 9]), 513);
        assert_eq!(table_id(&[1]), 1);
        assert_eq!(table_id(&[]), 0);
    }
}
