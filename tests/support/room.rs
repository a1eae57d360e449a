//! Rooms of the coming days, and the Redis keys their holds are kept under.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value, json};

/// The day `days` from today (UTC), as `YYYY-MM-DD`; negative numbers lie in the past.
pub fn in_days(days: i64) -> String {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    today.saturating_add(days.days()).to_string()
}

/// Tomorrow's date.
pub fn tomorrow() -> String {
    in_days(1)
}

/// One date and employee.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room {
    /// `YYYY-MM-DD`.
    pub date: String,
    /// The employee's number.
    pub employee_id: u32,
}

impl Room {
    /// The employee's room of tomorrow.
    pub fn tomorrow_of(employee_id: u32) -> Self {
        Self { date: tomorrow(), employee_id }
    }

    /// The employee's room in so many days.
    pub fn in_days_of(days: i64, employee_id: u32) -> Self {
        Self { date: in_days(days), employee_id }
    }

    /// The room a frame speaks of, if it names one with the types the protocol asks for.
    pub fn of_frame(frame: &Value) -> Option<Self> {
        let employee_id = u32::try_from(frame.get("employee_id")?.as_u64()?).ok()?;
        Some(Self { date: frame.get("date")?.as_str()?.to_owned(), employee_id })
    }

    /// `{"type":kind,"date":…,"employee_id":…}`.
    pub fn frame(&self, kind: &str) -> Value {
        json!({"type": kind, "date": self.date, "employee_id": self.employee_id})
    }

    /// `{"type":kind,"date":…,"employee_id":…,"time":time}`.
    pub fn slot_frame(&self, kind: &str, time: &str) -> Value {
        let mut frame = self.frame(kind);
        frame["time"] = json!(time);
        frame
    }

    /// `date`, `employee_id` and the given fields: the body of a legacy request.
    pub fn fields(&self, more: &[(&str, &str)]) -> Value {
        let mut fields = Map::new();
        fields.insert("date".into(), json!(self.date));
        fields.insert("employee_id".into(), json!(self.employee_id));
        fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        Value::Object(fields)
    }

    /// The key of a selection.
    pub fn active_key(&self, time: &str) -> String {
        format!("appointease_active_{}_{}_{time}", self.date, self.employee_id)
    }

    /// The key that names a client's one selection here.
    pub fn user_key(&self, client_id: &str) -> String {
        format!("appointease_user_{client_id}_{}_{}", self.date, self.employee_id)
    }

    /// The key of a lock.
    pub fn lock_key(&self, time: &str) -> String {
        format!("appointease_lock_{}_{}_{time}", self.date, self.employee_id)
    }
}
