//! Rooms that somebody looks at are read, at first and then again and again.

use slot_state::AppointmentRef;
use support::{RedisServer, eventually, holds_for};

use super::{NEVER, OFTEN, book, book_at, booked, cancel, config, open, set, shows_booked, site};
use crate::house::{House, SOON, room, slot, slot_in};

#[tokio::test]
async fn the_first_look_at_a_room_reads_it_and_a_sweep_keeps_it_true() {
    let maria = site().await;
    let ten = book(&maria, slot("10:00")).await;
    let house = open(None, &maria, OFTEN).await;
    assert_eq!(booked(&house, room(7)), [""; 0], "nobody looked");
    house.look_at(room(7)).await.expect("it can be read");
    assert_eq!(booked(&house, room(7)), ["10:00"]);
    book(&maria, slot("11:00")).await;
    shows_booked(&house, room(7), &["10:00", "11:00"]).await;
    set(&maria, ten, "appointment_date = '2031-03-09 10:30:00'").await;
    shows_booked(&house, room(7), &["10:30", "11:00"]).await;
    cancel(&maria, ten).await;
    shows_booked(&house, room(7), &["11:00"]).await;
    set(&maria, ten, "status = 'created', appointment_date = '2031-03-09 09:00:00'").await;
    shows_booked(&house, room(7), &["09:00", "11:00"]).await;
    set(&maria, ten, "employee_id = 8").await;
    shows_booked(&house, room(7), &["11:00"]).await;
    maria.run("DELETE FROM wp_appointease_appointments").await;
    shows_booked(&house, room(7), &[]).await;
}

#[tokio::test]
async fn odd_rows_are_read_for_what_they_are_worth() {
    let maria = site().await;
    let house = open(None, &maria, OFTEN).await;
    maria.run("ALTER TABLE wp_appointease_appointments MODIFY appointment_date datetime(6) NOT NULL").await;
    book_at(&maria, room(7), "10:00:59.999999").await;
    book_at(&maria, room(7), "23:59:59").await;
    book_at(&maria, room(7), "00:00:00").await;
    let shouted = book_at(&maria, room(7), "11:00:00").await;
    set(&maria, shouted, "status = 'CONFIRMED', strong_id = NULL").await;
    let unsaid = book_at(&maria, room(7), "12:00:00").await;
    set(&maria, unsaid, "status = NULL").await;
    let nobodys = book_at(&maria, room(7), "13:00:00").await;
    set(&maria, nobodys, "employee_id = 0").await;
    let twice = [book(&maria, slot("14:00")).await, book(&maria, slot("14:00")).await];
    set(&maria, twice[0], "strong_id = 'APT-2031-000001'").await;
    let (mut rooms, far) = (vec![room(7), room(8)], slot_in(8_388_607, "10:00"));
    rooms.push(far.room);
    book(&maria, far).await;
    for room in &rooms {
        house.look_at(*room).await.expect("it can be read");
    }
    assert_eq!(booked(&house, room(7)), ["00:00", "10:00", "11:00", "14:00", "23:59"]);
    assert_eq!(booked(&house, room(8)), [""; 0]);
    assert_eq!(booked(&house, far.room), ["10:00"]);
    let own = |number| house.picture.own_booking(room(7), &AppointmentRef::Number(number));
    assert_eq!(own(shouted), Some(slot("11:00").time));
    assert_eq!(own(twice[0]), None, "another stands beside it");
    cancel(&maria, twice[1]).await;
    let by_name = AppointmentRef::StrongId("APT-2031-000001".to_owned());
    eventually("it is alone", SOON, async || house.picture.own_booking(room(7), &by_name)).await;
}

#[tokio::test]
async fn a_room_with_subscribers_is_watched_without_being_asked_for() {
    let maria = site().await;
    let house = open(None, &maria, OFTEN).await;
    house.heard.go_live(room(7));
    book(&maria, slot("10:00")).await;
    shows_booked(&house, room(7), &["10:00"]).await;
    assert!(house.heard.changes(room(7)) > 0);
}

#[tokio::test]
async fn many_rooms_are_looked_at_at_once() {
    let maria = site().await;
    for number in [3, 40, 200] {
        book(&maria, slot_in(number, "10:00")).await;
    }
    let house = open(None, &maria, NEVER).await;
    let looks = (1..=200).map(|number| house.look_at(room(number)));
    for looked in futures::future::join_all(looks).await {
        looked.expect("it can be read");
    }
    let with_bookings: Vec<u64> =
        (1..=200).filter(|number| !booked(&house, room(*number)).is_empty()).collect();
    assert_eq!(with_bookings, [3, 40, 200]);
}

#[tokio::test]
async fn of_ever_more_rooms_so_many_are_kept_and_the_others_are_read_for_each_look() {
    const MOST: usize = 10_000;
    let (maria, redis) = (site().await, RedisServer::start().await);
    // A statement that names all these rooms does not go through.
    maria.run("SET GLOBAL max_allowed_packet = 65536").await;
    let house = open(Some(&redis), &maria, std::time::Duration::from_millis(500)).await;
    let employees: Vec<u64> = (8_000_000..).take(MOST + 200).collect();
    for employees in employees.chunks(600) {
        let looks = employees.iter().map(|number| house.look_at(room(*number)));
        futures::future::try_join_all(looks).await.expect("they can be read");
    }
    let watched = employees.iter().filter(|number| house.bookings.is_watched(room(**number))).count();
    assert_eq!(watched, MOST);
    let cached = async || redis.run::<Vec<String>>(&["KEYS", "appointease_avail_*"]).await.len();
    eventually("all of these are cached", SOON, async || (cached().await == MOST).then_some(())).await;

    let (first, last) = (slot_in(employees[0], "10:00"), slot_in(employees[MOST + 199], "10:00"));
    book(&maria, last).await;
    for _ in 0..2 {
        assert_eq!(house.bookings.known_availability(last.room).await, None);
        let read = house.bookings.read_availability(last.room).await.expect("it can be read");
        assert_eq!((read.booked.as_slice(), read.cached), ([last.time].as_slice(), false));
    }
    let look = house.bookings.look_at(last.room).await.expect("it can be read");
    assert_eq!(booked(&house, last.room), ["10:00"]);
    drop(look);
    assert_eq!(booked(&house, last.room), [""; 0]);
    // The last subscriber is gone, and the room not yet forgotten.
    house.heard.go_live(last.room);
    drop(house.bookings.look_at(last.room).await.expect("it can be read"));
    assert_eq!(booked(&house, last.room), ["10:00"]);
    house.heard.go_quiet();
    if let Some(known) = house.bookings.known_availability(last.room).await {
        assert_eq!(known.booked.as_slice(), [last.time]);
    }
    assert_eq!(cached().await, MOST);
    book(&maria, first).await;
    shows_booked(&house, first.room, &["10:00"]).await;
}

#[tokio::test]
async fn a_site_without_appointments_has_none_until_it_has() {
    let maria = support::MariaDb::start().await;
    maria.wordpress_options().await;
    let house = open(None, &maria, OFTEN).await;
    house.look_at(room(7)).await.expect("there is nothing to read");
    maria.appointments().await;
    book(&maria, slot("10:00")).await;
    shows_booked(&house, room(7), &["10:00"]).await;
}

#[tokio::test]
async fn while_the_database_is_away_what_is_known_stays_and_looks_say_so() {
    let (mut maria, redis) = (site().await, RedisServer::start().await);
    book(&maria, slot("10:00")).await;
    let house = open(Some(&redis), &maria, OFTEN).await;
    house.look_at(room(7)).await.expect("it can be read");
    maria.kill().await;
    eventually("a look says so", SOON, async || house.look_at(room(7)).await.err()).await;
    house.look_at(room(8)).await.expect_err("nor is the next room read");
    assert_eq!(booked(&house, room(7)), ["10:00"]);
    maria.restart().await;
    book(&maria, slot("11:00")).await;
    shows_booked(&house, room(7), &["10:00", "11:00"]).await;
    eventually("looks are well", SOON, async || house.look_at(room(8)).await.ok()).await;
    house.look_at(room(7)).await.expect("it can be read");
}

#[tokio::test]
async fn a_frozen_database_holds_nobody_up_for_long() {
    let (maria, redis) = (site().await, RedisServer::start().await);
    let mut patient = config(Some(&redis), &maria, OFTEN);
    if let Some(mysql) = &mut patient.mysql {
        mysql.command_timeout = std::time::Duration::from_millis(300);
    }
    let house = House::with(patient);
    house.ready().await;
    house.look_at(room(7)).await.expect("it can be read");
    maria.freeze();
    house.look_at(room(8)).await.expect_err("nobody answers");
    eventually("looks at known rooms say so too", SOON, async || house.look_at(room(7)).await.err()).await;
    maria.thaw();
    eventually("looks are well", SOON, async || house.look_at(room(8)).await.ok()).await;
}

#[tokio::test]
async fn what_is_booked_here_is_never_unseen_again_by_an_older_reading() {
    let maria = site().await;
    let house = open(None, &maria, std::time::Duration::from_millis(1)).await;
    house.look_at(room(7)).await.expect("it can be read");
    for minute in 0..40 {
        let slot = slot(&format!("10:{minute:02}"));
        let booked = async || house.picture.is_booked(slot);
        house.confirm_with(slot, "ann", &format!("k{minute}")).await.expect("free");
        assert!(booked().await);
        holds_for("it stays booked", std::time::Duration::from_millis(30), booked).await;
    }
}
