//! When a site is open, and which times of a day can be booked.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Weekday};

use crate::slot::{Slot, SlotTime};

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
#[derive(Debug, Clone)]
pub struct Calendar {
    pub(crate) zone: TimeZone,
    pub(crate) grid: Grid,
    /// What AppointEase's settings close; `None` where there are none: then nothing is closed.
    pub(crate) opening: Option<Opening>,
}

/// What AppointEase's settings say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Opening {
    pub(crate) working_days: Vec<Weekday>,
    /// First and last day of each closed period.
    pub(crate) blackouts: Vec<(Date, Date)>,
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
        Calendar { zone, grid, opening: None }
    }

    /// Whether nothing can be booked on this day, and why.
    pub fn closed_day(&self, date: Date) -> Option<ClosedDay> {
        if date < Timestamp::now().to_zoned(self.zone.clone()).date() {
            return Some(ClosedDay::Past);
        }
        let opening = self.opening.as_ref()?;
        if opening.blackouts.iter().any(|(first, last)| (*first..=*last).contains(&date)) {
            return Some(ClosedDay::Blackout);
        }
        (!opening.working_days.contains(&date.weekday())).then_some(ClosedDay::NonWorking)
    }

    /// Whether the settings close this slot: its day, or the hours it is in. Where there are no settings, none is.
    pub fn is_closed(&self, slot: Slot) -> bool {
        self.opening.is_some()
            && (matches!(self.closed_day(slot.room.date), Some(ClosedDay::NonWorking | ClosedDay::Blackout))
                || slot.time < self.grid.start
                || slot.time >= self.grid.end)
    }

    /// Whether this slot has begun, by the site's clock.
    pub fn is_past(&self, slot: Slot) -> bool {
        let now = Timestamp::now().to_zoned(self.zone.clone());
        let minutes = u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs());
        (slot.room.date, slot.time.minutes()) < (now.date(), minutes)
    }

    /// All times of this day that could be booked were they free.
    pub fn times(&self, date: Date) -> impl Iterator<Item = SlotTime> {
        let Grid { start, end, step } = self.grid;
        let is_open = self.closed_day(date).is_none();
        let minutes = (start.minutes()..end.minutes()).step_by(usize::from(step.max(1)));
        minutes.filter(move |_| is_open).filter_map(SlotTime::from_minutes)
    }
}
