//! Appointments that somebody else writes into the database: PHP, an administrator, a script.

use serde_json::{Value, json};
use support::{Gateway, LegacyPage, MariaDb, Page, Room};

/// A site whose database others write into.
async fn site() -> (MariaDb, Gateway) {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    let gateway = serve(&maria).await;
    (maria, gateway)
}

async fn serve(maria: &MariaDb) -> Gateway {
    let gateway = Gateway::builder().with("mysql.url", maria.url()).with("mysql.sweep_ms", 200).start().await;
    gateway.eventually_ready().await;
    gateway
}

async fn book(maria: &MariaDb, room: &Room, time: &str, strong_id: &str) {
    maria
        .run(&format!(
            "INSERT INTO wp_appointease_appointments (name, email, appointment_date, employee_id, strong_id) \
             VALUES ('Somebody', 'somebody@example.com', '{} {time}:00', {}, '{strong_id}')",
            room.date, room.employee_id
        ))
        .await;
}

#[tokio::test]
async fn a_slot_that_somebody_else_books_is_taken_from_its_holder() {
    let (maria, gateway) = site().await;
    let room = Room::tomorrow_of(1);
    let page = Page::watching(&gateway, "alice", &room).await;
    page.select(&room, "10:00").await.assert_ok("selected");
    page.lock(&room, "11:00").await.assert_ok("locked");
    book(&maria, &room, "10:00", "A-1").await;
    book(&maria, &room, "11:00", "A-2").await;
    assert_eq!(page.eventually_released(&room, "10:00").await, ("selection".into(), "booked".into()));
    assert_eq!(page.eventually_released(&room, "11:00").await, ("lock".into(), "booked".into()));
    page.eventually_booked(&room, &["10:00", "11:00"]).await;
    for time in ["10:00", "11:00"] {
        page.select(&room, time).await.assert_error("slot_booked");
        page.lock(&room, time).await.assert_error("slot_booked");
        page.deselect(&room, time).await.assert_ok("deselected");
        page.unlock(&room, time).await.assert_error("lock_lost");
        page.confirm(&room, time, time).await.assert_error("slot_booked");
    }
    maria.run("UPDATE wp_appointease_appointments SET status = 'cancelled' WHERE strong_id = 'A-1'").await;
    page.eventually_booked(&room, &["11:00"]).await;
    page.confirm(&room, "10:00", "k").await.assert_ok("confirmed");
    page.eventually_booked(&room, &["10:00", "11:00"]).await;
}

#[tokio::test]
async fn an_appointment_that_is_moved_is_nowhere_booked_to_the_page_that_moves_it() {
    let (maria, gateway) = site().await;
    let room = Room::tomorrow_of(1);
    book(&maria, &room, "10:00", "APT-2026-000001").await;
    book(&maria, &room, "12:00", "APT-2026-000002").await;
    let other = Page::watching(&gateway, "other", &room).await;
    other.eventually_booked(&room, &["10:00", "12:00"]).await;
    let mover = Page::of(&gateway, "mover").await;
    let mut frame = room.frame("subscribe");
    frame["exclude_appointment_id"] = json!("APT-2026-000001");
    assert_eq!(mover.ask(frame).await.assert_kind("snapshot").0["own_booking"], "10:00");
    let moved = format!(
        "UPDATE wp_appointease_appointments SET appointment_date = '{} 14:00:00' WHERE id = 1",
        room.date
    );
    maria.run(&moved).await;
    other.eventually_booked(&room, &["12:00", "14:00"]).await;
    book(&maria, &room, "15:00", "APT-2026-000003").await;
    mover.eventually_booked(&room, &["12:00", "15:00"]).await;
    assert_eq!(mover.sync(&room).await.0["own_booking"], "14:00");
    for (_, frame) in mover.frames() {
        let frame: Value = serde_json::from_str(&frame).unwrap();
        let lists = [&frame["booked"], &frame["booked"]["add"]];
        let told = lists.iter().filter_map(|list| list.as_array()).flatten().any(|time| time == "14:00");
        assert!(!told, "{frame}");
    }
}

#[tokio::test]
async fn where_the_sites_settings_close_it_nothing_is_held_or_booked() {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    // Open from 10:00 to 12:00 on every day of the week, but for the day after tomorrow.
    maria
        .run(
            "INSERT INTO wp_options (option_name, option_value, autoload) VALUES ('appointease_options', \
             'a:4:{s:12:\"working_days\";a:7:{i:0;s:1:\"0\";i:1;s:1:\"1\";i:2;s:1:\"2\";i:3;s:1:\"3\";i:4;s:1:\"4\";i:5;s:1:\"5\";i:6;s:1:\"6\";}s:10:\"start_time\";s:5:\"10:00\";s:8:\"end_time\";s:5:\"12:00\";s:13:\"slot_duration\";i:60;}', 'yes')",
        )
        .await;
    let closed = Room::in_days_of(2, 1);
    maria.run("CREATE TABLE wp_appointease_blackout_dates (start_date DATE, end_date DATE)").await;
    maria.run(&format!("INSERT INTO wp_appointease_blackout_dates VALUES ('{0}', '{0}')", closed.date)).await;
    let gateway = serve(&maria).await;
    let open = Room::tomorrow_of(1);
    let page = Page::watching(&gateway, "alice", &open).await;
    for (room, time) in [(&open, "09:00"), (&open, "12:00"), (&closed, "10:00")] {
        page.select(room, time).await.assert_error("slot_closed");
        page.lock(room, time).await.assert_error("slot_closed");
        page.confirm(room, time, "k").await.assert_error("slot_closed");
        page.deselect(room, time).await.assert_ok("deselected");
    }
    let rest = LegacyPage::of(&gateway);
    rest.rest_post("/appointments", open.booking("09:00", "k")).await.assert_rest_error(409, "slot_closed");
    let day = page.ask(closed.frame("availability")).await.assert_kind("availability").0;
    assert_eq!((&day["unavailable"], &day["reason"]), (&json!("all"), &json!("blackout_date")), "{day}");
    let day = rest.rest_post("/availability", closed.fields(&[])).await;
    assert_eq!(day.json, json!({"unavailable": "all", "reason": "blackout_date"}));
    page.confirm(&open, "10:00", "k").await.assert_ok("confirmed");
    let taken =
        Page::of(&gateway, "bob").await.confirm(&open, "10:00", "k").await.assert_error("slot_booked");
    assert_eq!(taken.0["suggested"], json!(["11:00"]));
}
