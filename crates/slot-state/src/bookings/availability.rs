//! What is free in a room, with the cache of it that outlives the watching of a room. The cache is for rooms that
//! this gateway knows nothing of: what it knows, it goes by.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{Bookings, ClosedDay};
use crate::picture::{Known, RoomNews};
use crate::redis::RedisStore;
use crate::slot::{Room, SlotTime};
use crate::store::StoreError;

/// Rooms that one process keeps; with more, none are added.
const MOST_ROOMS: usize = 10_000;
/// News that come together are dealt with together.
const GATHER: Duration = Duration::from_millis(10);
/// Until what could not be dropped is tried again.
const AGAIN: Duration = Duration::from_millis(500);

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

/// What was booked in rooms when they were first read, which may be watched no more.
pub(super) struct Cache {
    place: Place,
    ttl: Duration,
    /// When bookings were last seen to change in a room. What the cache says of it is not believed for as long as that
    /// may be older: a copy that came late, or could not be dropped, would show as free what was known not to be.
    changed: Mutex<HashMap<Room, Instant>>,
}

enum Place {
    /// All there is to know is in the picture.
    Nowhere,
    Here(Mutex<HashMap<Room, (Instant, Vec<SlotTime>)>>),
    /// With the rooms that this process put there.
    Redis(Arc<RedisStore>, Mutex<HashMap<Room, Instant>>),
}

impl Cache {
    /// Keeps nothing.
    pub(super) fn none() -> Self {
        Cache { place: Place::Nowhere, ttl: Duration::ZERO, changed: Mutex::default() }
    }

    /// In Redis, where there is one.
    pub(super) fn new(redis: Option<Arc<RedisStore>>, ttl: Duration) -> Self {
        let place = match redis {
            Some(redis) => Place::Redis(redis, Mutex::default()),
            None => Place::Here(Mutex::default()),
        };
        Cache { place, ttl, changed: Mutex::default() }
    }

    /// What was booked in a room.
    async fn find(&self, room: Room) -> Option<Vec<SlotTime>> {
        if self.changed.lock().get(&room).is_some_and(|at| at.elapsed() < self.ttl) {
            return None;
        }
        match &self.place {
            Place::Nowhere => None,
            Place::Here(rooms) => {
                let rooms = rooms.lock();
                let (at, booked) = rooms.get(&room)?;
                (at.elapsed() < self.ttl).then(|| booked.clone())
            }
            Place::Redis(redis, _) => redis.cached_booked(room).await,
        }
    }

    async fn put(&self, mut answers: Vec<(Room, Availability)>) -> Result<(), StoreError> {
        let now = Instant::now();
        match &self.place {
            Place::Nowhere => Ok(()),
            Place::Here(kept) => {
                let mut kept = kept.lock();
                for (room, answer) in answers {
                    if has_place(&kept, room) {
                        kept.insert(room, (now, answer.booked));
                    }
                }
                Ok(())
            }
            Place::Redis(redis, kept) => {
                let keep = |room| {
                    let mut kept = kept.lock();
                    let has_place = has_place(&kept, room);
                    if has_place {
                        kept.insert(room, now);
                    }
                    has_place
                };
                answers.retain(|(room, _)| keep(*room));
                redis.cache_availability(&answers, self.ttl).await
            }
        }
    }

    async fn drop_all(&self, rooms: &[Room]) -> Result<(), StoreError> {
        match &self.place {
            Place::Nowhere => Ok(()),
            Place::Here(kept) => {
                let mut kept = kept.lock();
                rooms.iter().for_each(|room| _ = kept.remove(room));
                Ok(())
            }
            Place::Redis(redis, kept) => {
                redis.drop_availability(rooms).await?;
                let mut kept = kept.lock();
                rooms.iter().for_each(|room| _ = kept.remove(room));
                Ok(())
            }
        }
    }

    fn distrust(&self, rooms: impl Iterator<Item = Room>) {
        let now = Instant::now();
        self.changed.lock().extend(rooms.map(|room| (room, now)));
    }

    /// Forgets what is too old to matter.
    pub(super) fn forget_old(&self) {
        self.changed.lock().retain(|_, at| at.elapsed() < self.ttl);
        match &self.place {
            Place::Nowhere => {}
            Place::Here(kept) => kept.lock().retain(|_, (at, _)| at.elapsed() < self.ttl),
            Place::Redis(_, kept) => kept.lock().retain(|_, at| at.elapsed() < self.ttl),
        }
    }
}

fn has_place<T>(kept: &HashMap<Room, T>, room: Room) -> bool {
    kept.len() < MOST_ROOMS || kept.contains_key(&room)
}

impl Bookings {
    /// What is free in a room, as far as that is known: one that somebody looks at is answered from the picture,
    /// another from the cache.
    pub async fn known_availability(&self, room: Room) -> Option<Availability> {
        // Held until the picture was read: a room may pass with whoever looks at it last.
        let kept = self.picture.keep_booked(room);
        let is_known = self.database.is_none() || matches!(kept, Some((Known::All, _)));
        let booked = if is_known { Vec::new() } else { self.cache.find(room).await? };
        Some(self.availability_with(room, booked, true))
    }

    /// What is free in a room, from the database; then it is watched for a while.
    pub async fn read_availability(&self, room: Room) -> Result<Availability, StoreError> {
        let _look = self.look_at(room).await?;
        Ok(self.availability_with(room, Vec::new(), false))
    }

    /// What the picture shows, and what is booked besides.
    fn availability_with(&self, room: Room, mut booked: Vec<SlotTime>, cached: bool) -> Availability {
        let view = self.picture.view(room);
        booked.extend(view.booked);
        booked.sort_unstable();
        booked.dedup();
        let mut locked = view.locked;
        locked.retain(|time| booked.binary_search(time).is_err());
        let mut unavailable = [booked.as_slice(), &locked].concat();
        unavailable.sort_unstable();
        Availability { closed: self.calendar().closed_day(room), unavailable, booked, locked, cached }
    }

    /// Keeps the cache, for ever: rooms that were read come in, those in which something changed go out.
    pub(super) async fn keep_cache(self: Arc<Self>) {
        let mut due: BTreeMap<Room, RoomNews> = BTreeMap::new();
        loop {
            let mut news = if due.is_empty() { self.picture.room_news().await } else { Vec::new() };
            sleep(if due.is_empty() { GATHER } else { AGAIN }).await;
            news.extend(self.picture.take_room_news());
            for (room, what) in news {
                due.entry(room).and_modify(|known| *known = what.max(*known)).or_insert(what);
            }
            if let Err(error) = self.carry_into_cache(&due).await {
                tracing::debug!(event = "availability_cache_away", error = %error);
                // Whatever is kept of these rooms may be older than what was seen here.
                self.cache.distrust(due.keys().copied());
                // However long it stays away, only what changed is remembered: what was read, need not be kept.
                due.retain(|_, what| *what != RoomNews::Read);
                due.values_mut().for_each(|what| *what = RoomNews::Booked);
            } else {
                due.clear();
            }
        }
    }

    async fn carry_into_cache(&self, due: &BTreeMap<Room, RoomNews>) -> Result<(), StoreError> {
        let with = |wanted: fn(RoomNews) -> bool| {
            due.iter().filter(move |(_, what)| wanted(**what)).map(|(room, _)| *room)
        };
        self.cache.distrust(with(|what| what == RoomNews::Booked));
        let changed: Vec<Room> = with(|what| what != RoomNews::Read).collect();
        self.cache.drop_all(&changed).await?;
        // What was forgotten meanwhile is not known.
        let read = with(|what| what == RoomNews::Read).filter(|room| self.picture.knows_booked(*room));
        let read = read.map(|room| (room, self.availability_with(room, Vec::new(), false)));
        self.cache.put(read.collect()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::slot::{EmployeeId, parse_date};

    fn room(number: u64) -> Room {
        let date = parse_date("2031-03-09").expect("a date");
        Room { date, employee_id: EmployeeId::new(number).expect("an employee") }
    }

    fn answer(time: &str) -> Availability {
        let booked = vec![time.parse().expect("a time")];
        Availability { closed: None, unavailable: booked.clone(), booked, locked: Vec::new(), cached: false }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_good_for_its_time() {
        let cache = Cache::new(None, Duration::from_secs(300));
        cache.put(vec![(room(7), answer("10:00"))]).await.expect("kept");
        tokio::time::advance(Duration::from_secs(299)).await;
        assert_eq!(cache.find(room(7)).await, Some(answer("10:00").booked));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cache.find(room(7)).await, None);
        cache.forget_old();
        assert!(matches!(&cache.place, Place::Here(rooms) if rooms.lock().is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn where_bookings_changed_an_older_copy_is_not_believed_even_if_it_comes_late() {
        let cache = Cache::new(None, Duration::from_secs(300));
        cache.put(vec![(room(7), answer("10:00")), (room(8), answer("11:00"))]).await.expect("kept");
        cache.distrust([room(7)].into_iter());
        cache.drop_all(&[room(7)]).await.expect("dropped");
        cache.put(vec![(room(7), answer("10:00"))]).await.expect("kept");
        assert_eq!(cache.find(room(7)).await, None);
        assert_eq!(cache.find(room(8)).await, Some(answer("11:00").booked));
        tokio::time::advance(Duration::from_secs(300)).await;
        cache.put(vec![(room(7), answer("12:00"))]).await.expect("kept");
        cache.forget_old();
        assert_eq!(cache.find(room(7)).await, Some(answer("12:00").booked));
    }

    #[tokio::test]
    async fn no_more_rooms_are_kept_than_there_is_place_for() {
        let cache = Cache::new(None, Duration::from_secs(300));
        for number in 1..=MOST_ROOMS as u64 + 10 {
            cache.put(vec![(room(number), answer("10:00"))]).await.expect("kept or not");
        }
        assert!(matches!(&cache.place, Place::Here(rooms) if rooms.lock().len() == MOST_ROOMS));
        cache.put(vec![(room(1), answer("12:00"))]).await.expect("kept");
        assert_eq!(cache.find(room(1)).await, Some(answer("12:00").booked));
    }
}
