//! A store at work in a test, with an ear on its picture. Used by every test binary of the crate.
#![allow(dead_code, reason = "each test program uses its own part")]

mod heard;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use slot_state::{
    ActorId, BookError, BookRefusal, Booking, Bookings, Calendar, Chosen, ClientId, Customer, DeselectAsk,
    EmployeeId, Grid, HoldError, HoldStore, LockAsk, Locked, MySqlConfig, NewBooking, OpenStore, Picture,
    Refusal, Releaser, Renewal, Renewed, Room, RoomView, SelectAsk, Selected, Slot, StoreConfig, StoreError,
    open, parse_date,
};
use support::eventually;
use tokio::task::JoinSet;

pub(crate) use heard::Heard;

/// How long a test waits for what should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// An open store, and all that its picture told.
pub(crate) struct House {
    pub(crate) store: Arc<dyn HoldStore>,
    pub(crate) picture: Arc<Picture>,
    pub(crate) bookings: Arc<Bookings>,
    pub(crate) heard: Arc<Heard>,
    _tasks: JoinSet<()>,
}

/// A database as the tests use it, swept often.
pub(crate) fn mysql(url: String, command_timeout: Duration) -> MySqlConfig {
    let sweep_every = Duration::from_millis(200);
    let (table_prefix, appointments_table) = ("wp_".to_owned(), None);
    MySqlConfig { url, table_prefix, appointments_table, command_timeout, sweep_every }
}

impl House {
    /// Opens what the configuration names, without waiting for anything.
    pub(crate) fn open(redis_url: Option<String>, lock_ttl: Duration) -> Self {
        Self::with_stores(redis_url, None, lock_ttl)
    }

    /// On this MariaDB, alone or behind a Redis.
    pub(crate) fn on_mysql(redis_url: Option<String>, url: String, lock_ttl: Duration) -> Self {
        Self::with_stores(redis_url, Some(mysql(url, Duration::from_secs(2))), lock_ttl)
    }

    /// Opens what the configuration names, without waiting for anything.
    pub(crate) fn with_stores(
        redis_url: Option<String>,
        mysql: Option<MySqlConfig>,
        lock_ttl: Duration,
    ) -> Self {
        // Where MySQL can step in, a busy machine must not look like a failing Redis.
        let redis_command_timeout = Duration::from_millis(if mysql.is_some() { 2000 } else { 250 });
        let day = |time: &str| time.parse().expect("a time");
        let grid = Grid { start: day("09:00"), end: day("17:00"), step: 30 };
        let calendar = Calendar::always_open(TimeZone::UTC, grid);
        let (fixed_zone, availability_ttl) = (false, LONG);
        Self::with(StoreConfig {
            redis_url,
            redis_command_timeout,
            mysql,
            lock_ttl,
            calendar,
            fixed_zone,
            availability_ttl,
        })
    }

    /// Opens just this, without waiting for anything.
    pub(crate) fn with(config: StoreConfig) -> Self {
        let opened = open(&config).expect("the configuration names a store");
        let OpenStore { store, picture, bookings, tasks, .. } = opened;
        let heard = Arc::new(Heard::default());
        let watcher: Arc<dyn slot_state::Watcher> = heard.clone();
        picture.watch(Arc::downgrade(&watcher));
        House { store, picture, bookings, heard, _tasks: tasks }
    }

    /// On this Redis, taking writes and hearing of those of others.
    pub(crate) async fn on(url: &str) -> Self {
        let house = Self::open(Some(url.to_owned()), LONG);
        house.ready().await;
        house
    }

    /// Waits until the store takes writes and events flow.
    pub(crate) async fn ready(&self) {
        eventually("the store is ready", SOON, async || {
            let storage = *self.store.storage().borrow();
            let mysql = self.store.health()["mysql"]["status"].clone();
            let locks = mysql.is_null() || mysql == "ok";
            (storage.writable && storage.flowing && locks).then_some(())
        })
        .await;
    }

    /// Waits until the store has this way of hearing of changes, and proof of it.
    pub(crate) async fn fed_by(&self, feed: &str) {
        eventually(&format!("events come by {feed}"), SOON, async || {
            (self.feed() == feed && self.store.storage().borrow().flowing).then_some(())
        })
        .await;
    }

    pub(crate) fn feed(&self) -> String {
        self.store.health()["redis"]["feed"].as_str().unwrap_or_default().to_owned()
    }

    /// A look that is over when it is answered.
    pub(crate) async fn look_at(&self, room: Room) -> Result<(), StoreError> {
        self.bookings.look_at(room).await.map(drop)
    }

    pub(crate) async fn select(&self, slot: Slot, name: &str) -> Result<Selected, HoldError> {
        self.select_for(slot, name, LONG).await
    }

    pub(crate) async fn select_for(
        &self,
        slot: Slot,
        name: &str,
        ttl: Duration,
    ) -> Result<Selected, HoldError> {
        let (chosen, actor) = (Chosen::Explicitly, Some(ActorId(1)));
        self.store.select(SelectAsk { slot, client: client(name), ttl, chosen, address: None, actor }).await
    }

    pub(crate) async fn deselect(&self, slot: Slot, name: &str) -> Result<(), HoldError> {
        let by = Releaser::Client(client(name));
        self.store.deselect(DeselectAsk { slot, by, actor: Some(ActorId(2)) }).await
    }

    pub(crate) async fn lock(&self, slot: Slot, name: &str) -> Result<Locked, HoldError> {
        self.store.lock(LockAsk { slot, client: client(name), actor: Some(ActorId(3)) }).await
    }

    pub(crate) async fn unlock(&self, slot: Slot, name: &str) -> Result<(), HoldError> {
        self.store.unlock(LockAsk { slot, client: client(name), actor: Some(ActorId(4)) }).await
    }

    /// With the key `k`, for a customer of the client's name.
    pub(crate) async fn confirm(&self, slot: Slot, name: &str) -> Result<Booking, BookError> {
        self.confirm_with(slot, name, "k").await
    }

    pub(crate) async fn confirm_with(&self, slot: Slot, name: &str, key: &str) -> Result<Booking, BookError> {
        self.store.confirm(new_booking(slot, name, key)).await
    }

    pub(crate) async fn renew(&self, slot: Slot, name: &str, put_back: bool) -> Result<Renewed, StoreError> {
        let renewal = Renewal { slot, client: client(name), put_back, address: None };
        Ok(self.store.renew(vec![renewal], LONG).await?.remove(0))
    }

    pub(crate) fn view(&self, room: Room) -> RoomView {
        self.picture.view(room)
    }

    /// Who selected a slot, as far as the picture knows.
    pub(crate) fn selected_by(&self, slot: Slot) -> Option<String> {
        self.picture.selection(slot).map(|held| held.client.to_string())
    }

    /// Who locked a slot, as far as the picture knows.
    pub(crate) fn locked_by(&self, slot: Slot) -> Option<String> {
        self.picture.lock(slot).map(|held| held.client.to_string())
    }

    /// Waits until the picture shows this selection.
    pub(crate) async fn shows_selection(&self, slot: Slot, name: Option<&str>) {
        self.shows("selection", name, || self.selected_by(slot)).await;
    }

    /// Waits until the picture shows this lock.
    pub(crate) async fn shows_lock(&self, slot: Slot, name: Option<&str>) {
        self.shows("lock", name, || self.locked_by(slot)).await;
    }

    async fn shows(&self, what: &str, name: Option<&str>, shown: impl Fn() -> Option<String>) {
        eventually(&format!("the picture shows {name:?} with a {what}"), SOON, async || {
            (shown().as_deref() == name).then_some(())
        })
        .await;
    }
}

/// A client.
pub(crate) fn client(name: &str) -> ClientId {
    name.parse().expect("a client's name")
}

/// A room; its number is the employee's.
pub(crate) fn room(number: u64) -> Room {
    let date = parse_date("2031-03-09").expect("a date");
    Room { date, employee_id: EmployeeId::new(number).expect("an employee") }
}

/// A slot of room 7.
pub(crate) fn slot(time: &str) -> Slot {
    slot_in(7, time)
}

pub(crate) fn slot_in(number: u64, time: &str) -> Slot {
    room(number).slot(time.parse().expect("a time"))
}

/// Asks to book a slot, for a customer of the client's name.
pub(crate) fn new_booking(slot: Slot, name: &str, key: &str) -> NewBooking {
    NewBooking {
        slot,
        client: client(name),
        key: key.parse().expect("a key"),
        fence: None,
        customer: Customer {
            name: name.to_owned(),
            email: format!("{name}@example.com"),
            phone: None,
            notes: None,
        },
        service_id: None,
        actor: Some(ActorId(5)),
    }
}

/// What the rules said, of a booking that must not be made.
pub(crate) fn book_refusal(outcome: Result<Booking, BookError>) -> BookRefusal {
    match outcome {
        Err(BookError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// What the rules said, of a request that must not be granted.
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, HoldError>) -> Refusal {
    match outcome {
        Err(HoldError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// How the support crate names the same room.
pub(crate) fn named(room: Room) -> support::Room {
    support::Room { date: room.date.to_string(), employee_id: room.employee_id.get() }
}

pub(crate) fn active_key(slot: Slot) -> String {
    named(slot.room).active_key(&slot.time.to_string())
}

pub(crate) fn lock_key(slot: Slot) -> String {
    named(slot.room).lock_key(&slot.time.to_string())
}
