use super::*;

use jiff::tz::offset;

use crate::bookings::{ClosedDay, Closings, Grid};
use crate::slot::{EmployeeId, Room};

fn times(start: &str, end: &str) -> (SlotTime, SlotTime) {
    (start.parse().expect("a time"), end.parse().expect("a time"))
}

fn read(options: &[(&str, &str)]) -> SiteSettings {
    let (start, end) = times("09:00", "17:00");
    let calendar = Calendar::always_open(TimeZone::UTC, Grid { start, end, step: 30 });
    let options =
        options.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let mut settings = SiteSettings { calendar, complaints: Vec::new() };
    settings.read_zone(&options);
    settings.read_opening(&options);
    settings
}

fn array(entries: &[(&str, Value)]) -> Value {
    Value::Array(entries.iter().map(|(key, value)| (Key::new(key), value.clone())).collect())
}

fn text(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

fn opening(entries: &[(&str, Value)]) -> SiteSettings {
    let encoded = String::from_utf8(php::encode(&array(entries))).expect("text");
    read(&[(OPTIONS, &encoded)])
}

fn days(value: Value) -> Option<Vec<i8>> {
    let settings = opening(&[("working_days", value)]);
    assert_eq!(settings.complaints.is_empty(), settings.calendar.closings.working_days.is_some());
    let mut days: Vec<i8> =
        settings.calendar.closings.working_days?.into_iter().map(Weekday::to_monday_one_offset).collect();
    days.sort_unstable();
    Some(days)
}

#[test]
fn the_zone_is_the_one_wordpress_goes_by() {
    let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
    for (name, hours, zone, complaints) in [
        ("Europe/Berlin", "0", berlin.clone(), 0),
        ("Europe/Berlin", "-3", berlin, 0),
        ("", "5.5", TimeZone::fixed(offset(5).saturating_add(jiff::SignedDuration::from_mins(30))), 0),
        ("", "-3", TimeZone::fixed(offset(-3)), 0),
        ("", "", TimeZone::UTC, 0),
        ("Mars/Olympus", "2", TimeZone::fixed(offset(2)), 1),
        ("", "soon", TimeZone::UTC, 1),
        ("", "NaN", TimeZone::UTC, 1),
        ("", "1e300", TimeZone::UTC, 1),
    ] {
        let settings = read(&[("timezone_string", name), ("gmt_offset", hours)]);
        assert_eq!(settings.calendar.zone, zone, "{name} {hours}");
        assert_eq!(settings.complaints.len(), complaints, "{name} {hours}");
    }
    assert_eq!(read(&[]).calendar.zone, TimeZone::UTC);
}

#[test]
fn working_days_may_be_listed_or_ticked() {
    let list = |values: &[Value]| {
        Value::Array(
            values.iter().enumerate().map(|(at, value)| (Key::Int(at as i64), value.clone())).collect(),
        )
    };
    let week = Some(vec![1, 2, 5]);
    assert_eq!(days(list(&[text("monday"), text("Tue"), text("FRIDAY")])), week);
    assert_eq!(days(list(&[text("1"), Value::Int(2), text("5")])), week);
    assert_eq!(days(text("1,2, fri")), week);
    assert_eq!(days(text(r#"["monday","tuesday","friday"]"#)), week);
    let ticked = [("monday", text("1")), ("tuesday", text("on")), ("friday", Value::Bool(true))];
    assert_eq!(
        days(array(&[ticked.as_slice(), &[("sunday", text("0")), ("saturday", text("no"))]].concat())),
        week
    );
    let hours = |enabled| array(&[("enabled", Value::Bool(enabled)), ("start", text("09:00"))]);
    assert_eq!(days(array(&[("monday", hours(true)), ("sunday", hours(false))])), Some(vec![1]));
    let by_number = [(1, true), (2, true), (5, true), (6, false), (0, false)];
    let by_number = by_number.map(|(day, works)| (Key::Int(day), Value::Bool(works)));
    assert_eq!(days(Value::Array(by_number.to_vec())), week);
    assert_eq!(days(list(&[text("0"), Value::Int(6)])), Some(vec![6, 7]));
    assert_eq!(days(list(&[Value::Int(7)])), Some(vec![7]));
    assert_eq!(days(list(&[])), Some(vec![]), "nobody works");
    assert_eq!(days(list(&[text("someday"), text("8")])), None);
    assert_eq!(days(Value::Float(1.5)), None);
    assert_eq!(days(text("")), None);
}

#[test]
fn hours_and_grid_are_taken_where_they_make_sense() {
    let hours = |start: Value, end: Value| {
        let settings = opening(&[("start_time", start), ("end_time", end)]);
        let grid = settings.calendar.grid;
        assert_eq!(settings.complaints.is_empty(), settings.calendar.closings.hours);
        settings.calendar.closings.hours.then_some((grid.start, grid.end))
    };
    assert_eq!(hours(text("08:30"), text("12:00:00")), Some(times("08:30", "12:00")));
    assert_eq!(hours(text("8:00 am"), text("5:30PM")), Some(times("08:00", "17:30")));
    assert_eq!(hours(text("12:00 AM"), text("12:00 PM")), Some(times("00:00", "12:00")));
    assert_eq!(hours(Value::Int(8), text("24:00")), Some(times("08:00", "23:59")));
    assert_eq!(hours(text("10:00"), Value::Null), Some(times("10:00", "17:00")));
    for wrong in ["12:00", "25:00", "noon", "-1:00", "12:60", "13:00 pm", "", ":"] {
        assert_eq!(hours(text("12:00"), text(wrong)), None, "{wrong}");
    }
    for (duration, step) in [(text("45"), 45), (Value::Int(15), 15), (Value::Float(60.0), 60)] {
        assert_eq!(opening(&[("slot_duration", duration)]).calendar.grid.step, step);
    }
    for wrong in [text("0"), Value::Int(-30), text("half an hour"), Value::Int(1441), array(&[])] {
        let settings = opening(&[("slot_duration", wrong)]);
        assert_eq!((settings.calendar.grid.step, settings.complaints.len()), (30, 1));
    }
}

#[test]
fn garbage_closes_nothing_and_is_complained_of() {
    for garbage in ["a:1:{", "O:8:\"stdClass\":0:{}", "b:1;", "i:7;", "<html>", "s:3:\"abc\";"] {
        let settings = read(&[(OPTIONS, garbage)]);
        assert_eq!(settings.calendar.closings, Closings::default(), "{garbage}");
        assert_eq!(settings.complaints.len(), 1, "{garbage}");
    }
    for nothing in ["", "s:0:\"\";", "a:0:{}", "a:1:{s:5:\"color\";s:3:\"red\";}"] {
        let settings = read(&[(OPTIONS, nothing)]);
        assert_eq!(settings.calendar.closings, Closings::default(), "{nothing}");
        assert_eq!(settings.complaints, [""; 0], "{nothing}");
    }
}

#[test]
fn days_off_are_periods_of_everybody_or_of_one() {
    let mut settings = read(&[]);
    let row = |cells: [&str; 3]| cells.map(|cell| (cell != "-").then(|| cell.to_owned()));
    settings.read_blackouts(
        [
            ["2099-03-02", "2099-03-03", "-"],
            ["2099-03-05 00:00:00", "-", "7"],
            ["2099-03-09", "2099-03-08", "-"],
            ["soon", "2099-03-08", "-"],
            ["-", "2099-03-08", "-"],
            ["2099-03-11", "2099-03-11", "0"],
        ]
        .map(row)
        .to_vec(),
    );
    assert_eq!(settings.complaints.len(), 1);
    for (date, employee, is_closed) in [
        ("2099-03-02", 1, true),
        ("2099-03-04", 1, false),
        ("2099-03-05", 1, false),
        ("2099-03-05", 7, true),
        ("2099-03-08", 7, false),
        ("2099-03-11", 7, true),
    ] {
        let room = Room {
            date: date.parse().expect("a date"),
            employee_id: EmployeeId::new(employee).expect("one"),
        };
        let expected = is_closed.then_some(ClosedDay::Blackout);
        assert_eq!(settings.calendar.closed_day(room), expected, "{date} {employee}");
    }
}
