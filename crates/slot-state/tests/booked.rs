//! Bookings that somebody else made, and when the site is open: against a real MariaDB, and WordPress' own code.

mod availability;
mod cost;
mod hints;
mod holds;
mod settings;
mod watching;

use std::time::Duration;

use jiff::tz::TimeZone;
use slot_state::{Calendar, Grid, MySqlConfig, Room, Slot, StoreConfig};
use support::{MariaDb, RedisServer, eventually};

use crate::house::{House, LONG, SOON};

/// Often enough to see what others do within any test.
const OFTEN: Duration = Duration::from_millis(100);
/// So seldom that a test ends before.
const NEVER: Duration = Duration::from_secs(3600);

/// A MariaDB with WordPress' options and AppointEase's appointments.
async fn site() -> MariaDb {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    maria
}

fn config(redis: Option<&RedisServer>, maria: &MariaDb, sweep_every: Duration) -> StoreConfig {
    let time = |text: &str| text.parse().expect("a time");
    let grid = Grid { start: time("09:00"), end: time("12:00"), step: 30 };
    StoreConfig {
        redis_url: redis.map(RedisServer::url),
        redis_command_timeout: Duration::from_secs(2),
        mysql: Some(MySqlConfig {
            url: maria.url(),
            table_prefix: "wp_".to_owned(),
            appointments_table: None,
            command_timeout: Duration::from_secs(2),
            sweep_every,
        }),
        lock_ttl: LONG,
        calendar: Calendar::always_open(TimeZone::UTC, grid),
        fixed_zone: false,
        availability_ttl: LONG,
    }
}

/// A store on these, ready.
async fn open(redis: Option<&RedisServer>, maria: &MariaDb, sweep_every: Duration) -> House {
    let house = House::with(config(redis, maria, sweep_every));
    house.ready().await;
    house
}

/// Plain SQL books a slot; returns the row's number.
async fn book(maria: &MariaDb, slot: Slot) -> u64 {
    book_at(maria, slot.room, &format!("{}:00", slot.time)).await
}

async fn book_at(maria: &MariaDb, room: Room, time: &str) -> u64 {
    maria
        .run(&format!(
            "INSERT INTO wp_appointease_appointments (name, email, appointment_date, employee_id) \
             VALUES ('Zoe', 'zoe@example.com', '{} {time}', {})",
            room.date, room.employee_id
        ))
        .await;
    maria.query::<u64>("SELECT MAX(id) FROM wp_appointease_appointments").await[0]
}

async fn set(maria: &MariaDb, id: u64, assignment: &str) {
    maria.run(&format!("UPDATE wp_appointease_appointments SET {assignment} WHERE id = {id}")).await;
}

async fn cancel(maria: &MariaDb, id: u64) {
    set(maria, id, "status = 'cancelled'").await;
}

/// The booked times of a room, as the picture shows them.
fn booked(house: &House, room: Room) -> Vec<String> {
    house.view(room).booked.iter().map(ToString::to_string).collect()
}

/// Waits until the picture shows exactly these.
async fn shows_booked(house: &House, room: Room, times: &[&str]) {
    let what = format!("the picture shows {times:?} booked");
    eventually(&what, SOON, async || (booked(house, room) == times).then_some(())).await;
}
