//! Broken databases, one after the other on one server.

use support::{MariaDb, run_slotcast};

use super::examined::Visit;

/// No gateway runs in these tests.
const ASIDE: [&str; 1] = ["address.upgrade warning"];

/// A server whose binary log can be followed.
pub(crate) async fn maria() -> MariaDb {
    let maria = MariaDb::start_with(&["--log-bin=log", "--server-id=7", "--binlog-format=ROW"]).await;
    maria.run("GRANT REPLICATION SLAVE ON *.* TO app").await;
    maria
}

/// A site with all that slotcast needs.
pub(crate) async fn complete_site(maria: &MariaDb) {
    maria.run("DROP DATABASE site; CREATE DATABASE site CHARACTER SET utf8mb4").await;
    maria.wordpress_options().await;
    maria.appointments().await;
    let migrated = run_slotcast(&["migrate"], &[("SLOTCAST_MYSQL_URL", &maria.url())]).await;
    assert!(migrated.status.success(), "{migrated:?}");
}

async fn assert_troubles(url: &str, expected: &[(&str, &str)]) {
    let findings = Visit::new().with("mysql.url", url).examine().await;
    findings.assert_troubles(&ASIDE, expected);
}

#[tokio::test]
async fn each_broken_database_is_named_with_the_sql_that_mends_it() {
    const GUARD: &str = "ALTER TABLE wp_appointease_appointments DROP KEY slotcast_slot";
    const TWICE: &str = "INSERT INTO wp_appointease_appointments (name, email, appointment_date, \
        employee_id) VALUES ('Ann', 'ann@example.com', '2030-12-01 10:00', 3), ('Bob', 'bob@example.com', \
        '2030-12-01 \
        10:00', 3)";
    let maria = maria().await;
    for (broken_by, expected) in [
        ("DO 1", &[][..]),
        ("DROP TABLE wp_appointease_slot_locks", &[("mysql.tables failed", "slotcast migrate")]),
        ("DROP TABLE wp_options", &[("mysql.options failed", "table_prefix")]),
        ("DROP TABLE wp_appointease_appointments", &[("mysql.appointments failed", "appointments_table")]),
        (
            "ALTER TABLE wp_appointease_appointments ENGINE=MyISAM",
            &[("mysql.engine failed", "ALTER TABLE `wp_appointease_appointments` ENGINE=InnoDB")],
        ),
        (GUARD, &[("mysql.guard failed", "ADD UNIQUE KEY `slotcast_slot`")]),
        (&format!("{GUARD}; {TWICE}"), &[("mysql.guard failed", "2030-12-01 10:00:00 of employee 3 (2)")]),
        (
            &format!("{GUARD}; {TWICE}; ALTER TABLE wp_appointease_appointments DROP KEY employee_date"),
            &[("mysql.guard failed", "slotcast migrate"), ("mysql.index warning", "CREATE INDEX")],
        ),
    ] {
        complete_site(&maria).await;
        maria.run(broken_by).await;
        println!("{broken_by}");
        assert_troubles(&maria.url(), expected).await;
    }
}

#[tokio::test]
async fn each_setting_that_endangers_bookings_is_named_with_the_line_for_the_servers_configuration() {
    let maria = maria().await;
    complete_site(&maria).await;
    for (setting, value, usual, expected) in [
        (
            "innodb_flush_log_at_trx_commit",
            "0",
            "1",
            ("mysql.durability warning", "innodb_flush_log_at_trx_commit = 1"),
        ),
        ("binlog_format", "'STATEMENT'", "'ROW'", ("mysql.binlog failed", "binlog_format = ROW")),
        ("binlog_format", "'MIXED'", "'ROW'", ("mysql.binlog warning", "binlog_format = ROW")),
        ("read_only", "1", "0", ("mysql.writes failed", "primary")),
    ] {
        maria.run(&format!("SET GLOBAL {setting} = {value}")).await;
        assert_troubles(&maria.url(), &[expected]).await;
        maria.run(&format!("SET GLOBAL {setting} = {usual}")).await;
    }
}

#[tokio::test]
async fn missing_rights_are_named_with_the_grant() {
    let maria = maria().await;
    complete_site(&maria).await;
    maria.run("CREATE USER low IDENTIFIED BY 'hush'; GRANT SELECT ON site.* TO low").await;
    let url = maria.url_as("low", "hush");
    let rights = ("mysql.rights failed", "GRANT INSERT, UPDATE, DELETE ON `site`.* TO 'low'@'%';");
    let follow = ("mysql.binlog warning", "GRANT REPLICATION SLAVE ON *.* TO 'low'@'%';");
    assert_troubles(&url, &[rights, follow]).await;
    maria.run("GRANT INSERT, UPDATE, DELETE ON site.* TO low").await;
    assert_troubles(&url, &[follow]).await;

    maria.run("DROP TABLE wp_appointease_outbox").await;
    let make = ("mysql.rights failed", "GRANT CREATE, ALTER ON `site`.* TO 'low'@'%';");
    assert_troubles(&url, &[make, ("mysql.tables warning", "slotcast migrate"), follow]).await;

    // Rights on each table alone, as careful hosts give them, and by a role, are rights too.
    complete_site(&maria).await;
    maria.run("REVOKE ALL PRIVILEGES, GRANT OPTION FROM low; GRANT REPLICATION SLAVE ON *.* TO low").await;
    for table in maria.query::<String>("SHOW TABLES").await {
        maria.run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON site.{table} TO low")).await;
    }
    assert_troubles(&url, &[]).await;
    maria.run("REVOKE ALL PRIVILEGES, GRANT OPTION FROM low; GRANT REPLICATION SLAVE ON *.* TO low").await;
    maria
        .run("CREATE ROLE shop; GRANT SELECT, INSERT, UPDATE, DELETE ON site.* TO shop; GRANT shop TO low")
        .await;
    maria.run("SET DEFAULT ROLE shop FOR low").await;
    assert_troubles(&url, &[]).await;

    maria.run("SET DEFAULT ROLE NONE FOR low").await;
    assert_troubles(&url, &[("mysql.rights failed", "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER")])
        .await;
}

#[tokio::test]
async fn a_wrong_password_is_told_from_a_database_that_is_away() {
    let mut maria = maria().await;
    let wrong = maria.url_as("app", "hush");
    assert_troubles(&wrong, &[("mysql.reachable failed", "refuses this account and password")]).await;
    let nowhere = maria.url().replace("/site", "/sight");
    assert_troubles(&nowhere, &[("mysql.rights failed", "ON `sight`.* TO 'app'@'%';")]).await;
    maria.kill().await;
    assert_troubles(&maria.url(), &[("mysql.reachable failed", "systemctl status mariadb")]).await;
}
