//! What a WordPress site says of its own clock and opening hours: its time zone, AppointEase's options, the table of
//! days off. Anybody may have written them: what cannot be read closes nothing, and is told of.

use std::collections::HashMap;

use jiff::civil::{Date, Weekday};
use jiff::tz::{Offset, TimeZone};
use mysql_async::{Row, Value as Cell};

use super::MySqlStore;
use super::link::Trouble;
use super::php::{self, Key, Value};
use super::schema::quoted;
use crate::bookings::{Blackout, Calendar};
use crate::slot::{SlotTime, parse_date};
use crate::store::StoreError;

/// AppointEase's settings, a serialized array.
pub(super) const OPTIONS: &str = "appointease_options";
/// What a table of days off may be called, after the prefix; the first that is there counts. It has the columns
/// `start_date`, `end_date` and perhaps `employee_id`.
const BLACKOUT_TABLES: [&str; 3] =
    ["appointease_blackout_dates", "appointease_blackouts", "appointease_blackout"];
/// More days off are not read.
const MOST_BLACKOUTS: usize = 10_000;
/// The longest a slot may be, in minutes.
const LONGEST_SLOT: i64 = 24 * 60;

/// What a site says, and what of it cannot be read, in words.
#[derive(Debug)]
pub(crate) struct SiteSettings {
    pub(crate) calendar: Calendar,
    pub(crate) complaints: Vec<String>,
}

impl MySqlStore {
    /// The site's settings; where there are none, those of `otherwise` count, and with `fixed_zone` its zone does anyway.
    /// What this account may not read stays as it was `before`.
    pub(crate) async fn read_settings(
        &self,
        otherwise: &Calendar,
        before: &Calendar,
        fixed_zone: bool,
    ) -> Result<SiteSettings, StoreError> {
        let mut settings = SiteSettings { calendar: otherwise.clone(), complaints: Vec::new() };
        match self.allowed(self.read_options().await, &mut settings)? {
            Some(options) => {
                if !fixed_zone {
                    settings.read_zone(&options);
                }
                settings.read_opening(&options);
            }
            None => settings.calendar = before.clone(),
        }
        match self.allowed(self.read_blackouts().await, &mut settings)? {
            Some(rows) => settings.read_blackouts(rows),
            None => settings.calendar.closings.blackouts = before.closings.blackouts.clone(),
        }
        *self.zone.write() = settings.calendar.zone.clone();
        Ok(settings)
    }

    fn allowed<T>(
        &self,
        read: Result<T, Trouble>,
        settings: &mut SiteSettings,
    ) -> Result<Option<T>, StoreError> {
        match read.map_err(|trouble| self.failed(trouble)) {
            Ok(found) => Ok(Some(found)),
            Err(StoreError::Refusing(why)) => {
                settings.complain(why);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn read_options(&self) -> Result<HashMap<String, Vec<u8>>, Trouble> {
        let sql = format!(
            "SELECT option_name, option_value FROM {} WHERE option_name IN ('timezone_string', 'gmt_offset', '{OPTIONS}')",
            quoted(&format!("{}options", self.prefix))
        );
        let rows = match self.link.read(&sql, self.link.until()).await {
            Err(Trouble::NoTable { .. }) => return Ok(HashMap::new()),
            rows => rows?,
        };
        let option = |row: Row| match row.unwrap_raw().as_mut_slice() {
            [Some(Cell::Bytes(name)), Some(Cell::Bytes(value))] => {
                Some((String::from_utf8_lossy(name).to_ascii_lowercase(), std::mem::take(value)))
            }
            _ => None,
        };
        Ok(rows.into_iter().filter_map(option).collect())
    }

    /// First and last day and employee of each row of the table of days off.
    async fn read_blackouts(&self) -> Result<Vec<[Option<String>; 3]>, Trouble> {
        let names = BLACKOUT_TABLES.map(|name| format!("{}{name}", self.prefix));
        for name in &names {
            for employee in ["employee_id", "NULL"] {
                let sql = format!(
                    "SELECT start_date, end_date, {employee} FROM {} \
                     WHERE COALESCE(end_date, start_date) >= CURRENT_DATE - INTERVAL 2 DAY LIMIT {MOST_BLACKOUTS}",
                    quoted(name)
                );
                match self.link.read(&sql, self.link.until()).await {
                    Err(Trouble::NoTable { .. }) => {}
                    rows => return Ok(rows?.into_iter().map(texts).collect()),
                }
            }
        }
        Ok(Vec::new())
    }
}

fn texts(row: Row) -> [Option<String>; 3] {
    let mut cells = row.unwrap_raw().into_iter().map(|cell| match cell {
        Some(Cell::Bytes(text)) => String::from_utf8(text).ok(),
        _ => None,
    });
    std::array::from_fn(|_| cells.next().flatten())
}

impl SiteSettings {
    fn complain(&mut self, what: impl Into<String>) {
        self.complaints.push(what.into());
    }

    /// WordPress' own rule: the name of a zone, else hours from UTC.
    fn read_zone(&mut self, options: &HashMap<String, Vec<u8>>) {
        let option = |name: &str| {
            let text = options.get(name).and_then(|value| std::str::from_utf8(value).ok());
            text.map(str::trim).filter(|text| !text.is_empty())
        };
        if let Some(name) = option("timezone_string") {
            match TimeZone::get(name) {
                Ok(zone) => return self.calendar.zone = zone,
                Err(_) => self.complain("timezone_string names no time zone"),
            }
        }
        let Some(hours) = option("gmt_offset") else { return };
        let seconds =
            hours.parse::<f64>().ok().filter(|hours| hours.abs() <= 24.0).map(|hours| hours * 3600.0);
        match seconds.and_then(|seconds| Offset::from_seconds(seconds.round() as i32).ok()) {
            Some(offset) => self.calendar.zone = TimeZone::fixed(offset),
            None => self.complain("gmt_offset is no number of hours"),
        }
    }

    pub(super) fn read_opening(&mut self, options: &HashMap<String, Vec<u8>>) {
        let Some(text) = options.get(OPTIONS) else { return };
        let entries = match php::parse(text) {
            Ok(Value::Array(entries)) => entries,
            // What WordPress puts where there is nothing to keep.
            Ok(Value::Bytes(nothing)) if nothing.is_empty() => return,
            Err(_) if text.is_empty() => return,
            Ok(_) => return self.complain(format!("{OPTIONS} is no array")),
            Err(error) => return self.complain(format!("{OPTIONS} cannot be read: {error}")),
        };
        let setting = |name: &str| {
            let is_it = |(key, _): &&(Key, Value)| *key == Key::new(name);
            entries.iter().find(is_it).map(|(_, value)| value).filter(|value| **value != Value::Null)
        };
        if let Some(days) = setting("working_days") {
            match working_days(days) {
                Some(days) => self.calendar.closings.working_days = Some(days),
                None => self.complain(format!("working_days of {OPTIONS} names no day of the week")),
            }
        }
        if let Some(minutes) = setting("slot_duration") {
            match whole(minutes).filter(|minutes| (1..=LONGEST_SLOT).contains(minutes)) {
                Some(minutes) => self.calendar.grid.step = minutes as u16,
                None => self.complain(format!("slot_duration of {OPTIONS} is no number of minutes")),
            }
        }
        let (start, end) = (setting("start_time"), setting("end_time"));
        if start.is_none() && end.is_none() {
            return;
        }
        // One of them alone closes what is on its side.
        let grid = &self.calendar.grid;
        let start = start.map_or(Some(grid.start), time_of_day);
        let end = end.map_or(Some(grid.end), time_of_day);
        match start.zip(end).filter(|(start, end)| start < end) {
            Some((start, end)) => {
                (self.calendar.grid.start, self.calendar.grid.end) = (start, end);
                self.calendar.closings.hours = true;
            }
            None => self.complain(format!("start_time and end_time of {OPTIONS} are no hours of a day")),
        }
    }

    fn read_blackouts(&mut self, rows: Vec<[Option<String>; 3]>) {
        let blackouts = rows.iter().map(blackout);
        let (readable, unreadable): (Vec<_>, Vec<_>) = blackouts.partition(Option::is_some);
        self.calendar.closings.blackouts = readable.into_iter().flatten().collect();
        if !unreadable.is_empty() {
            self.complain(format!("{} rows of the table of days off cannot be read", unreadable.len()));
        }
    }
}

fn blackout([first, last, employee]: &[Option<String>; 3]) -> Option<Blackout> {
    // Of a date with a time, the date.
    let date = |text: &String| -> Option<Date> { parse_date(text.get(..10)?).ok() };
    let first = date(first.as_ref()?)?;
    let last = match last {
        Some(last) => date(last)?,
        None => first,
    };
    let employee_id = match employee.as_deref() {
        None | Some("" | "0") => None,
        Some(employee) => Some(employee.parse().ok()?),
    };
    (first <= last).then_some(Blackout { first, last, employee_id })
}

/// A list of days or of their numbers, as PHP's `w` and `N` have them; or days each with yes or no. `None` if it is
/// neither: that nobody ever works must be said.
fn working_days(value: &Value) -> Option<Vec<Weekday>> {
    let mut days = Vec::new();
    // An option may name one day a thousand times.
    for day in named_days(value)? {
        if !days.contains(&day) {
            days.push(day);
        }
    }
    Some(days)
}

fn named_days(value: &Value) -> Option<Vec<Weekday>> {
    let mut days = Vec::new();
    match value {
        Value::Array(entries) => {
            for (key, value) in entries {
                let named = match key {
                    Key::Bytes(name) => weekday(name),
                    // In a list the key says nothing.
                    Key::Int(number) if matches!(value, Value::Bool(_)) => numbered(*number),
                    Key::Int(_) => None,
                };
                match named {
                    Some(day) if is_true(value) => days.push(day),
                    Some(_) => {}
                    None => days.extend(day_of(value)),
                }
            }
            let says_nothing = days.is_empty() && !entries.iter().all(|(_, value)| !is_true(value));
            (!says_nothing).then_some(days)
        }
        Value::Bytes(text) => {
            let names = text.split(|byte| !byte.is_ascii_alphanumeric());
            days.extend(names.filter_map(weekday));
            (!days.is_empty()).then_some(days)
        }
        _ => None,
    }
}

fn day_of(value: &Value) -> Option<Weekday> {
    match value {
        Value::Bytes(text) => weekday(text),
        value => numbered(whole(value)?),
    }
}

/// A day's English name, at least three letters of it, or its number.
fn weekday(text: &[u8]) -> Option<Weekday> {
    const NAMES: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    let text = std::str::from_utf8(text).ok()?.trim().to_ascii_lowercase();
    if let Ok(number) = text.parse() {
        return numbered(number);
    }
    let at = NAMES.iter().position(|name| text.len() >= 3 && name.starts_with(&text))?;
    numbered(at as i64)
}

/// Sunday is 0 to some, 7 to others.
fn numbered(number: i64) -> Option<Weekday> {
    match number {
        0 | 7 => Some(Weekday::Sunday),
        1..=6 => Weekday::from_monday_one_offset(number as i8).ok(),
        _ => None,
    }
}

/// As PHP's `if` sees it, and forms' words for no. An array is a day's hours, unless it says no itself.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Int(number) => *number != 0,
        Value::Float(number) => *number != 0.0,
        Value::Bytes(text) => {
            !["", "0", "no", "off", "false"].iter().any(|no| text.eq_ignore_ascii_case(no.as_bytes()))
        }
        Value::Array(entries) => {
            let says_no = |(key, value): &(Key, Value)| {
                ["enabled", "active", "open"].iter().any(|name| *key == Key::new(name)) && !is_true(value)
            };
            !entries.is_empty() && !entries.iter().any(says_no)
        }
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) if number.fract() == 0.0 => Some(*number as i64),
        Value::Bytes(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// `9:00`, `09:00`, `09:00:00`, `5:30 pm`, or an hour's number. Midnight at the end of a day is its last minute.
fn time_of_day(value: &Value) -> Option<SlotTime> {
    if let Value::Int(hour) = value {
        return minutes_of(*hour, 0);
    }
    let Value::Bytes(text) = value else { return None };
    let text = std::str::from_utf8(text).ok()?.trim().to_ascii_lowercase();
    let half_days = [("am", 0), ("pm", 12)];
    let half = half_days.iter().find_map(|(name, from)| Some((text.strip_suffix(name)?, *from)));
    let (digits, half) = half.map_or((text.as_str(), None), |(digits, from)| (digits, Some(from)));
    let mut parts = digits.trim().splitn(3, ':').map(|part| part.parse::<u8>().ok());
    let hour = i64::from(parts.next()??);
    let minutes = i64::from(parts.next().unwrap_or(Some(0))?);
    let hour = match half {
        Some(from) if (1..=12).contains(&hour) => hour % 12 + from,
        Some(_) => return None,
        None => hour,
    };
    minutes_of(hour, minutes)
}

fn minutes_of(hour: i64, minutes: i64) -> Option<SlotTime> {
    match (hour, minutes) {
        (24, 0) => SlotTime::from_minutes(24 * 60 - 1),
        (0..=23, 0..=59) => SlotTime::from_minutes((hour * 60 + minutes) as u16),
        _ => None,
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
