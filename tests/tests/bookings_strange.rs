//! Tables of appointments as nobody would want them, and what slotcast makes of them: what is booked is shown, whatever can
//! be booked is booked once, and what cannot is refused without harm to anything else.

use serde_json::json;
use support::{CUSTOMER_WORDS, Gateway, LegacyPage, MariaDb, PATIENCE, Page, Room, eventually};

const TABLE: &str = "wp_appointease_appointments";

/// A site whose table was changed by hand.
async fn site(change: &str) -> (MariaDb, Gateway) {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    maria.run(change).await;
    let gateway = Gateway::builder().with("mysql.url", maria.url()).with("mysql.sweep_ms", 200).start().await;
    gateway.eventually_ready().await;
    (maria, gateway)
}

/// Adds a row whose moment, employee and status stand in the statement as given.
async fn row(maria: &MariaDb, begins: &str, employee: &str, status: &str) {
    maria
        .run(&format!(
            "INSERT INTO {TABLE} (name, email, appointment_date, employee_id, status) \
             VALUES ('x', 'x@example.com', '{begins}', {employee}, {status})"
        ))
        .await;
}

#[tokio::test]
async fn without_transactions_nothing_is_booked_and_what_php_booked_is_seen() {
    let (maria, gateway) = site(&format!("ALTER TABLE {TABLE} ENGINE=MyISAM")).await;
    let room = Room::tomorrow_of(1);
    row(&maria, &format!("{} 10:00:00", room.date), "1", "'confirmed'").await;
    let page = Page::watching(&gateway, "alice", &room).await;
    page.eventually_booked(&room, &["10:00"]).await;
    page.select(&room, "10:00").await.assert_error("slot_booked");
    page.lock(&room, "10:00").await.assert_error("slot_booked");
    page.confirm(&room, "10:30", "k").await.assert_error("store_unavailable");
    page.lock(&room, "10:30").await.assert_ok("locked");
    maria.run(&format!("UPDATE {TABLE} SET status = 'cancelled'")).await;
    page.eventually_booked(&room, &[]).await;
    maria.run(&format!("ALTER TABLE {TABLE} ENGINE=InnoDB")).await;
    page.confirm(&room, "10:30", "k").await.assert_ok("confirmed");
}

#[tokio::test]
async fn seconds_statuses_and_employees_as_text_are_read_as_the_database_compares_them() {
    let (maria, gateway) =
        site(&format!("ALTER TABLE {TABLE} MODIFY employee_id varchar(20) NOT NULL")).await;
    let room = Room::tomorrow_of(1);
    for (time, employee, status) in [
        ("09:00:59", "'1'", "'confirmed'"),
        ("09:30:00", "'01'", "'created'"),
        ("10:00:00", "'1'", "'CONFIRMED'"),
        ("10:30:00", "'1'", "'confirmed '"),
        ("11:00:00", "'1'", "NULL"),
        ("11:30:00", "'1'", "'pending'"),
        ("12:00:00", "'11'", "'confirmed'"),
    ] {
        row(&maria, &format!("{} {time}", room.date), employee, status).await;
    }
    maria
        .run(&format!(
            "INSERT INTO {TABLE} (name, email, appointment_date, employee_id) VALUES ('x', 'x', 0, '1')"
        ))
        .await;
    let page = Page::watching(&gateway, "alice", &room).await;
    page.eventually_booked(&room, &["09:00", "09:30", "10:00", "10:30"]).await;
    for time in ["09:00", "09:30", "10:00", "10:30"] {
        page.confirm(&room, time, time).await.assert_error("slot_booked");
    }
    for time in ["11:00", "11:30", "12:00"] {
        page.confirm(&room, time, time).await.assert_ok("confirmed");
    }
}

#[tokio::test]
async fn a_trigger_that_refuses_harms_nothing_else() {
    let trigger = format!(
        "CREATE TRIGGER t BEFORE INSERT ON {TABLE} FOR EACH ROW \
         SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not today, Zebedee'"
    );
    let (maria, gateway) = site(&trigger).await;
    let room = Room::tomorrow_of(1);
    let page = Page::watching(&gateway, "alice", &room).await;
    page.lock(&room, "10:00").await.assert_ok("locked");
    for _ in 0..3 {
        page.confirm(&room, "10:00", "k").await.assert_error("store_unavailable");
    }
    assert_eq!(gateway.logs().eventually_event("booking_failed").await["code"], 1644);
    page.eventually_locked(&room, &["10:00"]).await;
    page.select(&room, "11:00").await.assert_ok("selected");
    gateway.eventually_ready().await;
    assert!(!gateway.logs().lines().iter().any(|line| line.contains("Zebedee")), "of a customer, perhaps");
    maria.run("DROP TRIGGER t").await;
    page.confirm(&room, "10:00", "k").await.assert_ok("confirmed");
    let count: Vec<u64> = maria.query(&format!("SELECT COUNT(*) FROM {TABLE}")).await;
    assert_eq!(count, [1]);
}

#[tokio::test]
async fn what_the_database_never_takes_is_logged_by_its_number_and_counted() {
    let (maria, gateway) = site(&format!("ALTER TABLE {TABLE} MODIFY strong_id varchar(10)")).await;
    let room = Room::tomorrow_of(1);
    let page = Page::watching(&gateway, "alice", &room).await;
    page.confirm(&room, "10:00", "k").await.assert_error("store_unavailable");
    let failed = gateway.logs().eventually_event("booking_failed").await;
    assert_eq!((&failed["code"], &failed["time"]), (&json!(1406), &json!("10:00")), "{failed}");
    assert_eq!(failed["reason"], "a value does not fit the column strong_id");

    // A customer who writes like a message of the database.
    maria
        .run(&format!(
            "ALTER TABLE {TABLE} MODIFY strong_id varchar(20); CREATE TABLE ages (age int) ENGINE=InnoDB; \
             CREATE TRIGGER t BEFORE INSERT ON {TABLE} FOR EACH ROW \
             INSERT INTO ages VALUES (CAST(NEW.name AS INTEGER))"
        ))
        .await;
    let mut frame = room.confirm_frame("10:00", "k2");
    frame["name"] = json!("Column Zebedee");
    page.ask(frame).await.assert_error("store_unavailable");
    eventually("both are logged", PATIENCE, async || {
        (gateway.log_events("booking_failed").len() == 2).then_some(())
    })
    .await;
    assert_eq!(gateway.log_events("booking_failed")[1]["code"], 1292);
    for word in CUSTOMER_WORDS {
        let said = |line: &String| line.to_lowercase().contains(&word.to_lowercase());
        assert!(!gateway.logs().lines().iter().any(said), "{word} is in the log");
    }
    let metrics = LegacyPage::of(&gateway).get("/metrics").await.body;
    for code in [1406, 1292] {
        let counted = format!("slotcast_bookings_failed_total{{code=\"{code}\"}} 1\n");
        assert!(metrics.contains(&counted), "{counted} is not in {metrics}");
    }
}

#[tokio::test]
async fn health_says_that_appointments_cannot_be_read_for_as_long_as_they_cannot() {
    let (maria, gateway) = site("DO 1").await;
    let operator = LegacyPage::of(&gateway);
    let unreadable = async || {
        operator.get("/health").await.json["stores"]["mysql"]["bookings"]["bookings_unreadable"].clone()
    };
    let room = Room::tomorrow_of(1);
    let _page = Page::watching(&gateway, "alice", &room).await;
    assert_eq!(unreadable().await, json!(null));
    maria.run(&format!("ALTER TABLE {TABLE} DROP COLUMN status")).await;
    eventually("it says which column is missing", PATIENCE, async || {
        unreadable().await.as_str().is_some_and(|why| why.contains("no column status")).then_some(())
    })
    .await;
    gateway.logs().eventually_event("bookings_unreadable").await;
    maria.run(&format!("ALTER TABLE {TABLE} ADD COLUMN status varchar(20) DEFAULT 'confirmed'")).await;
    eventually("it can read again", PATIENCE, async || unreadable().await.is_null().then_some(())).await;
}

#[tokio::test]
async fn two_bookings_of_one_slot_are_booked_until_both_are_gone() {
    let (maria, gateway) = site("DO 1").await;
    let room = Room::tomorrow_of(1);
    for _ in 0..2 {
        row(&maria, &format!("{} 10:00:00", room.date), "1", "'confirmed'").await;
    }
    let page = Page::watching(&gateway, "alice", &room).await;
    page.eventually_booked(&room, &["10:00"]).await;
    row(&maria, &format!("{} 11:00:00", room.date), "1", "'confirmed'").await;
    maria.run(&format!("DELETE FROM {TABLE} WHERE id = 1")).await;
    page.eventually_booked(&room, &["10:00", "11:00"]).await;
    let answer = LegacyPage::of(&gateway).rest_post("/appointments", room.booking("10:00", "k")).await;
    answer.assert_rest_error(409, "slot_taken");
    maria.run(&format!("DELETE FROM {TABLE} WHERE id = 2")).await;
    page.eventually_booked(&room, &["11:00"]).await;
    page.confirm(&room, "10:00", "k").await.assert_ok("confirmed");
}
