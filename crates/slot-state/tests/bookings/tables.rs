//! Bookings in the tables that sites have, and against the transactions of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use mysql_async::prelude::Queryable;
use slot_state::{BookError, BookRefusal, HoldError, NewBooking, Refusal, StoreError};
use support::{MariaDb, eventually};

use super::{APPOINTMENTS, Site};
use crate::house::{House, LONG, SOON, book_refusal, new_booking, refusal, slot};

const SPARSE: &str = include_str!("../../../../tests/peers/appointments_sparse.sql");
const DEMANDING: &str = include_str!("../../../../tests/peers/appointments_demanding.sql");

async fn on(appointments: &str) -> (Site, House) {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.run(appointments).await;
    let site = Site { redis: None, maria };
    let house = site.house(LONG).await;
    (site, house)
}

/// With every field filled.
fn full(time: &str) -> NewBooking {
    let mut ask = new_booking(slot(time), "ann", "k");
    ask.customer.name = "Änn O'Neil".to_owned();
    ask.customer.phone = Some("+1 555 0100".to_owned());
    ask.customer.notes = Some("by the window".to_owned());
    NewBooking { service_id: Some(4), ..ask }
}

/// The fields that were refused.
fn fields(refusal: BookRefusal) -> BTreeMap<&'static str, String> {
    match refusal {
        BookRefusal::Invalid(fields) => fields,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_is_a_row_as_the_plugin_would_write_it_and_one_for_the_outbox() {
    let site = Site::on_mysql().await;
    let house = site.house(LONG).await;
    let booking = house.store.confirm(full("10:00")).await.expect("booked");
    type Row = (u64, String, String, String, String, String, u32, u32, String, String, String);
    let rows: Vec<Row> = site
        .maria
        .query(&format!(
            "SELECT id, name, email, phone, CAST(appointment_date AS CHAR), status, service_id, employee_id, \
             notes, strong_id, idempotency_key FROM {APPOINTMENTS} WHERE created_at > NOW() - INTERVAL 1 MINUTE \
             AND created_at <= NOW()"
        ))
        .await;
    let text = str::to_owned;
    let (id, strong_id) = (booking.appointment_id, booking.strong_id);
    let row = (
        id,
        text("Änn O'Neil"),
        text("ann@example.com"),
        text("+1 555 0100"),
        text("2031-03-09 10:00:00"),
        text("confirmed"),
        4,
        7,
        text("by the window"),
        strong_id.clone(),
        text("k"),
    );
    assert_eq!(rows, [row]);
    let outbox: Vec<(u64, String, u32)> =
        site.maria.query("SELECT appointment_id, payload, attempts FROM wp_appointease_outbox").await;
    let [(told, payload, 0)] = &outbox[..] else { panic!("{outbox:?}") };
    let payload: serde_json::Value = serde_json::from_str(payload).expect("JSON");
    assert_eq!((*told, &payload["strong_id"]), (id, &serde_json::json!(strong_id)));
    assert!(!payload.to_string().contains("ann"), "{payload}");
    let keys: Vec<(String, u64)> =
        site.maria.query("SELECT client_id, appointment_id FROM wp_appointease_idempotency").await;
    assert_eq!(keys, [("ann".to_owned(), id)]);
    assert_eq!(site.maria.query::<u64>("SELECT COUNT(*) FROM wp_appointease_slot_locks").await, [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_with_few_columns_takes_bookings_and_one_that_must_be_filled_too() {
    for appointments in [SPARSE, DEMANDING] {
        let (site, house) = on(appointments).await;
        let mut ask = full("10:00");
        ask.customer.name = "Ann".to_owned();
        let booking = house.store.confirm(ask).await.expect("booked");
        assert!(booking.strong_id.starts_with("APT-"));
        house.confirm(slot("11:00"), "bob").await.expect("booked with nothing but the necessary");
        // The key is another client's too, which a unique column may not take.
        assert_eq!(book_refusal(house.confirm(slot("11:00"), "cid").await), BookRefusal::SlotBooked);
        if appointments == DEMANDING {
            let keys = format!("SELECT COALESCE(idempotency_key, '') FROM {APPOINTMENTS} ORDER BY id");
            assert_eq!(site.maria.query::<String>(&keys).await, ["k", ""]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_column_cannot_hold_is_named_field_by_field() {
    let (_site, house) = on(SPARSE).await;
    let mut ask = full("10:00");
    ask.customer.name = "x".repeat(31);
    ask.customer.email = format!("{}@example.com", "x".repeat(30));
    let wrong = fields(book_refusal(house.store.confirm(ask.clone()).await));
    assert_eq!(wrong["name"], "must be at most 30 characters");
    assert_eq!(wrong["email"], "must be at most 40 characters");
    assert_eq!(wrong.len(), 2, "what has no column is not asked for: {wrong:?}");
    ask.customer.email = "ann@example.com".to_owned();
    ask.customer.name = "Ann \u{1f600}".to_owned();
    let wrong = fields(book_refusal(house.store.confirm(ask.clone()).await));
    assert_eq!(wrong["name"], "has characters in it that this site cannot store");
    ask.customer.name = "ü".repeat(30);
    house.store.confirm(ask).await.expect("characters are counted, not bytes");

    let (_site, house) = on(DEMANDING).await;
    let mut ask = full("10:00");
    ask.customer.notes = Some("Ж".to_owned());
    let wrong = fields(book_refusal(house.store.confirm(ask.clone()).await));
    assert_eq!(wrong.keys().copied().collect::<Vec<_>>(), ["notes"], "latin1 has no Ж");
    ask.customer.notes = None;
    let far = NewBooking { service_id: Some(256), ..ask.clone() };
    let wrong = fields(book_refusal(house.store.confirm(far).await));
    assert_eq!(wrong["service_id"], "is not a service of this site");
    house.store.confirm(ask).await.expect("booked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_text_holds_so_many_bytes_whatever_its_letters() {
    let site = Site::on_mysql().await;
    site.maria.run(&format!("ALTER TABLE {APPOINTMENTS} MODIFY notes tinytext")).await;
    let house = site.house(LONG).await;
    let mut ask = full("10:00");
    ask.customer.notes = Some("ü".repeat(128));
    let wrong = fields(book_refusal(house.store.confirm(ask.clone()).await));
    assert_eq!(wrong["notes"], "must be at most 255 bytes");
    ask.customer.notes = Some("ü".repeat(127));
    house.store.confirm(ask).await.expect("booked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_key_of_the_sites_own_is_no_booking_of_the_slot() {
    let site = Site::on_mysql().await;
    let house = site.house(LONG).await;
    house.confirm(slot("10:00"), "ann").await.expect("booked");
    site.maria.run(&format!("ALTER TABLE {APPOINTMENTS} ADD UNIQUE KEY mail (email)")).await;
    let twice = house.confirm_with(slot("11:00"), "ann", "k2").await;
    assert!(matches!(twice, Err(BookError::Store(StoreError::Refusing(_)))), "{twice:?}");
    let counted = house.heard.count(|seen| matches!(seen, slot_state::Observation::BookingFailed(1062)));
    assert_eq!(counted, 1);
    // With one that lets no time be used twice, a cancelled appointment stands in the way: another time does.
    site.maria
        .run(&format!(
            "UPDATE {APPOINTMENTS} SET status = 'cancelled'; \
             ALTER TABLE {APPOINTMENTS} DROP KEY mail, ADD UNIQUE KEY once (employee_id, appointment_date)"
        ))
        .await;
    let taken = house.confirm_with(slot("10:00"), "bob", "k").await;
    assert_eq!(book_refusal(taken), BookRefusal::SlotBooked);
    house.confirm_with(slot("11:00"), "bob", "k").await.expect("booked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_table_bookings_are_refused_until_there_is_one_and_a_changed_one_is_looked_at_anew() {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    let site = Site { redis: None, maria };
    let house = site.house(LONG).await;
    let outcome = house.confirm(slot("10:00"), "ann").await;
    assert!(matches!(outcome, Err(BookError::Store(StoreError::Refusing(_)))), "{outcome:?}");
    house.lock(slot("10:00"), "ann").await.expect("locks go on");
    site.maria.appointments().await;
    house.confirm(slot("10:00"), "ann").await.expect("booked");
    for change in [
        "DROP COLUMN strong_id, DROP COLUMN notes",
        "ADD COLUMN area varchar(20) NOT NULL",
        "MODIFY name varchar(3) NOT NULL, ADD COLUMN notes text",
    ] {
        site.maria.run(&format!("ALTER TABLE {APPOINTMENTS} {change}")).await;
        let time = match change.len() % 3 {
            0 => "11:00",
            1 => "12:00",
            _ => "13:00",
        };
        let ask = NewBooking { key: time.parse().expect("a key"), ..full(time) };
        let mut ask = NewBooking { slot: slot(time), ..ask };
        ask.customer.name = "Ann".to_owned();
        house.store.confirm(ask).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
    }
    let too_long = house.confirm(slot("14:00"), "anna").await;
    assert_eq!(fields(book_refusal(too_long)).keys().copied().collect::<Vec<_>>(), ["name"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_booked_is_neither_locked_nor_booked_though_nobody_has_seen_it_yet() {
    for site in [Site::with_redis().await, Site::on_mysql().await] {
        let house = site.house(LONG).await;
        house.lock(slot("11:00"), "ann").await.expect("granted");
        for (time, seconds) in [("10:00", "00"), ("11:00", "00"), ("12:00", "59")] {
            site.maria
                .run(&format!(
                    "INSERT INTO {APPOINTMENTS} (name, email, appointment_date, employee_id, status) \
                     VALUES ('P', 'p@example.com', '2031-03-09 {time}:{seconds}', 7, 'created')"
                ))
                .await;
            assert_eq!(refusal(house.lock(slot(time), "ann").await), Refusal::SlotBooked, "{time}");
            let key = time.parse().expect("a key");
            let ask = NewBooking { key, ..new_booking(slot(time), "ann", "k") };
            assert_eq!(book_refusal(house.store.confirm(ask).await), BookRefusal::SlotBooked, "{time}");
        }
        site.maria.run(&format!("UPDATE {APPOINTMENTS} SET status = 'cancelled'")).await;
        house.confirm(slot("10:00"), "ann").await.expect("free again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_table_of_locks_lets_two_have_one_slot_nobody_gets_it() {
    for site in [Site::with_redis().await, Site::on_mysql().await] {
        drop(site.house(LONG).await);
        let locks = "wp_appointease_slot_locks";
        let twice = "('2031-03-01', '10:00', 7, 'x', '2031-03-01')";
        site.maria
            .run(&format!(
                "ALTER TABLE {locks} DROP KEY slotcast_slot, ADD KEY (`date`, `time`); \
                 INSERT INTO {locks} (`date`, `time`, employee_id, client_id, expires_at) VALUES {twice}, {twice}"
            ))
            .await;
        let house = site.house(LONG).await;
        for ask in ["10:00", "11:00"] {
            let refused = house.lock(slot(ask), "ann").await;
            assert!(matches!(refused, Err(HoldError::Store(_))), "{refused:?}");
            let refused = house.confirm(slot(ask), "ann").await;
            assert!(matches!(refused, Err(BookError::Store(_))), "{refused:?}");
        }
        house.select(slot("10:00"), "ann").await.expect("selections go on");
        let storage = *house.store.storage().borrow();
        assert!(storage.writable, "the store is well otherwise");
        let lack = house.store.health()["mysql"]["tables_lack"].to_string();
        assert!(lack.contains("several locks of one slot"), "{lack}");
        site.maria.run(&format!("DELETE FROM {locks}")).await;
        let mended = site.house(LONG).await;
        mended.lock(slot("10:00"), "ann").await.expect("granted");
    }
}

/// Waits until a transaction of ours waits for another's.
async fn waits(maria: &MariaDb) {
    let sql = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
    eventually("a transaction waits", SOON, async || {
        let waits: Vec<(String, u64)> = maria.query(sql).await;
        (waits[0].1 == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_that_a_deadlock_undid_is_made_again() {
    let site = Site::with_redis().await;
    let house = Arc::new(site.house(LONG).await);
    // Has changed more, so that it is not the one that is undone.
    site.maria.run("CREATE TABLE weight (id int) ENGINE=InnoDB").await;
    let mut other = site.maria.root_connection().await;
    other.query_drop("BEGIN").await.unwrap();
    other.query_drop("INSERT INTO weight SELECT seq FROM seq_1_to_500").await.unwrap();
    other.query_drop("SELECT * FROM wp_appointease_outbox FOR UPDATE").await.unwrap();
    let confirming = tokio::spawn({
        let house = house.clone();
        async move { house.confirm(slot("10:00"), "ann").await }
    });
    waits(&site.maria).await;
    other.query_drop(format!("SELECT * FROM {APPOINTMENTS} FOR UPDATE")).await.unwrap();
    other.query_drop("COMMIT").await.unwrap();
    let booking = confirming.await.unwrap().expect("booked");
    assert_eq!(site.live(slot("10:00")).await, [booking.appointment_id]);
    let deadlocks: Vec<(String, u64)> = site.maria.query("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").await;
    assert_eq!(deadlocks[0].1, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guard_who_looked_before_us_and_writes_after_us_is_noticed() {
    let site = Site::with_redis().await;
    let house = Arc::new(site.house(LONG).await);
    let mut php = site.maria.root_connection().await;
    php.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    php.query_drop("BEGIN").await.unwrap();
    let looks = format!(
        "SELECT id FROM {APPOINTMENTS} WHERE employee_id = 7 AND appointment_date = '2031-03-09 10:00:00' FOR UPDATE"
    );
    php.query_drop(looks).await.unwrap();
    let confirming = tokio::spawn({
        let house = house.clone();
        async move { house.confirm(slot("10:00"), "ann").await }
    });
    waits(&site.maria).await;
    let books = format!(
        "INSERT INTO {APPOINTMENTS} (name, email, appointment_date, employee_id) \
         VALUES ('P', 'p@example.com', '2031-03-09 10:00:00', 7)"
    );
    php.query_drop(books).await.unwrap();
    php.query_drop("COMMIT").await.unwrap();
    assert_eq!(book_refusal(confirming.await.unwrap()), BookRefusal::SlotBooked);
    assert_eq!(site.live(slot("10:00")).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_table_that_somebody_changed_is_no_reason_for_another_store_to_step_in() {
    for site in [Site::with_redis().await, Site::on_mysql().await] {
        let house = site.house(LONG).await;
        let before = *house.store.storage().borrow();
        site.maria.run("ALTER TABLE wp_appointease_slot_locks ADD COLUMN area varchar(20) NOT NULL").await;
        let refused = house.lock(slot("10:00"), "ann").await;
        let Err(HoldError::Store(StoreError::Strange(why))) = refused else { panic!("{refused:?}") };
        assert!(why.contains("1364") && why.contains("area"), "{why}");
        assert_eq!(*house.store.storage().borrow(), before);
        house.select(slot("11:00"), "bob").await.expect("granted");
        site.maria.run("ALTER TABLE wp_appointease_slot_locks DROP COLUMN area").await;
        house.lock(slot("10:00"), "ann").await.expect("granted");
    }
}
