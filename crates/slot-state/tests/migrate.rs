//! Our tables beside a plugin's, on a real MariaDB in the states such databases are found in.

use slot_state::{ChangeOutcome, MigrateError, Migration, MigrationReport, Warning, migrate};
use support::{MariaDb, PATIENCE, eventually};
use tokio::time::timeout;

/// The lock table as the plugin creates it, and one lock.
const PLUGIN_LOCKS: &str = "CREATE TABLE wp_appointease_slot_locks (
    id bigint(20) unsigned NOT NULL AUTO_INCREMENT,
    date date NOT NULL,
    time time NOT NULL,
    employee_id mediumint(9) NOT NULL,
    client_id varchar(191) NOT NULL,
    expires_at datetime NOT NULL,
    created_at datetime DEFAULT CURRENT_TIMESTAMP,
    note text,
    PRIMARY KEY (id),
    UNIQUE KEY slot (employee_id, date, time)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;
INSERT INTO wp_appointease_slot_locks (date, time, employee_id, client_id, expires_at, note)
    VALUES ('2030-12-01', '10:00', 3, 'wp_1', '2030-12-01 08:00', 'kept')";

fn on(url: String) -> Migration {
    Migration { url, table_prefix: "wp_".to_owned(), appointments_table: None, guard_bookings: true }
}

async fn migrated(maria: &MariaDb) -> MigrationReport {
    migrate(&on(maria.url()), false).await.expect("the database can be migrated")
}

/// All tables and rows of the database, as SQL would make them again.
async fn contents(maria: &MariaDb) -> Vec<String> {
    let tables: Vec<String> = maria.query("SHOW TABLES").await;
    let mut contents = Vec::new();
    for table in tables {
        let (_, made_by) =
            maria.query::<(String, String)>(&format!("SHOW CREATE TABLE {table}")).await.remove(0);
        let (_, checksum) = maria.query::<(String, u64)>(&format!("CHECKSUM TABLE {table}")).await.remove(0);
        contents.push(format!("{made_by} {checksum}"));
    }
    contents
}

fn all_made(report: &MigrationReport) -> bool {
    report.changes.iter().all(|change| change.outcome == ChangeOutcome::Made)
}

#[tokio::test]
async fn a_fresh_database_gets_every_table_once() {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    let report = migrated(&maria).await;
    assert!(report.is_complete() && all_made(&report), "{report:?}");
    assert_eq!(report.changes.len(), 8, "{report:?}");
    assert!(report.warnings.is_empty(), "{report:?}");
    let rows = maria.query::<(u64, String, u64, u64, String)>("SELECT * FROM wp_appointease_storage").await;
    let row = |id| (id, String::new(), 0, 0, String::new());
    assert_eq!(rows, [row(1), row(2)], "which store decides is for the first gateway to say");

    maria.run("UPDATE wp_appointease_storage SET mode = 'mysql', epoch = 7 WHERE id = 1").await;
    let before = contents(&maria).await;
    assert_eq!(migrated(&maria).await, MigrationReport::default());
    assert_eq!(contents(&maria).await, before);
}

#[tokio::test]
async fn names_and_client_ids_are_compared_byte_for_byte() {
    let maria = MariaDb::start().await;
    migrated(&maria).await;
    maria.run("INSERT INTO wp_appointease_gateways (name) VALUES ('a'), ('A'), ('ä')").await;
    let collations = "SELECT DISTINCT table_collation, engine FROM information_schema.tables \
                      WHERE table_schema = 'site'";
    let expected = ("utf8mb4_bin".to_owned(), "InnoDB".to_owned());
    assert_eq!(maria.query::<(String, String)>(collations).await, [expected]);
    let again = "INSERT INTO wp_appointease_slot_locks (date, time, employee_id, client_id, expires_at) \
                 VALUES ('2030-12-01', '10:00', 3, 'a', NOW())";
    maria.run(again).await;
    maria.try_run(again).await.unwrap_err();
}

#[tokio::test]
async fn the_plugins_lock_table_is_completed_and_keeps_its_rows() {
    let maria = MariaDb::start().await;
    maria.run(PLUGIN_LOCKS).await;
    let report = migrated(&maria).await;
    assert!(report.is_complete() && all_made(&report), "{report:?}");
    let rows = "SELECT id, client_id, note, fence, deadline_ms FROM wp_appointease_slot_locks";
    let rows = maria.query::<(u64, String, String, u64, Option<u64>)>(rows).await;
    assert_eq!(rows, [(1, "wp_1".to_owned(), "kept".to_owned(), 0, None)]);
    let made_by = "SHOW CREATE TABLE wp_appointease_slot_locks";
    let (_, made_by) = maria.query::<(String, String)>(made_by).await.remove(0);
    assert!(made_by.contains("`client_id` varchar(191)") && !made_by.contains("slotcast_slot"), "{made_by}");
    // The plugin goes on writing as if our columns were not there.
    let by_plugin = "INSERT INTO wp_appointease_slot_locks (date, time, employee_id, client_id, expires_at) \
                     VALUES ('2030-12-02', '9:30', 1, 'b', NOW())";
    maria.run(by_plugin).await;
}

#[tokio::test]
async fn a_lock_table_without_its_unique_key_gets_one() {
    let maria = MariaDb::start().await;
    maria.run(PLUGIN_LOCKS).await;
    maria.run("ALTER TABLE wp_appointease_slot_locks DROP KEY slot, ADD KEY (date, time)").await;
    let report = migrated(&maria).await;
    assert!(report.is_complete() && all_made(&report), "{report:?}");
    let again = "INSERT INTO wp_appointease_slot_locks (date, time, employee_id, client_id, expires_at) \
                 VALUES ('2030-12-01', '10:00', 3, 'b', NOW())";
    maria.try_run(again).await.unwrap_err();
    assert!(migrated(&maria).await.changes.is_empty());
}

#[tokio::test]
async fn locks_of_one_slot_are_listed_and_left_to_people() {
    let maria = MariaDb::start().await;
    maria.run(PLUGIN_LOCKS).await;
    maria.run("ALTER TABLE wp_appointease_slot_locks DROP KEY slot").await;
    let second = "INSERT INTO wp_appointease_slot_locks \
                  SELECT 2, date, time, employee_id, 'wp_2', expires_at, NOW(), '' \
                  FROM wp_appointease_slot_locks";
    maria.run(second).await;
    let report = migrated(&maria).await;
    assert!(!report.is_complete() && all_made(&report), "{report:?}");
    assert!(report.blockers[0].contains("2030-12-01 10:00:00 of employee 3 (2)"), "{report:?}");
    assert_eq!(maria.query::<u64>("SELECT COUNT(*) FROM wp_appointease_slot_locks").await, [2]);

    maria.run("DELETE FROM wp_appointease_slot_locks WHERE id = 2").await;
    assert!(migrated(&maria).await.is_complete());
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_changes_nothing() {
    let maria = MariaDb::start().await;
    maria.run(PLUGIN_LOCKS).await;
    let before = contents(&maria).await;
    let dry = migrate(&on(maria.url()), true).await.unwrap();
    assert_eq!(contents(&maria).await, before);
    assert!(dry.changes.iter().all(|change| change.outcome == ChangeOutcome::Planned), "{dry:?}");
    let wet = migrated(&maria).await;
    let statements = |report: &MigrationReport| -> Vec<String> {
        report.changes.iter().map(|change| change.statement.clone()).collect()
    };
    assert_eq!(statements(&dry), statements(&wet));
}

#[tokio::test]
async fn without_the_rights_it_says_which_are_missing_and_does_the_rest() {
    let maria = MariaDb::start().await;
    maria.run(PLUGIN_LOCKS).await;
    maria.run("CREATE USER low IDENTIFIED BY 'low'; GRANT SELECT, INSERT, ALTER ON site.* TO low").await;
    let low = on(maria.url_as("low", "low"));
    let report = migrate(&low, false).await.unwrap();
    assert!(!report.is_complete(), "{report:?}");
    assert_eq!(report.grant.as_deref(), Some("GRANT CREATE ON `site`.* TO 'low'@'%'"));
    let made = report.changes.iter().filter(|change| change.outcome == ChangeOutcome::Made).count();
    assert_eq!((made, report.changes.len()), (2, 6), "{report:?}");

    maria.run(report.grant.as_deref().unwrap()).await;
    assert!(migrate(&low, false).await.unwrap().is_complete());

    maria.run("ALTER TABLE wp_appointease_slot_locks DROP KEY slot").await;
    let report = migrate(&low, false).await.unwrap();
    match report.grant {
        Some(grant) => maria.run(&grant).await,
        None => assert!(report.is_complete(), "{report:?}"),
    }
    assert!(migrate(&low, false).await.unwrap().is_complete());
}

#[tokio::test]
async fn an_account_that_may_not_even_look_is_told_what_is_needed() {
    let maria = MariaDb::start().await;
    migrated(&maria).await;
    maria.run("CREATE USER blind IDENTIFIED BY 'blind'; CREATE USER outsider IDENTIFIED BY 'o'").await;
    maria.run("GRANT CREATE ON site.* TO blind").await;
    for (user, password) in [("blind", "blind"), ("outsider", "o")] {
        let error = migrate(&on(maria.url_as(user, password)), false).await.unwrap_err();
        assert!(matches!(error, MigrateError::NoRight { .. }), "{error:?}");
        assert!(error.to_string().contains("GRANT SELECT, INSERT"), "{error}");
    }
    let error = migrate(&on(maria.url_as("app", "wrong")), false).await.unwrap_err();
    assert!(matches!(error, MigrateError::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn many_gateways_may_do_it_at_one_moment() {
    let maria = MariaDb::start().await;
    maria.run(PLUGIN_LOCKS).await;
    maria.run("ALTER TABLE wp_appointease_slot_locks DROP KEY slot").await;
    let wanted = on(maria.url());
    let all = futures::future::join_all((0..8).map(|_| migrate(&wanted, false))).await;
    let mut made = 0;
    for report in all {
        let report = report.unwrap();
        assert!(report.is_complete(), "{report:?}");
        made += report.changes.iter().filter(|change| change.outcome == ChangeOutcome::Made).count();
    }
    assert!(made >= 7, "{made}");
    assert_eq!(migrated(&maria).await.changes, []);
}

#[tokio::test]
async fn a_table_somebody_works_on_holds_nobody_up_for_long() {
    let maria = MariaDb::start().await;
    maria.run(PLUGIN_LOCKS).await;
    let mut busy = maria.connection().await;
    mysql_async::prelude::Queryable::query_drop(&mut busy, "BEGIN; SELECT * FROM wp_appointease_slot_locks")
        .await
        .unwrap();
    let wanted = on(maria.url());
    let migrating = tokio::spawn(async move { migrate(&wanted, false).await });
    let waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'";
    eventually("the change waits", PATIENCE, async || {
        (maria.query::<u64>(waiting).await == [1]).then_some(())
    })
    .await;
    busy.disconnect().await.unwrap();
    let report = timeout(PATIENCE, migrating).await.unwrap().unwrap().unwrap();
    assert!(report.is_complete(), "{report:?}");
}

#[tokio::test]
async fn a_database_that_is_away_or_unnamed_is_an_error() {
    let mut maria = MariaDb::start().await;
    let nameless = maria.url().trim_end_matches("/site").to_owned();
    let error = migrate(&on(nameless), true).await.unwrap_err();
    assert!(matches!(error, MigrateError::Url(_)), "{error:?}");
    maria.kill().await;
    let error = migrate(&on(maria.url()), true).await.unwrap_err();
    assert!(matches!(error, MigrateError::Away(_)), "{error:?}");
}

/// As WordPress' `$wpdb->insert` writes it.
fn booking(table: &str, time: &str, status: &str) -> String {
    format!(
        "INSERT INTO `{table}` (`name`, `email`, `appointment_date`, `employee_id`, `status`) \
         VALUES ('Ann', 'ann@example.com', '2031-03-09 {time}', 3, '{status}')"
    )
}

const AUTO: &str = "wp_appointease_appointments";

#[tokio::test]
async fn a_slot_cannot_be_booked_twice_by_anybody_once_the_guard_is_there() {
    let maria = MariaDb::start().await;
    maria.appointments().await;
    maria.run(&booking(AUTO, "09:00", "confirmed")).await;
    let report = migrated(&maria).await;
    assert!(report.is_complete() && all_made(&report), "{report:?}");
    assert_eq!(migrated(&maria).await.changes, []);
    let strict = "SET SESSION sql_mode = 'TRADITIONAL'";
    for mode in ["SET SESSION sql_mode = ''", strict] {
        let hour = if mode == strict { "10" } else { "11" };
        let first = booking(AUTO, &format!("{hour}:00"), "confirmed");
        maria.run(&format!("{mode}; {first}")).await;
        for again in ["confirmed", "created"] {
            let again = booking(AUTO, &format!("{hour}:00"), again);
            let error = maria.try_run(&format!("{mode}; {again}")).await.unwrap_err();
            assert!(error.to_string().contains("slotcast_slot"), "{error}");
        }
        // Any number of those that do not stand, and the other of two that do is kept from standing again.
        for _ in 0..2 {
            maria.run(&format!("{mode}; {}", booking(AUTO, &format!("{hour}:00"), "cancelled"))).await;
        }
        let again = format!("UPDATE {AUTO} SET status = 'confirmed' WHERE status = 'cancelled' LIMIT 1");
        maria.try_run(&again).await.unwrap_err();
        maria.run(&format!("UPDATE {AUTO} SET status = 'cancelled' WHERE status = 'confirmed'")).await;
        maria.run(&format!("{again}; DELETE FROM {AUTO}")).await;
    }
    // Nor is the new column in the way of a program that names none.
    maria.run(&booking(AUTO, "12:00", "confirmed")).await;
    maria.run(&format!("CREATE TABLE old LIKE {AUTO}; INSERT INTO old SELECT * FROM {AUTO}")).await;
}

#[tokio::test]
async fn several_live_bookings_of_one_slot_are_listed_and_left_to_people() {
    let maria = MariaDb::start().await;
    maria.appointments().await;
    for status in ["confirmed", "created", "cancelled"] {
        maria.run(&booking(AUTO, "10:00", status)).await;
        maria.run(&booking(AUTO, "11:00", "cancelled")).await;
    }
    let made_by = format!("SHOW CREATE TABLE {AUTO}");
    let before: Vec<(String, String)> = maria.query(&made_by).await;
    let report = migrated(&maria).await;
    assert!(!report.is_complete(), "{report:?}");
    let [blocker] = &report.blockers[..] else { panic!("{report:?}") };
    assert!(blocker.contains("2031-03-09 10:00:00 of employee 3 (2)"), "{report:?}");
    assert!(!blocker.contains("11:00"), "{report:?}");
    assert_eq!(maria.query::<(String, String)>(&made_by).await, before);

    maria.run(&format!("UPDATE {AUTO} SET status = 'cancelled' WHERE status = 'created'")).await;
    let report = migrated(&maria).await;
    assert!(report.is_complete() && all_made(&report), "{report:?}");
}

#[tokio::test]
async fn the_guard_fits_every_table_of_appointments_and_only_where_it_is_asked_for() {
    for (made_by, table, configured) in [
        (include_str!("../../../tests/peers/appointments_sparse.sql"), "wp_appointments", None),
        (include_str!("../../../tests/peers/appointments_demanding.sql"), AUTO, None),
        (include_str!("../../../config/mariadb/appointments.sql"), AUTO, Some(AUTO)),
    ] {
        let maria = MariaDb::start().await;
        maria.wordpress_options().await;
        maria.run(made_by).await;
        let mut wanted = Migration { guard_bookings: false, ..on(maria.url()) };
        wanted.appointments_table = configured.map(str::to_owned);
        let report = migrate(&wanted, false).await.unwrap();
        let of_index = |warning: &Warning| warning.event == "appointments_index_missing";
        assert!(report.is_complete() && report.warnings.iter().all(of_index), "{report:?}");
        assert_eq!(maria.query::<u64>(&has_guard(table)).await, [0], "serve leaves {table} as it is");
        let report = migrate(&Migration { guard_bookings: true, ..wanted }, false).await.unwrap();
        assert!(report.is_complete() && all_made(&report), "{report:?}");
        assert_eq!(maria.query::<u64>(&has_guard(table)).await, [1]);
    }
}

fn has_guard(table: &str) -> String {
    format!(
        "SELECT COUNT(*) FROM information_schema.columns \
         WHERE table_schema = 'site' AND table_name = '{table}' AND column_name = 'slotcast_live'"
    )
}
