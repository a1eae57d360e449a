//! `slotcast migrate` as an administrator uses it: what it prints, what it changes, how it ends.

use std::process::Output;

use support::{
    Gateway, LegacyPage, MariaDb, PATIENCE, Page, RedisServer, Room, WordPress, eventually, run_slotcast,
};

async fn migrate(url: &str, args: &[&str]) -> Output {
    run_slotcast(&[&["migrate"], args].concat(), &[("SLOTCAST_MYSQL_URL", url)]).await
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("standard output is text")
}

fn complaint(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("standard error is text")
}

#[tokio::test]
async fn it_completes_a_wordpress_once_and_says_so() {
    let maria = MariaDb::start().await;
    let wordpress = WordPress::on(&maria).await;
    maria.appointments().await;
    let made = migrate(&maria.url(), &[]).await;
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert!(out(&made).contains("wp_appointease_slot_locks: table is missing: made\n"), "{made:?}");
    assert!(out(&made).contains("a slot can be booked twice by others than slotcast: made\n"), "{made:?}");
    assert!(!out(&made).contains("warning"), "{made:?}");
    let again = migrate(&maria.url(), &[]).await;
    assert_eq!((again.status.code(), out(&again)), (Some(0), "nothing is missing\n"));
    // WordPress is none the worse for it.
    assert_eq!(wordpress.eval("echo get_option('blogname');", &[]).await, "A site");
}

#[tokio::test]
async fn the_script_of_a_dry_run_does_the_same_by_hand() {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    let dry = migrate(&maria.url(), &["--dry-run"]).await;
    assert_eq!(dry.status.code(), Some(0), "{dry:?}");
    let tables = ["wp_appointease_appointments", "wp_options"];
    assert_eq!(maria.query::<String>("SHOW TABLES").await, tables);

    maria.run(out(&dry)).await;
    let after = migrate(&maria.url(), &[]).await;
    assert_eq!((after.status.code(), out(&after)), (Some(0), "nothing is missing\n"));
}

#[tokio::test]
async fn the_configured_prefix_is_used() {
    let maria = MariaDb::start().await;
    let environment = [("SLOTCAST_MYSQL_URL", &*maria.url()), ("SLOTCAST_MYSQL_TABLE_PREFIX", "shop_")];
    let made = run_slotcast(&["migrate"], &environment).await;
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert!(out(&made).contains("warning: there is no table shop_options"), "{made:?}");
    let rows = maria.query::<u64>("SELECT COUNT(*) FROM shop_appointease_storage").await;
    assert_eq!(rows, [2]);
}

#[tokio::test]
async fn whichever_stores_it_is_run_with_the_first_gateway_begins_on_its_own() {
    let record = "SELECT mode, epoch FROM wp_appointease_storage WHERE id = 1";
    for (with_redis, mode, epoch) in [(true, "redis", 1), (false, "mysql", 2)] {
        let maria = MariaDb::start().await;
        maria.wordpress_options().await;
        maria.appointments().await;
        assert_eq!(migrate(&maria.url(), &[]).await.status.code(), Some(0));
        assert_eq!(maria.query::<(String, u64)>(record).await, [(String::new(), 0)]);
        let redis = if with_redis { Some(RedisServer::start().await) } else { None };
        let mut builder = Gateway::builder().with("mysql.url", maria.url());
        if let Some(redis) = &redis {
            builder = builder.redis_at(&redis.url());
        }
        let gateway = builder.start().await;
        gateway.eventually_well_with_mysql().await;
        let page = Page::of(&gateway, "alice").await;
        let room = Room::tomorrow_of(1);
        let locked = page.lock(&room, "10:00").await.assert_ok("locked");
        assert_eq!(locked.text("storage"), mode);
        let expected = [(mode.to_owned(), epoch)];
        eventually("the database has it", PATIENCE, async || {
            (maria.query::<(String, u64)>(record).await == expected).then_some(())
        })
        .await;
        for event in ["storage_switched", "storage_followed"] {
            assert!(gateway.log_events(event).is_empty(), "{event} with {mode}");
        }
    }
}

#[tokio::test]
async fn what_makes_a_database_slow_or_useless_is_said_at_the_start_and_by_migrate() {
    let maria = MariaDb::start_with(&["--log-bin", "--binlog-format=STATEMENT"]).await;
    maria.wordpress_options().await;
    maria.appointments().await;
    maria.run("ALTER TABLE wp_appointease_appointments DROP KEY employee_date").await;
    let gateway = Gateway::builder().with("mysql.url", maria.url()).start().await;
    let index = gateway.logs().eventually_event("appointments_index_missing").await["message"].clone();
    gateway.logs().eventually_event("mysql_binlog_statement").await;
    let page = Page::of(&gateway, "alice").await;
    page.lock(&Room::tomorrow_of(1), "10:00").await.assert_error("store_unavailable");
    let dry = migrate(&maria.url(), &["--dry-run"]).await;
    assert!(out(&dry).contains("-- warning: the server's binlog_format is STATEMENT"), "{dry:?}");
    assert!(!out(&dry).contains("CREATE INDEX"), "the guard is an index: {dry:?}");
    drop(gateway);

    let (_, statement) = index.as_str().expect("a sentence").split_once("; ").expect("a statement");
    maria.run(&format!("{statement}; SET GLOBAL binlog_format = 'MIXED'")).await;
    let gateway = Gateway::builder().with("mysql.url", maria.url()).start().await;
    gateway.eventually_well_with_mysql().await;
    for event in ["appointments_index_missing", "mysql_binlog_statement", "mysql_table_warning"] {
        assert!(gateway.log_events(event).is_empty(), "{event}");
    }
}

#[tokio::test]
async fn in_a_database_without_the_sites_tables_the_log_says_what_to_do() {
    let (maria, redis) = (MariaDb::start().await, RedisServer::start().await);
    let gateway = Gateway::builder().redis_at(&redis.url()).with("mysql.url", maria.url()).start().await;
    let warnings = eventually("both tables are missed", PATIENCE, async || {
        Some(gateway.log_events("mysql_table_warning")).filter(|warnings| warnings.len() == 2)
    })
    .await;
    for (warning, table) in warnings.iter().zip(["wp_options", "wp_appointease_appointments"]) {
        let said = warning["message"].as_str().unwrap();
        assert!(
            said.contains(&format!("there is no table {table}")) && said.contains("wp-config.php"),
            "{said}"
        );
    }
    let (room, rest) = (Room::tomorrow_of(1), LegacyPage::of(&gateway));
    let refused = rest.rest_post("/appointments", room.booking("10:00", "k")).await;
    refused.assert_rest_error(503, "store_unavailable");
    let reason = gateway.logs().eventually_event("booking_failed").await["reason"].clone();
    let reason = reason.as_str().unwrap();
    assert!(reason.contains("no table wp_appointease_appointments") && reason.contains("doctor"), "{reason}");

    redis.run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let down = eventually("MySQL cannot step in", PATIENCE, async || {
        let down = gateway.log_events("store_down");
        down.into_iter().find(|down| down["storage"] == "mysql")
    })
    .await;
    let error = down["error"].as_str().unwrap();
    assert!(error.contains("wp_options' doesn't exist") && error.contains("slotcast doctor"), "{error}");
}

#[tokio::test]
async fn missing_rights_are_named_and_end_with_code_1() {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.run("CREATE USER low IDENTIFIED BY 'hush'; GRANT SELECT, INSERT ON site.* TO low").await;
    let url = maria.url_as("low", "hush");
    let refused = migrate(&url, &[]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(complaint(&refused).contains("CREATE command denied"), "{refused:?}");
    let (_, grant) = complaint(&refused).split_once("what is needed: ").expect("a remedy");
    assert!(!complaint(&refused).contains("hush"), "{refused:?}");

    maria.run(grant).await;
    assert_eq!(migrate(&url, &[]).await.status.code(), Some(0));
}

#[tokio::test]
async fn locks_of_one_slot_are_listed_and_end_with_code_1() {
    let maria = MariaDb::start().await;
    assert_eq!(migrate(&maria.url(), &[]).await.status.code(), Some(0));
    maria.run("ALTER TABLE wp_appointease_slot_locks DROP KEY slotcast_slot").await;
    for client in ["a", "b"] {
        let lock = "INSERT INTO wp_appointease_slot_locks (date, time, employee_id, client_id, expires_at) \
                    VALUES ('2030-12-01', '10:00', 3, 'CLIENT', NOW())";
        maria.run(&lock.replace("CLIENT", client)).await;
    }
    let listed = migrate(&maria.url(), &[]).await;
    assert_eq!(listed.status.code(), Some(1), "{listed:?}");
    assert!(complaint(&listed).contains("2030-12-01 10:00:00 of employee 3 (2)"), "{listed:?}");
    assert_eq!(maria.query::<u64>("SELECT COUNT(*) FROM wp_appointease_slot_locks").await, [2]);
}

#[tokio::test]
async fn a_database_that_is_away_ends_with_code_1_and_none_at_all_with_code_2() {
    let mut maria = MariaDb::start().await;
    maria.kill().await;
    let away = migrate(&maria.url(), &[]).await;
    assert_eq!(away.status.code(), Some(1), "{away:?}");
    assert!(complaint(&away).contains("the database cannot be reached"), "{away:?}");

    let none = run_slotcast(&["migrate"], &[]).await;
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    assert!(complaint(&none).contains("mysql.url"), "{none:?}");
}
