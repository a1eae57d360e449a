//! Reading bookings: which rooms are looked at, what is booked there, when the site is open, what is free.

mod availability;
mod calendar;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use availability::Availability;
pub(crate) use calendar::Blackout;
#[cfg(test)]
pub(crate) use calendar::Closings;
pub use calendar::{Calendar, ClosedDay, Grid};

use crate::mysql::MySqlStore;
use crate::picture::{DeadHold, Known, Look, Picture};
use crate::redis::RedisStore;
use crate::slot::{Room, Slot, SlotTime};
use crate::store::{HoldStore, StoreError};
use availability::Cache;

/// Free times that are suggested instead of one that is taken.
const SUGGESTED: usize = 3;

/// Answers what can be booked.
pub struct Bookings {
    picture: Arc<Picture>,
    /// `None` where all there is to know is in the picture.
    database: Option<Database>,
    calendar: RwLock<Arc<Calendar>>,
    cache: Cache,
}

/// Where bookings are read.
struct Database {
    mysql: Arc<MySqlStore>,
    /// Takes holds on what is booked back.
    store: Arc<dyn HoldStore>,
    /// What holds where the site's own settings do not say.
    otherwise: Calendar,
    /// The site's own zone does not count.
    fixed_zone: bool,
    sweep_every: Duration,
    /// The longest a look waits.
    patience: Duration,
    /// Why the last reading failed, if it did.
    error: RwLock<Option<StoreError>>,
    /// Holds that could not be taken back yet.
    dead: Mutex<Vec<DeadHold>>,
}

/// How bookings are read.
pub(crate) struct ReadingConfig {
    /// Holds until the site's own settings are read, and where they do not say.
    pub(crate) calendar: Calendar,
    /// The calendar's zone holds whatever the site says.
    pub(crate) fixed_zone: bool,
    pub(crate) sweep_every: Duration,
    /// The longest a look waits.
    pub(crate) patience: Duration,
    /// How long an answer about availability may be reused.
    pub(crate) availability_ttl: Duration,
}

impl Bookings {
    /// Where there is no database: over a picture that knows all.
    pub(crate) fn of_picture(picture: Arc<Picture>, calendar: Calendar) -> Arc<Self> {
        let calendar = RwLock::new(Arc::new(calendar));
        Arc::new(Bookings { picture, database: None, calendar, cache: Cache::none() })
    }

    /// Over a database, whose bookings the picture is kept up to date with by what is added to `tasks`.
    pub(crate) fn of_database(
        picture: Arc<Picture>,
        store: Arc<dyn HoldStore>,
        mysql: Arc<MySqlStore>,
        redis: Option<Arc<RedisStore>>,
        config: ReadingConfig,
        tasks: &mut JoinSet<()>,
    ) -> Arc<Self> {
        let ReadingConfig { calendar, fixed_zone, sweep_every, patience, availability_ttl } = config;
        let bookings = Arc::new(Bookings {
            database: Some(Database {
                mysql,
                store,
                otherwise: calendar.clone(),
                fixed_zone,
                sweep_every,
                patience,
                error: RwLock::default(),
                dead: Mutex::default(),
            }),
            calendar: RwLock::new(Arc::new(calendar)),
            cache: Cache::new(redis, availability_ttl),
            picture,
        });
        bookings.picture.keep_room_news();
        tasks.spawn(bookings.clone().keep_reading());
        tasks.spawn(bookings.clone().keep_cache());
        bookings
    }

    /// Call before a room is shown to somebody, and keep what this returns until it was. Reads what is booked there,
    /// where nobody looked at it for a while; from then on its bookings are kept up to date for as long as somebody
    /// does, unless too many rooms are. An error says that nobody knows whether the picture is up to date.
    pub async fn look_at(&self, room: Room) -> Result<Look<'_>, StoreError> {
        let Some(database) = &self.database else { return Ok(Look::default()) };
        let (mut known, look) = self.picture.watch_booked(room);
        if known == Known::NotYet {
            let until = Instant::now() + database.patience;
            // In a box: few requests wait for that.
            known = Box::pin(self.picture.booked_read(room, until)).await;
        }
        match (known, &*database.error.read()) {
            (Known::All, None) => Ok(look),
            (_, Some(error)) => Err(error.clone()),
            (_, None) => Err(StoreError::Timeout),
        }
    }

    /// Whether a look at this room asks no database: bookings there are kept up to date, or are about to be.
    pub fn is_watched(&self, room: Room) -> bool {
        self.database.is_none() || self.picture.is_watched(room)
    }

    /// When the site is open.
    pub fn calendar(&self) -> Arc<Calendar> {
        self.calendar.read().clone()
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
        let mut free: Vec<SlotTime> = calendar.times(room).filter(is_free).collect();
        free.sort_by_key(|candidate| candidate.minutes().abs_diff(time.minutes()));
        free.truncate(SUGGESTED);
        free.sort_unstable();
        free
    }
}
