//! What a sweep costs. Run alone, in release mode, with `--ignored --nocapture`.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use support::{eventually, holds_for};

use super::{booked, open, site};
use crate::house::{SOON, room};

const SWEEP: Duration = Duration::from_millis(200);
const BOOKINGS_PER_ROOM: usize = 8;

fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

#[tokio::test]
#[ignore = "a measurement"]
async fn a_sweeps_cost_by_rooms() {
    let maria = site().await;
    for rooms in [0_u64, 100, 5_000] {
        maria.run("TRUNCATE wp_appointease_appointments").await;
        let row = |number: u64, at: usize| {
            format!("('a', 'b@c.example', '2031-03-09 {:02}:00:00', {number})", 8 + at)
        };
        let rows: Vec<String> =
            (1..=rooms).flat_map(|number| (0..BOOKINGS_PER_ROOM).map(move |at| row(number, at))).collect();
        for rows in rows.chunks(1_000) {
            let rows = rows.join(", ");
            maria
                .run(&format!(
                    "INSERT INTO wp_appointease_appointments (name, email, appointment_date, employee_id) VALUES {rows}"
                ))
                .await;
        }
        let house = open(None, &maria, SWEEP).await;
        (1..=rooms).for_each(|number| house.heard.go_live(room(number)));
        eventually("all rooms are read", SOON, async || {
            (rooms == 0 || booked(&house, room(rooms)).len() == BOOKINGS_PER_ROOM).then_some(())
        })
        .await;
        let (before, period) = (cpu(), Duration::from_secs(5));
        holds_for("it sweeps", period, async || true).await;
        let per_sweep = (cpu() - before).div_f64(period.as_secs_f64() / SWEEP.as_secs_f64());
        println!(
            "{rooms} rooms with {BOOKINGS_PER_ROOM} bookings each: {per_sweep:?} of this process per sweep"
        );
    }
}
