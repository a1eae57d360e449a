//! Where the log cannot be relied on, bookings are swept, and the reason is said.

use std::time::Duration;

use support::{FaultProxy, MariaDb};

use super::{NEVER, RIGHT, ROWS, book, followed_by, following, open, shows_booked, site, site_with};
use crate::house::{room, slot};

/// As a site has it.
const SWEEP: Duration = Duration::from_millis(200);

/// Bookings are seen by the sweep, and the reason is told.
async fn is_swept(maria: &MariaDb, reason: &str) {
    let house = open(maria.url(), SWEEP).await;
    followed_by(&house, "sweep", reason).await;
    house.look_at(room(7)).await.expect("it can be read");
    book(maria, slot("10:00")).await;
    shows_booked(&house, room(7), &["10:00"]).await;
}

#[tokio::test]
async fn without_the_right() {
    is_swept(&site_with(&ROWS).await, "REPLICATION SLAVE").await;
}

#[tokio::test]
async fn without_a_log() {
    is_swept(&site_with(&[]).await, "log_bin").await;
}

#[tokio::test]
async fn where_the_log_has_statements() {
    let args = ["--log-bin=log", "--binlog-format=MIXED"];
    let maria = site_with(&args).await;
    maria.run(RIGHT).await;
    is_swept(&maria, "MIXED, not ROW").await;
}

#[tokio::test]
async fn where_the_log_leaves_this_database_out() {
    let maria = site_with(&[&ROWS[..], &["--binlog-ignore-db=site"]].concat()).await;
    maria.run(RIGHT).await;
    let house = open(maria.url(), SWEEP).await;
    house.look_at(room(7)).await.expect("it can be read");
    book(&maria, slot("10:00")).await;
    shows_booked(&house, room(7), &["10:00"]).await;
    // After as long as the first proof may take.
    followed_by(&house, "sweep", "did not come back").await;
}

#[tokio::test]
async fn a_format_that_changes_is_noticed() {
    let maria = site().await;
    let house = following(&maria, &[room(7)]).await;
    maria.run("SET GLOBAL binlog_format = 'STATEMENT'").await;
    followed_by(&house, "sweep", "STATEMENT, not ROW").await;
}

#[tokio::test]
async fn after_a_restart_of_the_server_it_is_followed_again_and_nothing_is_missed() {
    let mut maria = site().await;
    let house = following(&maria, &[room(7)]).await;
    maria.kill().await;
    followed_by(&house, "sweep", "").await;
    maria.restart().await;
    book(&maria, slot("10:00")).await;
    shows_booked(&house, room(7), &["10:00"]).await;
    followed_by(&house, "binlog", "null").await;
    book(&maria, slot("11:00")).await;
    shows_booked(&house, room(7), &["10:00", "11:00"]).await;
}

#[tokio::test]
async fn one_that_is_closed_is_opened_again_at_once() {
    let maria = site().await;
    let house = following(&maria, &[room(7)]).await;
    let ids = maria
        .query::<u64>("SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump'")
        .await;
    maria.run(&format!("KILL {}", ids[0])).await;
    followed_by(&house, "sweep", "").await;
    book(&maria, slot("10:00")).await;
    shows_booked(&house, room(7), &["10:00"]).await;
    followed_by(&house, "binlog", "null").await;
}

#[tokio::test]
async fn a_log_that_begins_anew_is_followed_again() {
    let maria = site().await;
    let house = following(&maria, &[room(7)]).await;
    maria.run("RESET MASTER").await;
    book(&maria, slot("10:00")).await;
    // The server leaves its reader waiting.
    followed_by(&house, "sweep", "did not come back").await;
    shows_booked(&house, room(7), &["10:00"]).await;
    followed_by(&house, "binlog", "null").await;
    book(&maria, slot("11:00")).await;
    shows_booked(&house, room(7), &["10:00", "11:00"]).await;
}

#[tokio::test]
async fn silence_is_noticed_and_a_new_connection_made() {
    let maria = site().await;
    let proxy = FaultProxy::before(maria.addr()).await;
    let house = open(maria.url_through(proxy.addr()), NEVER).await;
    followed_by(&house, "binlog", "null").await;
    house.look_at(room(7)).await.expect("it can be read");
    assert_eq!(proxy.black_hole_those_that_said("slave_connect_state"), 1);
    followed_by(&house, "sweep", "did not come back").await;
    book(&maria, slot("10:00")).await;
    shows_booked(&house, room(7), &["10:00"]).await;
    followed_by(&house, "binlog", "null").await;
}
