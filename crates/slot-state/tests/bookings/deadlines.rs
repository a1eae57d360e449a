//! A booking at the very end of its lock, while another client takes what becomes free.

use std::time::{Duration, SystemTime};

use futures::future::join_all;
use slot_state::{BookError, BookRefusal, HoldError, Refusal, Slot};

use super::Site;
use crate::house::{House, new_booking, slot_in};

const LOCK_TTL: Duration = Duration::from_millis(700);
/// How far from the deadline both come, in milliseconds.
const OFFSETS: std::ops::RangeInclusive<i64> = -50..=50;

/// Waits until the clock of this machine, which is also the database's, shows so many milliseconds since 1970.
async fn wait_until(at: i64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let left = at - now.as_millis() as i64;
    tokio::time::sleep(Duration::from_millis(left.max(0) as u64)).await;
}

/// The number that a question finds, if any.
async fn number(site: &Site, sql: &str, slot: Slot) -> Option<i64> {
    let (room, time) = (slot.room, slot.time);
    let sql = sql.replace(
        "{slot}",
        &format!("date = '{}' AND time = '{time}' AND employee_id = {}", room.date, room.employee_id),
    );
    site.maria.query::<i64>(&sql).await.first().copied()
}

fn key(slot: Slot) -> String {
    format!("{} {}", slot.room.employee_id, slot.time)
}

/// What the other client came for, and got.
#[derive(Debug, PartialEq)]
enum Other {
    Nothing,
    /// Since when it is locked.
    Lock(i64),
    /// Since when it is booked.
    Booking(i64),
}

async fn other(site: &Site, house: &House, slot: Slot, name: &str, locks: bool) -> Other {
    if locks {
        match house.lock(slot, name).await {
            Ok(_) => {}
            Err(HoldError::Refused(Refusal::SlotLocked | Refusal::SlotBooked)) => return Other::Nothing,
            other => panic!("{other:?}"),
        }
        let deadline = number(site, "SELECT deadline_ms FROM wp_appointease_slot_locks WHERE {slot}", slot);
        return Other::Lock(deadline.await.expect("a lock") - LOCK_TTL.as_millis() as i64);
    }
    match house.store.confirm(new_booking(slot, name, &key(slot))).await {
        Ok(booking) => {
            let id = booking.appointment_id;
            let sql = format!("SELECT created_ms FROM wp_appointease_outbox WHERE appointment_id = {id}");
            Other::Booking(number(site, &sql, slot).await.expect("a row"))
        }
        Err(BookError::Refused(BookRefusal::SlotLocked | BookRefusal::SlotBooked)) => Other::Nothing,
        other => panic!("{other:?}"),
    }
}

async fn race(site: &Site, houses: &[House; 2], slot: Slot, offset: i64, locks: bool) -> bool {
    let fence = houses[0].lock(slot, "ann").await.expect("granted").fence;
    let deadline = "SELECT deadline_ms FROM wp_appointease_slot_locks WHERE {slot}";
    let deadline = number(site, deadline, slot).await.expect("a lock");
    wait_until(deadline + offset).await;
    let mut ask = new_booking(slot, "ann", &key(slot));
    ask.fence = Some(fence);
    let (ann, bob) = tokio::join!(houses[0].store.confirm(ask), other(site, &houses[1], slot, "bob", locks));
    match (&ann, &bob) {
        (Ok(_), Other::Nothing) => {}
        (Err(BookError::Refused(_)), Other::Lock(since) | Other::Booking(since)) => {
            assert!(*since >= deadline, "{offset}: {since} is before the lock's end, {deadline}");
        }
        _ => panic!("{offset}: {ann:?}, {bob:?}"),
    }
    let booked = usize::from(ann.is_ok() || matches!(bob, Other::Booking(_)));
    assert_eq!(site.live(slot).await.len(), booked);
    if matches!(bob, Other::Lock(_)) {
        // It has three at most; on a slow machine this one has ended by now.
        match houses[1].unlock(slot, "bob").await {
            Ok(()) | Err(HoldError::Refused(Refusal::LockLost)) => {}
            other => panic!("{offset}: {other:?}"),
        }
    }
    ann.is_ok()
}

async fn races(site: Site, rounds: usize) {
    let houses = [site.house(LOCK_TTL).await, site.house(LOCK_TTL).await];
    let mut runs = Vec::new();
    for round in 0..rounds {
        runs.extend(OFFSETS.step_by(7).map(|offset| (round, offset, true)));
        runs.extend(OFFSETS.step_by(7).map(|offset| (round, offset, false)));
    }
    let mut won = 0;
    for (number, some) in runs.chunks(3).enumerate() {
        let races = some.iter().enumerate().map(|(place, (_, offset, locks))| {
            let slot = slot_in(1 + number as u64, &format!("{:02}:00", place));
            race(&site, &houses, slot, *offset, *locks)
        });
        won += join_all(races).await.into_iter().filter(|won| *won).count();
    }
    println!("the lock's owner had it {won} times of {}", runs.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_end_of_a_lock_one_wins_and_its_owner_while_it_is_good() {
    let rounds = std::env::var("RACES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    tokio::join!(async { races(Site::with_redis().await, rounds).await }, async {
        races(Site::on_mysql().await, rounds).await
    },);
}
