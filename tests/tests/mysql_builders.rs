//! The tests' own instruments do what they say: a MariaDB that comes and goes, and WordPress' own code on it.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::json;
use support::{MariaDb, WordPress};
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

#[tokio::test]
async fn wordpress_keeps_transients_in_its_options_table() {
    let maria = MariaDb::start().await;
    let wordpress = WordPress::on(&maria).await;
    assert_eq!(wordpress.get_transient("appointease_active").await, json!(false));

    let value = json!({"10:00": {"client_id": "wp_1", "timestamp": 5}});
    assert!(wordpress.set_transient("appointease_active", &value, 300).await);
    assert_eq!(wordpress.get_transient("appointease_active").await, value);
    let rows =
        "SELECT option_name, option_value FROM wp_options WHERE option_name LIKE '%appointease%' ORDER BY 1";
    let rows = maria.query::<(String, String)>(rows).await;
    assert_eq!(rows[0].0, "_transient_appointease_active");
    assert_eq!(rows[0].1, r#"a:1:{s:5:"10:00";a:2:{s:9:"client_id";s:4:"wp_1";s:9:"timestamp";i:5;}}"#);
    assert_eq!(rows[1].0, "_transient_timeout_appointease_active");

    assert!(wordpress.delete_transient("appointease_active").await);
    assert!(!wordpress.delete_transient("appointease_active").await);
}

#[tokio::test]
async fn code_runs_inside_wordpress_with_its_arguments_and_a_complaint_is_an_error() {
    let maria = MariaDb::start().await;
    let wordpress = WordPress::with_prefix(&maria, "blog_").await;
    let code = "global $wpdb; echo $wpdb->prefix, ' ', get_option('blogname'), ' ', $args[0];";
    assert_eq!(wordpress.eval(code, &["it's --here"]).await, "blog_ A site it's --here");
    let error = wordpress.try_eval("global $wpdb; $wpdb->query('SELECT nonsense');", &[]).await.unwrap_err();
    assert!(error.contains("nonsense"), "{error}");
    let error = wordpress.try_eval("echo $missing;", &[]).await.unwrap_err();
    assert!(error.contains("missing"), "{error}");
}

#[tokio::test]
async fn the_options_table_is_the_one_wordpress_creates() {
    let (by_hand, by_wordpress) = (MariaDb::start().await, MariaDb::start().await);
    by_hand.wordpress_options().await;
    WordPress::on(&by_wordpress).await;
    // Rows that came and went are no difference.
    let columns_and_keys = async |maria: &MariaDb| {
        maria.run("DELETE FROM wp_options; ALTER TABLE wp_options AUTO_INCREMENT = 1").await;
        maria.query::<(String, String)>("SHOW CREATE TABLE wp_options").await
    };
    assert_eq!(columns_and_keys(&by_hand).await, columns_and_keys(&by_wordpress).await);
}
