//! When a site is open, and which times of a day can be booked.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::slot::{EmployeeId, Room, Slot, SlotTime};

/// The times of a day that can be booked: every `step` minutes from `start`, ending by `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// The first.
    pub start: SlotTime,
    /// No slot begins at or after this.
    pub end: SlotTime,
    /// Minutes; above 0.
    pub step: u16,
}

/// A site's opening hours, in its own time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    pub(crate) zone: TimeZone,
    pub(crate) grid: Grid,
    pub(crate) closings: Closings,
}

/// What a site's own settings close; nothing by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Closings {
    /// All other days are closed.
    pub(crate) working_days: Option<Vec<Weekday>>,
    /// All that is not in the grid's hours is closed.
    pub(crate) hours: bool,
    pub(crate) blackouts: Vec<Blackout>,
}

/// Days on which nothing can be booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blackout {
    pub(crate) first: Date,
    pub(crate) last: Date,
    /// With whom nothing can be booked; with nobody, if not said.
    pub(crate) employee_id: Option<EmployeeId>,
}

/// Why a whole day is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedDay {
    /// It is over.
    Past,
    /// Nobody works on this day of the week.
    NonWorking,
    /// The site is closed on this day.
    Blackout,
}

impl ClosedDay {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ClosedDay::Past => "past_date",
            ClosedDay::NonWorking => "non_working_day",
            ClosedDay::Blackout => "blackout_date",
        }
    }
}

impl Calendar {
    /// Nothing is closed.
    pub fn always_open(zone: TimeZone, grid: Grid) -> Self {
        Calendar { zone, grid, closings: Closings::default() }
    }

    /// Now, by the site's clock.
    fn now(&self) -> Zoned {
        Timestamp::now().to_zoned(self.zone.clone())
    }

    /// Whether nothing can be booked in this room, and why.
    pub fn closed_day(&self, room: Room) -> Option<ClosedDay> {
        if room.date < self.now().date() { Some(ClosedDay::Past) } else { self.closed_by_settings(room) }
    }

    fn closed_by_settings(&self, Room { date, employee_id }: Room) -> Option<ClosedDay> {
        let Closings { working_days, blackouts, .. } = &self.closings;
        let is_closed = |blackout: &Blackout| {
            (blackout.first..=blackout.last).contains(&date)
                && blackout.employee_id.is_none_or(|closed| closed == employee_id)
        };
        if blackouts.iter().any(is_closed) {
            return Some(ClosedDay::Blackout);
        }
        let is_working = working_days.as_ref().is_none_or(|days| days.contains(&date.weekday()));
        (!is_working).then_some(ClosedDay::NonWorking)
    }

    /// Whether the settings close this slot: its day, or the hours it is in. Where there are no settings, none is.
    pub fn is_closed(&self, slot: Slot) -> bool {
        let hours = self.grid.start..self.grid.end;
        self.closed_by_settings(slot.room).is_some() || (self.closings.hours && !hours.contains(&slot.time))
    }

    /// Whether this slot has begun, by the site's clock.
    pub fn is_past(&self, slot: Slot) -> bool {
        let now = self.now();
        let minutes = u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs());
        (slot.room.date, slot.time.minutes()) < (now.date(), minutes)
    }

    /// All times of this room that could be booked were they free.
    pub fn times(&self, room: Room) -> impl Iterator<Item = SlotTime> {
        let Grid { start, end, step } = self.grid;
        let is_open = self.closed_day(room).is_none();
        let minutes = (start.minutes()..end.minutes()).step_by(usize::from(step.max(1)));
        minutes.filter(move |_| is_open).filter_map(SlotTime::from_minutes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(date: &str, employee: u64) -> Room {
        let employee_id = EmployeeId::new(employee).expect("an employee");
        Room { date: date.parse().expect("a date"), employee_id }
    }

    fn calendar(closings: Closings) -> Calendar {
        let time = |text: &str| text.parse().expect("a time");
        let grid = Grid { start: time("09:00"), end: time("11:00"), step: 45 };
        Calendar { closings, ..Calendar::always_open(TimeZone::UTC, grid) }
    }

    fn is_closed(calendar: &Calendar, room: Room, time: &str) -> bool {
        calendar.is_closed(room.slot(time.parse().expect("a time")))
    }

    #[test]
    fn without_settings_nothing_is_closed_but_the_past() {
        let open = calendar(Closings::default());
        let sunday = room("2099-03-01", 7);
        assert_eq!(open.closed_day(sunday), None);
        assert!(!is_closed(&open, sunday, "23:59"));
        assert_eq!(open.closed_day(room("2020-03-01", 7)), Some(ClosedDay::Past));
        assert_eq!(open.times(room("2020-03-01", 7)).count(), 0);
        let times: Vec<String> = open.times(sunday).map(|time| time.to_string()).collect();
        assert_eq!(times, ["09:00", "09:45", "10:30"]);
    }

    #[test]
    fn settings_close_days_of_the_week_and_hours() {
        let working_days = Some(vec![Weekday::Monday, Weekday::Tuesday]);
        let settings = calendar(Closings { working_days, hours: true, ..Closings::default() });
        let (sunday, monday) = (room("2099-03-01", 7), room("2099-03-02", 7));
        assert_eq!(settings.closed_day(sunday), Some(ClosedDay::NonWorking));
        assert!(is_closed(&settings, sunday, "09:00"));
        assert_eq!(settings.closed_day(monday), None);
        for (time, closed) in [("08:59", true), ("09:00", false), ("10:59", false), ("11:00", true)] {
            assert_eq!(is_closed(&settings, monday, time), closed, "{time}");
        }
    }

    #[test]
    fn a_blackout_is_everybodys_or_one_employees() {
        let day = |text: &str| text.parse().expect("a date");
        let blackouts = vec![
            Blackout { first: day("2099-03-01"), last: day("2099-03-03"), employee_id: None },
            Blackout {
                first: day("2099-03-10"),
                last: day("2099-03-10"),
                employee_id: EmployeeId::new(7).ok(),
            },
        ];
        let settings = calendar(Closings { blackouts, ..Closings::default() });
        for (date, employee, closed) in [
            ("2099-02-28", 7, None),
            ("2099-03-01", 7, Some(ClosedDay::Blackout)),
            ("2099-03-03", 8, Some(ClosedDay::Blackout)),
            ("2099-03-04", 7, None),
            ("2099-03-10", 7, Some(ClosedDay::Blackout)),
            ("2099-03-10", 8, None),
        ] {
            assert_eq!(settings.closed_day(room(date, employee)), closed, "{date} {employee}");
        }
        assert!(!is_closed(&settings, room("2099-03-04", 7), "23:00"), "hours are not closed by days");
    }

    #[test]
    fn the_past_is_what_the_sites_clock_says() {
        let now = Timestamp::now();
        let east = Calendar { zone: TimeZone::fixed(jiff::tz::offset(14)), ..calendar(Closings::default()) };
        let west = Calendar { zone: TimeZone::fixed(jiff::tz::offset(-12)), ..calendar(Closings::default()) };
        let here = now.to_zoned(east.zone.clone());
        let slot = room(&here.date().to_string(), 7).slot("00:00".parse().expect("a time"));
        let later = room(&here.date().to_string(), 7).slot("23:59".parse().expect("a time"));
        // The day begins in the west 26 hours after it does in the east.
        assert!(!west.is_past(slot) && !west.is_past(later));
        assert!(east.is_past(slot) || (here.hour(), here.minute()) == (0, 0));
        assert!(!east.is_past(later));
    }
}
