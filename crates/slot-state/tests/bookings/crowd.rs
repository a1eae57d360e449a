//! Everybody wants one slot: clients over two gateways, and WordPress at the same moment.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use slot_state::{BookError, BookRefusal, HoldError, Refusal, Slot};
use support::RedisServer;
use tokio::sync::Barrier;
use tokio::time::{Instant, timeout};

use super::Site;
use crate::house::{House, LONG, client, mysql, new_booking, slot_in};

const CLIENTS: usize = 200;
const OTHERS: usize = 50;
/// Far longer than a crowd needs.
const NO_HANG: Duration = Duration::from_secs(60);

/// Slots for which everybody comes, one after the other.
fn slots(default: usize) -> impl Iterator<Item = Slot> {
    let count = std::env::var("BOOKED_SLOTS").ok().and_then(|count| count.parse().ok()).unwrap_or(default);
    (0..count).map(|number| {
        let time = format!("{:02}:{:02}", number % 24, number / 24 % 60);
        slot_in(7 + number as u64 % 5, &time)
    })
}

/// What WordPress does: looks under lock whether somebody has it, and takes it if not.
async fn book_as_php(connection: &mut Conn, slot: Slot) -> Result<bool, Error> {
    connection.query_drop("START TRANSACTION").await?;
    let (employee, date) = (slot.room.employee_id.get(), format!("{} {}:00", slot.room.date, slot.time));
    let there = "SELECT id FROM wp_appointease_appointments WHERE employee_id = ? AND appointment_date = ? \
                 AND status IN ('confirmed', 'created') FOR UPDATE";
    let there: Option<u64> = connection.exec_first(there, (employee, &date)).await?;
    if there.is_some() {
        connection.query_drop("ROLLBACK").await?;
        return Ok(false);
    }
    let book = "INSERT INTO wp_appointease_appointments (name, email, appointment_date, employee_id, status) \
                VALUES ('P', 'p@example.com', ?, ?, 'confirmed')";
    connection.exec_drop(book, (&date, employee)).await?;
    connection.query_drop("COMMIT").await?;
    Ok(true)
}

/// Connections as WordPress' are, half of them at each isolation level.
async fn others(site: &Site) -> Vec<Conn> {
    let mut connections = Vec::new();
    for number in 0..OTHERS {
        let mut connection = site.maria.connection().await;
        let level = if number % 2 == 0 { "READ COMMITTED" } else { "REPEATABLE READ" };
        connection
            .query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}"))
            .await
            .expect("a level");
        connections.push(connection);
    }
    connections
}

/// One client's way to a booking: `Ok` with its number, or a refusal. Panics where the store could not say.
async fn book(house: &House, slot: Slot, name: &str, locks: bool) -> Option<u64> {
    if locks {
        match house.lock(slot, name).await {
            Ok(_) | Err(HoldError::Refused(Refusal::SlotLocked | Refusal::SlotBooked)) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    let key = format!("{} {}", slot.room.employee_id, slot.time);
    match house.store.confirm(new_booking(slot, name, &key)).await {
        Ok(booking) => Some(booking.appointment_id),
        Err(BookError::Refused(BookRefusal::SlotLocked | BookRefusal::SlotBooked)) => None,
        other => panic!("{name}: {other:?}"),
    }
}

/// Lets everybody come at one moment, and checks what became of it.
async fn crowd(site: &Site, houses: &[Arc<House>; 2], mut others: Vec<Conn>, slot: Slot) -> Vec<Conn> {
    let began = Instant::now();
    let barrier = Arc::new(Barrier::new(CLIENTS + others.len()));
    let clients = (0..CLIENTS).map(|number| {
        let (house, barrier) = (houses[number % 2].clone(), barrier.clone());
        tokio::spawn(async move {
            barrier.wait().await;
            book(&house, slot, &format!("c{number}"), number % 4 < 2).await
        })
    });
    let clients: Vec<_> = clients.collect();
    let others = others.drain(..).enumerate().map(|(number, mut connection)| {
        let barrier = barrier.clone();
        // In some crowds others come first, in some later: PHP is quicker to take what nobody has.
        let late = Duration::from_millis(slot.time.minutes() as u64 / 60 % 3 * 20 + number as u64);
        tokio::spawn(async move {
            barrier.wait().await;
            tokio::time::sleep(late).await;
            let booked = book_as_php(&mut connection, slot).await;
            if let Err(error) = &booked {
                let Error::Server(error) = error else { panic!("{error}") };
                // Somebody was faster, a deadlock, a lock that was waited for too long.
                assert!([1062, 1213, 1205].contains(&error.code), "{error}");
                connection.query_drop("ROLLBACK").await.expect("rolled back");
            }
            (connection, booked.unwrap_or(false))
        })
    });
    let others: Vec<_> = others.collect();
    let all = async { (join_all(clients).await, join_all(others).await) };
    let (clients, others) = timeout(NO_HANG, all).await.expect("nobody hangs");
    let ours: Vec<u64> = clients.into_iter().filter_map(|client| client.expect("a clear answer")).collect();
    let (connections, theirs): (Vec<Conn>, Vec<bool>) =
        others.into_iter().map(|other| other.expect("a clear answer")).unzip();
    let theirs = theirs.into_iter().filter(|booked| *booked).count();
    let live = site.live(slot).await;
    assert_eq!(live.len(), 1, "{slot:?}: {live:?}; booked here {ours:?}, by others {theirs}");
    assert_eq!(ours.len() + theirs, 1, "{slot:?}: {ours:?}, {theirs}");
    assert!(ours.iter().all(|id| live.contains(id)), "{slot:?}: {ours:?} is not {live:?}");
    let elapsed = began.elapsed();
    println!("{slot:?}: booked by {} in {elapsed:?}", if theirs == 1 { "another" } else { "a client" });
    connections
}

/// A machine that others use, too, may take its time for a crowd.
async fn patient_house(site: &Site) -> Arc<House> {
    let redis = site.redis.as_ref().map(RedisServer::url);
    let house = House::with_stores(redis, Some(mysql(site.maria.url(), NO_HANG / 3)), LONG);
    house.ready().await;
    Arc::new(house)
}

async fn crowds(site: Site, mut connections: Vec<Conn>, default: usize) {
    let houses = [patient_house(&site).await, patient_house(&site).await];
    for slot in slots(default) {
        connections = crowd(&site, &houses, connections, slot).await;
        // Who had locked it, has no lock any more; more than three would be too many.
        for number in 0..CLIENTS {
            let client = client(&format!("c{number}"));
            for house in &houses {
                for held in house.picture.slots_of(&client) {
                    let _ = house.unlock(held, client.as_str()).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_crowd_over_two_gateways_and_wordpress_has_the_slot() {
    let site = Site::with_redis().await.guarded().await;
    let others = others(&site).await;
    crowds(site, others, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_where_mysql_keeps_the_selections() {
    let site = Site::on_mysql().await.guarded().await;
    let others = others(&site).await;
    crowds(site, others, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guard_our_own_writers_book_it_once_all_the_same() {
    crowds(Site::with_redis().await, Vec::new(), 3).await;
    crowds(Site::on_mysql().await, Vec::new(), 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn one_of_a_crowd_has_each_of_a_hundred_slots() {
    let site = Site::with_redis().await.guarded().await;
    let others = others(&site).await;
    crowds(site, others, 100).await;
    let site = Site::on_mysql().await.guarded().await;
    let others = self::others(&site).await;
    crowds(site, others, 100).await;
    crowds(Site::with_redis().await, Vec::new(), 100).await;
}
