//! Room, slot and client: parsed once at the edge, valid ever after.
//! Keys, queries and frames are built from these values only, never from text somebody sent.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Serialize, Serializer};

/// Why a value was not accepted; the wire codes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// Not a real day as `YYYY-MM-DD`, or outside the days the site serves.
    #[error("date must be a real day as YYYY-MM-DD, from 2 days ago to the booking horizon")]
    Date,
    /// Not an integer from 1 to 8388607.
    #[error("employee_id must be a whole number from 1 to 8388607")]
    Employee,
    /// Not `HH:MM` from 00:00 to 23:59.
    #[error("time must be HH:MM, from 00:00 to 23:59")]
    Time,
    /// Not 1 to 128 of `A-Z a-z 0-9 . _ : -`.
    #[error("client_id must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")]
    Client,
}

/// The days that may be looked at: from two days ago (every time zone's yesterday) to the horizon.
#[derive(Debug, Clone, Copy)]
pub struct DateWindow {
    /// How many days ahead of today are served.
    pub horizon_days: u16,
}

impl DateWindow {
    /// Parses `YYYY-MM-DD` and checks that it is inside the window as of now (UTC).
    pub fn parse(&self, text: &str) -> Result<Date, InvalidValue> {
        let date = parse_date(text)?;
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let days = today.until(date).map_err(|_| InvalidValue::Date)?.get_days();
        if (-2..=i32::from(self.horizon_days)).contains(&days) { Ok(date) } else { Err(InvalidValue::Date) }
    }
}

/// A real calendar day written exactly `YYYY-MM-DD`.
pub fn parse_date(text: &str) -> Result<Date, InvalidValue> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !shaped {
        return Err(InvalidValue::Date);
    }
    Date::from_str(text).map_err(|_| InvalidValue::Date)
}

/// The employee's number; the column it comes from is a MEDIUMINT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct EmployeeId(u32);

impl EmployeeId {
    /// The largest number the column holds.
    pub const MAX: u32 = 8_388_607;

    /// A number from 1 to [`EmployeeId::MAX`].
    pub fn new(number: u64) -> Result<Self, InvalidValue> {
        match u32::try_from(number) {
            Ok(id @ 1..=Self::MAX) => Ok(Self(id)),
            _ => Err(InvalidValue::Employee),
        }
    }

    /// The plain number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for EmployeeId {
    type Err = InvalidValue;

    /// Digits only, without sign or leading zero, so that a number has one spelling in every key.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text.starts_with('0') || text.len() > 7 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidValue::Employee);
        }
        Self::new(text.parse().map_err(|_| InvalidValue::Employee)?)
    }
}

impl fmt::Display for EmployeeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One date and employee: what a browser looks at and subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room {
    /// The site's local day.
    pub date: Date,
    /// Whose day it is.
    pub employee_id: EmployeeId,
}

impl Room {
    /// The slot of this room at `time`.
    pub fn slot(self, time: SlotTime) -> Slot {
        Slot { room: self, time }
    }
}

/// Minutes since the day began, written `HH:MM`: a label in the site's local time, never calculated with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotTime(u16);

impl SlotTime {
    /// 00:00.
    pub(crate) const FIRST: SlotTime = SlotTime(0);

    /// Minutes since the day began.
    pub fn minutes(self) -> u16 {
        self.0
    }

    /// The time so many minutes after the day began, if that is in it.
    pub fn from_minutes(minutes: u16) -> Option<Self> {
        (minutes < 24 * 60).then_some(SlotTime(minutes))
    }
}

impl FromStr for SlotTime {
    type Err = InvalidValue;

    /// Accepts `HH:MM`, and `HH:MM:SS`, of which the seconds are cut.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let pair = |from: usize| -> Option<u16> {
            let digits = text.as_bytes().get(from..from + 2)?;
            digits
                .iter()
                .all(u8::is_ascii_digit)
                .then(|| u16::from(digits[0] - b'0') * 10 + u16::from(digits[1] - b'0'))
        };
        let colon = |at: usize| text.as_bytes().get(at) == Some(&b':');
        let parsed = match text.len() {
            5 if colon(2) => pair(0).zip(pair(3)),
            8 if colon(2) && colon(5) && pair(6).is_some_and(|seconds| seconds < 60) => pair(0).zip(pair(3)),
            _ => None,
        };
        match parsed {
            Some((hours @ 0..=23, minutes @ 0..=59)) => Ok(Self(hours * 60 + minutes)),
            _ => Err(InvalidValue::Time),
        }
    }
}

impl fmt::Display for SlotTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl fmt::Debug for SlotTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SlotTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One bookable time in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// The room it is in.
    pub room: Room,
    /// When, in that room's day.
    pub time: SlotTime,
}

/// Who holds: one per browser, perhaps on several connections. Compared byte for byte.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// The longest `client_id`, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Whoever a foreign writer named, which may be a name that no request may use.
    pub(crate) fn foreign(text: &str) -> Self {
        let end =
            text.char_indices().map(|(at, _)| at).take_while(|at| *at <= Self::MAX_LEN).last().unwrap_or(0);
        Self(if text.len() <= Self::MAX_LEN { text.into() } else { text[..end].into() })
    }

    /// The text as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidValue::Client)
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;

    #[test]
    fn a_date_is_a_real_day_in_its_one_spelling() {
        assert!(parse_date("2026-02-28").is_ok());
        for wrong in [
            "2026-02-29",
            "2026-2-28",
            "2026-02-28 ",
            "20260228",
            "2026-13-01",
            "+026-01-01",
            "",
            "2026-02-2é",
        ] {
            assert_eq!(parse_date(wrong), Err(InvalidValue::Date), "{wrong}");
        }
    }

    #[test]
    fn the_window_reaches_from_two_days_ago_to_the_horizon() {
        let window = DateWindow { horizon_days: 400 };
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let at = |days: i64| window.parse(&today.saturating_add(days.days()).to_string());
        assert!(at(-2).is_ok() && at(0).is_ok() && at(400).is_ok());
        assert_eq!(at(-3), Err(InvalidValue::Date));
        assert_eq!(at(401), Err(InvalidValue::Date));
    }

    #[test]
    fn a_time_is_two_digits_each_and_seconds_are_cut() {
        assert_eq!("09:30".parse::<SlotTime>().map(|time| time.to_string()), Ok("09:30".into()));
        assert_eq!("23:59:59".parse::<SlotTime>().map(|time| time.to_string()), Ok("23:59".into()));
        for wrong in ["9:30", "24:00", "12:60", "12:30:60", "12-30", "12:30:", "12:3é", "+1:30", ""] {
            assert_eq!(wrong.parse::<SlotTime>(), Err(InvalidValue::Time), "{wrong}");
        }
    }

    #[test]
    fn an_employee_fits_the_column_and_has_one_spelling() {
        assert_eq!("8388607".parse::<EmployeeId>().map(EmployeeId::get), Ok(8_388_607));
        for wrong in ["0", "8388608", "01", "-1", "+1", "1.0", "", "99999999999999999999"] {
            assert_eq!(wrong.parse::<EmployeeId>(), Err(InvalidValue::Employee), "{wrong}");
        }
    }

    #[test]
    fn a_client_is_a_short_plain_name() {
        assert!("u_1:a.B-9".parse::<ClientId>().is_ok());
        assert!("x".repeat(128).parse::<ClientId>().is_ok());
        for wrong in ["", "a b", "a*", "é", "a\n", &"x".repeat(129)] {
            assert_eq!(wrong.parse::<ClientId>(), Err(InvalidValue::Client), "{wrong}");
        }
    }
}
