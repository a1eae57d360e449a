//! When the site is open, as WordPress' own code has written it.

use jiff::Timestamp;
use jiff::tz::{TimeZone, offset};
use slot_state::{Calendar, ClosedDay, EmployeeId, Room, parse_date};
use support::{MariaDb, WordPress, eventually};

use super::{OFTEN, config, open};
use crate::house::{House, SOON, room};

fn on(date: &str, employee: u64) -> Room {
    let (date, employee) = (parse_date(date), EmployeeId::new(employee));
    Room { date: date.expect("a date"), employee_id: employee.expect("an employee") }
}

fn times(house: &House, room: Room) -> Vec<String> {
    house.bookings.calendar().times(room).map(|time| time.to_string()).collect()
}

fn is_closed(house: &House, room: Room, time: &str) -> bool {
    house.bookings.calendar().is_closed(room.slot(time.parse().expect("a time")))
}

/// Whether the site's day is the day in this zone: a slot is past there or it is not.
fn is_in(calendar: &Calendar, zone: &TimeZone) -> bool {
    let now = Timestamp::now().to_zoned(zone.clone());
    let minute = |minutes: i64| {
        let at = &now + jiff::Span::new().minutes(minutes);
        let room = on(&at.date().to_string(), 7);
        calendar.is_past(room.slot(at.strftime("%H:%M").to_string().parse().expect("a time")))
    };
    minute(-2) && !minute(2)
}

#[tokio::test]
async fn wordpress_says_when_the_site_is_open_and_by_which_clock() {
    let maria = MariaDb::start().await;
    let wordpress = WordPress::on(&maria).await;
    wordpress
        .eval(
            "update_option('timezone_string', 'Pacific/Kiritimati');
             update_option('appointease_options', ['working_days' => ['monday', 'tuesday'],
                 'start_time' => '08:00', 'end_time' => '09:30', 'slot_duration' => 45, 'color' => 'red']);",
            &[],
        )
        .await;
    maria
        .run(
            "CREATE TABLE wp_appointease_blackout_dates (id int AUTO_INCREMENT PRIMARY KEY, start_date date, \
             end_date date, reason varchar(50), employee_id mediumint(9))",
        )
        .await;
    maria
        .run(
            "INSERT INTO wp_appointease_blackout_dates (start_date, end_date, employee_id) \
             VALUES ('2031-03-17', '2031-03-18', NULL), ('2031-03-24', '2031-03-24', 7)",
        )
        .await;
    let house = open(None, &maria, OFTEN).await;
    house.look_at(room(7)).await.expect("settings come before rooms");
    let (sunday, monday) = (on("2031-03-09", 7), on("2031-03-10", 7));
    let calendar = house.bookings.calendar();
    assert!(is_in(&calendar, &TimeZone::get("Pacific/Kiritimati").expect("a zone")));
    assert_eq!(calendar.closed_day(sunday), Some(ClosedDay::NonWorking));
    assert_eq!(calendar.closed_day(monday), None);
    for (room, closed) in [
        (on("2031-03-17", 7), true),
        (on("2031-03-18", 9), true),
        (on("2031-03-24", 7), true),
        (on("2031-03-24", 9), false),
    ] {
        assert_eq!(calendar.closed_day(room), closed.then_some(ClosedDay::Blackout), "{room:?}");
    }
    assert_eq!(times(&house, monday), ["08:00", "08:45"]);
    assert_eq!(times(&house, sunday), [""; 0]);
    for (time, closed) in [("07:59", true), ("08:00", false), ("09:29", false), ("09:30", true)] {
        assert_eq!(is_closed(&house, monday, time), closed, "{time}");
    }
    let availability = house.bookings.read_availability(sunday).await.expect("it can be read");
    assert_eq!(availability.closed, Some(ClosedDay::NonWorking));
}

#[tokio::test]
async fn without_settings_or_with_garbage_nothing_is_closed() {
    let maria = MariaDb::start().await;
    let wordpress = WordPress::on(&maria).await;
    wordpress.eval("update_option('appointease_options', 'O:8:\"stdClass\":0:{}');", &[]).await;
    wordpress.eval("update_option('gmt_offset', '-9.5'); update_option('timezone_string', '');", &[]).await;
    maria.run("CREATE TABLE wp_appointease_blackouts (day date)").await;
    let house = open(None, &maria, OFTEN).await;
    house.look_at(room(7)).await.expect("garbage is no error");
    assert!(!is_closed(&house, room(7), "23:59"));
    assert_eq!(house.bookings.calendar().closed_day(room(7)), None);
    assert_eq!(times(&house, room(7)), ["09:00", "09:30", "10:00", "10:30", "11:00", "11:30"]);
    let west = TimeZone::fixed(offset(-9).saturating_sub(jiff::SignedDuration::from_mins(30)));
    assert!(is_in(&house.bookings.calendar(), &west));
}

#[tokio::test]
async fn a_zone_that_is_configured_holds_whatever_the_site_says() {
    let maria = super::site().await;
    maria
        .run("INSERT INTO wp_options (option_name, option_value) VALUES ('timezone_string', 'Pacific/Kiritimati')")
        .await;
    let mut fixed = config(None, &maria, OFTEN);
    (fixed.fixed_zone, fixed.calendar) = (true, Calendar::always_open(TimeZone::UTC, fixed_grid()));
    let house = House::with(fixed);
    house.ready().await;
    eventually("settings are read", SOON, async || house.look_at(room(7)).await.ok()).await;
    assert!(is_in(&house.bookings.calendar(), &TimeZone::UTC));
}

#[tokio::test]
async fn a_table_that_may_not_be_read_holds_up_nothing() {
    let maria = super::site().await;
    maria.run("CREATE TABLE wp_appointease_blackouts (start_date date, end_date date)").await;
    maria.run("CREATE USER clerk@'%' IDENTIFIED BY 'clerk'").await;
    maria.run("CREATE USER clerk@localhost IDENTIFIED BY 'clerk'").await;
    let owner = open(None, &maria, OFTEN).await;
    for table in ["options", "appointease_appointments", "appointease_slot_locks", "appointease_storage"] {
        for host in ["%", "localhost"] {
            maria.run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON wp_{table} TO clerk@'{host}'")).await;
        }
    }
    drop(owner);
    let mut clerks = config(None, &maria, OFTEN);
    if let Some(mysql) = &mut clerks.mysql {
        mysql.url = maria.url_as("clerk", "clerk");
    }
    let house = House::with(clerks);
    super::book(&maria, room(7).slot("10:00".parse().expect("a time"))).await;
    eventually("the room is read", SOON, async || house.look_at(room(7)).await.ok()).await;
    super::shows_booked(&house, room(7), &["10:00"]).await;
}

fn fixed_grid() -> slot_state::Grid {
    let time = |text: &str| text.parse().expect("a time");
    slot_state::Grid { start: time("09:00"), end: time("17:00"), step: 30 }
}
