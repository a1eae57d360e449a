//! What the log tells.

use support::holds_for;

use super::{RIGHT, ROWS, book, booking, followed_by, following, shows_booked, site, site_with};
use crate::house::{room, slot, slot_in};

const TABLE: &str = "wp_appointease_appointments";

#[tokio::test]
async fn whatever_anybody_does_to_an_appointment_is_seen() {
    let maria = site().await;
    let house = following(&maria, &[room(7), room(8)]).await;
    book(&maria, slot("10:00")).await;
    shows_booked(&house, room(7), &["10:00"]).await;
    maria.run(&format!("UPDATE {TABLE} SET appointment_date = '2031-03-09 11:00:00'")).await;
    shows_booked(&house, room(7), &["11:00"]).await;
    maria.run(&format!("UPDATE {TABLE} SET employee_id = 8")).await;
    shows_booked(&house, room(7), &[]).await;
    shows_booked(&house, room(8), &["11:00"]).await;
    maria.run(&format!("UPDATE {TABLE} SET status = 'cancelled'")).await;
    shows_booked(&house, room(8), &[]).await;
    maria.run(&format!("UPDATE {TABLE} SET status = 'confirmed'")).await;
    shows_booked(&house, room(8), &["11:00"]).await;
    maria.run(&format!("DELETE FROM {TABLE}")).await;
    shows_booked(&house, room(8), &[]).await;
    let both = [booking(slot("09:00")), booking(slot_in(8, "09:30"))].join("; ");
    maria.run(&format!("BEGIN; {both}; COMMIT")).await;
    shows_booked(&house, room(7), &["09:00"]).await;
    shows_booked(&house, room(8), &["09:30"]).await;
    maria.run(&format!("BEGIN; {}; ROLLBACK; TRUNCATE {TABLE}", booking(slot("12:00")))).await;
    shows_booked(&house, room(7), &[]).await;
    shows_booked(&house, room(8), &[]).await;
}

#[tokio::test]
async fn the_log_goes_on_over_files_and_changes_of_the_table() {
    let maria = site().await;
    let house = following(&maria, &[room(7)]).await;
    maria.run("FLUSH LOGS; FLUSH LOGS; PURGE BINARY LOGS BEFORE NOW()").await;
    book(&maria, slot("10:00")).await;
    shows_booked(&house, room(7), &["10:00"]).await;
    // All columns stand elsewhere now, one is not in the rows, one is seen by nobody.
    maria
        .run(&format!(
            "ALTER TABLE {TABLE} ADD COLUMN first INT FIRST, \
             ADD COLUMN live TINYINT AS (IF(status = 'confirmed', 1, NULL)) VIRTUAL INVISIBLE, \
             ADD UNIQUE KEY one (employee_id, appointment_date, live), ADD UNIQUE KEY long_one (notes)"
        ))
        .await;
    book(&maria, slot("11:00")).await;
    shows_booked(&house, room(7), &["10:00", "11:00"]).await;
    maria.run(&format!("RENAME TABLE {TABLE} TO away")).await;
    shows_booked(&house, room(7), &[]).await;
    maria.run(&format!("RENAME TABLE away TO {TABLE}")).await;
    shows_booked(&house, room(7), &["10:00", "11:00"]).await;
}

#[tokio::test]
async fn it_is_understood_however_much_of_a_row_is_in_it() {
    for more in ["--binlog-row-image=MINIMAL", "--binlog-row-metadata=FULL", "--log-bin-compress=ON"] {
        let maria = site_with(&[&ROWS[..], &[more]].concat()).await;
        maria.run(RIGHT).await;
        let house = following(&maria, &[room(7)]).await;
        book(&maria, slot("10:00")).await;
        shows_booked(&house, room(7), &["10:00"]).await;
        maria.run(&format!("UPDATE {TABLE} SET status = 'cancelled', notes = REPEAT('long', 1000)")).await;
        shows_booked(&house, room(7), &[]).await;
        maria.run(&format!("UPDATE {TABLE} SET status = 'confirmed'")).await;
        shows_booked(&house, room(7), &["10:00"]).await;
        maria.run(&format!("DELETE FROM {TABLE}")).await;
        shows_booked(&house, room(7), &[]).await;
    }
}

#[tokio::test]
async fn statements_of_a_session_that_logs_no_rows_are_seen_too() {
    let maria = site().await;
    let house = following(&maria, &[room(7)]).await;
    maria.run(&format!("SET SESSION binlog_format = 'STATEMENT'; {}", booking(slot("10:00")))).await;
    shows_booked(&house, room(7), &["10:00"]).await;
    followed_by(&house, "binlog", "null").await;
}

#[tokio::test]
async fn two_gateways_follow_one_log() {
    let maria = site().await;
    let (here, there) = (following(&maria, &[room(7)]).await, following(&maria, &[room(7)]).await);
    let readers = maria.query::<String>("SELECT command FROM information_schema.processlist").await;
    assert_eq!(readers.iter().filter(|command| *command == "Binlog Dump").count(), 2, "{readers:?}");
    book(&maria, slot("10:00")).await;
    shows_booked(&here, room(7), &["10:00"]).await;
    shows_booked(&there, room(7), &["10:00"]).await;
    here.confirm(slot("11:00"), "ann").await.expect("free");
    shows_booked(&there, room(7), &["10:00", "11:00"]).await;
    followed_by(&here, "binlog", "null").await;
    followed_by(&there, "binlog", "null").await;
}

#[tokio::test]
async fn big_transactions_of_others_and_their_tables_do_no_harm() {
    let maria = site().await;
    let house = following(&maria, &[room(7)]).await;
    maria
        .run(
            "CREATE DATABASE other; CREATE TABLE other.wp_appointease_appointments (a INT); \
             CREATE TABLE big (a LONGTEXT); \
             INSERT INTO other.wp_appointease_appointments VALUES (1); \
             INSERT INTO big SELECT REPEAT('x', 1000000) FROM seq_1_to_50",
        )
        .await;
    book(&maria, slot("10:00")).await;
    shows_booked(&house, room(7), &["10:00"]).await;
    let still = async || house.store.health()["mysql"]["bookings"]["followed_by"] == "binlog";
    // Longer than it takes until the next proof.
    holds_for("it is followed", std::time::Duration::from_secs(12), still).await;
}

#[tokio::test]
async fn a_proof_leaves_no_row() {
    let maria = site().await;
    let _house = following(&maria, &[]).await;
    assert_eq!(maria.query::<u64>("SELECT COUNT(*) FROM wp_appointease_idempotency").await, [0]);
}
