//! Following the binary log of a real MariaDB. No sweep comes in these tests: what is seen, the log told.

mod doubts;
mod following;
mod latency;

use std::time::Duration;

use slot_state::{MySqlConfig, Room, Slot};
use support::{MariaDb, eventually};

use crate::house::{House, LONG, SOON};

/// So seldom that a test ends before.
const NEVER: Duration = Duration::from_secs(3600);
const ROWS: [&str; 3] = ["--log-bin=log", "--binlog-format=ROW", "--server-id=1"];
const RIGHT: &str = "GRANT REPLICATION SLAVE ON *.* TO 'app'@'%'";

/// A MariaDB with AppointEase's appointments.
async fn site_with(args: &[&str]) -> MariaDb {
    let maria = MariaDb::start_with(args).await;
    maria.wordpress_options().await;
    maria.appointments().await;
    maria
}

/// One whose log may be followed.
async fn site() -> MariaDb {
    let maria = site_with(&ROWS).await;
    maria.run(RIGHT).await;
    maria
}

async fn open(url: String, sweep_every: Duration) -> House {
    let command_timeout = Duration::from_secs(2);
    let (table_prefix, appointments_table) = ("wp_".to_owned(), None);
    let mysql = MySqlConfig { url, table_prefix, appointments_table, command_timeout, sweep_every };
    let house = House::with_stores(None, Some(mysql), LONG);
    house.ready().await;
    house
}

/// A store that follows the log, and looks at these rooms.
async fn following(maria: &MariaDb, rooms: &[Room]) -> House {
    let house = open(maria.url(), NEVER).await;
    followed_by(&house, "binlog", "null").await;
    for room in rooms {
        house.look_at(*room).await.expect("it can be read");
    }
    house
}

/// Waits until bookings of others are seen this way, for this reason.
async fn followed_by(house: &House, way: &str, reason: &str) {
    let what = format!("bookings are followed by the {way}: {reason}");
    let said = || house.store.health()["mysql"]["bookings"].clone();
    // As long as proofs are waited for.
    let deadline = LONG;
    eventually(&what, deadline, async || {
        (said()["followed_by"] == way && said()["reason"].to_string().contains(reason)).then_some(())
    })
    .await;
}

/// Plain SQL books a slot.
async fn book(maria: &MariaDb, slot: Slot) {
    maria.run(&booking(slot)).await;
}

fn booking(Slot { room, time }: Slot) -> String {
    format!(
        "INSERT INTO wp_appointease_appointments (name, email, appointment_date, employee_id) \
         VALUES ('Zoe', 'zoe@example.com', '{} {time}:00', {})",
        room.date, room.employee_id
    )
}

/// Waits until the picture shows exactly these booked.
async fn shows_booked(house: &House, room: Room, times: &[&str]) {
    let booked = || house.view(room).booked.iter().map(ToString::to_string).collect::<Vec<_>>();
    eventually(&format!("{times:?} are booked"), SOON, async || (booked() == times).then_some(())).await;
}
