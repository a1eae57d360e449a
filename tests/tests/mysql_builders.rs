//! The tests' own instruments do what they say: a MariaDB that comes and goes, and WordPress' own code on it.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use support::MariaDb;
use tokio::time::timeout;

const A_WHILE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_mariadb_keeps_its_port_and_what_was_committed() {
    let mut maria = MariaDb::start().await;
    let url = maria.url();
    maria.run("CREATE TABLE kept (word VARCHAR(9)); INSERT INTO kept VALUES ('one'), ('two')").await;
    maria.restart().await;
    assert_eq!(maria.query::<String>("SELECT word FROM kept ORDER BY word").await, ["one", "two"]);

    maria.kill().await;
    assert!(maria.try_run("DO 1").await.is_err());
    maria.restart().await;
    assert_eq!(maria.query::<u64>("SELECT COUNT(*) FROM kept").await, [2]);
    assert_eq!(maria.url(), url);
}

#[tokio::test]
async fn its_user_has_rights_on_its_database_alone_and_nobody_is_anonymous() {
    let maria = MariaDb::start_with(&["--max-connections=20"]).await;
    let mut app = maria.connection().await;
    app.query_drop("CREATE TABLE mine (id INT)").await.unwrap();
    assert_eq!(
        app.query_first::<String, _>("SELECT CURRENT_USER()").await.unwrap().as_deref(),
        Some("app@%")
    );
    assert_eq!(app.query_first::<u64, _>("SELECT @@max_connections").await.unwrap(), Some(20));
    app.query_drop("SELECT * FROM mysql.user").await.unwrap_err();
    assert_eq!(maria.query::<u64>("SELECT COUNT(*) FROM mysql.user WHERE user = ''").await, [0]);
}

#[tokio::test]
async fn a_frozen_mariadb_is_silent_and_goes_on_where_it_was() {
    let maria = MariaDb::start().await;
    maria.freeze();
    assert!(timeout(A_WHILE, maria.try_run("DO 1")).await.is_err());
    maria.thaw();
    maria.try_run("DO 1").await.unwrap();
}
