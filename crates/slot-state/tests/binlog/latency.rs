//! How soon a booking by plain SQL is shown. Run alone, in release mode, with `--ignored --nocapture`.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use tokio::time::{Instant, sleep};

use super::{RIGHT, ROWS, booking, followed_by, open, site_with};
use crate::house::{room, slot};

const BOOKINGS: u64 = 300;

#[tokio::test]
#[ignore = "a measurement"]
async fn from_commit_to_picture() {
    for (way, args) in [("sweep", &[][..]), ("binlog", &ROWS[..])] {
        let maria = site_with(args).await;
        maria.run(RIGHT).await;
        let house = open(maria.url(), Duration::from_secs(1)).await;
        followed_by(&house, way, "").await;
        house.look_at(room(7)).await.expect("it can be read");
        let mut connection = maria.connection().await;
        let mut taken = Vec::new();
        for number in 0..BOOKINGS {
            let slot = slot(&format!("{:02}:{:02}", number / 60, number % 60));
            connection.query_drop(booking(slot)).await.expect("it is booked");
            let committed = Instant::now();
            while !house.picture.is_booked(slot) {
                sleep(Duration::from_micros(200)).await;
            }
            taken.push(committed.elapsed());
            // At any moment between two sweeps, and never twice within one reading.
            sleep(Duration::from_millis(300 + number * 37 % 1000)).await;
            house.look_at(room(7)).await.expect("it can be read");
        }
        taken.sort_unstable();
        let at = |share: usize| taken[(taken.len() * share / 100).min(taken.len() - 1)];
        println!("{way}: p50 {:?}, p90 {:?}, p99 {:?}, longest {:?}", at(50), at(90), at(99), at(100));
    }
}
