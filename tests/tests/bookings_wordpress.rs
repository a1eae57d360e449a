//! Appointments that real WordPress code writes, as the plugin does, and what it finds of those made here.

use std::time::Duration;

use serde_json::{Value, json};
use support::{Gateway, GatewayBuilder, LegacyPage, MariaDb, Page, RedisServer, Room, WordPress};

const TABLE: &str = "$wpdb->prefix . 'appointease_appointments'";
/// Rather than wait for a sweep, a test would fail.
const NEVER_MS: u64 = 60_000;

async fn site() -> (MariaDb, WordPress) {
    let maria = MariaDb::start().await;
    let wordpress = WordPress::on(&maria).await;
    maria.appointments().await;
    (maria, wordpress)
}

async fn serve(maria: &MariaDb, builder: GatewayBuilder) -> Gateway {
    let gateway = builder.with("mysql.url", maria.url()).start().await;
    gateway.eventually_well_with_mysql().await;
    gateway
}

/// Books as the plugin does; the row's number.
async fn book(wordpress: &WordPress, room: &Room, time: &str) -> String {
    let code = format!(
        "$wpdb->insert({TABLE}, ['name' => 'Somebody', 'email' => 'somebody@example.com', \
         'appointment_date' => $args[0], 'status' => 'confirmed', 'service_id' => 1, 'employee_id' => (int) $args[1], \
         'strong_id' => uniqid('AE')]); echo $wpdb->insert_id;"
    );
    let begins = format!("{} {time}:00", room.date);
    wordpress.eval(&code, &[&begins, &room.employee_id.to_string()]).await
}

/// `$wpdb->update` of a row.
async fn update(wordpress: &WordPress, id: &str, column: &str, value: &str) {
    let code = format!("echo $wpdb->update({TABLE}, [$args[1] => $args[2]], ['id' => (int) $args[0]]);");
    assert_eq!(wordpress.eval(&code, &[id, column, value]).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_wordpress_books_moves_and_cancels_reaches_a_browser() {
    let (maria, wordpress) = site().await;
    let gateway = serve(&maria, Gateway::builder().with("mysql.sweep_ms", 200)).await;
    let room = Room::tomorrow_of(3);
    let page = Page::watching(&gateway, "alice", &room).await;
    page.select(&room, "10:00").await.assert_ok("selected");

    let id = book(&wordpress, &room, "10:00").await;
    page.eventually_booked(&room, &["10:00"]).await;
    assert_eq!(page.eventually_released(&room, "10:00").await, ("selection".into(), "booked".into()));
    page.confirm(&room, "10:00", "a").await.assert_error("slot_booked");

    let other = book(&wordpress, &room, "11:30").await;
    page.eventually_booked(&room, &["10:00", "11:30"]).await;
    update(&wordpress, &id, "appointment_date", &format!("{} 12:00:00", room.date)).await;
    page.eventually_booked(&room, &["11:30", "12:00"]).await;
    update(&wordpress, &id, "status", "cancelled").await;
    page.eventually_booked(&room, &["11:30"]).await;
    update(&wordpress, &id, "status", "created").await;
    page.eventually_booked(&room, &["11:30", "12:00"]).await;
    let delete = format!("echo $wpdb->delete({TABLE}, ['id' => (int) $args[0]]);");
    assert_eq!(wordpress.eval(&delete, &[&other]).await, "1");
    page.eventually_booked(&room, &["12:00"]).await;
    update(&wordpress, &id, "employee_id", "4").await;
    page.eventually_booked(&room, &[]).await;
    page.confirm(&room, "10:00", "b").await.assert_ok("confirmed");
    page.assert_never_heard("somebody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_in_redis_spares_the_wait_for_a_sweep() {
    let (maria, wordpress) = site().await;
    let redis = RedisServer::start().await;
    let builder = Gateway::builder().redis_at(&redis.url()).with("mysql.sweep_ms", NEVER_MS);
    let gateway = serve(&maria, builder).await;
    let room = Room::tomorrow_of(3);
    let page = Page::watching(&gateway, "alice", &room).await;
    let mut php = redis.php().await;
    let channel = format!("appointease:slots:{}:3", room.date);
    let word = json!({"action": "booked", "time": "10:00"}).to_string();

    let id = book(&wordpress, &room, "10:00").await;
    redis.run::<u64>(&["PUBLISH", &channel, &word]).await;
    page.eventually_booked(&room, &["10:00"]).await;

    // The plugin's own page selects, books, and removes its selection.
    php.select(&room, "11:00", "wp_1").await;
    page.eventually_active(&room, &["11:00"]).await;
    book(&wordpress, &room, "11:00").await;
    php.delete(&room, "11:00").await;
    let view = page.eventually_shows(&room, "both booked", |view| view.booked.len() == 2).await;
    assert!(view.active.is_empty() && view.booked.contains("11:00"), "{view:?}");

    update(&wordpress, &id, "status", "cancelled").await;
    redis.run::<u64>(&["PUBLISH", &channel, "no JSON, and of no matter"]).await;
    page.eventually_booked(&room, &["11:00"]).await;
    page.confirm(&room, "10:00", "a").await.assert_ok("confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn wordpress_reads_a_booking_made_here_as_one_of_its_own() {
    let (maria, wordpress) = site().await;
    // It is never the same hour there as in UTC, and mostly not the same day.
    wordpress.eval("update_option('timezone_string', 'Pacific/Kiritimati');", &[]).await;
    let gateway = serve(&maria, Gateway::builder().with("mysql.sweep_ms", 200)).await;
    let room = Room::in_days_of(3, 3);
    let page = Page::watching(&gateway, "alice", &room).await;
    let mut frame = room.confirm_frame("10:00", "a");
    frame["name"] = json!("Zoë O'Brien-\u{1f600} \\ \"%s\" <b>");
    frame["notes"] = json!("first line\nsecond; DROP TABLE x; -- %d\t…");
    let booked = page.ask(frame.clone()).await.assert_ok("confirmed");
    let read = format!(
        "echo json_encode($wpdb->get_row($wpdb->prepare('SELECT *, ABS(TIMESTAMPDIFF(SECOND, created_at, NOW())) AS age, \
         %s AS year FROM ' . {TABLE} . ' WHERE id = %d', wp_date('Y'), $args[0])));"
    );
    let id = booked.number("appointment_id").to_string();
    let row: Value = serde_json::from_str(&wordpress.eval(&read, &[&id]).await).expect("a row");
    for column in ["name", "email", "phone", "notes"] {
        assert_eq!(row[column], frame[column], "{row}");
    }
    assert_eq!(row["appointment_date"], format!("{} 10:00:00", room.date));
    assert_eq!((&row["status"], &row["employee_id"]), (&json!("confirmed"), &json!("3")));
    assert_eq!(row["strong_id"], booked.0["strong_id"]);
    let year = row["year"].as_str().expect("a year");
    assert!(booked.text("strong_id").starts_with(&format!("APT-{year}-")), "{row}");
    let age: u64 = row["age"].as_str().expect("an age").parse().expect("seconds");
    assert!(age < Duration::from_secs(60).as_secs(), "by the clock of PHP's sessions: {row}");

    // PHP's own look before it books, and what it makes of the answer.
    let taken = format!(
        "echo $wpdb->get_var($wpdb->prepare('SELECT COUNT(*) FROM ' . {TABLE} . ' WHERE employee_id = %d AND \
         appointment_date = %s AND status IN (\\'confirmed\\', \\'created\\')', $args[0], $args[1]));"
    );
    let begins = format!("{} 10:00:00", room.date);
    assert_eq!(wordpress.eval(&taken, &["3", &begins]).await, "1");
    update(&wordpress, &id, "status", "cancelled").await;
    page.eventually_booked(&room, &[]).await;
    let rest = LegacyPage::of(&gateway);
    let answer = rest.rest_post("/availability", room.fields(&[])).await;
    assert_eq!(answer.json["unavailable"], json!([]), "{answer:?}");
}
