//! What an operator uses: check-config, exit codes, live and ready, health, metrics, watch.

mod logs;
mod metrics;

use serde_json::Value;
use support::{Gateway, LegacyPage, Page, RedisServer, Room, eventually, run_slotcast, spawn_slotcast};

const BAD_USE: Option<i32> = Some(2);

fn text(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn the_shipped_configuration_is_accepted() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/slotcast.toml");
    for args in [&["check-config"][..], &["check-config", "--config", shipped]] {
        let output = run_slotcast(args, &[]).await;
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
    }
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_named_and_ends_with_code_2() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("slotcast.toml");
    let path = file.to_str().unwrap();
    for (toml, named) in [
        ("[redis]\nurll = \"redis://localhost\"\n", "url"),
        ("[reddis]\nurl = \"redis://localhost\"\n", "redis"),
        ("[slots]\nselection_ttl_secs = \"ten\"\n", "selection_ttl_secs"),
        ("[slots]\nday_start = \"9 o'clock\"\n", "day_start"),
        ("[redis]\nurl = \"http://localhost\"\n", "url"),
        ("[server]\nlisten = \"nowhere\"\n", "listen"),
        ("not toml at all [", "slotcast.toml"),
    ] {
        std::fs::write(&file, toml).unwrap();
        for command in ["check-config", "serve"] {
            let output = run_slotcast(&[command, "--config", path], &[]).await;
            assert_eq!(output.status.code(), BAD_USE, "{command} of {toml}: {}", text(&output));
            assert!(text(&output).contains(named), "{toml} does not name {named}: {}", text(&output));
        }
    }
    let output = run_slotcast(&["check-config", "--config", "/no/such/file.toml"], &[]).await;
    assert_eq!(output.status.code(), BAD_USE, "{}", text(&output));
}

#[tokio::test]
async fn the_environment_overrides_the_file_and_its_mistakes_are_named_too() {
    let output = run_slotcast(&["check-config"], &[("SLOTCAST_REDIS_URLL", "redis://localhost")]).await;
    assert_eq!(output.status.code(), BAD_USE, "{}", text(&output));
    assert!(
        text(&output).to_lowercase().contains("redis_url") || text(&output).contains("redis.url"),
        "{}",
        text(&output)
    );
    let output = run_slotcast(&["check-config"], &[("SLOTCAST_SLOTS_LOCK_TTL_SECS", "soon")]).await;
    assert_eq!(output.status.code(), BAD_USE, "{}", text(&output));

    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("slotcast.toml");
    std::fs::write(&file, "[slots]\nlock_ttl_secs = 500\nselection_ttl_secs = 11\n").unwrap();
    let gateway = Gateway::builder()
        .args(&["--config", file.to_str().unwrap()])
        .with("slots.lock_ttl_secs", 400)
        .start()
        .await;
    let welcome = Page::open(&gateway).await.hello("alice").await;
    assert_eq!((welcome.number("selection_ttl"), welcome.number("lock_ttl")), (11, 400));
}

#[tokio::test]
async fn wrong_arguments_end_with_code_2_and_a_taken_port_with_code_1() {
    for args in [&["no-such-command"][..], &["--no-such-option"], &["watch"], &["serve", "extra"]] {
        let output = run_slotcast(args, &[]).await;
        assert_eq!(output.status.code(), BAD_USE, "{args:?}: {}", text(&output));
    }
    let output = run_slotcast(&["--help"], &[]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("check-config"), "{}", text(&output));

    let gateway = Gateway::start().await;
    let taken = gateway.addr().to_string();
    let output = run_slotcast(&["serve", "--listen", &taken], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(&taken), "{}", text(&output));
}

#[tokio::test]
async fn alive_and_ready_are_different_questions() {
    let mut redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let operator = LegacyPage::of(&gateway);
    assert_eq!(operator.get("/readyz").await.status, 200);
    redis.kill().await;
    gateway.eventually_readyz(503).await;
    assert_eq!(operator.get("/livez").await.status, 200);
    redis.restart_empty().await;
    gateway.eventually_ready().await;
    let memory = Gateway::start().await;
    memory.eventually_ready().await;
}

#[tokio::test]
async fn health_is_json_that_says_how_each_part_is() {
    let mut redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let operator = LegacyPage::of(&gateway);
    let healthy = operator.get("/health").await;
    assert_eq!(healthy.status, 200, "{healthy:?}");
    assert!(healthy.json.is_object() && !healthy.fields().is_empty(), "{healthy:?}");
    redis.kill().await;
    gateway.eventually_readyz(503).await;
    let ill = operator.get("/health").await;
    assert!(ill.json.is_object(), "{ill:?}");
    assert_ne!(
        without_numbers(&ill.json),
        without_numbers(&healthy.json),
        "health says the same without Redis"
    );
}

/// The words of a report: counters and times differ anyway.
fn without_numbers(report: &Value) -> String {
    report.to_string().chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// Every sample of a Prometheus page, as name with labels and value.
fn samples(page: &str) -> Vec<(String, f64)> {
    let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        })
        .collect()
}

#[tokio::test]
async fn metrics_answer_how_much_is_going_on() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(1);
    let mut pages = Vec::new();
    for number in 0..5 {
        pages.push(Page::watching(&gateway, &format!("client-{number}"), &room).await);
    }
    pages[0].select(&room, "10:00").await.assert_ok("selected");
    pages[1].eventually_active(&room, &["10:00"]).await;
    let operator = LegacyPage::of(&gateway);
    let wanted = [
        ("slotcast_connections", 5.0),
        ("slotcast_rooms", 1.0),
        ("slotcast_subscriptions", 5.0),
        ("slotcast_selections", 1.0),
        ("slotcast_select_seconds_count", 1.0),
        ("slotcast_diffs_total", 1.0),
        ("slotcast_deliveries_total", 5.0),
        ("slotcast_snapshots_total", 5.0),
    ];
    eventually("the numbers are there", support::PATIENCE, async || {
        let page = operator.get("/metrics").await;
        assert_eq!(page.status, 200);
        let samples = samples(&page.body);
        let value_of =
            |wanted: &str| samples.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        wanted.iter().all(|(name, least)| value_of(name).is_some_and(|value| value >= *least)).then_some(())
    })
    .await;
    let page = operator.get("/metrics").await.body;
    assert!(!page.contains("client-0"), "a client is named in the metrics");
}

#[tokio::test]
async fn through_a_proxy_operators_pages_want_the_key() {
    let gateway = Gateway::builder().with("security.dashboard_key", "0pen-sesame-0pen-sesame").start().await;
    let outside = LegacyPage::of(&gateway).from_address("203.0.113.7");
    let keyless = outside.get("/metrics").await.status;
    assert!([401, 403].contains(&keyless), "{keyless}");
    let wrong = outside.get("/metrics?key=wrong").await.status;
    assert!([401, 403].contains(&wrong), "{wrong}");
    assert_eq!(outside.get("/metrics?key=0pen-sesame-0pen-sesame").await.status, 200);
    let keyed = outside.clone().with_header("authorization", "Bearer 0pen-sesame-0pen-sesame");
    assert_eq!(keyed.get("/metrics").await.status, 200);
    assert_eq!(outside.get("/livez").await.status, 200);
    let other_host = LegacyPage::of(&gateway).with_host("booking.example");
    let status = other_host.get("/metrics").await.status;
    assert!([401, 403].contains(&status), "a loopback request for another host: {status}");
}

#[tokio::test]
async fn watch_prints_a_rooms_frames() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(5);
    let url = gateway.ws_url();
    let args = ["watch", "--date", &room.date, "--employee-id", "5", "--url", &url];
    let (_watch, printed) = spawn_slotcast(&args).await;
    eventually("a snapshot is printed", support::PATIENCE, async || {
        printed.lines().iter().any(|line| line.contains("snapshot")).then_some(())
    })
    .await;
    let page = Page::of(&gateway, "alice").await;
    page.select(&room, "10:00").await.assert_ok("selected");
    eventually("the diff is printed", support::PATIENCE, async || {
        printed.lines().iter().any(|line| line.contains("diff") && line.contains("10:00")).then_some(())
    })
    .await;
}
